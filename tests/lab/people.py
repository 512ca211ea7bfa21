"""Who uses the boards: holders with a key, what they do on a board, and a sink that hears in which order it was done."""

from __future__ import annotations

import shlex
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Sequence
from itertools import groupby
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.lab.boards import PYTHON, Board, Lab
from tests.lab.wire import GATEWAY
from tests.service import ServiceProcess, until

LONG_POLL_S = 25
WORK = """
import os, socket, time
sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sink.connect(("{host}", {port}))
fence, count = os.environ.get("PICLUSTER_FENCE", "none"), 0
while True:
    sink.send(f"{{fence}} {who} {{count}}".encode())
    count += 1
    time.sleep({pause_s})
"""
PAUSE_S = 0.0005
"""Between two commands of a holder: as many as the sink can hear without losing one."""


class Holder:
    """Somebody with a key and one lease at a time. Every call is one of the API, by the admin unless `token` says who."""

    def __init__(self, lab: Lab, pool: ServiceProcess) -> None:
        self.pool = pool
        self.key = lab.key()
        self.path = ""
        self.fence = 0

    def ask(self, selector: str, wait_s: float = 0, **more: Any) -> dict[str, Any]:
        """A new lease: held, or waiting behind somebody."""
        self.path = f"/api/v1/leases/{uuid.uuid4()}"
        asked = {"selector": selector, "ttl_s": 600, "ssh_public_keys": [self.key.public], **more}
        return self._learn(self.pool.send("PUT", f"{self.path}?wait={wait_s}", asked).json())

    def take(self, board: Board, **more: Any) -> dict[str, Any]:
        """The board, now, and ready to be used."""
        until(lambda: board.machine.get("state") == "free")
        lease = self.ask(f"name:{board.name}", queue=False, **more)
        assert lease.get("state") == "held", lease
        return self.ready()

    def renew(self, wait_s: float = 0, **more: Any) -> dict[str, Any]:
        return self._learn(self.pool.send("POST", f"{self.path}/renew?wait={wait_s}", more).json())

    def ready(self) -> dict[str, Any]:
        """Wait in the calls that the service holds open, until every board of it lets its holder in."""
        while True:
            lease = self.renew(LONG_POLL_S)
            if lease["state"] == "ended" or lease["ready"]:
                return lease

    def release(self) -> dict[str, Any]:
        return self._learn(self.pool.send("DELETE", self.path).json())

    @property
    def lease(self) -> dict[str, Any]:
        """As it is now; reading renews nothing."""
        return dict(self.pool.get(self.path).json())

    def can_use(self, board: Board) -> bool:
        """Its key opens the board."""
        return board.ssh(self.key, "true").returncode == 0

    def _learn(self, lease: dict[str, Any]) -> dict[str, Any]:
        self.fence = lease.get("fence") or self.fence
        return lease


class Heard(NamedTuple):
    """One command that somebody's session carried out."""

    fence: str
    """In the session's environment."""
    who: str


class Sink:
    """Hears every command of every holder, in the order in which they were carried out.

    Datagrams of one board go one way, through one queue, so that none overtakes another, and none lingers in the
    buffers of a process that is dead.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.bind((GATEWAY, 0))
        self.port = self._socket.getsockname()[1]
        self.heard: list[Heard] = []
        self.began: dict[str, float] = {}
        """When each one's first command was heard."""
        self._listener = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.sendto(b"", (GATEWAY, self.port))
        self._listener.join()
        self._socket.close()

    def _listen(self) -> None:
        while said := self._socket.recv(200):
            fence, who, _ = said.decode().split()
            self.heard.append(Heard(fence, who))
            self.began.setdefault(who, time.monotonic())

    def work(self, board: Board, holder: Holder, who: str) -> subprocess.Popen[str]:
        """A session of this holder that does one thing after the other, as fast as it can."""
        return board.session(holder.key, self._program(who))

    def command(self, board: Board, holder: Holder, who: str) -> list[str]:
        """The same, for somebody else to start."""
        return board.ssh_command(holder.key, self._program(who))

    def _program(self, who: str) -> str:
        program = WORK.format(host=GATEWAY, port=self.port, who=who, pause_s=PAUSE_S)
        return f"exec {PYTHON} -c {shlex.quote(program)}"


def out_of_turn(heard: Sequence[Heard]) -> list[str]:
    """Who did something after their successor had begun."""
    turns = [who for who, _ in groupby(one.who for one in heard)]
    return sorted({who for who in turns if turns.count(who) > 1})
