"""Scripts of the old kind: nothing but two variables, and the class they know, on the queue of today."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from picluster import (
    Client,
    Conflict,
    Held,
    Malformed,
    NotAllowed,
    NotFound,
    PiBoardEntity,
    PiBoardTable,
    Unavailable,
    WaitedTooLong,
)
from picluster.client import boards as module
from tests.client.conftest import boards
from tests.client.stub import http, stub
from tests.service import ADMIN, KEY, PATIENCE_S, ServiceProcess, on_sqlite, service, until


@pytest.fixture(autouse=True)
def settings(alone: None, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the old set-up text told people to set."""
    if "pool" in request.fixturenames:
        monkeypatch.setenv("RPI_CLUSTER", f"{request.getfixturevalue('pool').address}/api/")
    monkeypatch.setenv("RPI_APIKEY", KEY)
    monkeypatch.setenv("LOGNAME", "ann")


def table(user: str | None = None, **more: Any) -> PiBoardTable:
    """As scripts make it; the address is in RPI_CLUSTER."""
    return PiBoardTable(None, None, user, **more)


def shown(pool: ServiceProcess, address: str) -> dict[str, Any]:
    return dict(pool.get(f"/api?id={address}").json()[0])


# One board


@pytest.mark.parametrize("form", ["{}", "{}/", "{}/api", "{}/api/", "http://{}", "http://{}/api/"])
def test_an_address_may_have_any_form_it_has_in_the_field(
    pool: ServiceProcess, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    address = form.format(pool.address.removeprefix("http://"))
    monkeypatch.setenv("RPI_CLUSTER", address)
    assert isinstance(table().get_all(), list)
    assert isinstance(PiBoardTable(address, KEY, "ann").get_all(), list)


def test_a_day_of_an_old_script(pool: ServiceProcess) -> None:
    """Locked for a job, refused to somebody else, who cannot unlock it either; unlocked, deleted."""
    (name,) = boards(pool)
    address, mine, other = f"{name}.lab", table(), table("bob")
    board = mine.lock(address, "nightly tests 🍓")
    assert (board.command, board.current_user_name) == ("Lock", "ann")
    assert (board.current_task_name, bool(board.lock_key)) == ("nightly tests 🍓", True)
    assert shown(pool, address)["CurrentTaskName"] == "nightly tests 🍓"
    with pytest.raises(Held, match="held by legacy:ann"):
        other.lock(address, "mine!")
    with pytest.raises(Held, match="is locked by ann"):
        other.unlock(address)
    with pytest.raises(Conflict):
        other.delete(address)
    freed = mine.unlock(board)
    assert (freed.command, freed.current_user_name) == ("Free", "")
    assert mine.unlock(address).command == "Free"  # repeating is the same answer
    assert mine.delete(address).ip_address == address
    assert mine.get(address) is None


def test_a_lock_has_no_end_unless_asked(pool: ServiceProcess) -> None:
    one, two = boards(pool, 2)
    table().lock(f"{one}.lab", "for ever")
    table(ttl=600.0).lock(f"{two}.lab", "for ten minutes")
    leases = [pool.get(f"/api/v1/machines/{name}").json()["lease"] for name in (one, two)]
    assert leases[0]["expires_in_s"] is None
    assert 0 < leases[1]["expires_in_s"] <= 601


def test_a_lock_is_taken_away_with_a_reason(pool: ServiceProcess) -> None:
    (name,) = boards(pool)
    table().lock(f"{name}.lab", "forgotten")
    table("bob").unlock(f"{name}.lab", "ann is on holiday")
    ended = pool.get(f"/api/v1/history?machine={name}&kind=lease.ended").json()[0]
    assert (ended["actor"], ended["detail"]["reason"]) == ("legacy:bob", "ann is on holiday")


def test_old_scripts_and_new_clients_exclude_each_other(pool: ServiceProcess) -> None:
    (name,) = boards(pool)
    with Client(pool.address, ADMIN) as client, client.lease(name):
        board = table().get(f"{name}.lab")
        assert board and (board.command, board.current_user_name) == ("Lock", "admin")
        with pytest.raises(Held):
            table().lock(board)
        with pytest.raises(Held):
            table().unlock(board)


def test_a_board_registers_itself(pool: ServiceProcess) -> None:
    """Also one whose address is none, which an old test does on purpose."""
    board = PiBoardEntity()
    board.ip_address, board.platform, board.hostname = "192.168.1.999", "BCM2711", "odd"
    registered = table().update(board)
    assert (registered.ip_address, registered.alive) == ("192.168.1.999", True)
    found = table().get("192.168.1.999")
    assert found and (found.platform, found.hostname) == ("BCM2711", "odd")
    assert found.last_heartbeat > 1_500_000_000_000
    assert table().delete(found).ip_address == "192.168.1.999"


def test_whatever_is_not_there_is_said_to_be_missing(pool: ServiceProcess) -> None:
    assert table().get("10.9.9.9") is None
    assert table().get("") is None
    for call in (table().lock, table().unlock, table().delete):
        with pytest.raises(NotFound):
            call("10.9.9.9")
    with pytest.raises(Malformed):
        table().update(PiBoardEntity())


@pytest.mark.parametrize(
    "call",
    [
        lambda table: table.lock("a.lab", "job"),
        lambda table: table.unlock("a.lab"),
        lambda table: table.delete("a.lab"),
        lambda table: table.update(PiBoardEntity({"IpAddress": "a.lab"})),
        lambda table: table.wait_for_free_machine("job"),
        lambda table: table.wait_for_free_machine("job", ignore_alive=True),
    ],
)
@pytest.mark.parametrize("key", ["wrong", "pc_person_0123456789ab_" + "x" * 43])
def test_a_wrong_key_raises_and_never_waits(
    pool: ServiceProcess, call: Callable[[PiBoardTable], object], key: str
) -> None:
    with pytest.raises(NotAllowed):
        call(PiBoardTable(pool.address, key))


def test_a_script_knows_who_and_where_it_is(pool: ServiceProcess) -> None:
    assert table().get_user_name() == "ann"
    assert table("bob").get_user_name() == "bob"
    assert table().get_local_ip() == "127.0.0.1"


# Patterns


def test_patterns_match_from_the_start_as_they_did(pool: ServiceProcess) -> None:
    names = boards(pool, 3)
    prefix = names[0].partition("-")[0]

    def found(address: str | None = None, platform: str | None = None) -> list[str]:
        return [board.ip_address for board in table().get_matching_machines(address, platform)]

    assert found(f"{prefix}-") == [f"{name}.lab" for name in names]
    assert found(rf"{prefix}-[02]\.lab$") == [f"{names[0]}.lab", f"{names[2]}.lab"]
    assert found("lab") == []
    assert found(None, rf".*\b{prefix}$") == [f"{name}.lab" for name in names]
    assert found(f"{prefix}-1", "Cortex-A7[0-9]") == [f"{names[1]}.lab"]
    assert found(f"{prefix}-", "ARMv6") == []


@pytest.mark.parametrize("pattern", ["[", "(", "*.lab"])
def test_a_bad_pattern_is_named(pool: ServiceProcess, pattern: str) -> None:
    with pytest.raises(Malformed, match="reAddress"):
        table().get_matching_machines(pattern)
    with pytest.raises(Malformed, match="rePlatform"):
        table().wait_for_free_machine("job", rePlatform=pattern)


# Waiting


def test_ten_threads_get_ten_machines(pool: ServiceProcess) -> None:
    names = boards(pool, 10)
    pattern = names[0].removesuffix("0")

    def take(number: int) -> str:
        return table(f"user-{number}").wait_for_free_machine("job", reAddress=pattern).ip_address

    with ThreadPoolExecutor(10) as threads:
        assert sorted(threads.map(take, range(10))) == [f"{name}.lab" for name in names]


def test_twenty_threads_share_ten_machines(pool: ServiceProcess) -> None:
    """Each is served, in its turn; nobody ever meets another on a machine."""
    names = boards(pool, 10)
    pattern = names[0].removesuffix("0")
    using: dict[str, int] = {}
    served: list[int] = []

    def work(number: int) -> None:
        mine = table(f"worker-{number}")
        board = mine.wait_for_free_machine("job", reAddress=pattern)
        assert using.setdefault(board.ip_address, number) == number
        if number < 10:
            everybody.wait(PATIENCE_S)  # the machines are all taken, and ten more wait
        served.append(number)
        del using[board.ip_address]
        mine.unlock(board)

    everybody = threading.Barrier(11)
    with ThreadPoolExecutor(20) as threads:
        first = [threads.submit(work, number) for number in range(10)]
        until(lambda: len(using) == 10)
        second = [threads.submit(work, number) for number in range(10, 20)]
        until(lambda: len(pool.get("/api/v1/queue").json()) == 10)
        everybody.wait(PATIENCE_S)
        for done in first + second:
            done.result(PATIENCE_S)
    assert sorted(served) == list(range(20))
    assert pool.get("/api/v1/queue").json() == []


def test_a_board_that_registers_meanwhile_counts(
    pool: ServiceProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first at all, and one more while the others are taken."""
    monkeypatch.setattr(module, "LOOK_FOR_THE_FIRST_S", 0.1)
    monkeypatch.setattr(module, "LOOK_AGAIN_S", 0.2)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(table().wait_for_free_machine, "job", "late-")
        pool.old("update", "late-1", HostName="late-1")
        assert waiting.result(PATIENCE_S).ip_address == "late-1"
        waiting = threads.submit(table("bob").wait_for_free_machine, "job", "late-")
        until(lambda: pool.get("/api/v1/queue").json())
        pool.old("update", "late-2", HostName="late-2")
        assert waiting.result(PATIENCE_S).ip_address == "late-2"
    assert pool.get("/api/v1/queue").json() == []


def test_who_waited_too_long_has_left_the_queue(pool: ServiceProcess) -> None:
    (name,) = boards(pool)
    table().lock(f"{name}.lab", "long")
    with pytest.raises(WaitedTooLong, match=r"bob got none of 1 matching boards in 0\.2 s"):
        table("bob").wait_for_free_machine("job", f"{name}", timeout_s=0.2)
    with pytest.raises(WaitedTooLong, match="none of 0"):
        table("bob").wait_for_free_machine("job", "nothing like this", timeout_s=0)
    assert pool.get("/api/v1/queue").json() == []


def test_a_lease_that_ran_out_while_waiting_is_asked_for_anew(
    pool: ServiceProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a laptop that slept for longer than the queue keeps a place."""
    monkeypatch.setattr(module, "LOOK_AGAIN_S", 0.1)
    monkeypatch.setattr(module, "LOOK_FOR_THE_FIRST_S", 0.1)
    (name,) = boards(pool)
    table().lock(f"{name}.lab", "long")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(table("bob").wait_for_free_machine, "job", name)
        until(lambda: pool.get("/api/v1/queue").json())
        (lost,) = pool.get("/api/v1/queue").json()
        pool.send("DELETE", f"/api/v1/leases/{lost['id']}?reason=slept")
        until(lambda: [one["id"] for one in pool.get("/api/v1/queue").json()] not in ([], [lost["id"]]))
        table().unlock(f"{name}.lab")
        assert waiting.result(PATIENCE_S).current_user_name == "bob"


# Silent boards


@pytest.fixture
def silent(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> ServiceProcess:
    """A service with two boards that nobody hears any more."""
    with service(
        *on_sqlite(tmp_path_factory.mktemp("silent")),
        PICLUSTER_PULSE_S="0.1",
        PICLUSTER_POLICY__SLACK_S="0.2",
        PICLUSTER_POLICY__LEGACY_OFFLINE_S="0.5",
    ) as running:
        monkeypatch.setenv("RPI_CLUSTER", running.address)
        for address in ("10.0.0.1", "10.0.0.2"):
            running.old("update", address)
        until(lambda: not any(board["IsAlive"] for board in running.get("/api").json()))
        yield running


def test_silent_boards_are_locked_by_who_says_so(silent: ServiceProcess) -> None:
    """By their address, as when a board is to be taken off power; in a search only with `ignore_alive`."""
    assert table().get_matching_machines("10") == []
    assert len(table().get_matching_machines("10", ignore_alive=True)) == 2
    with pytest.raises(WaitedTooLong):
        table().wait_for_free_machine("job", "10", timeout_s=0)
    assert table().lock("10.0.0.1", "new fan").current_user_name == "ann"
    with pytest.raises(Held, match=r"held by legacy:ann for 'new fan'"):
        table("bob").lock("10.0.0.1", "mine")
    board = table("bob").wait_for_free_machine("job", "10", ignore_alive=True)
    assert (board.ip_address, board.current_user_name) == ("10.0.0.2", "bob")
    with pytest.raises(WaitedTooLong):
        table("carla").wait_for_free_machine("job", "10", ignore_alive=True, timeout_s=0)
    assert table("bob").unlock("10.0.0.2").command == "Free"


# Trouble


def test_a_board_that_cannot_be_shown_is_not_left_locked(
    pool: ServiceProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service dies between the lock and the look: with no end, it would be locked for ever."""
    (name,) = boards(pool)

    def broken(self: PiBoardTable, query: dict[str, object]) -> list[dict[str, Any]]:
        raise Unavailable("No answer.")

    mine = table()
    monkeypatch.setattr(PiBoardTable, "_shown", broken)
    with pytest.raises(Unavailable):
        mine.lock(f"{name}.lab", "job")
    with pytest.raises(Unavailable):
        mine.wait_for_free_machine("job", name)
    assert pool.get(f"/api/v1/machines/{name}").json()["lease"] is None


def test_what_is_no_service_is_said_not_to_be_one() -> None:
    with stub(http(b"<html>", kind="text/html")) as other:
        mine = PiBoardTable(other.address, KEY)
        mine._session.patience_s = 0.0
        with pytest.raises(Unavailable):
            mine.update(PiBoardEntity({"IpAddress": "a"}))
    with stub(http(b'{"error": "closed"}')) as other, pytest.raises(NotAllowed, match="closed"):
        PiBoardTable(other.address, KEY).get_all()


# The entity


def test_an_entity_is_what_the_protocol_says() -> None:
    said = {
        "IpAddress": "10.0.0.1",
        "Platform": "BCM2711",
        "OsName": "Linux",
        "OsVersion": "6.1",
        "CurrentTaskName": "job",
        "CurrentUserName": "ann",
        "Command": "Lock",
        "LastHeartbeat": 1_700_000_000_000,
        "LockKey": "k",
        "Comment": "new",
        "HostName": "pi",
        "Temperature": "48.3'C",
        "SystemLoad": "0.1 : 0.2 : 0.3",
        "IsAlive": False,
    }
    board = PiBoardEntity(said | {"Seconds": "3", "OfTomorrow": 1})
    assert json.loads(board.serialize()) == said
    assert (board.hostname, board.temperature, board.alive) == ("pi", "48.3'C", False)
    other = PiBoardEntity()
    other.deserialize(board.serialize())
    assert vars(other) == vars(board)
    other.load({"Comment": None})
    assert (other.comment, other.ip_address) == (None, "10.0.0.1")
    assert "10.0.0.1" in repr(board)
