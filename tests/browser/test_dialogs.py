"""Dialogs when things go wrong: a lost session, a service that is away, a machine that is not what it was. Nothing that
was typed is lost, and the next step is always offered."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.boards import RACKS, TROUBLE, Board
from tests.browser.chromium import Watch, axe
from tests.browser.conftest import LOOKS, Visitor
from tests.browser.flows import (
    boards,
    button,
    command,
    open_machines,
    press,
    row,
    sheet,
    title,
)
from tests.browser.pool import Pool, pool_of, with_a_queue

NAMES = [f"dia-{number:02}" for number in range(48)]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    with pool_of(boards(*NAMES), tmp_path_factory.mktemp("pool")) as seeded:
        yield seeded


_names = iter(NAMES)


@pytest.fixture
def name() -> str:
    """A free board that no other story has touched."""
    return next(_names)


HOW = pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])


def log_in_with(page: Page, token: str) -> None:
    """By the form that stands there."""
    sheet(page).locator("summary").click()
    page.fill("#token", token)
    press(page)


def troubles(page: Page) -> list[str]:
    """What axe finds. The cells of the strip are small and close; for each there is a row below that does the same, which
    WCAG 2.5.8 allows and axe cannot know."""
    return [told for told in axe(page) if not (told.startswith("target-size") and "a[title=" in told)]


# Sessions


@HOW
def test_a_session_that_was_lost_loses_nothing_typed(
    visitor: Visitor, pool: Pool, name: str, script: bool
) -> None:
    """One logs in, and the dialog is there with the job and the length that one had chosen."""
    page = visitor("bob", script=script)
    open_machines(page)
    button(page, name).click()
    page.fill("#job", 'a <long> "job" & more')
    page.get_by_text("8 h", exact=True).click()
    page.context.clear_cookies()
    press(page)
    expect(title(page)).to_have_text("Log in")
    log_in_with(page, pool.person("bob"))
    expect(title(page)).to_have_text(f"Lock {name}")
    expect(page.locator("#job")).to_have_value('a <long> "job" & more')
    expect(page.locator("input[name=for][value='8h']")).to_be_checked()
    press(page)
    expect(title(page)).to_have_text(f"{name} is yours")
    assert pool.machine(name)["lease"]["job"] == 'a <long> "job" & more'


def test_a_wrong_password_keeps_where_one_was_going(visitor: Visitor, pool: Pool, name: str) -> None:
    page = visitor()
    page.goto(f"/m/{name}/lock?job=typed+before")
    expect(title(page)).to_have_text("Log in")
    page.fill("#name", "bob")
    page.fill("#password", "wrong")
    press(page)
    expect(sheet(page).locator(".trouble")).to_be_visible()
    expect(page.locator("#name")).to_have_value("bob")
    log_in_with(page, pool.person("bob"))
    expect(page.locator("#job")).to_have_value("typed before")


def test_the_back_button_brings_the_form_back_as_it_was(visitor: Visitor, name: str) -> None:
    page = visitor("bob")
    page.goto(f"/m/{name}/lock")
    page.fill("#job", "typed")
    page.goto("/")
    page.go_back()
    expect(page.locator("#job")).to_have_value("typed")
    expect(command(page)).to_contain_text("--job typed")


def test_a_slip_to_escape_loses_nothing_and_cancel_forgets(visitor: Visitor, name: str) -> None:
    page = visitor("bob")
    open_machines(page)
    button(page, name).click()
    page.fill("#job", "a long story")
    page.keyboard.press("Escape")
    expect(sheet(page)).to_have_count(0)
    button(page, name).click()
    expect(page.locator("#job")).to_have_value("a long story")
    sheet(page).get_by_role("link", name="Cancel").click()
    button(page, name).click()
    expect(page.locator("#job")).to_have_value("")


def test_the_back_button_goes_from_search_to_search(visitor: Visitor) -> None:
    """Each filter that was chosen is a step; the list is live at each."""
    page = visitor("bob")
    open_machines(page)
    page.locator("[data-chip='state:drained']").click()
    expect(page).to_have_url(re.compile("q=state%3Adrained"))
    expect(page.locator("tr.machine")).to_have_count(0)
    page.go_back()
    expect(row(page, NAMES[0])).to_be_visible()
    expect(page.locator("#q")).to_have_value("")


def test_a_form_sent_twice_is_one_lease(visitor: Visitor, pool: Pool, name: str) -> None:
    """The back button, and the same button again: the answer is the same, and nobody waits for oneself."""
    page = visitor("bob", script=False)
    page.goto(f"/m/{name}/lock")
    body = {field: page.locator(f"[name={field}]").first.input_value() for field in ("id", "job")}
    headers = {"Origin": pool.address}
    answers = [
        page.context.request.post(
            f"{pool.address}/m/{name}/lock", form={**body, "for": "2h"}, headers=headers
        )
        for _ in range(2)
    ]
    assert [answer.status for answer in answers] == [200, 200]
    assert all(f"{name} is yours" in answer.text() for answer in answers)


# What is different meanwhile


@HOW
def test_a_machine_that_was_deleted_meanwhile(visitor: Visitor, pool: Pool, script: bool) -> None:
    name = next(_names)
    page = visitor("bob", script=script)
    page.goto(f"/m/{name}/lock")
    pool.call("DELETE", f"machines/{name}")
    press(page)
    expect(title(page)).to_contain_text(f"No machine is called '{name}' any more")
    expect(sheet(page).get_by_role("link", name="To the machines")).to_be_visible()


@HOW
def test_a_lease_that_ended_meanwhile(visitor: Visitor, pool: Pool, name: str, script: bool) -> None:
    """Extending what is somebody else's by now says whose it is, and what one can do."""
    lease = pool.lease("bob", selector=name, ttl_s=7200)
    page = visitor("bob", script=script)
    page.goto(f"/m/{name}/extend")
    pool.unlock(lease, "bob")
    pool.call("PATCH", f"machines/{name}", {"service": "in_service"})
    taken = pool.call("PUT", f"leases/{lease[:-12]}aaaaaaaaaaaa", {"selector": name}, pool.person("ann"))
    press(page)
    whose = "ann has" if taken["state"] == "held" else "You have"
    expect(sheet(page).locator(".trouble")).to_contain_text(whose)
    expect(sheet(page).locator(".trouble")).to_contain_text(re.compile("Wait for it|Lock it again"))


@HOW
def test_a_machine_that_changed_hands_is_not_taken_from_the_wrong_one(
    visitor: Visitor, pool: Pool, name: str, script: bool
) -> None:
    lease = pool.lease("bob", selector=name, ttl_s=7200)
    page = visitor("dana", script=script)
    page.goto(f"/m/{name}/take")
    page.fill("#f-reason", "gone home")
    pool.unlock(lease, "bob")
    pool.lease("vera", selector=f"name:{name}", ttl_s=7200)
    press(page)
    trouble = sheet(page).locator(".trouble")
    expect(trouble).to_contain_text(re.compile(f"{name} has changed hands|Nobody has {name} any more"))
    expect(page.locator("#f-reason")).to_have_value("gone home")


@HOW
def test_a_machine_that_was_drained_meanwhile(visitor: Visitor, pool: Pool, name: str, script: bool) -> None:
    """Says that, offers to wait, and names one that is free instead."""
    page = visitor("bob", script=script)
    page.goto(f"/m/{name}/lock")
    page.fill("#job", "kept")
    pool.call("PATCH", f"machines/{name}", {"service": "drained", "reason": "New fan"})
    press(page)
    expect(title(page)).to_contain_text(name)
    expect(sheet(page)).to_contain_text("drained")
    expect(sheet(page).get_by_role("button", name="Wait for it")).to_be_visible()
    expect(sheet(page).locator("[name=job]").first).to_have_value("kept")


def test_a_service_that_is_away_leaves_the_form_as_it_is(
    visitor: Visitor, watches: list[Watch], pool: Pool, name: str
) -> None:
    """And the same button is the same request, when it is back."""
    page = visitor("bob")
    watches[0].pardon("ERR_FAILED")
    open_machines(page)
    button(page, name).click()
    page.fill("#job", "in bad times")
    page.route("**/lock", lambda route: route.abort())
    press(page)
    expect(sheet(page).locator(".trouble")).to_contain_text("The service did not answer.")
    expect(page.locator("#job")).to_have_value("in bad times")
    page.unroute("**/lock")
    press(page)
    expect(title(page)).to_have_text(f"{name} is yours")


def test_a_word_that_is_no_length_is_told_beside_the_form(visitor: Visitor, name: str) -> None:
    page = visitor("bob", script=False)
    page.goto(f"/m/{name}/lock?for=soon&job=typed")
    expect(page.locator("#job")).to_have_value("typed")


def test_a_dialog_of_something_that_cannot_be_done(visitor: Visitor, name: str) -> None:
    page = visitor("dana")
    answer = page.goto(f"/m/{name}/explode")
    assert answer
    assert answer.status == 404
    expect(title(page)).to_contain_text("explode")


# For everybody


VERBS = (
    "lock",
    "wait",
    "comment",
    "label",
    "drain",
    "undrain",
    "review",
    "approve",
    "power",
    "take",
    "delete",
)
PAGES = (*(f"/m/{{}}/{verb}" for verb in VERBS), "/bulk?do=drain&machine={}", "/bulk?do=lock&machine={}")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_dialog_can_be_used_by_everybody(visitor: Visitor, theme: str) -> None:
    """As a page of its own, in both themes; axe finds nothing."""
    page = visitor("dana", theme=theme)
    found = {}
    for path in PAGES:
        page.goto(path.format(NAMES[0]))
        expect(title(page)).to_be_visible()
        found[path] = troubles(page)
    assert {path: told for path, told in found.items() if told} == {}


@LOOKS
def test_dialogs_in_place_can_be_used_by_everybody(
    visitor: Visitor, pool: Pool, size: str, theme: str
) -> None:
    """Open over the list, with an answer and with a refusal; the menu and the login, too."""
    name, taken = next(_names), next(_names)
    lease = pool.lease("ann", selector=taken, ttl_s=7200)
    page, nobody = visitor("bob", size=size, theme=theme), visitor(size=size, theme=theme)
    open_machines(page)
    button(page, name).click()
    expect(title(page)).to_be_visible()
    found = {"lock": troubles(page)}
    press(page)
    expect(title(page)).to_have_text(f"{name} is yours")
    found["granted"] = troubles(page)
    page.goto(f"/m/{taken}/lock")
    press(page)
    found["refused"] = troubles(page)
    open_machines(page)
    if size == "desktop":  # on a phone the menu is on the machine's page
        row(page, name).locator("[data-popup]").click()
        expect(page.locator("#popup .menu")).to_be_visible()
        found["menu"] = troubles(page)
    for path in ("/login", "/nothing/here", f"/m/{name}/lock"):
        nobody.goto(path)
        found[path] = troubles(nobody)
    pool.unlock(lease, "ann")
    assert {what: told for what, told in found.items() if told} == {}


@pytest.mark.parametrize("seeds", [(), RACKS, TROUBLE], ids=["empty", "24", "trouble"])
def test_the_list_can_be_used_by_everybody(browser: Browser, tmp_path: Path, seeds: Sequence[Board]) -> None:
    """In both themes, at a desk and on a phone, for who operates and for who has no name."""
    found = {}
    with pool_of(seeds, tmp_path) as seeded:
        if seeds is RACKS:
            with_a_queue(seeded)
        for theme, width, who in (
            ("light", 1440, "ann"),
            ("dark", 1440, "ann"),
            ("light", 390, "ann"),
            ("dark", 390, ""),
            ("light", 900, ""),
        ):
            with browser.new_context(
                base_url=seeded.address,
                color_scheme="dark" if theme == "dark" else "light",
                viewport={"width": width, "height": 900},
            ) as context:
                if who:
                    form = {"token": seeded.person(who)}
                    context.request.post("/login", form=form, headers={"Origin": seeded.address})
                page = context.new_page()
                open_machines(page)
                found[theme, width, who] = troubles(page)
                assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert {what: told for what, told in found.items() if told} == {}
