"""A load from one process: persistent connections that send prepared requests and read the answers whole."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any


def request(method: str, path: str, body: object = None, **headers: str) -> bytes:
    """One HTTP/1.1 request as bytes."""
    payload = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(payload)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + payload


REFUSED = False
"""What a piece of work returns that does not count, because the service said no."""


class Connection:
    """One client that waits for each answer before it asks again, as boards and scripts do."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Connection:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**26)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._writer.close()

    async def ask(self, data: bytes) -> bytes:
        """The body of the answer. Raises `RuntimeError` for anything but success."""
        self._writer.write(data)
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 20"):
            raise RuntimeError(head.decode())
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        return await self._reader.readexactly(length) if length else b""


async def rate(port: int, clients: int, seconds: float, work: Callable[[Connection, int], Any]) -> float:
    """How often a second `work(connection, n)` is done by so many clients together."""
    numbers: Iterator[int] = itertools.count()
    done = 0
    end = time.perf_counter() + seconds

    async def client() -> None:
        nonlocal done
        async with Connection(port) as connection:
            while time.perf_counter() < end:
                counts = await work(connection, next(numbers)) is not REFUSED
                done += counts  # not in one line with the await: others count meanwhile

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return done / (time.perf_counter() - started)
