"""Kills, pauses and fail-over of the real service: what was acknowledged holds."""

from __future__ import annotations

import random
import signal
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.end_to_end.holders import holders
from tests.end_to_end.lockers import lockers, locks
from tests.end_to_end.record import Acknowledged, forgotten, granted_twice, whole_record
from tests.service import ServiceProcess, on_sqlite, service, until

BOARDS = 4
CLIENTS = 8
KILLS = 20
TTL_S = 3


def register(pool: ServiceProcess, boards: int) -> list[str]:
    addresses = [f"10.0.0.{number}" for number in range(1, boards + 1)]
    for address in addresses:
        assert pool.old("update", address, HostName=address)["IpAddress"] == address
    return addresses


def locked(pool: ServiceProcess) -> dict[str, tuple[str, str]]:
    """Who has what: address to user and job."""
    shown = [board for board in pool.get("/api").json() if board["Command"] == "Lock"]
    return {board["IpAddress"]: (board["CurrentUserName"], board["CurrentTaskName"]) for board in shown}


def test_no_acknowledged_lock_is_lost_to_kill_9(tmp_path: Path) -> None:
    """Twenty times `kill -9` under eight locking clients: it starts again, every answered lock is still there,
    and the record shows no machine with two holders."""
    acknowledged: list[Acknowledged] = []
    with service(*on_sqlite(tmp_path)) as pool:
        addresses = register(pool, BOARDS)
        for round_number in range(KILLS):
            with lockers([pool] * CLIENTS, addresses, f"user-{round_number}") as locking:
                aim = round_number % 5 + 1
                until(lambda locking=locking, aim=aim: locks(locking) >= aim)
                pool.kill()
            pool.start()
            found = locked(pool)
            for locker in locking:
                acknowledged += locker.acknowledged
                assert locker.problems == []
                for address, job in locker.held.items():
                    assert found[address] == (locker.user, job)
            for address, (user, _) in found.items():
                assert pool.old("free", address, user) is not None
        record = whole_record(pool)
    assert len(acknowledged) >= KILLS
    assert forgotten(acknowledged, record) == []
    assert granted_twice(record) == []
    # Both checks can fail: a record without the ends, or without one grant, is noticed.
    assert granted_twice([event for event in record if event["kind"] != "lease.ended"])
    first = acknowledged[0].job
    assert forgotten(acknowledged, [event for event in record if event["detail"].get("job") != first])


def test_ten_threads_get_ten_machines(tmp_path: Path) -> None:
    """Ten scripts that want any machine at once get ten different ones."""
    with service(*on_sqlite(tmp_path)) as pool:
        addresses = register(pool, 10)

        def take(number: int) -> str:
            mine = addresses[:]
            random.Random(number).shuffle(mine)
            key = str(uuid.uuid4())
            for address in mine:
                answer = pool.old("lock", address, f"user-{number}", CurrentTaskName="job", LockKey=key)
                if answer and (answer["CurrentUserName"], answer["LockKey"]) == (f"user-{number}", key):
                    return address
            raise AssertionError("no machine was free")

        with ThreadPoolExecutor(10) as threads:
            assert sorted(threads.map(take, range(10))) == sorted(addresses)


def test_a_pause_of_the_service_costs_nobody_a_lease(tmp_path: Path) -> None:
    """Stopped for five times the ttl while the holders keep trying: each still has its lease. Who died meanwhile
    loses it, after the pause and not through it."""
    with service(*on_sqlite(tmp_path), PICLUSTER_POLICY__SLACK_S="1", PICLUSTER_PULSE_S="0.5") as pool:
        addresses = register(pool, 4)
        with holders([pool], addresses[:2], TTL_S) as living:
            with holders([pool], addresses[2:], TTL_S) as dying:
                pool.process.send_signal(signal.SIGSTOP)
                threading.Event().wait(5 * TTL_S)
            renewals = [holder.renewals for holder in living]
            pool.process.send_signal(signal.SIGCONT)
            until(lambda: all(one.renewals > old for one, old in zip(living, renewals, strict=True)))
            until(lambda: all(pool.get(dead.lease).json()["ended"] == "expired" for dead in dying))
        for holder in living:
            assert holder.lost is None
            assert holder.failures


def test_sigterm_ends_streams_and_held_calls(tmp_path: Path) -> None:
    """With an open stream and a waiting call the service ends by itself, and the waiter is told to ask again."""
    with service(*on_sqlite(tmp_path)) as pool, ThreadPoolExecutor(2) as threads:
        register(pool, 1)
        pool.send("PUT", f"/api/v1/leases/{uuid.uuid4()}", {"selector": ""})
        waiter = threads.submit(pool.send, "PUT", f"/api/v1/leases/{uuid.uuid4()}?wait=25", {"selector": ""})
        stream = threads.submit(pool.get, "/api/v1/events")
        until(lambda: len(pool.get("/api/v1/queue").json()) == 1)
        until(lambda: "picluster_streams 1.0" in pool.get("/metrics").text)
        assert pool.stop() == 0
        assert waiter.result().status_code == 503
        assert waiter.result().headers["Retry-After"]
        assert stream.result().text.startswith("event: hello")
