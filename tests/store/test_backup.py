"""Backups: one moment of a pool, brought back whole or not at all, on whichever database."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from picluster.pool.commands import Acquire, AddPerson, Pass, Report, UpdateAddress
from picluster.pool.model import Actor, LeaseState, Machine, Mode, Person, Role
from picluster.pool.policy import Policy
from picluster.server.turn import Outcome, take_turn
from picluster.store import HistoryQuery, StoreProblem, backup_file
from picluster.store.postgres import PostgresStore
from picluster.store.sql import SqlStore
from picluster.store.sqlite import SqliteStore
from picluster.store.tables import RULES_VERSION
from tests.store.pools import Connect, FakeClock

MANY = 3_000
"""Events that do not fit into one statement."""


@pytest.fixture(params=["file", "postgres"])
def elsewhere(request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path) -> Iterator[SqlStore]:
    """An empty pool in another place, of either make."""
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_server")
        url = server.create_database("elsewhere")
        store: SqlStore = PostgresStore(url, clock=clock)
    else:
        store = SqliteStore(tmp_path / "elsewhere.db", clock=clock)
    store.open()
    yield store
    store.close()
    if request.param == "postgres":
        server.drop_database("elsewhere")


def beat(number: int) -> UpdateAddress:
    report = Report(
        f"legacy:10.0.0.{number}", f"10.0.0.{number}", Mode.LEGACY, facts={"host_name": f"pi-{number}"}
    )
    return UpdateAddress(Actor("legacy:monitor"), report)


def lived(store: SqlStore) -> Outcome:
    """Two boards, one of them held, somebody waiting for it, and a long history."""
    outcome = take_turn(store, None, [beat(1), beat(2)], Policy())
    ask = Acquire(Actor("ann"), "lease-1", "name:pi-1", ttl_s=600.0, job="🥧")
    wait = Acquire(Actor("bob"), "lease-2", "name:pi-1")
    account = AddPerson(Actor("root"), Person("ann", Role.OPERATOR, "$argon2id$…", created_by="root"))
    outcome = take_turn(store, outcome.pool, [ask, wait, account], Policy())
    for number in range(MANY):
        amend = beat(2).report
        changed = Report(amend.id, amend.address, amend.mode, facts=amend.facts, comment=str(number))
        outcome = take_turn(store, outcome.pool, [UpdateAddress(Actor("legacy:monitor"), changed)], Policy())
        if number > 20:
            break
    return outcome


def save(store: SqlStore, file: Path) -> Path:
    file.write_bytes(b"".join(store.backup()))
    return file


def test_a_backup_brings_back_the_whole_pool(store: SqlStore, elsewhere: SqlStore, tmp_path: Path) -> None:
    """From either database into either: rows, presence and history are the same."""
    lived(store)
    file = save(store, tmp_path / "backup")
    assert backup_file.check(file, RULES_VERSION).revision == store.catch_up(0).state.revision
    elsewhere.restore(file)
    assert elsewhere.catch_up(0).rows == store.catch_up(0).rows
    assert elsewhere.heard_since(0) == store.heard_since(0)
    assert elsewhere.history(HistoryQuery()) == store.history(HistoryQuery())


def test_after_a_restore_nothing_is_granted_unheard_and_no_fence_repeats(
    store: SqlStore, elsewhere: SqlStore, tmp_path: Path, clock: FakeClock
) -> None:
    """What was granted after the backup is forgotten, but not by the boards."""
    outcome = lived(store)
    file = save(store, tmp_path / "backup")
    later = take_turn(store, outcome.pool, [Acquire(Actor("eve"), "lease-3", "name:pi-2")], Policy())
    forgotten_fence = later.pool.ledger.roster.machines["pi-2"].fence
    assert forgotten_fence
    clock.pass_s(5)
    elsewhere.restore(file)
    ask = Acquire(Actor("kim"), "lease-4", "name:pi-2", ttl_s=None)
    first = take_turn(elsewhere, None, [ask], Policy())
    roster = first.pool.ledger.roster
    assert roster.leases["lease-4"].state is LeaseState.WAITING
    assert roster.leases["lease-1"].state is LeaseState.HELD
    assert first.state.epoch == outcome.state.epoch + 1
    heard = take_turn(elsewhere, first.pool, [beat(2)], Policy())
    assert heard.pool.ledger.roster.machines["pi-2"].fence > forgotten_fence
    kinds = [event.kind for event in elsewhere.history(HistoryQuery())]
    assert "pool.epoch" in kinds


@pytest.mark.parametrize("connect", ["file", "postgres"], indirect=True)
def test_a_backup_is_one_moment_while_turns_go_on(connect: Connect) -> None:
    """Rows written after its first piece are not in it. (In memory there is one connection, and a turn waits.)"""
    store = connect()
    outcome = lived(store)
    pieces = store.backup()
    first = next(pieces)
    take_turn(store, outcome.pool, [beat(3)], Policy())
    text = gzip.decompress(first + b"".join(pieces)).decode()
    assert "pi-2" in text
    assert "pi-3" not in text
    assert any(isinstance(row, Machine) and row.name == "pi-3" for row in store.catch_up(0).rows)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda whole: whole[: len(whole) // 2], "cannot be restored"),
        (lambda whole: whole[:-9], "cannot be restored"),
        (lambda whole: b"not a backup at all", "cannot be restored"),
        (lambda whole: b"", "cut short"),
        (lambda whole: gzip.compress(b'{"something": "else"}\n'), "no backup of picluster"),
        (lambda whole: _edited(whole, "legacy:10.0.0.1", "legacy:10.0.0.7"), "not what was written"),
        (lambda whole: _without_a_row(whole), "not what was written"),
        (lambda whole: gzip.compress(gzip.decompress(whole) + b'{"table": "pool"}\n'), "goes on"),
        (lambda whole: _edited(whole, '"picluster_backup":1', '"picluster_backup":2'), "newer version"),
        (
            lambda whole: _edited(whole, f'"rules_version":{RULES_VERSION}', '"rules_version":99'),
            "newer version",
        ),
    ],
    ids=["half", "end", "text", "nothing", "another", "edited", "row", "more", "format", "rules"],
)
def test_a_bad_backup_changes_nothing(clock: FakeClock, tmp_path: Path, harm: object, said: str) -> None:
    store = SqliteStore(tmp_path / "pool.db", clock=clock)
    store.open()
    lived(store)
    whole = b"".join(store.backup())
    before = store.catch_up(0)
    file = tmp_path / "bad"
    file.write_bytes(harm(whole))  # type: ignore[operator]
    with pytest.raises(StoreProblem, match=said):
        store.restore(file, replace=True)
    assert store.catch_up(0) == before
    file.write_bytes(whole)
    store.restore(file, replace=True)
    store.close()


def _edited(whole: bytes, old: str, new: str) -> bytes:
    text = gzip.decompress(whole).decode()
    assert old in text
    return gzip.compress(text.replace(old, new, 1).encode())


def _without_a_row(whole: bytes) -> bytes:
    lines = gzip.decompress(whole).splitlines(keepends=True)
    assert "row" in json.loads(lines[2])
    return gzip.compress(b"".join(lines[:2] + lines[3:]))


def test_a_pool_that_is_not_empty_is_not_replaced_by_mistake(store: SqlStore, tmp_path: Path) -> None:
    lived(store)
    file = save(store, tmp_path / "backup")
    take_turn(store, None, [Pass()], Policy())
    with pytest.raises(StoreProblem, match="machines or leases"):
        store.restore(file)
    store.restore(file, replace=True)


def test_postgresql_in_use_is_not_replaced(postgres_url: str, clock: FakeClock, tmp_path: Path) -> None:
    """A replica that went on with its old copy would write over what was restored."""
    serving, restoring = PostgresStore(postgres_url, clock=clock), PostgresStore(postgres_url, clock=clock)
    serving.open()
    restoring.open()
    lived(serving)
    file = save(serving, tmp_path / "backup")
    with pytest.raises(StoreProblem, match="running services"):
        restoring.restore(file, replace=True)
    serving.close()
    restoring.restore(file, replace=True)
    restoring.close()
