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
