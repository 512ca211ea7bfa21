"""How boards were, kept beat by beat for a day and thinned for a month, in both databases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from picluster.pool.model import Heard, Sample
from picluster.server.sampling import SPACING_US, Sampler
from picluster.store import KEPT_S, SPAN_S, samples
from picluster.store.sql import SqlStore

S = 1_000_000
DAY_US, SPAN_US = int(KEPT_S["sample"]) * S, int(SPAN_S) * S
EVER = 2**62
BEGIN_US = 1_700_000_400 * S
"""The beginning of a span."""


def keep(store: SqlStore, *some: Sample) -> None:
    """As a turn keeps them."""
    with store.turn() as turn:
        turn.write(replace(turn.state, service_s=turn.now), (), (), (), some)


def thin(store: SqlStore, wall_us: int) -> int:
    """All that is due; in how many portions."""
    portions = 0
    while store.thin(wall_us):
        portions += 1
    return portions


def kept(store: SqlStore, machine: str = "pi", since_us: int = 0, limit: int = 10_000) -> Sequence[Sample]:
    return store.samples(machine, since_us, EVER, limit)


def sample(at_us: int, temperature: float | None = 50.0, machine: str = "pi", **more: bool) -> Sample:
    """As it is read back: of one beat, mean and edges are the same."""
    edges = {"temperature_min": temperature, "temperature_max": temperature}
    return Sample(machine, at_us, temperature=temperature, **edges, **more)


def test_samples_come_back_as_they_were(store: SqlStore) -> None:
    """By machine, oldest first, within bounds, and no more than asked for."""
    mine = [sample(BEGIN_US + i * 30 * S, 40.0 + i) for i in range(5)]
    keep(store, *reversed(mine), sample(BEGIN_US, machine="other"))
    assert kept(store) == mine
    assert store.samples("pi", mine[1].at_us, mine[3].at_us, 10) == mine[1:3]
    assert kept(store, limit=2) == mine[:2]


def test_a_sample_that_is_there_stays(store: SqlStore) -> None:
    """Two replicas may have heard one beat."""
    first = sample(BEGIN_US, 40.0)
    keep(store, first)
    keep(store, sample(BEGIN_US, 99.0))
    assert kept(store) == [first]


def test_after_a_day_samples_are_thinned(store: SqlStore) -> None:
    """To mean, lowest and highest of each ten minutes; what was marked once stays marked."""
    old = [sample(BEGIN_US + i * 60 * S, 40.0 + i, under_voltage=i == 3) for i in range(20)]
    fresh = sample(BEGIN_US + DAY_US, 70.0)
    keep(store, *old, fresh)
    thin(store, BEGIN_US + DAY_US + 2 * SPAN_US)
    first, second, last = kept(store)
    assert (first.at_us, second.at_us, last) == (BEGIN_US, BEGIN_US + SPAN_US, fresh)
    assert (first.count, first.temperature_min, first.temperature, first.temperature_max) == (
        10,
        40.0,
        44.5,
        49.0,
    )
    assert (first.under_voltage, second.under_voltage, first.load) == (True, False, None)


def test_a_span_that_is_not_over_is_left_alone(store: SqlStore) -> None:
    """Or it would be thinned in two halves, of which one would be lost."""
    keep(store, sample(BEGIN_US), sample(BEGIN_US + SPAN_US - 1))
    thin(store, BEGIN_US + DAY_US + SPAN_US - 1)
    assert len(kept(store)) == 2
    thin(store, BEGIN_US + DAY_US + SPAN_US)
    assert [one.count for one in kept(store)] == [2]


def test_many_machines_are_thinned_in_portions(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: what is left over by one portion is the next one's."""
    monkeypatch.setattr(samples, "AT_ONCE", 2)
    keep(store, *(sample(BEGIN_US, machine=f"pi-{i}") for i in range(7)))
    assert thin(store, BEGIN_US + 2 * DAY_US) == 4
    assert [len(kept(store, f"pi-{i}")) for i in range(7)] == [1] * 7
    assert kept(store, "pi-0")[0].temperature_min == 50.0


def test_a_month_later_they_are_gone(store: SqlStore) -> None:
    keep(store, sample(BEGIN_US), sample(BEGIN_US + DAY_US))
    thin(store, BEGIN_US + 3 * DAY_US)
    assert len(kept(store)) == 2
    store.tidy(0.0, BEGIN_US + int(KEPT_S["thinned"]) * S + 1)
    assert [one.at_us for one in kept(store)] == [BEGIN_US + DAY_US]


# --- Which beats are kept -----------------------------------------------------------------------------------


def sampled(*beats: Heard) -> list[Sample]:
    """What is kept of beats that come one by one."""
    sampler, found = Sampler(), []
    for beat in beats:
        found += sampler.samples([beat])
        sampler.kept([beat])
    return found


def heard(at_us: int, boot_id: str = "first", name: str = "pi", **telemetry: object) -> Heard:
    return Heard(name, heard_us=at_us, boot_id=boot_id, telemetry={"temperature": 50.0, **telemetry})


def test_a_board_that_beats_all_the_time_does_not_fill_the_disk() -> None:
    beats = [heard(BEGIN_US + i * S) for i in range(60)]
    assert len(sampled(*beats)) == 60 * S // SPACING_US


def test_each_board_has_its_own_measure() -> None:
    both = Sampler().samples([heard(BEGIN_US), heard(BEGIN_US, name="other")])
    assert [one.machine for one in both] == ["pi", "other"]


def test_a_reboot_between_two_samples_is_marked() -> None:
    said = [heard(BEGIN_US), heard(BEGIN_US + SPACING_US), heard(BEGIN_US + 2 * SPACING_US, "second")]
    assert [one.rebooted for one in sampled(*said)] == [False, False, True]


def test_an_alarm_between_two_beats_is_marked_once() -> None:
    """The agent has counted it; it was over when either beat was sent."""
    counts = (0, 1, 1, 0, 2)
    said = [
        heard(BEGIN_US + i * SPACING_US, since_open={"under_voltage": count})
        for i, count in enumerate(counts)
    ]
    assert [one.under_voltage for one in sampled(*said)] == [False, True, False, False, True]


def test_a_clock_that_was_set_back_costs_no_samples() -> None:
    assert len(sampled(heard(BEGIN_US), heard(BEGIN_US - 3_600 * S))) == 2


def test_what_a_failed_turn_would_have_kept_is_kept_by_the_next() -> None:
    sampler = Sampler()
    assert sampler.samples([heard(BEGIN_US)]) == sampler.samples([heard(BEGIN_US)])


@pytest.mark.parametrize("nonsense", ["warm", None, [], True, float("nan"), 10**30])
def test_what_is_no_number_is_not_measured(nonsense: object) -> None:
    (one,) = Sampler().samples([heard(BEGIN_US, temperature=nonsense, load=nonsense, mem_available=nonsense)])
    assert (one.temperature, one.load, one.mem_available) == (None, None, None)
