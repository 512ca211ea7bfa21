"""Settings: one's own password, tokens and sessions; accounts, tokens and the service for those who run it."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.boards import PI5, Board
from tests.browser.chromium import axe
from tests.browser.conftest import LOOKS, Visitor
from tests.browser.flows import press, sheet, title
from tests.browser.pool import Pool, pool_of
from tests.service import ADMIN, KEY, PATIENCE_S

HOW = pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
PASSWORD, ANOTHER = "correct horse battery", "staple horse battery"
POWER = '[[power]]\nmachines = "rack:b"\ncycle = ["/bin/echo", "cycled", "{name}"]\n'

_numbers = iter(range(1000))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """With an admin who has a password, and power for one rack."""
    folder = tmp_path_factory.mktemp("pool")
    (folder / "power.toml").write_text(POWER)
    boards = [Board("first", "10.8.0.1", PI5)]
    with pool_of(boards, folder, PICLUSTER_SERVICE_CONFIG=str(folder / "power.toml")) as seeded:
        seeded.call("POST", "people", {"name": "root", "role": "admin", "password": PASSWORD})
        yield seeded


def account(pool: Pool, role: str = "user") -> str:
    """Somebody new, with an account."""
    name = f"{role}-{next(_numbers)}"
    pool.call("POST", "people", {"name": name, "role": role, "password": PASSWORD})
    return name


def enter(page: Page, name: str, password: str = PASSWORD, path: str = "/settings") -> Page:
    """Log in, and go on to a page of the settings."""
    page.goto(f"/login?next={path}")
    page.fill("#name", name)
    page.fill("#password", password)
    page.locator("[data-main]").click()
    return page


def works(pool: Pool, token: str) -> bool:
    answer = httpx2.get(
        f"{pool.address}/api/v1/whoami", headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE_S
    )
    return answer.status_code == 200


def line(page: Page, name: str) -> Locator:
    """The row of a table that begins with this."""
    return page.get_by_role("row").filter(has=page.get_by_text(name, exact=True))


def tabs(page: Page) -> list[str]:
    return page.locator(".views a").all_inner_texts()


# Who sees what


@pytest.mark.parametrize(
    ("role", "seen"),
    [
        ("viewer", ["You", "Licences"]),
        ("user", ["You", "Licences"]),
        ("operator", ["You", "Tokens", "Licences"]),
        ("admin", ["You", "People", "Tokens", "Notifications", "Pool", "Backup", "Licences"]),
    ],
)
def test_a_role_has_its_tabs_and_no_others(visitor: Visitor, pool: Pool, role: str, seen: list[str]) -> None:
    """Also for whoever types the address."""
    page = enter(visitor(), account(pool, role))
    expect(page.locator("h1")).to_have_text("Settings")
    assert tabs(page) == seen
    for word, path in (("People", "people"), ("Pool", "pool"), ("Backup", "backups"), ("Tokens", "tokens")):
        answer = page.goto(f"/settings/{path}")
        assert answer is not None
        assert answer.status == (200 if word in seen else 403)
    answer = page.context.request.get("/settings/backup")
    assert answer.status == (200 if role == "admin" else 403)


def test_the_way_to_the_settings_is_a_login(visitor: Visitor) -> None:
    page = visitor()
    page.goto("/settings/people")
    expect(title(page)).to_have_text("Log in")


def test_with_the_shared_key_there_is_nothing_of_one_s_own(visitor: Visitor) -> None:
    page = visitor()
    page.goto("/login?next=/settings")
    page.fill("#name", "zoe")
    page.get_by_text("With a token").click()
    page.fill("#token", KEY)
    page.locator("[data-main]").click()
    expect(page.locator("main")).to_contain_text("your name is not verified")
    expect(page.locator("#current")).to_have_count(0)
    expect(page.get_by_role("link", name="New token")).to_have_count(0)


# The password


@HOW
@pytest.mark.parametrize("role", ["viewer", "admin"])
def test_somebody_changes_their_password(visitor: Visitor, pool: Pool, role: str, script: bool) -> None:
    """The other browser is logged out, this one stays, and the new one opens."""
    name = account(pool, role)
    page, other = enter(visitor(script=script), name), enter(visitor(), name)
    for field, typed in (("current", PASSWORD), ("password", ANOTHER), ("again", ANOTHER)):
        page.fill(f"#{field}", typed)
    page.get_by_role("button", name="Change the password").click()
    expect(page.locator(".said")).to_contain_text("Your password is another one now")
    other.goto("/settings")
    expect(title(other)).to_have_text("Log in")
    enter(other, name, ANOTHER)
    expect(other.locator("h1")).to_have_text("Settings")


@pytest.mark.parametrize("role", ["user", "admin"])
@pytest.mark.parametrize(
    ("current", "new", "again", "said"),
    [
        ("not my password", ANOTHER, ANOTHER, "Upper and lower case count"),
        (PASSWORD, ANOTHER, PASSWORD, "the two passwords differ"),
    ],
)
def test_a_password_is_not_changed_by_who_does_not_know_it(
    visitor: Visitor, pool: Pool, role: str, current: str, new: str, again: str, said: str
) -> None:
    """Not even an admin's, whose browser was left open."""
    name = account(pool, role)
    page = enter(visitor(), name)
    for field, typed in (("current", current), ("password", new), ("again", again)):
        page.fill(f"#{field}", typed)
    page.get_by_role("button", name="Change the password").click()
    expect(page.get_by_role("alert")).to_contain_text(said)
    enter(visitor(), name)


# Tokens of one's own


@HOW
def test_a_token_is_shown_once_and_works_until_it_is_revoked(
    visitor: Visitor, pool: Pool, script: bool
) -> None:
    page = enter(visitor(script=script), account(pool))
    page.get_by_role("link", name="New token").click()
    page.fill("#label", "nightly script")
    page.locator("label", has_text="viewer").click()
    page.locator("label", has_text="30 days").click()
    press(page)
    secret = page.locator("#secret code").inner_text()
    assert works(pool, secret)
    assert secret not in page.url
    page.get_by_role("link", name="I have it").click()
    expect(line(page, "nightly script")).to_contain_text("viewer")
    assert secret not in page.content()
    line(page, "nightly script").get_by_role("button").click()
    expect(page.locator(".said")).to_have_text("The token works no more.")
    assert not works(pool, secret)


def test_nobody_makes_a_token_that_is_worth_more_than_they_are(visitor: Visitor, pool: Pool) -> None:
    page = enter(visitor(), account(pool), path="/settings/token")
    expect(page.locator("[name='role']")).to_have_count(2)
    page.evaluate("document.querySelector(\"[name='role'][value='user']\").value = 'admin'")
    page.fill("#label", "mischief")
    press(page)
    expect(page.locator(".trouble")).to_be_visible()


def test_a_page_with_a_secret_is_neither_kept_nor_compressed(visitor: Visitor, pool: Pool) -> None:
    """Its length would tell about the secret."""
    page = enter(visitor(), account(pool), path="/settings/token")
    page.fill("#label", "a script")
    with page.expect_response(lambda answer: answer.request.method == "POST") as made:
        press(page)
    headers = made.value.all_headers()
    assert headers["cache-control"] == "no-store"
    assert "content-encoding" not in headers
    assert "pc_person_" in made.value.text()


def test_a_label_is_no_place_for_tricks(visitor: Visitor, pool: Pool) -> None:
    """A token that says to be from the operator's own would be exempt from what the account says."""
    name = account(pool)
    page = enter(visitor(), name, path="/settings/token")
    page.fill("#label", "token:configured-admin")
    press(page)
    secret = page.locator("#secret code").inner_text()
    pool.call("PATCH", f"people/{name}", {"disabled": True})
    assert not works(pool, secret)


# Sessions


@HOW
def test_somebody_ends_a_session_that_they_left_open(visitor: Visitor, pool: Pool, script: bool) -> None:
    name = account(pool)
    left, page = enter(visitor(), name), enter(visitor(script=script), name)
    expect(page.get_by_role("row").filter(has_text="with the password")).to_have_count(2)
    page.get_by_role("button", name="End", exact=True).click()
    expect(page.locator(".said")).to_have_text("That session has ended.")
    left.goto("/settings")
    expect(title(left)).to_have_text("Log in")
    page.reload()
    expect(line(page, "This browser")).to_be_visible()


def test_all_others_end_at_once(visitor: Visitor, pool: Pool) -> None:
    name = account(pool)
    others = [enter(visitor(), name), enter(visitor(), name)]
    page = enter(visitor(), name)
    page.get_by_role("button", name="End all others").click()
    expect(page.locator(".said")).to_have_text("You are logged in here, and nowhere else.")
    for other in others:
        other.goto("/settings")
        expect(title(other)).to_have_text("Log in")


def test_nobody_ends_the_session_of_another(visitor: Visitor, pool: Pool) -> None:
    mine, theirs = enter(visitor(), account(pool)), enter(visitor(), account(pool))
    theirs.reload()
    cookie = next(one for one in theirs.context.cookies() if one["name"] == "picluster_session")
    session = str(cookie["value"]).split("_")[2]
    answer = mine.context.request.post(
        "/settings/sessions/end", form={"id": session}, headers={"Origin": pool.address}
    )
    assert answer.status == 404
    theirs.reload()
    expect(theirs.locator("h1")).to_have_text("Settings")


# People


@HOW
def test_an_admin_makes_an_account_and_gives_it_a_role(visitor: Visitor, pool: Pool, script: bool) -> None:
    name = f"new-{next(_numbers)}"
    page = enter(visitor(script=script), "root", path="/settings/people")
    page.get_by_role("link", name="Add a person").click()
    page.fill("#person-name", name)
    page.locator("label", has_text="viewer").click()
    page.fill("#password", PASSWORD)
    page.fill("#again", PASSWORD)
    press(page)
    expect(line(page, name)).to_contain_text("viewer")
    line(page, name).get_by_role("link").click()
    page.get_by_role("link", name="Role").click()
    page.locator("label", has_text="operator").click()
    if script:
        expect(page.locator("#command code")).to_have_text(f"picluster people role {name} operator")
    press(page)
    expect(line(page, name)).to_contain_text("operator")
    new = enter(visitor(), name)
    assert tabs(new) == ["You", "Tokens", "Licences"]


@HOW
def test_an_account_is_disabled_enabled_and_removed(visitor: Visitor, pool: Pool, script: bool) -> None:
    name = account(pool)
    theirs = enter(visitor(), name)
    page = enter(visitor(script=script), "root", path="/settings/people")

    def choose(word: str) -> None:
        line(page, name).get_by_role("link").click()
        page.get_by_role("link", name=word).click()

    choose("Disable")
    press(page)
    expect(line(page, name)).to_contain_text("disabled")
    theirs.goto("/settings")
    expect(title(theirs)).to_have_text("Log in")
    choose("Enable")
    press(page)
    expect(line(page, name)).to_contain_text("with a password")
    choose("Remove")
    page.fill("#retype", "somebody else")
    press(page)
    expect(page.locator(".trouble")).to_contain_text("not the name of the account")
    page.fill("#retype", name)
    press(page)
    expect(line(page, name)).to_have_count(0)


def test_a_forgotten_password_is_set_anew(visitor: Visitor, pool: Pool) -> None:
    name = account(pool)
    page = enter(visitor(), "root", path=f"/settings/people/{name}/password")
    page.fill("#password", ANOTHER)
    page.fill("#again", ANOTHER)
    press(page)
    expect(line(page, name)).to_be_visible()
    enter(visitor(), name, ANOTHER)


def test_the_last_admin_stays_and_is_told_the_way_out(tmp_path: Path, visitor: Visitor) -> None:
    """The configured token has been taken back, so there is nobody else."""
    with pool_of([], tmp_path) as alone:
        alone.call("POST", "people", {"name": "root", "role": "admin", "password": PASSWORD})
        page = visitor()
        page.goto(f"{alone.address}/login?next=/settings/people/root/role")
        page.fill("#name", "root")
        page.fill("#password", PASSWORD)
        page.locator("[data-main]").click()
        alone.call("DELETE", "tokens/configured-admin")
        page.locator("label", has_text="viewer").click()
        press(page)
        expect(page.locator(".trouble")).to_contain_text("Nobody would be admin any more without root")
        expect(page.locator(".trouble")).to_contain_text("Make somebody else admin first")
        page.close()  # or it would complain that its service is gone


def test_names_are_text(visitor: Visitor, pool: Pool) -> None:
    """Whatever an account is called, its pages open and nothing runs."""
    name = "<b>o'hara</b> & %2e?#".replace("/", "|")
    pool.call("POST", "people", {"name": name, "role": "user", "password": PASSWORD})
    page = enter(visitor(), "root", path="/settings/people")
    line(page, name).get_by_role("link").click()
    page.get_by_role("link", name="Disable").click()
    expect(title(page)).to_have_text(f"Disable {name}")
    press(page)
    expect(line(page, name)).to_contain_text("disabled")


# Tokens of all


@HOW
def test_an_admin_makes_a_token_for_a_program(visitor: Visitor, pool: Pool, script: bool) -> None:
    name = f"ci:{next(_numbers)}"
    page = enter(visitor(script=script), "root", path="/settings/tokens")
    page.get_by_role("link", name="New token").click()
    sheet(page).get_by_role("link", name="Programs").click()
    page.fill("#token-name", name)
    page.locator("label", has_text="viewer").click()
    press(page)
    secret = page.locator("#secret code").inner_text()
    assert works(pool, secret)
    page.get_by_role("link", name="I have it").click()
    line(page, name).get_by_role("button").click()
    expect(page.locator(".said")).to_have_text("The token works no more.")
    assert not works(pool, secret)


def test_an_operator_makes_join_tokens_and_no_others(visitor: Visitor, pool: Pool) -> None:
    page = enter(visitor(), account(pool, "operator"), path="/settings/tokens/new?kind=person")
    expect(page.locator("[name='kind']")).to_have_value("join")
    page.fill("#uses", "5")
    press(page)
    assert page.locator("#secret code").inner_text().startswith("pc_join_")
    page.get_by_role("link", name="I have it").click()
    expect(line(page, "boards")).to_contain_text("5 more boards")
    page.goto("/settings/tokens/new")
    page.evaluate("document.querySelector(\"[name='kind']\").value = 'person'")
    press(page)
    expect(page.locator(".trouble")).to_be_visible()


# The service


def test_what_the_service_is_set_to_is_shown_with_its_meaning(visitor: Visitor) -> None:
    page = enter(visitor(), "root", path="/settings/pool")
    row = line(page, "PICLUSTER_POLICY__OFFLINE_S")
    expect(row).to_contain_text("4 h")
    expect(row).to_contain_text("usually 1 m 30 s")
    expect(row).to_contain_text("Three beats of 30 s missed.")
    expect(page.locator("main")).to_contain_text("whoever has the shared key reads, locks and unlocks")
    expect(page.locator("#power").locator("xpath=ancestor::section")).to_contain_text(
        "/bin/echo cycled {name}"
    )
    content = page.content()
    assert ADMIN not in content
    assert f">{KEY}<" not in content


def test_a_backup_is_a_download(visitor: Visitor, tmp_path: Path) -> None:
    """The same that the command line takes."""
    page = enter(visitor(), "root", path="/settings/backups")
    with page.expect_download() as coming:
        page.get_by_role("link", name="Download").click()
    assert re.fullmatch(r"picluster-\d{4}-\d\d-\d\d\.picluster", coming.value.suggested_filename)
    coming.value.save_as(tmp_path / "copy")
    lines = gzip.decompress((tmp_path / "copy").read_bytes()).splitlines()
    assert len([json.loads(one) for one in lines]) > 5


def test_whose_work_it_is_can_be_read_by_everybody(visitor: Visitor) -> None:
    page = visitor("vic")
    page.goto("/settings/licences")
    page.get_by_text("@tabler/icons").click()
    expect(page.locator("details[open] pre")).to_contain_text("Permission is hereby granted")


# How it looks


PAGES = (
    "",
    "/people",
    "/tokens",
    "/tokens?kind=agent",
    "/pool",
    "/backups",
    "/licences",
    "/people/add",
    "/people/root",
    "/people/root/role",
    "/people/root/remove",
    "/tokens/new",
    "/tokens/new?kind=join",
    "/token",
)


@LOOKS
def test_everybody_can_use_the_settings(visitor: Visitor, theme: str, size: str) -> None:
    page = enter(visitor(theme=theme, size=size), "root")
    for path in PAGES:
        page.goto(f"/settings{path}")
        assert axe(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
