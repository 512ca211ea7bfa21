"""Boards that are not well: who is taken out of service, who comes back by itself, and who waits for a person."""

from __future__ import annotations

from typing import Any

import pytest

from picluster.pool.commands import NotePower
from picluster.pool.health import COOLED_C, IGNORE_LABEL, WORDS, findings
from picluster.pool.model import Mode, OnReboot, Presence, Service
from picluster.pool.policy import Policy
from tests.pool.day import SLACK_S, Day, actor

POLICY = Policy()
COOL, HOT = {"temperature": 50.0}, {"temperature": POLICY.hot_c}
ALARM = {"under_voltage": True}


@pytest.fixture
def day() -> Day:
    day = Day()
    day.board("pi", Mode.ADVISORY)
    return day


def reported(day: Day, **telemetry: Any) -> Service:
    """The board says this, and is in service afterwards or is not."""
    return day.beats("pi", telemetry=telemetry).service


# --- What is found ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("telemetry", "found"),
    [
        (COOL, ()),
        ({"temperature": 79.9}, ()),
        (HOT, ("hot",)),
        (ALARM, ("under_voltage",)),
        ({"since_open": {"under_voltage": 1}}, ("under_voltage",)),
        ({"last_closed": {"under_voltage": 1}}, ()),
        ({"read_only_root": True}, ("read_only_root",)),
        ({"frequency_capped": True}, ("throttled",)),
        ({"firmware": 0b0001}, ("under_voltage",)),
        ({"firmware": 0b0100}, ("throttled",)),
        ({"firmware": 0x50000}, ()),
        ({"disk_free": 1, "disk_total": 100}, ("disk_full",)),
        ({"disk_free": 2, "disk_total": 100}, ()),
        ({"disk_free": 0, "disk_total": 0}, ()),
        ({"clock_us": 1_000_000_000}, ("clock_wrong",)),
        ({"clock_us": 5_000_000}, ()),
        ({**HOT, **ALARM}, ("under_voltage", "hot")),
    ],
)
def test_each_trouble_is_found_by_its_own_sign(telemetry: dict[str, Any], found: tuple[str, ...]) -> None:
    assert findings(None, telemetry, {}, 0, POLICY) == found


@pytest.mark.parametrize("nonsense", ["hot", None, [], {}, True, float("nan"), float("inf"), 10**30, "99"])
def test_a_board_may_say_anything(nonsense: Any) -> None:
    """What is no number is nothing, and breaks nothing."""
    keys = ("temperature", "disk_free", "disk_total", "clock_us", "firmware", "since_open", "read_only_root")
    telemetry = {key: nonsense for key in keys if (key, nonsense) != ("read_only_root", True)}
    assert findings(None, telemetry, {}, 0, POLICY) == ()


def test_a_board_that_cannot_enforce_says_why(day: Day) -> None:
    machine = day.beats("pi", facts={"cannot_enforce": "sshd takes passwords for picluster"})
    assert machine.service is Service.QUARANTINED
    assert machine.reason.endswith("sshd takes passwords for picluster")
    assert set(machine.ailing) <= set(WORDS)


# --- Out of service -----------------------------------------------------------------------------------------


def test_under_voltage_counts_at_once(day: Day) -> None:
    """It is over in seconds, and what was measured meanwhile is wrong."""
    assert reported(day, **ALARM) is Service.QUARANTINED
    assert day.machine("pi").reason == "under-voltage"


def test_heat_has_to_last(day: Day) -> None:
    """A warm minute is no reason; the next report may be cool again."""
    assert reported(day, **HOT) is Service.IN_SERVICE
    day.passes(POLICY.ail_s - 1)
    assert reported(day, **COOL) is Service.IN_SERVICE
    day.passes(POLICY.ail_s)
    assert day.machine("pi").service is Service.IN_SERVICE
    reported(day, **HOT)
    day.passes(POLICY.ail_s)
    assert (day.machine("pi").service, day.machine("pi").reason) == (Service.QUARANTINED, "too hot")


def test_a_hot_board_has_to_cool_properly(day: Day) -> None:
    """Around the limit it would come and go with every draught."""
    reported(day, **HOT)
    assert day.beats("pi", telemetry={"temperature": POLICY.hot_c - COOLED_C}).ailing == ("hot",)
    assert day.beats("pi", telemetry={"temperature": POLICY.hot_c - COOLED_C - 0.1}).ailing == ()


def test_a_lease_is_not_ended_by_the_rules_of_health(day: Day) -> None:
    """The holder learns of it by the verdict; who comes next is spared."""
    day.ask("ann", "a", "pi")
    day.ask("bob", "b", "pi")
    reported(day, **ALARM)
    assert day.state("a") == "held"
    day.release("a")
    assert day.state("b") == "waiting"


def test_an_operator_may_want_it_ended() -> None:
    day = Day(Policy(evict_ailing=True))
    day.board("pi")
    day.ask("ann", "a", "pi")
    reported(day, **ALARM)
    assert day.state("a") == "evicted"


def test_what_is_meant_to_be_so_is_no_trouble(day: Day) -> None:
    """A board that is capped on purpose says so by a label that an operator gives it."""
    day.amend("pi", labels={IGNORE_LABEL: "throttled, hot"})
    assert day.beats("pi", telemetry={"frequency_capped": True, **HOT}).ailing == ()
    assert reported(day, **ALARM) is Service.QUARANTINED


# --- Back ---------------------------------------------------------------------------------------------------


def test_a_board_that_is_well_for_a_while_comes_back(day: Day) -> None:
    reported(day, **ALARM)
    day.ask("ann", "a", "pi")
    day.passes(POLICY.well_s, "a")
    assert day.machine("pi").service is Service.QUARANTINED
    reported(day, **COOL)
    day.passes(POLICY.well_s - 5, "a")
    assert day.state("a") == "waiting"
    day.passes(5, "a")
    assert day.state("a") == "held"
    assert "machine.recovered" in day.kinds()


def test_a_silent_board_is_not_a_well_one(day: Day) -> None:
    reported(day, **ALARM)
    reported(day, **COOL)
    day.falls_silent("pi")
    day.passes(POLICY.well_s + POLICY.offline_s + SLACK_S)
    assert day.machine("pi").service is Service.QUARANTINED
    reported(day, **COOL)
    day.passes(POLICY.well_s)
    assert day.machine("pi").service is Service.IN_SERVICE


def test_what_a_person_took_out_the_rules_do_not_put_back(day: Day) -> None:
    reported(day, **ALARM)
    day.amend("pi", service=Service.QUARANTINED, reason="smells")
    reported(day, **COOL)
    day.passes(2 * POLICY.well_s)
    assert (day.machine("pi").service, day.machine("pi").reason) == (Service.QUARANTINED, "smells")


def test_a_board_that_comes_and_goes_waits_for_a_person(day: Day) -> None:
    """The third time within a day it stays out; after a look it begins anew."""
    for _ in range(POLICY.setbacks):
        assert day.machine("pi").service is Service.IN_SERVICE
        reported(day, **ALARM)
        reported(day, **COOL)
        day.passes(POLICY.well_s)
    assert day.machine("pi").service is Service.QUARANTINED
    assert "waits for a person" in day.machine("pi").reason
    day.undrain("pi")
    reported(day, **ALARM)
    reported(day, **COOL)
    day.passes(POLICY.well_s)
    assert day.machine("pi").service is Service.IN_SERVICE


def test_setbacks_of_another_day_are_forgotten(day: Day) -> None:
    for _ in range(POLICY.setbacks + 1):
        reported(day, **ALARM)
        reported(day, **COOL)
        day.passes(POLICY.well_s)
        day.now += POLICY.setbacks_window_s
        day.turn(day.heard)
        reported(day, **COOL)
    assert day.machine("pi").service is Service.IN_SERVICE


def test_a_person_who_undrains_an_ailing_board_is_told_again(day: Day) -> None:
    """The next report says how it is: at once where that counts at once."""
    reported(day, **ALARM)
    assert day.undrain("pi").service is Service.IN_SERVICE
    assert reported(day, **ALARM) is Service.QUARANTINED


# --- Boards that stumble ------------------------------------------------------------------------------------


def test_a_board_that_reboots_all_the_time_is_broken(day: Day) -> None:
    for _ in range(POLICY.stumbles - 1):
        day.passes(60)
        day.reboots("pi")
    assert day.machine("pi").service is Service.IN_SERVICE
    day.passes(60)
    day.reboots("pi")
    assert day.machine("pi").service is Service.QUARANTINED
    assert "4 times in 60 min" in day.machine("pi").reason
    day.passes(POLICY.well_s)
    assert day.machine("pi").service is Service.IN_SERVICE


def test_silences_count_as_well(day: Day) -> None:
    for _ in range(POLICY.stumbles):
        day.falls_silent("pi")
        day.passes(POLICY.offline_s + SLACK_S)
        day.beats("pi")
    assert day.machine("pi").service is Service.QUARANTINED
    assert day.machine("pi").presence is Presence.ONLINE


def test_what_a_holder_does_with_a_board_is_the_holders_business(day: Day) -> None:
    day.ask("ann", "a", "pi", on_reboot=OnReboot.KEEP, ttl_s=None)
    for _ in range(2 * POLICY.stumbles):
        day.reboots("pi")
    assert day.machine("pi").service is Service.IN_SERVICE


def test_a_power_cut_is_one_stumble_and_not_two(day: Day) -> None:
    """A board is silent for a while and then has booted; two cuts in an hour must not take out a whole lab."""
    for _ in range(POLICY.stumbles - 1):
        day.falls_silent("pi")
        day.passes(POLICY.offline_s + SLACK_S)
        day.reboots("pi")
        day.passes(60)
    assert day.machine("pi").service is Service.IN_SERVICE


def test_a_board_is_not_blamed_for_what_people_do_to_its_power(day: Day) -> None:
    for _ in range(2 * POLICY.stumbles):
        day.take(NotePower(actor("op"), "pi", "cycle"))
        day.passes(30)
        day.reboots("pi")
    assert day.machine("pi").service is Service.IN_SERVICE


def test_a_service_whose_own_clock_is_wrong_takes_nobody_out() -> None:
    """Most boards say otherwise: then it is not the boards."""
    day = Day()
    names = [f"pi-{i}" for i in range(4)]
    for name in names:
        day.board(name)
        day.beats(name, telemetry={"clock_us": 1})
    day.passes(2 * POLICY.ail_s)
    assert {day.machine(name).service for name in names} == {Service.IN_SERVICE}
    for name in names[1:]:
        day.beats(name, telemetry={"clock_us": day.wall_us})
    day.beats(names[0], telemetry={"clock_us": 2, **HOT})
    day.passes(POLICY.ail_s)
    assert day.machine(names[0]).service is Service.QUARANTINED


def test_a_reboot_now_and_then_is_no_trouble(day: Day) -> None:
    for _ in range(3 * POLICY.stumbles):
        day.reboots("pi")
        day.passes(POLICY.stumbles_window_s / 2 + 30)
    assert day.machine("pi").service is Service.IN_SERVICE
