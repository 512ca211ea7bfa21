"""What the agent was told: flags, then the environment, then /etc/picluster/agent.conf. All in the same words."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from .http1 import Address
from .records import NamedTuple
from .tree import Tree, clean, real, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl

DEFAULT_PORT = 1337
"""Of the service; meant when an address names neither scheme nor port."""
CONFIG = "/etc/picluster/agent.conf"
TOKEN_FILE = "/etc/picluster/token"  # noqa: S105  a place, not a secret
STATE = "/var/lib/picluster"
CREDENTIAL = "token"
"""As in `LoadCredential=token:/etc/picluster/token`."""
SSH_USER = "picluster"
"""The account of holders on an enforced board."""
ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
"""It becomes the name of files and a word in sshd's settings."""
CLEANUP = "/etc/picluster/cleanup"
CLEANUP_S = 60.0
"""All of the cleaning has to fit into what the service waits for it."""
MOST_LABELS = 64
LONGEST_LABEL = 255

_ADDRESS = re.compile(
    r"(?:(?P<scheme>https?)://)?(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<host>[a-z0-9._-]+))(?::(?P<port>\d{1,5}))?"
    r"(?P<prefix>(?:/[a-z0-9._~%-]+)*?)(?:/api(?:/v1)?)?/*",
    re.IGNORECASE,
)
_LABEL_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")
_YES = ("1", "yes", "true", "on")


class Unusable(Exception):
    """The agent cannot start like this; says what to write where."""


class Enforcing(NamedTuple):
    """What an enforced board does when a lease is over, and to whom."""

    user: str
    """The account that is the holder's."""
    cleanup: str | None
    """A program of the board's owner."""
    cleanup_s: float
    ssh_port: int


class Settings(NamedTuple):
    """`find` makes them."""

    addresses: tuple[Address, ...]
    token_file: str | None
    token: str
    """Used where there is no file."""
    name: str | None
    address: str | None
    """Where people reach this board, if that is not where its packets leave from."""
    labels: dict[str, str]
    ca_file: str | None
    state: str
    ssh_user: str
    ssh_port: int
    vcgencmd: bool
    enforcing: Enforcing | None
    """None: the board is advisory."""

    def read_token(self) -> str:
        """Read anew for each beat, so that a new token works without a restart. Empty if there is none."""
        if self.token_file is None:
            return self.token
        try:
            with open(self.token_file, "rb") as file:
                return sendable(file.read(4096))
        except OSError:
            return ""

    def trust(self) -> ssl.SSLContext:
        """Whom to believe that it is the service: this system's authorities, or the one that was named."""
        import ssl  # several megabytes that a board in a closed network need not spend

        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except OSError as problem:
            raise OSError(problem.errno, f"{self.ca_file}: {problem.strerror or problem}") from None


def find(flags: Mapping[str, str | None], environ: Mapping[str, str], tree: Tree) -> Settings:
    """`flags` by the names of the environment. Raises `Unusable`."""
    told = gather(flags, environ, tree)
    token_file, token = _token(flags, told, tree)
    enforces = told.get("PICLUSTER_ENFORCE", "").lower() in _YES
    enforcing = find_enforcing(told, tree) if enforces else None
    return Settings(
        addresses=read_addresses(told.get("PICLUSTER_URL", "")),
        token_file=token_file,
        token=token,
        name=told.get("PICLUSTER_NAME"),
        address=clean(told.get("PICLUSTER_ADDRESS", ""), 255) or None,
        labels=read_labels(told.get("PICLUSTER_LABELS", "")),
        ca_file=told.get("PICLUSTER_CA_FILE"),
        state=told.get("PICLUSTER_STATE") or told.get("STATE_DIRECTORY") or tree.at(STATE),
        ssh_user=enforcing.user if enforcing else clean(told.get("PICLUSTER_SSH_USER", ""), 255),
        ssh_port=_ssh_port(told),
        vcgencmd=told.get("PICLUSTER_VCGENCMD", "").lower() in _YES,
        enforcing=enforcing,
    )


def gather(flags: Mapping[str, str | None], environ: Mapping[str, str], tree: Tree) -> dict[str, str]:
    """What was said, by the names of the environment: the flag before the variable before the file."""
    told: dict[str, str] = {**read_config(tree), **{key: value for key, value in environ.items() if value}}
    told.update({key: value for key, value in flags.items() if value})
    return told


def find_enforcing(told: Mapping[str, str], tree: Tree) -> Enforcing:
    """How the board would enforce, whether or not it is asked to. Raises `Unusable`."""
    user = told.get("PICLUSTER_SSH_USER", SSH_USER)
    if not ACCOUNT.fullmatch(user):
        raise Unusable(
            f"PICLUSTER_SSH_USER: {user[:80]!r} is no name of an account; {SSH_USER} is the usual one"
        )
    limit = real(told.get("PICLUSTER_CLEANUP_S", str(CLEANUP_S)))
    if limit is None or not 0 < limit <= CLEANUP_S:
        raise Unusable(f"PICLUSTER_CLEANUP_S is a number of seconds up to {CLEANUP_S:g}")
    cleanup = told.get("PICLUSTER_CLEANUP") or (CLEANUP if tree.exists(CLEANUP) else None)
    return Enforcing(user, cleanup, limit, _ssh_port(told))


def _ssh_port(told: Mapping[str, str]) -> int:
    port = whole(told.get("PICLUSTER_SSH_PORT", "22"))
    if port is None or not 1 <= port <= 65_535:
        raise Unusable("PICLUSTER_SSH_PORT is a number from 1 to 65535")
    return port


def read_config(tree: Tree) -> dict[str, str]:
    """KEY=VALUE lines, as systemd's EnvironmentFile has them; what is none is skipped."""
    found = {}
    for line in tree.lines(CONFIG):
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found[key.strip()] = value.strip().strip("\"'")
    return found


def _token(flags: Mapping[str, str | None], told: Mapping[str, str], tree: Tree) -> tuple[str | None, str]:
    """The file named by a flag or setting, the setting itself, systemd's credential, or the usual file."""
    named = told.get("PICLUSTER_TOKEN_FILE")
    if named and (flags.get("PICLUSTER_TOKEN_FILE") or not told.get("PICLUSTER_TOKEN")):
        return named, ""
    if told.get("PICLUSTER_TOKEN"):
        return None, sendable(told["PICLUSTER_TOKEN"].encode("utf-8", "replace"))
    credentials = told.get("CREDENTIALS_DIRECTORY")
    if credentials and os.path.exists(os.path.join(credentials, CREDENTIAL)):
        return os.path.join(credentials, CREDENTIAL), ""
    return tree.at(TOKEN_FILE), ""


def sendable(token: bytes) -> str:
    """As it goes into a header; empty for what cannot."""
    text = token.decode("utf-8", "replace").strip()
    return text if text.isascii() and text.isprintable() and " " not in text else ""


def read_addresses(text: str) -> tuple[Address, ...]:
    """`host`, `host:1337`, `https://host/picluster/api/`, several with commas. Raises `Unusable`."""
    found = tuple(_address(part.strip()) for part in text.split(",") if part.strip())
    if not found:
        raise Unusable(
            f"no service is named: set PICLUSTER_URL in {CONFIG}, as in PICLUSTER_URL=http://host:1337"
        )
    return found


def _address(text: str) -> Address:
    found = _ADDRESS.fullmatch(text)
    port = whole(found["port"]) if found else None
    if not found or (port is not None and port > 65_535):
        raise Unusable(f"PICLUSTER_URL: {text!r} is no address; it looks like http://host:1337")
    secure = (found["scheme"] or "").lower() == "https"
    if port is None:
        port = DEFAULT_PORT if not found["scheme"] else 443 if secure else 80
    return Address(secure, (found["v6"] or found["host"]).lower(), port, found["prefix"])


def read_labels(text: str) -> dict[str, str]:
    """`camera,rack=b`: a word alone is a tag. Raises `Unusable`."""
    found = {}
    for part in text.split(","):
        key, _, value = (word.strip() for word in part.partition("="))
        if not part.strip():
            continue
        if not _LABEL_KEY.fullmatch(key):
            raise Unusable(f"PICLUSTER_LABELS: {key[:80]!r} is no label; they look like camera,rack=b")
        found[key] = clean(value, LONGEST_LABEL)
    if len(found) > MOST_LABELS:
        raise Unusable(f"PICLUSTER_LABELS: {len(found)} labels; {MOST_LABELS} are allowed")
    return found
