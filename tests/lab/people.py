"""Who uses the boards: holders with a key, what they do on a board, and a sink that hears in which order it was done."""

from __future__ import annotations

import shlex
import socket
import subprocess
import threading
import uuid
from types import TracebackType
from typing import Any, Self

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
        self.heard: list[tuple[str, str]] = []
        """(fence in the session's environment, who)."""
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
            self.heard.append((fence, who))

    def count(self, who: str) -> int:
        return sum(name == who for _, name in self.heard)

    def work(self, board: Board, holder: Holder, who: str) -> subprocess.Popen[str]:
        """A session of this holder that does one thing after the other, as fast as it can."""
        program = WORK.format(host=GATEWAY, port=self.port, who=who, pause_s=PAUSE_S)
        return board.session(holder.key, f"exec {PYTHON} -c {shlex.quote(program)}")


def out_of_turn(order: list[str]) -> list[str]:
    """Who did something after their successor had begun: in this order, each name may be there once and no more."""
    runs = [name for place, name in enumerate(order) if place == 0 or order[place - 1] != name]
    return sorted({name for name in runs if runs.count(name) > 1})


def dead_within(session: subprocess.Popen[str], limit_s: float) -> None:
    """The session ends by itself within this time."""
    session.communicate(timeout=limit_s)
    assert session.returncode != 0
