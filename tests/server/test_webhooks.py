"""Webhooks against a real receiver: whatever it does, everything arrives in order, and nobody else waits for it."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from picluster.server.webhooks.messages import signature_headers
from picluster.server.webhooks.patience import REFUSALS
from tests.server.conftest import ROLES, Api, Board, fresh_lease
from tests.server.receiver import HANG, Received, Receiver, receiver
from tests.service import ServiceProcess, on_sqlite, service, until

LEASES = 20
"""Granted and given back while one message hangs: none of them could be if anybody waited for it."""

HASTE = {
    "PICLUSTER_WEBHOOK_NETWORKS": "127.0.0.0/8",
    "PICLUSTER_WEBHOOK_PAUSE_S": "0.1",
    "PICLUSTER_POLICY__OFFLINE_S": "3600",
    "PICLUSTER_POLICY__CROWDED": "3",
    "PICLUSTER_POLICY__SLACK_S": "1",
    "PICLUSTER_PULSE_S": "0.5",
}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service that may reach this machine, and waits for it as long as any: a stall is not taken for a failure."""
    with service(*on_sqlite(tmp_path_factory.mktemp("pool")), **HASTE) as running:
        yield running


@contextmanager
def waiting_for(timeout_s: int, folder: Path) -> Iterator[Api]:
    """A service that waits so long, where a receiver is to hang."""
    with service(*on_sqlite(folder), **HASTE, PICLUSTER_WEBHOOK_TIMEOUT_S=str(timeout_s)) as running:
        api = Api(running.address)
        yield api
        api.close()


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture
def hook(api: Api, there: Receiver) -> Iterator[str]:
    """The name of a webhook that is told everything."""
    name = made(api, there)
    yield name
    api.delete(f"webhooks/{name}")


def made(api: Api, there: Receiver, **more: Any) -> str:
    name = f"hook-{uuid.uuid4().hex[:8]}"
    answer = api.post("webhooks", {"name": name, "url": f"{there.url}/hidden", **more})
    assert answer.status_code == 201, answer.text
    return name


def shown(api: Api, name: str) -> dict[str, Any]:
    return next(one for one in api.get("webhooks").json() if one["name"] == name)


def quarantine(api: Api, board: Board, reason: str = "smoke") -> None:
    assert (
        api.patch(f"machines/{board.name}", {"service": "quarantined", "reason": reason}).status_code == 200
    )


def put_back(api: Api, board: Board) -> None:
    assert api.patch(f"machines/{board.name}", {"service": "in_service"}).status_code == 200


def types(messages: list[Received]) -> list[str]:
    return [one.json["type"] for one in messages]


# Everything arrives


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Api]:
    with waiting_for(1, tmp_path) as api:
        yield api


def test_a_receiver_that_fails_hangs_goes_and_comes_back_is_told_everything_in_order(hasty: Api) -> None:
    """Each event at least once, those of a machine as they happened, under the same id however often."""
    api = hasty
    boards = [api.board() for _ in range(2)]
    with receiver() as there:
        port = int(there.url.rpartition(":")[2])
        moods = iter([HANG, 500, 204])
        there.mood = lambda message: next(moods, HANG)
        name = made(api, there)
        for round in range(3):
            for board in boards:
                quarantine(api, board, f"round {round}")
                put_back(api, board)
        until(lambda: len(there.received) >= 4)
        before = there.received
    until(lambda: "no connection" in str(shown(api, name)["attempts"]))  # it is gone altogether
    with receiver(port=port) as there:
        until(lambda: shown(api, name)["delivered"] == 12)
        messages = before + there.received
        happened = defaultdict(list)
        for message in messages:
            if message.answered == 204 and message.id not in [one.id for one in happened[_machine(message)]]:
                happened[_machine(message)].append(message)
        for board in boards:
            assert types(happened[board.name]) == ["machine.quarantined", "machine.back"] * 3
            assert [one.json["data"]["detail"].get("reason") for one in happened[board.name]][::2] == [
                *("round 0", "round 1", "round 2")
            ]
        assert [one.id for one in messages] != sorted({one.id for one in messages})  # what failed came again
        now = shown(api, name)
        assert (now["failures"], now["failing_since_us"], now["given_up"]) == (0, 0, 0)


def _machine(message: Received) -> str:
    return str(message.json["data"]["machine"])


def test_a_receiver_that_hangs_keeps_nobody_else_waiting(there: Receiver, tmp_path: Path) -> None:
    """While one message to it is under way, others take turns by the dozen, and another webhook is told."""
    there.mood = HANG
    with waiting_for(30, tmp_path) as api, receiver() as other:
        board = api.board()
        for one in (there, other):
            made(api, one)
        quarantine(api, board)
        put_back(api, board)
        until(lambda: there.received)
        for _ in range(LEASES):
            lease = fresh_lease()
            assert api.put(lease, {"selector": f"name:{board.name}", "job": "quick"}).status_code == 200
            assert api.delete(lease).status_code == 200
        until(lambda: len(other.taken) >= 2)
        assert len(there.received) == 1  # still the one that hangs


def test_what_was_not_told_before_a_crash_is_told_after_it(
    tmp_path_factory: pytest.TempPathFactory, there: Receiver
) -> None:
    """The record is the outbox: SIGKILL right behind the answer loses nothing."""
    there.mood = 500
    with service(*on_sqlite(tmp_path_factory.mktemp("crash")), **HASTE) as running:
        api = Api(running.address)
        made(api, there)
        board = api.board()
        quarantine(api, board)
        running.kill()
        there.mood = 204
        running.start()
        until(lambda: [_machine(one) for one in there.taken] == [board.name])
        assert running.stop() == 0
        api.close()


def test_what_a_receiver_refuses_is_given_up_and_what_comes_behind_is_told(
    api: Api, there: Receiver, hook: str
) -> None:
    """One message that is not understood keeps nothing back, and is in the record."""
    there.mood = lambda message: 400 if "poison" in message.body.decode() else 204
    board = api.board()
    quarantine(api, board, "poison")
    quarantine(api, board, "food")
    until(lambda: len(there.taken) == 1)
    assert len(there.received) == REFUSALS + 1
    until(lambda: shown(api, hook)["given_up"] == 1)
    (lost,) = [event for event in api.get("history?kind=webhook.gave_up").json() if hook in str(event)]
    assert lost["detail"]["outcome"] == "400" and "poison" in lost["detail"]["about"]


def test_a_chat_room_is_told_several_things_in_one_message(api: Api, there: Receiver) -> None:
    there.mood = 500
    name, board = made(api, there, kind="slack", notices=["machine.quarantined"]), api.board()
    quarantine(api, board, "number 0")
    until(lambda: there.received)
    for number in range(1, 6):
        quarantine(api, board, f"number {number}")
    there.mood = 200
    until(lambda: shown(api, name)["delivered"] == 6)
    lines = [line for message in there.taken for line in message.json["text"].splitlines()]
    assert [line[-9:-1] for line in lines] == [f"number {number}" for number in range(6)]
    assert len(there.taken) < len(lines)
    api.delete(f"webhooks/{name}")


# What is told


def test_each_notice_comes_from_what_it_is_for(api: Api, there: Receiver, hook: str) -> None:
    board = api.board()
    where = {"selector": f"name:{board.name}"}
    api.put(lease := fresh_lease(), {**where, "ttl_s": None})
    waiting = [fresh_lease() for _ in range(3)]  # as many as are a long queue here
    for one in waiting:
        api.put(one, {**where, "ttl_s": None})
    api.delete(f"{lease}?reason=needed", api.token("operator"))
    api.put(short := fresh_lease(), {"selector": f"name:{api.board().name}", "ttl_s": 3})
    until(lambda: "lease.expired" in types(there.taken))
    assert types(there.taken) == ["queue.long", "lease.taken", "lease.expired"]
    taken, expired = there.taken[1].json["data"], there.taken[2].json["data"]
    assert taken["machine"] == board.name and taken["detail"] == {"why": "taken_back", "reason": "needed"}
    assert expired["lease"] == short.removeprefix("leases/") and "ran out" in expired["text"]
    for one in waiting:
        api.delete(one)
    until(lambda: [one.json["data"]["event"] for one in there.taken][-1] == "queue.short")


def test_only_what_was_chosen_is_told(api: Api, there: Receiver) -> None:
    name, board = made(api, there, notices=["machine.back"]), api.board()
    quarantine(api, board)
    put_back(api, board)
    until(lambda: there.taken)
    assert types(there.taken) == ["machine.back"]
    api.delete(f"webhooks/{name}")


def test_a_paused_webhook_is_told_nothing_of_what_happens_meanwhile(
    api: Api, there: Receiver, hook: str
) -> None:
    board = api.board()
    assert api.patch(f"webhooks/{hook}", {"paused": True}).json()["paused"]
    quarantine(api, board, "meanwhile")
    assert not api.patch(f"webhooks/{hook}", {"paused": False}).json()["paused"]
    put_back(api, board)
    until(lambda: there.taken)
    assert types(there.taken) == ["machine.back"]


def test_a_new_address_is_told_what_the_old_one_did_not_take(api: Api, there: Receiver, hook: str) -> None:
    """Whoever rotates an address loses nothing by it."""
    there.mood = 500
    quarantine(api, board := api.board(), "before")
    until(lambda: there.received)
    with receiver() as other:
        assert api.patch(f"webhooks/{hook}", {"url": f"{other.url}/new"}).json()["host"] == other.url
        until(lambda: [_machine(one) for one in other.taken] == [board.name])
        assert other.taken[0].path == "/new"


# Over HTTP


def test_a_webhook_has_a_life(api: Api, there: Receiver) -> None:
    asked = {
        "name": "Room",
        "url": f"{there.url}/hidden?key=secret",
        "kind": "generic",
        "notices": ["queue.long"],
    }
    answer = api.post("webhooks", asked).json()
    assert answer["secret"].startswith("whsec_") and answer["host"] == there.url
    assert shown(api, "Room") == answer | {"secret": None}
    assert api.post("webhooks", asked | {"name": "room"}).status_code == 409
    changed = api.patch("webhooks/ROOM", {"notices": list(reversed(_all(api)))}).json()
    assert changed["notices"] == []  # all that there is, and what there will be
    forgotten = api.delete("webhooks/room").json()
    assert (forgotten["name"], forgotten["host"], forgotten["secret"]) == ("Room", there.url, None)
    assert api.delete("webhooks/room").status_code == 404
    everything = api.get("webhooks").text + api.get("history?limit=1000").text
    assert "hidden" not in everything and answer["secret"] not in everything


def _all(api: Api) -> list[str]:
    refused = api.post("webhooks", {"name": "x", "url": "https://x.invalid", "notices": ["no"]})
    return str(refused.json()["error"]["fields"]["notices"]).partition("there is ")[2].split(", ")


def test_a_test_is_sent_at_once_signed_and_recorded(api: Api, there: Receiver, hook: str) -> None:
    assert api.post(f"webhooks/{hook}/test").json() == {"name": hook, "arrived": True, "outcome": "204"}
    (message,) = there.received
    assert message.json["type"] == "webhook.test" and message.headers["webhook-signature"].startswith("v1,")
    there.mood = 503
    assert not api.post(f"webhooks/{hook}/test").json()["arrived"]
    told = [event for event in api.get("history?kind=webhook.tested").json() if hook in str(event)]
    assert [event["detail"]["outcome"] for event in told] == ["503", "204"]
    assert api.post("webhooks/nobody/test").status_code == 404


def test_a_secret_is_renewed_and_signed_with_from_then_on(api: Api, there: Receiver) -> None:
    first = api.post("webhooks", {"name": "renewed", "url": there.url}).json()["secret"]
    second = api.patch("webhooks/renewed", {"renew_secret": True}).json()["secret"]
    assert second.startswith("whsec_") and second != first
    assert shown(api, "renewed")["secret"] is None
    api.post("webhooks/renewed/test")
    (message,) = there.received
    expected = signature_headers(second, message.id, int(message.headers["webhook-timestamp"]), message.body)
    assert message.headers["webhook-signature"] == expected["webhook-signature"]
    (changed, *_) = api.get("history?kind=webhook.changed").json()
    assert changed["detail"]["changed"] == ["secret"] and second not in str(changed)
    api.delete("webhooks/renewed")


def test_a_chat_room_has_no_secret_to_renew(api: Api, there: Receiver) -> None:
    name = made(api, there, kind="slack")
    refused = api.patch(f"webhooks/{name}", {"renew_secret": True})
    assert refused.status_code == 400 and refused.json()["error"]["field"] == "renew_secret"
    api.delete(f"webhooks/{name}")


def test_what_a_receiver_repeats_of_its_address_is_shown_to_nobody(api: Api, there: Receiver) -> None:
    """Express answers so. What it says besides admins read; the record, which viewers read, has the status alone."""
    there.mood, there.says = 404, b"Cannot POST /services/T0/B0/secret-part?key=secret-key, no_service"
    asked = {"name": "echo", "url": f"{there.url}/services/T0/B0/secret-part?key=secret-key"}
    assert api.post("webhooks", asked).status_code == 201
    tried = api.post("webhooks/echo/test").json()["outcome"]
    assert tried == "404: Cannot POST …, no_service"
    quarantine(api, api.board())
    until(lambda: shown(api, "echo")["given_up"] == 1)
    assert shown(api, "echo")["attempts"][0]["outcome"] == tried
    record = api.get("history?limit=1000").text
    assert "secret-" not in record + api.get("webhooks").text and "no_service" not in record
    api.delete("webhooks/echo")


@pytest.mark.parametrize("role", ROLES)
def test_webhooks_are_for_admins(api: Api, role: str) -> None:
    token, wanted = api.token(role), 200 if role == "admin" else 403
    assert api.get("webhooks", token).status_code == wanted
    if role != "admin":
        assert api.post("webhooks", {"name": "x", "url": "https://x.invalid"}, token).status_code == 403
        for send in (api.delete, lambda path, token: api.patch(path, {"paused": True}, token)):
            assert send("webhooks/x", token).status_code == 403
        assert api.post("webhooks/x/test", None, token).status_code == 403


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": "a b"}, "name"),
        ({"name": ""}, "name"),
        ({"kind": "pigeon"}, "kind"),
        ({"notices": ["machine.found"]}, "notices"),
        ({"notices": ["machine.lost", "machine.lost"]}, "notices"),
        ({"url": "https://x.invalid/" + "x" * 3000}, "url"),
        ({"secret": "mine"}, "secret"),
    ],
)
def test_what_is_wrong_is_named(api: Api, wrong: dict[str, Any], field: str) -> None:
    refused = api.post("webhooks", {"name": "x", "url": "https://x.invalid", **wrong})
    assert refused.status_code == 400 and field in refused.json()["error"]["fields"]


def test_a_private_address_is_refused_where_it_is_typed(api: Api) -> None:
    """With the setting that would allow it."""
    for url in ("http://10.0.0.1/", "http://[::1]/", "http://169.254.169.254/latest/meta-data"):
        error = api.post("webhooks", {"name": "inside", "url": url}).json()["error"]
        assert error["field"] == "url" and "PICLUSTER_WEBHOOK_NETWORKS" in error["hint"]
