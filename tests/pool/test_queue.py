"""Who gets what comes free: the order in which people are served, and what is kept for those who need several."""

from __future__ import annotations

from dataclasses import replace

import pytest

from picluster.errors import Held
from picluster.pool.explain import ahead, state_of, why_waiting
from picluster.pool.model import Mode, Service
from tests.pool.day import Day


def taken(*boards: str) -> Day:
    """Boards that are all held, each by a lease of its own name without an end in sight but with one."""
    day = Day()
    for name in boards:
        day.board(name)
        day.ask("kim", name, name, ttl_s=100_000.0)
    return day


def served(day: Day, *waiting: str) -> list[str]:
    """These waiters in the order in which the one board of this day goes to them."""
    order = []
    for _ in waiting:
        (holder,) = [machine.lease for machine in day.pool.ledger.roster.machines.values()]
        day.release(holder)
        order.append(day.machine("pi-1").lease)
    return order


# --- The order ----------------------------------------------------------------------------------------------


def test_first_come_first_served() -> None:
    day = taken("pi-1")
    for who in ("ann", "bob", "eve"):
        day.ask(who, who)
        day.passes(5)
    assert served(day, "ann", "bob", "eve") == ["ann", "bob", "eve"]


def test_who_comes_in_the_same_batch_is_served_in_its_order() -> None:
    """The place in the queue is a number that no two have."""
    day = taken("pi-1")
    day.turn(*(day.asking(who, who) for who in ("eve", "ann", "bob")))
    assert day.lease("eve").joined_s == day.lease("bob").joined_s
    assert served(day, "eve", "ann", "bob") == ["eve", "ann", "bob"]


def test_priority_goes_before_time() -> None:
    day = taken("pi-1")
    for who, priority in (("ann", 0), ("bob", 1), ("op", 2), ("root", 3)):
        day.ask(who, who, priority=priority)
    assert served(day, "root", "op", "bob", "ann") == ["root", "op", "bob", "ann"]


@pytest.mark.parametrize(("head_start_s", "first"), [(895, "bob"), (905, "ann")])
def test_a_quarter_of_an_hour_of_waiting_is_worth_one_priority(head_start_s: float, first: str) -> None:
    """So nobody is passed for ever, however many important people there are."""
    day = taken("pi-1")
    day.ask("ann", "ann", priority=0)
    day.passes(head_start_s, "ann")
    day.ask("bob", "bob", priority=1)
    assert served(day, "one", "two")[0] == first


def test_with_equal_keys_the_earlier_place_wins() -> None:
    """Exactly fifteen minutes later with one priority more: the one who has waited comes first."""
    day = taken("pi-1")
    day.ask("ann", "ann", priority=0)
    day.passes(900, "ann")
    day.ask("bob", "bob", priority=1)
    assert served(day, "one", "two") == ["ann", "bob"]


def test_renewing_and_asking_again_move_nobody() -> None:
    day = taken("pi-1")
    day.ask("ann", "ann")
    day.ask("bob", "bob")
    day.renew("bob")
    day.ask("bob", "bob")
    assert served(day, "ann", "bob") == ["ann", "bob"]


def test_waiters_of_all_selectors_stand_in_one_queue() -> None:
    """However differently they say it: who came first and can use the board gets it."""
    day = taken("pi-1")
    for who, selector in (("ann", "name:pi-1"), ("bob", "model:pi5"), ("eve", ""), ("lea", "10.0.0.1")):
        day.ask(who, who, selector)
    assert served(day, *"1234") == ["ann", "bob", "eve", "lea"]


def test_who_wants_something_else_is_not_waited_for() -> None:
    day = taken("pi-1", "pi-2")
    day.ask("ann", "ann", "pi-2")
    day.ask("bob", "bob", "pi-1")
    day.release("pi-1")
    assert (day.has("ann"), day.has("bob")) == ("", "pi-1")


def test_boards_with_few_labels_go_first_so_that_rare_ones_stay_free() -> None:
    day = Day()
    day.board("camera-1", camera="")
    day.board("pi-1")
    assert day.ask("ann", "ann").machines == ("pi-1",)
    assert day.ask("bob", "bob", "tag:camera").machines == ("camera-1",)


def test_a_board_that_starts_to_match_goes_to_who_waits_for_it() -> None:
    day = Day()
    day.board("pi-1")
    day.ask("ann", "ann", "tag:camera", wait_for_machines=True)
    day.amend("pi-1", labels={"camera": ""})
    assert day.has("ann") == "pi-1"


def test_a_waiter_is_told_its_place_and_what_it_waits_for() -> None:
    day = taken("pi-1", "pi-2")
    day.ask("ann", "ann", "pi-1")
    day.ask("bob", "bob", count=2)
    roster = day.pool.ledger.roster
    assert (ahead(roster, day.lease("ann")), ahead(roster, day.lease("bob"))) == (0, 1)
    assert why_waiting(roster, day.lease("bob")) == "2 of 2 matching needed: 2 locked. 1 ahead of you."


# --- Setting aside ------------------------------------------------------------------------------------------


@pytest.fixture
def collecting() -> Day:
    """kim holds pi-1, pi-2 is free, and ann waits for both."""
    day = taken("pi-1", "pi-2")
    day.release("pi-2")
    day.ask("ann", "ann", count=2)
    return day


def test_what_a_lease_of_several_can_have_already_is_kept_for_it(collecting: Day) -> None:
    """Else single jobs would take board after board, and it would never have enough at once."""
    assert collecting.lease("ann").set_aside == ("pi-2",)
    collecting.ask("bob", "bob")
    assert collecting.has("bob") == ""
    collecting.release("pi-1")
    assert collecting.has("ann") in ("pi-1 pi-2", "pi-2 pi-1")


def test_who_waits_alone_and_holds_nothing_sets_nothing_aside() -> None:
    """A single board that is free is granted, so there is nothing to keep."""
    day = taken("pi-1")
    day.ask("ann", "ann")
    assert day.lease("ann").set_aside == ()


def test_what_is_set_aside_is_kept_from_locks_of_the_old_protocol() -> None:
    day = taken("pi-1")
    day.board("old", Mode.LEGACY)
    day.ask("ann", "ann", count=2)
    assert day.lease("ann").set_aside == ("old",)
    with pytest.raises(Held, match="set_aside"):
        day.lock("bob", "old", "bob")
    day.release("ann")
    assert day.lock("bob", "old", "bob").lease == "bob"


def test_what_is_set_aside_is_kept_from_who_does_not_want_to_wait(collecting: Day) -> None:
    with pytest.raises(Held, match="1 held, 1 set aside"):
        collecting.ask("bob", "bob", queue=False)


def test_what_is_set_aside_is_not_kept_from_who_stands_before(collecting: Day) -> None:
    """Waiting for many is no way to pass those who are more urgent."""
    assert collecting.ask("root", "root", priority=3).machines == ("pi-2",)
    assert collecting.lease("ann").set_aside == ()


def test_what_is_set_aside_is_seen(collecting: Day) -> None:
    """The lists say for whom a free board is kept, and the waiter what it has so far."""
    roster = collecting.pool.ledger.roster
    assert state_of(roster, collecting.machine("pi-2")) == "set_aside"
    assert roster.aside == {"pi-2": "ann"}
    assert why_waiting(roster, collecting.lease("ann")).endswith("Set aside for you meanwhile: pi-2.")


def test_half_an_hour_of_keeping_then_half_an_hour_of_letting_go(collecting: Day) -> None:
    """Machines do not stand idle for hours because somebody wants many; and single jobs are not first for ever."""
    collecting.ask("bob", "bob", ttl_s=600.0)
    collecting.passes(1795, "ann", "bob")
    assert collecting.lease("ann").set_aside == ("pi-2",)
    collecting.passes(5, "ann", "bob")
    assert (collecting.lease("ann").set_aside, collecting.has("bob")) == ((), "pi-2")
    collecting.renew("bob")
    collecting.release("bob")
    collecting.passes(1795, "ann")
    assert collecting.lease("ann").set_aside == ()
    collecting.passes(5, "ann")
    assert collecting.lease("ann").set_aside == ("pi-2",)


def test_in_the_pause_it_keeps_its_place_and_takes_what_is_enough(collecting: Day) -> None:
    """Letting go is not leaving: when enough is free at once, it is first."""
    place = collecting.lease("ann").place
    collecting.passes(2000, "ann")
    collecting.ask("bob", "bob", "pi-1")
    assert collecting.lease("ann").set_aside == ()
    collecting.release("pi-1")
    assert collecting.lease("ann").place == place
    assert set(collecting.lease("ann").machines) == {"pi-1", "pi-2"}


def test_in_the_pause_the_next_of_the_same_kind_does_not_keep_them_instead(collecting: Day) -> None:
    """Else a row of such leases would keep machines idle without end."""
    collecting.ask("eve", "eve", count=2)
    collecting.passes(1800, "ann", "eve")
    assert collecting.lease("ann").set_aside == collecting.lease("eve").set_aside == ()
    assert collecting.ask("bob", "bob").machines == ("pi-2",)


def test_nothing_is_kept_for_what_cannot_be_enough(collecting: Day) -> None:
    """With the other board drained there is nothing to collect; when it is back there is."""
    collecting.drain("pi-1")
    assert collecting.lease("ann").set_aside == ()
    assert collecting.ask("bob", "bob").machines == ("pi-2",)
    collecting.release("bob")
    collecting.undrain("pi-1")
    assert collecting.lease("ann").set_aside == ("pi-2",)


def test_nothing_is_kept_while_another_board_is_held_without_an_end() -> None:
    """A lock of weeks is nothing to collect for."""
    day = Day()
    day.board("pi-1")
    day.board("pi-2")
    day.ask("kim", "kim", "pi-1", ttl_s=None)
    day.ask("ann", "ann", count=2)
    assert day.lease("ann").set_aside == ()
    assert day.ask("bob", "bob").machines == ("pi-2",)


def test_keeping_ends_when_a_lease_becomes_open_ended_and_begins_when_it_gets_an_end(collecting: Day) -> None:
    """The holder says so with a renewal."""
    collecting.renew("pi-1", ttl_s=None)
    assert collecting.lease("ann").set_aside == ()
    collecting.renew("pi-1", ttl_s=600.0)
    assert collecting.lease("ann").set_aside == ("pi-2",)


def test_a_hard_limit_is_an_end_to_wait_for() -> None:
    day = Day()
    day.board("pi-1")
    day.board("pi-2")
    day.ask("kim", "kim", "pi-1", ttl_s=None, not_after_s=600.0)
    day.ask("ann", "ann", count=2)
    assert day.lease("ann").set_aside == ("pi-2",)


def test_whoever_gives_up_lets_go_of_what_was_kept(collecting: Day) -> None:
    collecting.ask("bob", "bob")
    collecting.release("ann")
    assert collecting.has("bob") == "pi-2"


def test_whoever_falls_silent_lets_go_of_what_was_kept(collecting: Day) -> None:
    collecting.ask("bob", "bob")
    collecting.passes(100, "bob")
    assert (collecting.state("ann"), collecting.has("bob")) == ("gave_up", "pi-2")


def test_what_was_kept_and_is_not_needed_goes_to_the_next(collecting: Day) -> None:
    """Two fresh boards at once are enough, and better than the one that was kept: it goes to bob, who asked for it."""
    collecting.ask("bob", "bob", "pi-2")
    collecting.boards |= {
        name: replace(collecting.boards["pi-2"], name=name, host=name, address=address)
        for name, address in (("pi-3", "10.0.0.3"), ("pi-4", "10.0.0.4"))
    }
    collecting.turn(collecting.boards["pi-3"].beat, collecting.boards["pi-4"].beat)
    assert (set(collecting.lease("ann").machines), collecting.has("bob")) == ({"pi-3", "pi-4"}, "pi-2")


def test_what_is_kept_goes_over_to_who_comes_later_and_stands_before(collecting: Day) -> None:
    """A board is set aside for one at a time."""
    collecting.ask("op", "op", "name:(pi-1|pi-2)", count=2, priority=2)
    assert (collecting.lease("op").set_aside, collecting.lease("ann").set_aside) == (("pi-2",), ())
    collecting.release("op")
    assert collecting.lease("ann").set_aside == ("pi-2",)


def test_the_next_of_its_kind_keeps_machines_when_the_one_who_paused_leaves(collecting: Day) -> None:
    """The pause was that lease's, and ends with it."""
    collecting.ask("eve", "eve", count=2)
    collecting.passes(2_000, "ann", "eve")
    collecting.release("ann")
    assert collecting.lease("eve").set_aside == ("pi-2",)


def test_nothing_is_kept_for_a_set_of_which_one_was_forgotten() -> None:
    """A silent board may come back, and is waited for; a forgotten one does not."""
    day = Day()
    for name in ("pi-1", "pi-2"):
        day.board(name)
    day.falls_silent("pi-1")
    day.passes(100)
    day.ask("ann", "ann", count=2)
    day.ask("bob", "bob")
    assert (day.lease("ann").set_aside, day.has("bob")) == (("pi-2",), "")
    day.forget("pi-1")
    assert day.has("bob") == "pi-2"


def test_what_is_lost_while_it_is_kept_is_kept_no_longer(collecting: Day) -> None:
    """A board that falls silent or is drained is not free, and what is not free is set aside for nobody."""
    collecting.falls_silent("pi-2")
    collecting.passes(100, "ann")
    assert collecting.lease("ann").set_aside == ()
    collecting.beats("pi-2")
    assert collecting.lease("ann").set_aside == ("pi-2",)
    collecting.drain("pi-2")
    assert collecting.lease("ann").set_aside == ()


def test_two_who_collect_do_not_block_each_other() -> None:
    """Nobody holds while waiting: the first gets all it needs, then the second."""
    day = taken("pi-1", "pi-2", "pi-3")
    day.ask("ann", "ann", count=2)
    day.ask("bob", "bob", "name:(pi-1|pi-2|pi-3)", count=2)
    day.release("pi-1")
    assert (day.lease("ann").set_aside, day.lease("bob").set_aside) == (("pi-1",), ())
    day.release("pi-2")
    assert set(day.lease("ann").machines) == {"pi-1", "pi-2"}
    day.release("ann")
    assert set(day.lease("bob").machines) == {"pi-1", "pi-2"}


def test_a_big_lease_is_not_passed_for_ever_by_small_ones(collecting: Day) -> None:
    """Small jobs come every minute and run for ten: within two windows the big one has its boards."""
    collecting.renew("pi-1", ttl_s=600.0)
    for minute in range(90):
        if collecting.has("ann"):
            break
        collecting.ask("bob", f"job-{minute}", ttl_s=600.0, priority=1)
        jobs = [f"job-{earlier}" for earlier in range(minute + 1)]
        waiting = [job for job in jobs if collecting.state(job) == "waiting"]
        unconfirmed = [
            job for job in jobs if collecting.state(job) == "held" and not collecting.lease(job).confirmed
        ]
        collecting.passes(60, "ann", *waiting, *unconfirmed)
    assert set(collecting.has("ann").split()) == {"pi-1", "pi-2"}


def test_a_quarantined_board_is_nothing_to_wait_for(collecting: Day) -> None:
    collecting.amend("pi-1", service=Service.QUARANTINED, reason="hot")
    assert collecting.lease("ann").set_aside == ()
