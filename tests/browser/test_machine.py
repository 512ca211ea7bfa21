"""The page of one machine in a browser: its charts and their table, its lease, and what changes while one looks."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.boards import PI5, SMALL, Board, for_
from tests.browser.chromium import PATIENCE_MS, Watch, axe
from tests.browser.conftest import Visitor
from tests.browser.flows import expect_live, press, sheet, title
from tests.browser.pool import Pool, pool_of
from tests.browser.week import RUNS, THROTTLED_H, write_week

MINE, FREE, THEIRS = "/m/pi5-rack-a-02", "/m/pi5-rack-a-01", "/m/pi5-rack-a-04"
TABS = ("", "/health", "/health?as=table", "/history", "/runs", "/use")

OTHERS = (
    *(Board(f"spare-{number}", f"10.9.3.{number}", PI5) for number in range(10)),
    Board("anns", "10.9.3.101", PI5, lock=for_(3600, "ann", "camera driver")),
    Board("anns-other", "10.9.3.102", PI5, lock=for_(3600, "ann", "camera driver")),
)

HOW = pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """Eight boards, of which two have lived through a week, and some that stories change."""
    folder = tmp_path_factory.mktemp("pool")
    with pool_of((*SMALL, *OTHERS), folder) as seeded:
        for name in ("pi5-rack-a-01", "pi5-rack-a-02"):
            write_week(folder, name)
        yield seeded


_spare = iter(board.name for board in OTHERS if board.name.startswith("spare-"))


@pytest.fixture
def spare() -> str:
    """A free board that no other story has touched."""
    return next(_spare)


def look_at(page: Page, path: str) -> Page:
    """The page, when its charts are drawn and it is live."""
    page.goto(path)
    expect_live(page)
    if page.locator(".charts").count():
        expect(page.locator(".charts .now-word")).to_be_attached()
    return page


# Charts


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_can_be_read_by_everybody(visitor: Visitor, tab: str) -> None:
    """In both themes, and in any width without scrolling sideways."""
    page = look_at(visitor("ann"), MINE + tab)
    page.emulate_media(reduced_motion="reduce")  # a colour that is half-way to the other theme is none
    assert axe(page) == []
    page.emulate_media(color_scheme="dark")
    assert axe(page) == []
    for width in (1200, 900, 720, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width


def test_the_charts_show_who_had_it_and_what_went_wrong(visitor: Visitor) -> None:
    """A band for each lease in each chart, mine in another tint; throttling in its lane; a reboot through all."""
    page = look_at(visitor("ann"), MINE)
    count = len(RUNS) + 1
    expect(page.locator(".charts .uplot")).to_have_count(3)
    expect(page.locator(".band")).to_have_count(3 * count)
    expect(page.locator(".cap")).to_have_count(count)
    expect(page.locator(".cap.mine")).to_have_count(2)
    assert page.locator(".cap-word").first.text_content() == "ci:pipelines/nightly"
    expect(page.locator(".mark-word")).to_have_text(f"throttled {len(THROTTLED_H)}×")
    expect(page.locator(".reboot-word")).to_have_text("rebooted")
    expect(page.locator(".hot-line")).to_have_count(1)


def test_the_charts_say_in_a_sentence_what_they_show(visitor: Visitor) -> None:
    page = look_at(visitor("ann"), MINE)
    told = page.get_by_role("img", name=re.compile("in the last 24 hours")).get_attribute("aria-label")
    assert told is not None
    assert re.match(
        r"Temperature \d+° now, 8\d° highest, load .*, 5 leases, throttled 7×, 1 reboot in the last", told
    )


def test_a_gap_stays_a_gap(visitor: Visitor) -> None:
    """Before the reboot the board was silent: there is no line where nothing was measured."""
    page = look_at(visitor("ann"), MINE)
    told = page.evaluate("fetch('/m/pi5-rack-a-02/series?span=24h').then((answer) => answer.json())")
    empty = [index for index, value in enumerate(told["temperature"][0]) if value is None]
    assert len(empty) == 1
    around = told["at"][empty[0] - 1], told["at"][empty[0] + 1]
    assert around[1] - around[0] > 800
    assert around[0] < told["reboots"][0] < around[1] + 60


def test_each_span_has_an_address(visitor: Visitor) -> None:
    page = look_at(visitor("ann"), MINE + "/health")
    for word, span in (("7 d", "7d"), ("1 h", "1h"), ("24 h", "24h")):
        page.get_by_role("navigation", name="Span").get_by_role("link", name=word).click()
        expect(page).to_have_url(re.compile(rf"{MINE}/health\?span={span}$"))
        expect(page.locator(".charts .now-word")).to_be_attached()
        expect(page.get_by_role("navigation", name="Span").locator("[aria-current]")).to_have_text(word)


def test_pointing_at_a_chart_tells_the_numbers_of_that_moment_in_all(visitor: Visitor) -> None:
    page = look_at(visitor("ann"), MINE)
    heads = page.locator(".plot-head > span:nth-child(2)")
    usual = heads.all_text_contents()
    page.locator(".u-over").nth(1).hover(position={"x": 300, "y": 20})
    expect(heads.nth(0)).to_have_text(re.compile(r"\d\d:\d\d: \d+°"))
    expect(heads.nth(2)).to_have_text(re.compile(r"\d\d:\d\d: \d+ %"))
    page.locator("h1").hover()
    expect(heads.nth(0)).to_have_text(usual[0])


def test_the_table_has_the_same_numbers(visitor: Visitor) -> None:
    page = look_at(visitor("ann"), MINE)
    at = page.evaluate(
        "fetch('/m/pi5-rack-a-02/series?span=24h').then((answer) => answer.json()).then((told) => told.at)"
    )
    page.get_by_role("link", name="Table").click()
    expect(page.locator(".numbers tbody tr.silent")).to_have_count(1)
    assert abs(page.locator(".numbers tbody tr").count() - len(at)) <= 1
    page.get_by_role("link", name="Charts").click()
    expect(page.locator(".charts .now-word")).to_be_attached()


def test_without_script_there_is_the_table(visitor: Visitor) -> None:
    """On the health tab at once, elsewhere by a link."""
    page = visitor("ann", script=False)
    page.goto(MINE)
    page.get_by_role("link", name="The numbers of the last 24 hours").click()
    expect(page.locator(".numbers tbody tr").first).to_be_visible()
    page.goto(MINE + "/health")
    page.wait_for_url("**/health?span=24h&as=table")


def test_a_board_that_was_never_measured_says_so(visitor: Visitor, pool: Pool) -> None:
    pool.add(Board("silent-one", "10.9.3.200", PI5))
    page = visitor("ann")
    page.route("**/series*", lambda route: route.fulfill(json=_nothing()))
    page.goto("/m/silent-one")
    expect(page.locator(".charts")).to_have_text("Nothing was measured in the last 24 hours.")


def _nothing() -> dict[str, object]:
    return {"at": [], "sentence": "Nothing was measured in the last 24 hours."}


def test_numbers_that_do_not_come_are_said_and_asked_for_again(
    visitor: Visitor, pool: Pool, watches: list[Watch], spare: str
) -> None:
    page = visitor("ann")
    page.route("**/series*", lambda route: route.abort())
    watches[0].pardon("ERR_FAILED")
    page.goto(f"/m/{spare}")
    expect(page.locator(".charts")).to_contain_text("The numbers did not come")
    page.unroute("**/series*")
    later(page, 31)
    pool.beat(spare)
    expect(page.locator(".charts .now-word")).to_be_attached(timeout=PATIENCE_MS)


def later(page: Page, seconds: int) -> None:
    """The browser's clock goes on at once, without anybody having to wait."""
    page.evaluate("(ms) => { const real = Date.now; Date.now = () => real() + ms; }", seconds * 1000)


def test_new_numbers_are_fetched_with_a_beat_but_not_with_each(
    visitor: Visitor, pool: Pool, spare: str
) -> None:
    """At most every 30 s, however often the board beats."""
    page, asked = visitor("ann"), list[str]()
    page.on("request", lambda request: asked.append(request.url) if "/series" in request.url else None)
    look_at(page, f"/m/{spare}")
    page.locator(".pulse .strip").evaluate("(strip) => { strip.dataset.old = 'yes'; }")
    pool.beat(spare, telemetry={"temperature": 51.0})
    expect(page.locator(".pulse .strip[data-old]")).to_have_count(0, timeout=PATIENCE_MS)
    assert len(asked) == 1
    later(page, 31)
    with page.expect_request("**/series*"):
        pool.beat(spare, telemetry={"temperature": 52.0})


def test_charts_follow_the_theme_and_the_width(visitor: Visitor) -> None:
    """Their lines are drawn anew in the theme's ink, and as wide as there is room."""
    page = look_at(visitor("ann"), MINE)
    canvas = "document.querySelector('.charts canvas')"
    picture, width = page.evaluate(f"[{canvas}.toDataURL(), {canvas}.clientWidth]")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"(old) => {canvas}.toDataURL() !== old", arg=picture)
    page.set_viewport_size({"width": 700, "height": 900})
    page.wait_for_function(f"(old) => {canvas}.clientWidth < old", arg=width)


# The lease


def test_the_countdown_goes_on_and_extending_sets_it_back(visitor: Visitor, pool: Pool) -> None:
    """By one press, without a dialog; the card changes when the service has said so."""
    page = look_at(visitor("ann"), "/m/anns")
    count = page.locator(".countdown time")
    expect(count).to_have_text(re.compile(r"^(1:00:00|5\d:\d\d)$"))
    ends = int(count.get_attribute("data-at") or 0)
    page.get_by_role("button", name="Extend by 30 m").click()
    page.wait_for_function("(old) => document.querySelector('.countdown time').dataset.at > old", arg=ends)


def test_another_time_is_asked_for_in_a_dialog(visitor: Visitor) -> None:
    page = look_at(visitor("ann"), "/m/anns")
    page.get_by_role("link", name="Other time…").click()
    expect(title(page)).to_have_text("Extend anns")
    sheet(page).get_by_text("8 h", exact=True).click()
    press(page)
    expect(page.locator(".countdown")).to_have_text(re.compile(r"^(8:59|9:\d\d):\d\d$"))


@HOW
def test_from_lock_to_unlock_on_one_page(visitor: Visitor, spare: str, script: bool) -> None:
    page = visitor("bob", script=script)
    page.goto(f"/m/{spare}")
    page.locator("#lease").get_by_role("link", name="Lock").click()
    page.get_by_label("What for").fill("a quick look")
    press(page)
    expect(title(page)).to_have_text(f"{spare} is yours")
    page.get_by_role("link", name="Open machine").click()
    expect(page.locator("#lease-title")).to_have_text("Your lease")
    expect(page.locator("#lease .job")).to_have_text("a quick look")
    page.locator("#lease").get_by_role("button", name="Unlock").click()
    expect(page.locator(".machine-head .word")).to_have_text(re.compile("Free|Cleaning"))


def test_two_who_look_see_each_other_s_changes(visitor: Visitor, spare: str) -> None:
    """Within a second, without a touch; each with the buttons that are theirs."""
    bob, ann = look_at(visitor("bob"), f"/m/{spare}"), look_at(visitor("ann"), f"/m/{spare}")
    bob.locator("#lease").get_by_role("link", name="Lock").click()
    press(bob)
    expect(ann.locator("#lease-title")).to_have_text("bob has it", timeout=1_500)
    expect(ann.locator("#lease").get_by_role("link")).to_have_text(["Wait for it", "Take back"])
    expect(ann.locator(".machine-head .word")).to_have_text("Locked")
    expect(ann.locator("#last-leases tbody tr").first).to_contain_text("bob")


def test_what_is_taken_back_is_told_to_who_had_it(visitor: Visitor) -> None:
    """An operator says why; the page of the holder changes meanwhile."""
    ann, dana = look_at(visitor("ann"), "/m/anns-other"), look_at(visitor("dana"), "/m/anns-other")
    dana.get_by_role("link", name="Take back").click()
    dana.get_by_label("Why").fill("needed for the release")
    press(dana)
    expect(ann.locator("#lease-title")).not_to_have_text("Your lease")
    ann.goto("/m/anns-other/history")
    expect(ann.locator("#happened")).to_contain_text("needed for the release")


def test_readers_have_nothing_to_press(visitor: Visitor) -> None:
    page = look_at(visitor("vic"), THEIRS)
    expect(page.locator("#lease .btn")).to_have_count(0)
    expect(page.get_by_role("link", name="Edit")).to_have_count(0)
    expect(page.get_by_role("link", name="+ label")).to_have_count(0)


# What it is


@HOW
def test_a_comment_is_edited_where_it_stands(visitor: Visitor, spare: str, script: bool) -> None:
    page = visitor("bob", script=script)
    page.goto(f"/m/{spare}")
    page.locator("#comment").get_by_role("link", name="Edit").click()
    page.get_by_role("textbox", name="Comment").fill("the clip is <i>worn</i>")
    press(page)
    expect(page.locator("#comment .said")).to_have_text("the clip is <i>worn</i>")


def test_a_label_is_added_from_the_head(visitor: Visitor, spare: str) -> None:
    page = look_at(visitor("ann"), f"/m/{spare}")
    page.get_by_role("link", name="+ label").click()
    page.get_by_role("textbox", name="Labels").fill("camera rack:a")
    press(page)
    expect(page.locator(".machine-head .label")).to_have_text(["camera", "rack:a", "+ label"])


def test_the_menu_offers_what_can_be_done_now(visitor: Visitor) -> None:
    page = look_at(visitor("ann"), FREE)
    page.get_by_role("link", name="More for pi5-rack-a-01").click()
    expect(page.locator("#popup .menu")).to_contain_text("Drain")


def test_a_new_address_is_told_with_the_old_one(visitor: Visitor, pool: Pool, spare: str) -> None:
    """While one looks."""
    page = look_at(visitor("ann"), f"/m/{spare}")
    before = pool.boards[spare].address
    pool.beat(spare, address="10.9.3.222")
    expect(page.locator(".stays dt")).to_have_text(["10.9.3.222", before])
    expect(page.locator(".machine-head .address")).to_have_text("10.9.3.222")


def test_a_machine_that_is_deleted_while_one_looks_is_said_to_be(visitor: Visitor, pool: Pool) -> None:
    """Who did it, and the way on."""
    pool.add(Board("short-lived", "10.9.3.250", PI5))
    page = look_at(visitor("ann"), "/m/short-lived")
    pool.call("DELETE", "machines/short-lived?reason=burnt", token=pool.person("dana"))
    expect(title(page)).to_have_text("short-lived was deleted")
    expect(sheet(page)).to_contain_text("By dana")
    page.get_by_role("link", name="To the machines").click()
    expect(page).to_have_url(re.compile("/$"))
