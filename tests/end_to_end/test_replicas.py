"""Several services on one PostgreSQL: killed, stopped and restarted, with the database lost under them."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.end_to_end.holders import Holder, holders
from tests.end_to_end.lockers import Locker, lockers, locks
from tests.end_to_end.record import forgotten, granted_twice, whole_record
from tests.postgres import PostgresServer
from tests.service import ServiceProcess, service, until

SCALED = {"PICLUSTER_POLICY__SLACK_S": "1", "PICLUSTER_PULSE_S": "0.5"}
"""Service time with a shorter pulse and cap, so that the end of a lease comes within seconds."""

TTL_S = 5


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A server that only this test kills."""
    with PostgresServer() as server:
        yield server


def register(pool: ServiceProcess, boards: int) -> list[str]:
    addresses = [f"10.0.0.{number}" for number in range(1, boards + 1)]
    for address in addresses:
        assert pool.old("update", address, HostName=address)["IpAddress"] == address
    return addresses


def test_two_replicas_are_one_pool(postgres_url: str) -> None:
    """A machine given back at A reaches a waiter at B at once; with A killed, B goes on and nothing is lost."""
    with (
        service("--url", postgres_url) as a,
        service("--url", postgres_url) as b,
        ThreadPoolExecutor(1) as threads,
    ):
        register(a, 1)
        first, second = (f"/api/v1/leases/{uuid.uuid4()}" for _ in range(2))
        assert a.send("PUT", first, {"selector": "", "ttl_s": None}).json()["state"] == "held"
        until(lambda: b.get(first).status_code == 200)
        waiter = threads.submit(b.send, "PUT", f"{second}?wait=25", {"selector": "", "ttl_s": None})
        until(lambda: len(a.get("/api/v1/queue").json()) == 1)
        a.send("DELETE", first)
        granted = waiter.result().json()
        assert granted["state"] == "held"
        a.kill()
        assert b.get(second).json()["fence"] == granted["fence"]
        assert b.send("POST", f"{second}/renew").json()["state"] == "held"


def test_who_is_put_out_at_one_replica_is_out_at_all(postgres_url: str) -> None:
    """An account, its token and its session are rows like others: no replica goes on believing an older one."""
    ann = {"name": "ann", "password": "correct horse battery"}
    with service("--url", postgres_url) as a, service("--url", postgres_url) as b:
        assert a.send("POST", "/api/v1/people", {**ann, "role": "operator"}).status_code == 201
        until(lambda: b.get("/api/v1/people").json())
        token = b.send("POST", "/api/v1/login", ann, "nobody").json()["token"]
        until(lambda: a.get("/api/v1/whoami", token).json().get("role") == "operator")
        b.send("PATCH", "/api/v1/people/ann", {"role": "viewer"})
        until(lambda: a.get("/api/v1/whoami", token).json().get("role") == "viewer")
        a.send("PATCH", "/api/v1/people/ann", {"disabled": True})
        until(lambda: b.get("/api/v1/whoami", token).status_code == 401)
        assert b.send("POST", "/api/v1/login", ann, "nobody").status_code == 403


def test_losing_the_database_costs_nobody_a_lease(own_postgres: PostgresServer) -> None:
    """PostgreSQL killed and started again under load: who holds goes on holding, and no machine has two holders."""
    url = own_postgres.create_database("pool")
    with service("--url", url, **SCALED) as a, service("--url", url, **SCALED) as b:
        addresses = register(a, 6)
        with (
            holders([a, b], addresses[:3], TTL_S) as holding,
            lockers([a, b, a, b], addresses[3:], "user") as locking,
        ):
            for _ in range(3):
                _lose_and_find(own_postgres, holding, locking)
        assert [holder.lost for holder in holding] == [None] * 3
        assert [problem for locker in locking for problem in locker.problems] == []
        record = whole_record(b)
        assert granted_twice(record) == []
        assert forgotten([one for locker in locking for one in locker.acknowledged], record) == []


def _lose_and_find(database: PostgresServer, holding: list[Holder], locking: list[Locker]) -> None:
    """Kill the database in the middle of work; start it when everybody has noticed; wait until all go on."""
    before = locks(locking)
    until(lambda: locks(locking) > before + 5)
    failures = [holder.failures for holder in holding]
    database.kill()
    until(lambda: all(one.failures > old for one, old in zip(holding, failures, strict=True)))
    database.start()
    renewals = [holder.renewals for holder in holding]
    until(lambda: all(one.lost or one.renewals > old for one, old in zip(holding, renewals, strict=True)))


def test_a_replica_that_keeps_crashing_keeps_no_dead_lease_alive(postgres_url: str) -> None:
    """One replica is killed and started again all the time: a lease that nobody renews ends all the same,
    and one that somebody renews does not."""
    with service("--url", postgres_url, **SCALED) as a, service("--url", postgres_url, **SCALED) as b:
        dead, alive = register(a, 2)
        with holders([a], [alive], TTL_S) as (holder,):
            lease = f"/api/v1/leases/{uuid.uuid4()}"
            assert a.send("PUT", lease, {"selector": dead, "ttl_s": TTL_S}).json()["state"] == "held"

            def ended() -> bool:
                b.kill()
                b.start()
                return bool(a.get(lease).json()["state"] == "ended")

            until(ended)
        end = a.get(lease).json()
        assert end["ended"] == "expired"
        assert TTL_S <= (end["ended_us"] - end["granted_us"]) / 1e6 <= TTL_S + 12
        assert holder.lost is None


def test_a_replica_stopped_with_the_lock_stops_nobody_for_long(postgres_url: str) -> None:
    """The database takes the lock away from a replica that is paused in the middle of a turn: the other grants
    within 10 s, and the paused one, woken, goes on as if it had been restarted."""
    with service("--url", postgres_url) as a, service("--url", postgres_url) as b:
        free, taken = register(a, 2)
        lease = f"/api/v1/leases/{uuid.uuid4()}"
        answers = []

        def granted() -> bool:
            answers.append(a.send("PUT", lease, {"selector": free}))
            return answers[-1].status_code == 200

        with holders([b], [taken], 120) as (busy,):
            with psycopg.connect(postgres_url, autocommit=True) as observer:
                until(lambda: _stopped_within_a_turn(b, observer))
            until(granted)
            b.process.send_signal(signal.SIGCONT)
            renewals = busy.renewals
            until(lambda: busy.lost or busy.renewals > renewals)
        assert answers[-1].json()["state"] == "held"
        assert sum(answer.elapsed.total_seconds() for answer in answers) < 10
        assert busy.lost is None
        assert b.get(lease).json()["state"] == "held"


def _stopped_within_a_turn(pool: ServiceProcess, observer: psycopg.Connection[tuple[str]]) -> bool:
    """Stop it; if it was not within a turn, let it go on, and say no."""
    pool.process.send_signal(signal.SIGSTOP)
    locks = observer.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND state = 'idle in transaction' AND xact_start IS NOT NULL"
    ).fetchone()
    if locks and locks[0]:
        return True
    pool.process.send_signal(signal.SIGCONT)
    return False
