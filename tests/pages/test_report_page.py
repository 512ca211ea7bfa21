"""What the page of reports makes of figures: shares, sentences, small pictures, and rows for a spreadsheet."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from picluster.server.pages.queue import usually
from picluster.server.pages.reports import heat, percent, said, share, short
from picluster.server.words import less_than
from picluster.wire import DayReport, MachineReport, Report

DAY_S = 86_400.0
IDLE = MachineReport("pi-1", False, (DAY_S,) * 7, (0.0,) * 7, (0.0,) * 7, 0, 0, 0, 0)
DAYS = tuple(DayReport(f"2026-10-{day:02}", 2 * DAY_S, DAY_S / 2, 3, 40.0, 600.0) for day in range(1, 8))
REPORT = Report(0, 7 * 86_400_000_000, 21, 39.5, 700.0, DAYS, (IDLE,))


def cells(machine: MachineReport) -> list[str]:
    return re.findall(r'<rect class="h([^"]*)"', heat(machine))


@pytest.mark.parametrize(("of", "told"), [(0, "0 %"), (0.004, "<1 %"), (0.384, "38 %"), (1, "100 %")])
def test_a_share_that_is_not_nothing_is_not_told_as_nothing(of: float, told: str) -> None:
    assert percent(of) == told


def test_a_share_of_nothing_is_nothing_and_none_is_more_than_all() -> None:
    assert (share(5, 0), share(5, 4), share(1, 4)) == (0.0, 1.0, 0.25)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "a second"),
        (0.9, "a second"),
        (1, "2 s"),
        (39.5, "40 s"),
        (59.5, "1 m"),
        (60, "2 m"),
        (3_599, "1 h"),
    ],
)
def test_less_than_is_never_less_than_it_was(seconds: float, told: str) -> None:
    assert less_than(seconds) == told


def test_cells_are_darker_the_longer_a_machine_was_used() -> None:
    used = (0.0, 60.0, DAY_S * 0.2, DAY_S * 0.5, DAY_S * 0.8, DAY_S, DAY_S)
    assert cells(replace(IDLE, used_s=used)) == ["0", "0", "1", "3", "4", "5", "5"]


def test_a_day_on_which_a_machine_was_not_there_is_hollow_and_said() -> None:
    came = replace(IDLE, there_s=(0.0, 0.0, *IDLE.there_s[2:]))
    assert cells(came)[:3] == ["-none", "-none", "0"]
    assert "day by day: not there, not there, 0 %" in heat(came)


def test_the_report_in_two_sentences() -> None:
    assert said(REPORT, 7) == (
        "In the last 7 days the machines were in use 25 % of the time. "
        "Half of all jobs waited less than 40 s, 95 of 100 less than 12 m."
    )
    assert said(replace(REPORT, wait_p50_s=None, wait_p95_s=None), 7).endswith("Nobody asked for one.")
    assert said(replace(REPORT, wait_p50_s=0.1, wait_p95_s=0.2), 7).endswith(
        "Of 100 jobs 95 waited less than a second."
    )


def test_what_whoever_waits_may_hope_for() -> None:
    assert usually(REPORT) == "Over the last 7 days half of all jobs waited less than 40 s."
    assert usually(None) == usually(replace(REPORT, wait_p50_s=None)) == ""


def test_a_day_as_people_write_it() -> None:
    assert short("2026-11-24") == "Tue 24 Nov"
