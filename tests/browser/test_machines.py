"""The page of machines, told by what each role does on it: with script in dialogs, without it on pages of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.boards import PI4, PI5, Board, for_
from tests.browser.conftest import Visitor
from tests.browser.flows import (
    button,
    chosen_from_menu,
    command,
    expect_state,
    is_scripted,
    leave_dialog,
    lock,
    open_machines,
    press,
    row,
    sheet,
    title,
)
from tests.browser.pool import Pool, pool_of
from tests.service import until

POWER = """
[[power]]
machines = "name:switched"
cycle = ["/bin/echo", "cycled", "{name}"]
"""

BOARDS = (
    *(Board(f"free-{number:02}", f"10.9.1.{number}", PI5) for number in range(40)),
    Board("danas", "10.9.2.2", PI5, lock=for_(7200, "dana", "kernel")),
    Board("ending", "10.9.2.3", PI5, lock=for_(600, "bob", "nearly done")),
    Board("away", "10.9.2.4", PI5, drained="waits for a fan"),
    Board("new", "10.9.2.5", PI5, pending=True),
    Board("weak", "10.9.2.6", PI5, sagging=True),
    Board("switched", "10.9.2.7", PI5, gone_s=700),
    Board("labelled", "10.9.2.8", PI5, {"rack": "camera rig"}),
    Board("four-held", "10.9.2.9", PI4, lock=for_(7200, "bob", "soak")),
    *(Board(f"four-{number}", f"10.9.3.{number}", PI4) for number in range(2)),
)

HOW = pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    folder = tmp_path_factory.mktemp("pool")
    (folder / "power.toml").write_text(POWER)
    with pool_of(BOARDS, folder, PICLUSTER_SERVICE_CONFIG=str(folder / "power.toml")) as seeded:
        yield seeded


_free = iter(board.name for board in BOARDS if board.name.startswith("free-"))


@pytest.fixture
def free() -> str:
    """A free board that no other story has touched."""
    return next(_free)


def finish(page: Page) -> None:
    """Away from an answer: a dialog is closed, a page left."""
    if is_scripted(page):
        leave_dialog(page)
    else:
        page.goto("/")


# Lock, extend, unlock


@HOW
def test_a_user_locks_a_machine(visitor: Visitor, pool: Pool, free: str, script: bool) -> None:
    """The dialog asks what for and how long; the answer is the line to log in with."""
    page = visitor("bob", script=script)
    open_machines(page)
    button(page, free).click()
    expect(title(page)).to_have_text(f"Lock {free}")
    page.fill("#job", "camera driver")
    page.get_by_text("30 m", exact=True).click()
    press(page)
    expect(title(page)).to_have_text(f"{free} is yours")
    expect(sheet(page).locator("code").first).to_have_text(re.compile(r"^ssh pi@10\.9\.1\."))
    lease = pool.machine(free)["lease"]
    assert (lease["holder"], lease["job"]) == ("bob", "camera driver")
    assert 1700 < lease["expires_in_s"] <= 1800 + 6
    finish(page)
    expect_state(page, free, "Mine")


@HOW
def test_a_lock_is_undone(visitor: Visitor, pool: Pool, free: str, script: bool) -> None:
    page = visitor("bob", script=script)
    open_machines(page)
    lock(page, free)
    sheet(page).get_by_role("button", name="Undo").click()
    until(lambda: pool.state(free) == "free")
    expect_state(page, free, "Free")


@HOW
def test_who_comes_second_reads_who_was_first_and_waits(
    visitor: Visitor, pool: Pool, free: str, script: bool
) -> None:
    """Both have the dialog open. The second reads holder, job, end and what is free instead; `Wait for it` takes over
    what was typed."""
    first, second = visitor("ann", script=script), visitor("bob", script=script)
    for page in (first, second):
        open_machines(page)
        button(page, free).click()
        page.fill("#job", "mine first")
        expect(title(page)).to_have_text(f"Lock {free}")
    press(first)
    expect(title(first)).to_have_text(f"{free} is yours")
    second.fill("#job", "mine, too")
    press(second)
    expect(title(second)).to_have_text("ann holds it already")
    expect(sheet(second)).to_contain_text("mine first")
    expect(sheet(second)).to_contain_text(re.compile(r"in 1 h 59 m|in 2 h"))
    expect(sheet(second)).to_contain_text("free-")
    sheet(second).get_by_role("button", name="Wait for it").click()
    expect(title(second)).to_have_text(f"You wait for name:{free}")
    expect(sheet(second)).to_contain_text("You are next.")
    (place,) = [one for one in pool.call("GET", "queue") if one["selector"] == f"name:{free}"]
    assert (place["holder"], place["job"]) == ("bob", "mine, too")
    sheet(second).get_by_role("button", name="Leave the queue").click()
    until(lambda: not [one for one in pool.call("GET", "queue") if one["selector"] == f"name:{free}"])


@HOW
def test_an_instead_is_locked_at_once(visitor: Visitor, pool: Pool, script: bool) -> None:
    page = visitor("vera", script=script)
    page.goto("/m/four-held/lock?job=soak+two")
    press(page)
    expect(title(page)).to_have_text("bob holds it already")
    other = sheet(page).locator("[data-main]")
    name = other.inner_text().removeprefix("Lock ")
    assert name in ("four-0", "four-1")  # of its model; those that other stories have are of another
    other.click()
    expect(title(page)).to_have_text(f"{name} is yours")
    assert pool.machine(name)["lease"]["job"] == "soak two"


def test_without_script_the_turn_comes_by_itself(visitor: Visitor, pool: Pool, free: str) -> None:
    """The page of who waits loads itself anew, which keeps the place and tells when the turn has come."""
    held = pool.lease("dana", selector=free, ttl_s=7200)
    page = visitor("bob", script=False)
    page.goto(f"/m/{free}/wait")
    press(page)
    expect(title(page)).to_have_text(f"You wait for name:{free}")
    (refresh,) = [meta.get_attribute("content") for meta in page.locator("meta[http-equiv=refresh]").all()]
    assert refresh
    where = refresh.partition("url=")[2]
    pool.unlock(held, "dana")
    page.goto(where)
    expect(title(page)).to_have_text(f"{free} is yours")


@HOW
def test_a_lease_is_extended_in_its_dialog(visitor: Visitor, pool: Pool, free: str, script: bool) -> None:
    pool.lease("bob", selector=free, ttl_s=1800)
    page = visitor("bob", script=script)
    open_machines(page)
    chosen_from_menu(page, free, "Extend")
    expect(title(page)).to_have_text(f"Extend {free}")
    page.get_by_text("8 h", exact=True).click()
    press(page)
    until(lambda: pool.machine(free)["lease"]["expires_in_s"] > 8 * 3600 - 60)


@HOW
def test_one_press_extends_what_ends_soon(visitor: Visitor, pool: Pool, free: str, script: bool) -> None:
    """By as much as it was locked for; then the same place is for unlocking."""
    pool.lease("bob", selector=free, ttl_s=600)
    page = visitor("bob", script=script)
    open_machines(page)
    expect(button(page, free)).to_have_text("Extend")
    before = pool.machine(free)["lease"]["expires_in_s"]
    until(lambda: pool.machine(free)["lease"]["expires_in_s"] < before)
    button(page, free).click()
    until(lambda: pool.machine(free)["lease"]["expires_in_s"] > before)


@HOW
def test_one_press_unlocks(visitor: Visitor, pool: Pool, free: str, script: bool) -> None:
    pool.lease("bob", selector=free, ttl_s=7200)
    page = visitor("bob", script=script)
    open_machines(page)
    expect(button(page, free)).to_have_text("Unlock")
    button(page, free).click()
    until(lambda: pool.machine(free)["lease"] is None)
    expect_state(page, free, "Free")


# What a person says of a machine


@HOW
def test_a_user_comments(visitor: Visitor, pool: Pool, free: str, script: bool) -> None:
    page = visitor("bob", script=script)
    open_machines(page)
    chosen_from_menu(page, free, "Comment")
    page.fill("#f-comment", "new SD card, it's fast")
    if script:
        expect(command(page)).to_have_text(f"picluster comment {free} 'new SD card, it'\"'\"'s fast'")
    press(page)
    until(lambda: pool.machine(free)["comment"] == "new SD card, it's fast")
    if not script:
        page.goto("/")
    expect(row(page, free)).to_contain_text("new SD card, it's fast")


@HOW
def test_an_operator_labels(visitor: Visitor, pool: Pool, free: str, script: bool) -> None:
    """What a person has said of it can be changed and taken away; a label may have blanks."""
    pool.call("PATCH", f"machines/{free}", {"labels": {"site": "new hall", "old": ""}})
    page = visitor("dana", script=script)
    open_machines(page)
    chosen_from_menu(page, free, "Labels")
    expect(page.locator("#f-labels")).to_have_value("old 'site:new hall'")
    page.fill("#f-labels", "'site:new hall' camera 'row:2 left'")
    if script:
        expect(command(page)).to_have_text(f"picluster label {free} 'site=new hall' camera 'row=2 left' old-")
    press(page)
    until(lambda: pool.machine(free)["labels"] == {"site": "new hall", "camera": "", "row": "2 left"})


def test_a_label_of_the_board_itself_is_not_taken_over(visitor: Visitor, pool: Pool) -> None:
    """It is shown; but keeping the dialog does not make it a person's word, which would outlive the board's own."""
    page = visitor("dana")
    page.goto("/m/labelled/label")
    expect(sheet(page)).to_contain_text("'rack:camera rig'")
    expect(page.locator("#f-labels")).to_have_value("")
    page.fill("#f-labels", "hat:relay")
    press(page)
    until(lambda: pool.machine("labelled")["labels"] == {"rack": "camera rig", "hat": "relay"})


# What operators do


@HOW
def test_an_operator_drains_and_undrains(visitor: Visitor, pool: Pool, free: str, script: bool) -> None:
    page = visitor("dana", script=script)
    open_machines(page)
    chosen_from_menu(page, free, "Drain")
    page.fill("#f-reason", "New fan")
    if script:
        expect(command(page)).to_have_text(f"picluster drain {free} --reason 'New fan'")
        page.get_by_text("End the lease on it, too").click()
        expect(command(page)).to_have_text(f"picluster drain {free} --reason 'New fan' --evict")
    press(page)
    until(lambda: pool.state(free) == "drained")
    expect_state(page, free, "Drained")
    expect(row(page, free)).to_contain_text("New fan")
    button(page, free).click()
    until(lambda: pool.state(free) == "free")


@HOW
def test_a_reason_must_be_given(visitor: Visitor, pool: Pool, free: str, script: bool) -> None:
    """The browser asks for it; whoever gets around that is told by the service, and keeps what was typed."""
    page = visitor("dana", script=script)
    page.goto(f"/m/{free}/drain")
    page.evaluate("document.querySelector('.sheet form').noValidate = true")
    page.locator("[name=evict]").check()
    press(page)
    expect(sheet(page).locator(".trouble")).to_contain_text("Why: say why it goes out of service")
    expect(page.locator("[name=evict]")).to_be_checked()
    assert pool.state(free) == "free"


def test_an_operator_reviews_and_approves(visitor: Visitor, pool: Pool) -> None:
    """With what is against it, and with its host key, before one's eyes."""
    page = visitor("dana")
    open_machines(page)
    button(page, "weak").click()
    expect(sheet(page)).to_contain_text("oltage")
    leave = sheet(page).get_by_role("link", name="Cancel")
    leave.click()
    button(page, "new").click()
    expect(title(page)).to_have_text("Let new in")
    expect(sheet(page)).to_contain_text("SHA256:")
    expect(command(page)).to_have_text("picluster undrain new")
    press(page)
    until(lambda: pool.state("new") != "pending")


@HOW
def test_an_operator_switches_power(visitor: Visitor, pool: Pool, script: bool) -> None:
    page = visitor("dana", script=script)
    open_machines(page)
    expect(button(page, "switched")).to_have_text("Power cycle")
    button(page, "switched").click()
    expect(title(page)).to_have_text("Switch the power of switched")
    expect(command(page)).to_have_text("picluster power cycle switched")
    press(page)

    def done() -> bool:
        found = pool.call("GET", "history?machine=switched&kind=machine.powered")
        return bool(found) and found[-1]["detail"].get("outcome") == "exit 0"

    until(done)
    expect(title(page)).to_have_text("Power cycle of switched is done.")


@HOW
def test_an_operator_takes_a_machine_back(visitor: Visitor, pool: Pool, free: str, script: bool) -> None:
    """With a reason, which is recorded."""
    lease = pool.lease("bob", selector=free, job="forgotten", ttl_s=7200)
    page = visitor("dana", script=script)
    open_machines(page)
    chosen_from_menu(page, free, "Take it back")
    expect(sheet(page)).to_contain_text("bob")
    page.fill("#f-reason", "Bob is on holiday")
    if script:
        expect(command(page)).to_have_text(f"picluster unlock --force {free} --reason 'Bob is on holiday'")
    press(page)
    until(lambda: pool.machine(free)["lease"] is None)
    (ended,) = [
        event
        for event in pool.call("GET", f"history?machine={free}&kind=lease.ended")
        if event["lease"] == lease
    ]
    assert ended["detail"]["reason"] == "Bob is on holiday"


def test_a_machine_is_deleted_by_typing_its_name(visitor: Visitor, pool: Pool, free: str) -> None:
    page, other = visitor("dana"), visitor("bob")
    open_machines(page)
    open_machines(other)
    chosen_from_menu(page, free, "Delete")
    page.fill("#f-retype", f"{free}x")
    press(page)
    expect(sheet(page).locator(".trouble")).to_contain_text(f"Type {free} to delete it.")
    page.fill("#f-retype", free)
    press(page)
    expect(row(page, free)).to_have_count(0)
    expect(row(other, free)).to_have_count(0)


# Many at once


@HOW
def test_the_selected_are_locked_and_unlocked_together(
    visitor: Visitor, pool: Pool, free: str, script: bool
) -> None:
    """What could not be done is said machine by machine, and the rest is done."""
    page = visitor("carl", script=script)
    open_machines(page)
    for name in (free, "danas"):
        row(page, name).locator("input[name=machine]").check()
    bar = page.locator("#bulk")
    if script:
        expect(bar).to_contain_text("2 selected")
    bar.get_by_role("button", name="Lock", exact=True).click()
    expect(title(page)).to_have_text("Lock 2 machines")
    page.fill("#job", "pair")
    if script:
        loop = "for name in danas {0}; do picluster lock $name --job pair --for 2h; done"
        expect(command(page)).to_have_text(loop.format(free))
    press(page)
    expect(sheet(page)).to_contain_text(f"{free} is yours")
    expect(sheet(page).locator("li.st-offline")).to_contain_text("danas")
    assert pool.machine(free)["lease"]["job"] == "pair"
    finish(page)
    row(page, free).locator("input[name=machine]").set_checked(True)
    row(page, "danas").locator("input[name=machine]").set_checked(False)
    bar.get_by_role("button", name="Unlock", exact=True).click()
    press(page)
    until(lambda: pool.machine(free)["lease"] is None)


# Who may what


def test_nobody_sees_the_list_and_is_asked_to_log_in_for_more(visitor: Visitor) -> None:
    page = visitor()
    open_machines(page)
    expect(row(page, "danas")).to_contain_text("dana")
    expect(page.locator("[data-popup]")).to_have_count(0)
    button(page, "free-39").click()
    expect(title(page)).to_have_text("Log in")


def test_a_viewer_only_looks(visitor: Visitor) -> None:
    """No buttons, no bar; and the addresses of the dialogs are refused in words."""
    page = visitor("vic")
    open_machines(page)
    expect(page.locator("table.pool [data-key]")).to_have_count(0)
    expect(page.locator("#bulk")).to_have_count(0)
    row(page, "free-39").locator("[data-popup]").click()
    entries = page.locator("#popup .menu a, #popup .menu button")
    expect(entries).to_have_count(2)
    assert [entry.inner_text().strip() for entry in entries.all()] == ["Open", "Copy ssh line"]
    answer = page.goto("/m/free-39/lock")
    assert answer
    assert answer.status == 403
    expect(title(page)).to_be_visible()


def test_a_user_is_offered_what_users_may(visitor: Visitor) -> None:
    page = visitor("bob")
    open_machines(page)
    row(page, "danas").locator("[data-popup]").click()
    entries = page.locator("#popup .menu a, #popup .menu button")
    expect(entries).to_have_count(5)
    words = [entry.inner_text().strip() for entry in entries.all()]
    assert words == ["Open", "Lock…", "Wait for it…", "Copy ssh line", "Comment…"]
    expect(button(page, "danas")).to_have_text("Wait for it")
    expect(button(page, "away")).to_have_text("Wait for it")


def test_an_operator_is_offered_what_helps_a_machine_on(visitor: Visitor) -> None:
    page = visitor("ann")
    open_machines(page)
    row(page, "danas").locator("[data-popup]").click()
    expect(page.locator("#popup .menu")).to_contain_text("Take it back")
    expect(button(page, "away")).to_have_text("Undrain")
    expect(button(page, "weak")).to_have_text("Review")
