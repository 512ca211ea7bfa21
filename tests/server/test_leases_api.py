"""Leases over HTTP: asking again, waiting, staying, giving back; and what is refused, which changes nothing."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.server.conftest import Api, Board, fresh_lease
from tests.service import until

DAY_S = 86_400


def refusal(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The error, which has this status and code."""
    assert answer.status_code == status, answer.text
    error = dict(answer.json()["error"])
    assert error["code"] == code
    return error


# Asking


def test_a_free_board_is_held_at_once(api: Api, board: Board) -> None:
    """The answer is all that its holder needs."""
    board.beat(host_keys=["ssh-ed25519 AAAA"], ssh_user="test", ssh_port=2222, facts={"model": "pi5"})
    answer = api.put(fresh_lease(), {"selector": board.name, "job": "nightly 🥧"}, api.token("user", "ann"))
    held = answer.json()
    assert (answer.status_code, held["state"], held["ready"]) == (200, "held", True)
    assert (held["holder"], held["job"], held["count"], held["ttl_s"]) == ("ann", "nightly 🥧", 1, 120)
    assert 119 < held["expires_in_s"] <= 120
    assert held["fence"] > 0 and held["granted_us"] >= held["joined_us"] > 0
    assert held["machines"] == [
        {
            "name": board.name,
            "address": f"{board.name}.lab",
            "model": "pi5",
            "mode": "advisory",
            "ready": True,
            "host_keys": ["ssh-ed25519 AAAA"],
            "ssh_user": "test",
            "ssh_port": 2222,
        }
    ]
    shown = api.machine(board.name)
    assert (shown["state"], shown["lease"]["holder"], shown["fence"]) == ("locked", "ann", held["fence"])


def test_asking_again_is_the_same_lease(api: Api, board: Board) -> None:
    """A lost answer costs nothing: the id is the client's, in whatever case it is typed."""
    lease, body = fresh_lease(), {"selector": board.name, "job": "x"}
    first = api.put(lease, body).json()
    again = api.put("leases/" + lease.partition("/")[2].upper(), body).json()
    assert (again["id"], again["fence"], again["place"]) == (first["id"], first["fence"], first["place"])
    assert api.put(lease, {**body, "count": 1, "ttl_s": 120}).json()["fence"] == first["fence"]
    assert len(api.get(f"leases?machine={board.name}").json()) == 1


def test_an_ended_lease_stays_ended_when_asked_for_again(api: Api, board: Board) -> None:
    lease, body = fresh_lease(), {"selector": board.name}
    api.put(lease, body)
    api.delete(lease)
    before = api.revision()
    assert api.put(lease, body).json()["state"] == "ended"
    assert api.revision() == before


@pytest.mark.parametrize("change", [{"job": "y"}, {"count": 2}, {"ttl_s": 60}, {"selector": ""}])
def test_another_body_under_the_same_id_is_refused(api: Api, board: Board, change: dict[str, Any]) -> None:
    lease, body = fresh_lease(), {"selector": board.name, "job": "x"}
    api.put(lease, body)
    before = api.revision()
    refusal(api.put(lease, {**body, **change}), 409, "lease_conflict")
    assert api.revision() == before


def test_a_lease_is_its_principals(api: Api, board: Board) -> None:
    """Ids are no secrets: somebody else can neither ask again, nor renew, nor release. Another token of ann's can."""
    lease, body = fresh_lease(), {"selector": board.name}
    ann, ben = api.token("user", "ann"), api.token("user", "ben")
    api.put(lease, body, ann)
    before = api.revision()
    refusal(api.put(lease, body, ben), 409, "lease_conflict")
    refusal(api.post(f"{lease}/renew", {}, ben), 403, "not_allowed")
    refusal(api.delete(f"{lease}?reason=mine", ben), 403, "not_allowed")
    assert api.revision() == before
    assert api.get(lease, ben).json()["holder"] == "ann"
    assert api.post(f"{lease}/renew", {}, api.token("user", "ann")).status_code == 200


@pytest.mark.parametrize(
    ("ttl", "fits"),
    [
        (2, False),
        (2.999, False),
        (3, True),
        (30 * DAY_S, True),
        (30 * DAY_S + 1, False),
        (0, False),
        (-5, False),
        (1e300, False),
        (None, True),
    ],
)
def test_how_long_a_lease_may_be(api: Api, board: Board, ttl: float | None, fits: bool) -> None:
    """From 3 s to 30 days; null is until released."""
    lease, before = fresh_lease(), api.revision()
    answer = api.put(lease, {"selector": board.name, "ttl_s": ttl})
    if not fits:
        assert "ttl_s" in refusal(answer, 400, "malformed")["fields"]
        assert api.revision() == before
        return
    held = answer.json()
    assert held["ttl_s"] == ttl
    assert held["expires_in_s"] is None if ttl is None else held["expires_in_s"] <= ttl


def test_a_hard_limit_ends_also_what_is_until_released(api: Api, board: Board) -> None:
    held = api.put(
        fresh_lease(), {"selector": board.name, "ttl_s": None, "not_after_s": 100, "queue": False}
    ).json()
    assert 99 < held["expires_in_s"] <= 100


@pytest.mark.parametrize("count", [65, 1000, 10**30, 0, -1])
def test_nobody_holds_up_a_lab(api: Api, count: int) -> None:
    answer = api.put(fresh_lease(), {"count": count}, api.token("operator"))
    assert refusal(answer, 400, "malformed")["fields"] == {"count": "must be from 1 to 64"}


def test_a_user_has_eight_machines_at_most_in_one_lease(api: Api) -> None:
    """An operator may have more, if there are so many."""
    refusal(api.put(fresh_lease(), {"count": 9}, api.token("user")), 403, "not_allowed")
    refusal(
        api.put(fresh_lease(), {"selector": "name:none", "count": 9}, api.token("operator")),
        409,
        "unsatisfiable",
    )


def test_several_boards_are_one_lease(api: Api) -> None:
    boards = [api.board(labels={"trio": "yes"}).name for _ in range(3)]
    lease = fresh_lease()
    held = api.put(lease, {"selector": "trio:yes", "count": 3}).json()
    assert sorted(machine["name"] for machine in held["machines"]) == sorted(boards)
    assert {api.machine(name)["fence"] for name in boards} == {held["fence"]}
    api.delete(lease)
    assert {api.machine(name)["state"] for name in boards} == {"free"}


def test_more_boards_than_there_are_is_said_at_once(api: Api, board: Board) -> None:
    """Waiting would not help, unless one wants to wait for boards to come."""
    error = refusal(api.put(fresh_lease(), {"selector": board.name, "count": 2}), 409, "unsatisfiable")
    assert (error["matching"], error["asked"]) == (1, 2) and error["hint"]
    waiting = api.put(fresh_lease(), {"selector": "soon:here", "wait_for_machines": True}).json()
    assert waiting["state"] == "waiting" and "waiting for more to register" in waiting["why_waiting"]
    api.board(labels={"soon": "here"})
    assert api.get(f"leases/{waiting['id']}").json()["state"] == "held"


def test_who_does_not_want_to_wait_learns_who_has_it(api: Api, board: Board) -> None:
    """Who, what for, since when and until when: all that is needed to go and ask them."""
    lease, ann, ben = fresh_lease(), api.token("user", "ann"), api.token("user", "ben")
    held = api.put(lease, {"selector": board.name, "job": "soak"}, ann).json()
    before = api.revision()
    error = refusal(api.put(fresh_lease(), {"selector": board.name, "queue": False}, ben), 409, "held")
    assert (error["machine"], error["holder"], error["job"]) == (board.name, "ann", "soak")
    assert (error["lease"], error["since_us"]) == (held["id"], held["granted_us"])
    assert error["age_s"] >= 0 and error["expires_in_s"] > 100
    assert board.name in error["message"] and "ann" in error["message"] and error["hint"]
    assert api.revision() == before
    api.delete(lease, ann)
    api.put(fresh_lease(), {"selector": board.name, "ttl_s": None})
    error = refusal(api.put(fresh_lease(), {"selector": board.name, "queue": False}), 409, "held")
    assert error["expires_in_s"] is None


def test_a_quota_is_for_people(api: Api, board: Board) -> None:
    """50 live leases for one person, checked only when asking; none for admins, CI and the old door."""
    ann, ci = api.token("user"), api.token("user", "nightly", kind="ci")
    api.put(fresh_lease(), {"selector": board.name})
    mine = [fresh_lease() for _ in range(50)]
    for lease in mine:
        assert api.put(lease, {"selector": board.name}, ann).status_code == 200
    error = refusal(api.put(fresh_lease(), {"selector": board.name}, ann), 409, "quota")
    assert "50" in error["message"] and error["hint"]
    assert api.put(mine[0], {"selector": board.name}, ann).status_code == 200, "asking again is not a new one"
    for lease in mine:
        api.delete(lease, ann)
    for _ in range(51):
        assert api.put(fresh_lease(), {"selector": board.name}, ci).status_code == 200


@pytest.mark.parametrize(("role", "highest"), [("user", 1), ("operator", 2), ("admin", 3)])
def test_priority_is_by_role(api: Api, board: Board, role: str, highest: int) -> None:
    token = api.token(role)
    for priority in range(4):
        answer = api.put(fresh_lease(), {"selector": board.name, "priority": priority}, token)
        if priority <= highest:
            assert answer.json()["priority"] == priority
        else:
            assert str(highest) in refusal(answer, 403, "not_allowed")["hint"]


# Waiting


def test_a_freed_board_answers_the_call_that_waits_for_it(api: Api, board: Board) -> None:
    first, second = fresh_lease(), fresh_lease()
    api.put(first, {"selector": board.name})
    with ThreadPoolExecutor(1) as threads:
        waiter = threads.submit(api.put, f"{second}?wait=25", {"selector": board.name})
        until(lambda: api.get(second).status_code == 200)
        shown = api.get(second).json()
        assert (shown["state"], shown["ahead"], shown["machines"]) == ("waiting", 0, [])
        assert "1 locked" in shown["why_waiting"] and 85 < shown["expires_in_s"] <= 90
        released = time.monotonic()
        api.delete(first)
        held = waiter.result().json()
    assert held["state"] == "held" and time.monotonic() - released < 5
    assert held["expires_in_s"] <= 30, "until its client shows that it is there to use it"
    assert 115 < api.post(f"{second}/renew").json()["expires_in_s"] <= 120


def test_renewing_is_how_one_waits_on(api: Api, board: Board) -> None:
    first, second = fresh_lease(), fresh_lease()
    api.put(first, {"selector": board.name})
    assert api.put(f"{second}?wait=0.2", {"selector": board.name}).json()["state"] == "waiting"
    with ThreadPoolExecutor(1) as threads:
        before = api.get(second).json()["revision"]
        waiter = threads.submit(api.post, f"{second}/renew?wait=25")
        until(lambda: api.get(second).json()["revision"] > before)
        api.delete(first)
        assert waiter.result().json()["state"] == "held"


def test_a_waiter_whose_lease_is_cancelled_is_told_at_once(api: Api, board: Board) -> None:
    first, second = fresh_lease(), fresh_lease()
    api.put(first, {"selector": board.name})
    with ThreadPoolExecutor(1) as threads:
        waiter = threads.submit(api.put, f"{second}?wait=25", {"selector": board.name})
        until(lambda: api.get(second).status_code == 200)
        assert api.delete(second).json()["ended"] == "cancelled"
        assert waiter.result().json()["state"] == "ended"


def test_an_enforced_board_is_ready_when_it_let_the_holder_in(api: Api, board: Board) -> None:
    """The call of the holder is answered when the agent reports the fence open."""
    board.beat(mode="enforced")
    lease = fresh_lease()
    with ThreadPoolExecutor(1) as threads:
        waiter = threads.submit(api.put, f"{lease}?wait=25", {"selector": board.name})
        until(lambda: api.machine(board.name)["state"] == "locked")
        shown = api.get(lease).json()
        assert (shown["state"], shown["ready"], shown["machines"][0]["ready"]) == ("held", False, False)
        board.beat(fence=shown["fence"], closed=False)
        assert waiter.result().json()["ready"] is True


def test_places_in_the_queue(api: Api, board: Board) -> None:
    """By priority, then in the order of asking; the answers of all agree."""
    api.put(fresh_lease(), {"selector": board.name})
    paths = [fresh_lease() for _ in range(3)]
    for path, priority in zip(paths, (1, 1, 3), strict=True):
        api.put(path, {"selector": board.name, "priority": priority})
    mine = [path.partition("/")[2] for path in paths]
    queued = [lease["id"] for lease in api.get("queue?limit=1000").json() if lease["id"] in mine]
    assert queued == [mine[2], mine[0], mine[1]]
    assert [api.get(path).json()["ahead"] for path in paths] == [1, 2, 0]


def test_explain_says_what_a_selector_would_get(api: Api, board: Board) -> None:
    other = api.board(labels={"pair": "one"})
    board.beat(labels={"pair": "one"})
    api.put(fresh_lease(), {"selector": board.name})
    api.put(fresh_lease(), {"selector": board.name})
    found = api.get("explain?q=pair:ONE").json()
    assert found["machines"] == {board.name: "locked", other.name: "free"}
    assert (found["matching"], found["waiting"], found["selector"]) == (2, 1, "pair:one")
    assert sorted(found["summary"].split(", ")) == ["1 free", "1 locked"]
    assert api.get(f"explain?q={board.name}.lab").json()["selector"] == f"name:{board.name}"


# Staying and giving back


def test_renewing_may_change_the_terms(api: Api, board: Board) -> None:
    lease = fresh_lease()
    api.put(lease, {"selector": board.name})
    assert api.post(f"{lease}/renew", {"ttl_s": 600}).json()["ttl_s"] == 600
    assert api.post(f"{lease}/renew").json()["ttl_s"] == 600
    assert api.post(f"{lease}/renew", {"ttl_s": None}).json()["expires_in_s"] is None
    api.post(f"{lease}/renew", {"ssh_public_keys": ["ssh-ed25519 AAAA ann"], "expect_reboot_s": 60})
    assert board.beat()["lease"]["ssh_public_keys"] == ["ssh-ed25519 AAAA ann"]
    board.beat(boot_id="second")
    assert api.get(lease).json()["state"] == "held", "the reboot was announced"
    board.beat(boot_id="third", wait=0)
    changes = api.get(f"history?lease={lease.partition('/')[2]}&kind=lease.changed").json()
    assert [change["detail"]["changed"] for change in changes] == [
        ["reboot_until_s", "ssh_public_keys"],
        ["ttl_s"],
        ["ttl_s"],
    ]


def test_reading_never_renews(api: Api, board: Board) -> None:
    lease = fresh_lease()
    api.put(lease, {"selector": board.name})
    before = api.get(lease).json()
    again = api.get(lease).json()
    assert again["revision"] == before["revision"] and again["expires_in_s"] <= before["expires_in_s"]


def test_an_ended_lease_is_lost_for_good(api: Api, board: Board) -> None:
    lease = fresh_lease()
    api.put(lease, {"selector": board.name}, token := api.token("user"))
    api.delete(f"{lease}?reason=fire")
    error = refusal(api.post(f"{lease}/renew", {}, token), 409, "lease_lost")
    assert (error["ended"], error["ended_by"]) == ("taken_back", "admin") and error["hint"]
    refusal(api.post(f"{fresh_lease()}/renew"), 409, "lease_lost")


def test_releasing_again_is_the_same_answer(api: Api, board: Board) -> None:
    """With `wait`, once the board has reported how the lease was; and then for good."""
    lease = fresh_lease()
    fence = api.put(lease, {"selector": board.name}).json()["fence"]
    freed = api.delete(lease).json()
    assert (freed["state"], freed["ended"], freed["ended_by"]) == ("ended", "released", "admin")
    assert freed["verdict"] == ""
    counters = {"fence": fence, "hot": 0, "disk": 0, "throttled": 2}
    board.beat(fence=fence, telemetry={"last_closed": counters})
    first = api.delete(f"{lease}?wait=25").json()
    assert (first["verdict"], first["verdict_reasons"]) == ("dirty", ["throttled, seen 2 ×"])
    before = api.revision()
    assert api.delete(lease).json() == first
    assert api.revision() == before
    refusal(api.delete(fresh_lease()), 404, "not_found")
    refusal(api.get(fresh_lease()), 404, "not_found")


def test_taking_back_needs_a_reason_which_is_recorded(api: Api, board: Board) -> None:
    lease = fresh_lease()
    api.put(lease, {"selector": board.name}, api.token("user", "ann"))
    operator = api.token("operator", "olga")
    assert refusal(api.delete(lease, operator), 400, "malformed")["field"] == "reason"
    ended = api.delete(f"{lease}?reason=the%20fan%20%F0%9F%94%A5", operator).json()
    assert (ended["ended"], ended["ended_by"]) == ("taken_back", "olga")
    told = api.get(f"history?lease={ended['id']}&kind=lease.ended").json()[0]
    assert (told["actor"], told["holder"], told["machine"]) == ("olga", "ann", board.name)
    assert told["detail"] == {"why": "taken_back", "reason": "the fan 🔥"}
    assert api.machine(board.name)["state"] == "cleaning", "a late holder has some seconds to notice"


# Reading many


def test_leases_are_found_by_state_holder_and_machine(api: Api, board: Board) -> None:
    ann = api.token("user")
    name = api.get("whoami", ann).json()["name"]
    held, waiting, ended = (fresh_lease() for _ in range(3))
    for path in (ended, held, waiting):
        api.put(path, {"selector": board.name}, ann)
        if path is ended:
            api.delete(path, ann)

    def found(query: str) -> list[str]:
        return ["leases/" + lease["id"] for lease in api.get(f"leases?{query}&limit=1000").json()]

    assert found(f"holder={name}") == [ended, held, waiting]
    assert found(f"holder={name}&state=held") == [held] == found(f"machine={board.name}&state=held")
    assert found(f"holder={name}&state=waiting") == [waiting]
    assert found(f"machine={board.name}") == [ended, held]
    assert found("holder=nobody-at-all") == found("machine=nothing") == []


@pytest.mark.parametrize("where", ["leases?state=waiting&holder={holder}", "queue?"])
def test_every_waiter_is_on_exactly_one_page_while_they_come_and_go(
    api: Api, board: Board, where: str
) -> None:
    """A page begins behind a place that never changes, even when the lease that stood there waits no more."""
    token = api.token("user")
    where = where.format(holder=api.get("whoami", token).json()["name"])
    api.put(fresh_lease(), {"selector": board.name})
    for old in api.get("queue?limit=1000").json():
        api.delete(f"leases/{old['id']}?reason=over")
    staying = [fresh_lease() for _ in range(9)]
    for path in staying:
        api.put(path, {"selector": board.name}, token)
    seen: list[str] = []
    after = ""
    while page := api.get(f"{where}&limit=2&after={after}").json():
        assert len(page) <= 2
        seen += ["leases/" + lease["id"] for lease in page]
        after = page[-1]["id"]
        api.delete(f"leases/{after}", token)
        if len(seen) <= 4:
            api.put(late := fresh_lease(), {"selector": board.name}, token)
            staying.append(late)
    assert seen == staying


def test_a_page_behind_a_lease_that_nobody_knows_is_refused(api: Api) -> None:
    for path in ("leases", "queue", "tokens"):
        assert refusal(api.get(f"{path}?after={uuid.uuid4()}"), 400, "malformed")["field"] == "after"


# What is refused changes nothing


BAD_FIELDS: list[tuple[dict[str, Any], set[str]]] = [
    ({"count": 65, "ttl_s": 2, "priority": 4, "job": "x" * 10_000}, {"count", "ttl_s", "priority", "job"}),
    ({"wait_s": -1, "not_after_s": 0, "selector": "x" * 17_000}, {"wait_s", "not_after_s", "selector"}),
    ({"queue": "maybe", "on_reboot": "explode", "ttl_s": "long"}, {"queue", "on_reboot", "ttl_s"}),
    ({"job": None, "selector": 5, "count": 1.5, "priority": []}, {"job", "selector", "count", "priority"}),
    ({"job": "a\0b", "selector": "a\0b"}, {"job", "selector"}),
    ({"count": 10**400, "priority": -(10**30)}, {"count", "priority"}),
    ({"ssh_public_keys": ["k"] * 5}, {"ssh_public_keys", *(f"ssh_public_keys[{n}]" for n in range(5))}),
    ({"ssh_public_keys": ["ssh-rsa A\nssh-rsa B"]}, {"ssh_public_keys[0]"}),
    ({"ssh_public_keys": ["ssh-rsa " + "x" * 10_000]}, {"ssh_public_keys[0]"}),
    ({"ssh_public_keys": "ssh-rsa A"}, {"ssh_public_keys"}),
]


@pytest.mark.parametrize(
    ("body", "fields"), BAD_FIELDS, ids=[" ".join(sorted(f))[:40] for _, f in BAD_FIELDS]
)
def test_all_bad_fields_are_named_at_once(
    api: Api, board: Board, body: dict[str, Any], fields: set[str]
) -> None:
    before = api.revision()
    error = refusal(api.put(fresh_lease(), {"selector": board.name, **body}), 400, "malformed")
    assert set(error["fields"]) == fields
    assert all(name in error["message"] for name in fields) and error["hint"]
    assert api.revision() == before


def test_a_misspelt_field_is_refused_and_not_forgotten(api: Api, board: Board) -> None:
    """`ttl` for `ttl_s` would else mean two minutes to somebody who asked for a day."""
    answer = api.put(f"leases/{uuid.uuid4()}", {"selector": board.name, "ttl": 86_400})
    assert (answer.status_code, list(answer.json()["error"]["fields"])) == (400, ["ttl"])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("wait=26", "wait"),
        ("wait=-1", "wait"),
        ("wait=nan", "wait"),
        ("wait=soon", "wait"),
        ("wait=1e999", "wait"),
    ],
)
def test_a_call_is_held_open_for_25_s_at_most(api: Api, board: Board, query: str, field: str) -> None:
    before = api.revision()
    for answer in (
        api.put(f"{fresh_lease()}?{query}", {"selector": board.name}),
        api.post(f"{fresh_lease()}/renew?{query}"),
        api.post(f"machines/{board.name}/beat?{query}", board.says, board.token),
    ):
        assert field in refusal(answer, 400, "malformed")["message"]
    assert api.revision() == before


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "must be a JSON object"),
        (b"hello", "not JSON"),
        (b'{"selector": "a"', "not JSON"),
        (b'{"selector": "a"} and more', "at character 18"),
        (b"[]", "must be a JSON object"),
        (b'"x"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b"[" * 60_000, "must be a JSON object"),
        (b'{"selector":' + b"[" * 60_000, "must be a JSON object"),
        (b"\xc3({}", "must be a JSON object"),
        (b'{"ttl_s": ' + b"9" * 5_000 + b"}", "must be a JSON object"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_a_body_that_is_no_json_object_is_refused(api: Api, content: bytes, told: str) -> None:
    before = api.revision()
    json_type = {"Content-Type": "application/json"}
    error = refusal(api.put(fresh_lease(), content=content, headers=json_type), 400, "malformed")
    assert set(error["fields"]) == {"body"} and told in error["message"]
    assert api.revision() == before


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_only_json_is_taken(api: Api, board: Board, kind: str) -> None:
    """A form on somebody's page can send the others without asking."""
    before = api.revision()
    body = f'{{"selector": "{board.name}"}}'.encode()
    answer = api.put(fresh_lease(), content=body, headers={"Content-Type": kind} if kind else {})
    assert "application/json" in refusal(answer, 400, "malformed")["fields"]["body"]
    assert api.revision() == before


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_has_64_kib_at_most(api: Api, board: Board, chunked: bool) -> None:
    before = api.revision()
    body = f'{{"selector": "{board.name}", "job": "'.encode() + b"x" * 66_000 + b'"}'
    answer = api.put(
        fresh_lease(),
        content=iter([body[:40_000], body[40_000:]]) if chunked else body,
        headers={"Content-Type": "application/json"},
    )
    assert "65536" in refusal(answer, 413, "too_large")["hint"]
    assert api.revision() == before


@pytest.mark.parametrize(
    ("selector", "told"),
    [
        ("colour:red", "no key colour"),
        ("state:free", "changes by itself"),
        ("-", "needs a term"),
        ('job"', "cannot stand here"),
        ('"open', "not closed"),
        ("mem>=lots", "needs a number"),
        ("a " * 65, "64 terms"),
    ],
)
def test_a_selector_error_points_at_the_place(api: Api, selector: str, told: str) -> None:
    before = api.revision()
    for answer in (
        api.put(fresh_lease(), {"selector": selector}),
        api.get("explain", params={"q": selector}),
    ):
        error = refusal(answer, 400, "malformed")
        assert told in error["message"] and error["hint"]
        assert "^" in error["message"] and error["position"] >= 0
    assert api.revision() == before


@pytest.mark.parametrize("text", ["\x01\x1b[31m", "tab\tand\nline", "\u202ertl", "e\u0301", "x" * 8192])
def test_what_is_unusual_but_text_survives(api: Api, board: Board, text: str) -> None:
    """Old clients put whole command lines into the job."""
    assert api.put(fresh_lease(), {"selector": board.name, "job": text}).json()["job"] == text


@pytest.mark.parametrize("lease_id", ["x", "1", "2f1c9d5e000040008000000000000000", "x" * 10_000, "%00"])
def test_an_id_is_a_uuid(api: Api, lease_id: str) -> None:
    before = api.revision()
    assert refusal(api.put(f"leases/{lease_id}", {}), 400, "malformed")["field"] == "id"
    for call in (api.get, api.delete):
        refusal(call(f"leases/{lease_id}"), 404, "not_found")
    assert api.revision() == before


def test_the_bounds_of_lists_are_named(api: Api) -> None:
    error = refusal(api.get("leases?limit=0&state=asleep"), 400, "malformed")
    assert set(error["fields"]) == {"limit", "state"}
    refusal(api.get("queue?limit=1001"), 400, "malformed")
    refusal(api.get("explain?count=65"), 400, "malformed")
