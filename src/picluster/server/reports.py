"""How a pool was used, counted in one pass over its events. Pure: events go in, oldest first, and a report comes out.

An event says only what changed. So what was so before the first of them, and what is so still, is put together here: a
lease that ends without having begun was there before, and what is held now has no end yet. Days are those of UTC.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil

from picluster.pool.model import Event, Lease, LeaseState, Machine, Presence
from picluster.wire import DayReport, MachineReport, Report

DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Window:
    """Some days, the last of them not over yet."""

    since_us: int
    """A midnight."""
    until_us: int

    @classmethod
    def of_days(cls, days: int, now_us: int) -> Window:
        """Today and so many less one before it."""
        return cls((now_us // DAY_US - days + 1) * DAY_US, now_us)

    @property
    def days(self) -> int:
        return -(-(self.until_us - self.since_us) // DAY_US)

    def day_of(self, at_us: int) -> int:
        return min(max(0, (at_us - self.since_us) // DAY_US), self.days - 1)

    def name_of(self, day: int) -> str:
        return datetime.fromtimestamp((self.since_us + day * DAY_US) / 1e6, UTC).strftime("%Y-%m-%d")

    def parts(self, since_us: int, until_us: int) -> Iterator[tuple[int, float]]:
        """(day, seconds) of a time, cut at midnights and at the edges of the window."""
        at, end = max(since_us, self.since_us), min(until_us, self.until_us)
        while at < end:
            day = self.day_of(at)
            midnight = self.since_us + (day + 1) * DAY_US
            yield day, (min(end, midnight) - at) / 1e6
            at = midnight


@dataclass(slots=True)
class _Tally:
    """What is counted of one machine."""

    there_s: list[float]
    used_s: list[float]
    offline_s: list[float]
    leases: int = 0
    verdicts: dict[str, int] = field(default_factory=lambda: defaultdict(int))


class _Count:
    """The pass: what is open at the present event, and what has been counted so far."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.tallies: dict[str, _Tally] = {}
        self.waits: list[list[float]] = [[] for _ in range(window.days)]
        self.granted = [0] * window.days
        self._asked: dict[str, int] = {}
        self._held: dict[tuple[str, str], int] = {}
        """(lease, machine) to when it was granted."""
        self._begun: set[str] = set()
        """Leases whose grant has been seen."""
        self._over: dict[str, int] = {}
        self._away: dict[str, int] = {}
        self._told: set[str] = set()
        """Machines of which it has been seen whether they are away."""
        self._born: dict[str, int] = {}
        self._gone: set[str] = set()

    def of(self, name: str) -> _Tally:
        if name not in self.tallies:
            days = self.window.days
            self.tallies[name] = _Tally([0.0] * days, [0.0] * days, [0.0] * days)
        return self.tallies[name]

    def _add(self, into: list[float], since_us: int, until_us: int) -> None:
        for day, seconds in self.window.parts(since_us, until_us):
            into[day] += seconds

    # Leases

    def asked(self, event: Event) -> None:
        self._asked[event.lease] = event.at_us

    def held(self, event: Event) -> None:
        """Of a lease of several machines there are as many events."""
        if event.lease not in self._begun:
            self._begun.add(event.lease)
            self.granted[self.window.day_of(event.at_us)] += 1
        asked_us = self._asked.pop(event.lease, None)
        if asked_us is not None:
            self.waits[self.window.day_of(asked_us)].append((event.at_us - asked_us) / 1e6)
        self._held[event.lease, event.machine] = event.at_us
        self.of(event.machine).leases += 1

    def ended(self, event: Event) -> None:
        self._asked.pop(event.lease, None)
        self._over[event.lease] = event.at_us
        since_us = self._held.pop((event.lease, event.machine), None)
        if since_us is None and event.machine and event.lease not in self._begun:
            since_us = self.window.since_us
        if since_us is not None:
            self._add(self.of(event.machine).used_s, since_us, event.at_us)

    def judged(self, event: Event) -> None:
        if event.machine:
            self.of(event.machine).verdicts[str(event.detail.get("verdict"))] += 1

    # Machines

    def born(self, event: Event) -> None:
        self._born.setdefault(event.machine, event.at_us)
        self._told.add(event.machine)
        self._gone.discard(event.machine)

    def offline(self, event: Event) -> None:
        self._told.add(event.machine)
        self._away.setdefault(event.machine, event.at_us)

    def online(self, event: Event) -> None:
        """Without having gone: it has been away since before, unless it is new."""
        known = event.machine in self._told
        self._told.add(event.machine)
        since_us = self._away.pop(event.machine, None if known else self.window.since_us)
        if since_us is not None:
            self._add(self.of(event.machine).offline_s, since_us, event.at_us)

    def forgotten(self, event: Event) -> None:
        self._leaves(event.machine, event.at_us)

    def enrolled(self, event: Event) -> None:
        """An old machine turned out to be this one, and is no more under its own name."""
        name = event.detail.get("name")
        if isinstance(name, str):
            self._leaves(name, event.at_us)

    def _leaves(self, name: str, at_us: int) -> None:
        self._add(self.of(name).there_s, self._born.pop(name, self.window.since_us), at_us)
        if name in self._away:
            self._add(self.of(name).offline_s, self._away.pop(name), at_us)
        self._gone.add(name)

    # The end

    def close(self, leases: Iterable[Lease], machines: Iterable[Machine]) -> None:
        """What is so now: who holds what, what is there, and what is away."""
        live = {lease.id: lease for lease in leases if lease.state is LeaseState.HELD}
        for (lease_id, name), since_us in self._held.items():
            until_us = self.window.until_us if lease_id in live else self._over.get(lease_id, since_us)
            self._add(self.of(name).used_s, since_us, until_us)
        for lease in live.values():
            if lease.id not in self._begun:
                for name in lease.machines:
                    self._add(self.of(name).used_s, lease.granted_us, self.window.until_us)
        for machine in machines:
            self._gone.discard(machine.name)
            self._add(self.of(machine.name).there_s, machine.registered_us, self.window.until_us)
            if machine.presence is Presence.OFFLINE:
                self._still_away(machine)

    def _still_away(self, machine: Machine) -> None:
        """Nothing said of it in all this time: it has been away since before. One that has never come is not away."""
        untold_us = self.window.until_us if machine.name in self._told else machine.registered_us
        since_us = self._away.get(machine.name, untold_us)
        self._add(self.of(machine.name).offline_s, since_us, self.window.until_us)

    def report(self) -> Report:
        waits = [wait_s for of_day in self.waits for wait_s in of_day]
        return Report(
            since_us=self.window.since_us,
            until_us=self.window.until_us,
            granted=sum(self.granted),
            wait_p50_s=percentile(waits, 0.5),
            wait_p95_s=percentile(waits, 0.95),
            days=tuple(self._day(day) for day in range(self.window.days)),
            machines=tuple(self._machine(name, tally) for name, tally in sorted(self.tallies.items())),
        )

    def _day(self, day: int) -> DayReport:
        tallies = self.tallies.values()
        return DayReport(
            day=self.window.name_of(day),
            there_s=_rounded(sum(tally.there_s[day] for tally in tallies)),
            used_s=_rounded(sum(tally.used_s[day] for tally in tallies)),
            granted=self.granted[day],
            wait_p50_s=percentile(self.waits[day], 0.5),
            wait_p95_s=percentile(self.waits[day], 0.95),
        )

    def _machine(self, name: str, tally: _Tally) -> MachineReport:
        return MachineReport(
            name=name,
            deleted=name in self._gone,
            there_s=tuple(map(_rounded, tally.there_s)),
            used_s=tuple(map(_rounded, tally.used_s)),
            offline_s=tuple(map(_rounded, tally.offline_s)),
            leases=tally.leases,
            clean=tally.verdicts["clean"],
            dirty=tally.verdicts["dirty"],
            unknown=tally.verdicts["unknown"],
        )


SEEN: Mapping[str, Callable[[_Count, Event], None]] = {
    "lease.asked": _Count.asked,
    "lease.held": _Count.held,
    "lease.ended": _Count.ended,
    "lease.judged": _Count.judged,
    "machine.registered": _Count.born,
    "machine.joined": _Count.born,
    "machine.imported": _Count.born,
    "machine.offline": _Count.offline,
    "machine.online": _Count.online,
    "machine.forgotten": _Count.forgotten,
    "machine.enrolled": _Count.enrolled,
}
"""Which events count, and how: no others need to be read."""


def report(
    window: Window, events: Iterable[Event], leases: Iterable[Lease], machines: Iterable[Machine]
) -> Report:
    """Of the events within the window, oldest first; `leases` and `machines` are those of its end."""
    count = _Count(window)
    for event in events:
        seen = SEEN.get(event.kind)
        if seen is not None:
            seen(count, event)
    count.close(leases, machines)
    return count.report()


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest of them that so many are not above (nearest rank); None of none."""
    return _rounded(sorted(values)[max(0, ceil(share * len(values)) - 1)]) if values else None


def _rounded(seconds: float) -> float:
    """To the millisecond: events are no more exact."""
    return round(seconds, 3)
