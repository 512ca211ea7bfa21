"""The lab itself: a board is a machine of its own, and nothing of one is left."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest

from tests.lab.boards import Board, Lab
from tests.service import until

pytestmark = [pytest.mark.needs_root, pytest.mark.xdist_group("lab-boards")]

LEFT_ALONE = """
import sys, time
from tests.lab.boards import Lab

with Lab() as lab:
    print(lab.folder, lab.board("alone").init, flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def board(lab: Lab) -> Board:
    return lab.board("pi5-a", daemons=["sleep 54321"])


def test_ten_boards_appear_in_the_pool(lab: Lab) -> None:
    """From the power button to a free machine that everybody sees."""
    pool = lab.service()
    took = []
    for board in lab.shelf([f"pi5-{number}" for number in range(10)], pool):
        began = time.monotonic()
        board.power_on()
        until(lambda board=board: board.machine)
        took.append(time.monotonic() - began)
        assert (board.machine["state"], board.machine["mode"]) == ("free", "enforced")
    print(f"boot to visible, 10 boards: p50 {median(took):.2f} s, max {max(took):.2f} s")


def test_what_is_written_on_a_board_stays_there(board: Board) -> None:
    board.run(["sh", "-c", "echo wrecked > /etc/debian_version; rm -rf /usr/share/doc; mkdir /home/pi/x"])
    assert board.run(["cat", "/etc/debian_version"]).stdout == "wrecked\n"
    assert Path("/etc/debian_version").read_text() != "wrecked\n"
    assert Path("/usr/share/doc").exists() and not Path("/home/pi/x").exists()


def test_a_board_has_its_own_name_accounts_processes_and_clock(board: Board) -> None:
    assert board.run(["hostname"]).stdout == "pi5-a\n" != f"{socket.gethostname()}\n"
    assert board.run(["id", "-un"], user="picluster").stdout == "picluster\n"
    assert "pytest" not in board.run(["ps", "ax"]).stdout
    assert "sleep 54321" in board.run(["ps", "ax"]).stdout
    assert float(board.run(["cat", "/proc/uptime"]).stdout.split()[0]) < 60


def test_a_board_looks_like_a_pi_that_runs_hot(board: Board) -> None:
    """The hardware can be changed while it runs; nobody notices but the board."""
    zone = "/sys/class/thermal/thermal_zone0/temp"
    assert board.run(["cat", zone]).stdout == "48312\n"
    board.show({zone: "84000\n"})
    assert board.run(["cat", zone]).stdout == "84000\n"
    assert "Raspberry Pi 5" in board.run(["cat", "/proc/cpuinfo"]).stdout


def test_a_power_cut_takes_what_is_in_memory_and_leaves_the_disk(board: Board) -> None:
    boot_id = "/proc/sys/kernel/random/boot_id"
    before = board.run(["cat", boot_id]).stdout
    board.run(["touch", "/var/tmp/on-disk", "/tmp/in-memory", "/run/in-memory"])
    board.power_cut()
    assert not board.on
    board.power_on()
    found = board.run(["sh", "-c", "ls /var/tmp /tmp /run"]).stdout
    assert "on-disk" in found and "in-memory" not in found
    assert board.run(["cat", boot_id]).stdout != before


def test_orphans_are_buried(board: Board) -> None:
    """Or a killed process would stand in /proc for ever, and no board would be clean."""
    board.run(["sh", "-c", "(setsid sleep 0 &)"], user="picluster")
    until(lambda: board.run(["ps", "-U", "picluster"], check=False).stdout.count("\n") == 1)


def test_a_real_sshd_lets_in_who_has_a_key(lab: Lab, board: Board) -> None:
    """The client believes the board's host key alone; the board, the key that it was given."""
    ann, bob = lab.key(), lab.key()
    board.welcome(ann, "pi")
    assert board.ssh(ann, "hostname", user="pi").stdout == "pi5-a\n"
    refused = board.ssh(bob, "hostname", user="pi")
    assert (refused.returncode, refused.stdout) == (255, "") and "Permission denied" in refused.stderr
    session = board.session(ann, user="pi")
    print("echo $HOME", file=session.stdin, flush=True)
    assert session.stdout and session.stdout.readline() == "/home/pi\n"
    session.communicate()
    board.host_key = bob.public
    assert "verification failed" in board.ssh(ann, "hostname", user="pi").stderr


def test_nothing_is_left_of_a_lab_whose_tests_were_killed() -> None:
    """The boards die with the process that made them; the next lab throws away their disks."""
    alone = subprocess.Popen([sys.executable, "-c", LEFT_ALONE], stdout=subprocess.PIPE, text=True)
    assert alone.stdout
    folder, init = alone.stdout.readline().split()
    assert Path(folder).is_dir() and Path(f"/proc/{init}").exists()
    alone.send_signal(signal.SIGKILL)
    alone.communicate()
    until(lambda: not Path(f"/proc/{init}").exists())
    with Lab() as fresh:
        assert fresh.folder.is_dir() and not Path(folder).exists()
