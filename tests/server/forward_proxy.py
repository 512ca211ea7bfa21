"""A lab's way out: a small forward proxy on this machine, to which every name is this machine."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class ForwardProxy:
    """`asked` is what went through it; where it is to say no, `refuses` is with which status."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.signed_in: list[str] = []
        self.refuses = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_CONNECT(self) -> None:
                if proxy._lets(self):
                    with socket.create_connection(("127.0.0.1", int(self.path.rpartition(":")[2]))) as there:
                        self.send_response(200)
                        self.end_headers()
                        _join(self.connection, there)

            def do_POST(self) -> None:
                if proxy._lets(self):
                    parts = urlsplit(self.path)
                    body = self.rfile.read(int(self.headers["content-length"]))
                    there = HTTPConnection("127.0.0.1", parts.port or 80)
                    there.request("POST", parts.path, body, dict(self.headers))
                    self.send_response(there.getresponse().status)
                    self.end_headers()
                    there.close()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    def _lets(self, handler: BaseHTTPRequestHandler) -> bool:
        self.asked.append((handler.command, handler.path))
        self.signed_in.append(handler.headers.get("proxy-authorization", ""))
        if self.refuses:
            handler.send_error(self.refuses)
        return not self.refuses


def _join(one: socket.socket, other: socket.socket) -> None:
    """What one says the other hears, until one of them is gone."""
    ends = {one: other, other: one}
    while True:
        for end in select.select(ends, [], [])[0]:
            said = end.recv(65_536)
            if not said:
                return
            ends[end].sendall(said)


@contextmanager
def forward_proxy() -> Iterator[tuple[ForwardProxy, str]]:
    """One for the time of the block, and its address."""
    proxy = ForwardProxy()
    thread = threading.Thread(target=proxy.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield proxy, f"http://127.0.0.1:{proxy.server.server_port}"
    finally:
        proxy.server.shutdown()
        proxy.server.server_close()
        thread.join()
