"""`(fence, closed)`, kept durably: which grants this board has seen. A closed fence is never opened again.

Written before anything is acted upon: a fresh file beside the old one, fsynced, renamed, the folder fsynced.
So after a power cut it says the old or the new, and if a card garbles it all the same, the highest fence
that can still be read counts as closed: the holder is locked out rather than the one before let in.
"""

from __future__ import annotations

import os
import re
import zlib

from .tree import LARGEST_NUMBER

_LINE = re.compile(rb"fence=(\d{1,19}) closed=([01]) check=([0-9a-f]{8})\n")
_NUMBER = re.compile(rb"(?<!\d)\d{1,19}(?!\d)")
_CHECK = re.compile(rb"check=[0-9a-f]{0,8}")
_MOST_BYTES = 4096


class Stale(Exception):
    """This fence is below the newest, or is closed."""


class Fences:
    """The newest fence that this board has seen, and whether it is closed."""

    def __init__(self, file: str | os.PathLike[str]) -> None:
        self._file = os.fspath(file)
        self.fence = 0
        self.closed = True
        self.damaged = False
        """The file could not be read as it was written; until the next write."""
        self._load()
        self._kept = (self.fence, self.closed)

    def may_open(self, fence: int) -> bool:
        return fence > self.fence or (fence == self.fence and not self.closed)

    def open(self, fence: int, *, durable: bool = True) -> None:
        """Raises `Stale`, or `OSError` when it cannot be kept; then nothing has changed."""
        if not self.may_open(fence):
            raise Stale(f"fence {fence} is stale: {self.fence} is {'closed' if self.closed else 'open'}")
        _check(fence)
        if durable:
            self._keep(fence, closed=False)
        self.fence, self.closed = fence, False

    def close(self, fence: int) -> None:
        """For ever. Raises `Stale` for an older one, or `OSError` when it cannot be kept: it is closed even so."""
        if fence < self.fence:
            raise Stale(f"fence {fence} is older than {self.fence}")
        _check(fence)
        self.fence, self.closed = fence, True
        self._keep(fence, closed=True)

    def _keep(self, fence: int, *, closed: bool) -> None:
        if (fence, closed) != self._kept or self.damaged:
            write_durably(self._file, line(fence, closed=closed))
        self._kept, self.damaged = (fence, closed), False

    def _load(self) -> None:
        try:
            kept = _read(self._file)
        except FileNotFoundError:
            return
        except OSError:
            self.damaged = True
            return
        found = _LINE.fullmatch(kept)
        if found and kept == line(int(found[1]), closed=found[2] == b"1"):
            self.fence, self.closed = int(found[1]), found[2] == b"1"
            return
        self.damaged = True
        try:
            kept += b" " + _read(_beside(self._file))
        except OSError:
            pass  # there need not be one
        numbers = (int(number) for number in _NUMBER.findall(_CHECK.sub(b" ", kept)))
        self.fence = max((number for number in numbers if number <= LARGEST_NUMBER), default=0)


def _check(fence: int) -> None:
    if not 0 < fence <= LARGEST_NUMBER:
        raise Stale(f"{fence} is no fence")


def line(fence: int, *, closed: bool) -> bytes:
    said = f"fence={fence} closed={int(closed)}"
    return f"{said} check={zlib.crc32(said.encode()):08x}\n".encode()


def write_durably(file: str, data: bytes) -> None:
    """All of it or nothing, also over a power cut. Raises `OSError`."""
    fresh = _beside(file)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(handle, left) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    os.replace(fresh, file)
    folder = os.open(os.path.dirname(file) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _beside(file: str) -> str:
    return file + ".new"


def _read(file: str) -> bytes:
    with open(file, "rb") as kept:
        return kept.read(_MOST_BYTES)
