"""What boards say, and what that changes: when they may be granted, and when somebody has to look at them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from picluster.errors import Conflict, Held, Malformed, NotAllowed
from picluster.pool.boards import plain
from picluster.pool.commands import Beat, Hear, UpdateAddress
from picluster.pool.model import Actor, Heard, Mode, OnReboot, Presence, Role, Service
from picluster.pool.policy import Policy
from tests.pool.day import SLACK_S, Day, actor

DAY_US = Policy().future_us


@pytest.fixture
def day() -> Day:
    """One board of each kind."""
    day = Day()
    day.board("enforced", Mode.ENFORCED)
    day.board("advisory", Mode.ADVISORY)
    day.board("old", Mode.LEGACY)
    return day


# --- Appearing and disappearing -----------------------------------------------------------------------------


def test_a_board_that_says_hello_can_be_leased(day: Day) -> None:
    machine = day.board("new")
    assert (machine.service, machine.presence, machine.fence) == (Service.IN_SERVICE, Presence.ONLINE, 0)
    assert day.record[-1].kind == "machine.registered"
    assert day.ask("ann", "lease-1", "new").machines == ("new",)


def test_a_silent_board_goes_offline_after_three_missed_beats(day: Day) -> None:
    day.falls_silent("advisory")
    day.passes(90 + SLACK_S - 0.1)
    assert day.machine("advisory").presence is Presence.ONLINE
    day.passes(0.1)
    assert day.machine("advisory").presence is Presence.OFFLINE
    assert day.record[-1].kind == "machine.offline"


def test_a_board_of_the_old_protocol_has_five_minutes(day: Day) -> None:
    day.falls_silent("old")
    day.passes(300)
    assert day.machine("old").presence is Presence.ONLINE
    day.passes(SLACK_S)
    assert day.machine("old").presence is Presence.OFFLINE


def test_a_beat_in_the_batch_counts_before_time_does(day: Day) -> None:
    """However long the service was away: who is heard now is not declared silent now."""
    day.now += 10_000
    day.turn(Hear((Heard("enforced"),)), day.boards["advisory"].beat, day.boards["old"].beat)
    assert {day.machine(name).presence for name in day.boards} == {Presence.ONLINE}
    assert "machine.offline" not in day.kinds()
    day.now += 10_000
    day.wait()
    assert {day.machine(name).presence for name in day.boards} == {Presence.OFFLINE}


def test_an_offline_board_is_granted_when_it_is_back(day: Day) -> None:
    day.falls_silent("advisory")
    day.passes(100)
    day.ask("ann", "lease-1", "advisory")
    assert day.has("lease-1") == ""
    day.beats("advisory")
    assert day.has("lease-1") == "advisory"


def test_a_late_beat_does_not_overtake_a_newer_one(day: Day) -> None:
    """Presence is what the newest beat of a boot said."""
    day.take(Hear((Heard("advisory", boot_id="boot-1", seq=7, telemetry={"temp": 50}),)))
    day.take(Hear((Heard("advisory", boot_id="boot-1", seq=6, telemetry={"temp": 90}),)))
    assert day.pool.ledger.heard["advisory"].telemetry == {"temp": 50}


def test_a_late_beat_does_not_open_what_is_closed(day: Day) -> None:
    """What a board said before it said that it is clean must not be believed after it."""
    enforced = day.boards["enforced"].report
    day.ask("ann", "lease-1", "enforced")
    fence = day.machine("enforced").fence
    opened = replace(enforced, seq=1, fence=fence, closed=False)
    closed = replace(enforced, seq=2, fence=fence, closed=True)
    for report in (opened, closed, opened):
        day.take(Beat(Actor("enforced", Role.AGENT, machine="enforced"), "enforced", report))
    assert day.machine("enforced").reported_closed


def test_a_board_that_says_nothing_new_changes_nothing(day: Day) -> None:
    """A thousand boards at rest write no rows."""
    assert plain(day.machine("advisory"), day.boards["advisory"].report, 1, day.wall_us, day.policy)
    revision = day.pool.revision
    for name in day.boards:
        day.beats(name)
        assert (day.changed, day.happened) == ([], [])
    assert day.pool.revision == revision


def test_what_is_new_is_not_plain(day: Day) -> None:
    """Each of these needs a turn."""
    machine, report = day.machine("advisory"), day.boards["advisory"].report
    assert not plain(machine, report, 2, day.wall_us, day.policy)
    day.reboots("advisory")
    assert not plain(day.machine("advisory"), report, 1, day.wall_us, day.policy)


def test_a_board_of_the_old_protocol_is_called_by_its_host_name_in_safe_letters(day: Day) -> None:
    assert day.board("x", Mode.LEGACY, host="käthes pi", address="10.0.0.50").name == "k-thes-pi"
    assert day.board("y", Mode.LEGACY, host="", address="192.168.1.999").name == "y"
    report = day.boards["y"].report
    nameless = UpdateAddress(actor("legacy:z"), type(report)("legacy:fe80::1", "fe80::1", Mode.LEGACY))
    assert day.take(nameless).name == "fe80--1"


def test_names_are_made_unique() -> None:
    """Fresh images are all called raspberrypi. Case makes no difference."""
    day = Day()
    names = [
        day.board(f"board-{number}", Mode.LEGACY, host=host).name
        for number, host in enumerate(("raspberrypi", "raspberrypi", "RaspberryPi"))
    ]
    assert names == ["raspberrypi", "raspberrypi-2", "RaspberryPi-3"]


def test_a_board_that_moves_says_from_where(day: Day) -> None:
    """So that its page can say which addresses it has had; a beat from the same place is no move."""
    day.beats("advisory", address="10.0.0.77")
    day.beats("advisory", address="10.0.0.78")
    day.beats("advisory", address="10.0.0.78")
    moves = [event.detail for event in day.record if event.kind == "machine.moved"]
    assert [(move["was"], move["address"]) for move in moves][1:] == [("10.0.0.77", "10.0.0.78")]


def test_an_address_names_the_board_seen_there_last(day: Day) -> None:
    """An address goes from one board to another with the next lease of the router."""
    address = day.machine("advisory").address
    day.beats("enforced", address=address)
    assert (day.machine("enforced").address, day.machine("advisory").address) == (address, "")
    day.beats("advisory", address="10.0.0.77")
    assert day.machine("advisory").address == "10.0.0.77"
    assert day.pool.ledger.roster.machine_at(address) == day.machine("enforced")


def test_an_agent_speaks_for_its_own_board_only(day: Day) -> None:
    beat = day.boards["advisory"].beat
    assert isinstance(beat, Beat)
    with pytest.raises(NotAllowed):
        day.take(Beat(Actor("enforced", Role.AGENT, machine="enforced"), "advisory", beat.report))


def test_the_name_of_a_board_is_the_same_in_capital_letters(day: Day) -> None:
    """A token for `ADVISORY` must not make a new board of each beat."""
    beat = day.boards["advisory"].beat
    assert isinstance(beat, Beat)
    said = Beat(Actor("ADVISORY", Role.AGENT, machine="ADVISORY"), "ADVISORY", beat.report)
    before = set(day.pool.ledger.roster.machines)
    assert day.take(said).name == "advisory"
    assert set(day.pool.ledger.roster.machines) == before


def test_an_agent_does_not_take_over_an_old_board_elsewhere_that_has_its_name(day: Day) -> None:
    """The lease on that one is somebody's; only the same address proves that it is the same board."""
    beat = day.boards["advisory"].beat
    assert isinstance(beat, Beat)
    with pytest.raises(Conflict, match=day.machine("old").address):
        day.take(Beat(Actor("old", Role.AGENT, machine="old"), "old", beat.report))
    assert day.machine("old").mode is Mode.LEGACY


def test_a_beat_that_is_refused_keeps_nobody_alive(day: Day) -> None:
    """Else one board's token could hide that another one is dead."""
    beat = day.boards["advisory"].beat
    assert isinstance(beat, Beat)
    forged = Beat(Actor("enforced", Role.AGENT, machine="enforced"), "advisory", beat.report)
    day.falls_silent("advisory")
    for _ in range(10):
        day.passes(10)
        day.turn(forged)
    assert day.machine("advisory").presence is Presence.OFFLINE


def test_a_forgotten_board_is_gone_and_its_next_beat_registers_it_anew(day: Day) -> None:
    day.forget("advisory")
    assert "advisory" not in day.pool.ledger.roster.machines
    assert "advisory" in day.pool.ledger.roster.tombstones
    assert day.beats("advisory").registered_us == day.wall_us
    assert "advisory" not in day.pool.ledger.roster.tombstones


def test_what_is_held_is_not_forgotten(day: Day) -> None:
    day.ask("ann", "lease-1", "advisory")
    with pytest.raises(Conflict) as caught:
        day.forget("advisory")
    assert caught.value.details == {"holder": "ann"}
    day.release("lease-1")
    assert day.forget("advisory").name == "advisory"


def test_the_old_protocol_deletes_its_own_boards_and_only_while_nobody_has_them(day: Day) -> None:
    with pytest.raises(Conflict):
        day.delete("bob", "advisory")
    day.lock("ann", "old", "lease-1")
    with pytest.raises(Conflict):
        day.delete("bob", "old")
    day.free("ann", "old")
    day.drain("old")
    with pytest.raises(Conflict):
        day.delete("bob", "old")
    day.undrain("old")
    assert day.delete("bob", "old").name == "old"


def test_users_of_the_shared_key_forget_boards_of_the_old_protocol_only(day: Day) -> None:
    with pytest.raises(NotAllowed):
        day.forget("advisory", "legacy:bob")
    assert day.forget("old", "legacy:bob").name == "old"


# --- In and out of service ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "service", [Service.DRAINED, Service.QUARANTINED, Service.PENDING, Service.ATTENTION]
)
def test_what_is_not_in_service_is_not_granted_to_anybody(day: Day, service: Service) -> None:
    day.amend("old", service=service, reason="because")
    day.ask("ann", "lease-1", "old")
    with pytest.raises(Held):
        day.lock("bob", "old", "lease-2")
    assert day.has("lease-1") == ""
    day.undrain("old")
    assert (day.has("lease-1"), day.machine("old").reason) == ("old", "")


def test_draining_leaves_the_lease_that_is_there(day: Day) -> None:
    """The board goes out of service once its holder is done."""
    day.ask("ann", "lease-1", "advisory")
    day.ask("bob", "lease-2", "advisory")
    day.drain("advisory")
    day.passes(3000, "lease-1", "lease-2")
    assert day.state("lease-1") == "held"
    day.release("lease-1")
    assert day.has("lease-2") == ""


def test_evicting_ends_the_lease_that_is_there(day: Day) -> None:
    day.ask("ann", "lease-1", "advisory")
    day.amend("advisory", service=Service.QUARANTINED, reason="it smokes", evict=True)
    lease = day.lease("lease-1")
    assert (lease.ended, lease.ended_by) == ("evicted", "op")
    assert day.record[-1].detail["reason"] == "it smokes"


def test_a_user_may_comment_and_nothing_else(day: Day) -> None:
    assert day.amend("advisory", "ann", comment="loud fan").comment == "loud fan"
    for change in ({"labels": {"rack": "b"}}, {"service": Service.DRAINED}, {"evict": True}, {"reason": "!"}):
        with pytest.raises(NotAllowed):
            day.amend("advisory", "ann", comment="x", **change)
    assert day.machine("advisory").comment == "loud fan"


@pytest.mark.parametrize("key", ["state", "Name", "tag", "temp"])
def test_no_label_is_called_like_a_key_of_the_search(day: Day, key: str) -> None:
    """It would stand in the row, and nobody would find the board by it. One that is there already can be taken away."""
    with pytest.raises(Malformed, match=f"labels: {key} is a word of the search itself"):
        day.amend("advisory", labels={"rack": "b", key: "free"})
    assert day.machine("advisory").all_labels == {}
    day.amend("advisory", labels={key: None})


def test_labels_of_people_win_over_those_of_the_board_and_can_be_removed(day: Day) -> None:
    day.beats("advisory", labels={"rack": "a", "camera": ""})
    day.amend("advisory", labels={"rack": "b", "shelf": "3"})
    assert day.machine("advisory").all_labels == {"rack": "b", "camera": "", "shelf": "3"}
    day.amend("advisory", labels={"rack": None})
    assert day.machine("advisory").all_labels == {"rack": "a", "camera": "", "shelf": "3"}


# --- Cleaning -----------------------------------------------------------------------------------------------


@pytest.fixture
def cleaning() -> Day:
    """An enforced board that was released by ann; bob waits for it."""
    day = Day()
    day.board("pi-1", Mode.ENFORCED)
    day.ask("ann", "ann's")
    day.opens("pi-1")
    day.ask("bob", "bob's")
    day.release("ann's")
    return day


def test_an_enforced_board_is_free_once_it_reports_clean(cleaning: Day) -> None:
    assert cleaning.has("bob's") == ""
    cleaning.closes("pi-1")
    assert cleaning.has("bob's") == "pi-1"
    assert "machine.clean" in cleaning.kinds()


def test_clean_means_closed_for_that_very_fence(cleaning: Day) -> None:
    """Neither a board that still has the holder inside nor one that speaks of an older lease is clean."""
    fence = cleaning.machine("pi-1").fence
    cleaning.beats("pi-1", fence=fence, closed=False, clean=True)
    cleaning.beats("pi-1", fence=fence - 1, closed=True, clean=True)
    assert (cleaning.has("bob's"), cleaning.machine("pi-1").cleaning) == ("", fence)


def test_a_lease_that_never_got_in_is_cleaned_too(cleaning: Day) -> None:
    """Whether the board had opened is known to the board alone."""
    cleaning.closes("pi-1")
    cleaning.release("bob's")
    assert cleaning.machine("pi-1").cleaning == cleaning.lease("bob's").fence


def test_a_board_that_is_not_clean_in_time_needs_a_person(cleaning: Day) -> None:
    cleaning.passes(119, "bob's")
    assert cleaning.machine("pi-1").service is Service.IN_SERVICE
    cleaning.passes(1, "bob's")
    assert cleaning.machine("pi-1").service is Service.QUARANTINED
    assert "did not report clean within 120 s" in cleaning.machine("pi-1").reason


def test_cleaning_is_not_counted_while_the_board_is_away(cleaning: Day) -> None:
    """A board without power cannot clean; when it is back it has its full time."""
    cleaning.falls_silent("pi-1")
    cleaning.passes(5_000, "bob's")
    assert cleaning.machine("pi-1").service is Service.IN_SERVICE
    cleaning.beats("pi-1")
    cleaning.passes(119, "bob's")
    assert cleaning.machine("pi-1").service is Service.IN_SERVICE
    cleaning.passes(1, "bob's")
    assert cleaning.machine("pi-1").service is Service.QUARANTINED


def test_one_failed_cleaning_may_be_chance_and_two_are_not(cleaning: Day) -> None:
    cleaning.closes("pi-1", clean=False)
    assert cleaning.machine("pi-1").service is Service.IN_SERVICE
    cleaning.closes("pi-1", clean=False)
    assert cleaning.machine("pi-1").service is Service.QUARANTINED
    assert cleaning.has("bob's") == ""


def test_success_after_one_failure_is_forgiven(cleaning: Day) -> None:
    cleaning.closes("pi-1", clean=False)
    cleaning.closes("pi-1")
    assert cleaning.has("bob's") == "pi-1"
    cleaning.release("bob's")
    cleaning.closes("pi-1", clean=False)
    assert cleaning.machine("pi-1").service is Service.IN_SERVICE


def test_a_dead_board_whose_lease_ended_is_free_only_after_it_beats_and_is_clean(cleaning: Day) -> None:
    cleaning.closes("pi-1")
    cleaning.renew("bob's")
    cleaning.falls_silent("pi-1")
    cleaning.passes(1_100, "bob's")
    assert cleaning.state("bob's") == "machine_lost"
    cleaning.ask("eve", "eve's")
    cleaning.beats("pi-1", closed=False)
    assert cleaning.has("eve's") == ""
    cleaning.closes("pi-1")
    assert cleaning.has("eve's") == "pi-1"


def test_boards_that_do_not_enforce_are_not_waited_for(day: Day) -> None:
    """Nothing there could report clean; they rest instead, where that is needed."""
    for name in ("advisory", "old"):
        day.ask("ann", name, name)
        day.release(name)
        assert day.machine(name).cleaning == 0
        assert day.ask("bob", f"{name} again", name).machines == (name,)


# --- Epochs and fences --------------------------------------------------------------------------------------


def test_after_history_may_have_gone_back_only_who_was_heard_since_is_granted(day: Day) -> None:
    """Who leased what meanwhile is known to the boards alone."""
    day.raise_epoch()
    day.ask("ann", "lease-1", "advisory")
    day.passes(60, "lease-1")
    assert day.has("lease-1") == ""
    day.beats("advisory")
    assert day.has("lease-1") == "advisory"


def test_a_new_epoch_ends_no_lease(day: Day) -> None:
    day.ask("ann", "lease-1", "advisory")
    day.raise_epoch()
    day.passes(500, "lease-1")
    assert day.state("lease-1") == "held"


def test_what_was_set_aside_before_the_epoch_is_not_kept() -> None:
    """It is not known to be free any more."""
    day = Day()
    day.board("pi-1")
    day.board("pi-2")
    day.ask("kim", "kim", "pi-1")
    day.ask("ann", "ann", count=2)
    assert day.lease("ann").set_aside == ("pi-2",)
    day.raise_epoch()
    assert day.lease("ann").set_aside == ()


def test_a_lock_by_address_asks_neither_for_a_beat_nor_for_the_epoch(day: Day) -> None:
    """Old clients have a switch to lock dead boards; but a lease of the same person waits."""
    day.falls_silent("old")
    day.passes(400)
    day.raise_epoch()
    assert day.ask("legacy:ann", "modern", "old").machines == ()
    assert day.lock("ann", "old", "by address").lease == "by address"


def test_fences_grow_and_are_never_used_again(day: Day) -> None:
    fences = []
    for number in range(5):
        fences.append(day.ask("ann", f"lease-{number}", "advisory").fence)
        day.release(f"lease-{number}")
    day.forget("advisory")
    day.beats("advisory")
    fences.append(day.ask("ann", "after", "advisory").fence)
    assert fences == sorted(set(fences))


def test_a_fence_grows_even_when_the_wall_clock_goes_back(day: Day) -> None:
    first = day.ask("ann", "lease-1", "advisory").fence
    day.release("lease-1")
    (second,), *_ = day.pool.turn([day.asking("bob", "lease-2", "advisory")], day.now, 1_000_000)
    assert second.fence > first  # type: ignore[union-attr]


def test_a_board_that_knows_a_later_fence_proves_that_history_went_back(day: Day) -> None:
    """Its fence is adopted, what was granted below it ends, and nobody is granted before being heard."""
    lease = day.ask("ann", "lease-1", "enforced")
    later = lease.fence + 1_000_000
    day.beats("enforced", fence=later, closed=False)
    assert (day.state("lease-1"), day.pool.state.epoch) == ("history_went_back", 2)
    assert (day.machine("enforced").fence, day.machine("enforced").cleaning) == (later, later)
    assert day.pool.revision > later
    assert day.ask("bob", "lease-2", "advisory").machines == ()
    assert {"machine.witnessed", "pool.epoch"} <= set(day.kinds())


def test_after_the_witness_is_clean_its_next_fence_is_higher_still(day: Day) -> None:
    later = day.pool.revision + 3_600_000_000
    day.beats("enforced", fence=later, closed=False)
    day.beats("enforced", closed=True)
    assert day.ask("ann", "lease-1", "enforced").fence > later


def test_the_other_witnesses_of_the_same_going_back_raise_no_further_epoch(day: Day) -> None:
    """One restore is one new epoch, however many boards saw more than the database."""
    day.board("second", Mode.ENFORCED)
    lost = day.pool.revision
    day.now += 60
    day.raise_epoch()
    day.beats("enforced", fence=lost + 10)
    day.beats("second", fence=lost + 20)
    assert day.pool.state.epoch == 2
    assert day.kinds().count("machine.witnessed") == 2


def test_a_fence_that_nobody_can_have_granted_puts_that_board_aside_and_nothing_else(day: Day) -> None:
    """One broken board must not push the numbers of all others a century ahead."""
    before = day.pool.revision
    day.ask("ann", "lease-1", "advisory")
    day.beats("enforced", fence=day.wall_us + DAY_US + 1)
    assert day.machine("enforced").service is Service.QUARANTINED
    assert (day.pool.state.epoch, day.state("lease-1")) == (1, "held")
    assert day.pool.revision < before + 10_000_000
    assert day.machine("enforced").fence == 0


def test_up_to_a_day_ahead_is_believed(day: Day) -> None:
    """The clock of the service that granted it may have been a little fast."""
    day.beats("enforced", fence=day.wall_us + DAY_US)
    assert day.machine("enforced").service is Service.IN_SERVICE
    assert day.pool.state.epoch == 2


# --- The old protocol's reboots and frees -------------------------------------------------------------------


def test_an_old_board_that_frees_itself_ends_the_lock_in_the_holders_name(day: Day) -> None:
    day.lock("ann", "old", "lease-1")
    assert day.free("ann", "old", by_itself=True).lease == ""
    assert day.state("lease-1") == "released"


@pytest.mark.parametrize(
    ("policy", "state", "service"),
    [
        (OnReboot.RELEASE, "reboot", Service.IN_SERVICE),
        (OnReboot.QUARANTINE, "reboot", Service.QUARANTINED),
    ],
)
def test_an_old_board_that_frees_itself_says_that_it_rebooted(
    day: Day, policy: OnReboot, state: str, service: Service
) -> None:
    """It knows no leases; so the one that is there says what a reboot means."""
    day.ask("ann", "lease-1", "old", on_reboot=policy)
    assert day.free("ann", "old", by_itself=True).service is service
    assert day.state("lease-1") == state
    assert day.machine("old").delay_until_s == 0.0


def test_a_lease_that_stays_over_a_reboot_stays_when_an_old_board_frees_itself(day: Day) -> None:
    day.ask("ann", "lease-1", "old", on_reboot=OnReboot.KEEP)
    with pytest.raises(Held):
        day.free("ann", "old", by_itself=True)
    assert day.state("lease-1") == "held"


def test_a_board_with_a_nounlock_file_keeps_its_lease_over_a_reboot(day: Day) -> None:
    day.beats("old", nounlock=True)
    day.ask("ann", "lease-1", "old")
    with pytest.raises(Held):
        day.free("ann", "old", by_itself=True)
    assert day.state("lease-1") == "held"


def test_from_elsewhere_nobody_frees_a_modern_lease_through_the_old_protocol(day: Day) -> None:
    """Even with the holder's name: without an identity it proves nothing."""
    day.ask("ann", "lease-1", "old")
    for name in ("ann", "bob"):
        with pytest.raises(Held):
            day.free(name, "old")
    assert day.state("lease-1") == "held"


def test_an_old_board_frees_itself_in_the_holders_name_only(day: Day) -> None:
    """Its monitor reads who holds it first; another name says that somebody else is speaking."""
    day.lock("ann", "old", "lease-1")
    with pytest.raises(Held):
        day.free("bob", "old", by_itself=True)
    assert day.state("lease-1") == "held"


def test_an_enrolled_board_cannot_be_freed_by_a_call_from_its_address(day: Day) -> None:
    """Its agent reports reboots; whoever else runs there is the holder's job."""
    day.ask("ann", "lease-1", "advisory")
    with pytest.raises(Held):
        day.free("ann", "advisory", by_itself=True)


def test_free_answers_the_board_as_freed_even_if_somebody_has_it_at_once(day: Day) -> None:
    """Old clients compare, and say that it failed if they see another user."""
    day.lock("ann", "old", "lease-1")
    day.ask("bob", "lease-2", "old")
    assert day.free("ann", "old").lease == ""
    assert day.has("lease-2") == "old"


def test_freeing_what_is_free_is_no_error(day: Day) -> None:
    assert day.free("anybody", "old").lease == ""


def test_a_lock_by_address_is_not_granted_twice(day: Day) -> None:
    """Not even to the same user: both scripts would believe that they have it."""
    day.lock("ann", "old", "lease-1")
    with pytest.raises(Held):
        day.lock("ann", "old", "lease-2")


def test_a_lock_by_address_waits_for_cleaning_and_rest_as_everybody_does(day: Day) -> None:
    """And answers at once that it cannot have the board; for it knows no waiting."""
    for name in ("enforced", "advisory"):
        day.ask("ann", name, name)
        day.release(name, "op", "needed")
    with pytest.raises(Held, match="cleaning"):
        day.lock("bob", "enforced", "lease-1")
    with pytest.raises(Held, match="resting"):
        day.lock("bob", "advisory", "lease-2")
    day.passes(10)
    day.closes("enforced")
    assert day.lock("bob", "enforced", "lease-1").lease == "lease-1"
    assert day.lock("bob", "advisory", "lease-2").lease == "lease-2"


def test_both_protocols_exclude_each_other(day: Day) -> None:
    day.ask("ann", "lease-1", "old")
    with pytest.raises(Held):
        day.lock("ann", "old", "lease-2")
    day.lock("ann", "enforced", "lease-3")
    with pytest.raises(Held):
        day.ask("ann", "lease-4", "enforced", queue=False)


# --- One board, both programs -------------------------------------------------------------------------------


def enrols(day: Day, name: str, at: str, mode: Mode = Mode.ADVISORY) -> None:
    """An agent is installed on the board that is known as `at`."""
    day.falls_silent(at)
    day.board(name, mode, address=day.boards[at].address)


def test_an_enrolled_board_takes_over_what_stood_at_its_address(day: Day) -> None:
    """One board, one machine; and what people wrote about it stays."""
    day.amend("old", labels={"rack": "b"}, comment="loud")
    enrols(day, "new", at="old")
    machine = day.machine("new")
    assert "old" not in day.pool.ledger.roster.machines
    assert (machine.mode, machine.id) == (Mode.ADVISORY, "serial-new")
    assert (machine.all_labels, machine.comment) == ({"rack": "b"}, "loud")
    assert day.pool.ledger.roster.machine_at(machine.address) == machine


def test_a_live_lock_moves_to_the_enrolled_board_and_can_be_freed_there(day: Day) -> None:
    """Somebody works on it while the agent is installed."""
    day.lock("ann", "old", "lease-1")
    fence = day.lease("lease-1").fence
    enrols(day, "new", at="old")
    assert (day.has("lease-1"), day.lease("lease-1").fence, day.machine("new").fence) == ("new", fence, fence)
    assert day.free("ann", "new").lease == ""
    assert day.state("lease-1") == "released"


def test_an_enrolled_board_may_keep_its_old_name(day: Day) -> None:
    day.lock("ann", "old", "lease-1")
    day.falls_silent("old")
    day.board("old", address=day.boards["old"].address)
    assert (day.machine("old").mode, day.machine("old").lease) == (Mode.ADVISORY, "lease-1")


def test_a_lease_of_several_keeps_its_other_boards_over_a_take_over(day: Day) -> None:
    """And gives all of them back at its end."""
    day.ask("ann", "lease-1", "name:(old|advisory)", count=2)
    enrols(day, "new", at="old")
    assert set(day.lease("lease-1").machines) == {"new", "advisory"}
    day.release("lease-1")
    assert (day.machine("new").lease, day.machine("advisory").lease) == ("", "")


def test_when_both_were_leased_the_enrolled_ones_lease_stays(day: Day) -> None:
    """A known board moves to an address where an old entry is locked: one board cannot have two holders."""
    day.ask("ann", "lease-1", "advisory")
    day.lock("bob", "old", "lease-2")
    day.falls_silent("old")
    day.beats("advisory", address=day.boards["old"].address)
    assert (day.state("lease-1"), day.state("lease-2")) == ("held", "machine_merged")
    assert "old" not in day.pool.ledger.roster.machines


def test_a_lock_does_not_move_to_a_board_that_had_holders_since(day: Day) -> None:
    """Its fence is higher than the lock's, so its agent would refuse whoever holds the lock."""
    day.lock("ann", "old", "lease-1")
    day.ask("bob", "lease-2", "enforced")
    day.release("lease-2")
    day.falls_silent("old")
    day.beats("enforced", address=day.boards["old"].address)
    assert day.state("lease-1") == "machine_merged"
    assert (day.machine("enforced").lease, day.machine("enforced").cleaning > 0) == ("", True)


def test_an_update_for_an_enrolled_boards_address_changes_nothing(day: Day) -> None:
    """Both programs run on it, and the agent knows better."""
    day.board("twin", Mode.LEGACY, host="advisory", address=day.boards["advisory"].address)
    assert (day.changed, day.happened) == ([], [])
    assert "twin" not in day.pool.ledger.roster.machines


def strange_update(day: Day, host: str = "intruder") -> None:
    report = type(day.boards["old"].report)(
        "legacy:?", day.boards["advisory"].address, Mode.LEGACY, facts={"host_name": host}
    )
    day.take(UpdateAddress(actor("legacy:?"), report))


def test_three_strange_updates_in_a_row_need_a_persons_attention(day: Day) -> None:
    """Another board has the address; a lease would lead to the wrong one."""
    for _ in range(2):
        strange_update(day)
    assert day.machine("advisory").service is Service.IN_SERVICE
    strange_update(day)
    assert day.machine("advisory").service is Service.ATTENTION
    assert "intruder" in day.machine("advisory").reason
    assert day.ask("ann", "lease-1", "advisory").machines == ()


@pytest.mark.parametrize("host", ["advisory", "ADVISORY", ""])
def test_strange_updates_count_only_in_a_row(day: Day, host: str) -> None:
    """One may be a reboot into a fresh image. Silence about the name is not another name; it starts anew."""
    for name in ("intruder", "intruder", host, "intruder", "intruder"):
        strange_update(day, name)
    assert day.machine("advisory").service is Service.IN_SERVICE


def test_beats_of_the_board_itself_do_not_hide_the_stranger(day: Day) -> None:
    """Both are alive at one address, which is the very thing that somebody has to look at."""
    for _ in range(3):
        strange_update(day)
        day.beats("advisory")
    assert day.machine("advisory").service is Service.ATTENTION


def test_a_move_to_another_address_leaves_the_stranger_behind(day: Day) -> None:
    strange_update(day)
    strange_update(day)
    day.beats("advisory", address="10.0.0.99")
    strange_update(day)
    assert day.machine("advisory").service is Service.IN_SERVICE


# --- Second chances -----------------------------------------------------------------------------------------


def test_a_board_that_is_put_back_into_service_has_its_full_time_to_clean(cleaning: Day) -> None:
    """A person has just looked after it; what it failed before does not count."""
    cleaning.closes("pi-1", clean=False)
    cleaning.passes(300, "bob's")
    assert cleaning.machine("pi-1").service is Service.QUARANTINED
    cleaning.undrain("pi-1")
    cleaning.closes("pi-1", clean=False)
    cleaning.passes(119, "bob's")
    assert cleaning.machine("pi-1").service is Service.IN_SERVICE
    cleaning.closes("pi-1")
    assert cleaning.has("bob's") == "pi-1"


def test_strange_updates_are_counted_anew_once_a_person_has_looked(day: Day) -> None:
    for _ in range(3):
        strange_update(day)
    day.undrain("advisory")
    strange_update(day)
    strange_update(day)
    assert day.machine("advisory").service is Service.IN_SERVICE
    strange_update(day)
    assert day.machine("advisory").service is Service.ATTENTION


def test_forgetting_a_board_is_not_history_going_back(day: Day) -> None:
    """It comes back with the fence of its last lease, and that is known here."""
    fence = day.ask("ann", "lease-1", "enforced").fence
    day.opens("enforced")
    day.release("lease-1")
    day.closes("enforced")
    day.forget("enforced")
    day.passes(60)
    assert day.beats("enforced").fence == fence
    assert day.pool.state.epoch == 1


def test_forgetting_a_board_is_no_way_round_its_cleaning(day: Day) -> None:
    """Its last holder may still be inside."""
    day.ask("ann", "lease-1", "enforced")
    day.opens("enforced")
    day.release("lease-1")
    day.forget("enforced")
    day.beats("enforced")
    assert day.ask("bob", "lease-2", "enforced").machines == ()
    day.closes("enforced")
    assert day.has("lease-2") == "enforced"


def test_a_board_does_not_become_an_old_one_of_the_same_name(day: Day) -> None:
    """Fresh images are all called alike; a lock on one of them must not move to another."""
    day.lock("ann", "old", "lease-1")
    report = replace(day.boards["advisory"].report, id="serial-new", address="10.0.0.99")
    before = day.everything()
    with pytest.raises(Conflict, match="is called old already"):
        day.take(Beat(Actor("old", Role.AGENT, machine="old"), "old", report))
    assert day.everything() == before


def test_a_board_is_the_same_in_small_and_big_letters(day: Day) -> None:
    """Its beats count before time does under either, and make no second machine."""
    day.now += 10_000
    report = day.boards["advisory"].report
    day.take(Beat(Actor("ADVISORY", Role.AGENT, machine="ADVISORY"), "ADVISORY", report))
    assert sorted(day.pool.ledger.roster.machines) == ["advisory", "enforced", "old"]
    offline = [event.machine for event in day.happened if event.kind == "machine.offline"]
    assert sorted(offline) == ["enforced", "old"]
