"""Replicas on one PostgreSQL, and the ways in which a server is lost and found again."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import sql

from picluster.errors import Unavailable
from picluster.store import CommitUnknown, HistoryQuery, StoreProblem, postgres
from picluster.store.postgres import PostgresStore, parameters
from tests.postgres import PostgresServer
from tests.store.pools import FakeClock, held, machine, now, write

SOON_S = 20.0
"""Long enough for any busy computer; nothing waits this long unless it fails."""

Replica = Callable[..., PostgresStore]
Notices = queue.SimpleQueue[int]


@pytest.fixture
def replica(postgres_url: str) -> Iterator[Replica]:
    """Starts one more replica on the database of this test."""
    stores: list[PostgresStore] = []

    def start(**options: Any) -> PostgresStore:
        store = PostgresStore(postgres_url, **{"clock": FakeClock(), **options})
        stores.append(store)
        store.open()
        return store

    yield start
    for store in stores:
        store.close()


def run(url: str, statement: str) -> Any:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchone() if cursor.description else None


def listening(store: PostgresStore) -> None:
    assert store._listener
    assert store._listener.listening.wait(SOON_S)


# Replicas


def test_replicas_see_what_the_other_decided(replica: Replica) -> None:
    """Each measures its own time and takes over the other's: neither can claim more than it measured."""
    clock, other_clock = FakeClock(), FakeClock()
    one, other = replica(clock=clock), replica(clock=other_clock)
    write(one, machine("pi-1", 1))
    write(other, held("lease", "pi-1", revision=2))
    clock.pass_s(5)
    write(one)
    other_clock.pass_s(5)
    with other.turn() as turn:
        assert turn.now == 5.0
        assert turn.rows_after(0) == [machine("pi-1", 1), held("lease", "pi-1", revision=2)]
    assert one.catch_up(1).rows == [held("lease", "pi-1", revision=2)]


def test_a_restarted_replica_takes_nothing_from_the_others_time(replica: Replica) -> None:
    clock = FakeClock()
    one = replica(clock=clock)
    write(one)
    for _ in range(5):
        clock.pass_s(1)
        write(replica())
    assert now(one) == 5.0


def test_replicas_take_turns(replica: Replica) -> None:
    """Hundreds of turns from several replicas at once, and no number is lost."""
    stores = [replica() for _ in range(3)]

    def count(store: PostgresStore) -> None:
        for _ in range(50):
            with store.turn() as turn:
                turn.write(replace(turn.state, revision=turn.state.revision + 1), [], [], [])

    threads = [threading.Thread(target=count, args=[store]) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stores[0].catch_up(0).state.revision == 150


def test_replicas_that_start_together_migrate_once(postgres_url: str, replica: Replica) -> None:
    problems: list[Exception] = []

    def start() -> None:
        try:
            replica()
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_a_snapshot_is_one_moment_and_changes_nothing(replica: Replica) -> None:
    with replica()._reading() as connection:
        isolation = connection.exec_driver_sql("SHOW transaction_isolation").scalar_one()
        read_only = connection.exec_driver_sql("SHOW transaction_read_only").scalar_one()
    assert (isolation, read_only) == ("repeatable read", "on")


# Notices


def test_the_others_are_told_after_the_commit_and_nobody_else(replica: Replica) -> None:
    """Only when rows changed, and never oneself: or replicas would wake each other for ever."""
    own: Notices = queue.SimpleQueue()
    others: Notices = queue.SimpleQueue()
    one, other = replica(on_notice=own.put), replica(on_notice=others.put)
    listening(one)
    listening(other)
    write(one)
    write(one, machine("pi-1", 7))
    assert others.get(timeout=SOON_S) == 7
    write(other, machine("pi-1", 8))
    assert own.get(timeout=SOON_S) == 8
    assert own.empty()
    assert others.empty()


def test_a_turn_that_fails_tells_nobody(replica: Replica) -> None:
    told: Notices = queue.SimpleQueue()
    one, other = replica(), replica(on_notice=told.put)
    listening(other)
    with pytest.raises(ZeroDivisionError):
        write_and_fail(one)
    write(one, machine("pi-1", 2))
    assert told.get(timeout=SOON_S) == 2


def write_and_fail(store: PostgresStore) -> None:
    with store.turn() as turn:
        turn.write(replace(turn.state, revision=1), [machine("pi-1", 1)], [], [])
        raise ZeroDivisionError


def test_a_listener_outlives_bad_notices_and_a_lost_connection(postgres_url: str, replica: Replica) -> None:
    """A dead listener must not stop serving; and it comes back."""
    told: Notices = queue.SimpleQueue()

    def tell(revision: int) -> None:
        told.put(revision)
        raise ZeroDivisionError

    one, other = replica(), replica(on_notice=tell)
    listening(other)
    run(postgres_url, "NOTIFY picluster, 'nonsense'")
    write(one, machine("pi-1", 1))
    assert told.get(timeout=SOON_S) == 1
    run(
        postgres_url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE query = 'LISTEN picluster' AND datname = current_database()",
    )
    write(other, machine("pi-1", 2))
    for revision in range(3, 1000):
        write(one, machine("pi-1", revision))
        try:
            assert told.get(timeout=0.1) <= revision
            return
        except queue.Empty:
            continue
    pytest.fail("no notice came any more")


# A server that is lost, slow, or careless


def test_a_killed_server_is_found_again(replica: Replica, postgres_server: PostgresServer) -> None:
    """What was acknowledged is there; the copy in memory is not to be trusted."""
    clock = FakeClock()
    store = replica(clock=clock)
    write(store, machine("pi-1", 1))
    assert store.catch_up(0).state.revision == 1
    postgres_server.kill()
    try:
        for _ in range(2):
            with pytest.raises(Unavailable):
                write(store, machine("pi-1", 2))
        with pytest.raises(Unavailable):
            store.catch_up(0)
        with pytest.raises(Unavailable):
            store.history(HistoryQuery())
    finally:
        postgres_server.start()
    clock.pass_s(100)
    with store.turn() as turn:
        assert (turn.fresh, turn.now) == (True, 0.0)
        assert turn.rows_after(0) == [machine("pi-1", 1)]
        turn.write(turn.state, [], [], [])
    clock.pass_s(1)
    with store.turn() as turn:
        assert (turn.fresh, turn.now) == (False, 1.0)
    assert store.catch_up(0).state.revision == 1


def test_a_server_that_is_not_there_yet_is_no_problem_of_ours(
    replica: Replica, postgres_url: str, postgres_server: PostgresServer
) -> None:
    """Whoever starts us may simply try again, and then everything works, notices too."""
    told: Notices = queue.SimpleQueue()
    early = PostgresStore(postgres_url, FakeClock(), on_notice=told.put)
    postgres_server.stop()
    try:
        with pytest.raises(Unavailable, match="does not answer"):
            early.open()
    finally:
        postgres_server.start()
    early.open()
    listening(early)
    write(replica(), machine("pi-1", 1))
    assert told.get(timeout=SOON_S) == 1
    early.close()


def test_a_replica_paused_inside_a_turn_loses_the_lock(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others wait for a while and go on; what the paused one decided is not stored."""
    other = replica()
    monkeypatch.setattr(postgres, "IDLE_MS", 100)
    paused = replica()
    with pytest.raises(Unavailable):
        pause_in_a_turn(paused, meanwhile=lambda: write(other, machine("pi-1", 1)))
    assert other.catch_up(0).rows == [machine("pi-1", 1)]
    with paused.turn() as turn:
        assert turn.fresh


def pause_in_a_turn(store: PostgresStore, meanwhile: Callable[[], None]) -> None:
    with store.turn() as turn:
        meanwhile()
        turn.write(replace(turn.state, revision=99), [machine("pi-1", 99)], [], [])


def test_waiting_for_the_lock_has_an_end(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """And costs nothing but the wait: the connection, and with it the copy, is as good as before."""
    monkeypatch.setattr(postgres, "LOCK_WAIT_MS", 50)
    one, other = replica(), replica()
    write(other)
    with one.turn(), pytest.raises(Unavailable, match="lock timeout"):
        write(other)
    with other.turn() as turn:
        assert not turn.fresh


def test_a_connection_cut_in_the_commit_leaves_it_unknown(postgres_url: str, replica: Replica) -> None:
    store = replica()
    write(store)
    run(
        postgres_url,
        """
        CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER cut AFTER UPDATE ON pool DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION cut();
        """,
    )
    with pytest.raises(CommitUnknown):
        write(store, machine("pi-1", 1))
    run(postgres_url, "DROP TRIGGER cut ON pool")
    with store.turn() as turn:
        assert turn.fresh


def test_a_server_that_became_a_standby_is_not_written_to(postgres_url: str, replica: Replica) -> None:
    """Neither through the old connection nor a new one."""
    store = replica()
    write(store)
    connection = store._writing()
    with connection.begin():
        connection.exec_driver_sql("SET default_transaction_read_only = on")
    set_for_database(postgres_url, "default_transaction_read_only", "on")
    with pytest.raises(Unavailable, match="read-only transaction"):
        write(store)
    with pytest.raises(Unavailable, match="read-only"):
        write(store)


def set_for_database(url: str, setting: str, value: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                sql.Identifier(connection.info.dbname), sql.Identifier(setting), sql.Literal(value)
            )
        )


@pytest.mark.parametrize("value", ["off", "local"])
def test_a_server_that_may_forget_is_refused(postgres_url: str, value: str) -> None:
    set_for_database(postgres_url, "synchronous_commit", value)
    with pytest.raises(StoreProblem, match=f"synchronous_commit={value}") as raised:
        PostgresStore(postgres_url).open()
    assert "synchronous_commit=on" in raised.value.hint


def test_a_later_connection_is_checked_too(postgres_url: str, replica: Replica) -> None:
    """The settings may have changed while we were connected."""
    store = replica()
    write(store)
    set_for_database(postgres_url, "synchronous_commit", "off")
    store._disconnect()
    with pytest.raises(StoreProblem, match="synchronous_commit"):
        write(store)


def test_a_server_without_fsync_is_refused() -> None:
    with PostgresServer({"fsync": "off"}) as server, pytest.raises(StoreProblem, match="fsync=off"):
        PostgresStore(server.url()).open()


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


def test_a_cancelled_wait_for_the_standby_is_not_a_commit(own_server: PostgresServer) -> None:
    """It is stored here, and a fail-over may lose it: unknown, not done."""
    store = PostgresStore(own_server.url(), FakeClock())
    store.open()
    write(store)
    configure(own_server, "synchronous_standby_names", "nobody")
    impatient = threading.Thread(target=cancel_the_wait, args=[own_server.url()])
    impatient.start()
    with pytest.raises(CommitUnknown, match="fail-over"):
        write_on_and_on(store)
    impatient.join()
    configure(own_server, "synchronous_standby_names", "")
    with store.turn() as turn:
        assert turn.fresh
        assert turn.rows_after(turn.state.revision - 1) == [machine("pi-1", turn.state.revision)]
    store.close()


def write_on_and_on(store: PostgresStore) -> None:
    """The server takes a moment to notice that it should wait for a standby."""
    for revision in range(1, 1_000):
        write(store, machine("pi-1", revision))


def configure(server: PostgresServer, setting: str, value: str) -> None:
    """Returns when new and present sessions have it."""
    run(server.url(), f"ALTER SYSTEM SET {setting} = '{value}'")
    run(server.url(), "SELECT pg_reload_conf()")
    until(lambda: run(server.url(), f"SELECT current_setting('{setting}') = '{value}'")[0])


def cancel_the_wait(url: str) -> None:
    until(
        lambda: run(url, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    )


def until(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + SOON_S
    while not true():
        assert time.monotonic() < deadline


def test_the_timeline_tells_one_history_from_another(replica: Replica) -> None:
    """The same from every replica: the number of the system and of its timeline."""
    with replica().turn() as turn:
        system, _, timeline = turn.timeline.partition(":")
    assert system.isdecimal()
    assert timeline == "00000001"
    with replica().turn() as other:
        assert other.timeline == turn.timeline


def test_a_user_who_may_not_make_tables_is_told_so(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    run(postgres_server.url(), "DROP ROLE IF EXISTS visitor")
    run(postgres_server.url(), "CREATE ROLE visitor LOGIN PASSWORD 'visitor'")
    run(postgres_url, "REVOKE CREATE ON SCHEMA public FROM public")
    rest = postgres_url.rpartition("@")[2]
    with pytest.raises(StoreProblem, match="permission denied") as raised:
        PostgresStore(f"postgresql://visitor:visitor@{rest}").open()
    assert "GRANT CREATE" in raised.value.hint
    run(postgres_server.url(), "DROP ROLE visitor")


# Connection strings


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_urls_may_be_written_in_any_usual_way(scheme: str) -> None:
    read = parameters(f"{scheme}://ann:pw@one:5432,two:5433/pool?sslmode=require&connect_timeout=9")
    assert read["host"] == "one,two"
    assert read["port"] == "5432,5433"
    assert read["sslmode"] == "require"
    assert read["connect_timeout"] == "9", "what the URL says wins"
    assert read["tcp_user_timeout"] == "5000"


def test_an_url_that_makes_no_sense_is_said() -> None:
    with pytest.raises(StoreProblem, match="cannot be read") as raised:
        PostgresStore("postgresql://ann@host/pool?colour=green")
    assert "postgresql://" in raised.value.hint
