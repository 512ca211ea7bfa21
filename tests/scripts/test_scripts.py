"""The four scripts people have always used, as transcripts: a checkout, its Python, and two variables."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service import KEY, PATIENCE_S, ServiceProcess, on_sqlite, service

SCRIPTS = Path(__file__).parent.parent.parent / "scripts"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    folder = on_sqlite(tmp_path_factory.mktemp("pool"))
    with service(*folder, PICLUSTER_POLICY__LOCK_DELAY_S="0") as running:
        yield running


@pytest.fixture
def lab(pool: ServiceProcess) -> Iterator[ServiceProcess]:
    """Three boards, and none afterwards."""
    for number in (1, 2, 3):
        pool.old("update", f"10.0.0.{number}", HostName=f"pi-{number}")
    yield pool
    for board in pool.get("/api").json():
        pool.old("free", board["IpAddress"], board["CurrentUserName"])
        pool.old("delete", board["IpAddress"])


def run(pool: ServiceProcess, line: str, user: str = "ann", **settings: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `scripts/LINE`."""
    name, *arguments = line.split("|")
    known = {name: value for name, value in os.environ.items() if not name.startswith(("PICLUSTER_", "RPI_"))}
    environment = (
        known | {"RPI_CLUSTER": f"{pool.address}/api/", "RPI_APIKEY": KEY, "LOGNAME": user} | settings
    )
    command = [sys.executable, str(SCRIPTS / name), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def test_a_day_with_one_board(lab: ServiceProcess) -> None:
    """Locked, seen, refused to others, taken away, deleted."""
    assert run(lab, "lock.py|10.0.0.1|--reason|new camera 🍓") == (0, "10.0.0.1 is locked for you.\n", "")
    code, out, err = run(lab, "list.py")
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["10.0.0.1", "Lock", "ann", "new", "camera", "🍓", "pi-1"],
        ["10.0.0.2", "Free", "-", "-", "pi-2"],
        ["10.0.0.3", "Free", "-", "-", "pi-3"],
    ]
    assert run(lab, "list.py|--me")[1].split()[0] == "10.0.0.1"
    assert run(lab, "list.py|--me", "bob") == (0, "", "")
    code, out, err = run(lab, "lock.py|10.0.0.1|--reason|mine", "bob")
    assert (code, out) == (1, "")
    assert err == "10.0.0.1: pi-1 is held by legacy:ann for 'new camera 🍓'.\n"
    assert run(lab, "unlock.py|10.0.0.1", "bob") == (1, "", "10.0.0.1: 10.0.0.1 is locked by ann.\n")
    assert run(lab, "delete.py|10.0.0.1")[0] == 1
    assert run(lab, "unlock.py|10.0.0.1|--lock_override", "bob") == (0, "10.0.0.1 is free again.\n", "")
    assert run(lab, "unlock.py|10.0.0.1") == (0, "Nothing of this is locked.\n", "")
    assert run(lab, "delete.py|10.0.0.1") == (0, "10.0.0.1 is forgotten.\n", "")


def test_globs_mean_many(lab: ServiceProcess) -> None:
    """What is taken already is told, and the others are locked; unlocking many takes only one's own."""
    lab.old("lock", "10.0.0.2", "bob", CurrentTaskName="long")
    code, out, err = run(lab, "lock.py|10.*|--reason|switch")
    assert (code, out.split()) == (1, "10.0.0.1 is locked for you. 10.0.0.3 is locked for you.".split())
    assert err == "10.0.0.2: pi-2 is held by legacy:bob for 'long'.\n"
    assert run(lab, "unlock.py|10.0.0.[12]") == (0, "10.0.0.1 is free again.\n", "")
    assert run(lab, "unlock.py|--me") == (0, "10.0.0.3 is free again.\n", "")
    assert run(lab, "unlock.py|--me") == (0, "Nothing of this is locked by you.\n", "")
    code, out, err = run(lab, "delete.py|pi-*")
    assert (code, len(out.splitlines()), len(err.splitlines())) == (1, 2, 1)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("lock.py|10.0.0.1", 2),
        ("unlock.py", 2),
        ("lock.py|10.9.*|--reason|x", 1),
        ("unlock.py|", 2),
        ("delete.py|", 1),
    ],
)
def test_what_cannot_be_done_is_said(lab: ServiceProcess, line: str, code: int) -> None:
    ended, out, err = run(lab, line)
    assert (ended, out) == (code, "")
    assert err


def test_a_board_out_of_service_is_not_called_free(lab: ServiceProcess) -> None:
    lab.send("PATCH", "/api/v1/machines/pi-1", {"service": "drained", "reason": "fan"})
    code, out, err = run(lab, "unlock.py|10.0.0.1")
    lab.send("PATCH", "/api/v1/machines/pi-1", {"service": "in_service"})
    assert (code, err) == (0, "")
    assert out.startswith("10.0.0.1 is locked by nobody, but ")


def test_a_reason_moves_no_terminal(lab: ServiceProcess) -> None:
    run(lab, "lock.py|10.0.0.1|--reason|\x1b[2J\x9bH")
    assert "?[2J?H" in run(lab, "list.py")[1]


def test_settings_that_are_wrong_are_named(lab: ServiceProcess) -> None:
    assert "RPI_CLUSTER" in run(lab, "list.py", RPI_CLUSTER="")[2]
    code, out, err = run(lab, "lock.py|10.0.0.1|--reason|x", RPI_APIKEY="wrong")
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert "is no address" in run(lab, "list.py", RPI_CLUSTER="ftp://lab")[2]


def test_without_picluster_it_says_what_to_do(lab: ServiceProcess) -> None:
    """As with the system's Python: no packages, no traceback."""
    command = [sys.executable, "-S", str(SCRIPTS / "list.py")]
    done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1
    assert "make install" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["list.py", "lock.py", "unlock.py", "delete.py"])
def test_each_explains_itself(lab: ServiceProcess, name: str) -> None:
    code, out, _ = run(lab, f"{name}|--help")
    assert code == 0
    assert f"python scripts/{name}" in out
