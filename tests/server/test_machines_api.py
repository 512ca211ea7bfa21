"""Machines over HTTP: found, labelled, taken out of service, forgotten; and the beats by which they are there."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.server.conftest import Api, Board, fresh_lease
from tests.service import until


def names(api: Api, search: str, **more: Any) -> list[str]:
    answer = api.get("machines", params={"q": search, **more})
    assert answer.status_code == 200, answer.text
    return [machine["name"] for machine in answer.json()]


def malformed(answer: httpx2.Response) -> dict[str, Any]:
    assert answer.status_code == 400, answer.text
    error = dict(answer.json()["error"])
    assert error["code"] == "malformed"
    return error


# Finding


def test_a_search_asks_for_what_is_and_for_how_it_is_now(api: Api, board: Board) -> None:
    mem = 4 * 2**30
    board.beat(facts={"model": "pi5", "mem": mem}, labels={"shelf": "top", "camera": ""})
    board.beat(telemetry={"temperature": 61.5, "load": [0.5, 0.4, 0.3]})
    api.patch(f"machines/{board.name}", {"comment": "blinks"})
    mine = f"name:{board.name}"
    for fits in (
        "model:pi5",
        "mem>=4G",
        "tag:camera",
        "shelf:t*",
        "temp>60",
        "load<1",
        "seen<60",
        "state:free",
    ):
        assert names(api, f"{mine} {fits}") == [board.name], fits
    for fails in ("model:pi4", "mem<4G", "-tag:camera", "temp>62", "state:locked", "comment:x", "user:*"):
        assert names(api, f"{mine} {fails}") == [], fails
    api.put(fresh_lease(), {"selector": board.name, "job": "soak"}, api.token("user", "ann"))
    assert names(api, "user:ann job:soak state:locked") == [board.name]
    assert names(api, "comment:blinks") == [board.name]


def test_an_exact_name_or_address_wins(api: Api, board: Board) -> None:
    assert names(api, board.name.upper()) == names(api, f"{board.name}.lab") == [board.name]
    for called in (board.name, board.name.upper(), f"{board.name}.lab"):
        assert api.machine(called)["name"] == board.name


@pytest.mark.parametrize(
    ("search", "told"),
    [
        ("colour:red", "no key colour"),
        ("-", "needs a term"),
        ('"', "not closed"),
        ("\0", "NUL"),
        ("x" * 16_385, "16384"),
    ],
    ids=["key", "minus", "quote", "nul", "long"],
)
def test_a_search_that_makes_no_sense_is_explained(api: Api, search: str, told: str) -> None:
    assert told in malformed(api.get("machines", params={"q": search}))["message"]


@pytest.mark.parametrize("name", ["nothing", "%00", "%F0%9F%A5%A7", "x" * 10_000, "..%2F..%2Fetc"])
def test_what_is_not_there_is_a_404(api: Api, name: str) -> None:
    before = api.revision()
    for answer in (
        api.get(f"machines/{name}"),
        api.patch(f"machines/{name}", {"comment": "x"}),
        api.delete(f"machines/{name}"),
    ):
        assert answer.status_code == 404 and answer.json()["error"]["code"] == "not_found"
    assert api.revision() == before


def test_every_machine_is_on_exactly_one_page_while_others_come_and_go(api: Api) -> None:
    mark = f"m{uuid.uuid4().hex[:8]}"
    staying = sorted(api.board(labels={mark: ""}).name for _ in range(7))
    seen: list[str] = []
    while page := names(api, f"tag:{mark}", limit=2, after=seen[-1] if seen else ""):
        assert len(page) <= 2
        seen += page
        api.patch(f"machines/{page[0]}", {"comment": "changed meanwhile"})
        api.delete(f"machines/{page[-1]}")
    assert seen == staying


def test_a_list_that_has_not_changed_is_not_sent_again(api: Api, board: Board) -> None:
    """The tag is that of the revision and the second, since clocks run on in the list."""

    def unchanged() -> bool:
        etag = api.get("machines").headers["ETag"]
        again = api.get("machines", headers={"If-None-Match": etag})
        return again.status_code == 304 and not again.content and again.headers["ETag"] == etag

    until(unchanged)
    etag = api.get("machines").headers["ETag"]
    api.patch(f"machines/{board.name}", {"comment": "new"})
    assert api.get("machines", headers={"If-None-Match": etag}).status_code == 200


# Changing


def test_labels_are_added_changed_and_removed(api: Api, board: Board) -> None:
    """People's labels win over the board's; null removes one, and brings the board's own back."""
    board.beat(labels={"hat": "sense", "rack": "a"})
    path = f"machines/{board.name}"
    assert api.patch(path, {"labels": {"rack": "b", "tag-1": ""}}).json()["labels"] == {
        "hat": "sense",
        "rack": "b",
        "tag-1": "",
    }
    before = api.revision()
    assert api.patch(path, {"labels": {"rack": "b", "none": None}}).json()["labels"]["rack"] == "b"
    assert api.revision() == before, "what changes nothing takes no revision"
    assert api.patch(path, {"labels": {"rack": None, "tag-1": None}}).json()["labels"] == {
        "hat": "sense",
        "rack": "a",
    }
    told = api.get(f"history?machine={board.name}&kind=machine.amended").json()
    assert [event["detail"]["labels"] for event in told] == [
        {"rack": None, "tag-1": None},
        {"rack": "b", "tag-1": ""},
    ]


def test_a_label_that_searches_take_for_something_else_is_refused_and_not_reported(
    api: Api, board: Board
) -> None:
    """Of a board, which has nobody to read a refusal, it is not taken over; the rest of its report is."""
    refusal = api.patch(f"machines/{board.name}", {"labels": {"state": "free", "name": "zzz"}})
    assert refusal.status_code == 400
    told = "labels: name, state are words of the search itself, and no label would be found by it."
    assert refusal.json()["error"]["message"] == told
    board.beat(labels={"state": "free", "hat": "sense"})
    assert api.machine(board.name)["labels"] == {"hat": "sense"}


def test_a_comment_is_free_to_all_users(api: Api, board: Board) -> None:
    path, ann = f"machines/{board.name}", api.token("user", "ann")
    for comment in ("🥧 \n<b>", ""):
        assert api.patch(path, {"comment": comment}, ann).json()["comment"] == comment
    assert api.patch(path, {}, ann).json()["comment"] == ""
    refused = api.patch(path, {"comment": "and", "labels": {"a": "b"}}, ann)
    assert refused.status_code == 403 and api.machine(board.name)["comment"] == ""


def test_a_drained_board_is_granted_to_nobody_until_it_is_back(api: Api, board: Board) -> None:
    """Its holder keeps it; who waits gets it in the moment of its return."""
    path, first, second = f"machines/{board.name}", fresh_lease(), fresh_lease()
    api.put(first, {"selector": board.name})
    drained = api.patch(path, {"service": "drained", "reason": "new fan"}).json()
    assert (drained["service"], drained["reason"], drained["state"]) == ("drained", "new fan", "locked")
    api.put(second, {"selector": board.name})
    api.delete(first)
    assert api.machine(board.name)["state"] == "drained"
    assert "drained" in api.get(second).json()["why_waiting"]
    back = api.patch(path, {"service": "in_service"}).json()
    assert (back["service"], back["reason"]) == ("in_service", "")
    assert api.get(second).json()["state"] == "held"


def test_evicting_ends_the_lease_too(api: Api, board: Board) -> None:
    api.put(lease := fresh_lease(), {"selector": board.name})
    api.patch(f"machines/{board.name}", {"service": "quarantined", "reason": "smoke", "evict": True})
    assert api.get(lease).json()["ended"] == "evicted"
    assert api.machine(board.name)["state"] == "quarantined"


BAD_CHANGES: list[tuple[dict[str, Any], set[str]]] = [
    ({"service": "drained"}, {"reason"}),
    ({"service": "pending", "comment": "x" * 10_000}, {"service", "comment"}),
    ({"service": "gone"}, {"service"}),
    ({"reason": "a\0b", "comment": "a\0b"}, {"reason", "comment"}),
    ({"labels": {"1a": "x", "ok": "y" * 10_000}}, {"labels.'1a'", "labels.ok"}),
    (
        {"labels": {"a b": None, "": None, "x" * 64: ""}},
        {"labels.'a b'", "labels.''", f"labels.'{'x' * 40}'"},
    ),
    ({"labels": {"a": 5, "b": []}}, {"labels.a", "labels.b"}),
    ({"labels": {f"k{number}": "" for number in range(65)}}, {"labels"}),
    ({"labels": []}, {"labels"}),
]


@pytest.mark.parametrize(
    ("change", "fields"), BAD_CHANGES, ids=[" ".join(sorted(f))[:40] for _, f in BAD_CHANGES]
)
def test_all_bad_changes_are_named_and_none_is_made(
    api: Api, board: Board, change: dict[str, Any], fields: set[str]
) -> None:
    before = api.revision()
    error = malformed(api.patch(f"machines/{board.name}", change))
    assert set(error["fields"]) == fields and error["hint"]
    assert api.revision() == before


@pytest.mark.parametrize("text", [b'"\\ud800"', b'"a\\udfffb"'])
def test_half_a_character_is_no_text(api: Api, board: Board, text: bytes) -> None:
    before = api.revision()
    for body in (b'{"comment": %s}' % text, b'{"labels": {"a": %s}}' % text, b'{"labels": {%s: 5}}' % text):
        answer = api.patch(
            f"machines/{board.name}", content=body, headers={"Content-Type": "application/json"}
        )
        assert malformed(answer)["fields"]
    assert api.revision() == before


def test_a_machine_that_is_forgotten_is_gone_until_it_has_a_new_token(api: Api, board: Board) -> None:
    """Else it would be back with its next beat, and one that nobody approved would be in service."""
    path, lease = f"machines/{board.name}", fresh_lease()
    api.put(lease, {"selector": board.name, "job": "soak"}, ann := api.token("user", "ann"))
    refused = api.delete(path)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    assert refused.json()["error"]["holder"] == "ann" and refused.json()["error"]["hint"]
    api.delete(lease, ann)
    assert api.delete(path).json()["name"] == board.name
    assert api.get(path).status_code == 404 == api.delete(path).status_code
    assert names(api, f"name:{board.name}") == []
    beat = {"id": "again", "address": "again.lab"}
    assert api.post(f"{path}/beat", beat, board.token).status_code == 401
    assert api.post(f"{path}/beat", beat, api.token("agent", board.name)).status_code == 200
    assert api.machine(board.name)["state"] == "free"


# Beats


def test_a_beat_says_how_the_board_is(api: Api, board: Board) -> None:
    board.beat(telemetry={"temperature": 48.2}, seq=1)
    shown = api.machine(board.name)
    assert shown["telemetry"] == {"temperature": 48.2} and shown["presence"] == "online"
    before = api.revision()
    board.beat(telemetry={"temperature": 50.1}, seq=2)
    assert api.machine(board.name)["telemetry"] == {"temperature": 50.1}
    assert api.revision() == before, "a plain beat takes no revision"
    assert shown["id"] == f"serial-{board.name}"


def test_a_held_open_beat_is_answered_in_the_moment_of_the_grant(api: Api, board: Board) -> None:
    """A lease, a key, the end: each reaches the board in milliseconds, not after the wait."""
    lease = fresh_lease()
    known = board.beat()["orders"]
    with ThreadPoolExecutor(1) as threads:

        def told_of(act: Any) -> dict[str, Any]:
            nonlocal known
            beat = threads.submit(board.beat, 25, orders=known)
            started = time.monotonic()
            act()
            answer = beat.result()
            assert time.monotonic() - started < 10
            known = answer["orders"]
            return answer

        held = told_of(lambda: api.put(lease, {"selector": board.name, "job": "soak", "on_reboot": "keep"}))
        assert (held["lease"]["holder"], held["lease"]["job"]) == ("admin", "soak")
        assert held["fence"] == held["lease"]["fence"] == api.get(lease).json()["fence"]
        assert held["lease"]["on_reboot"] == "keep" and held["lease"]["expires_in_s"] > 100
        keys = ["ssh-ed25519 AAAA ann"]
        told = told_of(lambda: api.post(f"{lease}/renew", {"ssh_public_keys": keys}))
        assert told["lease"]["ssh_public_keys"] == keys
        assert told_of(lambda: api.delete(lease))["lease"] is None
        drained = {"service": "drained", "reason": "fan"}
        assert told_of(lambda: api.patch(f"machines/{board.name}", drained))["service"] == "drained"


def test_a_grant_between_two_beats_is_no_later_news(api: Api, board: Board) -> None:
    """What the board was told last is in its beat, so that nothing falls between two of them."""
    known = board.beat()["orders"]
    api.put(fresh_lease(), {"selector": board.name})
    started = time.monotonic()
    answer = board.beat(wait=25, orders=known)
    assert answer["lease"]["holder"] == "admin" and time.monotonic() - started < 10


@pytest.mark.parametrize("echoes", [True, False])
def test_the_beat_that_reports_clean_brings_the_next_lease(api: Api, board: Board, echoes: bool) -> None:
    """The turn that hears of it grants the board; its agent must not sit on the news for the wait."""
    board.beat(mode="enforced")
    first, second = fresh_lease(), fresh_lease()
    fence = api.put(first, {"selector": board.name}).json()["fence"]
    board.beat(fence=fence, closed=False)
    api.put(second, {"selector": board.name})
    api.delete(first)
    cleaning = board.beat()
    assert (cleaning["cleaning"], cleaning["lease"]) == (fence, None)
    started = time.monotonic()
    answer = board.beat(wait=25, closed=True, clean=True, orders=cleaning["orders"] if echoes else "")
    assert answer["lease"]["id"] == second.partition("/")[2]
    assert answer["fence"] > fence and time.monotonic() - started < 10


def test_nothing_new_is_an_answer_after_the_wait(api: Api, board: Board) -> None:
    """Renewals and plain beats of others wake nobody."""
    api.put(lease := fresh_lease(), {"selector": board.name})
    known = board.beat()["orders"]
    with ThreadPoolExecutor(1) as threads:
        beat = threads.submit(board.beat, 1, orders=known)
        started = time.monotonic()
        while not beat.done():
            api.post(f"{lease}/renew")
        assert time.monotonic() - started >= 0.9
    assert beat.result()["orders"] == known


BAD_BEATS: list[tuple[dict[str, Any], set[str]]] = [
    ({"id": "", "address": ""}, {"id", "address"}),
    ({"id": "legacy:10.0.0.1", "mode": "legacy"}, {"id", "mode"}),
    ({"seq": -1, "fence": 2**63, "ssh_port": 0}, {"seq", "fence", "ssh_port"}),
    ({"ssh_port": 65_536, "boot_id": "x" * 10_000, "ssh_user": "a\0b"}, {"ssh_port", "boot_id", "ssh_user"}),
    ({"labels": {"1": "x"}, "facts": {"a b": 1}}, {"labels.'1'", "facts.'a b'"}),
    ({"labels": {f"k{number}": "" for number in range(65)}}, {"labels"}),
    ({"telemetry": {"a": [[[[[1]]]]]}}, {"telemetry"}),
    ({"telemetry": {"a": "x" * 10_000}}, {"telemetry"}),
    ({"telemetry": {"a": 10**30}}, {"telemetry"}),
    ({"host_keys": ["k" * 10_000]}, {"host_keys[0]"}),
]


@pytest.mark.parametrize(("said", "fields"), BAD_BEATS, ids=[" ".join(sorted(f))[:40] for _, f in BAD_BEATS])
def test_a_beat_names_all_that_is_wrong_with_it(
    api: Api, board: Board, said: dict[str, Any], fields: set[str]
) -> None:
    before = api.revision()
    error = malformed(api.post(f"machines/{board.name}/beat", {**board.says, **said}, board.token))
    assert set(error["fields"]) == fields and error["hint"]
    assert api.revision() == before


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "truncated"),
        (b"hello", "malformed"),
        (b"[]", "Expected `object`"),
        (b'{"id": 5}', "$.id"),
        (b'{"id": "a"}', "address"),
        (b'{"id": "a", "address": "b", "seq": "1"}', "$.seq"),
        (b'{"id": "a", "address": "b", "telemetry": {"a": 1e999}}', "range"),
        (b'{"id": "a", "address": "b", "telemetry": {"a": "\\ud800"}}', "body"),
        (
            b'{"id": "a", "address": "b", "telemetry": {"a": ' + b"[" * 30_000 + b"]" * 30_000 + b"}}",
            "recursion",
        ),
        (b'{"id": "\xff", "address": "b"}', "body"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_a_beat_that_cannot_be_read_is_refused(api: Api, board: Board, content: bytes, told: str) -> None:
    before = api.revision()
    error = malformed(api.post(f"machines/{board.name}/beat", token=board.token, content=content))
    assert error["field"] == "body" and told in error["message"] and error["hint"]
    assert api.revision() == before


def test_a_beat_has_64_kib_at_most(api: Api, board: Board) -> None:
    for content in (b" " * 70_000, iter([b" " * 40_000, b" " * 40_000])):
        answer = api.post(f"machines/{board.name}/beat", token=board.token, content=content)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_long_reports_are_cut_not_refused(api: Api, board: Board) -> None:
    """A board with a chatty os-release is still a board."""
    board.beat(
        facts={"os": "x" * 10_000, "odd": 10**18, "none": None, "yes": True}, labels={"note": "y" * 600}
    )
    shown = api.machine(board.name)
    assert (len(shown["facts"]["os"]), len(shown["labels"]["note"])) == (512, 512)
    assert shown["facts"]["odd"] == 10**18


# What old tools send where nothing is


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    "path", ["/api/nothing", "/nothing", "/api/v2/machines", "/api/v1/nothing", "/api/v1"]
)
def test_unknown_paths_are_a_json_404(api: Api, method: str, path: str) -> None:
    answer = api.send(method, path, content=b"ApiKey=secret&IpAddress=10.0.0.1")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found" and "/api/v1" in answer.json()["error"]["hint"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/api/v1/machines", "GET"),
        ("DELETE", "/api/v1/leases", "GET"),
        ("PATCH", "/api/v1/tokens", "GET"),
        ("PUT", "/healthz", "GET"),
        ("GET", "/api/v1/leases/x/renew", "POST"),
        ("OPTIONS", "/api/v1/queue", "GET"),
    ],
)
def test_other_methods_are_a_json_405(api: Api, method: str, path: str, allowed: str) -> None:
    answer = api.send(method, path)
    assert answer.status_code == 405 and allowed in answer.headers["Allow"]
    assert answer.json()["error"]["message"]


# For those who watch the service


def test_the_service_says_that_it_lives_and_works(api: Api, board: Board) -> None:
    for path in ("/healthz", "/readyz"):
        assert api.get(path, "").text == "ok\n"
    board.beat()
    numbers = dict(
        line.rsplit(" ", 1) for line in api.get("/metrics", "").text.splitlines() if not line.startswith("#")
    )
    assert float(numbers['picluster_beats_total{protocol="v1"}']) >= 2
    assert float(numbers["picluster_turn_seconds_count"]) > 0
    assert "text/plain" in api.get("/metrics", "").headers["Content-Type"]


def test_whoami_says_whom_one_talks_to(api: Api) -> None:
    before = time.time_ns() // 1000
    told = api.get("whoami", api.token("user", "nightly", kind="ci")).json()
    assert (told["name"], told["role"], told["legacy_door"]) == ("nightly", "user", True)
    assert before <= told["wall_us"] <= time.time_ns() // 1000
    assert told["service_s"] >= 0 and told["epoch"] >= 1 and told["version"]
