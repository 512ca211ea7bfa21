"""The queue in a browser: who waits and why, the dialog to wait for a machine, and what comes free."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.boards import RACKS, for_
from tests.browser.chromium import SIZES, axe
from tests.browser.conftest import LOOKS, Visitor
from tests.browser.flows import command, expect_live, press, sheet, title
from tests.browser.pool import Pool, pool_of, with_a_queue
from tests.service import until

HOW = pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
THEMES = pytest.mark.parametrize("theme", ["light", "dark"])


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """Twenty-four boards, and three who wait; what ann has of the camera rig lasts longer than these stories."""
    long = for_(1500, "ann", "vision-perf, baseline run")
    boards = [replace(board, lock=long) if board.name == "pi5-cam-01" else board for board in RACKS]
    with pool_of(boards, tmp_path_factory.mktemp("pool")) as seeded:
        with_a_queue(seeded)
        yield seeded


@pytest.fixture(autouse=True)
def as_it_was(pool: Pool) -> Iterator[None]:
    """Whoever joined in a story leaves with it."""
    before = {lease["id"] for lease in pool.call("GET", "queue")}
    yield
    for lease in pool.call("GET", "queue"):
        if lease["id"] not in before:
            pool.unlock(lease["id"], lease["holder"])


def waits(page: Page, who: str) -> Locator:
    """The row of somebody in the queue."""
    return page.locator(".waiters tbody tr").filter(
        has=page.locator(".who b", has_text=re.compile(f"^{who}$"))
    )


def bar(page: Page, machine: str) -> Locator:
    return page.locator(".coming li").filter(has=page.get_by_role("link", name=machine, exact=True))


def open_wait(page: Page, script: bool) -> None:
    page.goto("/queue")
    if script:
        expect_live(page)
    page.locator(".title").get_by_role("link", name="Wait for a machine").click()


# Who waits


@HOW
def test_a_row_says_place_who_what_why_and_when(visitor: Visitor, script: bool) -> None:
    page = visitor("ann", script=script)
    page.goto("/queue")
    first, second = waits(page, "ann"), waits(page, "ci:pipelines/net")
    expect(first.locator(".place")).to_have_text("1")
    expect(first.locator(".looks")).to_contain_text("model:pi5 tag:camera tag:fan")
    expect(first.locator(".would")).to_contain_text("2 match, 0 free")
    expect(first.locator(".why")).to_contain_text("Both are held. pi5-cam-01 is yours, it ends in")
    expect(first.locator(".when")).to_contain_text("about")
    expect(second.locator(".looks")).to_contain_text("3 at once")
    expect(second.locator(".would")).to_contain_text("5 match, 1 set aside")
    expect(second.locator(".why")).to_contain_text("Needs three. pi4-rack-b-04 is set aside for it")
    expect(second.locator(".when")).to_contain_text("at the latest")
    expect(page.locator("#queue-says")).to_contain_text("3 jobs wait. The longest for")


def test_how_long_jobs_usually_wait_is_told(visitor: Visitor) -> None:
    """As soon as it has been counted: no look at the queue waits for that."""
    page = visitor("bob")
    until(
        lambda: (
            bool(page.goto("/queue"))
            and "half of all jobs waited less than" in page.inner_text("#queue-says")
        )
    )


def test_each_role_has_its_buttons(visitor: Visitor) -> None:
    """One's own place can be left, an operator takes others out, and who only reads does nothing."""
    ann, bob, vic = visitor("ann"), visitor("bob"), visitor("vic")
    for page in (ann, bob, vic):
        page.goto("/queue")
    assert [waits(ann, who).locator(".do").inner_text() for who in ("ann", "bob")] == ["Leave", "Take out"]
    assert [waits(bob, who).locator(".do").inner_text() for who in ("ann", "bob")] == ["", "Leave"]
    assert vic.locator(".waiters .btn").count() == 0
    assert vic.get_by_role("link", name="Wait for a machine").count() == 0


def test_the_queue_needs_a_login(visitor: Visitor) -> None:
    page = visitor()
    page.goto("/queue")
    expect(page.locator("#token, input[name='name']").first).to_be_attached()
    assert page.locator(".waiters").count() == 0


def test_who_joins_and_leaves_elsewhere_is_seen_here(visitor: Visitor, pool: Pool) -> None:
    page = visitor("bob")
    page.goto("/queue")
    expect_live(page)
    lease = pool.lease("dana", selector="model:cm4 tag:emmc -cm4-bench-02", job="another look")
    expect(waits(page, "dana").locator(".place")).to_have_text("3")
    expect(page.locator(".section [data-count='waiting']")).to_have_text("4")
    pool.unlock(lease, "dana")
    expect(waits(page, "dana")).to_have_count(0)
    expect(page.locator("#queue-says")).to_contain_text("3 jobs wait")


# Joining, leaving


@HOW
def test_waiting_for_a_machine_and_leaving_again(visitor: Visitor, script: bool) -> None:
    page = visitor("dana", script=script)
    open_wait(page, script)
    expect(title(page)).to_have_text("Wait for a machine")
    page.fill("#selector", "model:cm4 tag:emmc -cm4-bench-02")
    page.fill("#job", "a story")
    if script:
        expect(page.locator("#outlook")).to_contain_text(
            "1 matches, 0 free. 1 job waits for one of them, too."
        )
        expect(command(page)).to_have_text(
            "picluster wait 'model:cm4 tag:emmc -cm4-bench-02' --job 'a story' --for 2h"
        )
    press(page)
    expect(title(page)).to_contain_text("You wait for model:cm4 tag:emmc -cm4-bench-02")
    page.goto("/queue")
    expect(waits(page, "dana").locator(".who")).to_contain_text("a story")
    waits(page, "dana").get_by_role("button", name="Leave").click()
    expect(waits(page, "dana")).to_have_count(0)


@HOW
def test_what_is_free_is_had_at_once(visitor: Visitor, pool: Pool, script: bool) -> None:
    page = visitor("dana", script=script)
    open_wait(page, script)
    page.fill("#selector", "pi5-rack-a-03")
    press(page)
    expect(title(page)).to_contain_text("pi5-rack-a-03")
    assert pool.machine("pi5-rack-a-03")["lease"]["holder"] == "dana"
    (lease,) = [one for one in pool.call("GET", "leases?state=held&holder=dana") if not one["job"]]
    pool.unlock(lease["id"], "dana")


@HOW
def test_what_nothing_matches_is_refused_with_the_term(visitor: Visitor, script: bool) -> None:
    """And what was typed is still there."""
    page = visitor("bob", script=script)
    open_wait(page, script)
    page.fill("#selector", "model:pi6 tag:camera")
    page.fill("#job", "from the future")
    press(page)
    expect(page.locator(".trouble")).to_contain_text("matches 0 registered machines")
    expect(page.locator("#outlook u")).to_have_text("model:pi6")
    expect(page.locator("#selector")).to_have_value("model:pi6 tag:camera")
    expect(page.locator("#job")).to_have_value("from the future")


def test_a_selector_is_looked_at_while_one_types(visitor: Visitor) -> None:
    page = visitor("bob")
    open_wait(page, True)
    outlook = page.locator("#outlook")
    expect(outlook).to_contain_text("As in the search of the list")
    page.fill("#selector", "model:pi5")
    expect(outlook).to_contain_text("10 match")
    page.fill("#count", "11")
    expect(outlook).to_contain_text("Only 10 machines match, and 11 are asked for.")
    expect(command(page)).to_have_text("picluster wait model:pi5 --count 11 --for 2h")
    page.fill("#selector", 'model:"pi5')
    expect(outlook).to_contain_text("quot")
    page.fill("#count", "1")
    page.fill("#selector", "model:pi9")
    expect(outlook.locator("u")).to_have_text("model:pi9")


def test_without_script_one_may_look_before_one_asks(visitor: Visitor) -> None:
    page = visitor("bob", script=False)
    page.goto("/queue/wait")
    page.fill("#selector", "model:pi5")
    page.get_by_role("button", name="Look what matches").click()
    expect(page.locator("#outlook")).to_contain_text("10 match")
    expect(page.locator("#selector")).to_have_value("model:pi5")


def test_a_user_may_choose_two_priorities_and_an_operator_three(visitor: Visitor) -> None:
    for who, choices in (("bob", 2), ("ann", 3)):
        page = visitor(who)
        page.goto("/queue/wait")
        assert page.locator("input[name='priority']").count() == choices
    page.locator("input[name='priority'][value='2']").check(force=True)
    expect(command(page)).to_have_text("picluster wait '*' --for 2h --priority 2")


@HOW
def test_an_operator_takes_somebody_out_and_says_why(visitor: Visitor, pool: Pool, script: bool) -> None:
    lease = pool.lease("eve", selector="model:cm4 tag:emmc -cm4-bench-02", job="forgotten")
    page = visitor("ann", script=script)
    page.goto("/queue")
    waits(page, "eve").get_by_role("link", name="Take out").click()
    expect(title(page)).to_have_text("Take eve out of the queue")
    page.fill("#reason", "went home")
    press(page)
    expect(waits(page, "eve")).to_have_count(0)
    ended = pool.call("GET", f"leases/{lease}")
    assert (ended["ended"], ended["ended_by"]) == ("taken_back", "ann")
    assert pool.call("GET", f"history?lease={lease}&kind=lease.ended")[0]["detail"]["reason"] == "went home"


# What comes free


def test_the_leases_stand_by_their_end(visitor: Visitor) -> None:
    """First what ends first; what has no end stands last; one that is mine has my colour."""
    page = visitor("ann")
    page.goto("/queue")
    names = page.locator(".coming .name").all_inner_texts()
    assert names[0] == "pi5-cam-01"
    assert set(names[-2:]) == {"pi3-rack-b-07", "zero2w-bench-01"}
    expect(bar(page, "pi5-cam-01").locator(".rest")).to_have_text(re.compile(r"\d\d m left"))
    expect(bar(page, "pi4-rack-b-01").locator(".rest")).to_contain_text("at the latest")
    expect(bar(page, "pi3-rack-b-07").locator(".rest")).to_have_text("no end")
    expect(bar(page, "pi5-cam-01")).to_have_class("st-mine")
    expect(bar(page, "pi5-rack-a-08")).to_have_class("st-locked")


@HOW
def test_how_far_one_looks_ahead_stands_in_the_address(visitor: Visitor, script: bool) -> None:
    page = visitor("ann", script=script)
    page.goto("/queue")
    width = bar(page, "pi5-rack-a-08").locator("svg.run").get_attribute
    assert 27 < float((width("width") or "").rstrip("%")) <= 28.1
    page.get_by_role("link", name="1 h", exact=True).click()
    expect(page).to_have_url(re.compile("span=1h"))
    expect(page.locator(".choice [aria-current]")).to_have_text("1 h")
    assert width("width") == "100.0%"


def test_a_lease_of_several_machines_is_one_row(visitor: Visitor, pool: Pool) -> None:
    lease = pool.lease("dana", selector="name:(pi5-rack-a-03|pi5-rack-a-06)", count=2, job="both")
    page = visitor("bob")
    page.goto("/queue")
    expect(page.locator(".coming .name", has_text="pi5-rack-a-03 and -06")).to_have_count(1)
    pool.unlock(lease, "dana")


@pytest.mark.parametrize("size", list(SIZES))
def test_nothing_stands_beside_the_window(visitor: Visitor, size: str) -> None:
    """Not even a bar that goes on beyond the hour."""
    page = visitor("ann", size=size)
    for path in ("/queue", "/queue?span=1h", "/queue/wait"):
        page.goto(path)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, path


# Everybody


@LOOKS
def test_the_queue_can_be_read_by_everybody(visitor: Visitor, theme: str, size: str) -> None:
    page = visitor("ann", theme=theme, size=size)
    page.goto("/queue")
    expect_live(page)
    assert axe(page) == []


@THEMES
def test_the_dialogs_can_be_read_by_everybody(visitor: Visitor, theme: str) -> None:
    page = visitor("ann", theme=theme)
    open_wait(page, True)
    page.fill("#selector", "model:pi6 tag:camera")
    expect(page.locator("#outlook u")).to_be_visible()
    page.locator("summary", has_text="SSH key").click()
    assert axe(page) == []
    page.keyboard.press("Escape")
    waits(page, "bob").get_by_role("link", name="Take out").click()
    expect(title(page)).to_be_visible()
    assert axe(page) == []


def test_the_whole_way_into_the_queue_by_keyboard(visitor: Visitor) -> None:
    page = visitor("dana")
    page.goto("/queue")
    expect_live(page)
    page.locator(".title").get_by_role("link", name="Wait for a machine").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#selector")).to_be_focused()
    page.keyboard.type("model:cm4 tag:emmc -cm4-bench-02")
    expect(page.locator("#outlook")).to_contain_text("1 matches")
    page.keyboard.press("Enter")
    expect(title(page)).to_contain_text("You wait for")
    page.keyboard.press("Escape")
    expect(sheet(page)).to_have_count(0)
    expect(waits(page, "dana")).to_have_count(1)
