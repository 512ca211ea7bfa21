"""The whole agent on an enforced board: what it does with sessions, keys and fences when it, the board or its settings go."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import pytest

from picluster.agent import sshd
from tests.lab.boards import ACCOUNT, Board, Lab
from tests.lab.people import Holder
from tests.service import ServiceProcess, until

pytestmark = pytest.mark.needs_root

KEYS = f"{sshd.KEYS}/{ACCOUNT}"


@pytest.fixture(scope="module")
def board(lab: Lab, pool: ServiceProcess) -> Board:
    return lab.board("pi5-e", pool)


@pytest.fixture
def ann(lab: Lab, pool: ServiceProcess, board: Board) -> Iterator[Holder]:
    """Has the board."""
    holder = Holder(lab, pool)
    holder.take(board)
    yield holder
    holder.release()
    until(lambda: board.machine.get("state") == "free")


def session(board: Board, holder: Holder) -> subprocess.Popen[str]:
    begun = board.session(holder.key, "echo in; cat")
    assert begun.stdout and begun.stdout.readline() == "in\n"
    return begun


def let_in(board: Board) -> bool:
    return board.file(KEYS).exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_session_goes_on_while_the_agent_is_away(board: Board, ann: Holder, how: int) -> None:
    """Killed or told to end, for an update for example; and it finds everything as it left it."""
    begun = session(board, ann)
    board.kill_agent(how)
    assert ann.can_use(board)
    board.start_agent()
    ann.ready()
    assert begun.communicate("still here\n")[0] == "still here\n"
    assert ann.can_use(board)


def test_a_lease_that_ends_while_the_agent_is_away_is_over_when_it_comes_back(
    board: Board, ann: Holder
) -> None:
    begun = session(board, ann)
    board.kill_agent()
    ann.release()
    assert begun.poll() is None, "nobody is there to end it"
    assert board.machine["state"] != "free", "and nobody else gets the board"
    board.start_agent()
    assert begun.wait(30) == 255
    begun.communicate()
    until(lambda: board.machine["state"] == "free")


def test_an_agent_that_has_lost_its_memory_begins_with_nobody_let_in(
    lab: Lab, board: Board, ann: Holder
) -> None:
    """It cannot know whose keys those are."""
    begun = session(board, ann)
    board.kill_agent()
    board.run(["rm", "-r", "/var/lib/picluster"])
    lab.wire.pull(board.name)
    board.start_agent()
    until(lambda: not let_in(board))
    until(lambda: board.run(["pgrep", "-u", ACCOUNT], check=False).stdout == "")
    begun.kill()  # no word of it can reach the client
    begun.communicate()
    lab.wire.push(board.name)


def test_after_a_reboot_the_key_comes_back_when_the_service_has_confirmed_the_lease(
    lab: Lab, pool: ServiceProcess, board: Board
) -> None:
    """With the policy `keep`. Until then the board does not know whether the lease is still one."""
    bob = Holder(lab, pool)
    bob.take(board, on_reboot="keep")
    board.kill_agent()
    board.cut()
    address, board.pool = board.pool, None  # it boots, and its agent comes later
    board.power_on()
    board.pool = address
    assert not let_in(board) and not bob.can_use(board)
    board.start_agent()
    until(lambda: bob.can_use(board))
    bob.release()
    until(lambda: board.machine.get("state") == "free")


def test_a_board_that_cannot_enforce_says_why_lets_nobody_in_and_comes_back_when_it_is_mended(
    board: Board,
) -> None:
    until(lambda: board.machine.get("mode") == "enforced")
    board.run(["gpasswd", "-a", ACCOUNT, "sudo"])
    until(lambda: board.machine["mode"] == "advisory")
    assert f"gpasswd -d {ACCOUNT} sudo" in board.machine["facts"]["cannot_enforce"]
    assert not let_in(board)
    until(lambda: board.machine["service"] == "quarantined")
    board.run(["gpasswd", "-d", ACCOUNT, "sudo"])
    until(lambda: board.machine["mode"] == "enforced")
    assert not board.machine["facts"].get("cannot_enforce")
