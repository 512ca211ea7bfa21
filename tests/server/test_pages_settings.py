"""Settings and the line for a new board over plain HTTP: who may ask for what, and what must not be in an answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx2
import pytest

from picluster.pool.policy import Policy
from picluster.server.described import meanings_of
from picluster.server.pages.settings_service import exactly, vendored
from picluster.server.settings import Settings
from tests.server.conftest import ROLES, Api
from tests.service import ADMIN, KEY, PATIENCE_S

WITHOUT_SECRETS = (
    "/settings",
    "/settings/tokens",
    "/settings/people",
    "/settings/webhooks",
    "/settings/pool",
    "/settings/backups",
)
OWN = {"Sec-Fetch-Site": "same-origin"}
FOREIGN = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}


@pytest.fixture(scope="module")
def browsers(api: Api) -> Iterator[Callable[[str], httpx2.Client]]:
    """Somebody's browser, logged in by a token; "" for nobody."""
    opened: dict[str, httpx2.Client] = {}

    def of(role: str) -> httpx2.Client:
        if role not in opened:
            headers = {"Accept": "text/html"}
            opened[role] = httpx2.Client(base_url=api.address, timeout=PATIENCE_S, headers=headers)
            if role:
                token = ADMIN if role == "admin" else api.token(role, f"the-{role}")
                answer = opened[role].post("/login", data={"token": token}, headers=OWN)
                assert answer.status_code == 303
        return opened[role]

    yield of
    for browser in opened.values():
        browser.close()


# The API


@pytest.mark.parametrize("role", ROLES)
def test_admins_alone_read_what_the_service_is_set_to(api: Api, role: str) -> None:
    assert api.get("settings", api.token(role)).status_code == (200 if role == "admin" else 403)


def test_every_setting_is_told_with_what_it_means(api: Api) -> None:
    """And with the variable that changes it."""
    told = {one["variable"]: one for one in api.get("settings").json()["settings"]}
    assert len(told) == len(Settings.model_fields) - 1 + len(meanings_of(Policy))
    assert all(one["meaning"] for one in told.values())
    offline = told["PICLUSTER_POLICY__OFFLINE_S"]
    assert (offline["value"], offline["usual"]) == (3600.0, 90.0)


def test_of_secrets_it_is_told_whether_they_are_set(api: Api) -> None:
    answer = api.get("settings")
    told = {one["variable"]: one for one in answer.json()["settings"] if one["secret"]}
    assert {name: one["value"] for name, one in told.items()} == {
        "PICLUSTER_API_KEY": True,
        "PICLUSTER_ADMIN_TOKEN": True,
        "PICLUSTER_DATABASE_URL": False,
        "PICLUSTER_WEBHOOK_PROXY": False,
    }
    assert ADMIN not in answer.text
    assert KEY not in [one["value"] for one in answer.json()["settings"]]


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
def test_no_setting_changes_while_the_service_runs(api: Api, method: str) -> None:
    assert api.send(method, "settings", {}).status_code == 405


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.1, "0.1 s"),
        (60, "1 m"),
        (90, "1 m 30 s"),
        (86_400, "1 d"),
        (90_061.5, "1 d 1 h 1 m 1.5 s"),
    ],
)
def test_a_setting_is_told_to_the_second(seconds: float, words: str) -> None:
    assert exactly(seconds) == words


def test_every_field_has_its_meaning_in_the_source() -> None:
    """The text beneath it, as it stands there."""
    assert meanings_of(Policy)["offline_s"] == "Three beats of 30 s missed."
    assert not [name for name, meaning in meanings_of(Policy).items() if not meaning]
    assert [name for name, meaning in meanings_of(Settings).items() if not meaning] == ["policy"]


def test_every_vendored_package_shows_its_licence() -> None:
    assert {one.name for one in vendored()} >= {"@tabler/core", "@tabler/icons", "@fontsource-variable/geist"}
    assert all(one.licence and len(one.text) > 300 for one in vendored())


# Pages


@pytest.mark.parametrize(
    "path", [*WITHOUT_SECRETS, "/settings/backup", "/settings/token", "/add", "/add/file"]
)
def test_nobody_opens_any_of_it_without_a_login(browsers: Callable[[str], httpx2.Client], path: str) -> None:
    answer = browsers("").get(path)
    assert answer.status_code == 401
    assert 'action="/login"' in answer.text
    assert "pc_" not in answer.text.replace("<code>pc_</code>", "")


FORMS = (
    ("/settings/password", "viewer"),
    ("/settings/token", "viewer"),
    ("/settings/token/any/revoke", "viewer"),
    ("/settings/sessions/end", "viewer"),
    ("/settings/people/add", "admin"),
    ("/settings/people/somebody/disable", "admin"),
    ("/settings/webhooks/new", "admin"),
    ("/settings/webhooks/any/test", "admin"),
    ("/settings/webhooks/any/remove", "admin"),
    ("/settings/tokens/new", "operator"),
    ("/settings/tokens/any/revoke", "operator"),
    ("/add/token", "operator"),
)


@pytest.mark.parametrize(("path", "role"), FORMS)
def test_a_form_on_a_foreign_page_changes_nothing(
    browsers: Callable[[str], httpx2.Client], path: str, role: str
) -> None:
    assert browsers("admin").post(path, data={"name": "x"}, headers=FOREIGN).status_code == 403


@pytest.mark.parametrize(("path", "role"), [form for form in FORMS if form[1] != "viewer"])
def test_a_form_is_for_its_role(browsers: Callable[[str], httpx2.Client], path: str, role: str) -> None:
    below = ROLES[ROLES.index(role) - 1]
    assert browsers(below).post(path, data={"name": "x"}, headers=OWN).status_code == 403


def test_a_page_with_a_join_token_is_neither_kept_nor_compressed(
    browsers: Callable[[str], httpx2.Client],
) -> None:
    """Its length would tell about the token, beside names that others choose. Other pages are compressed."""
    answer = browsers("operator").get("/add", headers={"Accept-Encoding": "gzip"})
    assert "pc_join_" in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert "content-encoding" not in answer.headers
    other = browsers("operator").get("/settings", headers={"Accept-Encoding": "gzip"})
    assert other.headers["content-encoding"] == "gzip"


def test_looking_often_makes_one_token(api: Api, browsers: Callable[[str], httpx2.Client]) -> None:
    """However the page is asked for."""
    browser = browsers("operator")
    before = [token for token in api.get("tokens").json() if token["kind"] == "join"]
    for path in ("/add", "/add?os=bookworm&way=firstrun", "/add/file?os=trixie&way=user-data", "/add"):
        assert browser.get(path).status_code == 200
    browser.get("/add", headers={"HX-Request": "true"})
    after = [token for token in api.get("tokens").json() if token["kind"] == "join"]
    assert len(after) - len(before) <= 1


def test_a_revoked_token_is_not_shown_again(api: Api, browsers: Callable[[str], httpx2.Client]) -> None:
    browser = browsers("operator")
    page = browser.get("/add").text
    shown = page.split("pc_join_")[1].split("_")[0]
    assert api.delete(f"tokens/{shown}").status_code == 200
    assert f"pc_join_{shown}_" not in browser.get("/add").text


def test_a_name_of_this_service_that_is_none_is_in_no_line(browsers: Callable[[str], httpx2.Client]) -> None:
    """The line runs as root on a board."""
    answer = browsers("operator").get("/add", headers={"Host": "lab$(reboot)"})
    assert "| sudo sh -s -- --token" not in answer.text


def test_what_was_done_is_said_in_words_of_ours(browsers: Callable[[str], httpx2.Client]) -> None:
    assert "The token works no more." in browsers("viewer").get("/settings?done=revoked").text
    assert (
        "call+this+number"
        not in browsers("viewer").get("/settings?done=call+this+number").text.split("<main")[1]
    )
