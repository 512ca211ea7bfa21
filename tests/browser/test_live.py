"""A page that is left open: it shows what others do, says how fresh it is, and outlives the service."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx2
import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import Watch
from tests.browser.conftest import Visitor
from tests.browser.flows import (
    boards,
    button,
    expect_live,
    expect_state,
    leave_dialog,
    lock,
    open_machines,
    press,
    row,
    sheet,
    title,
)
from tests.browser.pool import Pool, pool_of
from tests.service import PATIENCE_S, service, until

NAMES = [f"live-{number:02}" for number in range(32)]
AWAY = r"ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|ERR_FAILED"
"""What a browser says of a service that is not there."""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    with pool_of(boards(*NAMES), tmp_path_factory.mktemp("pool")) as seeded:
        yield seeded


_names = iter(NAMES)


@pytest.fixture
def name() -> str:
    """A free board that no other story has touched."""
    return next(_names)


def sign(page: Page) -> str:
    return page.locator("#sign .word").inner_text()


# What others do


def test_two_see_what_the_other_does(
    visitor: Visitor, name: str, record_property: pytest.RecordProperty
) -> None:
    """Rows, counts and strip, within a second; how long it took is printed (`-s`)."""
    ann, bob = visitor("ann"), visitor("bob")
    open_machines(ann)
    open_machines(bob)
    free = int(bob.locator("[data-chip='state:free'] .count").inner_text())
    bob.evaluate(
        """name => { window.seen = new Promise((resolve) => new MutationObserver(() => {
             if (document.getElementById(`m-${name}`)?.dataset.state === "locked") resolve(Date.now());
           }).observe(document.body, {subtree: true, attributes: true, childList: true})) }""",
        name,
    )
    button(ann, name).click()
    expect(title(ann)).to_have_text(f"Lock {name}")
    sent = time.time_ns() // 1_000_000
    press(ann)
    expect_state(bob, name, "Locked")
    took_ms = bob.evaluate("window.seen") - sent
    print(f"\nfrom the press of one browser to the row of another: {took_ms} ms")
    record_property("milliseconds", took_ms)
    expect(bob.locator("[data-chip='state:free'] .count")).to_have_text(str(free - 1))
    leave_dialog(ann)
    expect_state(ann, name, "Mine")
    button(ann, name).click()
    expect_state(bob, name, "Free")


def test_the_first_change_comes_at_once_and_then_one_flush_a_second(pool: Pool, name: str) -> None:
    """However much happens: a burst of thirty changes is as many flushes as seconds have passed, and one."""
    came: list[tuple[float, str]] = []
    with stream_of(pool, came) as at:
        pool.call("PATCH", f"machines/{name}", {"comment": "first"})
        until(lambda: any("first" in data for _, data in came))
        begun = time.monotonic()
        for number in range(30):
            pool.call("PATCH", f"machines/{name}", {"comment": f"number {number}!"})
        until(lambda: any("number 29!" in data for _, data in came))
        flushes = sum(data.startswith("event: rows") for when, data in came if when > begun)
        seconds = time.monotonic() - begun
    assert at.status_code == 200
    assert flushes <= seconds + 1
    print(f"\n30 changes in {seconds:.1f} s were told in {flushes} flushes")


class stream_of(ExitStack):
    """A viewer's stream for the time of a block: what comes is put into `came`, with the time."""

    def __init__(self, pool: Pool, came: list[tuple[float, str]], cookie: str = "") -> None:
        super().__init__()
        self._pool, self._came, self._cookie = pool, came, cookie

    def __enter__(self) -> httpx2.Response:  # type: ignore[override]
        client = self.enter_context(httpx2.Client(timeout=PATIENCE_S))
        headers = {"Cookie": self._cookie}
        answer = self.enter_context(
            client.stream("GET", f"{self._pool.address}/ui/stream?page=machines", headers=headers)
        )
        threading.Thread(target=self._read, args=(answer,), daemon=True).start()
        until(lambda: self._came)
        return answer

    def _read(self, answer: httpx2.Response) -> None:
        lines: list[str] = []
        try:
            for line in answer.iter_lines():
                lines.append(line)
                if not line:
                    self._came.append((time.monotonic(), "\n".join(lines)))
                    lines = []
        except (httpx2.TransportError, httpx2.StreamError):
            pass


def test_what_happens_between_page_and_stream_is_not_missed(visitor: Visitor, pool: Pool, name: str) -> None:
    """The stream begins where the page ends, not where the stream is asked for."""
    page = visitor("ann")
    asked = []

    def late(route: object) -> None:
        asked.append(pool.lease("bob", selector=name, ttl_s=7200))
        route.continue_()  # type: ignore[attr-defined]

    page.route("**/ui/stream*", late, times=1)
    open_machines(page)
    expect_state(page, name, "Locked")
    assert len(asked) == 1


def test_a_row_that_fits_the_search_no_more_leaves(visitor: Visitor, pool: Pool, name: str) -> None:
    """And comes back when it fits again."""
    page = visitor("ann")
    open_machines(page, f"/?q=state:free+{name[:4]}")
    expect(row(page, name)).to_be_visible()
    lease = pool.lease("bob", selector=name, ttl_s=7200)
    expect(row(page, name)).to_have_count(0)
    pool.unlock(lease, "bob")
    expect(row(page, name)).to_be_visible()


def test_a_new_machine_comes_into_the_list(visitor: Visitor, pool: Pool) -> None:
    """At its place by name."""
    page = visitor("ann")
    open_machines(page)
    (board,) = boards("live-07a")
    pool.add(board)
    expect(row(page, "live-07a")).to_be_visible()
    names = page.locator("tbody[data-group=pool] tr.machine").evaluate_all(
        "rows => rows.map((row) => row.dataset.name)"
    )
    assert names.index("live-07a") == names.index("live-08") - 1
    pool.call("DELETE", "machines/live-07a")
    expect(row(page, "live-07a")).to_have_count(0)


def test_a_beat_is_shown_without_the_row_being_made_anew(visitor: Visitor, pool: Pool, name: str) -> None:
    """Temperature, load and strip change in place."""
    page = visitor("ann")
    open_machines(page)
    page.evaluate("name => { document.getElementById(`m-${name}`).mark = 1 }", name)
    telemetry = {**pool.boards[name].telemetry(), "temperature": 77.4}
    pool.beat(name, telemetry=telemetry)
    expect(row(page, name).locator("[data-cell=temp] b")).to_have_text("77°")
    assert page.evaluate("name => document.getElementById(`m-${name}`).mark", name) == 1


def test_only_what_happens_to_ones_own_machines_is_announced(visitor: Visitor, pool: Pool) -> None:
    page = visitor("bob")
    open_machines(page)
    own, other = next(_names), next(_names)
    pool.lease("ann", selector=other, ttl_s=7200)
    expect_state(page, other, "Locked")
    expect(page.locator("#announce")).to_be_empty()
    lease = pool.lease("bob", selector=own, ttl_s=7200)
    expect(page.locator("#announce")).to_have_text(f"{own} is yours.")
    pool.unlock(lease, "bob")
    expect(page.locator("#note")).to_contain_text(f"{own} is no longer yours.")


def test_who_loses_a_machine_is_told_until_it_has_been_seen(visitor: Visitor, pool: Pool, name: str) -> None:
    """Above whatever is open, with the way to what happened; what one does oneself needs no telling."""
    page = visitor("bob")
    open_machines(page)
    lock(page, name)
    lease = pool.machine(name)["lease"]["id"]
    pool.call("DELETE", f"leases/{lease}?reason=the+rack+moves", token=pool.person("ann"))
    note = page.locator("#note")
    expect(note).to_contain_text(f"{name} is no longer yours.")
    leave_dialog(page)
    expect(note).to_be_visible()
    note.get_by_role("button", name="Close").click()
    expect(note).to_be_hidden()
    lock(page, name)
    leave_dialog(page)
    expect(button(page, name)).to_have_text("Unlock")
    button(page, name).click()
    expect_state(page, name, "Free")
    expect(note).to_be_hidden()


def test_a_wait_leaves_one_where_one_is(visitor: Visitor, pool: Pool, name: str) -> None:
    """What makes the page without script ask again does not come along into the dialog."""
    pool.lease("ann", selector=name, ttl_s=7200)
    page = waits_for(visitor("bob"), name)
    expect(sheet(page)).not_to_contain_text("every 20 seconds")
    expect(page.locator("meta[http-equiv=refresh]")).to_have_count(0)


def test_a_search_that_nobody_understands_asks_nothing_by_itself(visitor: Visitor, pool: Pool) -> None:
    """The pool changes, and the page stays with what it has said."""
    page = visitor("bob")
    page.goto("/?q=stat:free")
    expect_live(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for name in (next(_names), next(_names)):  # what the first one makes the page do has come with the second
        pool.lease("ann", selector=name, ttl_s=7200)
        expect(page.locator("#last")).to_contain_text(name)
    assert not asked


# Waiting


def test_the_turn_comes_while_one_looks_at_the_dialog(visitor: Visitor, pool: Pool, name: str) -> None:
    held = pool.lease("ann", selector=name, ttl_s=7200)
    page = waits_for(visitor("bob"), name)
    pool.unlock(held, "ann")
    expect(title(page)).to_have_text(f"{name} is yours")
    expect(sheet(page).locator("code").first).to_contain_text("ssh pi@")
    expect(sheet(page).get_by_role("button", name=re.compile(r"Undo \d+ s"))).to_be_visible()


def test_the_turn_comes_while_one_does_something_else(visitor: Visitor, pool: Pool, name: str) -> None:
    """On any page of this browser; a dialog that is open is finished first."""
    held = pool.lease("ann", selector=name, ttl_s=7200)
    page = waits_for(visitor("bob"), name)
    leave_dialog(page)
    other = next(_names)
    button(page, other).click()
    page.fill("#job", "typed meanwhile")
    pool.unlock(held, "ann")
    expect(page.locator("#announce")).to_have_text(re.compile(f"{name} is yours"))
    expect(page.locator("#job")).to_have_value("typed meanwhile")
    sheet(page).get_by_role("link", name="Cancel").click()
    expect(title(page)).to_have_text(f"{name} is yours")


def test_a_place_is_kept_by_the_pings_of_an_open_page(visitor: Visitor, pool: Pool, name: str) -> None:
    """Each ping says for each place that somebody is still there; the first one comes with the stream."""
    pool.lease("ann", selector=name, ttl_s=7200)
    page = waits_for(visitor("bob"), name)
    page.goto("about:blank")
    with page.expect_response(re.compile(r"/waiting/[0-9a-f-]+/still$")) as answer:
        page.goto("/")
    assert answer.value.status == 204


def test_waiting_costs_nothing_while_nothing_happens(visitor: Visitor, pool: Pool, name: str) -> None:
    """A renewal is a change itself; it must not make the page renew again."""
    pool.lease("ann", selector=name, ttl_s=7200)
    page = waits_for(visitor("bob"), name)
    leave_dialog(page)
    page.reload()
    expect_live(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/still" in request.url else None)
    other = next(_names)
    for number in range(3):
        pool.call("PATCH", f"machines/{other}", {"comment": f"change {number}"})
        expect(row(page, other)).to_contain_text(f"change {number}")
    assert len(asked) <= 1, asked  # a ping may have come


def test_who_is_taken_out_of_the_queue_reads_it(visitor: Visitor, pool: Pool, name: str) -> None:
    pool.lease("ann", selector=name, ttl_s=7200)
    page = waits_for(visitor("bob"), name)
    leave_dialog(page)
    (place,) = [one for one in pool.call("GET", "queue") if one["selector"] == f"name:{name}"]
    pool.call("DELETE", f"leases/{place['id']}?reason=closing+time", token=pool.person("dana"))
    page.reload()
    expect(title(page)).to_contain_text("You have lost your place.")
    expect(title(page)).to_contain_text("by dana")


def waits_for(page: Page, name: str) -> Page:
    open_machines(page)
    button(page, name).click()
    press(page)
    expect(title(page)).to_have_text(f"You wait for name:{name}")
    return page


# What stays while rows change


def test_focus_typing_menus_and_selection_survive_what_others_do(
    visitor: Visitor, pool: Pool, name: str
) -> None:
    page = visitor("dana")
    open_machines(page)
    row(page, name).locator("input[name=machine]").check()
    page.locator("details.look summary").click()
    page.locator("#q").focus()
    page.keyboard.type("live")
    expect(page).to_have_url(re.compile("q=live"))
    expect_live(page)
    page.locator("#q").evaluate("box => box.setSelectionRange(1, 3)")
    page.locator("details.look").evaluate("look => { look.open = true }")
    lease = pool.lease("bob", selector=name, ttl_s=7200)
    expect_state(page, name, "Locked")
    expect(row(page, name).locator("input[name=machine]")).to_be_checked()
    expect(page.locator("details.look")).to_have_attribute("open", "")
    expect(page.locator("#q")).to_be_focused()
    assert page.locator("#q").evaluate("box => [box.value, box.selectionStart, box.selectionEnd]") == [
        "live",
        1,
        3,
    ]
    pool.unlock(lease, "bob")
    expect_state(page, name, "Free")
    button(page, name).focus()
    pool.call("PATCH", f"machines/{name}", {"comment": "touched"})
    expect(row(page, name)).to_contain_text("touched")
    expect(button(page, name)).to_be_focused()


def test_an_open_menu_stays_and_the_keyboard_is_in_it(visitor: Visitor, pool: Pool, name: str) -> None:
    page = visitor("dana")
    open_machines(page)
    row(page, name).locator("[data-popup]").click()
    expect(page.locator("#popup .menu a").first).to_be_focused()
    pool.call("PATCH", f"machines/{name}", {"comment": "meanwhile"})
    expect(row(page, name)).to_contain_text("meanwhile")
    expect(page.locator("#popup .menu a").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(row(page, name).locator("[data-popup]")).to_be_focused()


def test_the_keyboards_row_stays_when_it_changes_its_group(visitor: Visitor, pool: Pool, name: str) -> None:
    """Locked by oneself it moves up to Mine; the place goes with it, and the button that was pressed is the new one."""
    page = visitor("bob")
    open_machines(page)
    button(page, name).focus()
    lease = pool.lease("bob", selector=name, ttl_s=7200)
    expect(page.locator(f"tbody[data-group=mine] #m-{name}")).to_be_visible()
    expect(button(page, name)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(f"tbody[data-group=pool] #m-{name}")).to_be_visible()
    expect(button(page, name)).to_have_text("Lock")
    expect(button(page, name)).to_be_focused()
    assert pool.call("GET", f"leases/{lease}")["state"] == "ended"


# When the stream is away


def test_a_page_outlives_a_restart(visitor: Visitor, watches: list[Watch], pool: Pool, name: str) -> None:
    """It says Reconnecting meanwhile, then Live; and shows what has changed, without being loaded anew."""
    page = visitor("ann")
    watches[0].pardon(AWAY)
    open_machines(page)
    page.evaluate("window.mark = 1")
    pool.service.kill()
    expect(page.locator("#sign .word")).to_have_text("Reconnecting")
    pool.service.start()
    until(lambda: pool.lease("bob", selector=name, ttl_s=7200))
    expect(page.locator("#sign .word")).to_have_text("Live", timeout=PATIENCE_S * 1000)
    expect_state(page, name, "Locked")
    assert page.evaluate("window.mark") == 1


def test_without_a_stream_the_page_polls_and_says_so(
    visitor: Visitor, watches: list[Watch], pool: Pool, name: str
) -> None:
    """After three connects that failed; and it is live again as soon as a stream comes through."""
    page = visitor("ann")
    watches[0].pardon(AWAY)
    page.clock.install()
    page.route("**/ui/stream*", lambda route: route.abort())
    page.goto("/")
    run_until(page, "Reconnecting")
    run_until(page, "Every 15 s")
    pool.lease("bob", selector=name, ttl_s=7200)
    for _ in range(3):
        page.clock.run_for(15_000)
        page.wait_for_load_state("networkidle")
    expect_state(page, name, "Locked")
    page.unroute("**/ui/stream*")
    run_until(page, "Live")


def test_without_any_answer_the_page_says_how_old_its_news_is(
    visitor: Visitor, watches: list[Watch], name: str
) -> None:
    page = visitor("ann")
    watches[0].pardon(AWAY)
    page.clock.install()
    page.goto("/")
    run_until(page, "Live")
    page.route("**/*", lambda route: route.abort())
    page.evaluate("dispatchEvent(new Event('online'))")
    run_until(page, "Stale, last news")
    page.unroute("**/*")
    run_until(page, "Live")


def run_until(page: Page, word: str) -> None:
    """The page's clock runs on, second by second, until the sign says this."""
    for _ in range(120):
        if page.locator("#sign .word").text_content() and word in sign(page):
            return
        page.clock.run_for(500)
        page.evaluate("new Promise((resolve) => queueMicrotask(resolve))")
    raise AssertionError(f"the sign says {sign(page)!r}, not {word!r}")


def test_sigterm_ends_streams_politely(pool: Pool, tmp_path: object) -> None:
    """Each is told `bye`, and the service is gone; how quickly is printed."""
    with service("--data", str(tmp_path)) as running, ExitStack() as stack:
        viewers: list[list[tuple[float, str]]] = [[] for _ in range(20)]
        for came in viewers:
            stack.enter_context(stream_of(Pool(running, None), came))  # type: ignore[arg-type]
        begun = time.monotonic()
        assert running.stop() == 0
        took_s = time.monotonic() - begun
        until(lambda: all("event: bye" in came[-1][1] for came in viewers))
    print(f"\nSIGTERM with {len(viewers)} open streams: gone after {took_s:.2f} s")
    assert took_s < PATIENCE_S


# When one is somebody else meanwhile


def test_a_second_tab_that_has_logged_out_is_noticed(visitor: Visitor, name: str) -> None:
    """The first one shows the list as nobody sees it, and what it still offers leads to the login."""
    page = visitor("bob")
    open_machines(page)
    second = page.context.new_page()
    open_machines(second)
    second.locator("details.person summary").click()
    second.get_by_role("button", name="Log out").click()
    expect(second.get_by_role("link", name="Log in")).to_be_visible()
    expect(page.get_by_role("link", name="Log in")).to_be_visible(timeout=PATIENCE_S * 1000)
