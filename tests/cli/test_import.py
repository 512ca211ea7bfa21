"""Moving in: the first service's file becomes a pool, and boards, people and scripts that spoke to it go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner, Result

from picluster import PiBoardTable
from picluster.cli import main
from tests.service import KEY, on_sqlite, service

HELD: dict[str, Any] = {
    "IpAddress": "10.0.0.2",
    "Platform": "ARMv7 Processor rev 4 (v7l) (4 cores) BCM2835",
    "OsName": "Linux-5.10-armv7l",
    "OsVersion": "#1 SMP",
    "CurrentTaskName": "Test job",
    "CurrentUserName": "Test",
    "Command": "Lock",
    "LockKey": "6f0d0d7e-0001",
    "Comment": "the one with the camera",
    "HostName": "raspberrypi",
    "Temperature": "48.312'C",
    "SystemLoad": "0.12 : 0.08 : 0.01",
    "LastHeartbeat": 1_700_000_000_000,
    "IsAlive": True,
    "Seconds": "31",
}
FREE = {
    **HELD,
    "IpAddress": "10.0.0.10",
    "HostName": "pi-ten",
    "Comment": "dead?",
    "IsAlive": False,
    "Command": "Free",
    "CurrentUserName": "",
    "CurrentTaskName": "",
    "LockKey": "",
}
OLDEST = {"IpAddress": "192.168.1.999", "CurrentTaskName": "RollingBuild", "Command": "", "LastHeartbeat": 1}
"""From before boards had names and temperatures."""

CLOCKS = ("IsAlive", "Seconds", "Comment", "LockKey")
"""What the service says of now, or tells no reader."""


def bring(file: Path, *options: str) -> Result:
    result = CliRunner().invoke(main, ["import", str(file), *options], prog_name="picluster")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "machines.json"
    path.write_text(json.dumps([FREE, HELD, OLDEST]))
    return path


@pytest.fixture
def data(tmp_path: Path) -> tuple[str, str]:
    return on_sqlite(tmp_path / "data")


def lasting(board: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in board.items() if key not in CLOCKS and value not in ("", None)}


def test_the_old_kind_of_client_goes_on(file: Path, data: tuple[str, str]) -> None:
    """The list is what it was; the lock keeps others out, until its holder gives it back with the old call; a board
    that reports is alive again."""
    brought = bring(file, *data)
    assert (brought.exit_code, brought.stdout) == (0, "")
    assert "3 machines of the file, 3 of them new; 1 locked" in brought.stderr
    with service(*data) as pool:
        listed = httpx2.get(f"{pool.address}/api").json()
        assert [lasting(board) for board in listed] == [lasting(board) for board in (FREE, HELD, OLDEST)]
        assert {board["IsAlive"] for board in listed} == {False}
        assert pool.old("lock", "10.0.0.2", "ben", LockKey="mine") is None
        assert pool.old("free", "10.0.0.2", "ben") is None
        assert pool.old("update", **monitor(HELD))["CurrentUserName"] == "Test"
        (alive,) = httpx2.get(f"{pool.address}/api?id=10.0.0.2").json()
        assert (alive["IsAlive"], alive["Comment"]) == (True, "the one with the camera")
        table = PiBoardTable(f"{pool.address}/api/", KEY, "Test")
        assert table.unlock("10.0.0.2").command == "Free"
        assert table.wait_for_free_machine("next job", reAddress="10.0.0.2").current_user_name == "Test"


def monitor(board: dict[str, Any]) -> dict[str, Any]:
    """What the old monitor on a board sends every minute."""
    return {
        **{key: board[key] for key in ("Platform", "OsName", "OsVersion", "HostName", "Comment")},
        "address": board["IpAddress"],
        "user": None,
        "CurrentTaskName": None,
        "Command": None,
    }


def test_again_changes_nothing(file: Path, data: tuple[str, str]) -> None:
    """Neither a lock that stands nor one that was given back since."""
    assert "1 locked" in bring(file, *data).stderr
    again = bring(file, *data).stderr
    assert "0 of them new; 1 locked" in again and "stays" not in again
    with service(*data) as pool:
        assert pool.old("free", "10.0.0.2", "Test")["Command"] == "Free"
        pool.stop()
    again = bring(file, *data).stderr
    assert "0 of them new; 0 locked" in again
    assert "raspberrypi stays as it is here, without the lock of legacy:Test" in again


def test_and_back(file: Path, data: tuple[str, str], tmp_path: Path) -> None:
    """The list of the running service is a file of the old kind: what it says comes in elsewhere as it is here."""
    bring(file, *data)
    with service(*data) as pool:
        answered = httpx2.get(f"{pool.address}/api")
    file.write_bytes(answered.content)
    elsewhere = on_sqlite(tmp_path / "elsewhere")
    assert "3 of them new; 1 locked" in bring(file, *elsewhere).stderr
    with service(*elsewhere) as pool:
        listed = httpx2.get(f"{pool.address}/api").json()
        assert [lasting(board) for board in listed] == [lasting(board) for board in answered.json()]


def test_a_damaged_file_changes_nothing(file: Path, data: tuple[str, str], tmp_path: Path) -> None:
    """It is named, with the place and two ways out; with --salvage, what stands before the damage comes in."""
    file.write_bytes(file.read_bytes()[:-40])
    refused = bring(file, *data)
    assert refused.exit_code == 2
    assert "machines.json is damaged" in refused.stderr and "column" in refused.stderr
    assert "curl" in refused.stderr and "--salvage takes the 2 machines" in refused.stderr
    assert not (tmp_path / "data").exists()
    assert "2 machines of the file, 2 of them new; 1 locked" in bring(file, *data, "--salvage").stderr


def test_a_bad_record_changes_nothing(file: Path, data: tuple[str, str], tmp_path: Path) -> None:
    file.write_text(json.dumps([HELD, {**FREE, "IpAddress": ""}]))
    refused = bring(file, *data)
    assert refused.exit_code == 2
    assert "record 2: IpAddress: must be text" in refused.stderr
    assert not (tmp_path / "data").exists()


def test_a_pool_that_is_served_is_left_alone(file: Path, data: tuple[str, str]) -> None:
    with service(*data) as pool:
        refused = bring(file, *data)
        assert refused.exit_code == 1
        assert f"pid {pool.process.pid}" in refused.stderr and "Stop it first" in refused.stderr
        assert httpx2.get(f"{pool.address}/api").json() == []


def test_replicas_see_what_comes_into_their_database(file: Path, postgres_url: str) -> None:
    """PostgreSQL may be served meanwhile: the import is a turn like others."""
    with service("--url", postgres_url) as pool:
        assert "3 of them new; 1 locked" in bring(file, "--url", postgres_url).stderr
        assert pool.old("lock", "10.0.0.2", "ben", LockKey="mine") is None
        assert pool.old("free", "10.0.0.2", "Test")["Command"] == "Free"
