"""Passwords as argon2id hashes, made and compared in two threads of their own: never in a turn or the event loop."""

from __future__ import annotations

import asyncio
import unicodedata
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MEMORY_KIB, PASSES, LANES = 19 * 1024, 2, 1
"""One of OWASP's recommendations for argon2id, and the one that needs the least: 50 ms where this was written, and by its
clock and memory a few tenths of a second on a Raspberry Pi, which has to serve beats and turns meanwhile."""

AT_ONCE = 2
"""Hashes made at the same time: 38 MiB and two cores at most, however many people log in."""

NOBODYS = f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${'A' * 22}${'A' * 43}"
"""In the form of a hash, of no password that anybody knows: to spend the time on."""

_hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
_threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="passwords")


async def hashed(password: str) -> str:
    """What is kept of a password."""
    return await asyncio.get_running_loop().run_in_executor(_threads, _hasher.hash, _bytes(password))


async def fits(kept: str, password: str) -> bool:
    """Whether it is the password; where nothing is kept it is not, which takes as long to find out."""
    return await asyncio.get_running_loop().run_in_executor(_threads, _fits, kept, _bytes(password))


def outdated(kept: str) -> bool:
    """Whether this was made with other parameters than those of today."""
    return _hasher.check_needs_rehash(kept)


def _fits(kept: str, password: bytes) -> bool:
    try:
        _hasher.verify(kept or NOBODYS, password)
    except (VerificationError, InvalidHashError):
        return False
    return bool(kept)


def _bytes(password: str) -> bytes:
    """The same whichever keyboard it was typed on: `ü` is one character here and two there."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
