"""Random days of a pool, each out of a seed; every invariant after every turn."""

from __future__ import annotations

import pytest

from picluster.store.postgres import PostgresStore
from tests.postgres import PostgresServer
from tests.simulation.world import World

STEPS = 1_000
CHUNKS, SEEDS_PER_CHUNK = 10, 4
LONG_CHUNKS, SEEDS_PER_LONG_CHUNK = 20, 50
POSTGRES_SEEDS, POSTGRES_STEPS = 4, 400
"""A turn there takes several times as long."""


def simulate(seed: int, steps: int = STEPS, postgres: str = "") -> None:
    """One seed. Run it alone: `.venv/bin/python -c 'from tests.simulation.test_simulation import simulate; simulate(SEED)'`."""
    if postgres:
        world = World(seed, lambda clock: [PostgresStore(postgres, clock=clock) for _ in range(2)])
    else:
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


@pytest.mark.parametrize("seed", range(POSTGRES_SEEDS))
def test_two_replicas_on_postgresql_hold(seed: int, postgres_url: str) -> None:
    """The same days with a connection for each replica, on a database of another make."""
    simulate(10_000 + seed, POSTGRES_STEPS, postgres_url)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("chunk", range(LONG_CHUNKS))
def test_many_more_seeds_hold(chunk: int) -> None:
    first = 100_000 + chunk * SEEDS_PER_LONG_CHUNK
    for seed in range(first, first + SEEDS_PER_LONG_CHUNK):
        simulate(seed)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("chunk", range(4))
def test_many_more_seeds_hold_on_postgresql(chunk: int, postgres_server: PostgresServer) -> None:
    for seed in range(200_000 + chunk * 5, 200_000 + (chunk + 1) * 5):
        with_name = f"long_{seed}"
        simulate(seed, STEPS, postgres_server.create_database(with_name))
        postgres_server.drop_database(with_name)
