"""The queue: who waits for what, why and how long still; and what is held, by its end."""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from markupsafe import Markup
from starlette.responses import Response

from picluster.errors import Conflict, Malformed, NotFound, PiclusterError
from picluster.pool.commands import Release
from picluster.pool.explain import FREE, LOCKED, SET_ASIDE, outlook, state_of
from picluster.pool.leases import PRIORITIES, resolve
from picluster.pool.model import Actor, Lease, LeaseState, Role
from picluster.pool.roster import Roster
from picluster.pool.selector import parse
from picluster.server.context import Context
from picluster.server.pages import forms
from picluster.server.pages.endings import renews_itself
from picluster.server.pages.estimate import Estimate, estimates, rest_of
from picluster.server.pages.forms import Form
from picluster.server.pages.frame import done, page
from picluster.server.pages.leasing import LENGTHS, USUAL, asked_for, granted, waiting_already
from picluster.server.pages.reasons import Now, why
from picluster.server.pages.viewer import Viewer, known_viewer
from picluster.server.v1.common import InContext
from picluster.server.words import less_than, listed, moment, ticking
from picluster.wire import LONGEST_SELECTOR, MOST_MACHINES, Report, text_problem

router = APIRouter(include_in_schema=False)

MOST_WAITERS = 100
"""On one page; nobody far down looks every minute, and each costs a walk over its machines."""

MOST_BARS = 200
MOST_CELLS = 24
"""More machines would not fit beside their number."""

SPANS = {"1h": (3_600, 6), "6h": (21_600, 6), "24h": (86_400, 6)}
"""Of the chart: seconds, and into how many parts the lines cut it."""

USUAL_SPAN = "6h"
USUAL_DAYS = 7
PRIORITY_WORDS = ("lets others pass", "as usual", "before the usual", "first")


@dataclass(frozen=True, slots=True)
class Waiter:
    """One row of the queue."""

    place: int
    lease: Lease
    mine: bool
    cells: list[str]
    """The states of what would do; empty where they are too many."""
    matching: int
    free: int
    aside: int
    why: Markup
    estimate: Markup
    first: str
    """Which machines it will be."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One lease in the chart."""

    names: str
    link: str
    lease: Lease
    mine: bool
    shape: str
    """`fixed`, `renews`, or `open`."""
    share: float
    """Of the width, in percent."""
    over: bool
    """It goes on beyond the edge."""
    soon: bool
    rest: Markup


@router.get("/queue")
async def queue_page(request: Request, context: InContext, span: str = USUAL_SPAN) -> Response:
    """Who waits, in order; below it the leases by their end, as far as the address says: `span`."""
    viewer = known_viewer(request)
    span = span if span in SPANS else USUAL_SPAN
    now = Now(viewer.name, context.view.now(), context.wall_us())
    waiting = list(context.view.waiting())
    bars = coming_free(context, viewer, now, SPANS[span][0])
    return page(
        request,
        "queue.html",
        viewer=viewer,
        waiters=waiters(context, waiting[:MOST_WAITERS], now),
        total=len(waiting),
        longest=min((lease.joined_us for lease in waiting), default=0),
        usually=usually(await context.reports.soon(context, USUAL_DAYS)),
        bars=bars[:MOST_BARS],
        leases=len(bars),
        machines=sum(len(bar.lease.machines) for bar in bars),
        span=span,
        spans=[(key, key.replace("h", " h")) for key in SPANS],
        ticks=ticks(now.wall_us, *SPANS[span]),
        now_us=now.wall_us,
    )


def usually(made: Report | None) -> str:
    """What whoever waits may hope for; empty while nothing is known."""
    if made is None or made.wait_p50_s is None:
        return ""
    return f"Over the last {USUAL_DAYS} days half of all jobs waited less than {less_than(made.wait_p50_s)}."


def waiters(context: Context, waiting: list[Lease], now: Now) -> list[Waiter]:
    roster = context.view.roster
    when = estimates(roster, waiting, now.service_s)
    return [_waiter(context, place, lease, when[lease.id], now) for place, lease in enumerate(waiting, 1)]


def _waiter(context: Context, place: int, lease: Lease, estimate: Estimate, now: Now) -> Waiter:
    roster = context.view.roster
    states = _states(roster, sorted(roster.group_of(lease).matches), now.me)
    return Waiter(
        place=place,
        lease=lease,
        mine=lease.holder == now.me,
        cells=states if len(states) <= MOST_CELLS else [],
        matching=len(states),
        free=states.count(FREE),
        aside=len(lease.set_aside),
        why=why(roster, lease, now, context.settings.policy.aside_s),
        estimate=estimate_words(estimate, now),
        first=listed(estimate.machines) + (" first" if estimate.choice else ""),
    )


def _states(roster: Roster, names: Iterable[str], me: str) -> list[str]:
    """As `state_of`, with `mine` for what I hold: my own job may be what it waits for."""
    found = []
    for name in names:
        machine = roster.machines[name]
        state, lease = state_of(roster, machine), roster.leases.get(machine.lease)
        found.append("mine" if state == LOCKED and lease and lease.holder == me else state)
    return sorted(found, key=_CELL_ORDER.index)


_CELL_ORDER = (
    *("mine", LOCKED, "cleaning", FREE, "quarantined", "attention", SET_ASIDE, "offline", "drained"),
    "pending",
)


def estimate_words(estimate: Estimate, now: Now) -> Markup:
    """`about 2 m`, `17:54 at the latest`, `in a moment`, `no end known`."""
    if estimate.in_s is None:
        return Markup("no end known")
    if not estimate.in_s:
        return Markup("in a moment")
    if estimate.latest:
        return Markup("{} at the latest").format(moment(now.at_us(estimate.in_s)))
    return ticking(now.at_us(estimate.in_s), now.wall_us, "left", "about {}")


# Coming free


def coming_free(context: Context, viewer: Viewer, now: Now, span_s: int) -> list[Bar]:
    """All held leases, those that end first first; of those without an end, the oldest."""
    held = (lease for lease in context.view.roster.leases.values() if lease.state is LeaseState.HELD)
    ends = [(rest_of(lease, now.service_s), lease) for lease in held]
    ends.sort(key=lambda end: (end[0].order, not renews_itself(end[1]), end[1].granted_us, end[1].id))
    rows = context.dashboard.rows
    found = []
    for rest, lease in ends:
        holding = rows.holding(lease)
        shape = "renews" if renews_itself(lease) else "fixed" if rest.in_s is not None else "open"
        share = 100.0 if rest.in_s is None else min(100.0, 100 * rest.in_s / span_s)
        found.append(
            Bar(
                names=listed(tuple(sorted(lease.machines))),
                link=min(lease.machines),
                lease=lease,
                mine=lease.holder == viewer.name,
                shape=shape,
                share=round(share, 2),
                over=rest.in_s is None or rest.in_s > span_s,
                soon=shape == "fixed" and bool(holding and holding.soon),
                rest=_rest_words(shape, rest.in_s, now),
            )
        )
    return found


def _rest_words(shape: str, in_s: float | None, now: Now) -> Markup:
    if in_s is None:
        return Markup("renews itself, no limit") if shape == "renews" else Markup("no end")
    if shape == "renews":
        return Markup("renews itself, {} at the latest").format(moment(now.at_us(in_s)))
    return ticking(now.at_us(in_s), now.wall_us, "left", "{} left")


def ticks(now_us: int, span_s: int, parts: int) -> list[Markup]:
    """The times at the lines of the chart, from now to its end."""
    return [moment(now_us + span_s * 1_000_000 * part // parts, "time") for part in range(parts + 1)]


# Waiting for a machine


@router.get("/queue/wait")
async def wait_dialog(request: Request, context: InContext) -> Response:
    """Which machines, how many, what for: with what the pool has of them now."""
    actor = forms.by(request)
    return _wait(request, context, forms.asked(request), actor.role)


@router.post("/queue/wait")
async def wait(request: Request, context: InContext) -> Response:
    """At once if they are free, else a place in the queue; or a refusal that says which term matches nothing."""
    form = await forms.sent(request)
    actor = forms.by(request)
    try:
        if not form.text("selector"):
            raise Malformed("selector: say which machines would do.", "`*` is any machine.", field="selector")
        if there := await _there_already(request, context, actor, form):
            return there
        lease = await asked_for(context, actor, form, form.text("selector"), queue=True)
    except PiclusterError as error:
        return _wait(request, context, form, actor.role, error)
    return granted(request, context, lease)


async def _there_already(request: Request, context: Context, actor: Actor, form: Form) -> Response | None:
    """For one machine by its name or address, the place that somebody has already."""
    machine = context.view.roster.machine_called(form.text("selector"))
    if machine is None or form.text("count", "1") != "1":
        return None
    return await waiting_already(request, context, actor, machine)


@router.get("/queue/outlook")
async def outlook_part(request: Request, context: InContext) -> Response:
    """What a selector would get now, for the dialog while somebody types."""
    forms.by(request)
    return page(request, "wait_outlook.html", **_outlook(context, forms.asked(request)))


def _wait(
    request: Request, context: Context, form: Form, role: Role, error: PiclusterError | None = None
) -> Response:
    highest = PRIORITIES.get(role, 0)
    return page(
        request,
        "wait.html",
        form=form,
        error=error,
        lease_id=str(uuid.uuid4()),
        lengths=LENGTHS,
        length=form.text("for", USUAL),
        most=MOST_MACHINES,
        priorities=[(str(number), PRIORITY_WORDS[number]) for number in range(highest + 1)],
        priority=form.text("priority", "1"),
        command=command_of(form),
        command_start=shlex.join(["picluster", "wait", form.text("selector", "*")]),
        **_outlook(context, form),
    )


def command_of(form: Form) -> str:
    """The same on the command line."""
    words = ["picluster", "wait", form.text("selector", "*"), "--for", form.text("for", USUAL)]
    words += ["--count", form.text("count")] if form.text("count", "1") != "1" else []
    words += ["--priority", form.text("priority")] if form.text("priority", "1") != "1" else []
    words += ["--job", form.text("job")] if form.text("job") else []
    return shlex.join(words)


def _outlook(context: Context, form: Form) -> dict[str, Any]:
    """`outlook` with its cells, or `problem` with what the selector says wrong; neither for an empty one."""
    text = form.text("selector")
    empty: dict[str, Any] = {
        "outlook": None,
        "problem": None,
        "cells": [],
        "free": 0,
        "count": 1,
        "terms": [],
    }
    if not text:
        return empty
    try:
        if unkeepable := text_problem(text, LONGEST_SELECTOR):
            raise Malformed(f"selector: {unkeepable}", field="selector")
        roster, count = context.view.roster, _count(form)
        found = outlook(roster, roster.group(resolve(roster, text), count))
    except PiclusterError as problem:
        return empty | {"problem": problem}
    states = sorted(found.machines.values(), key=_CELL_ORDER.index)
    return {
        "outlook": found,
        "problem": None,
        "cells": states if len(states) <= MOST_CELLS else [],
        "free": states.count(FREE),
        "count": count,
        "terms": _terms(context, text) if len(found.machines) < count else [],
    }


def _count(form: Form) -> int:
    """One for what is no number: the form says so when it is sent. Raises `Malformed` for more than anybody can have."""
    said = form.text("count", "1")
    count = max(1, int(said)) if said.isdecimal() and len(said) < 6 else 1
    if count > MOST_MACHINES:
        raise Malformed(f"{count} at once are more than one job can have: {MOST_MACHINES} at most.")
    return count


def _terms(context: Context, text: str) -> list[tuple[str, bool]]:
    """The terms of a selector, and which of them no machine fits by itself."""
    facts = [context.view.roster.facts(machine) for machine in context.view.roster.machines.values()]
    return [(term.canonical, not any(map(term.matches, facts))) for term in parse(text).terms[:MOST_CELLS]]


# Taking somebody out


@router.get("/queue/{lease_id}/out")
async def out_dialog(request: Request, context: InContext, lease_id: str) -> Response:
    """An operator takes somebody's job out of the queue, and says why."""
    forms.by(request, Role.OPERATOR)
    return _out(request, _waiting(context, lease_id), forms.asked(request))


@router.post("/queue/{lease_id}/out")
async def take_out(request: Request, context: InContext, lease_id: str) -> Response:
    """Out, with the reason; but never what has got its machines meanwhile."""
    form = await forms.sent(request)
    actor = forms.by(request, Role.OPERATOR)
    lease = _waiting(context, lease_id)
    try:
        reason = form.reason("say why; it is recorded, and its owner reads it.")
        await context.coordinator.ask(Release(actor, lease.id, reason))
    except PiclusterError as error:
        return _out(request, lease, form, error)
    return done(request, f"{lease.holder} waits no more.", forms.back_to(request, form, "/queue"))


def _waiting(context: Context, lease_id: str) -> Lease:
    """Raises `NotFound` or `Conflict` that says what has become of it."""
    lease = context.view.roster.leases.get(lease_id)
    if lease is None:
        raise NotFound("Nobody waits under this address.", "The queue shows who waits.")
    if lease.state is LeaseState.HELD:
        raise Conflict(
            f"{lease.holder} has {listed(tuple(sorted(lease.machines)))} by now, and waits no more.",
            "The page of the machine can take it back.",
        )
    if lease.state is LeaseState.ENDED:
        raise Conflict(f"{lease.holder} has left the queue already.", "Nothing needs to be done.")
    return lease


def _out(request: Request, lease: Lease, form: Form, error: PiclusterError | None = None) -> Response:
    return page(request, "queue_out.html", lease=lease, form=form, error=error)
