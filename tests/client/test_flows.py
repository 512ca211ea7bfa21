"""The conversation without I/O: what is asked, of whom, how long, and what the answers mean."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from picluster.client import flows
from picluster.client.flows import Answer, Flow, NoAnswer, Send, Session, pool
from picluster.client.where import Where
from picluster.errors import (
    Held,
    LeaseLost,
    Malformed,
    NotAuthenticated,
    PiclusterError,
    Unavailable,
    WaitedTooLong,
)
from picluster.wire import LeaseAnswer, LeaseRequest

ID = "2f1c9d5e-0000-4000-8000-000000000000"

REFUSED = NoAnswer("connection refused", sent=False)
CUT = NoAnswer("the peer closed the connection")

Reply = Answer | NoAnswer | Callable[[], Answer | NoAnswer]


class Conversation:
    """A session whose clock moves when somebody pauses, or when an answer takes its time."""

    def __init__(self, *addresses: str, patience_s: float = 10.0, token: str = "t") -> None:
        self.now = 1_000.0
        where = Where(addresses or ("http://one",), token)
        self.session = Session(where, patience_s, clock=lambda: self.now, chance=lambda: 0.5)
        self.sent: list[Send] = []
        self.pauses: list[float] = []
        self.news: list[LeaseAnswer] = []

    def play(self, flow: Flow[Any], replies: Iterable[Reply]) -> Any:
        """Carry the flow out with these replies, one for each question; what it returns."""
        waiting: Iterator[Reply] = iter(replies)
        said: Answer | NoAnswer | None = None
        while True:
            try:
                step = flow.send(said)
            except StopIteration as done:
                return done.value
            said = None
            if isinstance(step, Send):
                self.sent.append(step)
                reply = next(waiting)
                said = reply() if callable(reply) else reply
            elif isinstance(step, flows.Pause):
                self.pauses.append(step.seconds)
                self.now += step.seconds
            else:
                self.news.append(step.lease)

    def after(self, seconds: float, reply: Answer | NoAnswer) -> Reply:
        """The reply, when so much time has passed."""

        def late() -> Answer | NoAnswer:
            self.now += seconds
            return reply

        return late

    @property
    def asked(self) -> list[str]:
        return [f"{one.method} {one.url}" for one in self.sent]


def ok(value: Any) -> Answer:
    return Answer(200, json.dumps(value).encode())


def no(status: int, code: str, **more: Any) -> Answer:
    error = {"code": code, "message": f"{code}.", "hint": "do this", **more}
    return Answer(status, json.dumps({"error": error}).encode())


def a_lease(state: str = "held", **said: Any) -> Answer:
    """As the service would describe it; granted at once unless told otherwise."""
    machine = {
        "name": "pi-1",
        "address": "10.0.0.1",
        "model": "pi5",
        "mode": "advisory",
        "ready": True,
        "host_keys": [],
        "ssh_user": "",
        "ssh_port": 22,
    }
    machine["mode"] = said.pop("mode", "advisory")
    usual = {
        "id": ID,
        "state": state,
        "holder": "ann",
        "job": "",
        "selector": "",
        "count": 1,
        "priority": 1,
        "ttl_s": 120.0,
        "on_reboot": "release",
        "place": 1,
        "ahead": 0,
        "why_waiting": "",
        "set_aside": [],
        "machines": [] if state == "waiting" else [machine],
        "fence": 0 if state == "waiting" else 7,
        "ready": state == "held",
        "expires_in_s": 120.0,
        "joined_us": 5,
        "granted_us": 0 if state == "waiting" else 5,
        "ended_us": 0,
        "ended": "expired" if state == "ended" else "",
        "ended_by": "picluster" if state == "ended" else "",
        "verdict": "",
        "verdict_reasons": [],
        "revision": 9,
    }
    return ok(usual | said)


# One call


def test_each_address_is_asked_before_anybody_pauses() -> None:
    """A dead replica costs one failed connection, not a pause; later calls begin with the one that answered."""
    talk = Conversation("http://one", "http://two")
    assert talk.play(flows.call(talk.session, "GET", "/x"), [REFUSED, ok(1)]) == 1
    assert talk.play(flows.call(talk.session, "GET", "/x"), [ok(2)]) == 2
    assert talk.asked == ["GET http://one/x", "GET http://two/x", "GET http://two/x"]
    assert talk.pauses == []


def test_pauses_grow_and_end_with_patience() -> None:
    """Doubled from a tenth of a second, and never longer than what is left of the patience."""
    talk = Conversation(patience_s=1.0)
    with pytest.raises(Unavailable, match=r"No answer from http://one: connection refused\."):
        talk.play(flows.call(talk.session, "GET", "/x"), itertools.repeat(REFUSED))
    assert talk.pauses == pytest.approx([0.1, 0.2, 0.4, 0.3])


def test_what_no_waiting_can_change_is_told_at_once() -> None:
    """A certificate that is not believed now is not believed in ten seconds; but another address may be better."""
    disbelieved = NoAnswer("certificate verify failed", sent=False, for_good=True)
    talk = Conversation("http://one", "http://two")
    assert talk.play(flows.call(talk.session, "GET", "/x"), [disbelieved, REFUSED, disbelieved, ok(1)]) == 1
    with pytest.raises(Unavailable, match="certificate verify failed"):
        talk.play(flows.call(talk.session, "GET", "/x"), [disbelieved, disbelieved])
    assert len(talk.pauses) == 1


def test_whoever_has_until_then_asks_until_then() -> None:
    """A holder renews on: an operator may mend the certificate before the lease is over."""
    talk = Conversation()
    disbelieved = NoAnswer("certificate verify failed", sent=False, for_good=True)
    until = talk.now + 60
    assert talk.play(flows.call(talk.session, "GET", "/x", until=until), [disbelieved] * 3 + [ok(1)]) == 1


def test_the_longest_pause_has_a_limit_and_clients_spread() -> None:
    talk = Conversation()
    assert flows.pause_s(talk.session, 1_000) == flows.PAUSES_S[1]
    talk.session.chance = lambda: 0.99
    assert flows.pause_s(talk.session, 1) == pytest.approx(0.149)


def test_patience_begins_with_the_first_trouble() -> None:
    """A call that was held open for longer than the patience is asked again after a restart, too."""
    talk = Conversation(patience_s=2.0)
    flow = flows.call(talk.session, "POST", "/x", wait_s=25.0)
    assert talk.play(flow, [talk.after(20.0, CUT), ok("again")]) == "again"
    assert [one.timeout_s for one in talk.sent] == [28.0, 28.0]


def test_without_patience_every_address_is_asked_once() -> None:
    """Who leaves in a hurry must not stop at a dead replica."""
    talk = Conversation("http://one", "http://two", "http://three", patience_s=0.0)
    with pytest.raises(Unavailable, match="http://three"):
        talk.play(flows.call(talk.session, "DELETE", "/x"), itertools.repeat(REFUSED))
    assert len(talk.sent) == 3
    assert talk.pauses == []


def test_threads_that_fail_together_move_on_once() -> None:
    talk = Conversation("http://one", "http://two")
    talk.session.move_on("http://one")
    talk.session.move_on("http://one")
    assert talk.session.address == "http://two"


@pytest.mark.parametrize(
    "trouble",
    [
        CUT,
        no(503, "unavailable"),
        no(500, "error"),
        no(429, "too_many_attempts"),
        Answer(502, b"<html>Bad Gateway</html>"),
        Answer(404, b'{"detail": "Not Found"}'),
        Answer(200, b'{"half": '),
        Answer(200, b"<html>Please log in to the hotel's network</html>"),
        Answer(404, b'{"error": "api key mismatch"}'),
    ],
)
def test_trouble_is_asked_again(trouble: Reply) -> None:
    """What is not the service's own word may be better at the next attempt."""
    talk = Conversation()
    assert talk.play(flows.call(talk.session, "PUT", "/x", {"a": 1}), [trouble, ok(1)]) == 1
    first, second = talk.sent
    assert first == second  # the same question, under the same id
    talk = Conversation(patience_s=0.0)
    with pytest.raises(Unavailable):
        talk.play(flows.call(talk.session, "PUT", "/x"), [trouble])


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (no(409, "held", holder="bob"), Held),
        (no(400, "malformed"), Malformed),
        (no(401, "not_authenticated"), NotAuthenticated),
        (no(409, "lease_lost"), LeaseLost),
        (no(409, "of a newer version"), PiclusterError),
    ],
)
def test_a_refusal_is_not_asked_again(answer: Answer, kind: type[PiclusterError]) -> None:
    talk = Conversation()
    with pytest.raises(kind) as refused:
        talk.play(flows.call(talk.session, "GET", "/x"), [answer])
    assert type(refused.value) is kind
    assert refused.value.hint == "do this"
    assert refused.value.details.get("holder") == ("bob" if kind is Held else None)


def test_who_has_no_token_is_told_where_to_put_one() -> None:
    talk = Conversation(token="")
    with pytest.raises(NotAuthenticated) as refused:
        talk.play(flows.call(talk.session, "GET", "/x"), [no(401, "not_authenticated")])
    assert "PICLUSTER_TOKEN" in refused.value.hint


def test_the_service_may_ask_for_a_longer_pause() -> None:
    talk = Conversation()
    busy = Answer(503, no(503, "unavailable").body, retry_after_s=3.0)
    assert talk.play(flows.call(talk.session, "GET", "/x"), [busy, ok(1)]) == 1
    assert talk.pauses == [3.0]


def test_a_pause_beyond_all_patience_is_told_at_once() -> None:
    """Nobody is kept waiting for ten seconds to be told to wait a minute."""
    talk = Conversation()
    guessing = Answer(429, no(429, "too_many_attempts").body, retry_after_s=60.0)
    with pytest.raises(Unavailable, match="too_many_attempts"):
        talk.play(flows.call(talk.session, "GET", "/x"), [guessing])
    assert talk.pauses == []


def test_whether_it_was_sent_is_known_afterwards() -> None:
    for reply, sent in ((REFUSED, False), (CUT, True), (no(503, "unavailable"), True)):
        talk = Conversation(patience_s=0.0)
        with pytest.raises(Unavailable) as stopped:
            talk.play(flows.call(talk.session, "PUT", "/x"), [reply])
        assert flows.may_be_held(stopped.value) is sent
    assert flows.may_be_held(KeyboardInterrupt())
    assert not flows.may_be_held(Held())


def test_names_travel_whole() -> None:
    """Slashes, blanks, letters of any kind, and bytes of a command line that are no text."""
    talk = Conversation()
    with pytest.raises(PiclusterError):
        talk.play(flows.machine(talk.session, "a/b ü\udcff"), [no(404, "not_found")])
    with pytest.raises(PiclusterError):
        talk.play(flows.machines(talk.session, "\udcff&x"), [no(400, "malformed")])
    assert talk.asked[0].endswith("/machines/a%2Fb%20%C3%BC%FF")
    assert "q=%FF%26x&" in talk.asked[1]


# Lists


def test_long_lists_come_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "PAGE", 2)
    rows = [json.loads(a_lease(id=f"id-{number}").body) for number in range(3)]
    talk = Conversation()
    found = talk.play(flows.queue(talk.session), [ok(rows[:2]), ok(rows[2:])])
    assert [one.id for one in found] == ["id-0", "id-1", "id-2"]
    assert talk.asked[1].endswith("/queue?limit=2&after=id-1")


def test_an_answer_of_another_shape_is_named() -> None:
    talk = Conversation()
    with pytest.raises(Unavailable, match="WhoAmI without name"):
        talk.play(flows.whoami(talk.session), [ok({})])


def test_ready_means_one_answer_and_no_other() -> None:
    talk = Conversation()
    talk.play(flows.ready(talk.session), [Answer(200, b"ok\n")])
    for reply in (Answer(200, b"<html>"), Answer(404, b""), no(503, "unavailable"), REFUSED):
        with pytest.raises(Unavailable):
            talk.play(flows.ready(talk.session), [reply])


# Asking for machines


def test_what_is_free_is_had_with_one_question() -> None:
    talk = Conversation()
    granted = talk.play(flows.acquire(talk.session, ID, LeaseRequest("model:pi5")), [a_lease()])
    assert (granted.lease.fence, granted.since) == (7, 1_000.0)
    (sent,) = talk.sent
    assert (sent.method, sent.url) == ("PUT", f"http://one/api/v1/leases/{ID}")
    assert json.loads(sent.body or b"") == {"selector": "model:pi5"}  # what is usual is not said


def test_a_lost_answer_is_the_same_lease() -> None:
    talk = Conversation("http://one", "http://two")
    talk.play(flows.acquire(talk.session, ID, LeaseRequest()), [CUT, a_lease()])
    assert talk.asked == [f"PUT http://one/api/v1/leases/{ID}", f"PUT http://two/api/v1/leases/{ID}"]


def test_waiting_is_renewing_and_a_grant_is_confirmed() -> None:
    """Nothing is used before the service knows that somebody is there for it; restarts are outlasted."""
    talk = Conversation()
    replies = [
        a_lease("waiting", why_waiting="bob has it"),
        talk.after(25.0, a_lease("waiting")),
        talk.after(5.0, CUT),
        *[REFUSED] * 30,
        a_lease(granted_us=6, expires_in_s=30.0),
        a_lease(granted_us=6),
    ]
    granted = talk.play(flows.acquire(talk.session, ID, LeaseRequest()), replies)
    assert granted.lease.expires_in_s == 120.0
    assert talk.asked[1] == f"POST http://one/api/v1/leases/{ID}/renew?wait=25"
    assert talk.asked[-1] == f"POST http://one/api/v1/leases/{ID}/renew"
    assert granted.since == talk.now  # counted from the confirmation, not from when it joined
    assert talk.news[0].why_waiting == "bob has it"
    assert sum(talk.pauses) > 10 * flows.PATIENCE_S


def test_a_grant_that_cannot_be_confirmed_is_not_used() -> None:
    talk = Conversation()
    replies = itertools.chain(
        [a_lease("waiting"), a_lease(granted_us=6, expires_in_s=30.0)], itertools.repeat(REFUSED)
    )
    with pytest.raises(Unavailable) as stopped:
        talk.play(flows.acquire(talk.session, ID, LeaseRequest()), replies)
    assert talk.now == pytest.approx(1_030.0)
    assert flows.may_be_held(stopped.value)


def test_a_board_that_guards_itself_is_waited_for() -> None:
    talk = Conversation()
    replies = [a_lease(mode="enforced", ready=False), a_lease(mode="enforced")]
    granted = talk.play(flows.acquire(talk.session, ID, LeaseRequest()), replies)
    assert granted.lease.ready
    assert talk.asked[1].endswith("/renew?wait=25")


def test_a_timeout_gives_back() -> None:
    talk = Conversation()
    replies = [
        a_lease("waiting"),
        talk.after(4.0, a_lease("waiting", why_waiting="all busy")),
        a_lease("ended"),
    ]
    with pytest.raises(WaitedTooLong, match=r"Waited 4 s without getting a machine\. all busy"):
        talk.play(flows.acquire(talk.session, ID, LeaseRequest(), timeout_s=4.0), replies)
    assert talk.asked[1].endswith("renew?wait=4")
    assert talk.asked[2] == f"DELETE http://one/api/v1/leases/{ID}"


def test_a_timeout_holds_while_nobody_answers() -> None:
    talk = Conversation()
    replies = itertools.chain([a_lease("waiting")], itertools.repeat(REFUSED))
    with pytest.raises(Unavailable):
        talk.play(flows.acquire(talk.session, ID, LeaseRequest(), timeout_s=60.0), replies)
    assert talk.now - 1_000.0 == pytest.approx(60.0 + flows.ANSWER_S)


def test_a_wait_that_ended_says_why() -> None:
    talk = Conversation()
    replies = [a_lease("waiting"), a_lease("ended", ended="released", ended_by="carla")]
    with pytest.raises(LeaseLost, match="given back by carla"):
        talk.play(flows.acquire(talk.session, ID, LeaseRequest()), replies)


# Keeping


def granted(**said: Any) -> flows.Granted:
    return flows.Granted(flows.as_a(LeaseAnswer, json.loads(a_lease(**said).body)), 1_000.0)


def test_a_lease_is_renewed_each_third_of_its_ttl() -> None:
    talk = Conversation()
    with pytest.raises(LeaseLost, match="expired"):
        talk.play(flows.keep(talk.session, granted()), [a_lease(), a_lease(ttl_s=12.0), a_lease("ended")])
    assert talk.pauses == pytest.approx([36.0, 36.0, 3.6])  # nine tenths of it: clients spread
    assert len(talk.news) == 2


def test_a_lease_without_end_is_looked_at() -> None:
    talk = Conversation()
    replies = [a_lease(ttl_s=None), no(409, "lease_lost")]
    with pytest.raises(LeaseLost):
        talk.play(flows.keep(talk.session, granted(ttl_s=None)), replies)
    assert talk.pauses == pytest.approx([27.0, 27.0])


def test_an_advisory_board_is_given_up_before_the_service_does() -> None:
    """Counted from before the last renewal was sent, and a margin earlier: time to stop what runs."""
    talk = Conversation()
    with pytest.raises(LeaseLost, match="No renewal reached the service within 120 s"):
        talk.play(
            flows.keep(talk.session, granted()),
            itertools.chain([talk.after(2.0, a_lease())], itertools.repeat(REFUSED)),
        )
    assert talk.now == pytest.approx(1_036.0 + 120.0 - 6.0)


def test_an_enforced_board_rides_out_an_outage() -> None:
    """Nobody else gets in there without the agent."""
    talk = Conversation()
    outage = [REFUSED] * 200
    with pytest.raises(LeaseLost, match="expired"):
        talk.play(
            flows.keep(talk.session, granted(mode="enforced")),
            [*outage, a_lease(mode="enforced"), a_lease("ended")],
        )
    assert talk.now > 1_000.0 + 5 * 120.0
    assert len(talk.news) == 1


@pytest.mark.parametrize("blip", [Answer(200, b"<html>"), Answer(404, b"no backend"), no(500, "error"), CUT])
def test_one_bad_answer_costs_no_lease(blip: Reply) -> None:
    talk = Conversation()
    with pytest.raises(LeaseLost):
        talk.play(flows.keep(talk.session, granted()), [blip, a_lease(), a_lease("ended")])
    assert len(talk.news) == 1


def test_a_limit_for_others_costs_no_lease() -> None:
    """Somebody behind the same address guesses keys: the renewal waits as long as it may, and is then asked again."""
    talk = Conversation()
    limited = Answer(429, no(429, "too_many_attempts").body, retry_after_s=60.0)
    with pytest.raises(LeaseLost):
        talk.play(flows.keep(talk.session, granted(ttl_s=60.0)), [limited, a_lease(), a_lease("ended")])
    assert len(talk.news) == 1
    assert talk.pauses[1] == pytest.approx(57.0 - 18.0)


def test_any_refusal_to_renew_is_a_lost_lease() -> None:
    talk = Conversation()
    with pytest.raises(LeaseLost, match="cannot be renewed any more: not_authenticated"):
        talk.play(flows.keep(talk.session, granted()), [no(401, "not_authenticated")])


def test_who_slept_asks_once_more_before_giving_up() -> None:
    """A laptop that wakes after its ttl may still be the holder: the service was asleep, too, or is slow to expire."""
    talk = Conversation()
    flow = flows.keep(talk.session, granted())
    next(flow)
    talk.now += 10_000.0
    assert isinstance(flow.send(None), Send)
    assert isinstance(flow.send(a_lease()), flows.News)


@pytest.mark.parametrize(("ttl_s", "margin_s"), [(3.0, 1.5), (10.0, 2.0), (120.0, 6.0)])
def test_the_margin_is_never_more_than_half(ttl_s: float, margin_s: float) -> None:
    assert flows.margin_s(ttl_s) == pytest.approx(margin_s)


# Following


def test_a_stream_may_be_cut_anywhere() -> None:
    stream = b'event: hello\nid: 1.5\ndata: {"a": "\xc3\xbc"}\n\n: comment\nevent: ping\ndata: {}\r\n\r\n'
    whole = [("hello", "1.5", {"a": "ü"}), ("ping", "1.5", {})]
    for size in range(1, len(stream)):
        pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
        assert list(flows.events(pieces)) == whole
