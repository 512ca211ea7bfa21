"""Boards that come in, over plain HTTP: what the list says of one that has joined, and when a token is made."""

from __future__ import annotations

import re

from tests.server.conftest import Api, Board, Browser, words


def join(api: Api, name: str) -> str:
    """The token of its agent."""
    said = {"id": f"serial-{name}", "name": name, "address": f"{name}.lab", "boot_id": "b"}
    answer = api.post("join", said, api.token("join"))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


def attention(browser: Browser) -> int:
    """How many of the pool need a person."""
    found = re.search(r"<span>Attention</span> <span class=\"count\">(\d+)<", browser.see("/").text)
    assert found
    return int(found[1])


def test_a_board_that_has_just_joined_is_awaited_and_not_lost(
    api: Api, board: Board, operator: Browser
) -> None:
    before = attention(operator)
    agent = join(api, "awaited")
    row = operator.see("/?q=awaited").text
    told = words(operator.see("/?q=awaited"))
    assert "Joining" in told and "Waiting for the first beat joined 0 s ago" in told
    assert "Last 30 beats: 30 not known" in row, "none of them was missed"
    assert attention(operator) == before
    beat = {"id": "serial-awaited", "address": "awaited.lab", "boot_id": "b"}
    assert api.post("machines/awaited/beat", beat, agent).status_code == 200
    assert "Free" in words(operator.see("/?q=awaited"))


def join_tokens(api: Api) -> int:
    return sum(token["kind"] == "join" for token in api.get("tokens").json())


def test_a_page_that_is_left_open_makes_no_token(api: Api, operator: Browser) -> None:
    """Over a restart it goes on with the one whose text it alone still knows; whoever opens it anew has a fresh one."""
    made = api.post("tokens", {"name": "boards", "kind": "join", "uses": 2}, operator.token)
    before = join_tokens(api)
    told = words(operator.part("/add"))
    assert "lets in 2 boards" in told and "The service was started anew" in told
    said = {"id": "serial-late", "name": "late", "address": "late.lab"}
    assert api.post("join", said, made.json()["token"]).status_code == 201
    told = words(operator.part("/add"))
    assert "lets in 1 more board" in told and "1 of 2 have joined" in told and "late.lab" in told
    assert join_tokens(api) == before
    assert "pc_join_" in operator.see("/add").text
    assert join_tokens(api) == before + 1
    assert "pc_join_" in operator.part("/add").text
    assert join_tokens(api) == before + 1


def test_a_page_without_any_token_lets_in_nobody(api: Api) -> None:
    somebody = Browser(api, "operator")
    assert "used up" in words(somebody.part("/add"))
    somebody.close()
