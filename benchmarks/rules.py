"""The rules alone, without database or network: what a turn costs, for 1,000 to 100,000 machines."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from picluster.pool.commands import Acquire, Command, Pass, Release, Report, UpdateAddress
from picluster.pool.model import Actor, Mode
from picluster.pool.pool import Pool

SIZES = (1_000, 10_000, 100_000)
SELECTORS = 10_000
"""Distinct selectors that wait, each for itself: a freed board must not be held against all of them."""

ROUNDS = 2_000
ANN = Actor("ann", limited=False)
WALL_US = 1_800_000_000_000_000


def filled(machines: int) -> Pool:
    """A pool of so many machines, of ten models."""
    pool = Pool()
    for some in _thousands(machines):
        pool.turn([_beat(number) for number in some], 0.0, WALL_US)
    return pool


def _thousands(machines: int) -> Iterator[range]:
    return (range(start, min(start + 1_000, machines)) for start in range(0, machines, 1_000))


def _beat(number: int) -> Command:
    facts = {"host_name": f"pi-{number}", "platform": f"model-{number % 10}"}
    report = Report(
        f"legacy:{number}", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", Mode.LEGACY, facts=facts
    )
    return UpdateAddress(Actor("legacy:monitor"), report)


def turn_us(pool: Pool, *batches: list[Command]) -> float:
    """Median µs of a turn."""
    times = []
    for batch in batches:
        started = time.perf_counter()
        pool.turn(batch, 0.0, WALL_US)
        times.append((time.perf_counter() - started) * 1e6)
    return statistics.median(times)


def pairs(pool: Pool) -> float:
    """µs of locking any machine of a model and giving it back, in two turns."""
    asks: list[list[Command]] = [
        [Acquire(ANN, f"pair-{n}", f"platform:model-{n % 10}")] for n in range(ROUNDS)
    ]
    frees: list[list[Command]] = [[Release(ANN, f"pair-{n}")] for n in range(ROUNDS)]
    both = [batch for pair in zip(asks, frees, strict=True) for batch in pair]
    return 2 * turn_us(pool, *both)


def crowded(pool: Pool) -> float:
    """µs of giving back a machine for which one waits, while ten thousand wait for ten thousand others."""
    for number in range(SELECTORS):
        pool.turn([Acquire(ANN, f"held-{number}", f"name:pi-{number}", ttl_s=None)], 0.0, WALL_US)
        pool.turn([Acquire(ANN, f"wait-{number}", f"name:pi-{number}", ttl_s=None)], 0.0, WALL_US)
    return turn_us(pool, *[[Release(ANN, f"held-{number}")] for number in range(ROUNDS)])


def main() -> None:
    print(
        f"{'machines':>9} {'idle turn µs':>13} {'lock+free µs':>13} {'hand-over µs, 10,000 selectors waiting':>39}"
    )
    for size in SIZES:
        pool = filled(size)
        idle = turn_us(pool, *([[Pass()]] * ROUNDS))
        lock_and_free = pairs(pool)
        hand_over = f"{crowded(pool):>39.0f}" if size >= SELECTORS else f"{'-':>39}"
        print(f"{size:>9,} {idle:>13.1f} {lock_and_free:>13.0f} {hand_over}", flush=True)
