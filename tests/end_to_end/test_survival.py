"""Kills, pauses and fail-over of the real service: what was acknowledged holds."""

from __future__ import annotations

import random
import signal
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2

from tests.service import KEY, ServiceProcess, on_sqlite, service, until

BOARDS = 4
CLIENTS = 8
KILLS = 20


def register(pool: ServiceProcess, boards: int) -> list[str]:
    addresses = [f"10.0.0.{number}" for number in range(1, boards + 1)]
    for address in addresses:
        assert pool.old("update", address, HostName=f"pi-{address[-1]}")["IpAddress"] == address
    return addresses


class Locker(threading.Thread):
    """Locks and frees, notes what was acknowledged, and after a lost answer asks who has the board."""

    def __init__(
        self, pool: ServiceProcess, name: str, addresses: list[str], enough: threading.Event
    ) -> None:
        super().__init__()
        self.pool, self.user, self.addresses, self.enough = pool, name, addresses, enough
        self.held: dict[str, str] = {}
        """What is acknowledged as mine: address to the job's name."""
        self.unsure: set[str] = set()
        self.locks = 0
        self.problems: list[str] = []
        self._chance = random.Random(name)

    def run(self) -> None:
        while not self.enough.is_set():
            address = self._chance.choice(self.addresses)
            if address in self.held:
                self._free(address)
            elif address not in self.unsure:
                self._lock(address)

    def _call(self, call: str, address: str, **more: Any) -> Any:
        body = {"ApiKey": KEY, "IpAddress": address, "CurrentUserName": self.user, **more}
        answer = httpx2.post(f"{self.pool.address}/api/{call}", json=body, timeout=5)
        return answer.json() if answer.status_code == 200 else "lost"

    def _lock(self, address: str) -> None:
        job = f"{self.user}-{self.locks}"
        try:
            answer = self._call("lock", address, CurrentTaskName=job)
        except httpx2.TransportError:
            answer = "lost"
        if answer == "lost":
            self.unsure.add(address)
        elif answer is not None:
            self.locks += 1
            self.held[address] = job

    def _free(self, address: str) -> None:
        try:
            answer = self._call("free", address)
        except httpx2.TransportError:
            answer = "lost"
        if answer == "lost":
            self.unsure.add(address)
        elif answer is None:
            self.problems.append(f"{self.user} lost {address}, whose lock was acknowledged")
        self.held.pop(address)


def test_no_acknowledged_lock_is_lost_to_kill_9(tmp_path: Path) -> None:
    """Twenty times `kill -9` under eight locking clients: it starts again, and every answered lock is still there."""
    with service(*on_sqlite(tmp_path)) as pool:
        addresses = register(pool, BOARDS)
        locks = 0
        for round_number in range(KILLS):
            enough = threading.Event()
            lockers = [
                Locker(pool, f"user-{round_number}-{number}", addresses, enough) for number in range(CLIENTS)
            ]
            for locker in lockers:
                locker.start()
            aim = round_number % 5 + 1
            until(lambda lockers=lockers, aim=aim: sum(locker.locks for locker in lockers) >= aim)
            pool.kill()
            enough.set()
            for locker in lockers:
                locker.join()
            pool.start()
            shown = {board["IpAddress"]: board for board in pool.get("/api").json()}
            for locker in lockers:
                assert locker.problems == []
                for address, job in locker.held.items():
                    holder = (
                        shown[address]["Command"],
                        shown[address]["CurrentUserName"],
                        shown[address]["CurrentTaskName"],
                    )
                    assert holder == ("Lock", locker.user, job)
            locks += sum(locker.locks for locker in lockers)
            for address, board in shown.items():
                assert pool.old("free", address, board["CurrentUserName"]) is not None
        assert locks >= KILLS


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
    """Stopped for five times the ttl while the holder keeps trying: the lease is still there."""
    lease = f"/api/v1/leases/{uuid.uuid4()}"
    with service(*on_sqlite(tmp_path), PICLUSTER_POLICY__SLACK_S="1", PICLUSTER_PULSE_S="0.5") as pool:
        register(pool, 1)
        assert pool.send("PUT", lease, {"selector": "", "ttl_s": 3}).json()["state"] == "held"
        pool.process.send_signal(signal.SIGSTOP)
        paused = threading.Event()
        paused.wait(15)
        pool.process.send_signal(signal.SIGCONT)
        assert pool.send("POST", f"{lease}/renew").json()["state"] == "held"
        until(lambda: pool.get(lease).json()["state"] == "ended")
        assert pool.get(lease).json()["ended"] == "expired"


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
