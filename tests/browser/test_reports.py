"""Reports in a browser: what they say, in which order, and that everybody can read them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.boards import SMALL
from tests.browser.chromium import axe
from tests.browser.conftest import LOOKS, Visitor
from tests.browser.flows import expect_live
from tests.browser.pool import Pool, pool_of
from tests.browser.week import RUNS, write_week

HOW = pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
WORN = "pi5-rack-a-01"
"""A board with a past: four leases, one of them dirty."""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    folder = tmp_path_factory.mktemp("pool")
    with pool_of(SMALL, folder) as seeded:
        write_week(folder, WORN)
        yield seeded


def names(page: Page) -> list[str]:
    return page.locator(".by-machine tbody .name").all_inner_texts()


@HOW
def test_a_report_says_how_the_machines_were_used(visitor: Visitor, script: bool) -> None:
    page = visitor("vic", script=script)
    page.goto("/reports")
    expect(page.locator(".sentence")).to_contain_text("In the last 7 days the machines were in use")
    worn = page.locator(".by-machine tbody tr").filter(has_text=WORN)
    expect(worn.locator("td").nth(2)).to_have_text(str(len(RUNS)))
    expect(worn.locator(".dirty")).to_have_text("1")
    expect(worn.locator(".verdicts")).to_have_text("3 clean")
    expect(worn.locator("svg.heat")).to_have_attribute("aria-label", days(7))
    expect(page.locator(".by-day tbody tr").first.locator("th")).to_contain_text("so far")


def days(count: int) -> re.Pattern[str]:
    """What the cells of so many days say to those who cannot see them."""
    return re.compile(r"^Used, day by day: " + ", ".join([r"(not there|<?\d+ %)"] * count) + "$")


@HOW
def test_days_and_order_stand_in_the_address(visitor: Visitor, script: bool) -> None:
    page = visitor("ann", script=script)
    page.goto("/reports")
    assert names(page) == sorted(names(page))
    page.get_by_role("link", name="30 days").click()
    expect(page.locator(".by-machine tbody svg.heat").first).to_have_attribute("aria-label", days(30))
    page.get_by_role("link", name="Dirty").click()
    assert names(page)[0] == WORN
    expect(page.get_by_role("columnheader", name="Dirty")).to_have_attribute("aria-sort", "descending")
    expect(page.locator(".choice [aria-current]")).to_have_text("30 days")
    page.get_by_role("link", name="Dirty").click()
    assert names(page)[-1] == WORN


def test_a_dirty_verdict_leads_to_what_happened(visitor: Visitor) -> None:
    page = visitor("ann")
    page.goto("/reports")
    page.locator(".dirty a").first.click()
    expect(page.locator("#events")).to_contain_text(
        f"{WORN} was dirty while bob had it · throttled, seen 7 ×"
    )


def test_a_report_as_a_file(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor("ann")
    page.goto("/reports")
    rows = []
    for number in range(2):
        with page.expect_download() as download:
            page.get_by_role("link", name="CSV").nth(number).click()
        download.value.save_as(tmp_path / "file")
        rows.append(list(csv.DictReader((tmp_path / "file").read_text().splitlines())))
    by_day, by_machine = rows
    assert len(by_day) == 7 and {"day", "used_s", "wait_p50_s"} <= set(by_day[0])
    assert len(by_machine) == 7 * len(SMALL)
    assert sum(float(row["used_s"]) for row in by_machine if row["machine"] == WORN) > 3600


def test_reports_need_a_login(visitor: Visitor) -> None:
    page = visitor()
    for path in ("/reports", "/reports.csv"):
        answer = page.goto(path)
        assert answer is not None and answer.status == 401


@LOOKS
def test_reports_can_be_read_by_everybody(visitor: Visitor, theme: str, size: str) -> None:
    page = visitor("ann", theme=theme, size=size)
    for path in ("/reports", "/reports?days=30&sort=used"):
        page.goto(path)
        expect_live(page)
        assert axe(page) == []
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0
