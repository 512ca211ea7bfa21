"""Leases by hand over plain HTTP: what a press adds, what a wait says, and what stands in the row meanwhile."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from picluster.server.words import ordinal
from tests.server.conftest import Api, Board, Browser, fresh_lease, words
from tests.service import PATIENCE_S

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


# Waiting for one machine


def wait_for(browser: Browser, board: Board, **fields: str) -> str:
    """What one reads after having asked to wait."""
    return words(browser.send(f"/m/{board.name}/wait", id=str(uuid.uuid4()), **fields))


def test_a_wait_says_who_holds_it_and_counts_its_length_from_the_grant(
    api: Api, board: Board, user: Browser, operator: Browser
) -> None:
    """A clock time beside the length would be wrong: nobody knows when it begins."""
    held(api, board, operator)
    answer = user.see(f"/m/{board.name}/wait")
    told = words(answer)
    assert "How long, once it is yours" in told
    assert "data-ends" not in answer.text
    assert re.search(
        rf"{operator.name} holds it until \d\d:\d\d UTC , in (2 h|1 h 59 m) \. Nobody waits", told
    )
    wait_for(operator, board)
    assert "1 job waits for it" in words(user.see(f"/m/{board.name}/wait"))


def test_who_waits_for_a_machine_sees_so_in_its_row(
    api: Api, board: Board, user: Browser, operator: Browser
) -> None:
    """And in its card; the place is the one in the whole queue."""
    held(api, board, operator)
    assert "Wait for it" in words(user.see(f"/?q={board.name}"))
    wait_for(user, board)
    for path in (f"/?q={board.name}", f"/m/{board.name}"):
        assert "You wait, 1st" in words(user.see(path))
    assert "You wait" not in words(operator.see(f"/?q={board.name}"))


def test_waiting_twice_for_a_machine_is_one_place(
    api: Api, board: Board, user: Browser, operator: Browser
) -> None:
    """Whichever way one asks; what is left is a place of one's own that one can leave."""
    held(api, board, operator)
    wait_for(user, board)
    before = user.see(f"/?q={board.name}").text
    place = re.search(r'href="(/waiting/[^"]+)"', before)
    assert place
    again = [
        wait_for(user, board, job="another"),
        words(user.send("/queue/wait", selector=board.name)),
        words(user.see(f"/m/{board.name}/wait")),
    ]
    assert all("You wait for" in told for told in again)
    waiting = [one for one in api.get("queue").json() if board.name in one["selector"]]
    assert [one["holder"] for one in waiting] == [user.name]
    user.send(f"{place[1]}/leave")
    assert "Wait for it" in words(user.see(f"/?q={board.name}"))


def test_a_place_in_the_row_is_true_while_others_come_and_go(
    api: Api, board: Board, user: Browser, operator: Browser
) -> None:
    """Whoever looks on sees it come, move up and go, though nothing about the machine itself has changed."""
    lease = held(api, board, operator)
    before_them = fresh_lease()
    api.put(before_them, {"selector": f"name:{board.name[:-1]}*"}, operator.token)
    with user.stream(f"/ui/stream?page=machines&q=name:{board.name}") as lines:
        wait_for(user, board)
        place = told_of(lines, "You wait, 2nd")
        api.delete(before_them, operator.token)
        told_of(lines, "You wait, 1st")
        user.send(f"{place}/leave")
        told_of(lines, "Wait for it")
    api.delete(lease, operator.token)


def told_of(lines: Iterator[str], word: str) -> str:
    """Where the button leads that has come to say so."""
    patient_until = time.monotonic() + PATIENCE_S
    for line in lines:  # a ping comes in any case
        if found := re.findall(rf'href="([^"]+)"[^>]*>{word}</a>', line):
            return str(found[-1])
        assert time.monotonic() < patient_until, f"{word!r} never came"
    raise AssertionError("the stream ended")


@pytest.mark.parametrize(
    ("number", "spoken"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (112, "112th"), (121, "121st")]
)  # fmt: skip
def test_a_place_is_read_as_it_is_spoken(number: int, spoken: str) -> None:
    assert ordinal(number) == spoken


# Use it


def test_the_holder_is_shown_lines_that_use_the_lease_one_has(
    api: Api, board: Board, user: Browser, operator: Browser
) -> None:
    """`run --on` would wait for one's own lease to end, which it never does while one waits."""
    held(api, board, user)
    mine, others = (words(who.see(f"/m/{board.name}/use")) for who in (user, operator))
    assert f"picluster run --on {board.name}" in others
    assert f"picluster run --on {board.name}" not in mine
    assert f"picluster exec {board.name} --" in mine
    assert mine.count(f"picluster unlock {board.name}") == 2, "before Python, and before pytest"
    assert f"picluster unlock {board.name}" not in others


# Out of service afterwards


def test_draining_what_somebody_has_stands_in_its_row(
    api: Api, board: Board, user: Browser, operator: Browser
) -> None:
    """For everybody, at once; when it is free, the page says who did it, when and why."""
    held(api, board, user)
    operator.send(f"/m/{board.name}/drain", reason="new fan")
    for who in (user, operator):
        assert "left · drained after this" in words(who.see(f"/?q={board.name}"))
    user.send(f"/m/{board.name}/unlock")
    told = words(user.see(f"/m/{board.name}"))
    assert re.search(rf"{operator.name} took {board.name} out of service, \d+ \w+ \d+, \d\d:\d\d UTC", told)
    assert "New fan" in told
    assert "knows why" not in told


# Many at once


def test_what_came_of_many_names_each_machine_once(
    api: Api, board: Board, user: Browser, operator: Browser
) -> None:
    held(api, board, operator)
    refused = words(user.send("/bulk", do="lock", machine=board.name))
    drained = words(operator.send("/bulk", do="drain", machine=board.name, reason="new fan"))
    assert f"machine {board.name} is held by {operator.name}" in refused
    assert f"machine {board.name} is out of service" in drained
