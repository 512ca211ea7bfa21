"""Limits for those who guess passwords: so many failures a minute for each address, each name, and each name from one
address. So whoever guesses a name from elsewhere does not lock out the one who has it.

Counted in this process alone: with N replicas somebody who finds them all has N times as many tries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from picluster.errors import Unavailable, WrongPassword
from picluster.wire import LONGEST_NAME

FAILURES_PER_NAME = 10
"""A minute, from one address. A person does not mistype faster."""

FAILURES_PER_NAME_ELSEWHERE = 100
"""A minute, from all addresses together: 144,000 a day find no password of ten characters, and it takes many addresses
to use them up."""

FAILURES_PER_ADDRESS = 30
"""A minute. A whole office may share one address; lists of stolen names and passwords have millions of lines."""

Key = tuple[str, str]


class TooManyAttempts(Unavailable):
    """Too many wrong tokens from this address; wait a minute."""

    code = "too_many_attempts"
    status = 429


class Attempts:
    """Who has failed how often lately. An attempt under way counts as failed until it is known to be right, or a
    hundred of them at once would all be let through."""

    def __init__(self) -> None:
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._limits = {
            "name": RateLimitItemPerMinute(FAILURES_PER_NAME_ELSEWHERE),
            "name here": RateLimitItemPerMinute(FAILURES_PER_NAME),
            "address": RateLimitItemPerMinute(FAILURES_PER_ADDRESS),
        }
        self._under_way: Counter[Key] = Counter()

    @contextmanager
    def of(self, name: str, address: str) -> Iterator[None]:
        """One attempt; failed if the block raises `WrongPassword`. Raises `TooManyAttempts` instead of beginning it."""
        who = name.casefold()[:LONGEST_NAME]
        keys = [("name", who), ("name here", f"{address} {who}"), ("address", address)]
        for key in keys:
            self._not_too_many(key)
        self._under_way.update(keys)
        try:
            yield
        except WrongPassword:
            for what, who in keys:
                self._limiter.hit(self._limits[what], what, who)
            raise
        finally:
            self._under_way.subtract(keys)
            self._under_way += Counter()  # drops what is at zero

    def _not_too_many(self, key: Key) -> None:
        what, who = key
        left = self._limiter.get_window_stats(self._limits[what], what, who).remaining
        if left <= self._under_way[key]:
            where = "from this address" if what == "address" else "for this name"
            raise TooManyAttempts(f"Too many failed log-ins {where}.", "Wait a minute, then try again.")
