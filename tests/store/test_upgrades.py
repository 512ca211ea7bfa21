"""A pool of an older version goes on in this one: its database as it stands, and each backup that was ever made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from picluster.pool.commands import AddWebhook, AmendWebhook, Pass
from picluster.pool.model import Actor, Webhook
from picluster.pool.policy import Policy
from picluster.server.turn import take_turn
from picluster.store import backup_file, migrations
from picluster.store.backup import EVENT_NUMBERS
from picluster.store.postgres import PostgresStore
from picluster.store.sql import SqlStore
from picluster.store.sqlite import SqliteStore
from tests.store.pools import FakeClock
from tests.store.test_backup import lived, save

ROOT = Actor("root")
Columns = Mapping[str, frozenset[str]]
"""Of each table."""


def revisions() -> list[str]:
    """All but the newest."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()][:0:-1]


class Place:
    """An empty database, of either make."""

    def __init__(self, url: str, clock: FakeClock) -> None:
        self._url, self._clock = url, clock

    def store(self) -> SqlStore:
        if self._url.startswith("postgresql"):
            return PostgresStore(self._url, clock=self._clock)
        return SqliteStore(Path(self._url), clock=self._clock)

    @contextmanager
    def connected(self) -> Iterator[sa.Connection]:
        dialect = "postgresql+psycopg" if self._url.startswith("postgresql") else "sqlite:///"
        engine = sa.create_engine(
            self._url.replace("postgresql", dialect, 1) if "://" in self._url else dialect + self._url
        )
        with engine.begin() as connection:
            yield connection
        engine.dispose()

    def older(self, revision: str) -> Columns:
        """Its tables as that version made them."""
        with self.connected() as connection:
            command.upgrade(migrations.history(connection), revision)
            return columns(connection)


def columns(connection: sa.Connection) -> Columns:
    seen = sa.inspect(connection)
    return {name: frozenset(it["name"] for it in seen.get_columns(name)) for name in seen.get_table_names()}


@contextmanager
def opened(place: Place) -> Iterator[SqlStore]:
    store = place.store()
    store.open()
    try:
        yield store
    finally:
        store.close()


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path) -> Place:
    url = (
        request.getfixturevalue("postgres_url") if request.param == "postgres" else str(tmp_path / "older.db")
    )
    return Place(url, clock)


@pytest.fixture
def present(clock: FakeClock, tmp_path: Path) -> Iterator[SqlStore]:
    """A pool with some history, of this version, with a webhook that is paused."""
    store = SqliteStore(tmp_path / "present.db", clock=clock)
    store.open()
    outcome = lived(store)
    room = AddWebhook(ROOT, Webhook("room", "generic", "https://chat.invalid/hook"))
    take_turn(store, outcome.pool, [room, AmendWebhook(ROOT, "room", paused=True)], Policy())
    yield store
    store.close()


def as_of(backup: Path, known: Columns) -> list[dict[str, Any]]:
    """What a version that had these columns would have saved of the same pool."""
    first, *rows = (said for _, said in backup_file.read(backup) if "end" not in said)
    return [
        {**first, "rules_version": 1},
        *(_as_of(it, known[it["table"]]) for it in rows if it["table"] in known),
    ]


def _as_of(said: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    return {**said, "row": {key: value for key, value in said["row"].items() if key in known}}


def fill(connection: sa.Connection, saved: list[dict[str, Any]]) -> None:
    tables = sa.MetaData()
    tables.reflect(connection)
    connection.execute(sa.delete(tables.tables["pool"]))
    for said in saved[1:]:
        connection.execute(sa.insert(tables.tables[said["table"]]), said["row"])
    if connection.dialect.name == "postgresql":
        connection.execute(EVENT_NUMBERS)  # where its own inserts would have left it


def goes_on(store: SqlStore, saved: list[dict[str, Any]], known: Columns, file: Path) -> None:
    """All that the older version knew is as it was, but that time went on; and the next turn can be taken."""

    def lasting(things: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [it for it in things[1:] if it["table"] != "pool"]

    assert lasting(saved)
    assert lasting(as_of(save(store, file), known)) == lasting(saved)
    outcome = take_turn(store, None, [Pass()], Policy())
    assert outcome.pool.ledger.roster.leases["lease-1"].machines == ("pi-1",)
    if "webhooks" in known:
        resume = AmendWebhook(ROOT, "room", paused=False)
        (resumed,) = take_turn(store, outcome.pool, [resume], Policy()).answers
        assert isinstance(resumed, Webhook)
        assert [one.until for one in resumed.pauses] == [outcome.state.revision]


@pytest.mark.parametrize("revision", revisions())
def test_an_older_database_is_brought_up_to_date(
    place: Place, present: SqlStore, tmp_path: Path, revision: str
) -> None:
    """By opening it."""
    known = place.older(revision)
    saved = as_of(save(present, tmp_path / "backup"), known)
    with place.connected() as connection:
        fill(connection, saved)
    with opened(place) as store:
        goes_on(store, saved, known, tmp_path / "again")


@pytest.mark.parametrize("revision", revisions())
def test_an_older_backup_can_be_restored(
    place: Place, present: SqlStore, clock: FakeClock, tmp_path: Path, revision: str
) -> None:
    """Into either kind of database."""
    known = Place(str(tmp_path / "columns.db"), clock).older(revision)
    saved = as_of(save(present, tmp_path / "backup"), known)
    older = tmp_path / "older"
    older.write_bytes(b"".join(backup_file.sealed(saved)))
    with opened(place) as store:
        store.restore(older)
        goes_on(store, saved, known, tmp_path / "again")
