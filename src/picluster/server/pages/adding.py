"""Add a machine: what to run on a board, with a fresh join token in it, and watching it arrive.

What the line says stands in the address (`os`, `way`, `name`, `labels`, `enforce`); whom its token lets in is the
token's own, so another number of boards is another token.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from fastapi import APIRouter, Request
from markupsafe import Markup, escape
from starlette.responses import Response

from picluster import joining
from picluster.errors import Malformed, PiclusterError
from picluster.joining import Invitation
from picluster.pool.model import Actor, Machine, Role
from picluster.server.context import Context
from picluster.server.downloads import agent, own_address
from picluster.server.pages import forms
from picluster.server.pages.forms import Form
from picluster.server.pages.frame import SAFE_HEADERS, go, is_part, page
from picluster.server.pages.join_tokens import Shown
from picluster.server.pages.rows import model_of
from picluster.server.pages.viewer import Viewer, viewer_of
from picluster.server.present import JOINING
from picluster.server.v1.common import InContext
from picluster.server.words import STATES
from picluster.wire import MOST_USES

router = APIRouter(include_in_schema=False)

MOST_NAMES = 3
"""Of whom to ask: more are a crowd, in which everybody thinks that somebody else will do it."""


@dataclass(frozen=True, slots=True)
class System:
    """What may run on a board, and the ways in which it can be told to join."""

    key: str
    word: str
    about: str
    ways: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Way:
    """One text that makes a board join: the file it belongs into, if it is one, and what to do with it."""

    key: str
    word: str
    title: str
    file: str
    text: Callable[[Invitation], str]
    about: str


SYSTEMS = (
    System("trixie", "Raspberry Pi OS 13", "Trixie, 32 or 64 bit", ("line", "user-data")),
    System("bookworm", "Raspberry Pi OS 12", "Bookworm, or older", ("line", "firstrun")),
    System("debian", "Debian or Ubuntu", "with systemd and Python 3.9", ("line", "cloud-init")),
    System("other", "Anything else", "Linux with Python 3.9", ("line",)),
)

_ON_CARD = "It goes onto the card's boot partition before the first boot."
WAYS = {
    way.key: way
    for way in (
        Way("line", "One line", "Run this on the board", "", joining.one_line, ""),
        Way(
            "user-data",
            "SD card",
            "Put this onto the SD card",
            "user-data",
            joining.user_data,
            f"{_ON_CARD} If the Imager has written a user-data, add these two lists to that one.",
        ),
        Way(
            "firstrun",
            "SD card",
            "Put this onto the SD card",
            "firstrun.sh",
            joining.firstrun,
            f"{_ON_CARD} Its first lines say what cmdline.txt needs, or where it goes if the Imager has written one.",
        ),
        Way(
            "cloud-init",
            "cloud-init",
            "Give this to cloud-init",
            "user-data",
            joining.user_data,
            "As user data, wherever your system takes it. If there is some already, add these two lists.",
        ),
    )
}


@router.get("/add")
async def add_page(request: Request, context: InContext) -> Response:
    """The line, or the text for a card, for what the address says; below it who has joined."""
    actor = forms.by(request, Role.OPERATOR)
    return _page(request, context, await _shown(request, context, actor))


@router.get("/add/file")
async def add_file(request: Request, context: InContext) -> Response:
    """The text as a file."""
    actor = forms.by(request, Role.OPERATOR)
    shown = await _shown(request, context, actor)
    _, way = _chosen(forms.asked(request))
    headers = {**SAFE_HEADERS, "Content-Disposition": f'attachment; filename="{way.file or "join.sh"}"'}
    written = way.text(_invitation(request, forms.asked(request), shown.text))
    return Response(written, media_type="application/octet-stream", headers=headers)


@router.post("/add/token")
async def another_token(request: Request, context: InContext) -> Response:
    """Another token: for so many boards, and whether a person looks at each before it is let in."""
    form = await forms.sent(request, back="/add")
    actor = forms.by(request, Role.OPERATOR)
    known = context.dashboard.join_tokens
    try:
        await known.another(actor, _uses(form), form.chosen("approve"))
    except Malformed as error:
        return _page(request, context, await known.fresh(actor), error)
    return go(request, forms.back_to(request, form, "/add"))


async def _shown(request: Request, context: Context, actor: Actor) -> Shown:
    """Whoever opens the page has a token that is good. The script that looks again is shown the same one, even when it is
    used up by now, or was made by a process that is no more: a page that is left open makes none."""
    known = context.dashboard.join_tokens
    return known.latest(actor.name) if is_part(request) else await known.fresh(actor)


def _uses(form: Form) -> int:
    said = form.text("uses", "1")
    if not said.isdecimal() or len(said) > 4:
        raise Malformed(f"uses: a number of boards, from 1 to {MOST_USES}.", field="uses")
    return int(said)


def _chosen(form: Form) -> tuple[System, Way]:
    """What the address says; what is not known is as if it was not there."""
    system = next((one for one in SYSTEMS if one.key == form.text("os")), SYSTEMS[0])
    wanted = form.text("way")
    return system, WAYS[wanted if wanted in system.ways else system.ways[0]]


def _invitation(request: Request, form: Form, token: str) -> Invitation:
    """Raises `Malformed` for what no board could be told."""
    name, labels = form.text("name"), ",".join(re.split(r"[\s,]+", form.text("labels")))
    try:
        return Invitation(own_address(request), token, name, labels.strip(","), form.chosen("enforce"))
    except ValueError as problem:
        raise Malformed(f"{problem}.", "Correct it; one line each.") from None


def _page(request: Request, context: Context, shown: Shown, error: PiclusterError | None = None) -> Response:
    form, (system, way) = forms.asked(request), _chosen(forms.asked(request))
    written = ""
    try:
        written = way.text(_invitation(request, form, shown.text)).rstrip("\n") if shown.text else ""
    except Malformed as problem:
        error = error or problem
    viewer, known = viewer_of(request), context.dashboard.join_tokens
    return page(
        request,
        "add.html",
        secret=True,
        viewer=viewer,
        form=form,
        systems=SYSTEMS,
        system=system,
        ways=[WAYS[key] for key in system.ways],
        way=way,
        text=written,
        marked=_marked(written, shown.text, own_address(request)),
        error=error,
        address=own_address(request),
        only_here=_is_this_machine(own_address(request)),
        plain=request.url.scheme == "http",
        token=shown.token,
        uses=shown.uses,
        joined=shown.joined,
        arrivals=[_arrival(context, machine, at, viewer) for machine, at in known.arrivals(viewer.name)],
        agent_kb=round(len(agent()[0]) / 1_000),
        beat_s=context.settings.beat_s,
        now_us=context.wall_us(),
    )


def _marked(text: str, *differs: str) -> Markup:
    """A text with what differs from pool to pool made to stand out."""
    found = escape(text)
    for one in differs:
        found = found.replace(escape(one), Markup("<b>{}</b>").format(one))
    return found


def _arrival(context: Context, machine: Machine, at_us: int, viewer: Viewer) -> dict[str, Any]:
    """A board that has joined, as one row."""
    rows, lease = context.dashboard.rows, context.view.roster.leases.get(machine.lease)
    heard = context.view.heard.get(machine.name)
    beaten = heard is not None and heard.heard_us >= at_us
    return {
        "machine": machine,
        "at_us": at_us,
        "beaten": beaten,
        "model": model_of(machine),
        "state": rows.state(machine, viewer) if beaten else STATES[JOINING],
        "beats": Markup(rows.cells(machine.name)[2]),  # noqa: S704  made of our own drawings and numbers
        "action": rows.action(machine, lease, viewer) if beaten else None,
    }


def _is_this_machine(address: str) -> bool:
    """Whether boards that are told this address would look for the service on themselves."""
    host = address.partition("://")[2].rpartition(":")[0] or address.partition("://")[2]
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


# The empty list


async def invitation(request: Request, context: Context, viewer: Viewer) -> dict[str, Any]:
    """For the list while it is empty: the one line to run, for those who may add machines; whom to ask, for others."""
    nothing = {"line": "", "token": None, "operators": _operators(context) if viewer.known else []}
    if not viewer.operates:
        return nothing
    shown = await _shown(request, context, forms.by(request, Role.OPERATOR))
    if not shown.text:
        return nothing
    try:
        line = joining.one_line(_invitation(request, Form({}), shown.text)).rstrip("\n")
    except Malformed:
        return nothing
    only_here = _is_this_machine(own_address(request))
    return {
        **nothing,
        "line": line,
        "marked": _marked(line, shown.text, own_address(request)),
        "token": shown.token,
        "only_here": only_here,
        "secret": True,
    }


def _operators(context: Context) -> list[str]:
    """Accounts that may add machines, those who do it every day first."""
    people = context.view.roster.people.values()
    able = [one for one in people if one.role >= Role.OPERATOR and not one.disabled and one.password]
    return [one.name for one in sorted(able, key=lambda one: (one.role, one.name))][:MOST_NAMES]
