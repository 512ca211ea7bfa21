"""Notifications under Settings: a webhook is made, tried and removed, with script and without."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.boards import PI5, Board
from tests.browser.chromium import axe
from tests.browser.conftest import Visitor
from tests.browser.flows import command, press, sheet, title
from tests.browser.pool import Pool, pool_of
from tests.browser.test_settings import HOW, PASSWORD, enter
from tests.server.receiver import Receiver, receiver

HOME = "/settings/webhooks"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """With an admin who has a password; it may reach this machine."""
    boards = [Board("first", "10.8.0.1", PI5)]
    with pool_of(boards, tmp_path_factory.mktemp("pool"), PICLUSTER_WEBHOOK_NETWORKS="127.0.0.0/8") as seeded:
        seeded.call("POST", "people", {"name": "root", "role": "admin", "password": PASSWORD})
        yield seeded


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@HOW
def test_an_admin_makes_a_webhook_tries_it_and_removes_it(
    visitor: Visitor, pool: Pool, there: Receiver, script: bool
) -> None:
    page = enter(visitor(script=script), "root", path=HOME)
    page.get_by_role("link", name="New webhook").first.click()
    page.fill("#hook-name", "ci")
    page.fill("#hook-url", f"{there.url}/in")
    page.get_by_label("Too many wait").uncheck()
    if script:
        expect(page.locator("#command code")).to_have_text("picluster webhooks add ci --kind generic -")
    press(page)
    assert page.locator("#secret code").inner_text().startswith("whsec_")
    page.get_by_role("link", name="I have it").click()
    page.get_by_role("button", name="Send a test").click()
    expect(page.locator(".said")).to_have_text("The message has arrived: 204")
    assert there.received[0].json["type"] == "webhook.test"
    page.get_by_role("button", name="Remove").click()
    expect(page.locator(".said")).to_have_text("The webhook is gone.")


@HOW
def test_an_admin_gives_a_webhook_another_address(
    visitor: Visitor, pool: Pool, there: Receiver, script: bool
) -> None:
    """In the dialog that made it; what was chosen before stands in it."""
    name = f"moves-{script}".lower()
    pool.call("POST", "webhooks", {"name": name, "url": f"{there.url}/old", "notices": ["queue.long"]})
    page = enter(visitor(script=script), "root", path=f"{HOME}/{name}")
    page.get_by_role("link", name="Edit").click()
    expect(title(page)).to_have_text(f"Edit {name}")
    expect(command(page)).to_have_text(f"picluster webhooks change {name} --address -")
    expect(page.get_by_label("Too many wait")).to_be_checked()
    page.fill("#hook-url", f"{there.url}/new")
    page.get_by_label("A machine went silent").check()
    press(page)
    expect(page.locator("#hook")).to_have_text(name)
    expect(page.locator("dl")).to_contain_text("A machine went silent")
    page.get_by_role("button", name="Send a test").click()
    expect(page.locator(".said")).to_have_text("The message has arrived: 204")
    assert [one.path for one in there.received] == ["/new"]


def test_a_chat_room_is_another_address_of_the_same_dialog(
    visitor: Visitor, pool: Pool, there: Receiver
) -> None:
    page = enter(visitor(), "root", path=HOME)
    page.get_by_role("link", name="New webhook").first.click()
    sheet(page).get_by_role("link", name="Slack").click()
    expect(page.locator("#hook-url-hint")).to_contain_text("hooks.slack.com")
    page.fill("#hook-name", "room")
    page.fill("#hook-url", f"{there.url}/in")
    press(page)
    expect(page.locator("#hook")).to_have_text("room")


@pytest.mark.parametrize(("theme", "size"), [("light", "phone"), ("dark", "desktop")])
def test_everybody_can_use_it(visitor: Visitor, pool: Pool, theme: str, size: str) -> None:
    pool.call("POST", "webhooks", {"name": f"of-{theme}", "url": "https://chat.invalid/in"})
    pool.call("PATCH", "machines/first", {"service": "quarantined", "reason": "smoke"})
    page = enter(visitor(theme=theme, size=size), "root")
    for path in (HOME, f"{HOME}/new", f"{HOME}/of-{theme}", f"{HOME}/of-{theme}/edit"):
        page.goto(path)
        assert axe(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
