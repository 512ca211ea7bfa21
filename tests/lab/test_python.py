"""From Python, on boards with a real sshd and a real agent: `Board`, the pytest plugin under xdist, the old runner."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Timer

import pytest

from picluster import (
    Board,
    Client,
    CommandFailed,
    ConnectionLost,
    LeaseLost,
    NotLetIn,
    PiBoardTable,
    RemoteRunner,
    TransferFailed,
    WrongHost,
)
from tests.lab import boards
from tests.lab.boards import Key, Lab
from tests.lab.desk import all_free, home, live, rack, sh
from tests.pytest_plugin.sessions import Project
from tests.service import ADMIN, KEY, ServiceProcess, until

__all__ = ["all_free", "home", "rack"]

pytestmark = [pytest.mark.needs_root, pytest.mark.xdist_group("lab-python")]


# Board


@pytest.fixture
def board(rack: list[boards.Board], home: Path) -> Iterator[Board]:
    """One leased, and reached."""
    with Client() as client, Board.leased(client, "pi-a") as reached:
        yield reached


def test_there_and_back(board: Board, tmp_path: Path) -> None:
    """A file goes there, a command uses it, what it made comes back; words are taken as they are."""
    (tmp_path / "in").write_text("abc")
    board.put(tmp_path / "in", "work", name="it")
    ran = board.run("tr a-z A-Z < it | tee out; echo odd >&2", folder="work", environment={"LANG": "C"})
    assert (ran.status, ran.stdout, ran.stderr) == (0, "ABC", "odd\n")
    assert board.get("work/o*", tmp_path / "back") == [tmp_path / "back/work/out"]
    assert (tmp_path / "back/work/out").read_text() == "ABC"
    assert board.run(["printf", "%s", "$HOME; *"]).stdout == "$HOME; *"


def test_what_fails_says_why(board: Board, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"`echo so; exit 3` ended with 3.\n  so"):
        board.run("echo so; exit 3")
    assert board.run("exit 3", check=False).status == 3
    with pytest.raises(CommandFailed, match="took too long"):
        board.run("sleep 54321", timeout_s=0.5)
    with pytest.raises(TransferFailed, match="pi-a has no x and no y"):
        board.get(["x", "y"], tmp_path)


def lose(board: Board, pool: ServiceProcess) -> None:
    """An operator takes it back while a command runs on it, which nobody waits for any longer."""
    token = pool.send("POST", "/api/v1/tokens", {"name": "eve", "role": "operator"}).json()["token"]
    path = f"/api/v1/leases/{board.lease.id}?reason=needed"
    Timer(1, lambda: pool.send("DELETE", path, token=token)).start()
    with pytest.raises((ConnectionLost, LeaseLost)):
        board.run("exec sleep 54321")
    until(lambda: board.lease.lost)
    with pytest.raises(LeaseLost):
        board.run("true")


def test_a_lost_lease_ends_what_runs(rack: list[boards.Board], home: Path, pool: ServiceProcess) -> None:
    """The board puts its holder out; whoever waits for the command is told, and the block says why."""
    with Client() as client, ExitStack() as stack:
        lose(stack.enter_context(Board.leased(client, "pi-a", ttl=6)), pool)
        with pytest.raises(LeaseLost, match="taken back by eve"):
            stack.close()
    assert "sleep 54321" not in rack[0].run(["ps", "ax"]).stdout


# The plugin


@pytest.fixture
def project(tmp_path: Path, rack: list[boards.Board], home: Path, pool: ServiceProcess) -> Iterator[Project]:
    ours = Project(tmp_path, pool, [board.name for board in rack])
    yield ours
    ours.end()


def test_a_test_on_a_board(project: Project) -> None:
    """What the first page of the docs shows."""
    project.write("""
        import pytest
        def test_it(pi, tmp_path):
            (tmp_path / "x").write_text("there and back")
            pi.put(tmp_path / "x")
            assert pi.run("cat x").stdout == "there and back"
            [back] = pi.get("x", tmp_path / "back")
            assert back.read_text() == "there and back"

        def test_it_fails(pi):
            pi.run("echo what went wrong; exit 3")
    """)
    code, said = project.run("--pi-require-clean")
    assert code == 1 and "1 passed, 1 failed" in said.replace("1 failed, 1 passed", "1 passed, 1 failed"), (
        said
    )
    assert "what went wrong" in said and "fence" in said


SHARED = """
    import fcntl, pathlib, pytest, time

    @pytest.mark.parametrize("number", range(16))
    def test_alone(pi, number):
        assert pi.run("mkdir in-use && sleep 0.2 && hostname && rmdir in-use").stdout.strip() == pi.machine.name
        with open({log!r}, "a") as log:
            log.write(f"{{pi.machine.name}} {{pi.lease.fence}}\\n")
"""


def test_four_workers_share_three_boards(project: Project) -> None:
    """Never two of them on one board: a folder that both would make is the witness. Nothing stays locked."""
    log = project.folder / "log"
    project.write(SHARED.format(log=str(log)))
    code, said = project.run("-n", "4")
    assert code == 0, said
    grants = dict.fromkeys(log.read_text().splitlines())
    assert len(log.read_text().splitlines()) == 16 and len(grants) in (3, 4)
    assert re.search(r"gw\d: Waiting: ", said), "the fourth tells why it does nothing"
    assert said.count(", fence ") == len(grants)
    assert project.leases("held") + project.leases("waiting") == []


def test_a_worker_that_is_killed(project: Project) -> None:
    """Its board is free again when its ttl is over, and meanwhile nobody else is let onto it."""
    log = project.folder / "log"
    project.write(
        SHARED.format(log=str(log))
        + """
    def test_killed(pi):
        import os
        os.kill(os.getpid(), 9)
    """
    )
    code, said = project.run("-n", "4", "--pi-ttl", "3", "--max-worker-restart", "1")
    assert code == 1 and "test_killed" in said and "16 passed" in said, said
    until(lambda: project.leases("held") + project.leases("waiting") == [])
    assert any(lease["ended"] == "expired" for lease in project.leases())


# The old runner


@pytest.fixture(scope="module")
def advisory(lab: Lab, pool: ServiceProcess) -> boards.Board:
    """A board as most are: its owner's account, whoever's keys are welcome there."""
    board = lab.board("old", pool, enforced=False)
    until(lambda: board.machine.get("state") == "free")
    return board


@pytest.fixture
def own_key(lab: Lab, home: Path, advisory: boards.Board) -> Key:
    """In the place where ssh looks for it."""
    made = lab.key()
    (home / ".ssh").mkdir(mode=0o700, exist_ok=True)
    shutil.copy(made.file, home / ".ssh/id_ed25519")
    (home / ".ssh/id_ed25519.pub").write_text(f"{made.public}\n")
    advisory.welcome(made, "pi")
    return made


def sources(home: Path) -> Path:
    folder = home / "build"
    folder.mkdir()
    (folder / "test.sh").write_text("echo it runs; pwd; echo result > out.xml; exit ${1:-0}\n")
    return folder


def test_an_old_script(home: Path, own_key: Key, advisory: boards.Board, pool: ServiceProcess) -> None:
    """The old words: what is copied runs there, its lines come back, and so do its files; the board is clean and free."""
    runner = RemoteRunner(
        cluster=f"{pool.address}/api/",
        ipaddress=advisory.address,
        username="pi",
        source_dir=str(sources(home)),
        target_dir="/home/pi/work",
        command="sh test.sh",
        copyback_files="out.xml",
        copyback_dir=str(home / "back"),
        logfile=str(home / "log"),
        apikey=KEY,
    )
    assert runner.run_command() == ["it runs", "/home/pi/work"]
    assert (home / "back/out.xml").read_text() == "result\n"
    assert (home / "log").read_text() == "it runs\n/home/pi/work\n"
    assert not advisory.file("/home/pi/work").exists()
    assert live(pool) == []


def test_an_old_script_that_fails(
    home: Path, own_key: Key, advisory: boards.Board, pool: ServiceProcess
) -> None:
    """It raises, with what was said; the results come back all the same, and the board is given back."""
    table = PiBoardTable(pool.address, KEY)
    runner = RemoteRunner(
        table,
        advisory.address,
        "pi",
        source_files=[str(sources(home) / "test.sh")],
        command="sh test.sh 4",
        copyback_files=["out.xml"],
        copyback_dir=str(home),
    )
    with pytest.raises(CommandFailed, match=r"ended with 4\.\n  it runs"):
        runner.run_command()
    assert (home / "out.xml").exists() and live(pool) == []


def test_a_board_that_the_script_has_locked(
    home: Path, own_key: Key, advisory: boards.Board, pool: ServiceProcess
) -> None:
    table = PiBoardTable(pool.address, KEY)
    table.lock(advisory.address, "by hand")
    assert RemoteRunner(table, advisory.address, "pi", command="id -un").run_command() == ["pi"]
    [lease] = live(pool)
    assert lease["job"] == "by hand"
    table.unlock(advisory.address)


def test_an_address_outside_of_the_pool(home: Path, own_key: Key, advisory: boards.Board) -> None:
    """Nobody is believed to be a board because they answer: it has to be in the known_hosts of whoever asks."""
    runner = RemoteRunner(ipaddress=advisory.address, username="pi", command="id -un")
    with pytest.raises(WrongHost, match="known_hosts"):
        runner.run_command()
    (home / ".ssh/known_hosts").write_text(f"{advisory.address} {advisory.host_key}\n")
    assert runner.run_command() == ["pi"]


def test_all_boards_in_turn(rack: list[boards.Board], home: Path, own_key: Key, pool: ServiceProcess) -> None:
    """Enforced ones too, by a key of the lease."""
    runner = RemoteRunner(pool.address, username="pi", command="hostname", all=True, apikey=ADMIN)
    assert sorted(runner.run_command()) == ["old", "pi-a", "pi-b", "pi-c"]


def test_nobody_without_a_key_or_password(home: Path, advisory: boards.Board, pool: ServiceProcess) -> None:
    runner = RemoteRunner(pool.address, "old", "pi", "wrong", command="true", apikey=KEY)
    with pytest.raises(NotLetIn):
        runner.run_command()
    assert live(pool) == []


def test_another_host_key_is_not_believed(
    home: Path, own_key: Key, advisory: boards.Board, pool: ServiceProcess
) -> None:
    """Somebody else answers at the board's address: nothing is sent there, by whatever command."""
    advisory.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/other"])
    advisory.run(["sed", "-i", "s#^HostKey .*#HostKey /root/other#", "/etc/ssh/sshd_config"])
    advisory.run(["pkill", "-HUP", "-o", "sshd"])
    ran = sh("exec old --user pi -- true")
    assert (ran.returncode, "another host key" in ran.stderr) == (125, True), ran.stderr
    ran = sh("ssh old --user pi -- true")
    assert (ran.returncode, "Host key verification failed" in ran.stderr) == (255, True), ran.stderr
    assert sh(f"cp {home}/.ssh/id_ed25519.pub old: --user pi").returncode == 1
    assert live(pool) == []
