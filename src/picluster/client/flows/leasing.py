"""A lease from asking to giving back: the turn that is waited for, renewals, and when it counts as lost."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NoReturn

from picluster.client.flows.calls import (
    ANSWER_S,
    FOR_EVER,
    PATIENCE_S,
    Flow,
    News,
    Pause,
    Session,
    as_a,
    call,
)
from picluster.errors import LeaseLost, PiclusterError, Unavailable, WaitedTooLong
from picluster.wire import LONGEST_WAIT_S, LeaseAnswer, LeaseRequest

RENEW_SHARE = 1 / 3
"""A lease is renewed each third of its ttl: two renewals may be lost."""

MARGIN_S, MARGIN_SHARE = 2.0, 0.05
"""So long before its ttl is over, a lease without an answer is considered lost: time to stop what runs."""

LOOK_EVERY_S = 30.0
"""A lease without an end needs no renewal; its holder looks whether somebody took it back."""


@dataclass(frozen=True, slots=True)
class Granted:
    """A lease that is held and ready, and the session's clock from before that was asked for."""

    lease: LeaseAnswer
    since: float


def lease(session: Session, lease_id: str) -> Flow[LeaseAnswer]:
    return as_a(LeaseAnswer, (yield from call(session, "GET", f"/api/v1/leases/{lease_id}")))


def ask(session: Session, lease_id: str, request: LeaseRequest, wait_s: float = 0.0) -> Flow[LeaseAnswer]:
    """Ask for machines, or ask again; held or waiting. Raises what the service refuses with."""
    path = f"/api/v1/leases/{lease_id}"
    usual = asdict(LeaseRequest())  # left out: an older service need not know what is not asked for
    said = {name: value for name, value in asdict(request).items() if value != usual[name]}
    return as_a(LeaseAnswer, (yield from call(session, "PUT", path, said, wait_s=wait_s)))


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
    return as_a(
        LeaseAnswer, (yield from call(session, "POST", path, changes or None, wait_s=wait_s, until=until))
    )


def release(session: Session, lease_id: str, reason: str = "", wait_s: float = 0.0) -> Flow[LeaseAnswer]:
    """Give it back; the lease as it ended."""
    path = f"/api/v1/leases/{lease_id}"
    return as_a(
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
