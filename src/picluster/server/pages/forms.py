"""What people send with a form: read with a limit, only from our own pages, and told back when something is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode

from fastapi import Request

from picluster.errors import Malformed
from picluster.pool.model import Actor, Role
from picluster.server.access.gate import require
from picluster.server.access.sessions import same_origin
from picluster.server.pages.viewer import actor_of
from picluster.wire import text_problem

MOST_FIELDS = 2_000
"""A page of machines, all selected, and some more."""

SECRETS = ("password", "current_password", "again", "token", "code", "key", "url")
"""Fields that are never written into a page or an address again."""

ADDRESS_SIGNS = "%/:=&?~#+!$,;'@()*[]"
"""What an address may have as it stands; the rest is quoted, since a header has no other letters."""

UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
DIGITS = "0123456789."
FOR_EVER = "ever"


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of one form, each as text; a field that was sent several times is in `all`."""

    all: Mapping[str, tuple[str, ...]]

    def text(self, name: str, default: str = "") -> str:
        """The last one sent, with the line ends of the web made ours, and without blanks around it."""
        values = self.all.get(name)
        return values[-1].replace("\r\n", "\n").strip() if values else default

    def raw(self, name: str) -> str:
        """As it was typed, blanks and all: a password may begin with one."""
        values = self.all.get(name)
        return values[-1] if values else ""

    def list(self, name: str) -> tuple[str, ...]:
        return self.all.get(name, ())

    def reason(self, ask: str = "") -> str:
        """Why something is done, as the API takes it. Raises `Malformed`, also for none where `ask` says that there has
        to be one."""
        said = self.text("reason")
        if problem := text_problem(said) or ("" if said else ask):
            raise Malformed(f"reason: {problem}", field="reason")
        return said

    def chosen(self, name: str) -> bool:
        """Whether a box is ticked."""
        return self.text(name) not in ("", "off", "no")

    def typed(self) -> dict[str, str]:
        """What can be shown again: everything that is no secret."""
        return {name: self.text(name) for name in self.all if name not in SECRETS}


def read(pairs: list[tuple[str, str]]) -> Form:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return Form({name: tuple(values) for name, values in found.items()})


def asked(request: Request) -> Form:
    """The fields in the address: how a page or dialog is to be filled in beforehand."""
    return read(parse_qsl(request.url.query, keep_blank_values=True)[:MOST_FIELDS])


async def sent(request: Request, back: str = "") -> Form:
    """The fields of a form that came from one of our own pages. Raises `NotAllowed` for one that did not.

    Whoever has to log in first is back at the form afterwards, with what was typed: at the address that it was sent to,
    or at `back`.
    """
    same_origin(request)
    body = await request.body()
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict"
        )
    except ValueError:
        raise Malformed(
            "The form cannot be read.", "Reload the page, and send it again.", field="body"
        ) from None
    form = read(pairs)
    request.state.after_login = back or with_typed(request.url.path, form)
    return form


def by(request: Request, role: Role = Role.USER) -> Actor:
    """Whoever pressed the button. Raises `NotAuthenticated` or `NotAllowed`."""
    return require(actor_of(request), role)


def duration(text: str, field: str = "for") -> float | None:
    """Seconds of `90s`, `30m`, `2h`, `1h30m`, `1d`; None for `ever`. Raises `Malformed`."""
    said = text.replace(" ", "").casefold()
    if said in (FOR_EVER, ""):
        return None
    total, digits = 0.0, ""
    for character in said:
        if character in DIGITS:
            digits += character
        elif character in UNITS and digits.replace(".", "", 1).isdecimal():
            total, digits = total + float(digits) * UNITS[character], ""
        else:
            digits = "?"
            break
    if digits or not total:
        raise Malformed(
            f"{field}: {text[:40]!r} is no length of time.", "Write 30m, 2h, 1h30m, 1d or ever.", field=field
        )
    return total


def back_to(request: Request, form: Form, default: str = "/") -> str:
    """Where a form without script goes on: a page of ours, never somebody else's."""
    wanted = form.text("next", default)
    safe = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return quote(wanted, safe=ADDRESS_SIGNS) if safe else default


def with_typed(path: str, form: Form) -> str:
    """The address of a dialog, filled in as it was: what a lost session must not lose."""
    kept = (name for name in form.all if name not in (*SECRETS, "next"))
    typed = [(name, value) for name in kept for value in form.list(name) if value.strip()]
    return f"{path}?{urlencode(typed)}" if typed else path
