"""The page of one machine over plain HTTP: who sees what of it, its numbers as JSON and as a table, and whatever boards say."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from tests.server.conftest import Api, Board, fresh_lease
from tests.service import ADMIN, PATIENCE_S, until

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)>"
TURNED = "\u202eabc\u2066"

Browse = Callable[[str], httpx2.Response]


@pytest.fixture(scope="module")
def browsers(api: Api) -> Iterator[Callable[[str], httpx2.Client]]:
    """Somebody's browser, logged in by a token; "" for nobody."""
    opened: dict[str, httpx2.Client] = {}

    def of(role: str) -> httpx2.Client:
        if role not in opened:
            opened[role] = httpx2.Client(base_url=api.address, timeout=PATIENCE_S)
            if role:
                token = ADMIN if role == "admin" else api.token(role, f"the-{role}")
                headers = {"Origin": api.address}
                assert opened[role].post("/login", data={"token": token}, headers=headers).status_code == 303
        return opened[role]

    yield of
    for browser in opened.values():
        browser.close()


@pytest.fixture
def see(browsers: Callable[[str], httpx2.Client]) -> Browse:
    """As an operator."""
    return browsers("operator").get


def words(answer: httpx2.Response) -> str:
    """What one reads, on one line."""
    return " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())


TABS = ("", "/health", "/health?as=table", "/history", "/runs", "/use")


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_is_an_address(see: Browse, board: Board, tab: str) -> None:
    answer = see(f"/m/{board.name}{tab}")
    assert answer.status_code == 200
    assert answer.text.count('aria-current="page"') >= 1
    assert board.name in words(answer)


@pytest.mark.parametrize("tab", [*TABS, "/series"])
def test_nobody_sees_a_machine_without_a_login(
    browsers: Callable[[str], httpx2.Client], board: Board, tab: str
) -> None:
    """The old list is open to read; who had a machine and how it is is not."""
    answer = browsers("").get(f"/m/{board.name}{tab}")
    assert answer.status_code == 401
    assert board.says["address"] not in answer.text


@pytest.mark.parametrize("tab", [*TABS, "/series"])
def test_what_is_not_there_is_said_with_the_way_on(see: Browse, tab: str) -> None:
    answer = see(f"/m/nothing-like-it{tab}")
    assert answer.status_code == 404
    if tab != "/series":
        assert "No machine is called nothing-like-it" in words(answer)
        assert 'href="/"' in answer.text


def test_who_deleted_a_machine_and_why_is_told_where_it_was(api: Api, see: Browse, board: Board) -> None:
    api.delete(f"machines/{board.name}?reason=burnt")
    told = words(see(f"/m/{board.name}"))
    assert f"{board.name} was deleted" in told
    assert "Its board comes back with a new join token" in told


def test_an_address_of_the_network_leads_to_the_machine(see: Browse, board: Board) -> None:
    assert f"<h1>{board.name}" in see(f"/m/{board.says['address']}").text


def test_tabs_do_not_hide_the_dialogs(see: Browse, board: Board) -> None:
    """They are addresses of the same form."""
    for verb in ("lock", "comment", "drain", "menu"):
        assert f"{board.name}" in see(f"/m/{board.name}/{verb}").text


# Who has it


def held(api: Api, board: Board, by: str, **more: Any) -> str:
    lease = fresh_lease()
    ask = {"selector": f"name:{board.name}", "queue": False, "job": "the job", "ttl_s": 7200, **more}
    answer = api.put(lease, ask, api.token("user", by))
    assert answer.status_code == 200, answer.text
    return lease


def test_one_s_own_lease_can_be_extended_and_given_back(
    api: Api, browsers: Callable[[str], httpx2.Client], board: Board
) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPlhY2Vob2xkZXI ann@desk"
    board.beat(mode="enforced")
    held(api, board, "the-user", ssh_public_keys=[key], on_reboot="keep")
    told = words(browsers("user").get(f"/m/{board.name}"))
    assert "Your lease" in told
    assert "Let in ann@desk" in told
    assert "If it reboots the lease is kept" in told
    assert "Extend by 2 h" in told
    assert "Unlock" in told


def test_the_lease_of_somebody_else_can_be_waited_for(
    api: Api, browsers: Callable[[str], httpx2.Client], board: Board
) -> None:
    """Operators can take it back; readers can only read."""
    held(api, board, "bob-of-this-story")
    for role, words_there in (("viewer", ""), ("user", "Wait for it"), ("operator", "Wait for it Take back")):
        told = words(browsers(role).get(f"/m/{board.name}"))
        assert "bob-of-this-story has it" in told
        card = told.partition("ends")[2].partition("Health")[0]
        assert words_there in card
        assert ("Take back" in card) == (role == "operator")
        assert ("Wait for it" in card) == (role != "viewer")
        assert "Unlock" not in card


def test_the_key_of_a_holder_is_shown_to_nobody_else(
    api: Api, browsers: Callable[[str], httpx2.Client], board: Board
) -> None:
    board.beat(mode="enforced")
    held(api, board, "bob-with-a-key", ssh_public_keys=["ssh-ed25519 AAAAsecretly bob@home"])
    assert "bob@home" not in browsers("admin").get(f"/m/{board.name}").text


def test_so_far_it_is_what_the_board_has_counted(
    api: Api, browsers: Callable[[str], httpx2.Client], board: Board
) -> None:
    held(api, board, "the-user")
    fence = api.machine(board.name)["fence"]
    counted = {"fence": fence, "throttled": 3, "hot": 0, "disk": 0, "under_voltage": 0, "agent_restarts": 0}
    board.beat(telemetry={"since_open": counted})
    assert "Dirty: throttled, seen 3 ×" in words(browsers("user").get(f"/m/{board.name}"))
    board.beat(telemetry={"since_open": {**counted, "fence": fence - 1}})
    assert "not counted yet" in words(browsers("user").get(f"/m/{board.name}"))


def test_a_machine_out_of_service_says_what_happened_and_what_to_do(
    api: Api, see: Browse, board: Board
) -> None:
    api.patch(f"machines/{board.name}", {"service": "drained", "reason": "new fan"})
    told = words(see(f"/m/{board.name}"))
    assert "Drained New fan" in told
    assert "Undrain" in told


def test_what_is_decided_for_the_time_after_the_lease_is_told(api: Api, see: Browse, board: Board) -> None:
    held(api, board, "bob-till-the-end")
    api.patch(f"machines/{board.name}", {"service": "drained", "reason": "new fan"})
    assert "Drained after this lease: New fan" in words(see(f"/m/{board.name}"))


# How it was


def test_the_numbers_are_the_same_for_eyes_and_for_programs(see: Browse, board: Board) -> None:
    board.beat(
        telemetry={"temperature": 61.4, "load": [2.31, 1, 1], "mem_available": 2 << 30, "mem_total": 8 << 30}
    )
    until(lambda: see(f"/m/{board.name}/series?span=1h").json()["at"])  # beats are written once a second
    answer = see(f"/m/{board.name}/series?span=1h")
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert told["temperature"][0][-1] == 61.4
    assert told["load"][0][-1] == 2.31
    assert told["memory"][0][-1] == 75.0
    table = words(see(f"/m/{board.name}/health?span=1h&as=table"))
    assert "61° 2.31 75 %" in table
    assert told["sentence"] in table


def test_the_charts_of_a_board_that_has_just_come_begin_with_an_hour(see: Browse, board: Board) -> None:
    """A day would be empty but for its edge."""
    chosen = re.search(r'data-series="[^"]*span=(\w+)"', see(f"/m/{board.name}").text)
    assert chosen and chosen[1] == "1h"


def test_an_unknown_span_is_a_day(see: Browse, board: Board) -> None:
    assert see(f"/m/{board.name}/series?span=nonsense").json()["span"] == "24h"
    assert see(f"/m/{board.name}/health?span=%3Cscript%3E").status_code == 200


@pytest.mark.parametrize("after", ["", "0", "-1", "x", "²", "9" * 40, "1"])
def test_a_page_of_the_past_that_does_not_exist_is_empty_or_the_newest(
    see: Browse, board: Board, after: str
) -> None:
    for tab in ("runs", "history"):
        assert see(f"/m/{board.name}/{tab}?after={after}").status_code == 200


def test_a_lease_and_its_end_are_a_run(api: Api, see: Browse, board: Board) -> None:
    lease = held(api, board, "ann-who-ran")
    assert "Has it now" in words(see(f"/m/{board.name}/runs"))
    assert api.delete(f"{lease}?reason=enough").status_code == 200
    told = words(see(f"/m/{board.name}/runs"))
    assert "ann-who-ran the job" in told
    assert "Has it now" not in told


# Whatever boards, people and jobs say


def test_markup_is_text(api: Api, see: Browse) -> None:
    """In every field that a board, a person or a job can fill."""
    text = MARKUP + TURNED
    facts = dict.fromkeys(
        ("model", "model_name", "platform", "os", "kernel", "arch", "serial", "host_name", "agent"), text
    )
    board = api.board(facts=facts, ssh_user="pi", host_keys=[f"ssh-ed25519 {text}"])
    api.patch(f"machines/{board.name}", {"comment": text})
    api.put(
        fresh_lease(),
        {"selector": board.name, "job": text, "queue": False},
        api.token("user", f"<b>{uuid.uuid4().hex[:8]}"),
    )
    for tab in TABS:
        page = see(f"/m/{board.name}{tab}").text
        assert "<script>alert" not in page
        assert "<img" not in page.replace('<img src="/static/', "")
        assert "\u202e" not in page
        assert "\u2066" not in page
    assert see(f"/m/{board.name}/series").headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "odd", [None, True, -1, 0, 1e300, "", "x" * 512, [], ["a"], {"a": {"b": 1}}, "NaN", -0.0]
)
def test_facts_and_measures_may_be_of_any_kind(api: Api, see: Browse, odd: Any) -> None:
    names = (
        "model",
        "model_name",
        "mem",
        "cpus",
        "serial",
        "os",
        "kernel",
        "arch",
        "platform",
        "agent",
        "host_name",
    )
    measures = ("temperature", "load", "mem_available", "mem_total", "uptime_s", "since_open", "disk_free")
    facts = {} if isinstance(odd, list | dict) else dict.fromkeys(names, odd)
    board = api.board(facts=facts, telemetry=dict.fromkeys(measures, odd))
    for tab in (*TABS, "/series"):
        assert see(f"/m/{board.name}{tab}").status_code == 200


def test_a_name_of_any_length_is_a_page(see: Browse) -> None:
    for name in ("x" * 4000, "%3Cb%3E", "%E2%80%AEabc", "a%2Fb", "%00"):
        assert see(f"/m/{name}").status_code == 404
