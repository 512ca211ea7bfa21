"""The strip of a board's last beats, and its temperature over an hour."""

from __future__ import annotations

from picluster.pool.model import Heard, Sample
from picluster.server.pages import svg
from picluster.server.pages.trends import POINT_US, Trends

BEAT_S = 30.0
SECOND_US = 1_000_000
START_US = 1_700_000_040 * SECOND_US


def heard(at_s: float, temperature: float = 50.0, **telemetry: object) -> Heard:
    said = {"temperature": temperature, **telemetry}
    return Heard("pi-1", at_s, START_US + int(at_s * SECOND_US), telemetry=said)


def strip(*at_s: float, now_s: float, offline: bool = False) -> str:
    trends = Trends(BEAT_S)
    for at in at_s:
        trends.hear(heard(at))
    return trends.ticks("pi-1", START_US + int(now_s * SECOND_US), offline)


def test_a_board_that_is_well_has_thirty_ticks_alike() -> None:
    assert strip(*(30.0 * number for number in range(40)), now_s=1180) == svg.ALL_ON_TIME


def test_a_new_board_has_specks_where_nothing_is_known() -> None:
    assert strip(0, 30, now_s=40) == "u" * 28 + "oo"
    assert strip(now_s=40) == "u" * 30


def test_a_late_beat_stands_out_and_a_missed_one_more() -> None:
    assert strip(0, 30, 80, now_s=90).endswith("uool")
    assert strip(0, 30, 95, now_s=100).endswith("uooMl")


def test_a_silence_is_a_row_of_misses_whose_first_stands_out() -> None:
    assert strip(0, 30, now_s=30 + 30 * 6).endswith("ooMmmmm")


def test_a_board_that_has_been_away_for_long_has_nothing_else() -> None:
    assert strip(0, now_s=86_400) == "M" + "m" * 29


def test_an_offline_board_of_which_nothing_is_known_looks_missed() -> None:
    assert strip(now_s=0, offline=True) == "M" + "m" * 29


def test_a_throttled_beat_is_told_by_height_too() -> None:
    trends = Trends(BEAT_S)
    trends.hear(heard(0))
    trends.hear(heard(30, frequency_capped=True))
    assert trends.ticks("pi-1", START_US + 31 * SECOND_US, False).endswith("ow")
    assert len({height for _, height, _ in svg.KINDS.values()}) == 4


def test_temperatures_are_means_of_two_minutes_over_an_hour() -> None:
    trends = Trends(BEAT_S)
    trends.hear(heard(0, 40.0))
    trends.hear(heard(30, 50.0))
    points = trends.temperatures("pi-1", START_US + 2 * POINT_US)
    assert len(points) == 30
    assert [point for point in points if point is not None] == [45.0]


def test_memory_of_a_board_does_not_grow() -> None:
    trends = Trends(BEAT_S)
    for number in range(10_000):
        trends.hear(heard(30.0 * number))
    trend = trends._of("pi-1")
    assert len(trend.beats) <= svg.BEATS + 1 and len(trend.sums) <= 61


def test_after_a_start_the_store_says_what_was_before() -> None:
    trends = Trends(BEAT_S)
    trends.remember(Sample("pi-1", START_US + at * SECOND_US, temperature=60.0) for at in range(0, 900, 30))
    trends.hear(heard(900))
    assert trends.ticks("pi-1", START_US + 901 * SECOND_US, False) == svg.ALL_ON_TIME


def test_what_is_remembered_never_replaces_what_was_heard() -> None:
    trends = Trends(BEAT_S)
    trends.hear(heard(60))
    trends.remember([Sample("pi-1", START_US, temperature=60.0)])
    assert trends.ticks("pi-1", START_US + 61 * SECOND_US, False) == "u" * 29 + "o"


def test_who_has_beaten_is_told_once() -> None:
    trends = Trends(BEAT_S)
    trends.hear(heard(0))
    assert (trends.taken(), trends.taken()) == ({"pi-1"}, set())


def test_a_strip_says_in_words_what_it_shows() -> None:
    assert 'aria-label="Last 30 beats: 28 on time, 1 not known, 1 late"' in svg.strip("u" + "o" * 28 + "l")


def test_boards_that_are_well_share_one_drawing() -> None:
    assert svg.ticks_of(svg.ALL_ON_TIME) == '<use href="#on-time"/>'
    assert "<use" not in svg.ticks_of("l" + "o" * 29)


def test_a_sparkline_of_an_idle_board_is_flat() -> None:
    """Half a degree more or less is no mountain."""
    assert "l1 0" * 3 in svg.spark([50.0, 50.2, 50.1, 50.3])
    assert svg.spark([None] * 30) == "" and svg.spark([50.0, None]) == ""
