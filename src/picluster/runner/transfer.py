"""Streams of tar between a thread, which reads and writes files, and the event loop, which has the connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from picluster.runner import archive

Progress = Callable[[int], object]
"""Is told of each piece how many bytes it had."""


def nobody(size: int) -> None:
    """Nobody watches."""


class Fetched(NamedTuple):
    """What came back."""

    files: list[str]
    """By name, below the folder that they were fetched into."""
    missing: list[str]
    """Patterns that named nothing."""


async def in_thread(pieces: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Each piece is made in a thread while the one before it is on its way."""
    coming = asyncio.ensure_future(asyncio.to_thread(next, pieces, b""))
    try:
        while piece := await coming:
            coming = asyncio.ensure_future(asyncio.to_thread(next, pieces, b""))
            yield piece
    finally:
        coming.cancel()


async def unpack(read: Callable[[], Awaitable[bytes]], into: Path) -> list[str]:
    """Unpack what comes, until an empty piece ends it; the names of the files."""
    stream = cast("BinaryIO", _Incoming(read))
    return await asyncio.to_thread(archive.unpack, stream, into)


class _Incoming:
    """What the event loop reads, as a file for a thread."""

    def __init__(self, read: Callable[[], Awaitable[bytes]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._read = read

    def read(self, size: int) -> bytes:
        return asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()

    async def _next(self) -> bytes:
        return await self._read()
