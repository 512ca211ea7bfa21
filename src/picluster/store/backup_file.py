"""The file of a backup: lines of JSON, compressed, between a first line that says what it is and a last one that seals it.

The last line counts the rows and has a digest of all before it, so that a file cut short or damaged on the way
is noticed before anything is touched. Nothing here knows a database, so a client can check what it got.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from picluster.store import StoreProblem

FORMAT = 1
"""Raised when a line changes its meaning. A new column does not: an older backup lacks it, and gets its default."""

PIECE_BYTES = 64 * 1024
"""Compressed output is handed on in pieces of at least this size."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the first line says."""

    format: int
    version: str
    rules_version: int
    taken_us: int
    revision: int


# Writing one


def sealed(things: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """These objects as a backup, compressed, in pieces; the first has to be what `header` makes."""
    squeeze = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)  # 16: with the header of gzip
    waiting = b""
    for line in _with_seal(things):
        waiting += squeeze.compress(line)
        if len(waiting) >= PIECE_BYTES:
            yield waiting
            waiting = b""
    yield waiting + squeeze.flush()


def header(version: str, rules_version: int, taken_us: int, revision: int) -> dict[str, Any]:
    """The first line."""
    about = {"version": version, "rules_version": rules_version, "taken_us": taken_us, "revision": revision}
    return {"picluster_backup": FORMAT, **about}


def _with_seal(things: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    digest, count = hashlib.sha256(), 0
    for thing in things:
        line = _line(thing)
        digest.update(line)
        count += 1
        yield line
    yield _line({"end": True, "rows": count - 1, "sha256": digest.hexdigest()})


def _line(thing: dict[str, Any]) -> bytes:
    return json.dumps(thing, separators=(",", ":")).encode() + b"\n"


# Reading one


def check(path: Path, rules_version: int | None = None) -> Header:
    """Read the whole file once; what its first line says.

    Raises `StoreProblem` unless it is complete and unharmed, and, if `rules_version` is given, for such rules.
    """
    digest, count, first, end = hashlib.sha256(), 0, None, None
    for line, said in read(path):
        if end is not None:
            raise _bad(path, "it goes on after its end")
        if first is None:
            first = _header(path, said)
        elif "end" in said:
            end = said
            continue
        digest.update(line)
        count += 1
    if first is None or end is None:
        raise _bad(path, "it is cut short")
    if rules_version is not None and first.rules_version > rules_version:
        raise _too_new(path, first)
    if end.get("rows") != count - 1 or end.get("sha256") != digest.hexdigest():
        raise _bad(path, "its content is not what was written")
    return first


def read(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Each line, as it is and as what it says. Raises `StoreProblem` where it cannot be read."""
    try:
        with gzip.open(path) as file:
            for line in file:
                said = json.loads(line)
                if not isinstance(said, dict):
                    raise ValueError("not an object")
                yield line, said
    except FileNotFoundError:
        raise StoreProblem(f"{path} does not exist", hint="`picluster backup FILE` makes one.") from None
    except (OSError, EOFError, zlib.error, ValueError) as problem:
        raise _bad(path, str(problem) or type(problem).__name__) from None


def _header(path: Path, said: dict[str, Any]) -> Header:
    if "picluster_backup" not in said:
        raise _bad(path, "it is no backup of picluster")
    try:
        header = Header(
            int(said["picluster_backup"]),
            str(said["version"]),
            int(said["rules_version"]),
            int(said["taken_us"]),
            int(said["revision"]),
        )
    except (KeyError, TypeError, ValueError):
        raise _bad(path, "its first line makes no sense") from None
    if header.format > FORMAT:
        raise _too_new(path, header)
    return header


def _too_new(path: Path, header: Header) -> StoreProblem:
    return StoreProblem(
        f"{path} was made by a newer version, {header.version}",
        hint=f"Upgrade this one: pip install 'pi-cluster-service=={header.version}'.",
    )


def _bad(path: Path, why: str) -> StoreProblem:
    return StoreProblem(f"{path} cannot be restored: {why}", hint="Nothing was changed. Use another backup.")
