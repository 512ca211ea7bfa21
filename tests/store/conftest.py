"""Stores of every make."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from picluster.store.postgres import PostgresStore
from picluster.store.sql import SqlStore
from picluster.store.sqlite import SqliteStore
from tests.store.pools import Connect, FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "file", "postgres"])
def connect(request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path) -> Iterator[Connect]:
    """Opens the database of this test, as a process that starts does; all are closed after it."""
    stores: list[SqlStore] = []
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    path = ":memory:" if request.param == "memory" else tmp_path / "pool.db"

    def open_one(**options: Any) -> SqlStore:
        options = {"clock": clock, **options}
        store = PostgresStore(url, **options) if url else SqliteStore(path, **options)
        stores.append(store)
        store.open()
        return store

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture
def store(connect: Connect) -> SqlStore:
    return connect()
