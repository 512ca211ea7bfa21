"""Power cuts and reboots under a lease: what becomes of it, and of the holder's way in."""

from __future__ import annotations

import itertools

import pytest

from tests.lab.boards import Board, Lab
from tests.lab.people import Holder
from tests.service import ServiceProcess, until

pytestmark = [pytest.mark.needs_root, pytest.mark.xdist_group("lab-power")]
numbers = itertools.count(1)


@pytest.fixture
def board(lab: Lab, pool: ServiceProcess) -> Board:
    return lab.board(f"power-{next(numbers)}", pool)


def test_a_board_without_power_is_offline_and_its_lease_goes_on(board: Board, ann: Holder) -> None:
    """A short outage costs nobody a lease, and the way in comes back with the board."""
    ann.take(board, on_reboot="keep")
    board.power_cut()
    until(lambda: board.machine["presence"] == "offline")
    assert ann.lease["state"] == "held"
    board.power_on()
    until(lambda: board.machine["presence"] == "online")
    assert (ann.renew()["state"], board.machine["lease"]["fence"]) == ("held", ann.fence)
    until(lambda: ann.can_use(board))


def test_a_board_that_stays_without_power_is_lost_and_nobody_gets_it(
    board: Board, ann: Holder, bob: Holder
) -> None:
    """The holder is told why; who waits has to wait until the board is heard again."""
    ann.take(board)
    bob.ask(f"name:{board.name}")
    board.power_cut()
    until(lambda: ann.lease["state"] == "ended")
    assert ann.lease["ended"] == "machine_lost"
    refused = ann.renew()["error"]
    assert (refused["code"], refused["ended"]) == ("lease_lost", "machine_lost")
    assert (bob.lease["state"], board.machine["presence"]) == ("waiting", "offline")
    board.power_on()
    assert bob.ready()["state"] == "held"
    assert bob.fence > ann.fence
    assert bob.can_use(board) and not ann.can_use(board)


def test_an_open_ended_lease_waits_for_its_board(
    lab: Lab, pool: ServiceProcess, board: Board, ann: Holder, bob: Holder
) -> None:
    """People lock a board to take it off power. Another, cut at the same time, shows that the limit has passed."""
    twin = lab.board("power-twin", pool)
    ann.take(board, ttl_s=None, on_reboot="keep")
    bob.take(twin)
    board.power_cut()
    twin.power_cut()
    until(lambda: bob.lease["ended"] == "machine_lost")
    assert ann.lease["state"] == "held"
    board.power_on()
    until(lambda: board.machine["presence"] == "online")
    assert board.machine["lease"]["fence"] == ann.fence


@pytest.mark.parametrize(
    ("policy", "state", "service"),
    [
        ("release", "ended", "in_service"),
        ("keep", "held", "in_service"),
        ("quarantine", "ended", "quarantined"),
    ],
)
def test_a_reboot_does_what_the_lease_said(
    board: Board, ann: Holder, policy: str, state: str, service: str
) -> None:
    ann.take(board, on_reboot=policy)
    board.reboot()
    until(lambda: board.log.count("beats at") == 2)
    assert (ann.lease["state"], board.machine["service"]) == (state, service)
    until(lambda: ann.can_use(board) == (state == "held"))
    if state == "ended":
        assert ann.lease["ended"] == "reboot"


def test_a_reboot_that_was_announced_ends_nothing(board: Board, ann: Holder) -> None:
    ann.take(board, on_reboot="release")
    ann.renew(expect_reboot_s=60)
    board.reboot()
    until(lambda: board.log.count("beats at") == 2)
    assert ann.lease["state"] == "held"
