"""What every endpoint works with: the coordinator that changes the pool, the view that shows it, the gate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from picluster.errors import Unavailable
from picluster.server.access.gate import Gate
from picluster.server.coordinator import Coordinator
from picluster.server.metrics import Metrics
from picluster.server.power import Power
from picluster.server.reported import Reports
from picluster.server.settings import Settings
from picluster.server.view import Key, View
from picluster.store import Store

if TYPE_CHECKING:
    from picluster.server.pages.dashboard import Dashboard
    from picluster.server.webhooks.courier import Couriers


def wall_us() -> int:
    """Wall clock in µs, for the record."""
    return time.time_ns() // 1000


@dataclass(slots=True)
class Context:
    """One service."""

    settings: Settings
    store: Store
    view: View
    coordinator: Coordinator
    gate: Gate
    metrics: Metrics
    power: Power = field(default_factory=Power)
    reports: Reports = field(default_factory=Reports)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    wall_us: Callable[[], int] = wall_us
    dashboard: Dashboard = field(init=False)
    couriers: Couriers = field(init=False)

    async def hold(self, wait_s: float, before: object, signature: Callable[[], object], *keys: Key) -> None:
        """Hold a call open while what it would answer is as `before`, at most `wait_s`.

        `before` is what the caller's own turn said: the view may be further by now. Raises `Unavailable` when
        the service stops meanwhile, so that the client asks again elsewhere or later.
        """
        with self.view.waiter(*keys) as bell:
            deadline = asyncio.get_running_loop().time() + wait_s
            while signature() == before and not self.stopping.is_set():
                bell.clear()
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0 or not await self._rings(bell, left):
                    return
        if self.stopping.is_set():
            raise Unavailable("The service is stopping.", "Ask again in a moment; the same id stays valid.")

    async def _rings(self, bell: asyncio.Event, seconds: float) -> bool:
        """Whether the bell, or the end of the service, came within these seconds."""
        tasks = [asyncio.ensure_future(bell.wait()), asyncio.ensure_future(self.stopping.wait())]
        try:
            done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        return bool(done)
