"""What a lease says of its boards: clean only if somebody looked all the time and saw nothing."""

from __future__ import annotations

from typing import Any

import pytest

from picluster.pool.model import Mode, OnReboot
from picluster.pool.policy import Policy
from tests.pool.day import Day

PI = {"model_name": "Raspberry Pi 5 Model B Rev 1.0"}
FINE: dict[str, Any] = {
    "throttled": 0,
    "hot": 0,
    "under_voltage": 0,
    "disk": 0,
    "clock_steps": 0,
    "beats_missed": 0,
    "agent_restarts": 0,
    "reboots": 0,
}


@pytest.fixture
def day() -> Day:
    day = Day()
    day.board("pi", Mode.ENFORCED)
    day.beats("pi", facts=PI)
    day.ask("ann", "a", "pi")
    day.opens("pi")
    return day


def verdict(day: Day, lease: str = "a") -> tuple[str, tuple[str, ...]]:
    """Of a lease whose verdict is settled."""
    assert not day.lease(lease).awaiting
    return day.lease(lease).verdict, day.lease(lease).verdict_reasons


def ended(day: Day, **counters: Any) -> tuple[str, tuple[str, ...]]:
    day.release("a")
    assert day.lease("a").awaiting == ("pi",)
    day.ends("pi", **{**FINE, **counters})
    return verdict(day)


def test_a_board_that_saw_nothing_was_clean(day: Day) -> None:
    assert ended(day) == ("clean", ())
    assert "lease.judged" in day.kinds()


@pytest.mark.parametrize(
    ("counters", "reason"),
    [
        ({"under_voltage": 4}, "under-voltage, 4 ×"),
        ({"throttled": 1}, "throttled, seen 1 ×"),
        ({"hot": 2}, "too hot, seen 2 ×"),
        ({"disk": 1}, "disk full, read-only or failing, seen 1 ×"),
        ({"clock_steps": 1}, "its clock was set, 1 ×"),
        ({"beats_missed": 3}, "3 beats missed"),
    ],
)
def test_each_counter_makes_it_dirty(day: Day, counters: dict[str, int], reason: str) -> None:
    assert ended(day, **counters) == ("dirty", (reason,))


def test_a_blind_board_is_not_a_clean_one(day: Day) -> None:
    assert ended(day, under_voltage=None) == ("unknown", ("could not see: under-voltage",))


def test_other_boards_are_believed_without_the_sensors_of_a_pi(day: Day) -> None:
    day.beats("pi", facts={"model_name": "Orange Pi 5"})
    assert ended(day, under_voltage=None, throttled=None) == ("clean", ())


def test_a_blind_board_of_any_kind_is_unknown(day: Day) -> None:
    day.beats("pi", facts={"model_name": "Orange Pi 5"})
    assert ended(day, hot=None, disk=None) == ("unknown", ("could not see: hot, disk",))


def test_a_gap_in_which_nobody_looked_is_unknown(day: Day) -> None:
    assert ended(day, agent_restarts=1)[0] == "unknown"


def test_what_was_seen_outweighs_what_was_not(day: Day) -> None:
    assert ended(day, agent_restarts=1, throttled=1) == ("dirty", ("throttled, seen 1 ×",))


@pytest.mark.parametrize("nonsense", ["many", -1, 1.5, True, None, {}, float("nan")])
def test_nonsense_is_nothing_seen(day: Day, nonsense: Any) -> None:
    found, _ = ended(day, throttled=nonsense)
    assert found == ("clean" if nonsense == -1 else "unknown")


def test_a_lease_that_its_board_ended_by_a_reboot_is_dirty(day: Day) -> None:
    day.reboots("pi")
    assert day.state("a") == "reboot"
    day.ends("pi", **FINE)
    assert verdict(day) == ("dirty", ("rebooted by itself",))


def test_a_reboot_that_was_meant_is_not_held_against_it() -> None:
    day = Day()
    day.board("pi")
    day.ask("ann", "a", "pi", on_reboot=OnReboot.KEEP)
    day.opens("pi")
    day.reboots("pi")
    assert ended(day, reboots=1)[0] == "clean"


def test_what_happened_before_and_after_is_not_in_it(day: Day) -> None:
    """Counters of another fence say nothing of this lease."""
    fence = day.lease("a").fence
    day.release("a")
    day.closes("pi", telemetry={"last_closed": {**FINE, "fence": fence - 1}})
    assert verdict(day) == ("unknown", ("the board kept no count of it",))


def test_a_board_that_does_not_report_is_unknown_in_the_end(day: Day) -> None:
    day.release("a")
    day.falls_silent("pi")
    day.passes(Policy().verdict_s - 1)
    assert day.lease("a").awaiting
    day.passes(1)
    assert verdict(day) == ("unknown", ("its closing report did not come",))


def test_a_board_that_never_saw_the_lease_is_not_waited_for() -> None:
    """It was granted and given back between two beats, and the board knows by now that nobody has it."""
    day = Day()
    day.board("pi")
    day.ask("ann", "a", "pi")
    day.release("a")
    day.beats("pi", knows=False)
    assert day.lease("a").awaiting
    day.beats("pi", knows=True)
    assert verdict(day) == ("unknown", ("the board kept no count of it",))


def test_the_verdict_comes_even_when_the_next_holder_is_there_already() -> None:
    """An advisory board is granted at once; its next report closes the one and opens the other."""
    day = Day()
    day.board("pi")
    day.ask("ann", "a", "pi")
    day.ask("bob", "b", "pi")
    first = day.lease("a").fence
    day.opens("pi")
    day.release("a")
    assert day.state("b") == "held"
    day.beats("pi", fence=day.lease("b").fence, telemetry={"last_closed": {**FINE, "fence": first, "hot": 1}})
    assert verdict(day) == ("dirty", ("too hot, seen 1 ×",))


def test_old_boards_have_nothing_to_say() -> None:
    day = Day()
    day.board("old", Mode.LEGACY)
    day.ask("ann", "a", "old")
    day.release("a")
    assert verdict(day) == ("unknown", ("runs no agent",))


def test_of_several_boards_the_worst_counts() -> None:
    """Each reason says whose it is; and it is settled when the last has reported."""
    day = Day()
    for name in ("pi-1", "pi-2", "pi-3"):
        day.board(name)
    day.ask("ann", "a", "name:pi-*", count=3)
    fence = day.lease("a").fence
    for name in ("pi-1", "pi-2", "pi-3"):
        day.beats(name, fence=fence, closed=False)
    day.release("a")
    day.ends("pi-1", **FINE)
    day.ends("pi-2", **{**FINE, "throttled": 5})
    assert day.lease("a").awaiting == ("pi-3",)
    day.ends("pi-3", **{**FINE, "agent_restarts": 1})
    found, reasons = verdict(day)
    assert (found, reasons[0]) == ("dirty", "pi-2: throttled, seen 5 ×")
    assert reasons[1].startswith("pi-3: ")


def test_a_lease_that_never_got_a_board_has_no_verdict(day: Day) -> None:
    day.ask("bob", "b", "pi")
    day.release("b")
    assert (day.lease("b").verdict, day.lease("b").awaiting) == ("", ())
