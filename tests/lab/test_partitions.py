"""Networks that lose, cut and move things: leases stay where they are."""

from __future__ import annotations

import itertools

import pytest

from tests.lab.boards import Board, Lab
from tests.lab.conftest import PATIENT
from tests.lab.faults import deaf, lossy, mute, parted
from tests.lab.people import Holder
from tests.service import ServiceProcess, until

pytestmark = [pytest.mark.needs_root, pytest.mark.xdist_group("lab-partitions")]
numbers = itertools.count(1)


@pytest.fixture
def board(lab: Lab, pool: ServiceProcess) -> Board:
    return lab.board(f"net-{next(numbers)}", pool)


def test_a_partition_costs_nobody_a_lease(lab: Lab) -> None:
    """Whichever direction is cut: the board is offline, and after it the same grant goes on."""
    pool = lab.service(**PATIENT)
    boards = lab.rack(["net-parted", "net-deaf", "net-mute"], pool)
    holders = [Holder(lab, pool) for _ in boards]
    for holder, board in zip(holders, boards, strict=True):
        holder.take(board)
    with parted(boards[0]), deaf(boards[1]), mute(boards[2]):
        until(lambda: all(board.machine["presence"] == "offline" for board in boards))
        assert [holder.renew()["state"] for holder in holders] == ["held"] * 3
        assert all(holder.can_use(board) for holder, board in zip(holders, boards, strict=True))
    for holder, board in zip(holders, boards, strict=True):
        until(lambda board=board: board.machine["presence"] == "online")
        until(lambda board=board: board.machine["telemetry"]["since_open"])
        assert (holder.lease["state"], board.log.count(" opens: ")) == ("held", 1)


def test_a_lease_that_is_lost_in_a_partition_is_closed_before_the_next_opens(
    board: Board, ann: Holder, bob: Holder
) -> None:
    """The one that was away may not know: it is granted to nobody until the board itself has been heard."""
    ann.take(board)
    until(lambda: f"fence {ann.fence} opens" in board.log)
    with parted(board):
        bob.ask(f"name:{board.name}")
        until(lambda: ann.lease["ended"] == "machine_lost")
        assert (bob.lease["state"], ann.can_use(board), bob.can_use(board)) == ("waiting", True, False)
    bob.ready()
    assert (ann.can_use(board), bob.can_use(board)) == (False, True)
    until(lambda: f"fence {bob.fence} opens" in board.log)
    told = [line for line in board.log.splitlines() if "fence" in line]
    assert [line.partition(":")[0] for line in told] == [
        f"fence {ann.fence} opens",
        f"fence {ann.fence} is closed",
        f"fence {bob.fence} opens",
    ]


def test_hand_overs_go_on_while_a_third_of_all_packets_is_lost(
    board: Board, ann: Holder, bob: Holder
) -> None:
    """Slower, and in the same order."""
    ann.take(board)
    with lossy(board, 30) as dropped:
        for holder, waiter in [(ann, bob), (bob, ann)] * 3:
            waiter.ask(f"name:{board.name}")
            holder.release()
            waiter.ready()
            assert waiter.fence > holder.fence
            until(lambda waiter=waiter: f"fence {waiter.fence} opens" in board.log)
        assert dropped()
    assert board.machine["fence"] == ann.fence


def test_a_new_address_is_the_same_machine_with_its_lease(board: Board, ann: Holder) -> None:
    before = ann.take(board)
    board.move("10.77.0.200")
    until(lambda: board.machine["address"] == "10.77.0.200")
    [machine] = ann.renew()["machines"]
    assert (machine["name"], machine["address"]) == (board.name, "10.77.0.200")
    assert (ann.lease["fence"], ann.lease["state"]) == (before["fence"], "held")


def test_two_boards_that_swap_addresses_keep_their_leases(
    lab: Lab, pool: ServiceProcess, ann: Holder, bob: Holder
) -> None:
    """The address is data: who has a board has it at its new place, and nobody gets the other's."""
    left, right = lab.rack(["net-left", "net-right"], pool)
    ann.take(left)
    bob.take(right)
    here, there = left.address, right.address
    right.move("10.77.0.201")
    left.move(there)
    right.move(here)
    until(lambda: (left.machine["address"], right.machine["address"]) == (there, here))
    assert [left.machine["lease"]["fence"], right.machine["lease"]["fence"]] == [ann.fence, bob.fence]
    assert [ann.renew()["state"], bob.renew()["state"]] == ["held", "held"]
