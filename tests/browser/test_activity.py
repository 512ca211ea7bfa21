"""What happened, in a browser: sentences that come by themselves, filters that stand in the address, files to take away."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.boards import SMALL, Lock
from tests.browser.chromium import axe
from tests.browser.conftest import LOOKS, Visitor
from tests.browser.flows import expect_live
from tests.browser.pool import Pool

HOW = pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])

FREE = next(board.name for board in SMALL if not board.lock and not board.pending)


@pytest.fixture(scope="module")
def happened(pool: Pool) -> Pool:
    """Somebody has had a board and given it back."""
    pool.unlock(pool.lock(FREE, Lock("bob", "a story of its own", 600.0)), "bob")
    return pool


def sentences(page: Page) -> Locator:
    return page.locator("#events li .what")


def test_the_newest_comes_first_as_a_sentence(visitor: Visitor, happened: Pool) -> None:
    page = visitor("vic")
    page.goto("/activity?kind=leases")
    first, second = sentences(page).nth(0), sentences(page).nth(1)
    expect(first).to_have_text(f"bob gave back {FREE}")
    expect(second).to_have_text(f"bob locked {FREE} · a story of its own")
    expect(second.get_by_role("link", name=FREE)).to_have_attribute("href", f"/m/{FREE}")


def test_what_happens_now_comes_by_itself(visitor: Visitor, happened: Pool) -> None:
    page = visitor("ann")
    page.goto("/activity")
    expect_live(page)
    happened.call("PATCH", f"machines/{FREE}", {"comment": "seen live"}, happened.person("dana"))
    expect(sentences(page).first).to_have_text(f"dana changed the comment of {FREE} · seen live")
    expect(page.locator("#events li").first).to_have_class(re.compile("new"))


@HOW
def test_filters_stand_in_the_address(visitor: Visitor, happened: Pool, script: bool) -> None:
    page = visitor("ann", script=script)
    page.goto("/activity")
    page.fill("input[name='machine']", FREE)
    page.fill("input[name='holder']", "bob")
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(re.compile(rf"machine={FREE}&holder=bob|holder=bob.*machine={FREE}"))
    expect(sentences(page)).to_have_text([f"bob gave back {FREE}", f"bob locked {FREE} · a story of its own"])
    page.get_by_role("link", name="Boards", exact=True).click()
    expect(page.locator("#events")).to_contain_text("Nothing of this kind happened.")
    expect(page.locator("input[name='holder']")).to_have_value("bob")
    page.locator("#events").get_by_role("link", name="Clear").click()
    expect(page).to_have_url(re.compile(r"/activity$"))


@HOW
def test_a_day_is_the_readers_own(visitor: Visitor, happened: Pool, script: bool) -> None:
    """With script; without, it is that of UTC."""
    page = visitor("ann", script=script)
    page.goto("/activity?until=2020-01-01")
    expect(page.locator("#events")).to_contain_text("Nothing of this kind happened.")
    page.fill("input[name='until']", "")
    page.fill("input[name='since']", "2020-01-01")
    page.get_by_role("button", name="Show").click()
    expect(sentences(page).first).to_be_visible()
    assert bool(re.search(r"zone=-?\d", page.url)) is script


def test_a_date_that_is_none_says_so(visitor: Visitor) -> None:
    page = visitor("ann")
    page.goto("/activity?since=soon")
    expect(page.locator("[role='alert']")).to_contain_text("From: 'soon' is no day.")


def test_highlights_leave_out_the_steps_between(visitor: Visitor, happened: Pool) -> None:
    page = visitor("ann")
    page.goto("/activity?kind=all")
    expect(sentences(page).filter(has_text="logged in").first).to_be_visible()
    page.get_by_role("link", name="Highlights").click()
    expect(sentences(page).first).to_be_visible()
    expect(sentences(page).filter(has_text="logged in")).to_have_count(0)


def test_older_pages_follow_without_a_gap(visitor: Visitor, happened: Pool) -> None:
    for number in range(110):
        what = {"comment": f"note {number}"}
        happened.call("PATCH", f"machines/{FREE}", what, happened.person("dana"))
    page = visitor("ann")
    page.goto("/activity")
    told = sentences(page).all_inner_texts()
    page.get_by_role("link", name="Older").click()
    expect(page.get_by_role("link", name="Newest")).to_be_visible()
    told += sentences(page).all_inner_texts()
    notes = [int(found) for text in told for found in re.findall(r"note (\d+)", text)]
    assert notes == list(range(109, -1, -1))


def test_files_have_what_the_page_shows(visitor: Visitor, happened: Pool, tmp_path: Path) -> None:
    page = visitor("ann")
    page.goto(f"/activity?kind=leases&holder=bob&machine={FREE}")
    found: dict[str, str] = {}
    for name in ("CSV", "JSON Lines"):
        with page.expect_download() as download:
            page.get_by_role("link", name=name).click()
        download.value.save_as(tmp_path / "file")
        found[name] = (tmp_path / "file").read_text()
    rows = list(csv.DictReader(found["CSV"].splitlines()))
    lines = [json.loads(line) for line in found["JSON Lines"].splitlines()]
    assert [row["kind"] for row in rows] == [line["kind"] for line in lines] == ["lease.ended", "lease.held"]
    assert rows[0]["what"] == f"bob gave back {FREE}"


def test_the_record_needs_a_login(visitor: Visitor) -> None:
    page = visitor()
    for path in ("/activity", "/activity.csv", "/activity.jsonl"):
        answer = page.goto(path)
        assert answer is not None and answer.status == 401
    assert page.locator("#events").count() == 0


@LOOKS
def test_the_record_can_be_read_by_everybody(visitor: Visitor, happened: Pool, theme: str, size: str) -> None:
    page = visitor("ann", theme=theme, size=size)
    for path in ("/activity", "/activity?machine=nothing"):
        page.goto(path)
        expect_live(page)
        assert axe(page) == []
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0
