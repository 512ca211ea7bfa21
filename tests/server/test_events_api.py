"""What happens, as it happens: the event stream without gaps or doubles; and the record of it, page by page."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

from tests.server.conftest import Api, Board, fresh_lease
from tests.service import KEY, on_sqlite, service


class News(NamedTuple):
    """One server-sent event."""

    kind: str
    id: str
    data: dict[str, Any]

    @property
    def revision(self) -> int:
        return int(self.id.partition(".")[2])


@contextmanager
def listening(api: Api, query: str = "", **headers: str) -> Iterator[Iterator[News]]:
    with api.stream(f"events{query}", **headers) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        yield read(answer)


def read(answer: httpx2.Response) -> Iterator[News]:
    """Events as they come in, as a browser reads them."""
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield News(fields["event"], fields["id"], json.loads(fields["data"]))
            fields = {}


def up_to(news: Iterator[News], last: int) -> list[News]:
    """What comes until this revision has."""
    found = []
    for item in news:
        found.append(item)
        if item.revision >= last:
            break
    return found


# The stream


def test_the_stream_begins_with_hello_and_goes_on_with_what_changes(api: Api, board: Board) -> None:
    """Everything that a page shows of a machine or lease is in the event; nothing has to be asked for again."""
    told = api.get("whoami").json()
    with listening(api) as news:
        hello = next(news)
        assert (hello.kind, hello.id, hello.data) == ("hello", f"{told['epoch']}.{told['revision']}", {})
        lease = fresh_lease()
        held = api.put(lease, {"selector": board.name, "job": "soak 🥧\nline"}).json()
        events = up_to(news, api.machine(board.name)["revision"])
        assert [event.kind for event in events] == ["lease", "machine"]
        assert {**events[0].data, "expires_in_s": 0} == {**held, "expires_in_s": 0}
        assert (events[1].data["name"], events[1].data["lease"]["holder"]) == (board.name, "admin")
        assert [event.revision for event in events] == [event.data["revision"] for event in events]
        api.delete(lease)
        ended = next(news)
        assert (ended.kind, ended.data["state"]) == ("lease", "ended")


def test_a_forgotten_machine_is_an_event(api: Api, board: Board) -> None:
    with listening(api) as news:
        next(news)
        api.delete(f"machines/{board.name}")
        gone = next(news)
        assert (gone.kind, gone.data) == ("machine", {"name": board.name, "deleted": True})


@pytest.mark.parametrize("by", ["Last-Event-ID", "after"])
def test_whoever_resumes_misses_nothing_and_hears_nothing_twice(api: Api, board: Board, by: str) -> None:
    """Cut at every single event; put together it is what one long stream says."""
    with listening(api) as news:
        position = start = next(news).id
        for _ in range(5):
            lease = fresh_lease()
            api.put(lease, {"selector": board.name})
            api.delete(lease)
        last = api.revision()
        whole = up_to(news, last)
    heard: list[News] = []
    while not heard or heard[-1].revision < last:
        resume = {"Last-Event-ID": position} if by == "Last-Event-ID" else {}
        with listening(api, "" if resume else f"?after={position}", **resume) as news:
            hello = next(news)
            assert (hello.kind, hello.id) == ("hello", position)
            heard.append(next(news))
            position = heard[-1].id
    revisions = [event.revision for event in heard]
    assert revisions == sorted(set(revisions))
    current = {(event.kind, event.data.get("id")): event.revision for event in whole}
    assert revisions == sorted(current.values()), "each row that changed since, once, as it is now"
    with listening(api, f"?after={start}", **{"Last-Event-ID": position}) as news:
        assert next(news).id == position, "the header wins: it is what a browser remembers"


def test_what_changes_while_nobody_listens_is_told_on_return(api: Api, board: Board) -> None:
    with listening(api) as news:
        position = next(news).id
    api.put(lease := fresh_lease(), {"selector": board.name})
    api.delete(lease)
    with listening(api, **{"Last-Event-ID": position}) as news:
        next(news)
        events = up_to(news, api.revision())
    assert {(event.kind, event.data.get("state")) for event in events} == {
        ("lease", "ended"),
        ("machine", "free"),
    }


def test_who_was_away_for_too_long_reads_the_lists_anew(api: Api) -> None:
    """After a day ended leases are forgotten; in another epoch history may have gone back."""
    told = api.get("whoami").json()
    yesterday = time.time_ns() // 1000 - 25 * 3600 * 1_000_000
    for old in (f"{told['epoch']}.{yesterday}", f"{told['epoch'] + 1}.{told['revision']}", "0.0", "1.1"):
        with listening(api, **{"Last-Event-ID": old}) as news:
            first = next(news)
            assert (first.kind, first.id) == ("resync", f"{told['epoch']}.{told['revision']}"), old


@pytest.mark.parametrize("after", ["x", "1", "1.", ".1", "1.2.3", "-1.5", "1.5e3", "1." + "9" * 10_000, "²."])
def test_what_is_no_event_id_is_refused(api: Api, after: str) -> None:
    answer = api.get("events", params={"after": after})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["field"] == "after" and error["hint"]


def test_open_streams_are_counted(api: Api) -> None:
    def open_streams() -> float:
        text = api.get("/metrics", "").text
        return float(
            next(line for line in text.splitlines() if line.startswith("picluster_streams ")).split()[1]
        )

    with listening(api) as news:
        next(news)
        assert open_streams() >= 1


def test_a_stream_ends_with_the_service_and_resumes_with_it(tmp_path: Path) -> None:
    """A restart costs a page nothing but the time of the restart."""
    with service(*on_sqlite(tmp_path)) as running:
        api = Api(running.address)
        board = api.board()
        with listening(api) as news:
            position = next(news).id
            assert running.stop() == 0
            assert list(news) == []
        running.start()
        held = api.put(fresh_lease(), {"selector": board.name}).json()
        with listening(api, **{"Last-Event-ID": position}) as news:
            assert next(news).kind == "hello"
            assert next(news).data["id"] == held["id"]
        api.close()


# The record


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["kind"] for event in events]


def test_the_record_tells_who_did_what_from_where(api: Api, board: Board) -> None:
    lease = fresh_lease()
    api.put(lease, {"selector": board.name, "job": "soak"}, ann := api.token("user", "ann"))
    api.delete(lease, ann)
    told = api.get(f"history?machine={board.name}").json()
    assert kinds(told) == ["lease.ended", "lease.held", "machine.registered"]
    ended = told[0]
    assert (ended["actor"], ended["holder"], ended["address"]) == ("ann", "ann", "127.0.0.1")
    assert ended["lease"] == lease.partition("/")[2]
    asked = api.get(f"history?lease={ended['lease']}&kind=lease.asked").json()[0]
    assert asked["detail"] == {"selector": f"name:{board.name}", "count": 1, "job": "soak"}


def test_the_record_is_filtered_by_all_that_is_asked_for(api: Api, board: Board) -> None:
    other, name = api.board(), f"ann-{uuid.uuid4()}"
    token = api.token("user", name)
    for where in (board, other):
        api.put(lease := fresh_lease(), {"selector": where.name}, token)
        api.delete(lease, token)

    def found(**query: str) -> list[dict[str, Any]]:
        return list(api.get("history", params=query).json())

    assert {event["machine"] for event in found(holder=name, kind="lease.held")} == {board.name, other.name}
    assert kinds(found(holder=name, machine=other.name)) == ["lease.ended", "lease.held"]
    assert found(holder=name, machine=board.name, kind="machine.registered") == []
    assert found(holder="nobody at all 🥧") == found(kind="no such kind") == []


def test_since_is_included_and_until_is_not(api: Api, board: Board) -> None:
    """So that one hour after the other has everything once."""
    for comment in ("a", "b", "c"):
        api.patch(f"machines/{board.name}", {"comment": comment})
    told = api.get(f"history?machine={board.name}&kind=machine.amended").json()
    times = [event["at_us"] for event in reversed(told)]
    assert times == sorted(set(times)), "three calls one after the other are three times"

    def comments(query: str) -> list[str]:
        found = api.get(f"history?machine={board.name}&kind=machine.amended&{query}").json()
        return [event["detail"]["comment"] for event in found]

    assert comments(f"since={times[1]}") == ["c", "b"]
    assert comments(f"until={times[1]}") == ["a"]
    assert comments(f"since={times[0]}&until={times[2]}") == ["b", "a"]
    assert comments(f"since={times[2] + 1}") == []


@pytest.mark.parametrize("limit", [1, 2, 3, 5])
def test_every_event_is_on_exactly_one_page_while_more_happen(api: Api, limit: int) -> None:
    """A lease of three boards ends in three events of one revision, which a page never cuts in two."""
    mark = f"m{uuid.uuid4().hex[:8]}"
    name = f"ann-{mark}"
    token = api.token("user", name)
    for _ in range(3):
        api.board(labels={mark: ""})

    def use() -> None:
        api.put(lease := fresh_lease(), {"selector": f"tag:{mark}", "count": 3}, token)
        api.delete(lease, token)

    for _ in range(4):
        use()
    everything = api.get(f"history?holder={name}&limit=1000").json()
    assert len(everything) == 4 * (1 + 3 + 3)
    seen: list[dict[str, Any]] = []
    after = ""
    while page := api.get(f"history?holder={name}&limit={limit}{after}").json():
        assert len(page) <= limit + 2
        seen += page
        after = "&after=" + page[-1]["id"].partition(".")[2]
        use()
    assert seen == everything


def test_the_record_cannot_be_asked_absurd_things(api: Api) -> None:
    for query, fields in (
        ("since=-1&until=99999999999999999999&limit=0", {"since", "until", "limit"}),
        ("since=nan&after=soon&limit=1001", {"since", "after", "limit"}),
        ("since=1e3", {"since"}),
    ):
        answer = api.get(f"history?{query}")
        assert answer.status_code == 400 and set(answer.json()["error"]["fields"]) == fields
    for name in ("machine", "holder", "lease", "kind"):
        for text in ("\0", "x" * 10_000):
            answer = api.get("history", params={name: text})
            assert answer.status_code == 400 and answer.json()["error"]["field"] == name


def test_the_record_knows_the_old_protocol_too(api: Api, pool: Any) -> None:
    address = f"old-{uuid.uuid4()}"
    pool.old("update", address, user=None, HostName=address)
    pool.old("lock", address, "ann", CurrentTaskName="soak")
    pool.old("free", address, "ann")
    told = api.get(
        f"history?machine={address}",
        "",
        headers={"Authorization": f"Bearer {KEY}", "X-Picluster-User": "ben"},
    ).json()
    assert [(event["kind"], event["holder"]) for event in told] == [
        ("lease.ended", "legacy:ann"),
        ("lease.held", "legacy:ann"),
        ("machine.registered", ""),
    ]
