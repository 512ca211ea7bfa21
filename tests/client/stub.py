"""Something at an address that is not the service: it answers whatever a test wants, cut off where it wants."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Stub:
    """Answers each connection with the next of these replies, byte for byte, and closes it; with the last for ever."""

    def __init__(self, *replies: bytes) -> None:
        self._replies = list(replies)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.asked: list[bytes] = []
        """The first line of each request."""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.asked.append(_request(connection).partition(b"\r\n")[0])
                connection.sendall(self._replies[0])
                if len(self._replies) > 1:
                    del self._replies[0]

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@contextmanager
def stub(*replies: bytes) -> Iterator[Stub]:
    running = Stub(*replies)
    try:
        yield running
    finally:
        running.close()


def http(
    body: bytes, status: str = "200 OK", kind: str = "application/json", length: int | None = None
) -> bytes:
    """A whole answer; with another `length` than it has, a cut one."""
    size = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def nowhere() -> str:
    """An address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def _request(connection: socket.socket) -> bytes:
    """All of it: closing before it was read would reset the connection."""
    said = b""
    while b"\r\n\r\n" not in said:
        said += connection.recv(65_536) or b"\r\n\r\n"
    head, _, body = said.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.lower().splitlines()
            if line.startswith(b"content-length:")
        ),
        0,
    )
    while len(body) < length:
        body += connection.recv(65_536)
    return said
