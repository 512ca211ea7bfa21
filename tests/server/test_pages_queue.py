"""The queue over plain HTTP: what is asked of forms, what has changed meanwhile, and names that are markup."""

from __future__ import annotations

import re
import uuid
from typing import Any

import httpx2
import pytest

from tests.server.conftest import Api, Board, Browser, fresh_lease, words
from tests.service import PATIENCE_S

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)>"


@pytest.fixture
def taken(api: Api, board: Board) -> Board:
    """A board that somebody has."""
    assert api.put(fresh_lease(), {"selector": board.name}).json()["state"] == "held"
    return board


def waiting(api: Api, selector: str, token: str, **more: Any) -> str:
    """Somebody waits; the lease's id."""
    path = fresh_lease()
    assert api.put(path, {"selector": selector, **more}, token).json()["state"] == "waiting"
    return path.removeprefix("leases/")


def test_nobody_waits_and_nothing_is_held(api: Api, operator: Browser) -> None:
    """Comes first in this file, while the pool is empty."""
    told = words(operator.see("/queue"))
    assert "Nobody waits." in told and "Nothing is held." in told


def test_a_span_that_there_is_not_is_the_usual_one(operator: Browser) -> None:
    page = operator.see("/queue?span=9000h")
    assert page.status_code == 200
    assert re.search(r'span=6h" aria-current="true"', page.text)


def test_a_job_and_a_holder_that_are_markup_stay_text(api: Api, taken: Board, operator: Browser) -> None:
    lease = waiting(api, taken.name, api.token("user", f"ann{MARKUP}"[:60]), job=f"{MARKUP}\u202e")
    page = operator.see("/queue")
    assert "<script>alert" not in page.text and "<img" not in page.text.replace('<img src="/static', "")
    assert "&lt;script&gt;alert(1)" in page.text and "\u202e" not in page.text
    api.delete(f"leases/{lease}?reason=over")


def test_waiting_twice_with_one_form_is_one_place(api: Api, taken: Board, user: Browser) -> None:
    """Somebody who presses twice, or whose answer was lost, waits once."""
    form = {"id": str(uuid.uuid4()), "selector": taken.name, "for": "2h", "job": "once"}
    first, second = user.send("/queue/wait", **form), user.send("/queue/wait", **form)
    assert "You wait for" in first.text and "You wait for" in second.text
    assert [one["id"] for one in api.get("queue").json() if one["holder"] == user.name] == [form["id"]]
    assert user.send(f"/waiting/{form['id']}/leave").status_code == 303


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"selector": ""}, "say which machines would do"),
        ({"selector": "modle:pi5"}, "modle"),
        ({"selector": '"'}, "quot"),
        ({"count": "0"}, "How many: must be from 1"),
        ({"count": "x"}, "How many: must be a whole number"),
        ({"count": "99"}, "How many"),
        ({"priority": "3"}, "above what your role may ask for"),
        ({"for": "soon"}, "is no length of time"),
        ({"keys": "a key\na key\na key\na key\na key"}, "Your SSH public key: has 5 keys"),
    ],
)
def test_what_cannot_be_asked_is_said_in_the_form(
    board: Board, user: Browser, wrong: dict[str, str], told: str
) -> None:
    """With what was typed still there."""
    page = user.send("/queue/wait", **({"selector": board.name, "job": "typed before"} | wrong))
    assert page.status_code in (400, 403, 409)
    assert told in words(page) and 'value="typed before"' in page.text


def test_what_a_lost_session_had_typed_is_there_after_the_login(api: Api, board: Board) -> None:
    with httpx2.Client(base_url=api.address, timeout=PATIENCE_S) as nobody:
        form = {"selector": board.name, "job": "not lost"}
        page = nobody.post("/queue/wait", data=form, headers={"Origin": api.address, "Accept": "text/html"})
    assert page.status_code == 401
    assert f"selector={board.name}&amp;job=not+lost" in page.text


def test_a_form_of_another_site_changes_nothing(
    api: Api, taken: Board, user: Browser, operator: Browser
) -> None:
    lease = waiting(api, taken.name, user.token)
    assert user.forge("/queue/wait", selector=taken.name).status_code == 403
    assert operator.forge(f"/queue/{lease}/out", reason="theirs").status_code == 403
    assert api.get(f"leases/{lease}").json()["state"] == "waiting"
    user.send(f"/waiting/{lease}/leave")


def test_taking_out_needs_an_operator_and_a_reason(
    api: Api, taken: Board, user: Browser, operator: Browser
) -> None:
    lease = waiting(api, taken.name, user.token)
    other = waiting(api, taken.name, api.token("user"))
    assert user.see(f"/queue/{other}/out").status_code == 403
    assert user.send(f"/queue/{other}/out", reason="mine first").status_code == 403
    assert "say why" in operator.send(f"/queue/{lease}/out", reason="").text
    assert operator.send(f"/queue/{lease}/out", reason="went home").status_code == 303
    assert [api.get(f"leases/{one}").json()["state"] for one in (lease, other)] == ["ended", "waiting"]
    api.delete(f"leases/{other}?reason=over")


def test_who_got_a_machine_meanwhile_is_not_taken_out(
    api: Api, board: Board, user: Browser, operator: Browser
) -> None:
    """The dialog was opened while somebody waited; what is said is how it is now."""
    first = fresh_lease()
    api.put(first, {"selector": board.name})
    lease = waiting(api, board.name, user.token)
    assert operator.see(f"/queue/{lease}/out").status_code == 200
    api.delete(first)
    assert api.get(f"leases/{lease}").json()["state"] == "held"
    page = operator.send(f"/queue/{lease}/out", reason="too late")
    assert page.status_code == 409 and f"{user.name} has {board.name} by now" in words(page)
    assert api.get(f"leases/{lease}").json()["state"] == "held"
    user.send(f"/waiting/{lease}/leave")
    page = operator.send(f"/queue/{lease}/out", reason="later still")
    assert "has left the queue already" in words(page)
    assert operator.see(f"/queue/{uuid.uuid4()}/out").status_code == 404


def test_who_only_reads_sees_the_queue_and_joins_it_not(api: Api, board: Board) -> None:
    viewer = Browser(api, "viewer")
    assert viewer.see("/queue").status_code == 200
    assert viewer.see("/queue/wait").status_code == 403
    assert viewer.see("/queue/outlook?selector=pi").status_code == 403
    assert viewer.send("/queue/wait", selector=board.name).status_code == 403
    viewer.close()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("", "As in the search"),
        ("selector=modle:pi5", "modle"),
        ("selector=pi-404-nowhere", "Nothing matches"),
        ("selector=*&count=64", "and 64 are asked for"),
        ("selector=*&count=99", "99 at once are more than one job can have: 64 at most."),
        ("selector=*&count=x", "free."),
        ("selector=" + "x" * 20_000, "selector"),
    ],
)
def test_what_a_selector_would_get(board: Board, user: Browser, asked: str, told: str) -> None:
    page = user.see(f"/queue/outlook?{asked}")
    assert page.status_code == 200 and told in words(page)


def test_more_than_fit_on_a_page_are_counted(api: Api, taken: Board, operator: Browser) -> None:
    """A hundred rows; the rest is a number."""
    tokens = [api.token("user") for _ in range(3)]
    leases = [waiting(api, taken.name, tokens[number % 3]) for number in range(104)]
    page = operator.see("/queue")
    assert page.text.count('class="place"') == 100
    assert "104 jobs wait." in words(page) and "And 4 more behind them." in words(page)
    for lease in leases:
        api.delete(f"leases/{lease}?reason=over")
