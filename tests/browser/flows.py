"""What people do on the page of machines, as steps for stories: find a row, open a dialog, read what it says."""

from __future__ import annotations

from collections.abc import Sequence

from playwright.sync_api import Locator, Page, expect

from tests.browser.boards import PI5, Board
from tests.service import PATIENCE_S

expect.set_options(timeout=PATIENCE_S * 1000)


def boards(*names: str) -> Sequence[Board]:
    """Free boards of one model."""
    return tuple(Board(name, f"10.9.0.{number}", PI5) for number, name in enumerate(names, 1))


def row(page: Page, name: str) -> Locator:
    return page.locator(f"#m-{name}")


def button(page: Page, name: str) -> Locator:
    """The one button of a row."""
    return row(page, name).locator("[data-key]")


def sheet(page: Page) -> Locator:
    """The dialog that is open; without script, the page that it is."""
    return page.locator(".sheet")


def title(page: Page) -> Locator:
    return sheet(page).locator("#dialog-title")


def command(page: Page) -> Locator:
    """The same in a terminal."""
    return sheet(page).locator("#command code")


def press(page: Page) -> None:
    """What the dialog is there for."""
    sheet(page).locator("[data-main]").click()


def is_scripted(page: Page) -> bool:
    return bool(page.evaluate("matchMedia('(scripting: enabled)').matches"))


def open_machines(page: Page, path: str = "/") -> None:
    """The list; with script, when it is live."""
    page.goto(path)
    if is_scripted(page):
        expect_live(page)


def expect_live(page: Page) -> None:
    expect(page.locator("#sign .word")).to_have_text("Live")


def expect_state(page: Page, name: str, word: str) -> None:
    """The state that a row shows; without script one looks again, and so does this."""
    if not is_scripted(page):
        page.goto("/")
    expect(row(page, name).locator(".state .word")).to_have_text(word)


def chosen_from_menu(page: Page, name: str, word: str) -> None:
    """A machine's menu opened, and one of its entries."""
    row(page, name).locator("[data-popup]").click()
    page.locator(".menu").get_by_role("link", name=word).click()


def lock(page: Page, name: str, job: str = "") -> None:
    """By its dialog, until it is granted."""
    button(page, name).click()
    page.fill("#job", job)
    press(page)
    expect(title(page)).to_have_text(f"{name} is yours")


def leave_dialog(page: Page) -> None:
    sheet(page).locator("[data-close][data-main]").click()
