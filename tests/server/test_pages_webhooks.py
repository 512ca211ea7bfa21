"""Notifications on the settings page, without script: made, tried, paused, removed; and no secret a second time."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx2
import pytest

from picluster.server.webhooks.notices import NOTICES
from tests.server.conftest import Api
from tests.server.receiver import Receiver, receiver
from tests.service import ADMIN, PATIENCE_S, ServiceProcess, on_sqlite, service, until

OWN = {"Sec-Fetch-Site": "same-origin"}
NEW = "/settings/webhooks/new"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service that may reach this machine, and whose boards do not fall silent, which would be told."""
    settings = {"PICLUSTER_WEBHOOK_NETWORKS": "127.0.0.0/8", "PICLUSTER_POLICY__OFFLINE_S": "3600"}
    with service(*on_sqlite(tmp_path_factory.mktemp("pool")), **settings) as running:
        yield running


@pytest.fixture(scope="module")
def browser(api: Api) -> Iterator[httpx2.Client]:
    """An admin's."""
    with httpx2.Client(
        base_url=api.address, timeout=PATIENCE_S, headers={"Accept": "text/html"}, follow_redirects=True
    ) as opened:
        opened.post("/login", data={"token": ADMIN}, headers=OWN)
        yield opened


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


def send(browser: httpx2.Client, path: str, **fields: object) -> httpx2.Response:
    return browser.post(path, data=fields, headers=OWN)


def new(browser: httpx2.Client, name: str, url: str, **fields: object) -> httpx2.Response:
    return send(browser, NEW, **{"name": name, "url": url, "kind": "generic", "notice": [*NOTICES], **fields})


def test_a_program_s_secret_is_shown_once(browser: httpx2.Client, api: Api, there: Receiver) -> None:
    """And its address never again, neither in a page nor in one that says what was wrong."""
    made = new(browser, "ci", f"{there.url}/secret-part")
    (secret,) = set(re.findall(r"whsec_[A-Za-z0-9+/=]+", made.text))
    assert made.headers["cache-control"] == "no-store" and "content-encoding" not in made.headers
    again = new(browser, "ci", f"{there.url}/secret-part")
    assert again.status_code == 409 and "There is a webhook ci already" in again.text
    pages = again.text + browser.get("/settings/webhooks").text + browser.get("/settings/webhooks/ci").text
    assert there.url in pages
    assert "secret-part" not in pages and secret not in pages
    assert api.get("webhooks").json()[0]["notices"] == []  # all were ticked: what comes later, too


def test_a_chat_room_is_tried_from_its_page(browser: httpx2.Client, there: Receiver) -> None:
    page = new(browser, "room", f"{there.url}/secret-part", kind="slack", notice="machine.lost")
    assert page.url.path == "/settings/webhooks/room" and NOTICES["machine.lost"].about in page.text
    assert "The message has arrived: 204" in send(browser, "/settings/webhooks/room/test").text
    there.mood, there.says = 404, b"<b>no_such_channel</b>"
    tried = send(browser, "/settings/webhooks/room/test").text
    assert "did not arrive: 404: &lt;b&gt;no_such_channel" in tried
    assert "secret-part" not in tried
    assert [message.json["text"] for message in there.received] == ["admin tries whether this arrives"] * 2


def test_it_is_edited_in_the_same_dialog(browser: httpx2.Client, api: Api, there: Receiver) -> None:
    """What is left out stays: its address is not shown, and need not be typed to change the rest."""
    new(browser, "edited", f"{there.url}/secret-part", notice="machine.lost")
    dialog = browser.get("/settings/webhooks/edited/edit").text
    assert "secret-part" not in dialog and dialog.count(" checked") == 1
    page = send(browser, "/settings/webhooks/edited/edit", url="", notice="machine.back")
    assert page.url.path == "/settings/webhooks/edited" and NOTICES["machine.back"].about in page.text
    assert "arrived: 204" in send(browser, "/settings/webhooks/edited/test").text
    assert there.received[0].path == "/secret-part"
    renewed = send(
        browser,
        "/settings/webhooks/edited/edit",
        url=f"{there.url}/b",
        notice="machine.back",
        renew_secret="yes",
    )
    assert (
        re.search(r"whsec_[A-Za-z0-9+/=]+", renewed.text) and renewed.headers["cache-control"] == "no-store"
    )
    send(browser, "/settings/webhooks/edited/test")
    assert there.received[1].path == "/b"
    send(browser, "/settings/webhooks/edited/remove")


def test_what_is_wrong_with_a_change_is_said_in_the_dialog(browser: httpx2.Client, there: Receiver) -> None:
    new(browser, "kept", there.url, kind="slack")
    refused = send(
        browser, "/settings/webhooks/kept/edit", url="http://10.0.0.1/secret-part", notice="queue.long"
    )
    assert refused.status_code == 400 and "PICLUSTER_WEBHOOK_NETWORKS" in refused.text
    assert "secret-part" not in refused.text and refused.text.count(" checked") == 1
    assert "new secret" not in refused.text  # a chat room has none
    assert browser.get("/settings/webhooks/nobody/edit").status_code == 404
    send(browser, "/settings/webhooks/kept/remove")


def test_it_is_paused_resumed_and_removed_by_buttons(
    browser: httpx2.Client, api: Api, there: Receiver
) -> None:
    new(browser, "gate", there.url)
    paused = send(browser, "/settings/webhooks/gate/pause")
    assert "The webhook is paused" in paused.text and ">paused<" in paused.text
    assert "The webhook is told again" in send(browser, "/settings/webhooks/gate/resume").text
    assert "The webhook is gone" in send(browser, "/settings/webhooks/gate/remove").text
    assert browser.get("/settings/webhooks/gate").status_code == 404
    assert send(browser, "/settings/webhooks/gate/explode").status_code == 404


def test_what_it_was_told_is_on_its_page(browser: httpx2.Client, api: Api, there: Receiver) -> None:
    """What jobs, boards and receivers chose stands in it as text."""
    there.mood, there.says = 500, b"<script>alert(1)</script>"
    new(browser, "watch", there.url)
    board = api.board()
    api.patch(f"machines/{board.name}", {"service": "quarantined", "reason": "<i>smoke</i>"})
    until(lambda: "to be tried again" in browser.get("/settings/webhooks/watch").text)
    page = browser.get("/settings/webhooks/watch").text
    assert "&lt;i&gt;smoke" in page and "500: &lt;script&gt;" in page and "in a row failed" in page
    assert ">failing<" in browser.get("/settings/webhooks").text
    send(browser, "/settings/webhooks/watch/remove")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"url": "http://10.0.0.1/"}, "PICLUSTER_WEBHOOK_NETWORKS"),
        ({"url": "ftp://x"}, "must be like https://host/path"),
        ({"name": "a b"}, "must be letters, digits"),
        ({"notice": []}, "choose what it is told of"),
    ],
)
def test_what_is_wrong_is_said_in_the_dialog(
    browser: httpx2.Client, fields: dict[str, object], said: str
) -> None:
    """Which keeps what was typed, but for the address."""
    name = str(fields.pop("name", "typed-name"))
    url = str(fields.pop("url", "https://chat.invalid/secret-part"))
    refused = new(browser, name, url, **fields)
    assert refused.status_code == 400
    assert said in refused.text and f'value="{name}"' in refused.text
    assert "secret-part" not in refused.text


def test_who_has_to_log_in_first_finds_the_form_without_the_address(api: Api) -> None:
    """It would stand in the address of a page."""
    asked = httpx2.post(
        api.address + NEW,
        data={"name": "kept", "url": "https://chat.invalid/secret-part", "kind": "slack"},
        headers={**OWN, "Accept": "text/html"},
        timeout=PATIENCE_S,
    )
    assert asked.status_code == 401
    assert "name%3Dkept" in asked.text or "name=kept" in asked.text
    assert "secret-part" not in asked.text
