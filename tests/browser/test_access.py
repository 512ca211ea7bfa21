"""In and out: by password, by token, by the shared key, and by the one-time link of the first start."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import axe
from tests.browser.conftest import Visitor
from tests.browser.flows import press, sheet, title
from tests.browser.pool import Pool
from tests.service import KEY, on_sqlite, service

HOW = pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module", autouse=True)
def accounts(pool: Pool) -> None:
    for name, role in (("erin", "user"), ("Fay", "operator")):
        pool.call("POST", "people", {"name": name, "role": role, "password": PASSWORD})


def enter(page: Page, name: str, password: str = PASSWORD) -> None:
    page.fill("#name", name)
    page.fill("#password", password)
    page.locator("[data-main]").click()


def expect_in(page: Page, name: str) -> None:
    expect(page.locator("body")).to_have_attribute("data-viewer", name)


@HOW
def test_by_name_and_password_and_out_again(visitor: Visitor, script: bool) -> None:
    page = visitor(script=script)
    page.goto("/")
    page.get_by_role("link", name="Log in").click()
    enter(page, "erin")
    expect_in(page, "erin")
    page.locator(".person summary").click()
    page.get_by_role("button", name="Log out").click()
    expect_in(page, "")
    page.goto("/queue")
    expect(title(page)).to_have_text("Log in")


def test_a_name_is_the_same_in_upper_and_lower_case(visitor: Visitor) -> None:
    page = visitor()
    page.goto("/login")
    enter(page, "FAY")
    expect_in(page, "Fay")


@HOW
def test_a_wrong_password_keeps_the_name_and_nothing_else(visitor: Visitor, script: bool) -> None:
    page = visitor(script=script)
    page.goto("/login?next=/queue")
    enter(page, "erin", "something else")
    expect(page.get_by_role("alert")).to_contain_text("Upper and lower case count")
    expect(page.locator("#name")).to_have_value("erin")
    expect(page.locator("#password")).to_have_value("")
    enter(page, "erin")
    expect(page).to_have_url(re.compile("/queue$"))


def test_one_is_where_one_wanted_to_be(visitor: Visitor) -> None:
    page = visitor()
    page.goto("/queue?span=1h")
    enter(page, "erin")
    expect(page).to_have_url(re.compile(r"/queue\?span=1h$"))


@pytest.mark.parametrize("elsewhere", ["//evil.example", "https://evil.example/", "/\\evil.example"])
def test_the_way_on_leads_to_our_own_pages_alone(visitor: Visitor, pool: Pool, elsewhere: str) -> None:
    page = visitor()
    page.goto(f"/login?next={elsewhere}")
    enter(page, "erin")
    expect(page).to_have_url(f"{pool.address}/")


def test_the_way_on_does_not_lead_back_to_the_login(visitor: Visitor, pool: Pool) -> None:
    page = visitor()
    page.goto("/login")
    page.get_by_role("link", name="Log in").click()
    enter(page, "erin")
    expect(page).to_have_url(f"{pool.address}/")


def test_with_the_shared_key_under_any_name(visitor: Visitor) -> None:
    """Which nobody has verified, and which everybody can see."""
    page = visitor()
    page.goto("/login")
    page.fill("#name", "zoe")
    page.get_by_text("With a token").click()
    page.fill("#token", KEY)
    page.locator("[data-main]").click()
    expect_in(page, "legacy:zoe")


def test_with_a_wrong_token_the_field_stays_open(visitor: Visitor) -> None:
    page = visitor()
    page.goto("/login")
    page.get_by_text("With a token").click()
    page.fill("#token", "pc_person_000000000000_nothing")
    page.locator("[data-main]").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.locator("#token")).to_be_visible()
    expect(page.locator("#token")).to_have_value("")


def test_a_session_that_is_lost_in_a_dialog_loses_nothing_typed(visitor: Visitor, pool: Pool) -> None:
    """The login takes its place, and afterwards the dialog is as it was."""
    page = visitor("bob")
    page.goto("/m/pi5-rack-a-01/lock")
    page.fill("#job", "typed before")
    page.context.clear_cookies()
    press(page)
    expect(title(page)).to_have_text("Log in")
    expect(sheet(page)).to_contain_text("with what you typed")
    enter(page, "erin")
    expect(page.locator("#job")).to_have_value("typed before")
    assert pool.state("pi5-rack-a-01") == "free"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/login", "/login?next=/queue", "/setup?code=nothing"])
def test_everybody_can_use_the_way_in(visitor: Visitor, theme: str, path: str) -> None:
    page = visitor(theme=theme, size="phone")
    page.goto(path)
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@HOW
def test_the_first_start(tmp_path: Path, visitor: Visitor, script: bool) -> None:
    """The printed link makes the first admin, who lands where machines are added; then it is used up."""
    with service(*on_sqlite(tmp_path), PICLUSTER_ADMIN_TOKEN="") as fresh:
        found = re.search(r"/setup\?code=\S+", fresh.said())
        assert found, fresh.said()
        page = visitor(script=script)
        page.goto(fresh.address + found.group())
        page.fill("#name", "root")
        page.fill("#password", PASSWORD)
        page.fill("#again", "something else")
        press(page)
        expect(page.get_by_role("alert")).to_contain_text("the two passwords differ")
        expect(page.locator("#name")).to_have_value("root")
        page.fill("#password", PASSWORD)
        page.fill("#again", PASSWORD)
        press(page)
        expect(page.locator("h1")).to_have_text("Add a machine")
        expect_in(page, "root")
        page.goto(fresh.address + found.group())
        expect(title(page)).to_contain_text("used already")
        expect(sheet(page)).to_contain_text("You are logged in as root already.")
        page.goto("about:blank")  # which has no stream that would miss the service
