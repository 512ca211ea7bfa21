"""The conversation with a pool, without I/O: what is sent, in what order, and what the answers mean.

A flow is a generator. It yields `Send` and is given an `Answer` or `NoAnswer`; it yields `Pause` and `News`
and is given nothing; what it returns is the result. `sync.py` and `aio.py` each carry flows out, and nothing
of what is decided here is decided there again.

Every request may be repeated, so a lost answer is no problem: it is asked for again, at the next address.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote, urlencode

from picluster.client.reading import Unreadable, read
from picluster.client.where import Where
from picluster.errors import (
    BY_CODE,
    LeaseLost,
    NotAuthenticated,
    PiclusterError,
    Unavailable,
    WaitedTooLong,
)
from picluster.wire import (
    LONGEST_WAIT_S,
    EventAnswer,
    Explanation,
    LeaseAnswer,
    LeaseRequest,
    MachineAnswer,
    PersonAnswer,
    PowerAnswer,
    SampleAnswer,
    TokenAnswer,
    WebhookAnswer,
    WebhookTest,
    WhoAmI,
)

T = TypeVar("T")

ANSWER_S = 3.0
"""A call that may be held open for `wait` seconds is given up so much later."""

PATIENCE_S = 10.0
"""How long an unanswered call is repeated before it fails: a restart of the service takes less."""

PAUSES_S = (0.1, 5.0)
"""First and longest pause when no address answers; doubled in between, and jittered so that clients spread."""

RENEW_SHARE = 1 / 3
"""A lease is renewed each third of its ttl: two renewals may be lost."""

MARGIN_S, MARGIN_SHARE = 2.0, 0.05
"""So long before its ttl is over, a lease without an answer is considered lost: time to stop what runs."""

LOOK_EVERY_S = 30.0
"""A lease without an end needs no renewal; its holder looks whether somebody took it back."""

FOR_EVER = float("inf")


@dataclass(frozen=True, slots=True)
class Send:
    """A request to be sent: the body, if any, as JSON."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole."""

    status: int
    body: bytes
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Nothing came back, or half of it; whether it was done cannot be known, unless it was not even sent."""

    why: str
    sent: bool = True


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for a while; `because`, if nobody answered, for whoever watches."""

    seconds: float
    because: PiclusterError | None = None


@dataclass(frozen=True, slots=True)
class News:
    """How a lease stands, for whoever watches."""

    lease: LeaseAnswer


@dataclass(frozen=True, slots=True)
class Granted:
    """A lease that is held and ready, and the session's clock from before that was asked for."""

    lease: LeaseAnswer
    since: float


Step = Send | Pause | News
Flow = Generator[Step, Answer | NoAnswer | None, T]


@dataclass
class Session:
    """One client: where the pool is, which of its addresses answered last, and the clock and chance it uses."""

    where: Where
    patience_s: float = PATIENCE_S
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    _current: int = field(default=0, init=False)

    @property
    def address(self) -> str:
        return self.where.addresses[self._current % len(self.where.addresses)]

    def move_on(self, failed: str) -> None:
        """The next address, please; unless another thread has left the one that failed already."""
        if self.address == failed:
            self._current += 1


# One call


def call(
    session: Session,
    method: str,
    path: str,
    body: object = None,
    *,
    wait_s: float = 0.0,
    until: float | None = None,
    query: Mapping[str, object] | None = None,
) -> Flow[Any]:
    """Send until it is answered, at each address in turn; the decoded answer.

    Gives up at `until` on the session's clock with `Unavailable`; else when its patience since the first
    trouble is over, but not before every address was tried. Raises at once whatever the service refuses with.
    """
    give_up, sent = until, False
    target = path + _query({"wait": _number(wait_s) if wait_s else "", **(query or {})})
    payload = None if body is None else json.dumps(body).encode()
    for attempt in range(1, 1_000_000):
        left = FOR_EVER if until is None else until - session.clock()
        timeout_s = min(wait_s + ANSWER_S, max(left, 1.0))
        address = session.address
        answer = yield Send(method, address + target, session.where.headers, payload, timeout_s)
        assert isinstance(answer, Answer | NoAnswer)
        try:
            return _decoded(address, session, answer)
        except Unavailable as trouble:
            problem = trouble
        sent = sent or not isinstance(answer, NoAnswer) or answer.sent
        problem.details["sent"] = sent
        session.move_on(address)
        everywhere = attempt % len(session.where.addresses) == 0
        if give_up is None:
            give_up = session.clock() + session.patience_s
        left = give_up - session.clock()
        if left <= 0 and (everywhere or until is not None):
            raise problem
        if everywhere:
            asked_s = answer.retry_after_s if isinstance(answer, Answer) else 0.0
            if until is None and asked_s > left:
                raise problem
            yield Pause(min(max(pause_s(session, attempt), asked_s), left), problem)
    raise AssertionError("a million attempts")


def pause_s(session: Session, attempt: int) -> float:
    """How long to wait after this many attempts without an answer."""
    first, longest = PAUSES_S
    rounds = (attempt - 1) // len(session.where.addresses)
    return min(longest, first * 2.0 ** min(rounds, 10)) * (0.5 + session.chance())


def _decoded(address: str, session: Session, answer: Answer | NoAnswer) -> Any:
    """The JSON of an answer. Raises `Unavailable` for what is to be asked again, else the refusal."""
    if isinstance(answer, NoAnswer):
        raise silence(address, answer.why)
    if answer.status >= 400:
        raise refusal(address, session, answer)
    try:
        return json.loads(answer.body)
    except ValueError:
        raise _stranger(address, answer) from None


def refusal(address: str, session: Session, answer: Answer) -> PiclusterError:
    """The error that the service sent, as the class that its code names."""
    try:
        said = json.loads(answer.body)["error"]
        details = {key: value for key, value in said.items() if key not in ("code", "message", "hint")}
        kind = BY_CODE.get(said["code"], PiclusterError)
        if answer.status in (429, *range(500, 600)):  # whatever it is called: not now, perhaps later
            kind = Unavailable
        problem = kind(str(said["message"]), str(said.get("hint") or ""))
        problem.details = details
    except (ValueError, LookupError, TypeError, AttributeError):
        return _stranger(address, answer)
    if type(problem) is NotAuthenticated and not session.where.token:
        problem.hint = "Set PICLUSTER_TOKEN (or RPI_APIKEY), or run `picluster login`."
    return problem


def silence(address: str, why: str) -> Unavailable:
    return Unavailable(
        f"No answer from {address}: {why.rstrip('.')}.",
        "Is it running, and is the address right? `picluster doctor` looks closer.",
    )


def _stranger(address: str, answer: Answer) -> Unavailable:
    """A proxy, another program, or half an answer: it may be better the next time, or at the next address."""
    said = answer.body[:60].decode("utf-8", "replace").strip().splitlines()
    return Unavailable(
        f"{address} answered {answer.status} with something that is not picluster's"
        + (f": {said[0]!r}." if said else "."),
        "Is the address right, and is there a proxy between? `picluster doctor` looks closer.",
    )


def _query(items: Mapping[str, object]) -> str:
    said = {key: str(value) for key, value in items.items() if value not in ("", None)}
    return f"?{urlencode(said, errors='surrogateescape')}" if said else ""


def _quoted(name: str) -> str:
    """As one part of a path; a command line may carry bytes that are no text."""
    return quote(name, safe="", errors="surrogateescape")


def _number(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _as(kind: type[T], value: Any) -> T:
    try:
        return read(kind, value)
    except Unreadable as problem:
        raise Unavailable(
            f"The service answered something that cannot be read: {problem}.",
            "Client and service may be of different versions: `picluster doctor` says.",
        ) from None


# Reading


def whoami(session: Session) -> Flow[WhoAmI]:
    return _as(WhoAmI, (yield from call(session, "GET", "/api/v1/whoami")))


def ready(session: Session) -> Flow[None]:
    """Raises unless the present address is a service that takes turns."""
    address = session.address
    answer = yield Send("GET", f"{address}/readyz", {}, None, ANSWER_S)
    assert isinstance(answer, Answer | NoAnswer)
    if isinstance(answer, NoAnswer):
        raise silence(address, answer.why)
    if (answer.status, answer.body) != (200, b"ok\n"):
        raise refusal(address, session, answer)


def machines(session: Session, q: str = "") -> Flow[list[MachineAnswer]]:
    return (yield from _pages(session, MachineAnswer, "/api/v1/machines", lambda row: row.name, q=q))


def machine(session: Session, name: str) -> Flow[MachineAnswer]:
    return _as(MachineAnswer, (yield from call(session, "GET", f"/api/v1/machines/{_quoted(name)}")))


def leases(session: Session, state: str = "", holder: str = "", machine: str = "") -> Flow[list[LeaseAnswer]]:
    asked = {"state": state, "holder": holder, "machine": machine}
    return (yield from _pages(session, LeaseAnswer, "/api/v1/leases", lambda row: row.id, **asked))


def queue(session: Session) -> Flow[list[LeaseAnswer]]:
    return (yield from _pages(session, LeaseAnswer, "/api/v1/queue", lambda row: row.id))


def explain(session: Session, q: str, count: int = 1) -> Flow[Explanation]:
    return _as(
        Explanation, (yield from call(session, "GET", "/api/v1/explain", query={"q": q, "count": count}))
    )


def history(session: Session, limit: int, **filters: object) -> Flow[list[EventAnswer]]:
    """The newest `limit` events that pass the filters, newest first."""
    found: list[EventAnswer] = []
    after: object = ""
    while len(found) < limit:
        ask = min(PAGE, limit - len(found))
        query = {**filters, "limit": ask, "after": after}
        page = yield from call(session, "GET", "/api/v1/history", query=query)
        found += [_as(EventAnswer, row) for row in page]
        if len(page) < ask:
            break
        after = found[-1].id.partition(".")[2]
    return found[:limit]


PAGE = 1_000
"""Rows asked for at once: the most that a service answers."""


def _pages(
    session: Session, kind: type[T], path: str, key: Callable[[T], str], **query: object
) -> Flow[list[T]]:
    found: list[T] = []
    after = ""
    while True:
        page = yield from call(session, "GET", path, query={**query, "limit": PAGE, "after": after})
        found += [_as(kind, row) for row in page]
        if len(page) < PAGE:
            return found
        after = key(found[-1])


# Changing


def amend(session: Session, name: str, **changes: object) -> Flow[MachineAnswer]:
    path = f"/api/v1/machines/{_quoted(name)}"
    return _as(MachineAnswer, (yield from call(session, "PATCH", path, changes)))


def forget(session: Session, name: str) -> Flow[None]:
    yield from call(session, "DELETE", f"/api/v1/machines/{_quoted(name)}")


def power(session: Session, name: str, action: str) -> Flow[PowerAnswer]:
    """Switch a machine's power, and wait until that is over."""
    path = f"/api/v1/machines/{_quoted(name)}/power"
    while True:
        said = yield from call(session, "POST", path, {"action": action}, wait_s=LONGEST_WAIT_S)
        answer = _as(PowerAnswer, said)
        if not answer.running:
            return answer


def samples(session: Session, name: str, **query: object) -> Flow[list[SampleAnswer]]:
    """How a board was, oldest first: `since` and `until` in µs, `limit`."""
    path = f"/api/v1/machines/{_quoted(name)}/samples"
    return [_as(SampleAnswer, row) for row in (yield from call(session, "GET", path, query=query))]


def tokens(session: Session) -> Flow[list[TokenAnswer]]:
    return (yield from _pages(session, TokenAnswer, "/api/v1/tokens", lambda row: row.id))


def make_token(session: Session, **ask: object) -> Flow[TokenAnswer]:
    return _as(TokenAnswer, (yield from call(session, "POST", "/api/v1/tokens", ask)))


def revoke_token(session: Session, token_id: str) -> Flow[TokenAnswer]:
    return _as(TokenAnswer, (yield from call(session, "DELETE", f"/api/v1/tokens/{_quoted(token_id)}")))


# People


def login(session: Session, name: str, password: str, label: str = "") -> Flow[TokenAnswer]:
    said = {"name": name, "password": password, "label": label}
    return _as(TokenAnswer, (yield from call(session, "POST", "/api/v1/login", said)))


def people(session: Session) -> Flow[list[PersonAnswer]]:
    return (yield from _pages(session, PersonAnswer, "/api/v1/people", lambda row: row.name))


def add_person(session: Session, **ask: object) -> Flow[PersonAnswer]:
    return _as(PersonAnswer, (yield from call(session, "POST", "/api/v1/people", ask)))


def amend_person(session: Session, name: str, **changes: object) -> Flow[PersonAnswer]:
    path = f"/api/v1/people/{_quoted(name)}"
    return _as(PersonAnswer, (yield from call(session, "PATCH", path, changes)))


def forget_person(session: Session, name: str) -> Flow[PersonAnswer]:
    return _as(PersonAnswer, (yield from call(session, "DELETE", f"/api/v1/people/{_quoted(name)}")))


# Webhooks


def webhooks(session: Session) -> Flow[list[WebhookAnswer]]:
    return (yield from _pages(session, WebhookAnswer, "/api/v1/webhooks", lambda row: row.name))


def add_webhook(session: Session, **ask: object) -> Flow[WebhookAnswer]:
    return _as(WebhookAnswer, (yield from call(session, "POST", "/api/v1/webhooks", ask)))


def amend_webhook(session: Session, name: str, **changes: object) -> Flow[WebhookAnswer]:
    path = f"/api/v1/webhooks/{_quoted(name)}"
    return _as(WebhookAnswer, (yield from call(session, "PATCH", path, changes)))


def forget_webhook(session: Session, name: str) -> Flow[WebhookAnswer]:
    return _as(WebhookAnswer, (yield from call(session, "DELETE", f"/api/v1/webhooks/{_quoted(name)}")))


def test_webhook(session: Session, name: str) -> Flow[WebhookTest]:
    path = f"/api/v1/webhooks/{_quoted(name)}/test"
    return _as(WebhookTest, (yield from call(session, "POST", path, wait_s=LONGEST_WAIT_S)))


# Leases


def lease(session: Session, lease_id: str) -> Flow[LeaseAnswer]:
    return _as(LeaseAnswer, (yield from call(session, "GET", f"/api/v1/leases/{lease_id}")))


def ask(session: Session, lease_id: str, request: LeaseRequest, wait_s: float = 0.0) -> Flow[LeaseAnswer]:
    """Ask for machines, or ask again; held or waiting. Raises what the service refuses with."""
    path = f"/api/v1/leases/{lease_id}"
    usual = asdict(LeaseRequest())  # left out: an older service need not know what is not asked for
    said = {name: value for name, value in asdict(request).items() if value != usual[name]}
    return _as(LeaseAnswer, (yield from call(session, "PUT", path, said, wait_s=wait_s)))


def acquire(
    session: Session, lease_id: str, request: LeaseRequest, timeout_s: float | None = None
) -> Flow[Granted]:
    """Ask, wait for the turn, and confirm: afterwards the lease is held, and ready to be used.

    Tells how it stands with `News`. Raises what the service refuses with, `WaitedTooLong` after `timeout_s`
    (the lease is given back then), `LeaseLost` when it ended meanwhile. Whoever stops the flow in the middle
    has to `release`.
    """
    started = session.clock()
    lease = yield from ask(session, lease_id, request)  # not held open: whoever waits is told so at once
    try:
        return (yield from _own_turn(session, lease, started, timeout_s))
    except Unavailable as problem:
        problem.details["sent"] = True  # the question, if not the last renewal
        raise


def _own_turn(session: Session, lease: LeaseAnswer, started: float, timeout_s: float | None) -> Flow[Granted]:
    since, end = started, FOR_EVER if timeout_s is None else started + timeout_s
    while lease.state == "waiting" or (lease.state == "held" and not lease.ready):
        yield News(lease)
        if session.clock() >= end:
            yield from release(session, lease.id)
            raise _too_long(lease, session.clock() - started)
        since = session.clock()
        lease = yield from renew(session, lease.id, wait_s=_open_for(session, end), until=end + ANSWER_S)
    if lease.state == "ended":
        raise _lost(lease)
    if lease.granted_us != lease.joined_us:  # after waiting: the board is kept only for who shows up
        since = session.clock()
        lease = yield from renew(session, lease.id, until=since + (lease.expires_in_s or PATIENCE_S))
    return Granted(lease, since)


def may_be_held(stopped: BaseException) -> bool:
    """Whether asking for machines may have got some, although it ended like this."""
    if isinstance(stopped, Unavailable):
        return bool(stopped.details.get("sent", True))
    return not isinstance(stopped, PiclusterError)


PERHAPS_HELD = (
    "The service could not be told to forget it: you may hold a machine. `picluster list --me` shows it."
)


def _open_for(session: Session, end: float) -> float:
    return max(0.0, min(LONGEST_WAIT_S, end - session.clock()))


def _too_long(lease: LeaseAnswer, waited_s: float) -> WaitedTooLong:
    why = f" {lease.why_waiting}" if lease.why_waiting else ""
    return WaitedTooLong(
        f"Waited {waited_s:.0f} s without getting a machine.{why}",
        "`picluster queue` shows who waits; a wider selector may be served sooner.",
    )


def renew(
    session: Session,
    lease_id: str,
    *,
    wait_s: float = 0.0,
    until: float | None = None,
    **changes: object,
) -> Flow[LeaseAnswer]:
    """Still there; with `ttl_s`, `ssh_public_keys` or `expect_reboot_s`: and from now on like this."""
    path = f"/api/v1/leases/{lease_id}/renew"
    return _as(
        LeaseAnswer, (yield from call(session, "POST", path, changes or None, wait_s=wait_s, until=until))
    )


def release(session: Session, lease_id: str, reason: str = "", wait_s: float = 0.0) -> Flow[LeaseAnswer]:
    """Give it back; the lease as it ended."""
    path = f"/api/v1/leases/{lease_id}"
    return _as(
        LeaseAnswer, (yield from call(session, "DELETE", path, wait_s=wait_s, query={"reason": reason}))
    )


def keep(session: Session, granted: Granted) -> Flow[NoReturn]:
    """Renew until it is lost, which is what this raises: `LeaseLost`. Tells each renewal with `News`.

    A holder counts from before the last successful renewal was sent; where no agent guards the board, it
    gives up before the service does.
    """
    lease, since = granted.lease, granted.since
    while True:
        ttl_s = lease.ttl_s
        yield Pause((LOOK_EVERY_S if ttl_s is None else ttl_s * RENEW_SHARE) * (0.8 + 0.2 * session.chance()))
        before = session.clock()
        guarded = all(machine.mode == "enforced" for machine in lease.machines)
        until = FOR_EVER if ttl_s is None or guarded else since + ttl_s - margin_s(ttl_s)
        try:
            lease = yield from renew(session, lease.id, until=until)
        except LeaseLost:
            raise
        except Unavailable as problem:
            raise LeaseLost(
                f"No renewal reached the service within {ttl_s:g} s: {problem.message}",
                "Somebody else may have the machine now.",
            ) from None
        except PiclusterError as problem:
            raise LeaseLost(f"It cannot be renewed any more: {problem.message}", problem.hint) from None
        if lease.state == "ended":
            raise _lost(lease)
        since = before
        yield News(lease)


def margin_s(ttl_s: float) -> float:
    """How long before its end a holder without an answer stops."""
    return min(max(MARGIN_S, ttl_s * MARGIN_SHARE), ttl_s / 2)


def lost_before(released: LeaseAnswer) -> LeaseLost | None:
    """Whether a lease that was to be given back had ended already: then it was somebody else's for a while, unnoticed."""
    given_back = released.ended in ("released", "cancelled", "")
    return None if given_back else _lost(released)


def _lost(lease: LeaseAnswer) -> LeaseLost:
    return LeaseLost.because(lease.ended, lease.ended_by, lease.holder)


# Following


class EventReader:
    """Server-sent events out of pieces of a stream, wherever it is cut."""

    def __init__(self) -> None:
        self._rest = b""
        self._kind = self._id = self._data = ""

    def feed(self, piece: bytes) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """The events that are complete with this piece: (kind, id, data)."""
        *whole, self._rest = (self._rest + piece).split(b"\n")
        for line in whole:
            yield from self._line(line.decode("utf-8", "replace").rstrip("\r"))

    def _line(self, line: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
        field, _, value = line.partition(": ")
        if field == "event":
            self._kind = value
        elif field == "id":
            self._id = value
        elif field == "data":
            self._data = value
        elif not line and self._kind:
            yield self._kind, self._id, json.loads(self._data or "{}")
            self._kind = self._data = ""


def events(pieces: Iterable[bytes]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """All events of a stream: (kind, id, data)."""
    reader = EventReader()
    for piece in pieces:
        yield from reader.feed(piece)


class Following:
    """Where one is in the stream of what changes, over any number of broken streams."""

    KIND = "text/event-stream"

    def __init__(self, session: Session) -> None:
        self._session = session
        self._after = ""
        self._failures = 0
        self._reader = EventReader()

    def path(self) -> str:
        """Where to go on, with a new stream."""
        self._reader = EventReader()
        return "/api/v1/events" + (f"?after={self._after}" if self._after else "")

    def feed(self, piece: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
        """What is news in this piece: (kind, row)."""
        for kind, event_id, data in self._reader.feed(piece):
            known, self._after, self._failures = self._after, event_id or self._after, 0
            if kind != "ping" and not (kind == "hello" and known):
                yield kind, data

    def broke(self, problem: Exception) -> None:
        """A stream that has never begun is tried twice; then this raises what is wrong."""
        self._failures += 1
        if not self._after and self._failures > 1:
            raise problem

    def pause_s(self) -> float:
        """How long to wait before the next stream."""
        return pause_s(self._session, max(1, self._failures))
