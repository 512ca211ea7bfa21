"""Held-open calls: nothing that happens between a turn and the wait for the next one is slept through."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from picluster.errors import Unavailable
from picluster.pool.policy import Policy
from picluster.server.context import Context
from picluster.server.view import View


def context() -> Context:
    parts: Any = SimpleNamespace()
    return Context(parts, parts, View(cap_s=Policy().slack_s), parts, parts, parts)


def test_what_changed_before_the_wait_began_ends_it_at_once() -> None:
    """The next turn may be shown before the answer of the last one has reached its caller: nobody rings again."""

    async def story() -> None:
        await asyncio.wait_for(context().hold(25, "waiting", lambda: "held", ("lease", "x")), 5)

    asyncio.run(story())


def test_what_does_not_change_is_held_for_the_time_asked() -> None:
    async def story() -> None:
        await context().hold(0.01, "waiting", lambda: "waiting", ("lease", "x"))

    asyncio.run(story())


def test_the_end_of_the_service_ends_a_held_call_with_a_hint() -> None:
    async def story() -> None:
        held = context()
        waiting = asyncio.ensure_future(held.hold(25, "waiting", lambda: "waiting", ("lease", "x")))
        await asyncio.sleep(0)
        held.stopping.set()
        with pytest.raises(Unavailable):
            await waiting

    asyncio.run(story())
