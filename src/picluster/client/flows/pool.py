"""The pool read and changed, a call or a few each."""

from __future__ import annotations

from collections.abc import Callable

from picluster.client.flows.calls import (
    ANSWER_S,
    Answer,
    Flow,
    NoAnswer,
    Send,
    Session,
    T,
    as_a,
    call,
    quoted,
    refusal,
    silence,
)
from picluster.wire import (
    LONGEST_WAIT_S,
    EventAnswer,
    Explanation,
    LeaseAnswer,
    MachineAnswer,
    PersonAnswer,
    PowerAnswer,
    SampleAnswer,
    TokenAnswer,
    WebhookAnswer,
    WebhookTest,
    WhoAmI,
)

PAGE = 1_000
"""Rows asked for at once: the most that a service answers."""


# Reading


def whoami(session: Session) -> Flow[WhoAmI]:
    return as_a(WhoAmI, (yield from call(session, "GET", "/api/v1/whoami")))


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
    return as_a(MachineAnswer, (yield from call(session, "GET", f"/api/v1/machines/{quoted(name)}")))


def leases(session: Session, state: str = "", holder: str = "", machine: str = "") -> Flow[list[LeaseAnswer]]:
    asked = {"state": state, "holder": holder, "machine": machine}
    return (yield from _pages(session, LeaseAnswer, "/api/v1/leases", lambda row: row.id, **asked))


def queue(session: Session) -> Flow[list[LeaseAnswer]]:
    return (yield from _pages(session, LeaseAnswer, "/api/v1/queue", lambda row: row.id))


def explain(session: Session, q: str, count: int = 1) -> Flow[Explanation]:
    return as_a(
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
        found += [as_a(EventAnswer, row) for row in page]
        if len(page) < ask:
            break
        after = found[-1].id.partition(".")[2]
    return found[:limit]


def _pages(
    session: Session, kind: type[T], path: str, key: Callable[[T], str], **query: object
) -> Flow[list[T]]:
    found: list[T] = []
    after = ""
    while True:
        page = yield from call(session, "GET", path, query={**query, "limit": PAGE, "after": after})
        found += [as_a(kind, row) for row in page]
        if len(page) < PAGE:
            return found
        after = key(found[-1])


# Changing


def amend(session: Session, name: str, **changes: object) -> Flow[MachineAnswer]:
    path = f"/api/v1/machines/{quoted(name)}"
    return as_a(MachineAnswer, (yield from call(session, "PATCH", path, changes)))


def forget(session: Session, name: str) -> Flow[None]:
    yield from call(session, "DELETE", f"/api/v1/machines/{quoted(name)}")


def power(session: Session, name: str, action: str) -> Flow[PowerAnswer]:
    """Switch a machine's power, and wait until that is over."""
    path = f"/api/v1/machines/{quoted(name)}/power"
    while True:
        said = yield from call(session, "POST", path, {"action": action}, wait_s=LONGEST_WAIT_S)
        answer = as_a(PowerAnswer, said)
        if not answer.running:
            return answer


def samples(session: Session, name: str, **query: object) -> Flow[list[SampleAnswer]]:
    """How a board was, oldest first: `since` and `until` in µs, `limit`."""
    path = f"/api/v1/machines/{quoted(name)}/samples"
    return [as_a(SampleAnswer, row) for row in (yield from call(session, "GET", path, query=query))]


def tokens(session: Session) -> Flow[list[TokenAnswer]]:
    return (yield from _pages(session, TokenAnswer, "/api/v1/tokens", lambda row: row.id))


def make_token(session: Session, **ask: object) -> Flow[TokenAnswer]:
    return as_a(TokenAnswer, (yield from call(session, "POST", "/api/v1/tokens", ask)))


def revoke_token(session: Session, token_id: str) -> Flow[TokenAnswer]:
    return as_a(TokenAnswer, (yield from call(session, "DELETE", f"/api/v1/tokens/{quoted(token_id)}")))


# People


def login(session: Session, name: str, password: str, label: str = "") -> Flow[TokenAnswer]:
    said = {"name": name, "password": password, "label": label}
    return as_a(TokenAnswer, (yield from call(session, "POST", "/api/v1/login", said)))


def people(session: Session) -> Flow[list[PersonAnswer]]:
    return (yield from _pages(session, PersonAnswer, "/api/v1/people", lambda row: row.name))


def add_person(session: Session, **ask: object) -> Flow[PersonAnswer]:
    return as_a(PersonAnswer, (yield from call(session, "POST", "/api/v1/people", ask)))


def amend_person(session: Session, name: str, **changes: object) -> Flow[PersonAnswer]:
    path = f"/api/v1/people/{quoted(name)}"
    return as_a(PersonAnswer, (yield from call(session, "PATCH", path, changes)))


def forget_person(session: Session, name: str) -> Flow[PersonAnswer]:
    return as_a(PersonAnswer, (yield from call(session, "DELETE", f"/api/v1/people/{quoted(name)}")))


# Webhooks


def webhooks(session: Session) -> Flow[list[WebhookAnswer]]:
    return (yield from _pages(session, WebhookAnswer, "/api/v1/webhooks", lambda row: row.name))


def add_webhook(session: Session, **ask: object) -> Flow[WebhookAnswer]:
    return as_a(WebhookAnswer, (yield from call(session, "POST", "/api/v1/webhooks", ask)))


def amend_webhook(session: Session, name: str, **changes: object) -> Flow[WebhookAnswer]:
    path = f"/api/v1/webhooks/{quoted(name)}"
    return as_a(WebhookAnswer, (yield from call(session, "PATCH", path, changes)))


def forget_webhook(session: Session, name: str) -> Flow[WebhookAnswer]:
    return as_a(WebhookAnswer, (yield from call(session, "DELETE", f"/api/v1/webhooks/{quoted(name)}")))


def test_webhook(session: Session, name: str) -> Flow[WebhookTest]:
    path = f"/api/v1/webhooks/{quoted(name)}/test"
    return as_a(WebhookTest, (yield from call(session, "POST", path, wait_s=LONGEST_WAIT_S)))
