"""Whoever is told: a real HTTP server on this machine, that answers, hangs, fails and goes away when it is told to."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HANG = 0
"""Instead of a status: no answer, for as long as the receiver lives."""


@dataclass(frozen=True)
class Received:
    """One message."""

    path: str
    headers: dict[str, str]
    body: bytes
    answered: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


class Receiver:
    """`mood` says what the next message is answered with."""

    def __init__(self, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.received: list[Received] = []
        self.mood: Callable[[Received], int] | int = 204
        self.headers: dict[str, str] = {}
        self.says = b"out of order"
        """Where it does not say yes."""
        self._over = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {key.lower(): value for key, value in self.headers.items()}
                receiver._take(self, Received(self.path, headers, body, 0))

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    @property
    def taken(self) -> list[Received]:
        """What it has said yes to."""
        return [one for one in self.received if 200 <= one.answered < 300]

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, handler: BaseHTTPRequestHandler, message: Received) -> None:
        mood = self.mood
        status = mood(message) if callable(mood) else mood
        self.received.append(Received(message.path, message.headers, message.body, status))
        if status == HANG:
            self._over.wait(60)
            return
        handler.send_response(status)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        said = self.says if status >= 400 else b""
        handler.send_header("content-length", str(len(said)))
        handler.end_headers()
        with suppress(OSError):  # whoever has heard enough hangs up
            handler.wfile.write(said)


@contextmanager
def receiver(tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Receiver]:
    """One for the time of the block."""
    running = Receiver(tls, port)
    try:
        yield running
    finally:
        running.close()
