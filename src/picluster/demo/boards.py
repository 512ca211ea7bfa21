"""Eight boards that are not there: six that speak the modern API, two that speak the old protocol."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from picluster.client import flows
from picluster.client.aio import AsyncClient
from picluster.errors import PiclusterError

HOT_C, COOL_C = 89.0, 47.0
"""Where a Pi has long begun to slow itself down, and where it idles."""

TOO_HOT_C = 80.0
"""Where the agent begins to count, and the service to doubt."""

HEAT_S = 90.0
"""From cool to hot and back in one demonstration."""


@dataclass(frozen=True)
class Model:
    """What boards of one model say of themselves."""

    short: str
    text: str
    cpu: str
    mem: int
    cpus: int = 4


PI5 = Model("pi5", "Raspberry Pi 5 Model B Rev 1.0", "Cortex-A76 BCM2712", 8 << 30)
PI4 = Model("pi4", "Raspberry Pi 4 Model B Rev 1.4", "Cortex-A72 BCM2711", 4 << 30)
CM4 = Model("cm4", "Raspberry Pi Compute Module 4 Rev 1.1", "Cortex-A72 BCM2711", 2 << 30)
ZERO2W = Model("zero2w", "Raspberry Pi Zero 2 W Rev 1.0", "Cortex-A53 BCM2710", 512 << 20)
PI3 = Model(
    "pi3b", "Raspberry Pi 3 Model B Rev 1.2", "ARMv7 Processor rev 4 (v7l) (4 cores) BCM2835", 1 << 30
)


def steady(seconds: float) -> float:
    """A board in a draught."""
    return COOL_C + 3 * math.sin(seconds / 20)


def overheating(seconds: float) -> float:
    """A board whose fan has stopped."""
    return COOL_C + (HOT_C - COOL_C) * (1 - math.cos(2 * math.pi * seconds / HEAT_S)) / 2


@dataclass
class Board:
    """One board, as it would be outside."""

    name: str
    number: int
    model: Model
    labels: dict[str, str] = field(default_factory=dict)
    temperature: Callable[[float], float] = steady
    disappears_after_s: float = float("inf")

    @property
    def address(self) -> str:
        return f"10.31.4.{self.number}"

    def load(self) -> list[float]:
        busy = random.random()  # noqa: S311  a demonstration is no secret
        return [round(busy * factor, 2) for factor in (1.6, 1.2, 0.8)]


BOARDS = (
    Board("pi5-a", 11, PI5, {"camera": "", "rack": "a"}),
    Board("pi5-b", 12, PI5, {"rack": "a"}, overheating),
    Board("pi4-a", 13, PI4, {"rack": "a", "camera": ""}),
    Board("pi4-b", 14, PI4, {"rack": "b"}),
    Board("cm4-a", 15, CM4, {"rack": "b", "nvme": ""}),
    Board("zero2w-a", 16, ZERO2W, {"rack": "b"}, disappears_after_s=20.0),
)
"""Those with an agent. One overheats, one disappears."""

OLD_BOARDS = (Board("raspberrypi-21", 21, PI3), Board("raspberrypi-22", 22, PI3))
"""Those with the first service's monitor script."""

DISAPPEARS = BOARDS[-1].name


async def live(board: Board, pool: AsyncClient, beat_s: float) -> None:
    """Beat for ever, or until it disappears. `pool` speaks for this board."""
    clock = asyncio.get_running_loop().time
    started, orders, seq, fence = clock(), "", 0, Fence()
    while clock() - started < board.disappears_after_s:
        seq += 1
        said = _report(board, clock() - started, seq, orders, fence)
        path = f"/api/v1/machines/{board.name}/beat"
        try:
            answer = await pool.run(flows.call(pool.session, "POST", path, said, wait_s=beat_s))
            orders = answer["orders"]
            fence.obey(answer["lease"])
        except PiclusterError:
            await asyncio.sleep(beat_s)


class Fence:
    """What the agent of a board counts while somebody has it, of which the service makes its verdict."""

    def __init__(self) -> None:
        self.fence, self.closed = 0, True
        self._hot = 0
        self._last: dict[str, int] | None = None

    def obey(self, lease: dict[str, Any] | None) -> None:
        fence = lease["fence"] if lease else 0
        if not self.closed and fence != self.fence:
            counts = {"hot": self._hot, "throttled": self._hot, "under_voltage": 0, "disk": 0}
            self.closed, self._last = True, {"fence": self.fence, **counts}
        if fence > self.fence:
            self.fence, self.closed, self._hot = fence, False, 0

    def count(self, temperature: float) -> dict[str, Any]:
        """One look at the board; what is told of it."""
        self._hot += not self.closed and temperature >= TOO_HOT_C
        return {"last_closed": self._last}


def _report(board: Board, seconds: float, seq: int, orders: str, fence: Fence) -> dict[str, Any]:
    model = board.model
    temperature = round(board.temperature(seconds), 1)
    telemetry = {"temperature": temperature, "load": board.load(), "mem_available": model.mem // 2}
    facts = {"model": model.short, "model_name": model.text, "platform": model.cpu, "arch": "aarch64"}
    return {
        "id": f"demo-{board.number:08x}",
        "address": board.address,
        "mode": "advisory",
        "boot_id": f"boot-of-{board.name}",
        "seq": seq,
        "facts": {
            **facts,
            "os": "Debian 12",
            "mem": model.mem,
            "cpus": model.cpus,
            "serial": f"{board.number:016x}",
            "host_name": board.name,
            "simulated": True,
        },
        "labels": board.labels,
        "telemetry": {**telemetry, **fence.count(temperature)},
        "fence": fence.fence,
        "closed": fence.closed,
        "orders": orders,
    }


async def live_as_of_old(board: Board, pool: AsyncClient, beat_s: float) -> None:
    """The old monitor's conversation: an update now and again. `pool` knows the shared key."""
    clock = asyncio.get_running_loop().time
    started = clock()
    while True:
        said = {
            "ApiKey": pool.session.where.token,
            "IpAddress": board.address,
            "HostName": board.name,
            "Platform": board.model.cpu,
            "OsName": "Linux",
            "OsVersion": "6.1.21-v7+",
            "Temperature": f"{board.temperature(clock() - started):.1f}'C",
            "SystemLoad": " : ".join(map(str, board.load())),
            "Command": None,
            "CurrentUserName": None,
            "CurrentTaskName": None,
        }
        try:
            await pool.run(flows.call(pool.session, "POST", "/api/update", said))
        except PiclusterError:
            pass  # the service is being restarted; the next update finds it
        await asyncio.sleep(beat_s)
