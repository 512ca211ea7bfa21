"""How a board gets from a join token to its first lease, and who may not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.conftest import Api, fresh_lease

KEYS = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIexample board"]


def said(name: str = "pi5-a", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "id": f"serial-{name}",
        "address": f"{name}.lab",
        "boot_id": "b",
        "host_keys": KEYS,
        **more,
    }


def join(api: Api, token: str, name: str = "pi5-a", **more: Any) -> dict[str, Any]:
    answer = api.post("join", said(name, **more), token)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_board_joins_beats_and_is_leased(api: Api) -> None:
    joined = join(api, api.token("join"), "joins")
    assert (joined["machine"], joined["service"]) == ("joins", "in_service")
    assert api.machine("joins")["state"] == "offline"
    beat = {"id": "serial-joins", "address": "joins.lab", "boot_id": "b", "host_keys": KEYS}
    assert api.post("machines/joins/beat", beat, joined["token"]).status_code == 200
    held = api.put(fresh_lease(), {"selector": "joins"}).json()
    assert (held["state"], held["machines"][0]["host_keys"]) == ("held", KEYS)


def test_a_join_token_lasts_a_day_and_for_one_board_unless_told_otherwise(api: Api) -> None:
    made = api.post("tokens", {"name": "shelf", "kind": "join"}).json()
    assert 86_000e6 < made["expires_us"] - made["issued_us"] <= 86_400e6
    assert (made["uses_left"], made["approve"]) == (1, False)
    join(api, made["token"], "first-of-one")
    refused = api.post("join", said("second-of-one"), made["token"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_allowed")


def test_boards_that_are_to_be_approved_stand_as_pending(api: Api) -> None:
    joined = join(api, api.token("join", approve=True), "shy")
    assert (joined["service"], api.machine("shy")["state"]) == ("pending", "pending")
    assert "approve" in joined["reason"]
    api.patch("machines/shy", {"service": "in_service"}, api.token("operator"))
    assert api.machine("shy")["service"] == "in_service"


def test_operators_make_join_tokens_and_no_others(api: Api) -> None:
    operator = api.token("operator")
    assert api.post("tokens", {"name": "shelf", "kind": "join", "uses": 10}, operator).status_code == 201
    assert api.post("tokens", {"name": "eve", "role": "admin"}, operator).status_code == 403
    assert api.post("tokens", {"name": "shelf", "kind": "join"}, api.token("user")).status_code == 403


def test_operators_take_back_the_join_tokens_that_they_have_made(api: Api) -> None:
    """A card is lost: whoever wrote it need not look for an admin. Others' tokens are not theirs to see."""
    operator, other = api.token("operator", "olga"), api.token("operator", "oskar")
    made = api.post("tokens", {"name": "shelf", "kind": "join"}, operator).json()
    assert made["id"] in {token["id"] for token in api.get("tokens", operator).json()}
    assert made["id"] not in {token["id"] for token in api.get("tokens", other).json()}
    assert api.send("DELETE", f"tokens/{made['id']}", None, other).status_code == 403
    assert api.send("DELETE", f"tokens/{made['id']}", None, operator).json()["revoked"] is True
    assert api.post("join", said("of-a-lost-card"), made["token"]).status_code in (401, 403)


@pytest.mark.parametrize("kind", ["admin", "user", "agent"])
def test_only_a_join_token_lets_a_board_in(api: Api, kind: str) -> None:
    """A person's token would be left behind on the board."""
    name = "somebody-else" if kind == "agent" else ""
    assert api.post("join", said("x"), api.token(kind, name)).status_code == 403


def test_a_join_token_is_good_for_nothing_else(api: Api) -> None:
    token = api.token("join")
    for method, path in (("GET", "leases"), ("GET", "history"), ("PUT", fresh_lease()), ("GET", "tokens")):
        assert api.send(method, path, {} if method == "PUT" else None, token).status_code == 403


def test_the_token_of_before_is_worth_nothing_after_joining_again(api: Api) -> None:
    token = api.token("join")
    first, second = join(api, token, "twice"), join(api, token, "twice")
    assert first["machine"] == second["machine"] and first["token"] != second["token"]
    beat = {"id": "serial-twice", "address": "twice.lab"}
    assert api.post("machines/twice/beat", beat, first["token"]).status_code == 401
    assert api.post("machines/twice/beat", beat, second["token"]).status_code == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("id", ""),
        ("id", "legacy:10.0.0.1"),
        ("address", "x" * 256),
        ("boot_id", "x\u0000"),
        ("host_keys", ["key"] * 17),
        ("host_keys", ["x" * 5000]),
        ("uses", 3),
    ],
)
def test_a_bad_question_names_the_field(api: Api, field: str, value: Any) -> None:
    refused = api.post("join", {**said("bad"), field: value}, api.token("join"))
    assert refused.status_code == 400
    assert any(field in name for name in refused.json()["error"]["fields"])


def test_uses_and_approval_are_for_join_tokens(api: Api) -> None:
    for more in (
        {"uses": 2},
        {"approve": True},
        {"kind": "join", "uses": 0},
        {"kind": "join", "uses": 10**6},
    ):
        assert api.post("tokens", {"name": "x", **more}).status_code == 400


def test_samples_come_as_beats_came(api: Api) -> None:
    board = api.board(telemetry={"temperature": 51.5, "load": [0.5, 0, 0], "under_voltage": False})
    (sample,) = api.get(f"machines/{board.name}/samples").json()
    assert (sample["temperature"], sample["load"], sample["count"]) == (51.5, 0.5, 1)
    assert api.get(f"machines/{board.name}/samples?since={sample['at_us'] + 1}").json() == []
    assert api.get("machines/nowhere/samples").status_code == 404
