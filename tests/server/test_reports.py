"""How a pool was used: what a report says is what happened on days that were lived through, edges and all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from picluster.pool.model import Event, Lease, LeaseState, Machine, Presence
from picluster.server.reports import DAY_US, SEEN, Window, percentile, report
from picluster.wire import MachineReport, Report

HOUR_US = 3_600_000_000
HOUR_S = 3_600.0

NOW_US = 20_000 * DAY_US + 12 * HOUR_US
"""Noon, in UTC."""

MIDNIGHT = NOW_US - 12 * HOUR_US
THREE_DAYS = Window.of_days(3, NOW_US)
ALL_OF_IT = [86_400.0, 86_400.0, 12 * HOUR_S]


def at(hours: float) -> int:
    """So many hours after this midnight; negative ones are yesterday's and before."""
    return MIDNIGHT + int(hours * HOUR_US)


def event(kind: str, hours: float, machine: str = "pi-1", lease: str = "a", **detail: Any) -> Event:
    holder = "ann" if lease else ""
    return Event(
        at(hours), 1, at(hours), kind, "ann", machine=machine, lease=lease, holder=holder, detail=detail
    )


def held(hours: float, machine: str = "pi-1", lease: str = "a") -> Event:
    return event("lease.held", hours, machine, lease)


def ended(hours: float, machine: str = "pi-1", lease: str = "a") -> Event:
    return event("lease.ended", hours, machine, lease)


def machine(name: str = "pi-1", registered_h: float = -10_000, *, online: bool = True) -> Machine:
    presence = Presence.ONLINE if online else Presence.OFFLINE
    return Machine(name, f"id-{name}", "10.0.0.1", registered_us=at(registered_h), presence=presence)


def lease(hours: float, *machines: str, id: str = "a") -> Lease:
    """One that is held still."""
    return Lease(id, "ann", "", state=LeaseState.HELD, machines=machines, granted_us=at(hours))


def made(*events: Event, leases: Sequence[Lease] = (), machines: Sequence[Machine] = (machine(),)) -> Report:
    return report(THREE_DAYS, sorted(events, key=lambda one: one.at_us), leases, machines)


def of(made: Report, name: str = "pi-1") -> MachineReport:
    return next(one for one in made.machines if one.name == name)


# --- The window ---------------------------------------------------------------------------------------------


def test_a_window_is_whole_days_up_to_now() -> None:
    assert THREE_DAYS.days == 3
    assert [THREE_DAYS.name_of(day) for day in range(3)] == ["2024-10-02", "2024-10-03", "2024-10-04"]
    assert made().days[2].there_s == 12 * HOUR_S


def test_a_window_that_begins_now_is_one_empty_day() -> None:
    window = Window.of_days(1, MIDNIGHT + 1)
    assert window.days == 1
    assert report(window, [], [], [machine()]).machines[0].there_s == (0.0,)


# --- Use ----------------------------------------------------------------------------------------------------


def test_a_lease_within_one_day() -> None:
    made_of = of(made(held(-20), ended(-18)))
    assert made_of.used_s == (0.0, 2 * HOUR_S, 0.0)
    assert (made_of.there_s, made_of.leases) == (tuple(ALL_OF_IT), 1)


def test_a_lease_over_midnight_counts_on_both_days() -> None:
    assert of(made(held(-3), ended(1))).used_s == (0.0, 3 * HOUR_S, HOUR_S)


def test_a_lease_over_a_whole_day_counts_on_three() -> None:
    assert of(made(held(-25), ended(1))).used_s == (HOUR_S, 24 * HOUR_S, HOUR_S)


def test_a_lease_that_is_held_still_counts_up_to_now() -> None:
    assert of(made(held(9), leases=[lease(9, "pi-1")])).used_s == (0.0, 0.0, 3 * HOUR_S)


def test_a_lease_from_before_the_window_counts_from_its_edge() -> None:
    """Its grant is not among the events; its end is."""
    assert of(made(ended(-47))).used_s == (HOUR_S, 0.0, 0.0)


def test_a_lease_from_before_the_window_that_is_held_still_counts_for_all_of_it() -> None:
    """Nothing at all is among the events."""
    assert of(made(leases=[lease(-1000, "pi-1")])).used_s == tuple(ALL_OF_IT)


def test_a_lease_of_several_machines_counts_on_each_and_is_one_job() -> None:
    two = [machine("pi-1"), machine("pi-2")]
    both = made(
        *(held(-20, name) for name in ("pi-1", "pi-2")),
        *(ended(-19, name) for name in ("pi-1", "pi-2")),
        machines=two,
    )
    assert [one.used_s[1] for one in both.machines] == [HOUR_S, HOUR_S]
    assert (both.granted, both.days[1].used_s) == (1, 2 * HOUR_S)


def test_several_machines_from_before_the_window_count_on_each() -> None:
    both = made(*(ended(-47, name) for name in ("pi-1", "pi-2")), machines=[machine("pi-1"), machine("pi-2")])
    assert [one.used_s[0] for one in both.machines] == [HOUR_S, HOUR_S]


def test_one_after_the_other_is_added_up() -> None:
    twice = made(held(-20), ended(-19), held(-10, lease="b"), ended(-8, lease="b"))
    assert of(twice).used_s[1] == 3 * HOUR_S
    assert of(twice).leases == 2


def test_an_old_machine_that_became_another_is_used_until_its_lease_ends() -> None:
    """The lease was granted under the old name, and ended under the new one."""
    joined = made(
        held(-20, "old"),
        event("machine.enrolled", -15, "pi-1", lease="", was="legacy:10.0.0.9", name="old"),
        ended(-10, "pi-1"),
    )
    assert of(joined, "old").used_s[1] == 10 * HOUR_S
    assert of(joined, "old").deleted and not of(joined).deleted
    assert of(joined).used_s == (0.0, 0.0, 0.0)


def test_a_lease_that_the_record_lost_is_not_guessed() -> None:
    """Granted, without an end, and nobody has it: a restored backup has forgotten how it went on."""
    assert of(made(held(-20))).used_s == (0.0, 0.0, 0.0)


# --- There, and not there -----------------------------------------------------------------------------------


def test_a_machine_that_came_is_there_from_then_on() -> None:
    came = made(event("machine.registered", 6, lease=""), machines=[machine(registered_h=6)])
    assert of(came).there_s == (0.0, 0.0, 6 * HOUR_S)


def test_a_machine_that_was_deleted_is_told_as_far_as_it_was_there() -> None:
    gone = made(held(-40), ended(-38), event("machine.forgotten", -30, lease=""), machines=[])
    assert of(gone).there_s == (18 * HOUR_S, 0.0, 0.0)
    assert (of(gone).used_s[0], of(gone).deleted) == (2 * HOUR_S, True)


def test_a_machine_that_came_back_under_its_name_is_not_deleted() -> None:
    back = made(
        event("machine.forgotten", -36, lease=""),
        event("machine.registered", 6, lease=""),
        machines=[machine(registered_h=6)],
    )
    assert of(back).there_s == (12 * HOUR_S, 0.0, 6 * HOUR_S)
    assert not of(back).deleted


def test_a_machine_that_came_and_went() -> None:
    both = made(
        event("machine.registered", -30, lease=""), event("machine.forgotten", -29, lease=""), machines=[]
    )
    assert of(both).there_s == (HOUR_S, 0.0, 0.0)


# --- Silence ------------------------------------------------------------------------------------------------


def test_a_silence_over_midnight() -> None:
    silent = made(event("machine.offline", -1, lease=""), event("machine.online", 2, lease=""))
    assert of(silent).offline_s == (0.0, HOUR_S, 2 * HOUR_S)


def test_who_is_silent_still() -> None:
    silent = made(event("machine.offline", 10, lease=""), machines=[machine(online=False)])
    assert of(silent).offline_s == (0.0, 0.0, 2 * HOUR_S)


def test_who_was_silent_before_the_window_and_came_back() -> None:
    assert of(made(event("machine.online", -40, lease=""))).offline_s == (8 * HOUR_S, 0.0, 0.0)


def test_who_was_silent_all_the_time() -> None:
    assert of(made(machines=[machine(online=False)])).offline_s == tuple(ALL_OF_IT)


def test_a_board_that_joins_was_not_silent_before_its_first_beat() -> None:
    came = [event("machine.joined", 6, lease=""), event("machine.online", 7, lease="")]
    assert of(made(*came, machines=[machine(registered_h=6)])).offline_s == (0.0, 0.0, 0.0)
    never = made(came[0], machines=[machine(registered_h=6, online=False)])
    assert of(never).offline_s == (0.0, 0.0, 0.0)


def test_a_board_that_is_deleted_while_it_is_silent_is_silent_no_more() -> None:
    gone = [event("machine.offline", -40, lease=""), event("machine.forgotten", -36, lease="")]
    assert of(made(*gone, machines=[])).offline_s == (4 * HOUR_S, 0.0, 0.0)


# --- Waiting, and verdicts ----------------------------------------------------------------------------------


def test_how_long_jobs_waited_on_the_day_they_came() -> None:
    asked = event("lease.asked", -0.5, machine="")
    waited = made(asked, held(0.5), ended(1))
    assert [day.wait_p50_s for day in waited.days] == [None, HOUR_S, None]
    assert [day.granted for day in waited.days] == [0, 0, 1]
    assert (waited.wait_p50_s, waited.wait_p95_s) == (HOUR_S, HOUR_S)


def test_who_gave_up_or_still_waits_has_not_waited_for_a_machine() -> None:
    gave_up = made(event("lease.asked", -2, machine=""), ended(-1, machine=""))
    assert gave_up.wait_p50_s is None and gave_up.granted == 0
    assert of(gave_up).used_s == (0.0, 0.0, 0.0)
    assert [one.name for one in gave_up.machines] == ["pi-1"]
    assert made(event("lease.asked", -2, machine="")).wait_p50_s is None


def test_verdicts_are_counted_by_machine() -> None:
    verdicts = ("clean", "clean", "dirty", "unknown")
    judged = made(*(event("lease.judged", -9, lease=str(n), verdict=said) for n, said in enumerate(verdicts)))
    assert (of(judged).clean, of(judged).dirty, of(judged).unknown) == (2, 1, 1)


@pytest.mark.parametrize(
    ("values", "share", "value"),
    [
        ([], 0.5, None),
        ([7], 0.5, 7),
        ([7], 0.95, 7),
        ([3, 1, 2], 0.5, 2),
        ([1, 2], 0.5, 1),
        (range(1, 101), 0.95, 95),
    ],
)
def test_percentiles(values: Sequence[float], share: float, value: float | None) -> None:
    assert percentile(values, share) == value


def test_what_does_not_count_changes_nothing() -> None:
    """Only the kinds that are asked of the store do."""
    others = [event(kind, -20) for kind in ("lease.confirmed", "machine.rebooted", "person.added")]
    assert not {one.kind for one in others} & set(SEEN)
    assert made(*others) == made()
