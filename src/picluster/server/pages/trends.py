"""How each board was lately: its last beats and the temperature of an hour, kept in memory as the beats come.

A beat costs two writes into fixed places. After a start the store's samples say what was before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from picluster.pool.health import number, throttled, under_voltage
from picluster.pool.model import Heard, Sample
from picluster.server.pages.svg import BEATS

POINTS = 30
POINT_US = 120_000_000
"""Two minutes: thirty of them are an hour."""

LATE = 1.5
"""Of the usual time between two beats; what comes later than that is late, and from twice that on one was missed."""


@dataclass(slots=True)
class Trend:
    """One board."""

    beats: deque[tuple[int, bool]] = field(default_factory=lambda: deque(maxlen=BEATS + 1))
    """(when, whether it was throttled or had too little voltage), oldest first."""
    sums: dict[int, tuple[float, int]] = field(default_factory=dict)
    """Temperatures of a point in time: (sum, how many)."""

    def note(self, at_us: int, warned: bool, temperature: float | None) -> None:
        self.beats.append((at_us, warned))
        if temperature is None:
            return
        point = at_us // POINT_US
        total, count = self.sums.get(point, (0.0, 0))
        self.sums[point] = (total + temperature, count + 1)
        if len(self.sums) > 2 * POINTS:
            self.sums = {key: value for key, value in self.sums.items() if key > point - POINTS}

    def temperatures(self, now_us: int) -> list[float | None]:
        """Of the last hour, oldest first; None where nothing is known."""
        last = now_us // POINT_US
        found = [self.sums.get(point) for point in range(last - POINTS + 1, last + 1)]
        return [pair[0] / pair[1] if pair else None for pair in found]

    def ticks(self, now_us: int, beat_s: float, offline: bool) -> str:
        """The last beats as letters of `svg.KINDS`, oldest first."""
        usual_us = beat_s * 1e6
        found: list[str] = []
        before = 0
        for at_us, warned in self.beats:
            found += _between(at_us - before, usual_us) if before else []
            late = bool(before) and at_us - before > LATE * usual_us
            found.append("w" if warned else "l" if late else "o")
            before = at_us
        if before:
            found += _between(now_us - before, usual_us)
        if offline and not found:
            found = ["M", *"m" * (BEATS - 1)]
        return "".join(found)[-BEATS:].rjust(BEATS, "u")


def _between(gap_us: float, usual_us: float) -> list[str]:
    """The beats that were missed in a gap: the first stands out."""
    missed = min(BEATS, int(gap_us / usual_us) - 1)
    return ["M", *"m" * (missed - 1)] if missed > 0 else []


class Trends:
    """All boards."""

    def __init__(self, beat_s: float) -> None:
        self.beat_s = beat_s
        self._known: dict[str, Trend] = {}
        self.stirred: set[str] = set()
        """Boards that have beaten since the last flush took them."""

    def hear(self, beat: Heard) -> None:
        """A beat came in, here or at another replica."""
        said = beat.telemetry
        trend = self._known.get(beat.name)
        if trend is None:
            trend = self._known[beat.name] = Trend()
        if not trend.beats or beat.heard_us > trend.beats[-1][0]:
            trend.note(beat.heard_us, throttled(said) or under_voltage(said), number(said.get("temperature")))
            self.stirred.add(beat.name)

    def remember(self, samples: Iterable[Sample]) -> None:
        """What was before this service started, oldest first. A board that has beaten since knows better already."""
        for sample in samples:
            trend = self._known.setdefault(sample.machine, Trend())
            if not trend.beats or sample.at_us > trend.beats[-1][0]:
                trend.note(sample.at_us, sample.throttled or sample.under_voltage, sample.temperature)

    def forget(self, name: str) -> None:
        self._known.pop(name, None)

    def ticks(self, name: str, now_us: int, offline: bool) -> str:
        return self._of(name).ticks(now_us, self.beat_s, offline)

    def temperatures(self, name: str, now_us: int) -> list[float | None]:
        return self._of(name).temperatures(now_us)

    def taken(self) -> set[str]:
        """Boards that have beaten since this was asked last."""
        stirred, self.stirred = self.stirred, set()
        return stirred

    def _of(self, name: str) -> Trend:
        return self._known.get(name) or Trend()
