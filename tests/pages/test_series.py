"""How a board was, as points: what is kept when thousands of beats become a few hundred, and what is never made up."""

from __future__ import annotations

import math

import pytest

from picluster.pool.model import Sample
from picluster.server.pages.past import Run
from picluster.server.pages.series import SPANS, USUAL, Point, Series, points

GIB = 1 << 30
SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
NOON_US = 1_790_000_000 // 3_600 * 3_600 * SECOND_US + 7
"""A point of each span begins here."""


def beat(minutes: float, temperature: float | None = 50.0, **more: object) -> Sample:
    """One beat, so many minutes after noon."""
    return Sample("pi", NOON_US + int(minutes * MINUTE_US), temperature=temperature, **more)  # type: ignore[arg-type]


def span_of(minutes: float, mean: float, low: float, high: float) -> Sample:
    """Ten minutes in one, as they are kept after a day."""
    at_us = (NOON_US + int(minutes * MINUTE_US)) // (10 * MINUTE_US) * (10 * MINUTE_US)
    edges = {"temperature_min": low, "temperature_max": high}
    return Sample("pi", at_us, count=20, temperature=mean, **edges)


def silences(found: list[Point]) -> list[bool]:
    return [point.silent for point in found]


@pytest.mark.parametrize("span", SPANS.values(), ids=lambda span: span.key)
def test_a_span_has_at_most_some_hundred_points(span) -> None:  # type: ignore[no-untyped-def]
    """A board that beats as often as is kept: every ten seconds, all the time."""
    beats = [beat(second / 60) for second in range(0, min(span.seconds, 200_000), 10)]
    assert len(points(beats, span)) <= math.ceil(span.seconds / span.step_s) + 1 <= 361


def test_the_shortest_peak_is_kept() -> None:
    """One hot beat among cool ones, in whatever span: the highest of its point is as hot as it was."""
    beats = [beat(minute / 2, 84.0 if minute == 100 else 45.0) for minute in range(240)]
    for span in SPANS.values():
        assert max(point.temperature[2] for point in points(beats, span) if point.temperature) == 84.0


def test_a_point_tells_mean_lowest_and_highest() -> None:
    found = points([beat(0.0, 40.0), beat(0.5, 44.0), beat(1.0, 48.0)], USUAL)
    assert [point.temperature for point in found] == [(44.0, 40.0, 48.0)]


def test_a_mean_of_thinned_samples_counts_their_beats() -> None:
    found = points(
        [span_of(0, 60.0, 50.0, 70.0), Sample("pi", NOON_US + MINUTE_US, temperature=39.0)], SPANS["7d"]
    )
    assert [point.temperature for point in found] == [(59.0, 39.0, 70.0)]


def test_a_gap_stays_a_gap() -> None:
    """A board that was away for ten minutes has a point without numbers there, and lines break at it."""
    found = points([beat(0), beat(0.5), beat(11), beat(11.5)], SPANS["1h"])
    assert silences(found) == [False, False, True, False, False]
    assert found[1].at_us < found[2].at_us < found[3].at_us


def test_a_late_beat_is_no_gap() -> None:
    assert not any(silences(points([beat(0), beat(1.5), beat(6)], SPANS["1h"])))


def test_spans_of_ten_minutes_follow_one_another_without_a_gap() -> None:
    """Where one is missing, there is one."""
    whole = [span_of(minutes, 45, 44, 46) for minutes in range(0, 60, 10)]
    assert not any(silences(points(whole, USUAL)))
    assert silences(points(whole[:2] + whole[4:], USUAL)).count(True) == 1


def test_memory_is_told_as_what_is_in_use() -> None:
    """The least that was available is the most that was in use."""
    beats = [beat(0, mem_available=6.0 * GIB), beat(1, mem_available=2.0 * GIB)]
    (point,) = points(beats, USUAL, 8 * GIB)
    assert point.memory == (50.0, 25.0, 75.0)


@pytest.mark.parametrize(("available", "told"), [(9.0 * GIB, 0.0), (-1.0, 100.0)])
def test_a_board_may_report_nonsense(available: float, told: float) -> None:
    (point,) = points([beat(0, mem_available=available)], USUAL, 8 * GIB)
    assert point.memory is not None
    assert point.memory[0] == told


def test_without_its_size_nothing_is_said_of_memory() -> None:
    (point,) = points([beat(0, mem_available=1.0)], USUAL, None)
    assert point.memory is None


def test_a_mark_in_a_point_stays() -> None:
    beats = [beat(0), beat(1, throttled=True), beat(2), beat(5, under_voltage=True)]
    found = points(beats, USUAL)
    assert [(point.throttled, point.under_voltage) for point in found] == [(True, False), (False, True)]


def test_what_was_not_measured_is_null_and_not_zero() -> None:
    told = Series(USUAL, NOON_US, points([beat(0, None, load=1.0)], USUAL), [], []).as_json("")
    assert told["temperature"] == [[None], [None], [None]]
    assert told["load"] == [[1.0], [1.0], [1.0]]


def test_the_sentence_says_what_the_charts_show() -> None:
    runs = [Run("1", "ann", "job", NOON_US)]
    beats = [beat(0, 84.0, load=3.0, throttled=True), beat(10, 61.0, load=2.31)]
    series = Series(USUAL, NOON_US + 20 * MINUTE_US, points(beats, USUAL), runs, [NOON_US], 4)
    assert series.sentence == (
        "Temperature 61° now, 84° highest, load 2.31 now, 3.00 highest, 1 lease, throttled 1×, 1 reboot "
        "in the last 24 hours."
    )


def test_the_table_says_who_had_it_and_what_happened_when() -> None:
    """Newest first; a reboot stands where the board is heard again."""
    beats = [beat(0), beat(10, throttled=True), beat(20), beat(40)]
    runs = [Run("1", "ann", "", NOON_US + 5 * MINUTE_US, NOON_US + 25 * MINUTE_US)]
    series = Series(USUAL, NOON_US + HOUR_US, points(beats, USUAL), runs, [NOON_US + 39 * MINUTE_US])
    told = [(point.silent, holder, happened) for point, holder, happened in series.rows()]
    assert [row for row in told if not row[0]] == [
        (False, "", "rebooted"),
        (False, "ann", ""),
        (False, "ann", "throttled"),
        (False, "", ""),
    ]


def test_nothing_measured_is_said_so() -> None:
    assert Series(SPANS["7d"], NOON_US, [], [], []).sentence == "Nothing was measured in the last 7 days."


def test_bands_say_whose_they_are_to_whoever_looks() -> None:
    """Oldest first; one that lasts ends now."""
    runs = [
        Run("2", "bob", "", NOON_US - MINUTE_US),
        Run("1", "ann", "", NOON_US - 9 * MINUTE_US, NOON_US - 5 * MINUTE_US),
    ]
    leases = Series(USUAL, NOON_US, [], runs, []).as_json("bob")["leases"]
    assert [(lease["holder"], lease["mine"]) for lease in leases] == [("ann", False), ("bob", True)]
    assert leases[1]["until"] == NOON_US / 1e6
