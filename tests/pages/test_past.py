"""What is read out of a machine's events: its leases with their verdicts, page by page, and the addresses it has had.

The events are those that the rules note; the record is a real store.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from picluster.pool.model import Mode
from picluster.server.pages import past
from picluster.server.pages.past import Stay
from picluster.store.sqlite import SqliteStore
from tests.pool.day import Day

CLEAN = dict.fromkeys(
    ("throttled", "under_voltage", "hot", "disk", "clock_steps", "beats_missed", "agent_restarts"), 0
)


@pytest.fixture
def day() -> Day:
    """A pool with one board that enforces."""
    day = Day()
    day.board("pi", Mode.ENFORCED)
    return day


@pytest.fixture
def store() -> Iterator[SqliteStore]:
    store = SqliteStore(":memory:")
    store.open()
    yield store
    store.close()


def written(day: Day, store: SqliteStore) -> SqliteStore:
    """All that has happened so far, in the record."""
    with store.turn() as turn:
        turn.write(day.pool.ledger.state, [], day.record, [])
    day.record.clear()
    return store


def lease(day: Day, who: str, lease: str, minutes: float = 10, **counted: int) -> None:
    """Somebody has the board for a while, and gives it back; the board tells what it counted."""
    day.ask(who, lease, "pi", job=f"job of {who}")
    day.opens("pi")
    day.passes(minutes * 60, lease)
    fence = day.machine("pi").fence
    day.release(lease)
    day.closes("pi", telemetry={"last_closed": {**CLEAN, **counted, "fence": fence}})


def test_each_lease_has_its_holder_its_job_its_time_and_its_verdict(day: Day, store: SqliteStore) -> None:
    """Newest first; the one that lasts has no end and no verdict."""
    lease(day, "ann", "first")
    lease(day, "bob", "second", 20, throttled=7)
    day.ask("ann", "third", "pi")
    third, second, first = past.runs(written(day, store), "pi")
    assert (first.holder, first.job, first.verdict, first.why) == ("ann", "job of ann", "clean", "released")
    assert (second.holder, second.verdict, second.reasons) == ("bob", "dirty", ("throttled, seen 7 ×",))
    assert 1200 <= second.seconds < 1260
    assert (third.lease, third.until_us, third.verdict) == ("third", 0, "")


def test_pages_of_leases_leave_none_out_and_tell_none_twice(day: Day, store: SqliteStore) -> None:
    """Each with its end, also where the next page begins between a grant and its end."""
    for number in range(7):
        lease(day, "ann", f"lease-{number}", 1)
    written(day, store)
    found, before = [], 0
    while page := past.runs(store, "pi", before=before, limit=3):
        found += page
        before = page[-1].revision
    assert [run.lease for run in found] == [f"lease-{number}" for number in range(6, -1, -1)]
    assert all(run.until_us and run.verdict == "clean" for run in found)


def test_a_lease_that_began_before_a_span_reaches_into_it(day: Day, store: SqliteStore) -> None:
    """What had ended by then does not; what lasts has no end."""
    lease(day, "ann", "over")
    day.ask("bob", "reaches in", "pi")
    day.opens("pi")
    day.passes(300, "reaches in")
    since_us = day.wall_us
    day.passes(300, "reaches in")
    day.release("reaches in")
    day.closes("pi")
    day.ask("ann", "lasts", "pi")
    found = past.runs_since(written(day, store), "pi", since_us)
    assert [(run.lease, run.since_us >= since_us, run.until_us > 0) for run in found] == [
        ("lasts", True, False),
        ("reaches in", True, True),
    ]


def test_reboots_are_told_with_their_times(day: Day, store: SqliteStore) -> None:
    day.passes(60)
    before_us = day.wall_us
    day.reboots("pi")
    assert past.reboots(written(day, store), "pi", before_us) == [day.wall_us]
    assert past.reboots(store, "pi", day.wall_us + 1) == []


def test_a_board_without_an_agent_is_judged_without_an_event(day: Day, store: SqliteStore) -> None:
    """What the pool itself remembers of the lease fills the gap; a closing report that is awaited leaves it open."""
    day.board("old", Mode.LEGACY)
    day.lock("ann", "old", "locked")
    day.free("ann", "old")
    (run,) = past.runs(written(day, store), "old")
    assert run.verdict == ""
    assert past.known_better(run, day.lease("locked")).verdict == "unknown"
    assert past.known_better(run, None) == run


# Addresses


def test_a_board_that_never_moved_has_one_address(day: Day, store: SqliteStore) -> None:
    machine = day.machine("pi")
    assert past.addresses(written(day, store), machine) == [Stay(machine.address, machine.registered_us, 0)]


def test_addresses_are_told_from_when_to_when_the_present_one_first(day: Day, store: SqliteStore) -> None:
    first, since_us = day.machine("pi").address, day.machine("pi").registered_us
    day.passes(3600)
    day.beats("pi", address="10.0.0.77")
    moved_us = day.wall_us
    assert past.addresses(written(day, store), day.machine("pi")) == [
        Stay("10.0.0.77", moved_us, 0),
        Stay(first, since_us, moved_us),
    ]


def test_a_board_that_goes_to_and_fro_has_each_address_once(day: Day, store: SqliteStore) -> None:
    first = day.machine("pi").address
    for address in ("10.0.0.77", first, "10.0.0.77"):
        day.beats("pi", address=address)
    found = past.addresses(written(day, store), day.machine("pi"))
    assert [stay.address for stay in found] == ["10.0.0.77", first]


def test_an_address_that_another_board_took_over_is_not_told_as_nothing(day: Day, store: SqliteStore) -> None:
    day.board("other", address=day.machine("pi").address)
    day.beats("pi", address="10.0.0.78")
    found = past.addresses(written(day, store), day.machine("pi"))
    assert [stay.address for stay in found] == ["10.0.0.78"]


# Deletions


def test_what_was_deleted_is_known_and_what_never_was_is_not(day: Day, store: SqliteStore) -> None:
    day.forget("pi")
    deletion = past.forgotten(written(day, store), "pi")
    assert deletion is not None
    assert deletion.actor == "op"
    assert past.forgotten(store, "nothing") is None
