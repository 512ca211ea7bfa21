"""What the first service knew comes in once: its machines, and who had them locked."""

from __future__ import annotations

import math

import pytest

from picluster.errors import Held
from picluster.pool.commands import FreeAddress, LockAddress, MoveIn, Report, UpdateAddress
from picluster.pool.model import Machine, Mode, Presence
from picluster.pool.policy import Policy
from tests.pool.day import Day, actor

HEARD_US = 1_600_000_000_000_000


def from_the_file(address: str, holder: str = "", lease: str = "moved") -> MoveIn:
    """One record; locked if somebody held it."""
    report = Report(f"legacy:{address}", address, Mode.LEGACY, facts={"host_name": f"pi-{address[-1]}"})
    lock = LockAddress(actor(f"legacy:{holder}"), lease, address, "nightly") if holder else None
    return MoveIn(actor("root"), report, HEARD_US, lock)


def moved(day: Day, command: MoveIn) -> Machine:
    answer = day.take(command)
    assert isinstance(answer, Machine)
    return answer


def lock(who: str, lease: str) -> LockAddress:
    return LockAddress(actor(f"legacy:{who}"), lease, "10.0.0.1")


def free(who: str) -> FreeAddress:
    return FreeAddress(actor(f"legacy:{who}", "10.9.9.9"), "10.0.0.1")


def test_a_machine_comes_with_its_lock() -> None:
    """The lock is its old holder's, has no end, and keeps others out; who held it gives it back as ever."""
    day = Day()
    machine = moved(day, from_the_file("10.0.0.1", "ann"))
    lease = day.lease("moved")
    assert (machine.name, machine.mode, machine.lease) == ("pi-1", Mode.LEGACY, lease.id)
    assert (lease.holder, lease.job, lease.ttl_s) == ("legacy:ann", "nightly", None)
    with pytest.raises(Held):
        day.take(lock("ben", "later"))
    day.passes(100_000)
    assert day.machine("pi-1").lease == "moved"
    day.take(free("ann"))
    assert day.machine("pi-1").lease == ""


def test_nothing_is_granted_before_its_board_was_heard_here() -> None:
    """The file says what was; that the board still stands there, only the board can say."""
    day = Day()
    machine = moved(day, from_the_file("10.0.0.1"))
    assert (machine.presence, machine.seen_epoch) == (Presence.OFFLINE, 0)
    lease = day.ask("ann", "lease-1", "pi-1")
    assert lease.machines == ()
    day.turn(UpdateAddress(actor("legacy:10.0.0.1"), from_the_file("10.0.0.1").report))
    assert day.lease("lease-1").machines == ("pi-1",)
    assert [kind for kind in day.kinds() if kind.startswith("machine.")] == [
        "machine.imported",
        "machine.online",
    ]


def test_moving_in_again_changes_nothing() -> None:
    """Neither while the lock stands, nor after it was given back, nor when somebody else has the machine by then."""
    day = Day()
    moved(day, from_the_file("10.0.0.1", "ann"))

    def again() -> str:
        before, revision = day.machine("pi-1"), day.pool.revision
        assert moved(day, from_the_file("10.0.0.1", "ann", "moved-again")) == before
        assert day.pool.revision == revision
        return before.lease

    assert again() == "moved"
    day.take(free("ann"))
    assert again() == ""
    day.take(lock("ben", "later"))
    assert again() == "later"


def test_a_board_that_came_before_the_file_is_locked_by_it() -> None:
    """Boards reported here first; the lock that its holder believes in still counts, and nothing else of the file."""
    day = Day()
    board = day.board("old", Mode.LEGACY)
    machine = moved(day, from_the_file(board.address, "ann"))
    assert (machine.name, machine.presence, machine.lease) == ("old", Presence.ONLINE, "moved")


def test_names_that_two_boards_share_are_made_different() -> None:
    day = Day()
    first, second = (moved(day, from_the_file(address)) for address in ("10.0.0.1", "10.0.1.1"))
    assert (first.name, second.name) == ("pi-1", "pi-1-2")


def test_whoever_moves_in_judges_nothing_by_numbers_of_its_own() -> None:
    """A pool may be served meanwhile, by another patience: what is late there is for its service to say."""
    day = Day(Policy(offline_s=7200.0, dead_machine_s=math.inf))
    day.board("quiet")
    assert day.ask("ann", "lease-1", "quiet").machines == ("quiet",)
    day.beats("quiet", silent=True)
    day.passes(3600)

    def happens(policy: Policy) -> list[str]:
        day.policy = policy
        _, _, happened = day.newcomer().turn([from_the_file("10.0.9.9")], day.now, day.wall_us)
        return [event.kind for event in happened]

    assert "machine.offline" in happens(Policy())
    assert happens(Policy().unhurried()) == ["machine.imported"]
