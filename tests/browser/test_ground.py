"""The ground that the stories stand on: that a browser's complaints are heard, and that a pool is as it was ordered."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route

from tests.browser.boards import RACKS
from tests.browser.chromium import Watch, assert_quiet, axe, shoot
from tests.browser.conftest import Visitor
from tests.browser.pool import Pool, pool_of, with_a_queue

POLICY = "default-src 'none'; script-src 'self'; style-src 'self'"
GOOD = "<!doctype html><html lang=en><title>Good</title><main><h1>Good</h1><p>All is well.</p></main>"


def show(page: Page, html: str) -> None:
    """Open a page of this text, under a policy like ours; but for `/own.js` every file it asks for is missing."""

    def answer(route: Route) -> None:
        if route.request.is_navigation_request():
            headers = {"Content-Security-Policy": POLICY, "Content-Type": "text/html; charset=utf-8"}
            route.fulfill(body=html, headers=headers)
        elif route.request.url.endswith("/own.js"):
            route.fulfill(body="document.title = 'it ran'", content_type="text/javascript")
        else:
            route.fulfill(status=404, body="")

    page.route("**/*", answer)
    page.goto("/made-up")


def test_a_good_page_is_nothing_to_complain_about(page: Page, watch: Watch) -> None:
    show(page, GOOD)
    assert watch.complaints == []
    assert axe(page) == []


@pytest.mark.parametrize(
    ("planted", "heard"),
    [
        ("<p style='color: red'>red</p>", "style-src"),
        ("<script>document.title = 'injected'</script>", "script-src"),
        ("<p onclick='alert(1)'>click</p>", "script-src"),
        ("<img src='https://elsewhere.example/x.png' alt=''>", "img-src"),
        ("<script src='/static/gone.js'></script>", "404: .*/static/gone.js"),
        ("<link rel=stylesheet href='/static/gone.css'>", "404: .*/static/gone.css"),
    ],
)
def test_what_goes_wrong_in_a_page_fails_its_test(page: Page, watch: Watch, planted: str, heard: str) -> None:
    show(page, GOOD + planted)
    page.wait_for_load_state("load")
    with pytest.raises(AssertionError, match=heard):
        assert_quiet([watch])
    watch.complaints.clear()


def test_an_error_in_a_script_fails_its_test(page: Page, watch: Watch) -> None:
    show(page, GOOD)
    with page.expect_event("pageerror"):
        page.evaluate("setTimeout(() => { throw new Error('planted') })")
    with pytest.raises(AssertionError, match="planted"):
        assert_quiet([watch])
    watch.complaints.clear()


def test_what_is_meant_to_happen_can_be_pardoned(page: Page, watch: Watch) -> None:
    show(page, GOOD + "<script src='/static/gone.js'></script>")
    watch.pardon("/static/gone.js")
    assert_quiet([watch])


def test_axe_finds_what_is_planted_and_says_where(page: Page) -> None:
    """The page's own policy is in force all the while."""
    show(page, GOOD + "<button id=nameless></button>")
    found = "\n".join(axe(page))
    assert "button-name (critical) at #nameless" in found


def test_axe_can_be_told_to_leave_a_rule_out(page: Page) -> None:
    show(page, GOOD + "<main><button></button></main>")
    assert not [line for line in axe(page, "button-name") if line.startswith("button-name")]


def test_a_phone_is_narrow_and_a_dark_theme_dark(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor(size="phone", theme="dark")
    show(page, GOOD)
    assert page.evaluate("[innerWidth, matchMedia('(prefers-color-scheme: dark)').matches]") == [390, True]
    shoot(page, tmp_path / "folder/picture.png")
    assert (tmp_path / "folder/picture.png").read_bytes().startswith(b"\x89PNG")


def test_two_visitors_are_two_people(visitor: Visitor) -> None:
    """With cookies of their own, which no script can read; and somebody without a name has none."""
    ann, bob, nobody = visitor("ann"), visitor("bob"), visitor()
    cookies = [{cookie["name"]: cookie for cookie in page.context.cookies()} for page in (ann, bob, nobody)]
    anns, bobs = (theirs["picluster_session"] for theirs in cookies[:2])
    assert anns["value"] != bobs["value"]
    assert anns["httpOnly"]
    assert cookies[2] == {}


@pytest.mark.parametrize(("script", "title"), [(True, "it ran"), (False, "Good")])
def test_a_visitor_may_have_no_script(visitor: Visitor, script: bool, title: str) -> None:
    page = visitor(script=script)
    show(page, GOOD + "<script src='/own.js'></script>")
    assert page.title() == title


def test_the_pool_is_as_in_the_picture(tmp_path: Path) -> None:
    """24 boards, each in the state that it is drawn in, with three who wait."""
    with pool_of(RACKS, tmp_path) as pool:
        with_a_queue(pool)
        machines = pool.call("GET", "machines")
        queue = pool.call("GET", "queue")
        samples = pool.call("GET", "machines/pi5-cam-01/samples")
    assert Counter(machine["state"] for machine in machines) == {
        "free": 7,
        "locked": 11,
        "cleaning": 1,
        "set_aside": 1,
        "drained": 1,
        "quarantined": 1,
        "offline": 1,
        "pending": 1,
    }
    assert [waiting["holder"] for waiting in queue] == ["ann", "ci:pipelines/net", "bob"]
    assert queue[1]["set_aside"] == ["pi4-rack-b-04"]
    assert len(samples) > 100


def test_a_small_pool_can_be_looked_at_at_once(pool: Pool) -> None:
    assert pool.state("pi5-rack-a-01") == "free"
    assert pool.machine("pi5-rack-a-02")["lease"]["holder"] == "ann"
    assert pool.state("pi5-rack-a-07") == "pending"
