"""The old protocol over HTTP: what boards and scripts in the field do and see, beside the modern API."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests.service import KEY, ServiceProcess, on_sqlite, service, until


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with service(*on_sqlite(tmp_path_factory.mktemp("legacy"))) as running:
        yield running


@pytest.fixture
def board(pool: ServiceProcess) -> str:
    """The address of a board of its own for each test."""
    address = f"board-of-{uuid.uuid4()}"
    pool.old("update", address, user=None, HostName="raspberrypi")
    return address


def shown(pool: ServiceProcess, address: str) -> dict[str, object]:
    found = httpx2.get(f"{pool.address}/api", params={"id": address}).json()
    assert len(found) == 1
    return dict(found[0])


@pytest.mark.parametrize("job", ["x" * 4096, None, "🥧 pie", "trailing  ", '"quoted"\t'])
def test_a_lock_is_echoed_byte_for_byte(pool: ServiceProcess, board: str, job: str | None) -> None:
    """An old client compares what comes back, and treats a difference as a failure after the board is locked."""
    answer = pool.old("lock", board, " ann ", CurrentTaskName=job, LockKey="🔑")
    assert (answer["CurrentUserName"], answer["CurrentTaskName"], answer["LockKey"]) == (" ann ", job, "🔑")
    assert shown(pool, board)["Command"] == "Lock"
    assert shown(pool, board)["LockKey"] == ""
    assert pool.old("lock", board, " ann ") is None


@pytest.mark.parametrize("job", ["x" * 8193, "nul\0", 5])
def test_what_cannot_be_stored_locks_nothing(pool: ServiceProcess, board: str, job: object) -> None:
    assert "CurrentTaskName" in pool.old("lock", board, CurrentTaskName=job)["error"]
    assert shown(pool, board)["Command"] == ""


def test_a_lone_surrogate_locks_nothing(pool: ServiceProcess, board: str) -> None:
    body = f'{{"ApiKey": "{KEY}", "IpAddress": "{board}", "CurrentUserName": "ann", "LockKey": "\\ud800"}}'
    answer = httpx2.post(f"{pool.address}/api/lock", content=body)
    assert answer.status_code in (200, 400)
    assert "error" in answer.json()
    assert shown(pool, board)["Command"] == ""


def test_addresses_without_api_are_answered_at_the_root(pool: ServiceProcess, board: str) -> None:
    """The old set-up text told people so; it never worked before."""
    body = {"ApiKey": KEY, "IpAddress": board, "CurrentUserName": "ann"}
    assert httpx2.post(f"{pool.address}/lock", json=body).json()["Command"] == "Lock"
    assert httpx2.post(f"{pool.address}/free", json=body).json()["Command"] == "Free"
    assert isinstance(httpx2.get(f"{pool.address}/", headers={"Accept": "*/*"}).json(), list)
    assert "<table" in httpx2.get(f"{pool.address}/", headers={"Accept": "text/html"}).text


@pytest.mark.parametrize(
    ("content", "status"), [(b"[1]", 400), (b"{", 400), (b"[" * 60_000, 400), (b" " * 70_000, 413)]
)
def test_a_body_that_is_no_object_is_an_error(pool: ServiceProcess, content: bytes, status: int) -> None:
    answer = httpx2.post(f"{pool.address}/api/update", content=content)
    assert answer.status_code == status
    assert answer.json()["error"]


def test_free_answers_freed_while_a_modern_waiter_gets_the_board(pool: ServiceProcess, board: str) -> None:
    """The old script sees what it expects, and in the same commit the next holder has the board."""
    pool.old("lock", board, "ann")
    lease = f"/api/v1/leases/{uuid.uuid4()}"
    with ThreadPoolExecutor(1) as threads:
        waiter = threads.submit(pool.send, "PUT", f"{lease}?wait=25", {"selector": board})
        until(lambda: pool.get(lease).status_code == 200)
        freed = pool.old("free", board, "ann")
        assert (freed["Command"], freed["CurrentUserName"]) == ("Free", "")
        assert waiter.result().json()["state"] == "held"
    assert (shown(pool, board)["Command"], shown(pool, board)["CurrentUserName"]) == ("Lock", "admin")
    assert pool.old("free", board, "admin") is None


def test_a_drained_board_shows_locked(pool: ServiceProcess, board: str) -> None:
    name = pool.get(f"/api/v1/machines/{board}").json()["name"]
    pool.send("PATCH", f"/api/v1/machines/{name}", {"service": "drained", "reason": "new fan"})
    assert (shown(pool, board)["Command"], shown(pool, board)["CurrentTaskName"]) == ("Lock", "new fan")
    assert pool.old("lock", board) is None
    assert pool.old("delete", board) is None


def test_a_registering_board_never_locks_itself(pool: ServiceProcess) -> None:
    answer = pool.old("update", "10.9.9.9", "ann", Command="Lock", CurrentTaskName="Rolling")
    assert (answer["Command"], answer["CurrentUserName"], answer["CurrentTaskName"]) == ("", "", "Rolling")


def test_a_board_that_reads_dead_and_sends_it_back_is_not_marked_for_good(
    pool: ServiceProcess, board: str
) -> None:
    assert pool.old("update", board, None, Comment="dead?", HostName="raspberrypi")["Comment"] == ""
    assert shown(pool, board)["Comment"] == ""


def test_a_write_without_any_key_changes_nothing(pool: ServiceProcess, board: str) -> None:
    for call in ("update", "lock", "free", "delete"):
        answer = httpx2.post(f"{pool.address}/api/{call}", json={"IpAddress": board, "HostName": "other"})
        assert (answer.status_code, answer.json()) == (200, {"error": "api key mismatch"})
    assert (shown(pool, board)["HostName"], shown(pool, board)["Command"]) == ("raspberrypi", "")


@pytest.mark.parametrize("address", ["", None, 7, "x" * 256, "nul\0"])
def test_a_board_without_a_usable_address_is_an_error_and_no_crash(
    pool: ServiceProcess, address: object
) -> None:
    before = pool.get("/api/v1/machines").json()
    for call in ("update", "lock", "free", "delete"):
        body = {"ApiKey": KEY, "IpAddress": address}
        answer = httpx2.post(f"{pool.address}/api/{call}", json=body)
        assert answer.status_code == 200
        assert "IpAddress" in answer.json()["error"]
    assert len(pool.get("/api/v1/machines").json()) == len(before)


def test_a_boards_own_free_means_its_reboot_only_from_its_own_address(pool: ServiceProcess) -> None:
    """The same call from another machine, even with the holder's name, is nobody's to make."""
    mine, lease = "127.0.0.7", f"/api/v1/leases/{uuid.uuid4()}"
    pool.old("update", mine, user=None, HostName="seven")
    assert pool.send("PUT", lease, {"selector": mine, "ttl_s": None}).json()["state"] == "held"
    body = {"ApiKey": KEY, "IpAddress": mine, "CurrentUserName": "admin"}
    for source, freed in (("127.0.0.8", False), (mine, True)):
        with httpx2.Client(transport=httpx2.HTTPTransport(local_address=source)) as caller:
            answer = caller.post(f"{pool.address}/api/free", json=body).json()
        assert (answer is not None) is freed
        assert pool.get(lease).json()["state"] == ("ended" if freed else "held")
    assert pool.get(lease).json()["ended"] == "reboot"


def enrol(pool: ServiceProcess, address: str) -> str:
    """An agent reports from this address; the machine's name."""
    name = f"enrolled-{uuid.uuid4().hex[:8]}"
    token = pool.send("POST", "/api/v1/tokens", {"name": name, "kind": "agent"}).json()["token"]
    said = {"id": f"serial-{name}", "address": address, "facts": {"host_name": name}}
    assert pool.send("POST", f"/api/v1/machines/{name}/beat", said, token).status_code == 200
    return name


def test_an_agent_takes_over_a_modern_lease_on_the_same_board(pool: ServiceProcess, board: str) -> None:
    """Its holder goes on renewing the same id, with the same fence."""
    lease = f"/api/v1/leases/{uuid.uuid4()}"
    fence = pool.send("PUT", lease, {"selector": board}).json()["fence"]
    name = enrol(pool, board)
    renewed = pool.send("POST", f"{lease}/renew").json()
    assert (renewed["state"], renewed["fence"]) == ("held", fence)
    assert [machine["name"] for machine in renewed["machines"]] == [name]
    machines = pool.get("/api/v1/machines").json()
    assert [machine["name"] for machine in machines if machine["address"] == board] == [name]
    assert [one["HostName"] for one in pool.get("/api").json() if one["IpAddress"] == board] == [name]


def test_only_strangers_in_a_row_are_noticed_and_then_nobody_is_granted_the_board(
    pool: ServiceProcess, board: str
) -> None:
    """A board that says its own name begins the count anew; one that says none does not count."""
    name = enrol(pool, board)
    for host in ("stranger", "stranger", name.upper(), "stranger", "", "stranger"):
        pool.old("update", board, user=None, HostName=host)
        assert pool.get(f"/api/v1/machines/{name}").json()["state"] == "free"
    for _ in range(3):
        pool.old("update", board, user=None, HostName="stranger")
    lease = f"/api/v1/leases/{uuid.uuid4()}"
    assert pool.send("PUT", lease, {"selector": name, "queue": False}).json()["error"]["code"] == "held"
    assert pool.send("PUT", lease, {"selector": name}).json()["state"] == "waiting"
