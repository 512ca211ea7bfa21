"""A service for the agent's link to talk to, that does what it is told with each request: also nothing."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from picluster.agent.http1 import Address

ORDERS: dict[str, Any] = {
    "machine": "pi",
    "interval_s": 30.0,
    "fence": 0,
    "lease": None,
    "cleaning": 0,
    "service": "in_service",
    "orders": "o1",
}
PROMISED = b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"machine": "pi", '


class Request(NamedTuple):
    line: str
    headers: dict[str, str]
    body: Any


Act = Callable[[socket.socket], bool]
"""Answers one request; whether the connection goes on."""


def answers(status: int = 200, body: Any = ORDERS, **headers: str) -> Act:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(raw)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return says("\r\n".join([*lines, "", ""]).encode() + raw)


def says(raw: bytes, goes_on: bool = True) -> Act:
    def act(peer: socket.socket) -> bool:
        peer.sendall(raw)
        return goes_on

    return act


def trickles(raw: bytes, pause_s: float) -> Act:
    def act(peer: socket.socket) -> bool:
        for byte in raw:
            peer.sendall(bytes([byte]))
            time.sleep(pause_s)
        return True

    return act


def stalls(raw: bytes = b"", seconds: float = 30.0) -> Act:
    """Says the beginning of something, and then nothing until the other end gives up."""

    def act(peer: socket.socket) -> bool:
        peer.sendall(raw)
        peer.settimeout(seconds)
        peer.recv(1)
        return False

    return act


def hangs_up(peer: socket.socket) -> bool:
    return False


class Stub:
    """Does the acts in turn, one for each request; the last for all that follow."""

    def __init__(self, *acts: Act, tls: ssl.SSLContext | None = None) -> None:
        self.acts = list(acts) or [answers()]
        self.requests: list[Request] = []
        self.connections = 0
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._peers: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> Address:
        return Address(self._tls is not None, "127.0.0.1", self._listener.getsockname()[1])

    def close(self) -> None:
        for one in (self._listener, *self._peers):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # closed already
            one.close()

    def __enter__(self) -> Stub:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._talk, args=(peer,), daemon=True).start()

    def _talk(self, peer: socket.socket) -> None:
        try:
            if self._tls:
                peer = self._tls.wrap_socket(peer, server_side=True)
            self._peers.append(peer)
            with peer, peer.makefile("rb") as stream:
                while self._request(stream):
                    act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
                    if not act(peer):
                        return
        except OSError:
            pass  # the other end went away

    def _request(self, stream: Iterable[bytes]) -> bool:
        line = next(iter(stream), b"").decode().strip()
        if not line:
            return False
        headers = {}
        for one in stream:
            name, _, value = one.decode("latin-1").strip().partition(": ")
            if not name:
                break
            headers[name.lower()] = value
        body = stream.read(int(headers["content-length"]))  # type: ignore[attr-defined]
        self.requests.append(Request(line, headers, json.loads(body)))
        return True
