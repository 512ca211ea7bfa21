"""Random days of a pool, each out of a seed; every invariant after every turn."""

from __future__ import annotations

import os

import pytest

from tests.simulation.world import World

STEPS = 1_000
CHUNKS, SEEDS_PER_CHUNK = 10, int(os.environ.get("SEEDS", "20"))


def simulate(seed: int, steps: int = STEPS) -> None:
    """One seed. Run it alone: `.venv/bin/python -c 'from tests.simulation.test_simulation import simulate; simulate(SEED)'`."""
    world = World(seed)
    try:
        world.run(steps)
    finally:
        world.close()


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_thousand_steps_hold(chunk: int) -> None:
    """Whatever boards, clients, operators, pauses and restarts do, nothing promised is broken."""
    for seed in range(chunk * SEEDS_PER_CHUNK, (chunk + 1) * SEEDS_PER_CHUNK):
        simulate(seed)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("chunk", range(20))
def test_many_more_seeds_hold(chunk: int) -> None:
    for seed in range(100_000 + chunk * 100, 100_000 + (chunk + 1) * 100):
        simulate(seed)
