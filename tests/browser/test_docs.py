"""The API's page, as whoever writes a script reads it: in all looks, by keyboard, and without script."""

from __future__ import annotations

from tests.browser.chromium import axe
from tests.browser.conftest import LOOKS, Visitor

CALL = "put-leases-lease_id"


@LOOKS
def test_it_can_be_read_by_everybody(visitor: Visitor, size: str, theme: str) -> None:
    """Nothing for axe to find, and nothing wider than the window."""
    page = visitor(size=size, theme=theme)
    page.goto("/docs")
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_call_is_found_by_keyboard_alone(visitor: Visitor) -> None:
    """From the list to the call, whose address can be given to others; no script is needed for it."""
    page = visitor(size="phone", script=False)
    page.goto("/docs")
    page.locator(f"nav.index a[href='#{CALL}']").focus()
    page.keyboard.press("Enter")
    assert page.url.endswith(f"/docs#{CALL}")
    call = page.locator(f"#{CALL}")
    assert call.evaluate("(one) => one.getBoundingClientRect().top >= 52 && one.matches(':target')")
    assert call.get_by_role("link", name="LeaseAnswer").count() == 1


def test_whoever_is_logged_in_finds_it_in_their_menu(visitor: Visitor) -> None:
    page = visitor("ann")
    page.goto("/")
    page.locator(".person > summary").click()
    page.get_by_role("link", name="API").click()
    assert page.locator("h1").inner_text() == "API"
