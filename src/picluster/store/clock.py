"""Service time: the clock that stands still while the service does.

Nobody can claim more time than this process measured between two of its own turns, and no wall clock is
asked. A pause or an outage adds at most the cap.
"""

from __future__ import annotations

import time
from typing import Protocol

CAP_S = 6.0
"""The most that one turn adds. A little more than the pulse of 5 s, so that an idle pool runs at full speed,
and the most that an outage or a sleeping server can take from anybody's lease."""


class Clock(Protocol):
    """The two clocks a store reads. Tests bring their own."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never backwards."""

    def wall_us(self) -> int:
        """Microseconds since 1970, for the record and for new revisions."""


class SystemClock:
    """The clocks of this computer."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall_us(self) -> int:
        return time.time_ns() // 1000


class ServiceTime:
    """What this process measured since its last successful turn on the present connection."""

    def __init__(self, cap_s: float = CAP_S) -> None:
        self._cap_s = cap_s
        self._seen: tuple[float, float] | None = None

    @property
    def fresh(self) -> bool:
        """Whether no turn has succeeded yet, so that nothing has been measured."""
        return self._seen is None

    def at(self, stored_s: float, mono_s: float) -> float:
        """Service time now: never before the stored one, at most the cap after the last turn."""
        if self._seen is None:
            return stored_s
        seen_service_s, seen_mono_s = self._seen
        return max(stored_s, seen_service_s + min(mono_s - seen_mono_s, self._cap_s))

    def succeeded(self, service_s: float, mono_s: float) -> None:
        """A turn at this time is stored: the next one measures from here."""
        self._seen = (service_s, mono_s)

    def forget(self) -> None:
        """A new connection may show another history, of which nothing has been measured."""
        self._seen = None
