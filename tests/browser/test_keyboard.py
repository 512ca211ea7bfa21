"""Without a mouse: the whole of locking, and everything else on the page of machines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visitor
from tests.browser.flows import boards, button, expect_state, open_machines, row, sheet, title
from tests.browser.pool import Pool, pool_of
from tests.service import until

NAMES = ("key-a", "key-b", "key-c", "key-d", "other-a", "other-b")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    with pool_of(boards(*NAMES), tmp_path_factory.mktemp("pool")) as seeded:
        yield seeded


def keys(page: Page, *pressed: str) -> None:
    for key in pressed:
        page.keyboard.press(key)


def test_the_whole_of_locking(visitor: Visitor, pool: Pool) -> None:
    """Search, go to the row, lock, look, unlock; and one is always where one was."""
    page = visitor("bob")
    open_machines(page)
    keys(page, "/")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type("key-")
    expect(row(page, "other-a")).to_be_hidden()
    keys(page, "Escape", "j", "j", "k", "j")
    expect(row(page, "key-b")).to_be_focused()
    keys(page, "l")
    expect(title(page)).to_have_text("Lock key-b")
    expect(page.locator("#job")).to_be_focused()
    page.keyboard.type("by hand")
    keys(page, "Tab", "ArrowLeft")  # from 2 h to 30 m
    expect(sheet(page).locator("#command code")).to_have_text(
        "picluster lock key-b --job 'by hand' --for 30m"
    )
    keys(page, "Enter")
    expect(title(page)).to_have_text("key-b is yours")
    expect(sheet(page).locator("[data-main]")).to_be_focused()
    keys(page, "Enter")
    expect(sheet(page)).to_have_count(0)
    expect_state(page, "key-b", "Mine")
    expect(button(page, "key-b")).to_have_text("Unlock")
    assert page.evaluate("document.activeElement.closest('tr')?.id") == "m-key-b"
    keys(page, "u")
    expect_state(page, "key-b", "Free")
    assert page.evaluate("document.activeElement.closest('tr')?.id") == "m-key-b"
    until(lambda: pool.machine("key-b")["lease"] is None)


def test_escape_leaves_a_dialog_for_where_one_was(visitor: Visitor) -> None:
    page = visitor("bob")
    open_machines(page)
    keys(page, "j")
    first = page.evaluate("document.activeElement.id")
    keys(page, "l")
    expect(title(page)).to_be_visible()
    keys(page, "Escape")
    expect(sheet(page)).to_have_count(0)
    assert page.evaluate("document.activeElement.id") == first


def test_tab_stays_in_the_dialog(visitor: Visitor) -> None:
    """What is behind it cannot be reached, all the way round."""
    page = visitor("bob")
    open_machines(page)
    keys(page, "j", "l")
    expect(title(page)).to_be_visible()
    for _ in range(14):
        keys(page, "Tab")
        assert page.evaluate(
            "document.activeElement === document.body || document.activeElement.closest('dialog') !== null"
        )


def test_selecting_and_the_bulk_bar(visitor: Visitor, pool: Pool) -> None:
    page = visitor("bob")
    open_machines(page)
    keys(page, "j", "x", "j", "x", "j", "x", "x")
    expect(page.locator("#bulk")).to_contain_text("2 selected")
    page.locator("#bulk").get_by_role("button", name="Lock", exact=True).focus()
    keys(page, "Enter")
    expect(title(page)).to_have_text("Lock 2 machines")
    keys(page, "Enter")
    expect(sheet(page).locator("li")).to_have_count(2)
    keys(page, "Enter")
    expect(sheet(page)).to_have_count(0)
    until(lambda: pool.machine("key-a")["lease"] and pool.machine("key-b")["lease"])
    for name in ("key-a", "key-b"):
        pool.unlock(pool.machine(name)["lease"]["id"], "bob")


def test_waiting(visitor: Visitor, pool: Pool) -> None:
    held = pool.lease("ann", selector="key-c", ttl_s=7200)
    page = visitor("bob")
    open_machines(page, "/?q=key-c")
    keys(page, "j", "w")
    expect(title(page)).to_have_text("Wait for key-c")
    keys(page, "Enter")
    expect(title(page)).to_have_text("You wait for name:key-c")
    keys(page, "Escape")
    expect(row(page, "key-c")).to_be_focused()
    pool.unlock(held, "ann")
    expect(title(page)).to_have_text("key-c is yours")
    page.get_by_role("button", name="Undo").focus()
    keys(page, "Enter")
    until(lambda: pool.machine("key-c")["lease"] is None)
    expect(sheet(page)).to_have_count(0)


def test_the_menu_of_a_row(visitor: Visitor) -> None:
    """Arrows go through it, Enter opens, and leaving the dialog leads back to the row's menu."""
    page = visitor("dana")
    open_machines(page)
    keys(page, "j", "m")
    expect(page.locator("#popup .menu a").first).to_be_focused()
    keys(page, "End")
    expect(page.locator("#popup .menu a").last).to_be_focused()
    keys(page, "ArrowDown")
    expect(page.locator("#popup .menu a").first).to_be_focused()
    page.locator("#popup").get_by_role("link", name="Drain").focus()
    keys(page, "Enter")
    expect(title(page)).to_have_text("Take key-a out of service")
    expect(page.locator("#f-reason")).to_be_focused()
    keys(page, "Escape")
    expect(row(page, "key-a").locator("[data-popup]")).to_be_focused()


def test_the_ssh_line_is_copied(visitor: Visitor) -> None:
    page = visitor("bob")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_machines(page)
    keys(page, "j", "s")
    expect(page.locator("#announce")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == "ssh pi@10.9.0.1"


def test_a_machine_is_opened(visitor: Visitor) -> None:
    page = visitor("bob")
    open_machines(page)
    keys(page, "j", "o")
    page.wait_for_url("**/m/key-a")


def test_the_keys_are_told(visitor: Visitor) -> None:
    page = visitor("bob")
    open_machines(page)
    keys(page, "j", "?")
    expect(title(page)).to_have_text("Keys")
    keys(page, "Escape")
    expect(row(page, "key-a")).to_be_focused()


def test_letters_in_a_field_are_letters(visitor: Visitor) -> None:
    """And with Ctrl they are the browser's."""
    page = visitor("bob")
    open_machines(page)
    keys(page, "/")
    page.keyboard.type("jkxlu?")
    expect(page.locator("#q")).to_have_value("jkxlu?")
    expect(sheet(page)).to_have_count(0)


def test_the_first_tab_is_a_way_past_the_top(visitor: Visitor) -> None:
    page = visitor("bob")
    open_machines(page)
    keys(page, "Tab")
    expect(page.get_by_role("link", name="To the page")).to_be_focused()
    keys(page, "Enter")
    assert page.evaluate("document.activeElement.id") == "main"
