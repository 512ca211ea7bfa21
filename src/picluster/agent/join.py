"""How a board joins: it shows a join token once, gets a token of its own, and keeps what the agent needs to start.

Asking again is safe: the service knows the board by its identity and answers with a fresh token for the same
machine. A board that has a token that works keeps it, so that an installer may run as often as somebody likes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping

from . import VERSION, identity
from .facts import host_keys
from .http1 import Address, Answer, Broken, Connection
from .records import NamedTuple
from .settings import CONFIG, TOKEN_FILE, Settings, Unusable, sendable
from .state import write_durably
from .tree import Tree, clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WITHIN_S = 15.0
"""For an answer; the service has nothing to wait for."""
JOINED, FAILED, REFUSED, AWAY = 0, 1, 4, 6
"""Exit codes, in the meanings of `picluster`: what was refused needs a person, what is away may be asked later."""
REMEMBERED = ("LABELS", "ADDRESS", "CA_FILE", "SSH_USER", "SSH_PORT")
"""Flags of the joining that the agent needs each time, by the names of the environment."""
PLACES = ("TOKEN_FILE", "STATE")
"""As these, but the agent may start in another folder."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class NotJoined(Exception):
    """Why not, in words, and with which exit code."""

    def __init__(self, why: str, code: int = FAILED) -> None:
        super().__init__(why)
        self.code = code


class Joined(NamedTuple):
    """What the service answered."""

    machine: str
    token: str
    service: str
    reason: str


class Join:
    """One board at one service. `say` is told what happens, line by line."""

    def __init__(self, settings: Settings, tree: Tree, say: Callable[[str], None]) -> None:
        self._settings, self._tree, self._say = settings, tree, say
        name = identity.machine_name(settings.name, identity.host_name(tree))
        board = identity.board_id(tree)
        if not name or not board:
            raise Unusable(
                "this board has no name or no identity: set PICLUSTER_NAME, or make /etc/machine-id"
            )
        self.name, self._board = name, board
        self._token_file = settings.token_file or tree.at(TOKEN_FILE)

    def run(self, join_token: str, flags: Mapping[str, str | None], *, again: bool = False) -> int:
        """Join, unless the board has joined; the exit code."""
        try:
            if not again and self._has_joined():
                self._keep_settings(self.name, flags)
                self._say(f"{self.name} has joined already, and its token works; --again gets a new one")
                return JOINED
            self._warn_if_readable()
            joined, address = self._ask_each(join_token)
            self._keep_settings(joined.machine, flags)
            self._write(self._token_file, f"{joined.token}\n")
        except NotJoined as problem:
            self._say(str(problem))
            return problem.code
        except OSError as problem:
            self._say(f"joined, but that cannot be written down: {problem.filename}: {problem.strerror}")
            return FAILED
        self._say(f"joined as {joined.machine} at {address}: {_standing(joined)}")
        return JOINED

    def _warn_if_readable(self) -> None:
        for address in self._settings.addresses:
            if not address.secure and address.host not in ("localhost", "127.0.0.1", "::1"):
                self._say(f"{address} is not encrypted: who listens on the network can read both tokens")

    # Asking

    def _has_joined(self) -> bool:
        """Whether the token that is here works: a beat that says nothing is malformed then, and else not allowed."""
        token = self._settings.read_token()
        if not token.startswith("pc_agent_"):
            return False
        answer, _ = self._post_each(f"/api/v1/machines/{self.name}/beat?wait=0", token, {})
        return answer.status == 400

    def _ask_each(self, join_token: str) -> tuple[Joined, Address]:
        if not sendable(join_token.encode()):
            raise NotJoined("the join token is empty, or not one line of letters", REFUSED)
        answer, address = self._post_each("/api/v1/join", sendable(join_token.encode()), None)
        if answer.status != 201:
            raise NotJoined(f"{address} {_refusal(answer)}", REFUSED)
        return _joined(answer.body), address

    def _post_each(self, path: str, token: str, said: Mapping[str, Any] | None) -> tuple[Answer, Address]:
        """At one address after the other, until one has an answer that counts."""
        troubles = []
        for address in self._settings.addresses:
            connection = Connection(address, self._settings.trust)
            body = json.dumps(self._about(address) if said is None else said).encode()
            try:
                answer = connection.post(path, _headers(token), body, WITHIN_S)
            except Broken as problem:
                troubles.append(f"{address}: {problem}")
                continue
            finally:
                connection.close()
            if answer.status < 500 and answer.status != 429:
                return answer, address
            troubles.append(f"{address} {_refusal(answer)}")
        raise NotJoined("; ".join(troubles), AWAY)

    def _about(self, address: Address) -> dict[str, Any]:
        own = self._settings.address or identity.own_address(address.host, address.port)
        return {
            "name": self.name,
            "id": self._board,
            "address": own or self.name,
            "boot_id": identity.boot_id(self._tree),
            "host_keys": host_keys(self._tree),
        }

    # Keeping

    def _keep_settings(self, machine: str, flags: Mapping[str, str | None]) -> None:
        """Before the token: a board with a token has joined, and must know where."""
        news = {f"PICLUSTER_{name}": flags.get(f"PICLUSTER_{name}") for name in REMEMBERED}
        news.update(
            {
                f"PICLUSTER_{name}": os.path.abspath(said)
                for name in PLACES
                if (said := flags.get(f"PICLUSTER_{name}"))
            }
        )
        news["PICLUSTER_URL"] = ",".join(map(str, self._settings.addresses))
        news["PICLUSTER_NAME"] = machine
        before = (self._tree.data(CONFIG) or b"").decode("utf-8", "replace")
        after = with_settings(before, {key: value for key, value in news.items() if value})
        self._write(self._tree.at(CONFIG), after)
        os.chmod(self._tree.at(CONFIG), 0o644)  # no secret, and the agent may run as somebody else

    def _write(self, file: str, text: str) -> None:
        os.makedirs(os.path.dirname(file) or ".", mode=0o755, exist_ok=True)
        write_durably(file, text.encode())


def with_settings(config: str, news: Mapping[str, str | None]) -> str:
    """Each setting has its line once; comments, other settings and the order stay."""
    left = {key: f"{key}={clean(value or '', 4096)}" for key, value in news.items()}
    kept = []
    for line in config.splitlines():
        key = line.partition("=")[0].strip()
        if key not in news:
            kept.append(line)
        elif key in left:
            kept.append(left.pop(key))
    return "\n".join([*kept, *left.values(), ""])


def join_token(told: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """From the command line, a file, or the environment. Raises `Unusable`."""
    if "join-file" not in told:
        return told.get("join") or environ.get("PICLUSTER_JOIN_TOKEN", "")
    try:
        with open(told["join-file"], "rb") as file:
            return file.read(4096).decode("utf-8", "replace").strip()
    except OSError as problem:
        raise Unusable(f"{told['join-file']}: {problem.strerror}") from None


def _headers(token: str) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Accept": "application/json",
        "User-Agent": f"picluster-agent/{VERSION}",
    }


def _joined(body: bytes) -> Joined:
    """Raises `NotJoined` for what is no answer of a service: nothing of it is written down."""
    try:
        said = json.loads(body)
        found = Joined(*(said.get(field) or "" for field in Joined._fields))
    except (ValueError, AttributeError, RecursionError):
        found = Joined("", "", "", "")
    if not all(isinstance(one, str) for one in found) or not _NAME.fullmatch(found.machine):
        raise NotJoined("what answers there is not a picluster service")
    if not found.token or sendable(found.token.encode()) != found.token:
        raise NotJoined("the service answered without a token for this board")
    return found


def _standing(joined: Joined) -> str:
    """How the machine stands, in one line."""
    state = clean(joined.service, 40).replace("_", " ")
    reason = clean(joined.reason, 300)
    if joined.service == "pending":
        return f"pending, until a person approves it{f' ({reason})' if reason else ''}"
    return f"{state}{f' ({reason})' if reason else ''}"


def _refusal(answer: Answer) -> str:
    """What an answer other than 201 means for whoever reads the installer's last line."""
    if 300 <= answer.status < 400:
        where = clean(answer.headers.get("location", ""), 200)
        return f"sends this board elsewhere: give --url what {where!r} begins with"
    try:
        error = json.loads(answer.body)["error"]
        said = clean(f"{error['message']} {error.get('hint') or ''}", 300)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        said = "that is not in the words of a picluster service"
    return f"answers {answer.status}: {said}"
