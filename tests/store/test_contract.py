"""What every store promises, asked of each."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum, IntEnum, StrEnum
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import BigInteger, Boolean, Double, Text, delete, text, update
from sqlalchemy.exc import IntegrityError

from picluster.pool.model import (
    EMPTY,
    SESSION,
    Event,
    Heard,
    Lease,
    Machine,
    Person,
    PoolState,
    Presence,
    Role,
    Row,
    Service,
    Token,
    Webhook,
)
from picluster.store import KEPT_S, HistoryQuery, Outbox, Snapshot, Store, StoreProblem, sql, tables
from picluster.store.migrations import migrate
from picluster.store.sql import SqlStore
from picluster.store.tables import EVENTS, HEARD, POOL, REVISED, RULES_VERSION, Kind
from tests.store.pools import Connect, FakeClock, edit, ended, event, held, machine, now, token, write

DAY_S = 86_400.0


def test_it_is_a_store(store: SqlStore) -> None:
    seam: Store = store
    with seam.turn() as turn:
        assert turn.state == PoolState()


# A turn


def test_what_a_turn_wrote_is_found_by_the_next(store: SqlStore) -> None:
    """Rows come by revision, whatever their kind."""
    one, two, three = machine("pi-1", 2), held("lease", "pi-1", revision=3), token(revision=1)
    write(store, one, two, three, epoch=4, epoch_since=2, timeline="1")
    with store.turn() as turn:
        assert turn.rows_after(0) == [three, one, two]
        assert turn.rows_after(2) == [two]
        assert turn.rows_after(3) == []
        assert turn.state == PoolState(3, 0.0, 4, 2, RULES_VERSION, turn.wall_us, "1")


def test_a_changed_row_replaces_the_one_before(store: SqlStore) -> None:
    write(store, machine("pi-1", 1))
    write(store, machine("pi-1", 2, comment="on the shelf"))
    assert store.catch_up(0).rows == [machine("pi-1", 2, comment="on the shelf")]


def test_a_turn_that_fails_leaves_no_trace(store: SqlStore) -> None:
    """Whatever the exception, it comes through as it was raised, and the next turn works."""
    with pytest.raises(ZeroDivisionError):
        write_and_fail(store)
    assert store.catch_up(0) == Snapshot(PoolState(), [])
    assert store.history(HistoryQuery()) == []
    assert store.heard_since(0) == []
    write(store, machine("pi-1", 1))


def write_and_fail(store: SqlStore) -> None:
    with store.turn() as turn:
        turn.write(PoolState(revision=9), [machine("pi-1", 9)], [event(9)], [Heard("pi-1")])
        raise ZeroDivisionError


def test_a_turn_that_writes_nothing_changes_nothing(store: SqlStore, clock: FakeClock) -> None:
    """Time that it measured is not lost either: the next one measures it again."""
    write(store)
    clock.pass_s(2)
    assert now(store) == 2.0
    clock.pass_s(1)
    assert now(store) == 3.0
    assert store.catch_up(0).state.service_s == 0.0


def test_a_turn_within_a_turn_is_refused(store: SqlStore) -> None:
    """And does not undo the one around it."""
    with store.turn() as turn:
        with pytest.raises(RuntimeError, match="within a turn"):
            now(store)
        turn.write(replace(turn.state, revision=1), [machine("pi-1", 1)], [], [])
    assert store.catch_up(0).rows == [machine("pi-1", 1)]


def test_a_snapshot_sees_one_moment_without_the_lock(store: SqlStore) -> None:
    write(store, machine("pi-1", 1), machine("pi-2", 2))
    snapshot = store.catch_up(1)
    assert (snapshot.state.revision, snapshot.rows) == (2, [machine("pi-2", 2)])


# Service time


def test_time_passes_as_this_process_measures_it(store: SqlStore, clock: FakeClock) -> None:
    write(store)
    clock.pass_s(4.5)
    write(store)
    clock.pass_s(0.25)
    assert now(store) == 4.75


def test_a_pause_adds_the_cap_at_most(store: SqlStore, clock: FakeClock) -> None:
    """A sleeping server, a stopped process: nobody could renew meanwhile, so it hardly counts."""
    write(store)
    clock.pass_s(3600)
    write(store)
    assert now(store) == 6.0
    clock.pass_s(1)
    assert now(store) == 7.0


def test_the_cap_is_a_setting(connect: Connect, clock: FakeClock) -> None:
    store = connect(cap_s=0.6)
    write(store)
    clock.pass_s(5)
    assert now(store) == 0.6


def test_a_clock_that_goes_backwards_takes_nothing_away(store: SqlStore, clock: FakeClock) -> None:
    write(store, service_s=100.0)
    clock.mono_s -= 50
    assert now(store) == 100.0


def test_the_first_turn_of_a_connection_only_starts_the_measurement(
    store: SqlStore, clock: FakeClock
) -> None:
    """It is fresh until one succeeds: what a failed turn had loaded was thrown away."""
    clock.pass_s(100)
    with pytest.raises(ZeroDivisionError), store.turn() as turn:
        raise ZeroDivisionError
    assert turn.fresh
    with store.turn() as turn:
        assert (turn.fresh, turn.now) == (True, 0.0)
        turn.write(turn.state, [], [], [])
    clock.pass_s(1)
    with store.turn() as turn:
        assert (turn.fresh, turn.now) == (False, 1.0)


def test_service_time_is_exact(store: SqlStore) -> None:
    """No rounding on the way to the database and back."""
    odd = 0.1 + 0.2 + 1e9
    write(store, service_s=odd)
    assert store.catch_up(0).state.service_s == odd


def test_an_equal_revision_may_have_another_service_time(store: SqlStore, clock: FakeClock) -> None:
    """The pulse moves time without changing a row; whoever looks at revisions alone misses it."""
    write(store, machine("pi-1", 1))
    before = store.catch_up(0).state
    clock.pass_s(5)
    write(store)
    after = store.catch_up(before.revision)
    assert after.rows == []
    assert (after.state.revision, after.state.service_s) == (1, before.service_s + 5)


# The database's last word


def test_a_machine_never_has_two_holders(store: SqlStore) -> None:
    """Should the rules grant it twice, the whole turn fails, and with it everything it decided."""
    write(store, machine("pi-1", 1), held("first", "pi-1", revision=2))
    with pytest.raises(IntegrityError):
        write(store, machine("pi-1", 3), held("second", "pi-1", revision=4))
    assert store.catch_up(0).state.revision == 2
    write(store, ended(held("first", "pi-1"), 3))
    write(store, held("second", "pi-1", revision=4))


def test_a_machine_never_has_two_holders_from_one_turn(store: SqlStore) -> None:
    with pytest.raises(IntegrityError):
        write(store, held("first", "pi-1", revision=1), held("second", "pi-1", revision=2))


def test_one_commit_ends_a_lease_and_grants_the_next(store: SqlStore) -> None:
    """In whatever order the rows come."""
    first = held("first", "pi-1", "pi-2")
    write(store, first)
    write(store, held("second", "pi-2", "pi-1", revision=3), ended(first, 2))
    with pytest.raises(IntegrityError):
        write(store, held("third", "pi-1", revision=4))


def test_a_renewal_keeps_what_is_held(store: SqlStore) -> None:
    write(store, held("first", "pi-1"))
    write(store, held("first", "pi-1", revision=2))
    with pytest.raises(IntegrityError):
        write(store, held("second", "pi-1", revision=3))


def test_more_leases_than_a_statement_takes_names(store: SqlStore) -> None:
    many = [held(f"lease-{i}", f"pi-{i}", revision=i) for i in range(1, 2 * sql.CHUNK + 2)]
    write(store, *many)
    write(store, *(ended(lease, lease.revision + 5000) for lease in many))
    write(store, held("last", "pi-7", revision=9000))


# Rows and fields


SMILE = "Größe 🥧 \\ \" '"

ODD_TEXTS = (SMILE, "half a pair \ud83e", "nul \x00")
"""In JSON anything can be stored. In plain columns PostgreSQL takes neither of the last two."""


def unusual(kind: Kind[Any], nothing: bool = False) -> Any:
    """One in which every field has a value of its own, that no default has."""
    hints = typing.get_type_hints(kind.of)
    values = {name: _unusual(at, hints[name], nothing) for at, name in enumerate(kind.names)}
    return kind.of(**values)


def _unusual(at: int, hint: Any, nothing: bool) -> Any:
    if isinstance(hint, types.UnionType):
        return None if nothing else at + 0.1
    shape = typing.get_origin(hint) or hint
    if issubclass(shape, Enum):
        return list(shape)[-1]
    if shape is tuple:
        item = typing.get_args(hint)[0]
        return (_odd(item),) * 2 if is_dataclass(item) else ODD_TEXTS
    if issubclass(shape, Mapping):
        return {SMILE: list(ODD_TEXTS), "deep": {"empty": EMPTY, "none": None, "n": 1.5}}
    if shape is bool:
        return bool(at % 2)
    return {str: f"{SMILE}{at}", int: 2**53 + at, float: at + 0.1}[shape]


def _odd(item: Any) -> Any:
    """A part of a row, in JSON."""
    return item(
        **{
            name: at if hint is int else ODD_TEXTS[1]
            for at, (name, hint) in enumerate(typing.get_type_hints(item).items())
        }
    )


@pytest.mark.parametrize("nothing", [False, True])
@pytest.mark.parametrize("kind", REVISED, ids=lambda kind: kind.table.name)
def test_every_field_of_a_row_comes_back(store: SqlStore, kind: Kind[Any], nothing: bool) -> None:
    """Enumerations, nothing, tuples, mappings, floats, big numbers and any character."""
    row = unusual(kind, nothing)
    write(store, row)
    (read,) = store.catch_up(0).rows
    assert read == row
    assert [type(value) for value in scalars(read)] == [type(value) for value in scalars(row)]


def scalars(row: Any) -> Iterator[Any]:
    return (value for field in fields(row) if not isinstance(value := getattr(row, field.name), Mapping))


def test_every_field_of_a_beat_comes_back(store: SqlStore) -> None:
    heard = unusual(HEARD)
    write(store, heard=[heard])
    assert store.heard_since(0) == [heard]


def test_every_field_of_an_event_comes_back(store: SqlStore) -> None:
    happened = unusual(EVENTS)
    write(store, happened=[happened])
    assert store.history(HistoryQuery()) == [happened]


def test_every_field_of_the_pool_comes_back(store: SqlStore) -> None:
    state = replace(unusual(POOL), rules_version=RULES_VERSION)
    with store.turn() as turn:
        turn.write(state, [], [], [])
    assert store.catch_up(0).state == state


@pytest.mark.parametrize("kind", [POOL, *REVISED, HEARD, EVENTS], ids=lambda kind: kind.table.name)
def test_every_field_has_a_column_of_its_type(kind: Kind[Any]) -> None:
    """To add one: the field in the model, the column in the table, a migration."""
    hints = typing.get_type_hints(kind.of)
    extra = {column.name for column in kind.table.columns} - set(kind.names)
    assert extra <= {"id"}
    for name, hint in hints.items():
        column = kind.table.c[name]
        assert isinstance(column.type, _column_type(hint)), name
        assert column.nullable == isinstance(hint, types.UnionType), name


def _column_type(hint: Any) -> type:
    if isinstance(hint, types.UnionType):
        return Double
    shape = typing.get_origin(hint) or hint
    if issubclass(shape, IntEnum):
        return BigInteger
    if issubclass(shape, StrEnum | tuple | Mapping):
        return Text
    return {str: Text, bool: Boolean, int: BigInteger, float: Double}[shape]


def test_the_migrations_make_exactly_the_tables(store: SqlStore) -> None:
    with store._reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []


@pytest.mark.parametrize(
    ("column", "nonsense"),
    [
        ("facts", "{"),
        ("facts", "[]"),
        ("labels", "nil"),
        ("host_keys", '{"a": 1}'),
        ("host_keys", "[1]"),
        ("mode", "strict"),
        ("presence", ""),
        ("facts", "[" * 100_000),
    ],
)
def test_a_value_edited_by_hand_is_named(store: SqlStore, column: str, nonsense: str) -> None:
    """Not a traceback: which table, which row, which column, and what to do."""
    write(store, machine("pi-1", 1), machine("pi-2", 2))
    edit(store, update(tables.machines).where(tables.machines.c.name == "pi-2").values({column: nonsense}))
    with pytest.raises(StoreProblem, match=f"'machines', row 'pi-2'.*'{column}'") as raised:
        store.catch_up(0)
    assert "restore a backup" in raised.value.hint


# Presence


def test_beats_are_kept_by_machine(store: SqlStore) -> None:
    write(store, heard=[Heard("pi-1", 1.0), Heard("pi-2", 2.0)])
    write(store, heard=[Heard("pi-1", 3.0, seq=9, telemetry={"temperature": 55.5})])
    with store.turn() as turn:
        assert turn.heard(["pi-1", "pi-9"]) == [Heard("pi-1", 3.0, seq=9, telemetry={"temperature": 55.5})]
        assert {heard.name for heard in turn.heard()} == {"pi-1", "pi-2"}
        assert turn.heard([]) == []
    assert [heard.name for heard in store.heard_since(3.0)] == ["pi-1"]


def test_an_older_beat_never_replaces_a_newer_one(store: SqlStore) -> None:
    """Another replica may have heard the board later, and written sooner."""
    write(store, heard=[Heard("pi-1", 5.0, seq=2)])
    write(store, heard=[Heard("pi-1", 4.0, seq=1)])
    assert store.heard_since(0) == [Heard("pi-1", 5.0, seq=2)]


def test_ten_thousand_beats_are_one_turn(store: SqlStore) -> None:
    beats = [Heard(f"pi-{i}", 1.0, telemetry={"load": [0.1, 0.2, 0.3]}) for i in range(10_000)]
    write(store, heard=beats)
    with store.turn() as turn:
        assert len(turn.heard(beat.name for beat in beats)) == 10_000


def test_a_deleted_machine_leaves_a_tombstone_and_no_beats(store: SqlStore) -> None:
    write(store, machine("pi-1", 1), heard=[Heard("pi-1", 1.0)])
    gone = machine("pi-1", 2, deleted=True, deleted_s=2.0)
    write(store, gone)
    assert store.catch_up(1).rows == [gone]
    assert store.heard_since(0) == []


# History


def test_history_is_newest_first_and_asks_exactly(store: SqlStore) -> None:
    first = event(1, "pi-1", at_us=10, holder="ann", lease="a")
    second = event(2, "pi-2", at_us=20, holder="bob", lease="b", kind="released")
    write(store, happened=[first, second])
    assert store.history(HistoryQuery()) == [second, first]
    for query in (
        HistoryQuery(machine="pi-1"),
        HistoryQuery(holder="ann"),
        HistoryQuery(lease="a"),
        HistoryQuery(kind="granted"),
        HistoryQuery(before=2),
        HistoryQuery(until_us=20),
    ):
        assert store.history(query) == [first], query
    assert store.history(HistoryQuery(since_us=20)) == [second]
    assert store.history(HistoryQuery(machine="pi-1", holder="bob")) == []


def test_history_of_several_kinds(store: SqlStore) -> None:
    happened = [event(number, "pi-1", kind=kind) for number, kind in enumerate(("a", "b", "c", "b"), 1)]
    write(store, happened=happened)
    assert [one.kind for one in store.history(HistoryQuery(kinds=("a", "b")))] == ["b", "b", "a"]
    assert store.history(HistoryQuery(kinds=("d",))) == []


def test_the_outbox_is_the_record_from_a_cursor_on(store: SqlStore) -> None:
    """Of the kinds that are told, oldest first; and whoever reads on from its cursor misses nothing."""
    happened = [
        event(number, f"pi-{number}", kind=kind) for number, kind in enumerate(("a", "b", "a", "c"), 1)
    ]
    write(store, machine("pi-1", 4), happened=happened)
    assert store.outbox(0, ("a",), 10) == Outbox([happened[0], happened[2]], 4)
    assert store.outbox(1, ("a",), 10) == Outbox([happened[2]], 4)
    assert store.outbox(4, ("a",), 10) == Outbox([], 4)
    write(store, machine("pi-1", 5), happened=[event(5, "pi-1", kind="a")])
    assert [one.revision for one in store.outbox(4, ("a",), 10).events] == [5]


def test_a_page_of_the_outbox_ends_between_revisions(store: SqlStore) -> None:
    """A lease of three machines is three events of one revision: told together, or the cursor would skip some."""
    happened = [event(1, "pi-1"), event(2, "pi-1"), event(2, "pi-2"), event(2, "pi-3"), event(3, "pi-1")]
    write(store, machine("pi-1", 3), happened=happened)
    assert store.outbox(0, ("granted",), 2) == Outbox(happened[:4], 2)
    assert store.outbox(2, ("granted",), 2) == Outbox(happened[4:], 3)


def test_events_between_two_times_come_oldest_first(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many, in pieces, and no more than asked for; those of one moment in the order in which they were told."""
    monkeypatch.setattr(sql, "PIECE", 2)
    times = (30, 10, 20, 20, 40)
    happened = [event(number, f"pi-{number}", at_us=at_us) for number, at_us in enumerate(times, 1)]
    write(store, happened=[*happened, event(9, "pi-9", at_us=25, kind="other")])
    found = list(store.events_between(10, 40, ("granted",), 100))
    assert [one.machine for one in found] == ["pi-2", "pi-3", "pi-4", "pi-1"]
    assert list(store.events_between(10, 40, ("granted",), 3)) == found[:3]


def test_reading_events_leaves_the_store_free_when_it_is_given_up(store: SqlStore) -> None:
    write(store, happened=[event(number, "pi-1", at_us=number) for number in range(1, 4)])
    reading = store.events_between(0, 9, ("granted",), 100)
    next(reading)
    reading.close()
    write(store, machine("pi-1", 9))


def test_pages_of_history_miss_nothing(store: SqlStore) -> None:
    """The next page starts before a revision, so no page ends within one."""
    happened = [event(revision, f"pi-{i}") for revision in (1, 2, 3, 4) for i in range(3)]
    write(store, happened=happened)
    pages: list[Event] = []
    before = 0
    while page := store.history(HistoryQuery(before=before, limit=4)):
        pages += page
        before = page[-1].revision
    assert pages == happened[::-1]


# Housekeeping


def test_tidying_removes_what_is_long_over(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing that lives, or that somebody may still ask for; in batches, however small."""
    monkeypatch.setattr(sql, "TIDY_BATCH", 2)
    later_s, later_us = 2 * DAY_S, int((KEPT_S["event"] + 5) * 1e6)
    waiting = Lease("waits", "ann", "all", revision=3)
    kept: list[Row] = [
        machine("pi-1", 1),
        held("holds", "pi-1", revision=2),
        waiting,
        ended(held("recent", "pi-2"), 4, ended_s=later_s - 10),
        machine("pi-recent", 5, deleted=True, deleted_s=later_s - 10),
        token(revision=6),
        token(id="runs", kind=SESSION, expires_us=later_us - 10, revision=7),
        token(id="ran out", expires_us=1, revision=8),
        Person("ann", Role.USER, revision=9),
        Webhook("chat", "slack", "https://chat.example/x", revision=10),
    ]
    old: list[Row] = [
        *(ended(held(f"old-{i}", "pi-2"), 11 + i) for i in range(5)),
        machine("pi-old", 20, deleted=True),
        token(id="old", revoked=True, revision=21),
        token(id="over", kind=SESSION, expires_us=1, revision=22),
        Person("gone", Role.USER, deleted=True, revision=23),
        Webhook("gone", "generic", "", deleted=True, revision=24),
    ]
    write(store, *old, *kept, happened=[event(1, at_us=1), event(2, at_us=later_us)])
    store.tidy(later_s, later_us)
    assert store.catch_up(0).rows == kept
    assert store.history(HistoryQuery()) == [event(2, at_us=later_us)]


def test_tidying_does_not_interrupt_the_measurement_of_time(store: SqlStore, clock: FakeClock) -> None:
    write(store)
    store.tidy(0.0, 0)
    clock.pass_s(1)
    assert now(store) == 1.0


# Versions


def test_an_older_service_stops_turning(connect: Connect) -> None:
    """Once newer rules have decided for this pool, the older ones must not."""
    store = connect()
    write(store)
    edit(store, update(tables.pool).values(rules_version=RULES_VERSION + 1))
    with pytest.raises(StoreProblem, match="newer version serves this pool") as raised:
        now(store)
    assert raised.value.exit_code == 1


def test_a_missing_pool_row_is_said(store: SqlStore) -> None:
    edit(store, delete(tables.pool))
    with pytest.raises(StoreProblem, match="'pool' is missing"):
        now(store)


def test_migrating_twice_changes_nothing(store: SqlStore) -> None:
    write(store, machine("pi-1", 1))
    connection = store._writing()
    with connection.begin():
        migrate(connection)
    assert store.catch_up(0).rows == [machine("pi-1", 1)]


def test_tables_of_a_newer_version_are_left_alone(store: SqlStore) -> None:
    edit(store, text("UPDATE alembic_version SET version_num = '9999'"))
    connection = store._writing()
    with pytest.raises(StoreProblem, match="newer version has changed the tables"), connection.begin():
        migrate(connection)


def test_enumerations_come_back_as_themselves(store: SqlStore) -> None:
    row = machine("pi-1", 1, service=Service.DRAINED, presence=Presence.OFFLINE)
    write(store, row, token(revision=2))
    read, credential = store.catch_up(0).rows
    assert isinstance(read, Machine)
    assert isinstance(credential, Token)
    assert read.service is Service.DRAINED
    assert credential.role is Role.OPERATOR
