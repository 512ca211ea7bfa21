"""Enforcing where logins are sessions of systemd, with a service manager for each account: nothing of it outlives a lease,
and the next holder's login finds a fresh one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.joining.conftest import needs
from tests.joining.container import TOOLS
from tests.joining.test_enforced import ACCOUNT, Holder, enforced
from tests.joining.test_systemd import Board, board
from tests.service import until

__all__ = ["board"]

pytestmark = [pytest.mark.needs_root, needs(*TOOLS, "ssh", "ssh-keygen"), pytest.mark.timeout(300)]

PLANTS = """
systemd-run --user --quiet sleep 4242
echo x > $XDG_RUNTIME_DIR/planted
mkdir -p .config/systemd/user
printf '[Service]\\nExecStart=/bin/sleep 4242\\n[Install]\\nWantedBy=default.target\\n' > .config/systemd/user/x.service
systemctl --user --quiet enable x.service
"""
LOOKS = """
ls $XDG_RUNTIME_DIR/planted
systemctl --user list-unit-files --no-legend x.service
ps -u $USER -o args= | grep 4242 | grep -v grep
systemctl --user is-system-running --wait
"""


def test_the_next_login_finds_a_fresh_service_manager(board: Board, tmp_path: Path) -> None:
    board.install("--enforce")
    board.until(lambda: enforced(board))
    first, second = Holder(board, tmp_path), Holder(board, tmp_path)
    first.lock()
    first.ssh(PLANTS)
    board(f"touch /var/lib/systemd/linger/{ACCOUNT}")  # as if it had been allowed to
    assert "4242" in board(f"ps -u {ACCOUNT} -o args")
    began = time.monotonic()
    first.unlock()
    until(lambda: board.machine["state"] == "free")
    print(f"free again after {time.monotonic() - began:.2f} s, with a service manager to end")
    assert board(f"pgrep -u {ACCOUNT}; ls /run/user /var/lib/systemd/linger", check=False).split() == [
        "/run/user:",
        "/var/lib/systemd/linger:",
    ]
    second.lock()
    assert second.ssh(LOOKS).stdout == "running\n"
    second.unlock()
    board.until(lambda: enforced(board) and board.machine["state"] == "free")
    assert "not clean" not in board("journalctl -u picluster-agent --no-pager")
    assert board("systemctl --failed --no-legend") == "", (
        "what was killed is no failure that a person must look at"
    )
