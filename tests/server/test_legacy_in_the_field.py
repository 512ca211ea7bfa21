"""What boards and scripts of the first service do, call by call, and what they see beside the modern API."""

from __future__ import annotations

import itertools
import random
import re
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.service import KEY, ServiceProcess, on_sqlite, service, until

NUMBERS = itertools.count(1)

HERE = "127.0.0.1"
"""The address from which this test speaks: to the service, the board that has it."""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with service(*on_sqlite(tmp_path_factory.mktemp("field")), PICLUSTER_POLICY__LOCK_DELAY_S="0") as running:
        yield running


@pytest.fixture
def address(pool: ServiceProcess) -> str:
    """A board of the old kind, of its own for each test."""
    address = f"10.20.{next(NUMBERS)}.1"
    pool.old("update", address, user=None, HostName=f"host-{uuid.uuid4().hex[:8]}")
    return address


def shown(pool: ServiceProcess, address: str) -> dict[str, Any]:
    (found,) = httpx2.get(f"{pool.address}/api", params={"id": address}).json()
    return dict(found)


def beats(pool: ServiceProcess, name: str, address: str) -> httpx2.Response:
    """The agent of this name reports from this address."""
    token = pool.send("POST", "/api/v1/tokens", {"name": name, "kind": "agent"}).json()["token"]
    said = {"id": f"serial-{name}", "address": address, "facts": {"host_name": name, "platform": "BCM2711"}}
    return pool.send("POST", f"/api/v1/machines/{name}/beat", said, token)


# The wait loop


class OldScript:
    """`wait_for_free_machine` as it has always been: list, shuffle, filter, lock, compare."""

    def __init__(self, url: str, user: str, job: str | None, pattern: str) -> None:
        self.url, self.user, self.job, self.pattern = url, user, job, pattern
        self.locked_by_mistake: list[str] = []
        self._chance = random.Random(user)

    def wait_for_free_machine(self) -> str:
        while True:
            boards = httpx2.get(f"{self.url}/api").json()
            self._chance.shuffle(boards)
            for board in boards:
                if (
                    re.match(self.pattern, board["IpAddress"])
                    and re.match("", board["Platform"])
                    and board["IsAlive"]
                    and board["Command"] != "Lock"
                    and self._lock(board["IpAddress"])
                ):
                    return str(board["IpAddress"])

    def _lock(self, address: str) -> bool:
        mine = {"CurrentUserName": self.user, "CurrentTaskName": self.job, "LockKey": str(uuid.uuid4())}
        platform = ["Linux", "desk", "6.1"]  # a uname tuple, as old clients send it
        body = {"ApiKey": KEY, "IpAddress": address, "Command": "Lock", "Platform": platform, **mine}
        answer = httpx2.post(f"{self.url}/api/lock", json=body, timeout=30).json()
        if answer is None:
            return False
        if {key: answer[key] for key in mine} != mine or answer["Command"] != "Lock":
            self.locked_by_mistake.append(address)
            return False
        return True

    def unlock(self, address: str) -> None:
        body = {"ApiKey": KEY, "IpAddress": address, "CurrentUserName": self.user}
        freed = httpx2.post(f"{self.url}/api/free", json=body, timeout=30).json()
        assert (freed["CurrentUserName"], freed["Command"]) == ("", "Free")


JOBS = ["x" * 4096, None, "🥧 pie", "trailing blanks   ", "plain"] * 2


def test_ten_old_scripts_get_ten_boards_whatever_their_jobs_are_called(pool: ServiceProcess) -> None:
    """A comparison that failed would leave a board locked for good, by nobody who knows."""
    addresses = [f"172.16.0.{number}" for number in range(1, 11)]
    for address in addresses:
        pool.old("update", address, user=None, HostName=f"pi-{address}")
    scripts = [OldScript(pool.address, f"script-{n}", job, r"172\.16\.0\.") for n, job in enumerate(JOBS)]
    with ThreadPoolExecutor(10) as threads:
        got = list(threads.map(OldScript.wait_for_free_machine, scripts))
    assert sorted(got) == sorted(addresses)
    assert [script.locked_by_mistake for script in scripts] == [[]] * 10
    for script, address in zip(scripts, got, strict=True):
        assert shown(pool, address)["CurrentTaskName"] == (script.job or "")
        script.unlock(address)
    assert {shown(pool, address)["Command"] for address in addresses} == {"Free"}


def test_twenty_old_scripts_share_ten_boards(pool: ServiceProcess) -> None:
    """Who finds all busy looks again; everybody is served once, and nobody together with another."""
    for number in range(1, 11):
        pool.old("update", f"172.17.0.{number}", user=None, HostName=f"pi-17-{number}")
    holding: set[str] = set()

    def use(number: int) -> str:
        script = OldScript(pool.address, f"sharing-{number}", "job", r"172\.17\.0\.")
        address = script.wait_for_free_machine()
        assert address not in holding
        holding.add(address)
        holding.remove(address)
        script.unlock(address)
        return address

    with ThreadPoolExecutor(20) as threads:
        assert len(list(threads.map(use, range(20)))) == 20


# The monitor on the board


def test_a_monitor_that_finds_itself_locked_frees_itself_in_the_holders_name(
    pool: ServiceProcess, address: str
) -> None:
    """It rebooted in the middle of a job: nobody else can know that."""
    pool.old("lock", address, "ann", CurrentTaskName="job")
    found = shown(pool, address)
    assert found["Command"] == "Lock"
    pool.old("free", address, found["CurrentUserName"])
    alive = {"CurrentTaskName": None, "CurrentUserName": None, "Command": None}
    updated = pool.old("update", address, None, **alive)
    assert (updated["Command"], updated["CurrentUserName"], updated["CurrentTaskName"]) == ("Free", "", "")


def test_a_beat_in_the_middle_of_a_lock_does_not_touch_it(pool: ServiceProcess, address: str) -> None:
    pool.old("lock", address, "ann", CurrentTaskName="job", LockKey="key")
    updated = pool.old("update", address, "eve", Command="Free", CurrentTaskName="mine", LockKey="stolen")
    kept = (updated["Command"], updated["CurrentUserName"], updated["CurrentTaskName"], updated["LockKey"])
    assert kept == ("Lock", "ann", "job", "")


@pytest.mark.parametrize(("on_reboot", "state"), [("release", "ended"), ("keep", "held")])
def test_a_free_from_the_boards_own_address_is_its_reboot(
    pool: ServiceProcess, on_reboot: str, state: str
) -> None:
    """A modern lease is not the old protocol's to end, but a board that comes up says so in the only way it knows."""
    pool.old("update", HERE, user=None, HostName="itself")
    lease = f"/api/v1/leases/{uuid.uuid4()}"
    asked = {"selector": HERE, "on_reboot": on_reboot, "ttl_s": None}
    assert pool.send("PUT", lease, asked).json()["state"] == "held"
    freed = pool.old("free", HERE, shown(pool, HERE)["CurrentUserName"])
    assert (freed is None) == (state == "held")
    assert pool.get(lease).json()["state"] == state
    pool.send("DELETE", lease)


def test_a_free_from_elsewhere_ends_no_modern_lease(pool: ServiceProcess, address: str) -> None:
    lease = f"/api/v1/leases/{uuid.uuid4()}"
    pool.send("PUT", lease, {"selector": address})
    assert pool.old("free", address, "admin") is None
    assert pool.get(lease).json()["state"] == "held"


def test_what_a_board_reports_is_cut_and_not_refused(pool: ServiceProcess) -> None:
    """A board that cannot register is lost; a long line is only long."""
    long = "ü" * 2000
    answer = pool.old("update", "10.99.0.1", None, HostName="long", Platform=long, OsName=long, Comment=long)
    assert [len(answer[key]) for key in ("Platform", "OsName", "Comment")] == [512, 512, 512]
    assert (
        pool.old("update", "10.99.0.1", None, HostName="long", Platform={"odd": [1]})["IpAddress"]
        == "10.99.0.1"
    )


# Reading


def test_a_list_never_has_null_where_old_scripts_would_crash(pool: ServiceProcess) -> None:
    pool.old("update", "10.99.0.2", None, HostName=None, Platform=None)
    for path in ("/api", "/api/", "/api?id="):
        boards = httpx2.get(pool.address + path).json()
        assert all(isinstance(board["IpAddress"], str) for board in boards)
        assert all(isinstance(board["Platform"], str) for board in boards)
        assert [board["IpAddress"] for board in boards] == sorted(board["IpAddress"] for board in boards)
    assert httpx2.get(f"{pool.address}/api?id=10.98.0.1").json() == [None]


@pytest.mark.parametrize("key", [None, "", "wrong", 7, ["secret"], {"a": 1}, "secret "])
def test_a_wrong_key_changes_nothing(pool: ServiceProcess, address: str, key: object) -> None:
    for call in ("update", "lock", "free", "delete"):
        body = {"ApiKey": key, "IpAddress": address, "CurrentUserName": "eve", "HostName": "other"}
        answer = httpx2.post(f"{pool.address}/api/{call}", json=body)
        assert (answer.status_code, answer.json()) == (200, {"error": "api key mismatch"})
    assert shown(pool, address)["Command"] == ""


def test_the_list_can_be_closed(tmp_path: Any) -> None:
    with service(*on_sqlite(tmp_path), PICLUSTER_PUBLIC_LIST="false") as closed:
        closed.old("update", "10.0.0.1", None, HostName="pi")
        assert not isinstance(httpx2.get(f"{closed.address}/api").json(), list)
        assert [board["IpAddress"] for board in closed.get("/api").json()] == ["10.0.0.1"]


def test_without_a_shared_key_the_door_is_closed(tmp_path: Any) -> None:
    """An unset key is never "no check"."""
    with service(*on_sqlite(tmp_path), RPI_APIKEY="") as closed:
        assert httpx2.get(f"{closed.address}/api").status_code == 404
        for key in ("", None, "secret"):
            answer = httpx2.post(
                f"{closed.address}/api/update", json={"ApiKey": key, "IpAddress": "10.0.0.1"}
            )
            assert answer.status_code == 404
        assert closed.get("/api/v1/machines").json() == []


def test_dead_goes_for_good_when_the_board_is_back(tmp_path: Any) -> None:
    """Silent for the five minutes (scaled down here), it shows `dead?`; one update, and no list says so again."""
    scaled = {"PICLUSTER_POLICY__LEGACY_OFFLINE_S": "1", "PICLUSTER_POLICY__SLACK_S": "0.5"}
    with service(*on_sqlite(tmp_path), PICLUSTER_PULSE_S="0.2", **scaled) as pool:
        pool.old("update", "10.0.0.1", None, HostName="pi", Comment="on the shelf")
        until(lambda: shown(pool, "10.0.0.1")["Comment"] == "dead?")
        assert shown(pool, "10.0.0.1")["IsAlive"] is False
        back = pool.old("update", "10.0.0.1", None, HostName="pi", Comment="dead?")
        assert (back["Comment"], back["IsAlive"]) == ("", True)
        assert shown(pool, "10.0.0.1")["Comment"] == ""
        until(lambda: shown(pool, "10.0.0.1")["Comment"] == "dead?")
        assert pool.old("lock", "10.0.0.1", "ann")["CurrentUserName"] == "ann"


# One board, both programs


def test_an_agent_takes_over_the_board_with_its_lock(pool: ServiceProcess, address: str) -> None:
    """Enrolled while an old script holds it: one machine, still locked, and the script can still free it."""
    pool.old("lock", address, "ann", CurrentTaskName="job")
    name = f"enrolled-{uuid.uuid4().hex[:8]}"
    assert beats(pool, name, address).status_code == 200
    entries = [board for board in httpx2.get(f"{pool.address}/api").json() if board["IpAddress"] == address]
    assert [(one["HostName"], one["CurrentUserName"]) for one in entries] == [(name, "ann")]
    refused = pool.send("PUT", f"/api/v1/leases/{uuid.uuid4()}", {"selector": name, "queue": False})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "held")
    assert pool.old("free", address, "ann")["Command"] == "Free"
    assert pool.get(f"/api/v1/machines/{name}").json()["state"] == "free"


def test_the_old_monitor_changes_nothing_on_an_enrolled_board(pool: ServiceProcess, address: str) -> None:
    name = f"both-{uuid.uuid4().hex[:8]}"
    beats(pool, name, address)
    answer = pool.old("update", address, None, HostName=name, Platform="old words", Comment="old words")
    assert (answer["HostName"], answer["Platform"], answer["Comment"]) == (name, "BCM2711", "")


def test_a_stranger_at_an_enrolled_boards_address_is_noticed(pool: ServiceProcess, address: str) -> None:
    """Two boards with one address: nobody may be given either, until a person has looked."""
    name = f"ours-{uuid.uuid4().hex[:8]}"
    beats(pool, name, address)
    for times in range(1, 4):
        pool.old("update", address, None, HostName="stranger")
        state = pool.get(f"/api/v1/machines/{name}").json()["state"]
        assert state == ("attention" if times == 3 else "free")
    assert (shown(pool, address)["Command"], pool.old("lock", address, "ann")) == ("Lock", None)
