"""People and jobs that want boards: they wait their turn, work for a while, and give back."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from picluster.client.aio import AsyncClient
from picluster.demo.boards import DISAPPEARS
from picluster.errors import PiclusterError

WORK_S = (4.0, 12.0)
REST_S = (1.0, 7.0)
TTL_S = 15.0


@dataclass(frozen=True)
class Person:
    """Who asks, for what, again and again."""

    name: str
    jobs: tuple[str, ...]
    selectors: tuple[str, ...]
    count: int = 1


PEOPLE = (
    Person("ann", ("video tests", "camera calibration"), ("tag:camera",)),
    Person("bob", ("kernel bisect", "boot time"), ("model:pi4", "model:(pi4|cm4)")),
    Person("kim", ("inference benchmark",), ("model:pi5",)),
    Person(
        "nightly", ("build 4711", "build 4712", "build 4713"), ("-model:zero2w", "rack:b", "model:(pi3b|pi4)")
    ),
    Person("soak", ("soak test of two",), ("rack:a",), count=2),
    Person("old-ci", ("regression",), ("platform:*BCM2835",)),
)

PATIENT = Person("max", ("Zero 2 W power figures",), (f"name:{DISAPPEARS}",))
"""Waits for the board that disappeared, and goes on waiting."""


async def work(person: Person, pool: AsyncClient) -> None:
    """For ever: wait for boards, use them for a while, rest."""
    chance = random.Random(person.name)  # noqa: S311  a demonstration is no secret
    while True:
        try:
            async with pool.lease(
                chance.choice(person.selectors), job=chance.choice(person.jobs), ttl=TTL_S, count=person.count
            ):
                await asyncio.sleep(chance.uniform(*WORK_S))
        except PiclusterError:
            pass  # no board matches yet, or the service is being restarted: later
        await asyncio.sleep(chance.uniform(*REST_S))


async def wait_in_vain(person: Person, pool: AsyncClient) -> None:
    """Queue for a board once it has disappeared."""
    while True:
        try:
            (board,) = await pool.machines(person.selectors[0])
            if board.presence == "offline":
                async with pool.lease(person.selectors[0], job=person.jobs[0]):
                    await asyncio.sleep(WORK_S[0])
        except (PiclusterError, ValueError):
            pass  # it has not registered yet
        await asyncio.sleep(REST_S[0])
