"""Folders as a stream of tar, and back: written for any `tar` to read, and read as if the writer were an enemy.

A machine that a job has had can send anything. So nothing is written but below the folder that was named: names go
downward only, no folder on the way is a link, files are made anew, and links come last and lead to places inside.
Python's own `filter="data"` is missing in the Python of Debian 12, and was got round more than once.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from picluster.errors import TransferFailed

PIECE = 256 * 1024
"""Bytes that are handed on at once, so that ten thousand small files are not ten thousand packets."""
MODES = 0o777
"""What is kept of a file's mode: nobody becomes somebody else by copying."""
FETCHED_MODES = 0o755
"""Of what a machine sent: nobody else here may write to it."""
_BLOCK = tarfile.BLOCKSIZE


# There


def pack(source: Path, name: str = "") -> Iterator[bytes]:
    """A file or a folder with all that is in it, as `name` (its own; `.`: what is in it alone). Sockets and devices are left out.

    Raises `TransferFailed` for what cannot be read.
    """
    try:
        top = source.resolve(strict=True)  # a link that somebody names is meant as what it leads to
        yield from _in_pieces(_entries(top, name or source.absolute().name or top.name))
    except OSError as problem:
        raise TransferFailed(
            f"{problem.filename or source}: {problem.strerror or problem}", "Nothing of it was run."
        ) from None


def _in_pieces(parts: Iterable[bytes]) -> Iterator[bytes]:
    gathered = bytearray()
    for part in parts:
        gathered += part
        if len(gathered) >= PIECE:
            yield bytes(gathered)
            gathered.clear()
    yield bytes(gathered)


def _entries(top: Path, name: str) -> Iterator[bytes]:
    for path, inside in _walk(top, PurePosixPath(name)):
        about = path.lstat()
        entry = _described(path, inside, about)
        if entry is None:
            continue
        yield entry.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
        if entry.isreg():
            yield from _content(path, entry.size)
    yield bytes(2 * _BLOCK)


def _walk(top: Path, name: PurePosixPath) -> Iterator[tuple[Path, PurePosixPath]]:
    """Everything from `top` down, folders before what is in them."""
    if name.name:
        yield top, name
    if top.is_symlink() or not top.is_dir():
        return
    for child in sorted(top.iterdir()):
        yield from _walk(child, name / child.name)


def _described(path: Path, name: PurePosixPath, about: os.stat_result) -> tarfile.TarInfo | None:
    entry = tarfile.TarInfo(str(name))
    entry.mode, entry.mtime = about.st_mode & MODES, int(about.st_mtime)
    if stat.S_ISREG(about.st_mode):
        entry.size = about.st_size
    elif stat.S_ISDIR(about.st_mode):
        entry.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(about.st_mode):
        entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(path)
    else:
        return None
    return entry


def _content(path: Path, size: int) -> Iterator[bytes]:
    """As long as it was when it was looked at: a log may grow meanwhile, and what is cut off is zeros."""
    left = size
    with path.open("rb", buffering=0) as file:
        while left and (piece := file.read(min(left, PIECE))):
            left -= len(piece)
            yield piece
    yield bytes(left + -size % _BLOCK)


# And back


def unpack(stream: BinaryIO, into: Path) -> list[str]:
    """What a stream of tar has, below `into`, which is made; the names of its files. Raises `TransferFailed`."""
    try:
        return _Unpacking(into).everything(stream)
    except (tarfile.TarError, ValueError, OverflowError) as problem:  # of the board's making
        raise TransferFailed(f"What came is no tar stream: {problem}.") from None
    except OSError as problem:
        raise TransferFailed(
            f"{problem.filename or into}: {problem.strerror or problem}",
            "Make room here, or name another --out.",
        ) from None


class _Unpacking:
    """One stream on its way into one folder."""

    def __init__(self, into: Path) -> None:
        into.mkdir(parents=True, exist_ok=True)
        self._into = into
        self._files: list[str] = []
        self._links: list[tuple[Path, str]] = []

    def everything(self, stream: BinaryIO) -> list[str]:
        try:
            archive = tarfile.open(fileobj=stream, mode="r|", bufsize=PIECE)  # noqa: SIM115  closed with its stream
        except tarfile.ReadError as problem:
            if str(problem) == "empty file":  # nothing was asked for that is there
                return []
            raise
        for entry in archive:
            self._one(archive, entry)
        for place, target in self._links:  # last, so that nothing was written through one
            _make_way(place)
            place.symlink_to(target)
        return self._files

    def _one(self, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        parts = _downward(entry.name)
        if entry.isdir():
            self._folder(parts)
        elif not parts:
            raise TransferFailed(f"The machine sent a file without a name ({entry.name!r}).", _ENEMY)
        elif entry.issym():
            place = self._folder(parts[:-1]) / parts[-1]
            self._links.append((place, _inside(entry.linkname, parts)))
        elif entry.isreg() or entry.islnk():
            place = self._folder(parts[:-1]) / parts[-1]
            _make_way(place)
            self._files.append("/".join(parts))
            if entry.isreg():
                _write(archive, entry, place)
            else:
                self._twin(_downward(entry.linkname), place)

    def _folder(self, parts: Sequence[str]) -> Path:
        """A folder below `into`, made step by step, none of which may be a link."""
        place = self._into
        for part in parts:
            place = place / part
            if place.is_symlink() or (place.exists() and not place.is_dir()):
                _make_way(place)
            place.mkdir(exist_ok=True)
        return place

    def _twin(self, of: Sequence[str], place: Path) -> None:
        """Two names of one file on the machine: two files of the same content here."""
        if "/".join(of) not in self._files:
            raise TransferFailed(
                f"The machine sent a second name for {'/'.join(of)!r}, which it did not send.", _ENEMY
            )
        shutil.copy2(self._into.joinpath(*of), place, follow_symlinks=False)


_ENEMY = "No `tar` does that: somebody may have changed the machine's. Nothing was written outside."


def _downward(name: str) -> list[str]:
    """The steps of a name that leads down from where it begins."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise TransferFailed(f"The machine sent a file that would lie outside: {name!r}.", _ENEMY)
    return parts


def _inside(target: str, parts: Sequence[str]) -> str:
    """A link's target that stays inside: `..` only at its beginning, where the folders are real ones, and not too many."""
    steps = [part for part in target.split("/") if part not in ("", ".")]
    ups = next((number for number, step in enumerate(steps) if step != ".."), len(steps))
    if target.startswith("/") or ups >= len(parts) or ".." in steps[ups:]:
        raise TransferFailed(
            f"The machine sent a link that leads outside: {'/'.join(parts)} to {target!r}.",
            "Fetch what it leads to by its own name.",
        )
    return target


def _make_way(place: Path) -> None:
    """What is there from before goes; a folder stays, and whoever wants its place is told so by the system."""
    if place.is_symlink() or not place.is_dir():
        place.unlink(missing_ok=True)


def _write(archive: tarfile.TarFile, entry: tarfile.TarInfo, place: Path) -> None:
    content = archive.extractfile(entry)
    assert content is not None
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    with open(handle, "wb") as file:  # buffered: that writes everything, or raises
        shutil.copyfileobj(content, file, PIECE)
        file.flush()
        if hasattr(os, "fchmod"):
            os.fchmod(handle, entry.mode & FETCHED_MODES | 0o600)
    os.utime(place, (entry.mtime, entry.mtime))
