"""How one board was over an hour, a day or a week: a few hundred points, with lowest and highest, for charts and tables.

Pure: samples and leases come in, points go out. Where the board was silent there is a point without numbers, so that a
line breaks there; nobody draws what nobody measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from picluster.pool.model import Sample
from picluster.server.pages.past import Run
from picluster.server.words import many, person
from picluster.store import SPAN_S

SPAN_US = int(SPAN_S * 1e6)

SILENCE_S = 300.0
"""A board that was not heard for so long was silent: ten usual beats, and as long as the old protocol's boards may be."""


@dataclass(frozen=True, slots=True)
class Span:
    """What a chart shows: so much time, in so many points."""

    key: str
    word: str
    told: str
    seconds: int
    step_s: int
    """One point for each, at most 360 in all."""


SPANS = {
    span.key: span
    for span in (
        Span("1h", "1 h", "the last hour", 3_600, 10),
        Span("24h", "24 h", "the last 24 hours", 86_400, 240),
        Span("7d", "7 d", "the last 7 days", 604_800, 1_800),
    )
}
USUAL = SPANS["24h"]

Range = tuple[float, float, float]
"""(mean, lowest, highest)"""


@dataclass(frozen=True, slots=True)
class Point:
    """The samples of one step, or a silence: then all that follows the time is empty."""

    at_us: int
    temperature: Range | None = None
    """°C."""
    load: Range | None = None
    memory: Range | None = None
    """Per cent in use."""
    throttled: bool = False
    under_voltage: bool = False

    @property
    def silent(self) -> bool:
        return self.temperature is None and self.load is None and self.memory is None


def points(samples: Iterable[Sample], span: Span, memory: float | None = None) -> list[Point]:
    """Samples, oldest first, as the points of a span. `memory` is the board's, in bytes, if it is known."""
    found: list[Point] = []
    before: Sample | None = None
    step_us = span.step_s * 1_000_000
    for _, group in groupby(samples, key=lambda sample: sample.at_us // step_us):
        some = list(group)
        if before is not None and some[0].at_us - before.at_us > _silence_us(before):
            found.append(Point((before.at_us + some[0].at_us) // 2))
        found.append(_point(some, memory))
        before = some[-1]
    return found


def _silence_us(sample: Sample) -> int:
    """How long after a sample nothing need come: one of a thinned span stands at its begin."""
    thinned = sample.at_us % SPAN_US == 0
    return int(SILENCE_S * 1e6) + (SPAN_US if thinned else 0)


def _point(some: Sequence[Sample], memory: float | None) -> Point:
    available = _range(some, "mem_available")
    return Point(
        (some[0].at_us + some[-1].at_us) // 2,
        _range(some, "temperature"),
        _range(some, "load"),
        _in_use(available, memory) if available and memory else None,
        any(sample.throttled for sample in some),
        any(sample.under_voltage for sample in some),
    )


def _range(some: Sequence[Sample], measure: str) -> Range | None:
    known = [sample for sample in some if getattr(sample, measure) is not None]
    if not known:
        return None
    beats = sum(sample.count for sample in known)
    mean = sum(getattr(sample, measure) * sample.count for sample in known) / beats
    low = min(_edge(sample, measure, "min") for sample in known)
    high = max(_edge(sample, measure, "max") for sample in known)
    return round(mean, 2), round(low, 2), round(high, 2)


def _edge(sample: Sample, measure: str, edge: str) -> float:
    value: float | None = getattr(sample, f"{measure}_{edge}")
    return float(getattr(sample, measure)) if value is None else value


def _in_use(available: Range, memory: float) -> Range:
    """A board may report more than it has; nobody uses less than nothing."""
    mean, low, high = (
        round(min(100.0, max(0.0, 100 * (1 - part / memory))), 1)
        for part in (available[0], available[2], available[1])
    )
    return mean, low, high


@dataclass(frozen=True, slots=True)
class Series:
    """What the charts of one board show."""

    span: Span
    now_us: int
    points: Sequence[Point]
    runs: Sequence[Run]
    """Newest first."""
    reboots_us: Sequence[int]
    cpus: int | None = None
    memory: float | None = None
    """Bytes."""

    @property
    def since_us(self) -> int:
        return self.now_us - self.span.seconds * 1_000_000

    @property
    def throttled(self) -> int:
        return sum(point.throttled for point in self.points)

    @property
    def under_voltage(self) -> int:
        return sum(point.under_voltage for point in self.points)

    def last(self, measure: str) -> float | None:
        """The newest value."""
        known = (getattr(point, measure) for point in reversed(self.points))
        found: Range | None = next((value for value in known if value), None)
        return found[0] if found else None

    def highest(self, measure: str) -> float | None:
        known = [value[2] for point in self.points if (value := getattr(point, measure))]
        return max(known, default=None)

    def rows(self) -> list[tuple[Point, str, str]]:
        """(point, who had the board, what happened), newest first: the charts as a table."""
        before = [self.since_us, *(point.at_us for point in self.points)]
        told = [
            (point, self._holder(point.at_us), self._happened(point, since_us))
            for point, since_us in zip(self.points, before, strict=False)
        ]
        return told[::-1]

    def _holder(self, at_us: int) -> str:
        return next(
            (run.holder for run in self.runs if run.since_us <= at_us < (run.until_us or self.now_us)), ""
        )

    def _happened(self, point: Point, since_us: int) -> str:
        said = [
            "throttled" if point.throttled else "",
            "under-voltage" if point.under_voltage else "",
            "rebooted" if any(since_us < at_us <= point.at_us for at_us in self.reboots_us) else "",
        ]
        return ", ".join(filter(None, said))

    @property
    def sentence(self) -> str:
        """The charts in words, for whoever does not see them."""
        if not self.points:
            return f"Nothing was measured in {self.span.told}."
        said = [
            _told("temperature", self.last("temperature"), self.highest("temperature"), "{:.0f}°"),
            _told("load", self.last("load"), self.highest("load"), "{:.2f}"),
            _told("memory in use", self.last("memory"), self.highest("memory"), "{:.0f} %"),
            many(len(self.runs), "lease"),
            self.throttled and f"throttled {self.throttled}×",
            self.under_voltage and f"under-voltage {self.under_voltage}×",
            self.reboots_us and many(len(self.reboots_us), "reboot"),
        ]
        whole = ", ".join(str(part) for part in said if part)
        return f"{whole[:1].upper()}{whole[1:]} in {self.span.told}."

    def as_json(self, viewer: str) -> dict[str, Any]:
        """For the script: seconds since 1970, and null where there is nothing."""
        return {
            "span": self.span.key,
            "since": self.since_us / 1e6,
            "until": self.now_us / 1e6,
            "at": [point.at_us / 1e6 for point in self.points],
            **{
                measure: _columns([getattr(point, measure) for point in self.points])
                for measure in ("temperature", "load", "memory")
            },
            "throttled": self._marks(lambda point: point.throttled),
            "under_voltage": self._marks(lambda point: point.under_voltage),
            "reboots": [at_us / 1e6 for at_us in self.reboots_us],
            "leases": [
                {
                    "holder": person(run.holder),
                    "mine": bool(viewer) and run.holder == viewer,
                    "since": run.since_us / 1e6,
                    "until": (run.until_us or self.now_us) / 1e6,
                }
                for run in reversed(self.runs)
            ],
            "cpus": self.cpus,
            "sentence": self.sentence,
        }

    def _marks(self, wanted: Callable[[Point], bool]) -> list[float]:
        return [point.at_us / 1e6 for point in self.points if wanted(point)]


def _told(word: str, last: float | None, highest: float | None, form: str) -> str:
    if last is None or highest is None:
        return ""
    return f"{word} {form.format(last)} now, {form.format(highest)} highest"


def _columns(values: Sequence[Range | None]) -> list[list[float | None]]:
    """[means, lowest, highest]"""
    return [[value[part] if value else None for value in values] for part in range(3)]
