"""`exec`, `cp` and `ssh`, on boards with a real sshd and a real agent."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import uuid
from pathlib import Path

import pytest

from tests.lab.boards import ACCOUNT, Board, Lab
from tests.lab.desk import all_free, home, live, rack, sh, start
from tests.service import ServiceProcess, until

__all__ = ["all_free", "home", "rack"]

pytestmark = [pytest.mark.needs_root, pytest.mark.xdist_group("lab-reach")]

# exec


def test_one_machine_answers_as_it_is(rack: list[Board], home: Path) -> None:
    """No prefix, no table: what it says, byte for byte, on the stream it said it on, and its exit code."""
    ran = sh("exec pi-a -- 'id -un; printf half; echo odd >&2; exit 7'")
    assert (ran.returncode, ran.stdout, ran.stderr) == (7, f"{ACCOUNT}\nhalf", "odd\n")


def test_many_machines_at_once(rack: list[Board], home: Path) -> None:
    """Each line with its machine, a table below it, the highest exit code, and nothing left locked."""
    ran = sh("exec 'pi-*' -- 'hostname; test $(hostname) != pi-b'")
    assert ran.returncode == 1
    assert sorted(ran.stdout.splitlines()) == ["pi-a| pi-a", "pi-b| pi-b", "pi-c| pi-c"]
    table = [line.split()[:2] for line in ran.stderr.splitlines()]
    assert table == [["MACHINE", "EXIT"], ["pi-a", "0"], ["pi-b", "1"], ["pi-c", "0"]]


def test_for_a_program(rack: list[Board], home: Path) -> None:
    ran = sh("exec pi-a pi-b -p 1 -o json -- 'hostname; echo odd >&2'")
    rows = json.loads(ran.stdout)
    assert [(row["machine"], row["exit"], row["stdout"], row["stderr"]) for row in rows] == [
        ("pi-a", 0, "pi-a\n", "odd\n"),
        ("pi-b", 0, "pi-b\n", "odd\n"),
    ]


def test_by_platform_and_address(rack: list[Board], home: Path) -> None:
    """Patterns are matched here, from the start; addresses come in a list or a file."""
    (home / "addresses").write_text(f"{rack[0].address}\n{rack[2].address}\n")
    platform = str(rack[0].machine["facts"]["platform"])
    for line, names in {
        f"--all --platform {shlex.quote(platform[:4])}": ["pi-a", "pi-b", "pi-c"],
        f"--addresses {rack[1].address},{rack[0].address}": ["pi-a", "pi-b"],
        f"--addresses {home / 'addresses'}": ["pi-a", "pi-c"],
    }.items():
        assert [row["machine"] for row in json.loads(sh(f"exec {line} -o json -- true").stdout)] == names, (
            line
        )
    assert sh("exec --all --platform nothing -- true").returncode == 3
    assert sh("exec --all --platform '(' -- true").returncode == 2
    assert sh("exec --addresses 10.9.9.9 -- true").returncode == 3


def test_what_somebody_else_holds(rack: list[Board], home: Path, pool: ServiceProcess) -> None:
    """It is told and left alone, the others are done; 75, or with --skip-held 0."""
    token = pool.send("POST", "/api/v1/tokens", {"name": "bob", "role": "user"}).json()["token"]
    path = f"/api/v1/leases/{uuid.uuid4()}"
    pool.send("PUT", path, {"selector": "pi-b", "job": "soak"}, token=token)
    ran = sh("exec pi-a pi-b -- hostname")
    assert (ran.returncode, ran.stdout) == (75, "pi-a| pi-a\n")
    assert "bob" in ran.stderr and "75" in ran.stderr
    assert sh("exec pi-a pi-b --skip-held -- true").returncode == 0
    waiting = start("exec pi-b --wait -- hostname")
    until(lambda: [one for one in live(pool) if one["state"] == "waiting"])
    pool.send("DELETE", path, token=token)
    assert waiting.communicate()[0] == "pi-b\n"


def test_what_is_mine_stays_mine(rack: list[Board], home: Path, pool: ServiceProcess) -> None:
    """A board locked by hand, with no key for it: it is used, by exec, cp and ssh, and stays locked."""
    assert sh("lock pi-a").returncode == 0
    assert sh("exec pi-a -- id -un").stdout == f"{ACCOUNT}\n"
    assert sh("exec pi-a -- 'echo kept > kept'").returncode == 0
    assert sh("ssh -- cat kept").stdout == "kept\n"
    assert sh(f"cp pi-a:kept {home}/").returncode == 0
    assert (home / "kept").read_text() == "kept\n"
    assert [one["machines"][0]["name"] for one in live(pool)] == ["pi-a"]
    assert sh("unlock pi-a").returncode == 0


def test_the_time_is_over(rack: list[Board], home: Path) -> None:
    ran = sh("exec pi-a pi-b --timeout 1 -- 'test $(hostname) = pi-b || exec sleep 54321'")
    assert ran.returncode == 124 and "longer than 1 s" in ran.stderr
    assert "sleep 54321" not in rack[0].run(["ps", "ax"]).stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped(rack: list[Board], home: Path, number: signal.Signals) -> None:
    """The command ends there, the boards are given back, and the exit code says which signal it was."""
    running = start("exec pi-a pi-b -- sleep 54321")
    for board in rack[:2]:
        until(lambda board=board: "sleep 54321" in board.run(["ps", "ax"]).stdout)
    running.send_signal(number)
    running.communicate()
    assert running.returncode == 128 + number
    for board in rack[:2]:
        until(lambda board=board: board.machine["state"] == "free")
        assert "sleep 54321" not in board.run(["ps", "ax"]).stdout


# cp


def test_there_and_back(rack: list[Board], home: Path) -> None:
    """Folders, modes and names, as a file, into a folder, by pattern."""
    tree = home / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "run.sh").write_text("#!/bin/sh\necho it runs\n")
    (tree / "run.sh").chmod(0o755)
    (tree / "sub/ä b").write_text("with a blank")
    assert sh("lock pi-a").returncode == 0
    assert sh(f"cp {tree} pi-a:").returncode == 0
    assert sh(f"cp {tree}/run.sh pi-a:new/name.sh").returncode == 0
    assert (
        sh("exec pi-a -- 'tree/run.sh; new/name.sh; cat \"tree/sub/ä b\"'").stdout
        == "it runs\nit runs\nwith a blank"
    )
    assert sh(f"cp pi-a:tree {home}/back").returncode == 0
    assert (home / "back/sub/ä b").read_text() == "with a blank"
    assert os.access(home / "back/run.sh", os.X_OK)
    assert sh(f"cp 'pi-a:tree/*.sh' pi-a:new/name.sh {home}/many/").returncode == 0
    assert sorted(one.name for one in (home / "many").iterdir()) == ["name.sh", "run.sh"]
    missing = sh(f"cp pi-a:nothing {home}")
    assert missing.returncode == 3 and "pi-a has no nothing." in missing.stderr
    assert sh("unlock pi-a").returncode == 0


def test_what_would_not_stay_is_not_copied(rack: list[Board], home: Path) -> None:
    """A board is emptied after each lease, also after one that would be made for the copy alone."""
    (home / "bits").write_text("bits")
    refused = sh(f"cp {home}/bits pi-a:")
    assert refused.returncode == 1 and "`picluster lock pi-a` first" in refused.stderr
    assert sh(f"cp pi-a:.profile {home}/").returncode == 0


def test_copies_that_make_no_sense(home: Path, rack: list[Board]) -> None:
    for line, code in {
        "cp a b": 2,
        "cp pi-a:x pi-b:y": 2,
        "cp a pi-a:x y": 2,
        "cp /nothing pi-a:": 1,
    }.items():
        assert sh(line).returncode == code, line


# ssh


def test_a_session(rack: list[Board], home: Path, pool: ServiceProcess) -> None:
    """Leased while it lasts, pinned to the reported key, with a key of its own; ssh's exit code; given back."""
    ran = sh("ssh pi-a -- 'id -un; exit 9'")
    assert (ran.returncode, ran.stdout, ran.stderr) == (9, f"{ACCOUNT}\n", "")
    assert not (home / ".ssh/known_hosts").exists()
    running = start("ssh 'name:(pi-a|pi-b)' --job 'look at it' -- cat", stdin=subprocess.PIPE)
    until(lambda: [one["job"] for one in live(pool) if one["ready"]] == ["look at it"])
    assert running.communicate("to the end")[0] == "to the end"
    assert running.returncode == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_session_that_is_stopped(rack: list[Board], home: Path, number: int, code: int) -> None:
    running = start("ssh pi-a -- sleep 54321")
    until(lambda: "sleep 54321" in rack[0].run(["ps", "ax"]).stdout)
    running.send_signal(number)
    running.communicate()
    assert running.returncode == code
    until(lambda: rack[0].machine["state"] == "free")
    assert "sleep 54321" not in rack[0].run(["ps", "ax"]).stdout


def test_a_session_that_is_interrupted(rack: list[Board], home: Path) -> None:
    """Ctrl-C reaches ssh and us: ssh ends, and then we give back."""
    running = start("ssh pi-a -- sleep 54321", start_new_session=True)
    until(lambda: "sleep 54321" in rack[0].run(["ps", "ax"]).stdout)
    os.killpg(running.pid, signal.SIGINT)
    running.communicate()
    assert running.returncode == 255
    until(lambda: rack[0].machine["state"] == "free")


def test_a_board_without_an_agent(lab: Lab, rack: list[Board], home: Path, pool: ServiceProcess) -> None:
    """The pool knows no host key of it: it has to be in the known_hosts of whoever goes there, who is told how."""
    board, key = lab.board("bare", enforced=False), lab.key()
    board.welcome(key, "pi")
    pool.old("update", board.address, HostName="bare", Platform="an old one")
    (home / ".ssh").mkdir(mode=0o700)
    (home / ".ssh/id_ed25519").write_bytes(key.file.read_bytes())
    (home / ".ssh/id_ed25519").chmod(0o600)
    (home / ".ssh/id_ed25519.pub").write_text(key.public)
    lines = {
        "exec bare --user pi -- id -un": 125,
        "ssh bare --user pi -- id -un": 1,
        "cp bare:.profile . --user pi": 1,
    }
    for line, code in lines.items():
        ran = sh(line)
        assert (ran.returncode, f"ssh-keyscan {board.address} > key" in ran.stderr) == (code, True), (
            ran.stderr
        )
    (home / ".ssh/known_hosts").write_text(f"{board.address} {board.host_key}\n")
    assert sh("exec bare --user pi -- id -un").stdout == "pi\n"


def test_without_an_ssh_client(rack: list[Board], home: Path) -> None:
    """`ssh` says what to install; all else needs none."""
    path = str(home)
    assert "apt install openssh-client" in sh("ssh pi-a", env={**os.environ, "PATH": path}).stderr
    assert sh("exec pi-a -- echo there", env={**os.environ, "PATH": path}).stdout == "there\n"
