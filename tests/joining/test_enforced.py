"""`--enforce` on a board with real systemd and sshd: set up by the installer, enforced from inside the unit's walls."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.joining.conftest import needs
from tests.joining.container import TOOLS
from tests.joining.test_systemd import LISTING, Board, board
from tests.service import until

__all__ = ["board"]

ACCOUNT = "picluster"

pytestmark = [pytest.mark.needs_root, needs(*TOOLS, "ssh", "ssh-keygen"), pytest.mark.timeout(300)]


class Holder:
    """Somebody with a lease on the board, and a key for it."""

    def __init__(self, board: Board, folder: Path) -> None:
        self._board = board
        self._key = folder / f"key-{uuid.uuid4()}"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._key)], check=True)
        self._lease = f"/api/v1/leases/{uuid.uuid4()}"

    def lock(self) -> dict[str, Any]:
        keys = [self._key.with_suffix(".pub").read_text().strip()]
        wanted = {
            "selector": f"name:{self._board.host_name}",
            "job": "nightly",
            "ttl_s": None,
            "ssh_public_keys": keys,
        }
        held = self._board.pool.send("PUT", self._lease, wanted).json()
        assert held["state"] == "held", held
        until(lambda: self.ssh("true").returncode == 0)
        return dict(held)

    def unlock(self) -> None:
        self._board.pool.send("DELETE", self._lease)

    def ssh(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._ssh(), command], capture_output=True, text=True, timeout=30)

    @contextmanager
    def session(self, command: str) -> Iterator[subprocess.Popen[str]]:
        """One that goes on for the time of the block; its output is a pipe. Nothing is left of it, come what may."""
        words = [*self._ssh(), command]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as session:
            try:
                yield session
            finally:
                session.kill()

    def _ssh(self) -> list[str]:
        options = [
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
        ]
        told = [word for option in options for word in ("-o", option)]
        return ["ssh", "-F", "none", *told, "-i", str(self._key), f"{ACCOUNT}@{self._board.address}"]


def enforced(board: Board) -> bool:
    return board.machine.get("mode") == "enforced" and board.beats()


def test_only_who_has_the_lease_is_let_in_and_nothing_of_theirs_stays(board: Board, tmp_path: Path) -> None:
    """The account, the drop-in and the unit fit together: from inside the unit the agent reaches all it has to."""
    said = board.install("--enforce")
    assert "no password, no sudo" in said and "not ok" not in said
    board.until(lambda: enforced(board))
    first, second = Holder(board, tmp_path), Holder(board, tmp_path)
    held = first.lock()
    assert first.ssh("echo $PICLUSTER_FENCE").stdout.strip() == str(held["fence"])
    assert second.ssh("true").returncode == 255
    first.ssh(
        "touch /tmp/left /dev/shm/left ~/left; (setsid nohup sleep 1000 >/dev/null 2>&1 &); ipcmk -M 64"
    )
    first.ssh("echo '* * * * * touch /tmp/cron' | crontab -; echo 'touch /tmp/at' | at now + 1 minute")
    with first.session("echo in; sleep 1000") as session:
        assert session.stdout and session.stdout.readline() == "in\n"
        first.unlock()
        board.until(lambda: enforced(board))
        session.wait(10)
    assert first.ssh("true").returncode == 255
    assert board("ls -A /tmp/left /dev/shm/left 2>/dev/null; pgrep -u picluster", check=False) == ""
    assert board("ls /var/spool/cron/crontabs; ls /var/spool/cron/atjobs | grep -v SEQ", check=False) == ""
    second.lock()
    assert second.ssh("ls").stdout == ""
    second.unlock()


def test_a_restart_of_the_agent_throws_nobody_out(board: Board, tmp_path: Path) -> None:
    """Also one that is killed: the holder's session and key stay, since the lease goes on."""
    board.install("--enforce")
    board.until(lambda: enforced(board))
    holder = Holder(board, tmp_path)
    holder.lock()
    with holder.session("echo in; sleep 1000") as session:
        assert session.stdout and session.stdout.readline() == "in\n"
        board("systemctl restart picluster-agent")
        before = board.agent
        board(f"kill -KILL {before}")
        board.until(lambda: board.agent not in (0, before))
        assert session.poll() is None
        assert holder.ssh("true").returncode == 0
        holder.unlock()
        session.wait(20)


def test_the_account_has_hardware_and_no_power(board: Board) -> None:
    board("for group in gpio i2c input; do groupadd --system $group; done")
    board("echo 'Defaults !lecture' >/etc/sudoers.d/x")
    board.install("--enforce")
    groups = set(board(f"id -nG {ACCOUNT}").split())
    assert groups >= {"gpio", "i2c", "video", "dialout", "plugdev", "input"}
    assert not groups & {"sudo", "adm", "root", "docker", "disk"}
    assert board(f"getent shadow {ACCOUNT}").split(":")[1] == "*"
    assert board(f"grep {ACCOUNT} /etc/subuid /etc/subgid", check=False) == ""
    assert board(f"stat -c %a /home/{ACCOUNT}") == "700"


def test_run_again_it_still_enforces(board: Board) -> None:
    """Without saying so again; and nothing is touched."""
    board.install("--enforce")
    board.until(lambda: enforced(board))
    before = (board.agent, board(LISTING))
    assert "nothing has changed" in board.install(fresh=False)
    assert (board.agent, board(LISTING)) == before


def test_from_advisory_to_enforced_and_back(board: Board) -> None:
    """The fence goes with it, wherever systemd keeps it."""
    board.install()
    board.until(lambda: board.machine.get("mode") == "advisory")
    board.install("--enforce", fresh=False)
    board.until(lambda: enforced(board))
    board.install("--advisory", fresh=False)
    board.until(lambda: board.machine.get("mode") == "advisory")
    assert board.run("test -e /etc/ssh/sshd_config.d/10-picluster.conf").returncode
    assert board("systemctl --failed --no-legend") == ""


def test_a_board_that_cannot_enforce_says_why(board: Board) -> None:
    """And goes on without only if somebody said so."""
    board(f"echo '{ACCOUNT} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/oops")
    said = board.install("--enforce", code=1)
    assert "not ok" in said and "sudo" in said and "--or-advisory" in said
    assert board.run("systemctl cat picluster-agent").returncode
    board.install("--enforce", "--or-advisory")
    board.until(board.beats)
    assert board.machine["mode"] == "advisory"
    assert board.run("test -e /etc/ssh/sshd_config.d/10-picluster.conf").returncode


def test_a_persons_account_is_not_taken(board: Board) -> None:
    """Its home would be emptied after the first lease."""
    board("useradd -m -s /bin/bash pi && echo precious >/home/pi/thesis")
    said = board.install("--enforce", "--account", "pi", code=1)
    assert "is somebody's" in said
    board.install("--uninstall", "--account", "pi", fresh=False, insecure=False)
    assert board("cat /home/pi/thesis") == "precious"


def test_uninstall_takes_the_account_with_it(board: Board, tmp_path: Path) -> None:
    """With its home and whoever is in it, and the SSH server is as it was."""
    state = f"{LISTING} | grep -v '^/etc/[a-z]*-$'; cat /etc/passwd /etc/group; sshd -T | sort"
    before = board(state)
    board.install("--enforce")
    board.until(lambda: enforced(board))
    holder = Holder(board, tmp_path)
    holder.lock()
    with holder.session("echo in; sleep 1000") as session:
        assert session.stdout and session.stdout.readline() == "in\n"
        board.install("--uninstall", fresh=False, insecure=False)
        session.wait(10)
    assert board(state).splitlines() == before.splitlines()
