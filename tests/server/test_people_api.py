"""Accounts over HTTP: who may do what with whose, what a password opens for a program, and what is refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from picluster.server.access.attempts import FAILURES_PER_NAME
from tests.server.conftest import Api
from tests.service import ADMIN, KEY

PASSWORD = "correct horse battery"
_numbers = itertools.count(1)


@pytest.fixture
def add(api: Api) -> Callable[..., str]:
    """A new account; its name."""

    def added(role: str = "user", **more: Any) -> str:
        name = f"p{next(_numbers)}"
        made = api.post("people", {"name": name, "role": role, "password": PASSWORD, **more})
        assert made.status_code == 201, made.text
        return name

    return added


def log_in(api: Api, name: str, password: str = PASSWORD, **more: Any) -> Any:
    return api.post("login", {"name": name, "password": password, **more}, "")


def token_of(api: Api, name: str) -> str:
    made = log_in(api, name)
    assert made.status_code == 201, made.text
    return str(made.json()["token"])


# Accounts


def test_an_account_is_made_listed_changed_and_deleted(api: Api) -> None:
    made = api.post("people", {"name": "Ann Lee@lab", "role": "operator", "password": PASSWORD}).json()
    assert made | {"created_us": 0, "revision": 0} == {
        "name": "Ann Lee@lab",
        "role": "operator",
        "disabled": False,
        "has_password": True,
        "created_us": 0,
        "created_by": "admin",
        "revision": 0,
    }
    assert made in api.get("people").json()
    assert api.patch("people/ann%20lee@LAB", {"role": "viewer"}).json()["role"] == "viewer"
    assert api.delete("people/Ann%20Lee@lab").json()["name"] == "Ann Lee@lab"
    assert made["name"] not in api.get("people").text
    assert api.delete("people/Ann%20Lee@lab").status_code == 404


def test_accounts_are_listed_in_pages(api: Api, add: Callable[..., str]) -> None:
    names = sorted(add() for _ in range(3))
    found = []
    after = ""
    while page := api.get(f"people?limit=2&after={after}").json():
        assert len(page) <= 2
        found += [person["name"] for person in page]
        after = found[-1]
    assert [name for name in found if name in names] == names and len(set(found)) == len(found)


def test_a_name_is_taken_once(api: Api, add: Callable[..., str]) -> None:
    name = add()
    refused = api.post("people", {"name": name.upper()})
    assert refused.status_code == 409 and name in refused.json()["error"]["message"]


@pytest.mark.parametrize("password", [PASSWORD, None])
def test_an_account_that_is_asked_for_again_is_the_same(api: Api, password: str | None) -> None:
    """The answer may have been lost. With anything else in the question, it is another account of that name."""
    ask = {"name": f"again-{next(_numbers)}", "role": "operator", "password": password}
    first, second = api.post("people", ask), api.post("people", ask)
    assert second.status_code == 201 and second.json() == first.json()
    for change in ({"role": "user"}, {"password": f"other {PASSWORD}"}, {"name": ask["name"].upper()}):
        assert api.post("people", {**ask, **change}).status_code == 409, change
    other_admin = api.token("admin")
    assert api.post("people", ask, other_admin).status_code == 409


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 65,
        "legacy:ann",
        "agent:pi",
        "picluster",
        " ann",
        "ann ",
        "a/b",
        "..",
        "a\nb",
        "a\u200fb",
        "a\x00",
    ],
)
def test_a_name_that_would_deceive_or_break_is_refused(api: Api, name: str) -> None:
    refused = api.post("people", {"name": name})
    assert refused.status_code == 400 and "name" in refused.json()["error"]["fields"]


@pytest.mark.parametrize(
    ("password", "problem"),
    [
        ("too short", "at least 10"),
        ("x" * 1025, "1024 are allowed"),
        ("Ann Lee Smith", "must not be the name"),
    ],
)
def test_a_password_that_is_guessed_is_refused(api: Api, password: str, problem: str) -> None:
    """When the account is made, and when it is changed."""
    made = api.post("people", {"name": "ann lee smith", "password": password})
    changed = api.patch("people/ann%20lee%20smith", {"password": password})
    for refused in (made, changed):
        assert refused.status_code == 400
        assert problem in refused.json()["error"]["fields"]["password"]


@pytest.mark.parametrize("body", [{"role": "king"}, {"role": "agent"}, {"rolle": "user"}])
def test_an_unknown_role_or_field_is_named(api: Api, add: Callable[..., str], body: dict[str, str]) -> None:
    assert next(iter(body)) in api.patch(f"people/{add()}", body).json()["error"]["fields"]


def test_no_answer_has_a_password_in_it(api: Api, add: Callable[..., str]) -> None:
    """Nor its hash, not even in the history."""
    name = add()
    api.patch(f"people/{name}", {"password": f"another {PASSWORD}"})
    token = token_of_with(api, name, f"another {PASSWORD}")
    texts = [api.get(path).text for path in ("people", "tokens", "history?limit=1000", "whoami")]
    for secret in ("argon2", PASSWORD, token):
        assert not any(secret in text for text in texts), secret


def token_of_with(api: Api, name: str, password: str) -> str:
    return str(log_in(api, name, password).json()["token"])


# Who may


@pytest.mark.parametrize("role", ["viewer", "user", "operator"])
def test_accounts_are_the_admins_business(api: Api, add: Callable[..., str], role: str) -> None:
    token, other = token_of(api, add(role)), add()
    before = api.revision()
    for answer in (
        api.get("people", token),
        api.post("people", {"name": "x"}, token),
        api.patch(f"people/{other}", {"password": f"new {PASSWORD}"}, token),
        api.delete(f"people/{other}", token),
    ):
        assert answer.status_code == 403 and "admin" in answer.text
    assert api.revision() == before


@pytest.mark.parametrize("token", ["", KEY])
def test_strangers_learn_nothing_of_accounts(api: Api, token: str) -> None:
    headers = {"X-Picluster-User": "admin"}
    for method, path, body in (("GET", "people", None), ("PATCH", "people/admin", {"password": PASSWORD})):
        answer = api.send(method, path, body, token, headers=headers)
        assert answer.status_code == (403 if token else 401)


def test_people_change_their_own_password_knowing_the_present_one(api: Api, add: Callable[..., str]) -> None:
    name = add("viewer")
    token = token_of(api, name)
    changed = f"changed {PASSWORD}"
    for wrong in (None, "", "not the present one"):
        refused = api.patch(f"people/{name}", {"password": changed, "current_password": wrong}, token)
        assert refused.status_code in (401, 403)
    body = {"password": changed, "current_password": PASSWORD}
    assert api.patch(f"people/{name}", {**body, "role": "admin"}, token).status_code == 403
    assert api.patch(f"people/{name}", body, token).status_code == 200
    assert log_in(api, name).status_code == 401
    assert log_in(api, name, changed).status_code == 201
    assert api.get("whoami", token).status_code == 200, "tokens stay"


def test_a_disabled_account_comes_back_with_its_password(api: Api, add: Callable[..., str]) -> None:
    name = add()
    token = token_of(api, name)
    assert api.patch(f"people/{name}", {"disabled": True}).json()["disabled"] is True
    assert api.get("whoami", token).status_code == 401
    assert log_in(api, name).status_code == 403
    late = api.post("tokens", {"name": name})
    assert late.status_code == 409 and "enable" in late.json()["error"]["hint"]
    api.patch(f"people/{name}", {"disabled": False})
    assert log_in(api, name).status_code == 201
    assert api.get("whoami", token).status_code == 401, "what was revoked stays so"


def test_an_account_decides_about_tokens_of_its_name(api: Api, add: Callable[..., str]) -> None:
    """Also about those that were there before it; not about programs'."""
    before = api.token("operator", "zoe")
    program = api.post("tokens", {"name": "zoe", "kind": "ci", "role": "operator"}).json()["token"]
    api.post("people", {"name": "Zoe", "role": "viewer"})
    roles = [api.get("whoami", token).json()["role"] for token in (before, program)]
    assert roles == ["viewer", "operator"]


# Logging in, for programs


def test_a_password_gives_a_token(api: Api, add: Callable[..., str]) -> None:
    """Of the account's name as it was written and of its role, for 90 days; where it is kept is in the list."""
    name = add("operator")
    made = log_in(api, name.upper(), label="laptop").json()
    assert (made["name"], made["role"], made["kind"]) == (name, "operator", "person")
    assert made["expires_us"] - made["issued_us"] == 90 * 86_400 * 10**6
    assert made["issued_by"] == "login: laptop"
    assert api.get("whoami", made["token"]).json()["name"] == name


@pytest.mark.parametrize(("name", "password"), [("nemo", PASSWORD), ("known", "wrong wrong wrong")])
def test_a_wrong_name_or_password_is_told_the_same(
    api: Api, add: Callable[..., str], name: str, password: str
) -> None:
    refused = log_in(api, add() if name == "known" else name, password)
    error = refused.json()["error"]
    assert refused.status_code == 401 and error["code"] == "wrong_password"
    assert error["message"] == "The name or the password is wrong." and error["hint"]


def test_guessing_is_slow(api: Api, add: Callable[..., str]) -> None:
    name = add()
    answers = [log_in(api, name, "wrong").status_code for _ in range(FAILURES_PER_NAME + 1)]
    assert answers == [401] * FAILURES_PER_NAME + [429]
    assert log_in(api, name).status_code == 429


# Tokens of one's own


def test_people_make_list_and_revoke_their_own_tokens(api: Api, add: Callable[..., str]) -> None:
    name = add("operator")
    mine = token_of(api, name)
    made = api.post("tokens", {"name": name, "role": "user", "expires_in_s": 3600}, mine).json()
    listed = api.get("tokens", mine).json()
    assert {token["name"] for token in listed} == {name} and made["id"] in [one["id"] for one in listed]
    assert api.delete(f"tokens/{made['id']}", mine).json()["revoked"] is True
    assert api.get("whoami", made["token"]).status_code == 401


@pytest.mark.parametrize(
    "more", [{"role": "operator"}, {"kind": "ci"}, {"kind": "agent"}, {"name": "somebody"}, {"kind": "join"}]
)
def test_no_token_makes_more_of_itself(api: Api, add: Callable[..., str], more: dict[str, str]) -> None:
    """No higher role, no other kind, nobody else's."""
    name = add()
    refused = api.post("tokens", {"name": name, **more}, token_of(api, name))
    assert refused.status_code == 403


def test_no_token_outlives_the_one_it_was_made_with(api: Api) -> None:
    """One that was lent for an hour must not be good for ever."""
    lent = api.post("tokens", {"name": "guest", "expires_in_s": 3600}).json()
    for asked in (None, 10 * 3600):
        made = api.post("tokens", {"name": "guest", "expires_in_s": asked}, lent["token"]).json()
        assert made["expires_us"] == lent["expires_us"]
    brief = api.post("tokens", {"name": "guest", "expires_in_s": 60}, lent["token"]).json()
    assert brief["expires_us"] < lent["expires_us"]


def test_a_program_makes_no_tokens(api: Api, add: Callable[..., str]) -> None:
    """Nor does it see or revoke those of a person of the same name."""
    name = add()
    persons = log_in(api, name).json()
    program = api.post("tokens", {"name": name, "kind": "ci"}).json()["token"]
    assert api.post("tokens", {"name": name}, program).status_code == 403
    assert api.get("tokens", program).json() == []
    assert api.delete(f"tokens/{persons['id']}", program).status_code == 403


def test_others_tokens_are_not_there(api: Api, add: Callable[..., str]) -> None:
    """Whether one exists is nobody's business either."""
    mine, others = token_of(api, add()), log_in(api, add()).json()["id"]
    answers = [api.delete(f"tokens/{one}", mine) for one in (others, "nothing", "configured-admin")]
    assert {answer.status_code for answer in answers} == {403}
    assert len({answer.text for answer in answers}) == 1
    assert api.get("whoami", ADMIN).status_code == 200
