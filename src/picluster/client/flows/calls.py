"""One call: sent until it is answered, at each address in turn, and what its answer means."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from picluster.client.reading import Unreadable, read
from picluster.client.where import Where
from picluster.errors import BY_CODE, NotAuthenticated, PiclusterError, Unavailable
from picluster.wire import LeaseAnswer

T = TypeVar("T")

ANSWER_S = 3.0
"""A call that may be held open for `wait` seconds is given up so much later."""

PATIENCE_S = 10.0
"""How long an unanswered call is repeated before it fails: a restart of the service takes less."""

PAUSES_S = (0.1, 5.0)
"""First and longest pause when no address answers; doubled in between, and jittered so that clients spread."""

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
    for_good: bool = False
    """It will be the same the next time, as with a certificate that is not believed."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for a while; `because`, if nobody answered, for whoever watches."""

    seconds: float
    because: PiclusterError | None = None


@dataclass(frozen=True, slots=True)
class News:
    """How a lease stands, for whoever watches."""

    lease: LeaseAnswer


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
    trouble is over or no address will ever answer, but not before every one was tried. Raises at once whatever the
    service refuses with.
    """
    give_up, sent, in_vain = until, False, 0
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
        in_vain = in_vain + 1 if isinstance(answer, NoAnswer) and answer.for_good else 0
        problem.details["sent"] = sent
        session.move_on(address)
        everywhere = attempt % len(session.where.addresses) == 0
        if give_up is None:
            give_up = session.clock() + session.patience_s
        left = give_up - session.clock()
        if left <= 0 and (everywhere or until is not None):
            raise problem
        if until is None and in_vain >= len(session.where.addresses):
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


def quoted(name: str) -> str:
    """As one part of a path; a command line may carry bytes that are no text."""
    return quote(name, safe="", errors="surrogateescape")


def _number(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def as_a(kind: type[T], value: Any) -> T:
    try:
        return read(kind, value)
    except Unreadable as problem:
        raise Unavailable(
            f"The service answered something that cannot be read: {problem}.",
            "Client and service may be of different versions: `picluster doctor` says.",
        ) from None
