"""Leases over HTTP: asking, waiting, renewing, giving back. Every call may be repeated."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query
from starlette.responses import Response

from picluster.errors import Malformed, NotFound
from picluster.pool.commands import Acquire, Release, Renew
from picluster.pool.explain import outlook
from picluster.pool.leases import resolve
from picluster.pool.model import Lease, LeaseState
from picluster.pool.roster import order_of
from picluster.server.context import Context
from picluster.server.http import encode
from picluster.server.present import lease_answer
from picluster.server.v1.common import InContext, Limit, User, Viewer, Wait, answer
from picluster.wire import (
    LONGEST_SELECTOR,
    MOST_MACHINES,
    Explanation,
    LeaseAnswer,
    LeaseRequest,
    RenewRequest,
    lease_id_problem,
    raise_problems,
    text_problem,
)

router = APIRouter(tags=["leases"])

LeaseId = Annotated[str, Path(description="A UUID that its holder chose")]


@router.put("/leases/{lease_id}", response_model=LeaseAnswer)
async def put_lease(
    lease_id: LeaseId, ask: LeaseRequest, context: InContext, actor: User, wait: Wait = 0
) -> Response:
    """Ask for machines under an id of your own choice; asking again is the same lease."""
    problem = lease_id_problem(lease_id)
    if problem:
        raise Malformed(f"id: {problem}", field="id")
    raise_problems(ask.problems())
    lease = await context.coordinator.ask(
        Acquire(
            by=actor,
            lease=lease_id.lower(),
            asked=hashlib.sha256(encode(ask)).hexdigest(),
            quota=context.settings.quota,
            **{name: getattr(ask, name) for name in LeaseRequest.__slots__},
        )
    )
    return await _held_open(context, lease, wait)


@router.post("/leases/{lease_id}/renew", response_model=LeaseAnswer)
async def renew_lease(
    lease_id: LeaseId,
    context: InContext,
    actor: User,
    ask: Annotated[RenewRequest | None, Body()] = None,
    wait: Wait = 0,
) -> Response:
    """Still there. Renewing while waiting is how one waits."""
    ask = ask or RenewRequest()
    raise_problems(ask.problems())
    lease = await context.coordinator.ask(
        Renew(actor, lease_id.lower(), ask.ttl_s, ask.ssh_public_keys, ask.expect_reboot_s)
    )
    return await _held_open(context, lease, wait)


@router.get("/leases/{lease_id}", response_model=LeaseAnswer)
async def get_lease(lease_id: LeaseId, context: InContext, actor: Viewer) -> Response:
    """Read one lease; reading never renews."""
    return answer(lease_answer(context.view, context.settings.policy, _known(context, lease_id.lower())))


@router.delete("/leases/{lease_id}", response_model=LeaseAnswer)
async def delete_lease(
    lease_id: LeaseId,
    context: InContext,
    actor: User,
    wait: Wait = 0,
    reason: Annotated[str, Query(max_length=255)] = "",
) -> Response:
    """Give the machines back: your own, or as an operator anyone's. Repeating is the same answer; with `wait`, once the
    verdict is there."""
    problem = text_problem(reason)
    if problem:
        raise Malformed(f"reason: {problem}", field="reason")
    lease = await context.coordinator.ask(Release(actor, lease_id.lower(), reason))
    known = context.view.roster.leases
    if wait and lease.awaiting:
        unsettled = ("lease", lease.id)
        await context.hold(wait, True, lambda: bool(known.get(lease.id, lease).awaiting), unsettled)
    return answer(lease_answer(context.view, context.settings.policy, known.get(lease.id, lease)))


@router.get("/leases", response_model=list[LeaseAnswer])
async def list_leases(
    context: InContext,
    actor: Viewer,
    state: LeaseState | None = None,
    holder: str = "",
    machine: str = "",
    limit: Limit = 100,
    after: str = "",
) -> Response:
    """Leases, oldest first; the next page begins behind the lease `after`."""
    start = _in_order(_page_end(context, after)) if after else (0, "")
    wanted = [
        lease
        for lease in sorted(context.view.roster.leases.values(), key=_in_order)
        if _in_order(lease) > start
        and (state is None or lease.state is state)
        and (not holder or lease.holder == holder)
        and (not machine or machine in lease.machines)
    ]
    return answer([lease_answer(context.view, context.settings.policy, lease) for lease in wanted[:limit]])


@router.get("/queue", response_model=list[LeaseAnswer])
async def queue(context: InContext, actor: Viewer, limit: Limit = 100, after: str = "") -> Response:
    """Who waits, in order; the next page begins behind the lease `after`, even if that waits no more."""
    leases: Iterable[Lease] = context.view.waiting()
    if after:
        start = order_of(_page_end(context, after))
        leases = (lease for lease in leases if order_of(lease) > start)
    return answer(
        [lease_answer(context.view, context.settings.policy, lease) for lease in islice(leases, limit)]
    )


@router.get("/explain", response_model=Explanation)
async def explain(
    context: InContext,
    actor: Viewer,
    q: str = "",
    count: Annotated[int, Query(ge=1, le=MOST_MACHINES)] = 1,
) -> Response:
    """What a selector would get now, machine by machine."""
    problem = text_problem(q, LONGEST_SELECTOR)
    if problem:
        raise Malformed(f"q: {problem}", field="q")
    selector = resolve(context.view.roster, q)
    found = outlook(context.view.roster, context.view.roster.group(selector, count))
    return answer(Explanation(selector, len(found.machines), found.machines, found.waiting, found.summary()))


def _in_order(lease: Lease) -> tuple[int, str]:
    return (lease.place, lease.id)


def _page_end(context: Context, lease_id: str) -> Lease:
    """The last lease of the page before, whatever has become of it: its place never changes."""
    lease = context.view.roster.leases.get(lease_id.lower())
    if lease is None:
        raise Malformed(
            "after: no lease has this id any more.", "Begin again without `after`.", field="after"
        )
    return lease


def _known(context: Context, lease_id: str) -> Lease:
    lease = context.view.roster.leases.get(lease_id)
    if lease is None:
        raise NotFound(
            "No lease has this id.",
            "Ended leases are remembered for a day; `GET /history` goes further back.",
        )
    return lease


async def _held_open(context: Context, lease: Lease, wait_s: float) -> Response:
    """Answer now, or, while nothing has come of it yet, when something does."""
    view = context.view

    def current() -> Lease:
        return view.roster.leases.get(lease.id, lease)

    pending = lease.state is LeaseState.WAITING or (lease.state is LeaseState.HELD and not lease.ready)
    if wait_s and pending:
        await context.hold(wait_s, _shown(lease), lambda: _shown(current()), ("lease", lease.id))
    return answer(lease_answer(view, context.settings.policy, current()))


def _shown(lease: Lease) -> tuple[object, ...]:
    """A held-open call ends early only when this changes, so that one release wakes one waiter."""
    return (lease.state, lease.ready, lease.machines)
