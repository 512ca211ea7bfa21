"""The reports of one service: each made in a thread, one at a time, and kept for a while, since counting costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from picluster.errors import Malformed
from picluster.pool.model import Event, Lease, LeaseState, Machine
from picluster.server.reports import SEEN, Window, report
from picluster.store import Store
from picluster.wire import Report

if TYPE_CHECKING:
    from picluster.server.context import Context

LONGEST_DAYS = 90
MOST_EVENTS = 1_000_000
"""That one report reads: some ten seconds of one thread. A pool with more of them asks for fewer days."""

KEPT_S = 60.0
"""A report is kept for so long at least: nobody sees a day change in a minute."""

SHARE = 20
"""And for so many times as long as it took, so that counting takes 5 % of one core at most."""

MOMENT_S = 0.3
"""How long a page waits for a figure that it can do without."""


@dataclass(frozen=True, slots=True)
class _Made:
    report: Report
    until: float
    """By the monotonic clock; then it is made anew."""


class Reports:
    """Made when they are asked for."""

    def __init__(self) -> None:
        self._made: dict[int, _Made] = {}
        self._making: dict[int, asyncio.Task[Report]] = {}
        self._alone = asyncio.Lock()

    async def of(self, context: Context, days: int) -> Report:
        """Of today and the days before it, as many as asked. Raises `Malformed` for too many."""
        made = self._made.get(days)
        if made is not None and time.monotonic() < made.until:
            return made.report
        return await asyncio.shield(self._task(context, days))

    async def soon(self, context: Context, days: int) -> Report | None:
        """The same if it takes no longer than a moment; else what is known from before, and the next time anew."""
        try:
            return await asyncio.wait_for(self.of(context, days), MOMENT_S)
        except (TimeoutError, Malformed):
            made = self._made.get(days)
            return made.report if made else None

    def _task(self, context: Context, days: int) -> asyncio.Task[Report]:
        """The one that is under way, whoever asked first."""
        task = self._making.get(days)
        if task is None:
            task = self._making[days] = asyncio.create_task(self._make(context, days))
            task.add_done_callback(lambda done: self._over(days, done))
        return task

    def _over(self, days: int, task: asyncio.Task[Report]) -> None:
        """Whoever still waits is told what went wrong; that nobody does is no fault."""
        self._making.pop(days, None)
        if not task.cancelled():
            task.exception()

    async def _make(self, context: Context, days: int) -> Report:
        async with self._alone:
            begun = time.monotonic()
            window = Window.of_days(days, context.wall_us())
            roster = context.view.roster
            leases = [lease for lease in roster.leases.values() if lease.state is LeaseState.HELD]
            machines = list(roster.machines.values())
            made = await asyncio.to_thread(counted, context.store, window, leases, machines)
            took_s = time.monotonic() - begun
            self._made[days] = _Made(made, time.monotonic() + max(KEPT_S, SHARE * took_s))
            return made


def counted(store: Store, window: Window, leases: Sequence[Lease], machines: Sequence[Machine]) -> Report:
    """From the record. Raises `Malformed` for too many."""
    found = store.events_between(window.since_us, window.until_us, tuple(SEEN), MOST_EVENTS)
    return report(window, _bounded(found), leases, machines)


def _bounded(events: Iterator[Event]) -> Iterator[Event]:
    for number, event in enumerate(events, 1):
        if number == MOST_EVENTS:
            raise Malformed(
                f"days: more than {MOST_EVENTS:,} things happened in them.",
                "Ask for fewer days.",
                field="days",
            )
        yield event
