"""Several replicas, one history: whoever turns next, after catching up, decides what any other would decide."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from picluster.errors import PiclusterError
from picluster.pool.commands import Command, Hear
from picluster.pool.model import Heard, LeaseState, Mode, Presence, Role, Row, Service, Token
from picluster.pool.pool import Answer, Pool
from tests.pool.day import Day

Decision = tuple[list[object], list[Row], list[object]]


def said(answers: Iterable[Answer]) -> list[object]:
    """Refusals by what they say, for no two exceptions are equal."""
    return [one.as_json() if isinstance(one, PiclusterError) else one for one in answers]


def decision(pool: Pool, commands: Iterable[Command], day: Day) -> Decision:
    answers, changed, happened = pool.turn(list(commands), day.now, day.wall_us)
    return said(answers), list(changed), list(happened)


class TwoReplicas(Day):
    """A day on which two take turns, and a third that has just started looks over their shoulder at each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.other = Pool(self.policy)

    def turn(self, *commands: Command) -> list[Answer]:
        newcomer = decision(self.newcomer(), commands, self)
        self.hand_over()
        answers = super().turn(*commands)
        assert (said(answers), list(self.changed), list(self.happened)) == newcomer
        return answers

    def hand_over(self) -> None:
        """The other one catches up, as at the beginning of its turn, and goes on."""
        self.other.merge(self.missed_by(self.other), self.pool.state)
        self.other.hear(
            self.stored_heard[name]
            for name in self.other.falling_silent(self.now)
            if name in self.stored_heard
        )
        self.pool, self.other = self.other, self.pool

    def missed_by(self, pool: Pool) -> list[Row]:
        newer = (row for row in self.stored.values() if row.revision > pool.revision)
        return sorted(newer, key=lambda row: row.revision)


# --- Stories that two tell as one ---------------------------------------------------------------------------


def a_queue(day: Day) -> None:
    day.board("pi-1")
    day.ask("kim", "kim")
    for who in ("ann", "bob", "eve"):
        day.ask(who, who, ttl_s=600.0)
    day.ask("op", "op", priority=2)
    day.release("kim")
    assert day.has("op") == "pi-1"
    day.passes(60, "ann", "eve", "bob")
    assert day.has("ann") == "pi-1"
    day.passes(130, "eve", "bob")
    day.release("ann", "op", "enough")
    day.passes(20, "eve", "bob")
    assert day.has("bob") == "pi-1"


def setting_aside(day: Day) -> None:
    for name in ("pi-1", "pi-2", "pi-3"):
        day.board(name)
    day.ask("kim", "kim", "pi-1", ttl_s=100_000.0)
    day.ask("ann", "ann", count=3)
    day.ask("eve", "eve", count=2)
    assert len(day.lease("ann").set_aside) == 2
    day.passes(1800, "ann", "eve")
    assert len(day.lease("eve").machines) == 2
    day.release("eve")
    day.passes(1800, "ann")
    assert len(day.lease("ann").set_aside) == 2
    day.release("kim")
    assert len(day.lease("ann").machines) == 3


def cleaning_and_failing(day: Day) -> None:
    day.board("pi-1", Mode.ENFORCED)
    day.board("pi-2", Mode.ENFORCED)
    day.ask("ann", "ann", count=2)
    day.ask("bob", "bob", "pi-1")
    day.opens("pi-1")
    day.opens("pi-2")
    day.reboots("pi-1")
    day.closes("pi-1")
    assert day.has("bob") == "pi-1"
    day.passes(125, "bob")
    assert day.machine("pi-2").service is Service.QUARANTINED
    day.falls_silent("pi-1")
    day.passes(1_100, "bob")
    assert day.state("bob") == "machine_lost"
    day.beats("pi-1")
    day.closes("pi-1", clean=False)
    day.closes("pi-1", clean=False)
    assert day.machine("pi-1").service is Service.QUARANTINED


def old_and_new(day: Day) -> None:
    day.board("old", Mode.LEGACY)
    day.board("new")
    day.lock("ann", "old", "lock")
    day.ask("bob", "bob", "name:(old|new)", count=2)
    day.falls_silent("old")
    day.passes(400, "bob")
    day.board("agent", Mode.ENFORCED, address=day.boards["old"].address)
    assert day.has("lock") == "agent"
    day.free("ann", "agent")
    day.closes("agent")
    day.amend("agent", labels={"rack": "b"})
    assert day.ask("eve", "eve", "rack:b").machines == ("agent",)
    with pytest.raises(PiclusterError):
        day.forget("agent")
    day.release("eve")
    day.forget("agent")


def going_back(day: Day) -> None:
    day.board("pi-1", Mode.ENFORCED)
    day.board("pi-2")
    day.ask("ann", "ann", "pi-2")
    day.raise_epoch()
    day.ask("bob", "bob", "pi-1")
    day.beats("pi-1", fence=day.pool.revision + 5_000_000, closed=False)
    assert day.has("bob") == ""
    day.closes("pi-1")
    day.passes(5, "bob")
    assert day.has("bob") == "pi-1"
    day.passes(500, "bob")
    assert day.state("ann") == "expired"


def credentials(day: Day) -> None:
    day.issue(Token("t-link", "setup", "setup", Role.ADMIN, "digest"))
    day.issue(Token("t-root", "person", "root", Role.ADMIN, "digest"), redeeming="t-link")
    with pytest.raises(PiclusterError):
        day.issue(Token("t-thief", "person", "thief", Role.ADMIN, "digest"), redeeming="t-link")
    day.revoke("t-root")


def forgetting(day: Day) -> None:
    day.board("pi-1")
    day.ask("ann", "ann")
    day.release("ann")
    day.forget("pi-1")
    day.falls_silent("pi-1")
    day.now += 90_000
    day.wait()
    assert "ann" not in day.pool.ledger.roster.leases
    assert "pi-1" not in day.pool.ledger.roster.tombstones


def the_same_board(day: Day) -> None:
    """Two with one identity: which of them had it first does not depend on what changed last."""
    day.issue(Token("shelf", "join", "shelf", Role.JOIN, "digest", uses_left=9))
    day.board("first")
    day.now += 1
    day.board("second")
    day.beats("second", serial="serial-first")
    day.undrain("second")
    day.now += 1
    day.amend("first", comment="changed last")
    assert day.joins("again", "shelf", serial="serial-first", boot=7).name == "first"
    day.forget("first")
    assert day.joins("and again", "shelf", serial="serial-first", boot=8).name == "second"
    day.undrain("second")
    day.joins("and again", "shelf", serial="serial-first", boot=9)
    day.now += 90_000
    day.wait()


def ailing_and_judged(day: Day) -> None:
    for number in (1, 2, 3):
        day.board(f"pi-{number}")
    day.ask("ann", "ann", "pi-1")
    day.opens("pi-1")
    day.beats("pi-1", telemetry={"under_voltage": True})
    day.release("ann")
    day.ends("pi-1", hot=0, disk=0, under_voltage=1)
    for number in (2, 3):
        day.beats(f"pi-{number}", telemetry={"clock_us": 1})
    day.ask("bob", "bob", "pi-2")
    day.release("bob")
    day.passes(1_000)
    day.reboots("pi-3")


STORIES = (
    a_queue,
    setting_aside,
    cleaning_and_failing,
    old_and_new,
    going_back,
    credentials,
    forgetting,
    the_same_board,
    ailing_and_judged,
)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_replicas_that_take_turns_decide_as_one_alone(story: Callable[[Day], None]) -> None:
    """Same rows, same fences, same record; and so does one that only just started, at every single turn."""
    alone, together = Day(), TwoReplicas()
    story(alone)
    story(together)
    assert together.stored == alone.stored
    assert together.record == alone.record


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_one_that_catches_up_once_at_the_end_knows_the_same(story: Callable[[Day], None]) -> None:
    """However much it missed. Only what is forgotten already need not be there."""
    day = Day()
    story(day)
    late = day.newcomer()
    mine, theirs = late.ledger.roster, day.pool.ledger.roster
    assert (mine.machines, mine.aside, mine.live) == (theirs.machines, theirs.aside, theirs.live)
    assert {lease for lease in mine.leases.values() if lease.live} == {
        lease for lease in theirs.leases.values() if lease.live
    }
    assert (late.revision, late.now, late.state.epoch) == (day.pool.revision, day.now, day.pool.state.epoch)


# --- What makes them agree ----------------------------------------------------------------------------------


def test_one_that_has_not_caught_up_would_grant_the_same_board_again() -> None:
    """So the comparison above can fail; and this is why every turn begins with catching up."""
    day = Day()
    day.board("pi-1")
    behind = day.newcomer()
    day.ask("ann", "ann")
    (answer, *_), *_ = decision(behind, [day.asking("bob", "bob")], day)
    assert getattr(answer, "machines", None) == ("pi-1",)
    (answer, *_), *_ = decision(day.newcomer(), [day.asking("bob", "bob")], day)
    assert getattr(answer, "state", None) is LeaseState.WAITING


def test_a_row_that_got_lost_on_the_way_is_noticed() -> None:
    """A control: the stories would fail if catching up left out a single row."""

    class Forgetful(TwoReplicas):
        def missed_by(self, pool: Pool) -> list[Row]:
            return super().missed_by(pool)[1:]

    with pytest.raises((AssertionError, KeyError)):
        a_queue(Forgetful())


def test_a_board_that_another_replica_heard_is_not_silent() -> None:
    """Plain beats have no revision, so before a board is called silent its presence row is read."""
    day = Day()
    day.board("pi-1")
    here, there = day.newcomer(), day.newcomer()
    day.now += 80
    _, heard = there.turn([Hear((Heard("pi-1", boot_id="boot-1"),))], day.now, day.wall_us), there.heard_now
    day.now += 20
    assert here.falling_silent(day.now) == ["pi-1"]
    here.hear(heard)
    assert here.falling_silent(day.now) == []
    decision(here, [], day)
    assert here.ledger.roster.machines["pi-1"].presence is Presence.ONLINE


def test_without_reading_the_presence_row_it_would_be_called_silent() -> None:
    """The control to the story above."""
    day = Day()
    day.board("pi-1")
    here = day.newcomer()
    day.now += 100
    assert here.falling_silent(day.now) == ["pi-1"]
    decision(here, [], day)
    assert here.ledger.roster.machines["pi-1"].presence is Presence.OFFLINE


def test_an_older_presence_row_does_not_make_a_board_older() -> None:
    day = Day()
    day.board("pi-1")
    old = day.pool.ledger.heard["pi-1"]
    day.passes(50)
    day.pool.hear([replace(old, heard_s=old.heard_s - 10)])
    assert day.pool.ledger.heard["pi-1"].heard_s == day.now


def test_time_is_adopted_even_when_nothing_else_is_new() -> None:
    """Equal revision is not equal time: another replica has pulsed meanwhile."""
    day = Day()
    day.board("pi-1")
    behind = day.newcomer()
    day.passes(60)
    assert behind.revision == day.pool.revision
    behind.merge((), day.pool.state)
    assert behind.now == day.now


def test_service_time_never_goes_back_in_a_pool() -> None:
    """Whatever a caller brings along."""
    day = Day()
    day.board("pi-1")
    day.ask("ann", "ann")
    day.passes(50, "ann")
    day.pool.turn([], day.now - 1_000, day.wall_us)
    assert day.pool.now == day.now


def test_a_token_revoked_by_one_replica_is_revoked_for_the_other() -> None:
    day = TwoReplicas()
    day.issue(Token("t-ann", "person", "ann", Role.USER, "digest"))
    day.revoke("t-ann")
    day.wait()
    assert day.token("t-ann").revoked
    assert day.other.ledger.roster.tokens["t-ann"].revoked


def test_a_new_epoch_holds_for_the_other_replica_too() -> None:
    day = TwoReplicas()
    day.board("pi-1")
    day.raise_epoch()
    assert day.ask("ann", "ann").machines == ()
    day.beats("pi-1")
    assert day.has("ann") == "pi-1"
