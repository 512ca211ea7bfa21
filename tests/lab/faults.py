"""What goes wrong between boards and their service: lost packets, cut directions, and answers from the past.

Only packets between one board and one port are touched, so that people still reach the board.
"""

from __future__ import annotations

import http.client
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from tests.lab.boards import Board
from tests.lab.wire import GATEWAY
from tests.service import ServiceProcess

EVERY = ""
SO_MANY = "numgen random mod 100 < {percent} "
"""Packets that a rule takes, in nft's words."""
_COUNTED = re.compile(r"counter packets (\d+)")
Dropped = Callable[[], int]
"""How many packets were lost so far."""


@contextmanager
def deaf(board: Board) -> Iterator[Dropped]:
    """The board hears nothing of its service, and the service hears the board."""
    with _dropping(board, _out_of(board)) as dropped:
        yield dropped


@contextmanager
def mute(board: Board) -> Iterator[Dropped]:
    """The service hears nothing of the board."""
    with _dropping(board, _into(board)) as dropped:
        yield dropped


@contextmanager
def parted(board: Board) -> Iterator[Dropped]:
    """Neither hears the other."""
    with _dropping(board, _into(board), _out_of(board)) as dropped:
        yield dropped


@contextmanager
def lossy(board: Board, percent: int) -> Iterator[Dropped]:
    """So many of all packets are lost, both ways."""
    some = SO_MANY.format(percent=percent)
    with _dropping(board, _into(board, some), _out_of(board, some)) as dropped:
        yield dropped


def _into(board: Board, which: str = EVERY) -> tuple[str, str]:
    """The service's ear: a netfilter hook, and the rule there."""
    assert board.pool
    return "input", f"ip saddr {board.address} tcp dport {board.pool.port} {which}counter drop"


def _out_of(board: Board, which: str = EVERY) -> tuple[str, str]:
    """The service's mouth."""
    assert board.pool
    return "output", f"ip daddr {board.address} tcp sport {board.pool.port} {which}counter drop"


@contextmanager
def _dropping(board: Board, *rules: tuple[str, str]) -> Iterator[Dropped]:
    table = f"fault-{board.name}"
    lines = [f"add table ip {table}"]
    for hook, rule in rules:
        lines.append(f"add chain ip {table} {hook} {{ type filter hook {hook} priority 0; }}")
        lines.append(f"add rule ip {table} {hook} {rule}")
    _nft("\n".join(lines))
    try:
        yield lambda: sum(map(int, _COUNTED.findall(_nft(f"list table ip {table}"))))
    finally:
        _nft(f"delete table ip {table}")


def _nft(commands: str) -> str:
    done = subprocess.run(["nft", "-f", "-"], input=commands, text=True, stdout=subprocess.PIPE, check=True)
    return done.stdout


class Gateway:
    """Stands between boards and a service, passes beats on, and remembers the answers: to be given again, later."""

    def __init__(self, pool: ServiceProcess) -> None:
        self._pool = pool
        self._server = ThreadingHTTPServer((GATEWAY, 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.answers: list[bytes] = []
        """Of the service, oldest first."""
        self.replay: bytes | None = None
        """Given to every beat, instead of asking the service, while there is one."""
        self.replayed = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _pass_on(self, path: str, token: str, body: bytes) -> tuple[int, bytes]:
        service = http.client.HTTPConnection("127.0.0.1", self._pool.port, timeout=30)
        try:
            service.request("POST", path, body, {"Authorization": token, "Content-Type": "application/json"})
            answer = service.getresponse()
            return answer.status, answer.read()
        finally:
            service.close()

    def answer(self, path: str, token: str, body: bytes) -> tuple[int, bytes]:
        if self.replay is not None:
            self.replayed += 1
            return 200, self.replay
        status, said = self._pass_on(path, token, body)
        if self.replay is not None:  # this one was on its way when the past began
            self.replayed += 1
            return 200, self.replay
        self.answers.append(said)
        return status, said

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, said = gateway.answer(self.path, self.headers["Authorization"], body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *arguments: object) -> None:
                pass  # the test says what went wrong

        return Handler
