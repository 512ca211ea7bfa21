"""Which service, and who asks: what was said, then the environment, then what `picluster login` has stored."""

from __future__ import annotations

import getpass
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from picluster.errors import Malformed

DEFAULT_PORT = 1337
"""Where a service listens unless told otherwise; meant when an address names neither scheme nor port."""

USER_HEADER = "X-Picluster-User"
"""Who asks, when only the shared key is known: percent-encoded UTF-8."""

HOW_TO_SAY = (
    "Set PICLUSTER_URL (and PICLUSTER_TOKEN), or run `picluster login`; `picluster demo` starts one to try."
)
_API = re.compile(r"/api(/v1)?$")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True)
class Where:
    """One pool: the addresses of its replicas, and what to show them."""

    addresses: tuple[str, ...]
    token: str = ""
    """A bearer token, or the shared key."""
    user: str = ""
    """The name that goes with the shared key."""

    @property
    def headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
            headers[USER_HEADER] = quote(self.user, safe="", errors="surrogateescape")
        return headers


def find(
    url: str | None = None,
    token: str | None = None,
    user: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Where:
    """What was said, then the environment, then the stored login. Raises `Malformed` when no address is known."""
    address = url or environ.get("PICLUSTER_URL") or environ.get("RPI_CLUSTER") or ""
    known = token if token is not None else environ.get("PICLUSTER_TOKEN") or environ.get("RPI_APIKEY")
    stored = read_login(environ) if not address or known is None else {}
    address = address or stored.get("url", "")
    if not address:
        raise Malformed("No service is named.", HOW_TO_SAY, field="url")
    if not known and stored and addresses(address) == addresses(stored.get("url", "")):
        known = stored.get("token")
    who = user or environ.get("PICLUSTER_USER") or user_name()
    return Where(addresses(address), _sendable(known or ""), who)


def _sendable(token: str) -> str:
    """Without the blanks and line ends that pasting leaves. Raises `Malformed` for what no header carries."""
    text = token.strip()
    if not (text.isprintable() and all(ord(one) < 256 for one in text)):
        raise Malformed("token: it has characters that cannot be sent.", "Paste it anew.", field="token")
    return text


def addresses(text: str) -> tuple[str, ...]:
    """`host`, `host:1337`, `http://host:1337/api/`, several with commas: as addresses to put a path behind.

    Raises `Malformed` for what is none.
    """
    found = tuple(_address(part.strip()) for part in text.split(",") if part.strip())
    if not found:
        raise _no_address(text, "it names no host")
    return found


def _address(text: str) -> str:
    named = bool(_SCHEME.match(text))
    try:
        parts = urlsplit(text if named else f"http://{text}")
        port = parts.port
    except ValueError as problem:
        raise _no_address(text, str(problem)) from None
    if parts.scheme not in ("http", "https"):
        raise _no_address(text, f"{parts.scheme} is not spoken")
    if not parts.hostname or " " in text or not text.isprintable():
        raise _no_address(text, "it names no host")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if port is None and not named:
        port = DEFAULT_PORT
    path = _API.sub("", parts.path.rstrip("/")).rstrip("/")
    return f"{parts.scheme}://{host}{f':{port}' if port is not None else ''}{path}"


def _no_address(text: str, why: str) -> Malformed:
    return Malformed(
        f"url: {text!r} is no address of a service: {why}.", "It looks like http://host:1337", field="url"
    )


def user_name() -> str:
    """Who is logged in at this computer; where it does not say, as in some containers, `nobody`."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "nobody"


def login_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Where `picluster login` keeps what it was told."""
    if chosen := environ.get("PICLUSTER_CONFIG"):
        return Path(chosen)
    from platformdirs import user_config_path

    return user_config_path("picluster", appauthor=False) / "login.json"


def read_login(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`{"url": …, "token": …}`, or nothing. Raises `Malformed` when the file is damaged."""
    file = login_file(environ)
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as problem:
        raise Malformed(f"{file} cannot be read: {problem}.", "Run `picluster login` again.") from None
    return {str(key): str(value) for key, value in known.items()} if isinstance(known, dict) else {}


def write_login(url: str, token: str) -> Path:
    """Keep it for the next time, readable for this user alone."""
    file = login_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    with suppress(FileNotFoundError):
        fresh.unlink()
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        json.dump({"url": url, "token": token}, out, indent=2)
        out.write("\n")
    os.replace(fresh, file)
    return file
