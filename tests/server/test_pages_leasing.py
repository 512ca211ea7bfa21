"""Leases by hand over plain HTTP: what a press adds, what a wait says, and what stands in the row meanwhile."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.server.conftest import Api, Board, Browser, fresh_lease, words

HOUR_S = 3_600


def held(api: Api, board: Board, by: Browser, ttl_s: float | None = 2 * HOUR_S, **more: Any) -> str:
    """The path of the lease."""
    path = fresh_lease()
    answer = api.put(path, {"selector": board.name, "ttl_s": ttl_s, "queue": False, **more}, by.token)
    assert answer.json()["state"] == "held", answer.text
    return path


def left_h(api: Api, lease: str) -> float | None:
    """Hours, to a tenth."""
    left_s = api.get(lease).json()["expires_in_s"]
    return None if left_s is None else round(left_s / HOUR_S, 1)


# Longer


@pytest.mark.parametrize(
    ("ttl_s", "fields", "hours"),
    [
        (2 * HOUR_S, {"by": "30m"}, 2.5),
        (2 * HOUR_S, {"by": "2h"}, 4.0),
        (2 * HOUR_S, {}, 4.0),
        (1800, {}, 1.0),
        (600, {}, 0.7),
        (29.9 * 24 * HOUR_S, {"by": "8h"}, 30 * 24.0),
        (2 * HOUR_S, {"by": "ever"}, None),
        (2 * HOUR_S, {"by": "0.5h", "for": "30m"}, 2.5),
    ],
)
def test_extending_adds_to_what_is_left(
    api: Api, board: Board, user: Browser, ttl_s: float, fields: dict[str, str], hours: float | None
) -> None:
    """Up to the longest length; by one press, by as much as is usual for a lease like this."""
    lease = held(api, board, user, ttl_s)
    user.send(f"/m/{board.name}/extend", **fields)
    assert left_h(api, lease) == hours


def test_a_form_that_is_sent_twice_adds_once(api: Api, board: Board, user: Browser) -> None:
    """Nor does one that was left open take away what was added elsewhere."""
    lease = held(api, board, user)
    form = user.see(f"/m/{board.name}/extend").text
    end = re.search(r'name="end" value="(\d+)"', form)
    assert end
    for _ in range(2):
        user.send(f"/m/{board.name}/extend", by="2h", end=end[1])
        assert left_h(api, lease) == 4.0
    user.send(f"/m/{board.name}/extend", by="30m", end=end[1])
    assert left_h(api, lease) == 4.0


@pytest.mark.parametrize("end", ["-1", "nonsense", "9" * 400])
def test_an_end_that_is_none_counts_as_the_present_one(
    api: Api, board: Board, user: Browser, end: str
) -> None:
    lease = held(api, board, user)
    user.send(f"/m/{board.name}/extend", by="2h", end=end)
    assert left_h(api, lease) == 4.0


def test_a_lease_without_an_end_is_given_one(api: Api, board: Board, user: Browser) -> None:
    """The page does not call that longer; and a press on Extend leaves it without one."""
    lease = held(api, board, user, None)
    user.send(f"/m/{board.name}/extend", by="30m")
    assert left_h(api, lease) is None
    told = words(user.see(f"/m/{board.name}/extend"))
    assert f"Set an end for {board.name}" in told
    assert f"picluster extend {board.name} --for 2h" in told
    assert "No end" not in told
    user.send(f"/m/{board.name}/extend", **{"for": "30m"})
    assert left_h(api, lease) == 0.5


def test_the_command_line_does_the_same_as_the_button(api: Api, board: Board, user: Browser) -> None:
    held(api, board, user)
    told = words(user.see(f"/m/{board.name}/extend"))
    assert f"picluster extend {board.name} --by 2h" in told
    assert "added to what is left" in told
    assert "Extend by 2 h" in words(user.see(f"/m/{board.name}"))
