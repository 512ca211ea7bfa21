"""A board comes into the pool: the line that an operator copies, and the page that waits for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.boards import PI5, Board
from tests.browser.chromium import axe
from tests.browser.conftest import LOOKS, Visitor
from tests.browser.flows import expect_live, expect_state, is_scripted, press, title
from tests.browser.pool import ROLES, Pool, pool_of

HOW = pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
OPERATORS = iter(f"operator-{number}" for number in range(100))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """One board, so that the list is a list."""
    with pool_of([Board("first", "10.8.0.1", PI5)], tmp_path_factory.mktemp("pool")) as seeded:
        yield seeded


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> str:
    """Somebody who has added nothing yet."""
    name = next(OPERATORS)
    monkeypatch.setitem(ROLES, name, "operator")
    return name


def board(name: str) -> Board:
    return Board(name, f"{name}.lab", PI5)


def told(page: Page) -> str:
    """The text to copy."""
    return page.locator("#line code").inner_text()


def token(page: Page) -> str:
    found = re.search(r"pc_join_\S+", told(page))
    assert found, told(page)
    return found.group()


def open_add(page: Page, query: str = "") -> None:
    page.goto(f"/add{query}")
    if is_scripted(page):
        expect_live(page)


def arrived(page: Page, name: str) -> None:
    """The board's row, which comes by itself; without script one looks again."""
    if not is_scripted(page):
        page.reload()
    expect(page.locator(f"#a-{name}")).to_be_visible()


# The line


def test_the_line_is_the_one_of_this_service(visitor: Visitor, pool: Pool) -> None:
    """Plain http is said, since the installer asks for it; so is an address that only this machine has."""
    page = visitor("ann")
    open_add(page)
    assert told(page) == (
        f"curl -fsSL {pool.address}/install.sh | sudo sh -s -- --token {token(page)} --insecure"
    )
    expect(page.locator("#told .note")).to_contain_text("looks for the service on itself")


def test_reloading_makes_no_other_token(visitor: Visitor) -> None:
    page = visitor("ann")
    open_add(page)
    before = token(page)
    page.reload()
    assert token(page) == before
    open_add(page, "?os=debian")
    assert token(page) == before


def test_each_operator_has_their_own_token(visitor: Visitor) -> None:
    ann, dana = visitor("ann"), visitor("dana")
    open_add(ann)
    open_add(dana)
    assert token(ann) != token(dana)


def test_the_text_follows_what_is_chosen(visitor: Visitor) -> None:
    """And so does the address, which opens the same again."""
    page = visitor("ann")
    open_add(page)
    page.get_by_text("Its name, labels").click()
    page.fill("#labels", "camera, rack=b")
    expect(page.locator("#line")).to_contain_text("--labels camera,rack=b")
    page.locator("label", has_text="Lets in the holder alone").click()
    expect(page.locator("#line")).to_contain_text("--enforce")
    page.locator("label", has_text="Raspberry Pi OS 12").click()
    page.get_by_role("link", name="SD card").click()
    expect(page.locator("#line")).to_contain_text("firstrun.sh")
    text = told(page)
    page.reload()
    assert told(page) == text
    assert "--enforce" in text


def test_without_script_a_button_shows_the_text(visitor: Visitor) -> None:
    page = visitor("ann", script=False)
    open_add(page)
    page.get_by_text("Its name, labels").click()
    page.locator("label", has_text="Raspberry Pi OS 12").click()
    page.fill("#name", "bench-7")
    page.get_by_role("button", name="Show the text").click()
    expect(page.locator("#line")).to_contain_text("--name bench-7")
    page.get_by_role("link", name="SD card").click()
    expect(page.locator("#line")).to_contain_text("# --- picluster ---")


@pytest.mark.parametrize(
    ("system", "file", "begins"),
    [("trixie", "user-data", "#cloud-config"), ("bookworm", "firstrun.sh", "#!/bin/bash")],
)
def test_the_text_for_a_card_comes_as_a_file(
    visitor: Visitor, tmp_path: Path, system: str, file: str, begins: str
) -> None:
    """Byte for byte what is shown."""
    page = visitor("ann")
    open_add(page, f"?os={system}")
    page.get_by_role("link", name="SD card").click()
    with page.expect_download() as coming:
        page.get_by_role("link", name=f"Save as {file}").click()
    coming.value.save_as(tmp_path / file)
    assert coming.value.suggested_filename == file
    saved = (tmp_path / file).read_text()
    assert saved.startswith(begins)
    assert token(page) in saved


def test_what_no_board_could_be_told_is_refused(visitor: Visitor) -> None:
    page = visitor("ann")
    open_add(page, "?name=two%0Alines")
    expect(page.get_by_role("alert")).to_contain_text("one line each")
    expect(page.locator("#line")).to_have_count(0)


# Watching


@HOW
def test_a_board_is_watched_as_it_arrives(visitor: Visitor, pool: Pool, operator: str, script: bool) -> None:
    """It has joined; it beats and is green; it is locked with one click, and the line is used up."""
    page, new = visitor(operator, script=script), board(f"new-{operator}")
    open_add(page)
    expect(page.locator("#arrivals")).to_contain_text("Waiting for the first beat…")
    pool.join(new, token(page))
    arrived(page, new.name)
    expect(page.locator(f"#a-{new.name}")).to_contain_text("Waiting for its first beat…")
    pool.beat(new.name)
    if not script:
        page.reload()
    expect(page.locator(f"#a-{new.name}")).to_contain_text("joined")
    expect(page.locator(f"#a-{new.name}")).to_contain_text("Pi 5")
    page.locator(f"#a-{new.name}").get_by_text("Lock").click()
    press(page)
    expect(title(page)).to_have_text(f"{new.name} is yours")


def test_a_line_that_is_used_up_says_so_and_the_next_look_has_a_fresh_one(
    visitor: Visitor, pool: Pool, operator: str
) -> None:
    page, new = visitor(operator), board(f"only-{operator}")
    open_add(page)
    used = token(page)
    pool.join(new, used)
    expect(page.locator("#token")).to_contain_text("used up")
    assert token(page) == used
    page.reload()
    assert token(page) != used
    expect(page.locator(f"#a-{new.name}")).to_be_visible()


@HOW
def test_a_shelf_of_boards_that_somebody_looks_at(
    visitor: Visitor, pool: Pool, operator: str, script: bool
) -> None:
    """A token for two, each of which waits for approval."""
    page, new = visitor(operator, script=script), board(f"shelf-{operator}")
    open_add(page)
    page.get_by_text("New token", exact=True).click()
    page.fill("#uses", "2")
    page.locator(".another .switch").click()
    page.get_by_role("button", name="Make a new token").click()
    expect(page.locator("#token")).to_contain_text("2 boards, once you have approved each")
    pool.join(new, token(page))
    pool.beat(new.name)
    arrived(page, new.name)
    expect(page.locator("#arrivals")).to_contain_text("1 of 2 have joined")
    expect(page.locator(f"#a-{new.name}")).to_contain_text("Pending")
    page.locator(f"#a-{new.name}").get_by_text("Approve").click()
    press(page)
    page.goto("/")
    expect_state(page, new.name, "Free")


def test_a_number_that_is_none_is_refused_where_it_was_typed(visitor: Visitor) -> None:
    page = visitor("ann", script=False)
    open_add(page)
    page.get_by_text("New token", exact=True).click()
    page.evaluate("document.querySelector('#uses').type = 'text'")
    page.fill("#uses", "many")
    page.get_by_role("button", name="Make a new token").click()
    expect(page.get_by_role("alert")).to_contain_text("a number of boards")


# Who may


@pytest.mark.parametrize("name", ["bob", "vic"])
def test_who_is_no_operator_is_refused(visitor: Visitor, name: str) -> None:
    page = visitor(name)
    page.goto("/add")
    expect(page.locator("h1")).to_contain_text("operator")
    assert "pc_join_" not in page.content()


def test_somebody_new_logs_in_first_and_is_there_then(visitor: Visitor, pool: Pool) -> None:
    page = visitor()
    page.goto("/add?os=debian")
    assert "pc_join_" not in page.content()
    page.get_by_text("With a token").click()
    page.fill("#token", pool.person("ann"))
    page.locator("[data-main]").click()
    expect(page.locator("h1")).to_have_text("Add a machine")
    assert page.url.endswith("/add?os=debian")


# How it looks


@LOOKS
def test_everybody_can_use_the_page(visitor: Visitor, pool: Pool, theme: str, size: str) -> None:
    page, new = visitor("ann", size=size, theme=theme), board(f"axe-{theme}-{size}")
    open_add(page, "?labels=a")
    pool.join(new, token(page))
    pool.beat(new.name)
    arrived(page, new.name)
    page.get_by_text("Three things to check").click()
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


# The empty list


@pytest.fixture
def nothing(tmp_path: Path) -> Iterator[Pool]:
    """A pool without a machine."""
    with pool_of([], tmp_path) as empty:
        yield empty


def test_the_first_board_of_a_pool(nothing: Pool, visitor: Visitor) -> None:
    """An operator copies the line from the empty list, and the list fills by itself."""
    page = visitor()
    enter(page, nothing, "ann")
    page.goto(f"{nothing.address}/")
    expect_live(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Your first machine is one line away")
    line = page.locator(".empty code").first.inner_text()
    assert axe(page) == []
    nothing.join(board("very-first"), line.split("--token ")[1].split()[0])
    nothing.beat("very-first")
    expect(page.locator("#m-very-first")).to_be_visible()


def test_others_read_whom_to_ask(nothing: Pool, visitor: Visitor) -> None:
    """Nobody but an operator is shown a token."""
    for name, role in (("olga", "operator"), ("otto", "admin"), ("ulla", "user")):
        nothing.call("POST", "people", {"name": name, "role": role, "password": "correct horse battery"})
    page = visitor()
    page.goto(f"{nothing.address}/")
    expect(page.locator("#list")).to_contain_text("Log in, and you get the one line")
    enter(page, nothing, "bob")
    page.goto(f"{nothing.address}/")
    expect(page.locator("#list")).to_contain_text("Ask olga or otto to add one")
    assert "pc_join_" not in page.content()


def enter(page: Page, at: Pool, name: str) -> None:
    """Log in with a token at a service of its own."""
    page.goto(f"{at.address}/login")
    page.get_by_text("With a token").click()
    page.fill("#token", at.person(name))
    page.locator("[data-main]").click()
    page.wait_for_url(f"{at.address}/")
