"""The life of a lease, from asking to its end: what a holder, a waiter and everybody else can count on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from picluster.errors import (
    Conflict,
    Held,
    LeaseConflict,
    LeaseLost,
    Malformed,
    NotAllowed,
    NotFound,
    PiclusterError,
    QuotaExceeded,
    Unsatisfiable,
)
from picluster.pool.commands import Acquire, Beat, ForgetAddress, FreeAddress, LockAddress, Release
from picluster.pool.model import Actor, LeaseState, Mode, OnReboot, Role, Service, Token
from tests.pool.day import SLACK_S, Day, actor


@pytest.fixture
def day() -> Day:
    """Two boards that keep nobody out themselves."""
    day = Day()
    day.board("pi-1")
    day.board("pi-2", model="pi4")
    return day


# --- Asking -------------------------------------------------------------------------------------------------


def test_what_is_free_is_held_at_once(day: Day) -> None:
    lease = day.ask("ann", "lease-1", "model:pi5", job="night run")
    assert (lease.state, lease.machines, lease.confirmed) == (LeaseState.HELD, ("pi-1",), True)
    assert day.machine("pi-1").lease == "lease-1"
    assert day.machine("pi-1").fence == lease.fence > 0
    assert [event.kind for event in day.happened] == ["lease.asked", "lease.held"]


def test_a_name_or_an_address_is_a_selector(day: Day) -> None:
    assert day.ask("ann", "lease-1", "PI-2").machines == ("pi-2",)
    assert day.ask("ann", "lease-2", "10.0.0.1").selector == "name:pi-1"


def test_asking_again_is_the_same_lease_and_renews_it(day: Day) -> None:
    """A client whose answer was lost asks again; it must not hold two boards."""
    first = day.ask("ann", "lease-1", asked="body")
    day.passes(100)
    again = day.ask("ann", "lease-1", asked="body")
    assert (again.machines, again.fence) == (first.machines, first.fence)
    day.passes(100)
    assert day.state("lease-1") == "held"
    assert day.kinds().count("lease.held") == 1


def test_asking_twice_in_one_batch_is_answered_twice_with_one_lease(day: Day) -> None:
    """The second request may come from a client whose first connection broke, milliseconds later."""
    ask = day.asking("ann", "lease-1")
    first, second = day.turn(ask, ask)
    assert first == second == day.lease("lease-1")
    assert day.kinds().count("lease.held") == 1


@pytest.mark.parametrize(("who", "asked"), [("ann", "another body"), ("bob", "body")])
def test_an_id_belongs_to_one_person_and_one_wish(day: Day, who: str, asked: str) -> None:
    """The id is no secret, so knowing it must not be enough."""
    day.ask("ann", "lease-1", asked="body")
    with pytest.raises(LeaseConflict):
        day.ask(who, "lease-1", asked=asked)


def test_an_ended_lease_is_remembered_for_a_day(day: Day) -> None:
    """A late retry learns the end and does not start a new lease by accident."""
    day.ask("ann", "lease-1")
    day.release("lease-1")
    day.passes(86_000)
    assert day.ask("ann", "lease-1").ended == "released"
    day.passes(500)
    assert day.ask("ann", "lease-1").state is LeaseState.HELD


def test_nobody_waits_for_what_is_not_there(day: Day) -> None:
    with pytest.raises(Unsatisfiable) as caught:
        day.ask("ann", "lease-1", "model:pi5", count=2)
    assert caught.value.details == {"matching": 1, "asked": 2}


def test_machines_count_as_there_in_whatever_state(day: Day) -> None:
    """A drained or silent board comes back one day; whoever wants it may wait."""
    day.drain("pi-1")
    day.falls_silent("pi-2")
    day.passes(120)
    assert day.ask("ann", "lease-1", count=2).state is LeaseState.WAITING


def test_one_may_wait_for_machines_that_are_not_there_yet(day: Day) -> None:
    lease = day.ask("ann", "lease-1", "shelf:b model:zero", wait_for_machines=True)
    assert lease.state is LeaseState.WAITING
    day.board("zero-1", model="zero", shelf="b")
    assert day.has("lease-1") == "zero-1"


def test_one_person_has_so_many_live_leases_and_no_more(day: Day) -> None:
    """Waiting counts as holding does; ended ones do not; others are not affected."""
    day.ask("ann", "lease-1", "pi-1", quota=2)
    day.ask("ann", "lease-2", "pi-1", quota=2)
    with pytest.raises(QuotaExceeded):
        day.ask("ann", "lease-3", quota=2)
    day.ask("bob", "lease-4", "pi-1", quota=2)
    day.release("lease-2")
    assert day.ask("ann", "lease-5", quota=2).machines == ("pi-2",)


def test_the_quota_is_looked_at_only_when_asking(day: Day) -> None:
    """A lower limit ends nothing that was allowed, and asking again is not asking for more."""
    day.ask("ann", "lease-1", quota=1)
    assert day.renew("lease-1").live
    assert day.ask("ann", "lease-1", quota=1).live


@pytest.mark.parametrize(
    "who", [actor("legacy:ann"), actor("root"), Actor("ci:build", limited=False)], ids=lambda who: who.name
)
def test_robots_admins_and_the_old_protocol_have_no_quota(day: Day, who: Actor) -> None:
    """Behind each of these names stand many jobs."""
    for number in range(3):
        day.take(Acquire(who, f"lease-{number}", "pi-1", quota=1))
    assert day.pool.ledger.roster.live[who.name] == 3


@pytest.mark.parametrize(("who", "highest"), [("legacy:ann", 1), ("ann", 1), ("op", 2), ("root", 3)])
def test_the_role_limits_the_priority(day: Day, who: str, highest: int) -> None:
    assert day.ask(who, "lease-1", priority=highest).live
    with pytest.raises(NotAllowed):
        day.ask(who, "lease-2", priority=highest + 1)


def test_who_does_not_want_to_wait_is_told_who_has_it(day: Day) -> None:
    """Enough to go and ask the holder: who, what for, since when, and until when at most."""
    lease = day.ask("ann", "lease-1", "pi-1", job="night run", ttl_s=600.0)
    day.passes(60)
    with pytest.raises(Held) as caught:
        day.ask("bob", "lease-2", "pi-1", queue=False)
    assert "held by ann for 'night run'" in caught.value.message
    assert "picluster wait" in caught.value.hint
    assert caught.value.details == {
        "machine": "pi-1", "holder": "ann", "job": "night run", "lease": "lease-1",
        "since_us": lease.granted_us, "age_s": 60.0, "expires_in_s": 540.0,
    }  # fmt: skip


@pytest.mark.parametrize(("ttl_s", "left"), [(7200.0, 240.0), (None, 240.0), (120.0, 60.0)])
def test_the_end_that_is_told_is_the_first_one(day: Day, ttl_s: float | None, left: float) -> None:
    """A hard limit counts too, also of a lease that needs no renewal."""
    day.ask("ann", "lease-1", "pi-1", ttl_s=ttl_s, not_after_s=300.0)
    day.passes(60)
    with pytest.raises(Held) as caught:
        day.ask("bob", "lease-2", "pi-1", queue=False)
    assert caught.value.details["expires_in_s"] == left


def test_who_does_not_want_to_wait_is_told_how_many_are_taken(day: Day) -> None:
    day.ask("ann", "lease-1", "pi-1")
    day.drain("pi-2")
    with pytest.raises(Held, match="1 held, 1 drained"):
        day.ask("bob", "lease-2", "", queue=False)


def test_who_does_not_want_to_wait_does_not_pass_who_waits() -> None:
    """Both arrive when the board comes free: the one who waited gets it."""
    day = Day()
    day.board("pi-1")
    day.ask("ann", "lease-1")
    day.ask("bob", "lease-2")
    released, refused = day.turn(day.releasing("lease-1"), day.asking("eve", "lease-3", queue=False))
    assert not isinstance(released, PiclusterError) and isinstance(refused, Held)
    assert day.has("lease-2") == "pi-1"


# --- Waiting ------------------------------------------------------------------------------------------------


@pytest.fixture
def queue_of_two() -> Day:
    """One board; ann holds it, bob waits for it."""
    day = Day()
    day.board("pi-1")
    day.ask("ann", "ann's", ttl_s=None)
    day.ask("bob", "bob's", ttl_s=7200.0)
    return day


def test_a_waiter_who_falls_silent_leaves_the_queue(queue_of_two: Day) -> None:
    """Three long polls missed; and it is not thrown out before."""
    queue_of_two.passes(90 + SLACK_S - 0.1)
    assert queue_of_two.state("bob's") == "waiting"
    queue_of_two.passes(0.1)
    assert queue_of_two.state("bob's") == "gave_up"


def test_a_waiter_who_keeps_asking_keeps_its_place(queue_of_two: Day) -> None:
    place = queue_of_two.lease("bob's").place
    queue_of_two.passes(3600, "bob's")
    assert (queue_of_two.state("bob's"), queue_of_two.lease("bob's").place) == ("waiting", place)


def test_a_waiter_may_cancel(queue_of_two: Day) -> None:
    assert queue_of_two.release("bob's").ended == "cancelled"
    queue_of_two.release("ann's")
    assert queue_of_two.machine("pi-1").lease == ""


def test_a_waiter_waits_no_longer_than_it_wanted(queue_of_two: Day) -> None:
    queue_of_two.ask("eve", "eve's", wait_s=200.0)
    queue_of_two.passes(199, "eve's")
    assert queue_of_two.state("eve's") == "waiting"
    queue_of_two.passes(1, "eve's")
    assert queue_of_two.state("eve's") == "wait_over"


def test_the_time_to_wait_is_over_once_it_holds(queue_of_two: Day) -> None:
    queue_of_two.ask("eve", "eve's", wait_s=200.0, priority=0)
    queue_of_two.release("bob's")
    queue_of_two.release("ann's")
    queue_of_two.passes(300, "eve's")
    assert queue_of_two.state("eve's") == "held"


def test_a_grant_after_waiting_must_be_confirmed(queue_of_two: Day) -> None:
    queue_of_two.release("ann's")
    lease = queue_of_two.lease("bob's")
    assert (lease.machines, lease.confirmed) == (("pi-1",), False)
    queue_of_two.passes(30 + SLACK_S - 0.1)
    assert queue_of_two.state("bob's") == "held"
    queue_of_two.passes(0.1)
    assert queue_of_two.state("bob's") == "unconfirmed"


def by_renewing(day: Day) -> None:
    day.renew("bob's")


def by_asking_again(day: Day) -> None:
    day.ask("bob", "bob's", ttl_s=7200.0)


@pytest.mark.parametrize("confirm", [by_renewing, by_asking_again])
def test_a_confirmed_grant_runs_for_its_ttl(queue_of_two: Day, confirm: Callable[[Day], None]) -> None:
    queue_of_two.release("ann's")
    queue_of_two.passes(29)
    confirm(queue_of_two)
    assert queue_of_two.lease("bob's").confirmed
    queue_of_two.passes(7200)
    assert queue_of_two.state("bob's") == "held"
    assert queue_of_two.kinds().count("lease.confirmed") == 1


def test_a_renewal_before_the_grant_does_not_confirm_it(queue_of_two: Day) -> None:
    """It arrived in the same batch, but its sender could not know of the grant."""
    queue_of_two.turn(queue_of_two.renewal("bob's"), queue_of_two.releasing("ann's"))
    assert queue_of_two.has("bob's") == "pi-1"
    assert not queue_of_two.lease("bob's").confirmed


def test_a_grant_in_the_turn_of_its_own_asking_needs_no_confirmation(day: Day) -> None:
    """The answer that the client is waiting for tells it. Even if the board came free in that very turn."""
    day.ask("ann", "lease-1", "pi-1")
    day.turn(day.releasing("lease-1"), day.asking("bob", "lease-2", "pi-1"))
    assert (day.has("lease-2"), day.lease("lease-2").confirmed) == ("pi-1", True)
    day.passes(100)
    assert day.state("lease-2") == "held"


def test_a_waiter_that_died_costs_the_next_one_less_than_a_minute(queue_of_two: Day) -> None:
    """It asked for two hours, but holds the board only until it is clear that nobody is there."""
    queue_of_two.ask("eve", "eve's")
    queue_of_two.release("ann's")
    queue_of_two.passes(45, "eve's")
    assert queue_of_two.state("bob's") == "unconfirmed"
    assert queue_of_two.has("eve's") == "pi-1"


# --- Staying ------------------------------------------------------------------------------------------------


def test_a_lease_never_ends_before_its_ttl_and_not_much_later(day: Day) -> None:
    day.ask("ann", "lease-1", ttl_s=120.0)
    day.passes(120 + SLACK_S - 0.1)
    assert day.state("lease-1") == "held"
    day.passes(0.1)
    assert day.state("lease-1") == "expired"


def test_a_lease_that_is_renewed_lives(day: Day) -> None:
    day.ask("ann", "lease-1")
    for _ in range(20):
        day.passes(120)
        day.renew("lease-1")
    assert day.state("lease-1") == "held"


def test_a_lease_without_ttl_lives_until_it_is_released(day: Day) -> None:
    day.ask("ann", "lease-1", ttl_s=None)
    day.passes(40_000)
    assert day.release("lease-1").ended == "released"


def test_a_renewal_in_the_batch_is_never_expired_by_it(day: Day) -> None:
    """However long the service was away: who was there in time is heard before time passes."""
    day.ask("ann", "lease-1", "pi-1")
    day.ask("bob", "lease-2", "pi-2")
    day.now += 10_000
    day.turn(day.heard, day.renewal("lease-1"))
    assert (day.state("lease-1"), day.state("lease-2")) == ("held", "expired")


def test_asking_again_in_the_batch_counts_as_a_renewal(day: Day) -> None:
    ask = day.asking("ann", "lease-1")
    day.take(ask)
    day.now += 10_000
    day.turn(ask)
    assert day.state("lease-1") == "held"


def test_a_renewal_never_revives(day: Day) -> None:
    """The reason is told, so that the client can tell its person."""
    day.ask("ann", "lease-1")
    day.passes(130)
    with pytest.raises(LeaseLost) as caught:
        day.renew("lease-1")
    assert caught.value.details == {"ended": "expired", "ended_by": "picluster"}
    assert day.has("lease-1") == ""


def test_only_the_holder_renews(day: Day) -> None:
    day.ask("ann", "lease-1")
    for stranger in ("bob", "root", "legacy:ann"):
        with pytest.raises(NotAllowed):
            day.renew("lease-1", stranger)


def test_a_renewal_may_change_the_ttl_and_the_keys(day: Day) -> None:
    day.ask("ann", "lease-1")
    lease = day.renew("lease-1", ttl_s=600.0, ssh_public_keys=("ssh-ed25519 AAAA",))
    assert (lease.ttl_s, lease.ssh_public_keys) == (600.0, ("ssh-ed25519 AAAA",))
    day.passes(600)
    assert day.renew("lease-1").ttl_s == 600.0
    assert day.kinds().count("lease.changed") == 1


# --- Ending -------------------------------------------------------------------------------------------------


def test_releasing_twice_is_the_same_answer(day: Day) -> None:
    day.ask("ann", "lease-1")
    first = day.release("lease-1")
    assert (first.ended, first.ended_by) == ("released", "ann")
    assert day.release("lease-1") == first
    assert (day.changed, day.happened) == ([], [])


def test_releasing_what_expired_is_no_error(day: Day) -> None:
    day.ask("ann", "lease-1")
    day.passes(130)
    assert day.release("lease-1").ended == "expired"


def test_an_operator_takes_back_with_a_reason(day: Day) -> None:
    """It is somebody's work, so why is recorded."""
    day.ask("ann", "lease-1")
    with pytest.raises(Malformed):
        day.release("lease-1", "op")
    lease = day.release("lease-1", "op", "the lab closes")
    assert (lease.ended, lease.ended_by) == ("taken_back", "op")
    assert day.record[-1].detail["reason"] == "the lab closes"


def test_an_operator_who_takes_back_what_ended_is_told_so_without_a_reason(day: Day) -> None:
    """Nothing is taken from anybody."""
    day.ask("ann", "lease-1")
    ended = day.release("lease-1")
    assert day.release("lease-1", "op") == ended


@pytest.mark.parametrize("stranger", ["bob", "legacy:ann"])
def test_other_users_take_nothing_back(day: Day, stranger: str) -> None:
    day.ask("ann", "lease-1")
    with pytest.raises(NotAllowed):
        day.release("lease-1", stranger, "I need it")


def test_behind_the_shared_key_all_names_are_one(day: Day) -> None:
    """The old switch for it overrides any lock of the old protocol; a reason is still needed."""
    day.lock("ann", "pi-1", "lease-1")
    with pytest.raises(Malformed):
        day.release("lease-1", "legacy:bob")
    assert day.release("lease-1", "legacy:bob", "forgotten?").ended == "taken_back"


def test_the_next_one_gets_the_board_in_the_turn_that_ends_the_lease(queue_of_two: Day) -> None:
    queue_of_two.release("ann's")
    assert queue_of_two.has("bob's") == "pi-1"
    assert queue_of_two.now == 1_000.0


def test_an_expiry_and_the_next_grant_are_one_commit(queue_of_two: Day) -> None:
    """Nobody can see the board free in between."""
    queue_of_two.ask("eve", "eve's", ttl_s=None)
    queue_of_two.release("ann's")
    queue_of_two.passes(30, "eve's")
    queue_of_two.now += SLACK_S
    queue_of_two.wait()
    told = [(event.kind, event.lease) for event in queue_of_two.happened]
    assert told == [("lease.ended", "bob's"), ("lease.held", "eve's")]


def test_the_hard_limit_ends_a_lease_however_it_is_renewed(day: Day) -> None:
    day.ask("ann", "lease-1", not_after_s=600.0)
    day.passes(599, "lease-1")
    assert day.state("lease-1") == "held"
    day.passes(1, "lease-1")
    assert day.state("lease-1") == "not_after"


def test_the_hard_limit_counts_from_the_grant(queue_of_two: Day) -> None:
    """Waiting for long does not shorten the work."""
    queue_of_two.ask("eve", "eve's", not_after_s=600.0, priority=1)
    queue_of_two.release("bob's")
    queue_of_two.passes(1000, "eve's")
    queue_of_two.release("ann's")
    queue_of_two.passes(599, "eve's")
    assert queue_of_two.state("eve's") == "held"
    queue_of_two.passes(1, "eve's")
    assert queue_of_two.state("eve's") == "not_after"


def test_a_board_that_keeps_nobody_out_rests_after_a_lease_that_time_ended(queue_of_two: Day) -> None:
    """A holder that comes back late needs the time to notice and stop."""
    queue_of_two.release("bob's")
    queue_of_two.renew("ann's", ttl_s=120.0)
    queue_of_two.ask("eve", "eve's")
    queue_of_two.passes(120 + SLACK_S, "eve's")
    assert (queue_of_two.state("ann's"), queue_of_two.state("eve's")) == ("expired", "waiting")
    queue_of_two.passes(9.9, "eve's")
    assert queue_of_two.state("eve's") == "waiting"
    queue_of_two.passes(0.1, "eve's")
    assert queue_of_two.has("eve's") == "pi-1"


def test_a_board_rests_too_after_it_was_taken_back(day: Day) -> None:
    """The holder may not know yet."""
    day.ask("ann", "lease-1", "pi-1")
    day.release("lease-1", "op", "needed")
    assert day.ask("bob", "lease-2", "pi-1").state is LeaseState.WAITING
    day.passes(10)
    assert day.has("lease-2") == "pi-1"


def test_no_rest_after_the_holder_itself_said_that_it_is_done(day: Day) -> None:
    day.ask("ann", "lease-1", "pi-1")
    day.release("lease-1")
    assert day.ask("bob", "lease-2", "pi-1").machines == ("pi-1",)


def test_no_rest_after_a_grant_that_nobody_used(queue_of_two: Day) -> None:
    """A client uses no machine before its confirmation is answered."""
    queue_of_two.release("ann's")
    queue_of_two.passes(30 + SLACK_S)
    assert queue_of_two.state("bob's") == "unconfirmed"
    assert queue_of_two.machine("pi-1").delay_until_s == 0.0


def test_no_rest_after_the_boards_own_reboot(day: Day) -> None:
    """Whatever ran on it is gone."""
    day.ask("ann", "lease-1", "pi-1")
    day.reboots("pi-1")
    assert day.state("lease-1") == "reboot"
    assert day.ask("bob", "lease-2", "pi-1").machines == ("pi-1",)


def test_the_other_boards_of_a_lease_rest_after_the_reboot_of_one(day: Day) -> None:
    """Only the one that rebooted is surely empty."""
    day.ask("ann", "lease-1", count=2)
    day.reboots("pi-1")
    assert day.ask("bob", "lease-2", "pi-1").machines == ("pi-1",)
    assert day.ask("eve", "lease-3", "pi-2").state is LeaseState.WAITING
    day.passes(10)
    assert day.has("lease-3") == "pi-2"


# --- Several machines ---------------------------------------------------------------------------------------


def test_several_machines_are_granted_all_or_none(day: Day) -> None:
    day.ask("ann", "lease-1", "pi-1")
    assert day.ask("bob", "lease-2", count=2).machines == ()
    day.release("lease-1")
    assert set(day.lease("lease-2").machines) == {"pi-1", "pi-2"}
    assert day.machine("pi-1").fence == day.machine("pi-2").fence == day.lease("lease-2").fence


def test_who_loses_one_of_several_machines_loses_all(day: Day) -> None:
    """Half a set is of no use, and would be held for nothing."""
    day.ask("ann", "lease-1", count=2)
    day.amend("pi-2", service=Service.QUARANTINED, reason="hot", evict=True)
    assert day.state("lease-1") == "evicted"
    assert (day.machine("pi-1").lease, day.machine("pi-2").lease) == ("", "")
    ended = [event for event in day.record if event.kind == "lease.ended"]
    assert {event.machine for event in ended} == {"pi-1", "pi-2"}


# --- Dead boards --------------------------------------------------------------------------------------------


def dies(day: Day, *renewing: str, seconds: float) -> None:
    """The board loses power, is seen to be offline, and stays so for these seconds."""
    day.falls_silent("pi-1")
    day.passes(90 + SLACK_S, *renewing)
    day.passes(seconds, *renewing)


def test_a_short_outage_of_the_board_does_not_end_the_lease(day: Day) -> None:
    day.ask("ann", "lease-1", "pi-1")
    dies(day, "lease-1", seconds=899)
    day.beats("pi-1")
    day.passes(1000, "lease-1")
    assert day.state("lease-1") == "held"


def test_a_dead_board_ends_the_lease_on_it(day: Day) -> None:
    day.ask("ann", "lease-1", "pi-1")
    dies(day, "lease-1", seconds=900)
    assert day.state("lease-1") == "machine_lost"


def test_whoever_locked_a_board_to_take_it_off_power_keeps_it(day: Day) -> None:
    """Neither an open-ended lease nor a lock of the old protocol ends because the board is silent."""
    day.board("pi-3", Mode.LEGACY)
    day.ask("ann", "open-ended", "pi-1", ttl_s=None)
    day.lock("bob", "pi-3", "old", ttl_s=100_000.0)
    day.falls_silent("pi-1", "pi-3")
    day.passes(5_000)
    assert day.machine("pi-1").presence == day.machine("pi-3").presence == "offline"
    assert (day.state("open-ended"), day.state("old")) == ("held", "held")


def test_a_hard_limit_makes_a_lease_end_with_its_board(day: Day) -> None:
    """It is not open-ended, though it needs no renewal."""
    day.ask("ann", "lease-1", "pi-1", ttl_s=None, not_after_s=100_000.0)
    dies(day, seconds=900)
    assert day.state("lease-1") == "machine_lost"


def test_a_lease_that_is_no_longer_open_ended_ends_with_its_dead_board(day: Day) -> None:
    """Whoever gives it an end wants it to end."""
    day.ask("ann", "lease-1", "pi-1", ttl_s=None)
    dies(day, seconds=2_000)
    day.renew("lease-1", ttl_s=7200.0)
    day.passes(10)
    assert day.state("lease-1") == "machine_lost"


# --- Reboots ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "state", "service"),
    [
        (OnReboot.RELEASE, "reboot", Service.IN_SERVICE),
        (OnReboot.KEEP, "held", Service.IN_SERVICE),
        (OnReboot.QUARANTINE, "reboot", Service.QUARANTINED),
    ],
)
def test_the_lease_says_what_a_reboot_means(day: Day, policy: OnReboot, state: str, service: Service) -> None:
    day.ask("ann", "lease-1", "pi-1", on_reboot=policy)
    assert day.reboots("pi-1").service is service
    assert day.state("lease-1") == state
    assert "machine.rebooted" in day.kinds()


def test_a_reboot_that_was_announced_ends_nothing(day: Day) -> None:
    day.ask("ann", "lease-1", "pi-1", ttl_s=7200.0)
    day.renew("lease-1", expect_reboot_s=300.0)
    day.passes(300)
    day.reboots("pi-1")
    assert day.state("lease-1") == "held"
    day.passes(1)
    day.reboots("pi-1")
    assert day.state("lease-1") == "reboot"


def test_the_same_boot_seen_again_is_no_reboot(day: Day) -> None:
    """A short outage of the network, or of the agent."""
    day.ask("ann", "lease-1", "pi-1")
    day.beats("pi-1", labels={"camera": ""})
    assert day.state("lease-1") == "held"


# --- Enforced boards ----------------------------------------------------------------------------------------


def test_an_enforced_board_is_ready_once_it_lets_the_holder_in() -> None:
    day = Day()
    day.board("pi-1", Mode.ENFORCED)
    assert not day.ask("ann", "lease-1").ready
    day.opens("pi-1")
    assert day.lease("lease-1").ready


def test_several_boards_are_ready_when_the_last_one_is() -> None:
    day = Day()
    day.board("pi-1", Mode.ENFORCED)
    day.board("pi-2", Mode.ENFORCED)
    day.board("pi-3")
    day.ask("ann", "lease-1", count=3)
    day.opens("pi-1")
    assert not day.lease("lease-1").ready
    day.opens("pi-2")
    assert day.lease("lease-1").ready


# --- Refusals -----------------------------------------------------------------------------------------------


def _token(day: Day) -> None:
    day.issue(Token("t-1", "person", "ann", Role.USER, "digest"))


REFUSALS: dict[str, tuple[type[PiclusterError], Callable[[Day], object]]] = {
    "another body": (LeaseConflict, lambda day: day.ask("ann", "lease-1", asked="other")),
    "another person": (LeaseConflict, lambda day: day.ask("bob", "lease-1", asked="body")),
    "priority": (NotAllowed, lambda day: day.ask("bob", "lease-2", priority=2)),
    "quota": (QuotaExceeded, lambda day: day.ask("ann", "lease-2", quota=1)),
    "unsatisfiable": (Unsatisfiable, lambda day: day.ask("bob", "lease-2", "model:pi4", count=3)),
    "no such label": (Malformed, lambda day: day.ask("bob", "lease-2", "shelf:b")),
    "held": (Held, lambda day: day.ask("bob", "lease-2", "pi-1", queue=False)),
    "too few free": (Held, lambda day: day.ask("bob", "lease-2", count=2, queue=False)),
    "locked": (Held, lambda day: day.lock("bob", "pi-1", "lease-2")),
    "lock nothing": (
        NotFound,
        lambda day: day.take(LockAddress(actor("legacy:bob"), "lease-2", "10.0.0.99")),
    ),
    "free nothing": (NotFound, lambda day: day.take(FreeAddress(actor("legacy:bob"), "10.0.0.99"))),
    "delete nothing": (NotFound, lambda day: day.take(ForgetAddress(actor("legacy:bob"), "10.0.0.99"))),
    "forget nothing": (NotFound, lambda day: day.forget("pi-9")),
    "renew ended": (LeaseLost, lambda day: day.renew("over")),
    "renew unknown": (LeaseLost, lambda day: day.renew("nobody's", "ann")),
    "renew another's": (NotAllowed, lambda day: day.renew("lease-1", "bob")),
    "release unknown": (NotFound, lambda day: day.release("nobody's", "ann")),
    "release another's": (NotAllowed, lambda day: day.release("lease-1", "bob", "mine")),
    "release without a reason": (Malformed, lambda day: day.release("lease-1", "op")),
    "free another's": (Held, lambda day: day.free("bob", "old")),
    "free a modern lease": (Held, lambda day: day.free("ann", "pi-1")),
    "a beat for another board": (
        NotAllowed,
        lambda day: day.take(
            Beat(Actor("pi-2", Role.AGENT, machine="pi-2"), "pi-1", day.boards["pi-1"].report)
        ),
    ),
    "labels by a user": (NotAllowed, lambda day: day.amend("pi-1", "bob", labels={"rack": "b"})),
    "drain by a user": (NotAllowed, lambda day: day.amend("pi-1", "bob", service=Service.DRAINED)),
    "evict by a user": (NotAllowed, lambda day: day.amend("pi-1", "bob", evict=True)),
    "reason by a user": (NotAllowed, lambda day: day.amend("pi-1", "bob", reason="because")),
    "amend unknown": (NotFound, lambda day: day.amend("pi-9", comment="?")),
    "forget by a user": (NotAllowed, lambda day: day.forget("pi-2", "bob")),
    "forget what is held": (Conflict, lambda day: day.forget("pi-1")),
    "delete what is locked": (Conflict, lambda day: day.delete("bob", "old")),
    "delete an enrolled board": (Conflict, lambda day: day.delete("bob", "pi-2")),
    "a token twice": (Conflict, _token),
    "redeem nothing": (
        NotFound,
        lambda day: day.issue(Token("t-2", "person", "bob", Role.USER, "digest"), redeeming="t-9"),
    ),
    "revoke unknown": (NotFound, lambda day: day.revoke("t-9")),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_leaves_no_trace(day: Day, refusal: str) -> None:
    """Not a row, not an event, not a number used up, and nobody counts as heard."""
    day.board("old", Mode.LEGACY, model="zero")
    day.ask("ann", "over", "pi-2")
    day.release("over")
    day.ask("ann", "lease-1", "pi-1", asked="body")
    day.lock("ann", "old", "old lease")
    _token(day)
    day.now += 1
    before = day.everything()
    error, provoke = REFUSALS[refusal]
    with pytest.raises(error):
        provoke(day)
    assert day.everything() == before
    assert (day.changed, day.happened, day.pool.heard_now) == ([], [], [])


def test_what_is_not_refused_leaves_a_trace(day: Day) -> None:
    """The comparison above sees a change when there is one."""
    day.ask("ann", "lease-1", "pi-1")
    before = day.everything()
    day.turn(Release(actor("ann"), "lease-1"))
    assert day.everything() != before
