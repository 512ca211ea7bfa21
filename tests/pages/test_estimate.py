"""When a waiting job gets its machines: estimates are compared with what the rules then do, or say that nobody knows."""

from __future__ import annotations

from collections.abc import Iterator

from picluster.pool.model import Lease
from picluster.pool.roster import order_of
from picluster.server.pages.estimate import Estimate, estimates
from tests.pool.day import SLACK_S, Day

HOUR_S = 3_600.0


def estimate(day: Day, lease: str) -> Estimate:
    return estimates(day.pool.ledger.roster, _waiting(day), day.now)[lease]


def _waiting(day: Day) -> Iterator[Lease]:
    roster = day.pool.ledger.roster
    entries = sorted(entry for group in roster.waiting_groups() for entry in group.waiting)
    return (roster.leases[lease] for _, lease in entries)


def held(*boards: tuple[str, float | None]) -> Day:
    """Boards, each held by bob for so long; None: until he gives it back."""
    day = Day()
    for name, ttl_s in boards:
        day.board(name)
        day.ask("bob", f"of-{name}", name, ttl_s=ttl_s)
    return day


def test_it_is_the_end_of_the_lease_that_ends_first() -> None:
    day = held(("pi-1", 2 * HOUR_S), ("pi-2", HOUR_S))
    day.ask("ann", "hers")
    assert estimate(day, "hers") == Estimate(HOUR_S, machines=("pi-2",), choice=True)


def test_an_estimate_comes_true() -> None:
    """Nobody gives back early: the rules grant when it was said, but for the slack that every deadline has, and the
    rest of a board whose holder did not end it himself."""
    day = held(("pi-1", 600.0), ("pi-2", 900.0))
    day.ask("ann", "hers", ttl_s=100.0)
    told_s = estimate(day, "hers").in_s
    assert told_s == 600.0
    day.passes(told_s - 5, "hers")
    assert not day.has("hers")
    day.passes(5 + SLACK_S + day.policy.lock_delay_s + 5, "hers")
    assert day.has("hers") == "pi-1"


def test_time_that_has_passed_counts() -> None:
    day = held(("pi-1", HOUR_S))
    day.ask("ann", "hers")
    day.passes(600, "hers")
    assert estimate(day, "hers").in_s == HOUR_S - 600


def test_several_at_once_come_with_the_last_of_them() -> None:
    day = held(("pi-1", HOUR_S), ("pi-2", 2 * HOUR_S), ("pi-3", 3 * HOUR_S))
    day.ask("ann", "hers", count=2)
    assert estimate(day, "hers") == Estimate(2 * HOUR_S, machines=("pi-1", "pi-2"), choice=True)


def test_what_is_set_aside_already_is_not_waited_for() -> None:
    day = held(("pi-1", HOUR_S))
    day.board("pi-2")
    day.ask("ann", "hers", count=2)
    assert day.lease("hers").set_aside == ("pi-2",)
    assert estimate(day, "hers") == Estimate(HOUR_S, machines=("pi-1",))


def test_who_comes_later_waits_until_who_is_before_has_ended_too() -> None:
    """With one board for both: bob's hour, then ann's two."""
    day = held(("pi-1", HOUR_S))
    day.ask("ann", "hers", ttl_s=2 * HOUR_S)
    day.ask("eve", "evas")
    assert estimate(day, "evas").in_s == 3 * HOUR_S


def test_who_comes_later_takes_what_is_left_by_who_is_before() -> None:
    day = held(("pi-1", HOUR_S), ("pi-2", 2 * HOUR_S))
    day.ask("ann", "hers", ttl_s=10 * HOUR_S)
    day.ask("eve", "evas")
    assert estimate(day, "evas") == Estimate(2 * HOUR_S, machines=("pi-2",), choice=True)


def test_the_order_is_that_of_the_queue_not_of_coming() -> None:
    day = held(("pi-1", HOUR_S))
    day.ask("ann", "hers", priority=0, ttl_s=2 * HOUR_S)
    day.ask("op", "ops", priority=2, ttl_s=HOUR_S)
    assert order_of(day.lease("ops")) < order_of(day.lease("hers"))
    assert estimate(day, "ops").in_s == HOUR_S
    assert estimate(day, "hers").in_s == 2 * HOUR_S


def test_what_renews_itself_ends_at_its_limit_at_the_latest() -> None:
    day = Day()
    day.board("pi-1")
    day.ask("ci:nightly", "nightly", ttl_s=120.0, not_after_s=HOUR_S)
    day.ask("ann", "hers")
    day.passes(600, "nightly", "hers")
    assert estimate(day, "hers") == Estimate(HOUR_S - 600, latest=True, machines=("pi-1",))


def test_what_comes_after_a_limit_may_be_sooner_as_well() -> None:
    day = Day()
    day.board("pi-1")
    day.ask("ci:nightly", "nightly", ttl_s=120.0, not_after_s=HOUR_S)
    day.ask("ann", "hers", ttl_s=HOUR_S)
    day.ask("eve", "evas")
    assert estimate(day, "evas") == Estimate(2 * HOUR_S, latest=True, machines=("pi-1",))


def test_an_end_that_nobody_knows_is_not_guessed() -> None:
    """Neither for a lease without an end, nor for one that renews itself for ever, nor for a board that is away."""
    day = held(("pi-1", None))
    day.ask("ann", "hers")
    assert estimate(day, "hers").in_s is None

    day = held(("pi-1", 120.0))
    day.ask("ann", "hers")
    assert estimate(day, "hers").in_s is None

    day = held(("pi-1", HOUR_S))
    day.ask("ann", "hers")
    day.falls_silent("pi-1")
    day.passes(200, "hers")
    assert estimate(day, "hers").in_s is None


def test_a_drained_board_comes_for_nobody() -> None:
    day = held(("pi-1", HOUR_S), ("pi-2", 2 * HOUR_S))
    day.drain("pi-1")
    day.ask("ann", "hers")
    assert estimate(day, "hers").machines == ("pi-2",)


def test_a_board_that_rests_is_there_in_a_moment() -> None:
    day = held(("pi-1", 60.0))
    day.passes(70)
    day.ask("ann", "hers")
    assert not day.has("hers")
    assert estimate(day, "hers") == Estimate(0.0, machines=("pi-1",))


def test_who_waits_for_machines_that_are_not_there_is_told_nothing() -> None:
    day = held(("pi-1", HOUR_S))
    day.ask("ann", "hers", "model:pi6", wait_for_machines=True)
    day.ask("eve", "evas", count=2, wait_for_machines=True)
    assert estimate(day, "hers").in_s is None
    assert estimate(day, "evas").in_s is None
