"""The record over plain HTTP: whatever stands in the address, and files that are safe to open."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator

import httpx2
import pytest

from picluster.pool.model import Event
from picluster.server.pages.activity import everything, harmless, rows
from picluster.server.reports import DAY_US
from picluster.store import HistoryQuery
from picluster.store.sqlite import SqliteStore
from tests.server.conftest import Api, Board, fresh_lease
from tests.service import ADMIN, PATIENCE_S
from tests.store.pools import FakeClock, write

FORMULA = '=HYPERLINK("https://elsewhere.example","look")'


@pytest.fixture(scope="module")
def browser(api: Api) -> Iterator[httpx2.Client]:
    """An admin's."""
    with httpx2.Client(base_url=api.address, timeout=PATIENCE_S) as client:
        headers = {"Origin": api.address}
        assert client.post("/login", data={"token": ADMIN}, headers=headers).status_code == 303
        yield client


def sentences(page: httpx2.Response) -> list[str]:
    found = re.findall(r'<span class="what">(.*?)</span>\n', page.text, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", "", one).split()) for one in found]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("since=soon", "From: &#39;soon&#39; is no day."),
        ("until=2026-13-01", "is no day"),
        ("since=2026-10-31&zone=x", "is no day"),
        ("since=2026-10-31&until=2026-10-30", "From is a later day than To."),
        ("kind=lease.eaten", "is nothing that happens here"),
        ("after=x", "after: must be a whole number."),
        ("after=99999999999999999999", "after: must be a whole number."),
        ("machine=%00", "Machine: has a NUL"),
        ("holder=" + "x" * 300, "Who: is 300 bytes long"),
    ],
)
def test_what_makes_no_sense_is_said_with_the_way_out(browser: httpx2.Client, query: str, told: str) -> None:
    """And what was asked for stands in the form still."""
    page = browser.get(f"/activity?{query}")
    assert page.status_code == 400 and told in page.text
    assert browser.get(f"/activity.csv?{query}").status_code == 400


@pytest.mark.parametrize("query", ["until=9999-12-31", "since=0001-01-01&zone=-1440", "since=1969-12-31"])
def test_the_ends_of_the_calendar_break_nothing(browser: httpx2.Client, query: str) -> None:
    assert browser.get(f"/activity?{query}").status_code in (200, 400)


def test_a_single_kind_can_be_asked_for(api: Api, board: Board, browser: httpx2.Client) -> None:
    api.put(fresh_lease(), {"selector": board.name, "job": "one kind"})
    page = browser.get(f"/activity?machine={board.name}&kind=lease.held")
    assert sentences(page) == [f"admin locked {board.name} · one kind"]
    assert '<a href="/activity?machine=' in page.text and "lease.held" in page.text


def test_markup_in_what_happened_stays_text(api: Api, board: Board, browser: httpx2.Client) -> None:
    api.patch(f"machines/{board.name}", {"comment": "<script>alert(1)</script>\u202e"})
    page = browser.get(f"/activity?machine={board.name}")
    assert "<script>alert" not in page.text and "&lt;script&gt;alert(1)" in page.text
    assert "\u202e" not in page.text


def test_a_spreadsheet_runs_nothing_of_a_file(api: Api, board: Board, browser: httpx2.Client) -> None:
    """A job that is a formula is told as text, in whatever column."""
    who = api.token("user", "=cmd|calc")
    lease = fresh_lease()
    api.put(lease, {"selector": board.name, "job": FORMULA}, who)
    api.patch(f"machines/{board.name}", {"comment": FORMULA})
    answer = browser.get(f"/activity.csv?machine={board.name}&kind=all")
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    found = list(csv.DictReader(io.StringIO(answer.text)))
    assert found and not [
        field for row in found for field in row.values() if field.startswith(("=", "+", "-", "@"))
    ]
    (held,) = [row for row in found if row["kind"] == "lease.held"]
    assert held["holder"] == "'=cmd|calc"
    assert json.loads(held["detail"])["job"] == FORMULA
    api.delete(f"{lease}?reason=over")


@pytest.mark.parametrize("field", ["=1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_what_a_spreadsheet_would_run_is_quoted(field: str) -> None:
    assert harmless(field) == f"'{field}"


@pytest.mark.parametrize("field", ["", "pi-1", "a=1", "2026-10-31", "1.5"])
def test_what_it_would_not_run_stays_as_it_is(field: str) -> None:
    assert harmless(field) == field


def test_lines_are_those_of_the_api(api: Api, board: Board, browser: httpx2.Client) -> None:
    answer = browser.get(f"/activity.jsonl?machine={board.name}&kind=all")
    assert [json.loads(line) for line in answer.text.splitlines()] == api.get(
        f"history?machine={board.name}"
    ).json()


@pytest.fixture
def store() -> Iterator[SqliteStore]:
    """One with events in three days, three at each moment."""
    opened = SqliteStore(":memory:", clock=FakeClock())
    opened.open()
    moments = [
        (number, day * DAY_US + number) for day in range(3) for number in range(day * 10 + 1, day * 10 + 11)
    ]
    told = [
        Event(number, 1, at, "machine.online", "picluster", machine=f"pi-{n}")
        for number, at in moments
        for n in range(3)
    ]
    write(opened, happened=told)
    yield opened
    opened.close()


def test_a_file_has_everything_once(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is divided into pieces; and it is no longer than the limit."""
    everything_there = list(store.history(HistoryQuery(limit=1000)))
    assert len(everything_there) == 90
    for piece in (1, 2, 3, 7, 1000):
        monkeypatch.setattr("picluster.server.pages.activity.PIECE", piece)
        assert [one for found in everything(store, HistoryQuery()) for one in found] == everything_there
        limited = [one for found in everything(store, HistoryQuery(), 10) for one in found]
        assert limited == everything_there[:10]


def test_a_file_begins_with_its_head(store: SqliteStore) -> None:
    text = "".join(rows(everything(store, HistoryQuery(until_us=DAY_US))))
    found = list(csv.DictReader(io.StringIO(text)))
    assert len(found) == 30
    assert found[0]["at"] == "1970-01-01T00:00:00.000+00:00"
    assert (found[0]["what"], found[0]["id"]) == ("pi-2 is back", "1.10")
