"""Leases by hand: lock, wait, unlock, leave. A dialog by script, a page of its own without.

A form carries the id of the lease that it asks for, so sending it twice is the same lease. Nothing on the page
changes before the answer.
"""

from __future__ import annotations

import hashlib
import shlex
import uuid

from fastapi import APIRouter, Request
from starlette.responses import Response

from picluster.errors import Conflict, Held, LeaseLost, Malformed, NotFound, PiclusterError
from picluster.pool.commands import Acquire, Release, Renew
from picluster.pool.explain import FREE, LOCKED, outlook, state_of
from picluster.pool.leases import resolve
from picluster.pool.model import Actor, Lease, LeaseState, Machine, Mode, OnReboot, Role
from picluster.pool.roster import Roster
from picluster.server.context import Context
from picluster.server.http import encode
from picluster.server.pages import forms
from picluster.server.pages.forms import Form
from picluster.server.pages.frame import done, page
from picluster.server.pages.rows import model_of, ssh_line
from picluster.server.present import lease_answer
from picluster.server.v1.common import InContext
from picluster.wire import LeaseRequest, raise_problems

router = APIRouter(include_in_schema=False)

LENGTHS = (("30m", "30 m"), ("2h", "2 h"), ("8h", "8 h"), (forms.FOR_EVER, "No end"))
"""How long a person wants a board: for a look, a session, a day. As it is sent, and as it is read."""

USUAL = "2h"
MOST_INSTEAD = 3
"""Free machines of the same model that a refusal names."""


def known(context: Context, name: str) -> Machine:
    """Raises `NotFound` with the way out."""
    machine = context.view.roster.machine_called(name)
    if machine is None:
        raise NotFound(
            f"No machine is called {name[:64]!r} any more.",
            "The list shows what there is.",
        )
    return machine


def held_by(context: Context, machine: Machine, actor: Actor) -> Lease:
    """The actor's own lease on it. Raises `Conflict` that says how it is instead."""
    lease = context.view.roster.leases.get(machine.lease)
    if lease is None:
        raise Conflict(
            f"You have {machine.name} no more: its lease has ended.", "Lock it again if it is free."
        )
    if lease.holder != actor.name:
        raise Conflict(
            f"{lease.holder} has {machine.name} now; yours has ended.", "Wait for it, or lock another one."
        )
    return lease


# Lock


@router.get("/m/{name}/lock")
async def lock_dialog(request: Request, context: InContext, name: str) -> Response:
    """What for, and how long."""
    forms.by(request)
    return _lock(request, context, known(context, name), forms.asked(request))


@router.get("/m/{name}/wait")
async def wait_dialog(request: Request, context: InContext, name: str) -> Response:
    """The same, for one that somebody has."""
    actor = forms.by(request)
    machine = known(context, name)
    there = context.dashboard.rows.own_wait(machine, actor.name)
    return (
        granted(request, context, there)
        if there
        else _lock(request, context, machine, forms.asked(request), waits=True)
    )


@router.post("/m/{name}/lock")
async def lock(request: Request, context: InContext, name: str) -> Response:
    """Now, or a refusal that says who has it, until when, and what is free instead."""
    return await _ask(request, context, name, queue=False)


@router.post("/m/{name}/wait")
async def wait(request: Request, context: InContext, name: str) -> Response:
    """Now, or when the turn comes; once for each machine and person."""
    return await _ask(request, context, name, queue=True)


async def waiting_already(
    request: Request, context: Context, actor: Actor, machine: Machine
) -> Response | None:
    """The place that somebody has already for this very machine, and keeps by asking again: a second one would only come
    after it. None if there is none, or no more."""
    wait = context.dashboard.rows.own_wait(machine, actor.name)
    if wait is None:
        return None
    try:
        return granted(request, context, await context.coordinator.ask(Renew(actor, wait.id)))
    except LeaseLost:
        return None


async def _ask(request: Request, context: Context, name: str, *, queue: bool) -> Response:
    form = await forms.sent(request)
    actor = forms.by(request)
    machine = known(context, name)
    if queue and (there := await waiting_already(request, context, actor, machine)):
        return there
    try:
        lease = await asked_for(context, actor, form, f"name:{machine.name}", queue=queue)
    except Held as refusal:
        return _refused(request, context, machine, form, refusal)
    except PiclusterError as error:
        return _lock(request, context, machine, form, error=error, waits=queue)
    return granted(request, context, lease)


async def asked_for(context: Context, actor: Actor, form: Form, selector: str, *, queue: bool) -> Lease:
    """The lease that a form asks for. Raises what the rules say, and `Malformed` that names the field."""
    ask = LeaseRequest(
        selector=selector,
        count=_whole(form, "count", 1),
        job=form.text("job"),
        ttl_s=forms.duration(form.text("for", USUAL)),
        queue=queue,
        priority=_whole(form, "priority", 1),
        on_reboot=OnReboot.KEEP if form.chosen("keep") else OnReboot.RELEASE,
        ssh_public_keys=tuple(line.strip() for line in form.text("keys").splitlines() if line.strip()),
    )
    raise_problems(ask.problems())
    asked = hashlib.sha256(encode(ask)).hexdigest()
    lease: Lease = await context.coordinator.ask(
        Acquire(
            by=actor,
            lease=_lease_id(context, form, actor, asked),
            asked=asked,
            quota=context.settings.quota,
            **{name: getattr(ask, name) for name in LeaseRequest.__slots__},
        )
    )
    return lease


def _lease_id(context: Context, form: Form, actor: Actor, asked: str) -> str:
    """The id in the form, so that what is sent twice is one lease. A form of yesterday, or one that was changed after its
    first answer, asks for another one."""
    try:
        lease_id = str(uuid.UUID(form.text("id")))
    except ValueError:
        return str(uuid.uuid4())
    known = context.view.roster.leases.get(lease_id)
    same = known is None or (known.live and (known.holder, known.asked) == (actor.name, asked))
    return lease_id if same else str(uuid.uuid4())


def _whole(form: Form, name: str, default: int) -> int:
    said = form.text(name) or str(default)
    if not said.isdecimal() or len(said) > 6:
        raise Malformed(f"{name}: must be a whole number", field=name)
    return int(said)


def _lock(
    request: Request,
    context: Context,
    machine: Machine,
    form: Form,
    *,
    error: PiclusterError | None = None,
    waits: bool = False,
) -> Response:
    return page(
        request,
        "lock.html",
        machine=machine,
        model=model_of(machine),
        state=context.dashboard.glance.now.states.get(machine.name, FREE),
        enforced=machine.mode is Mode.ENFORCED,
        waits=waits,
        lengths=LENGTHS,
        length=form.text("for", USUAL),
        form=form,
        error=error,
        lease_id=str(uuid.uuid4()),
        verb="wait" if waits else "lock",
        command=command_of("wait" if waits else "lock", machine.name, form),
        holding=context.dashboard.rows.holding(context.view.roster.leases.get(machine.lease)),
        waiting=_waiting_for(context.view.roster, machine) if waits else 0,
        now_us=context.wall_us(),
    )


def _waiting_for(roster: Roster, machine: Machine) -> int:
    """How many jobs want it, by its name or by what it is."""
    return outlook(roster, roster.group(resolve(roster, machine.name), 1)).waiting


def command_of(verb: str, selector: str, form: Form) -> str:
    """The same action on the command line."""
    words = ["picluster", verb, selector, "--for", form.text("for", USUAL)]
    words += ["--on-reboot", "keep"] if form.chosen("keep") else []
    words += ["--job", form.text("job")] if form.text("job") else []
    return shlex.join(words)


def _refused(request: Request, context: Context, machine: Machine, form: Form, refusal: Held) -> Response:
    """Somebody was quicker: who, what for, until when, and which free ones are like it."""
    roster = context.view.roster
    model = machine.facts.get("model")
    instead = [
        other.name
        for other in sorted(roster.machines.values(), key=lambda one: one.name)
        if other.facts.get("model") == model
        and state_of(roster, other) == FREE
        and other.name != machine.name
    ]
    lease = roster.leases.get(machine.lease)
    return page(
        request,
        "refused.html",
        refusal.status,
        machine=machine,
        holding=context.dashboard.rows.holding(lease),
        taken=state_of(roster, machine) == LOCKED,
        instead=instead[:MOST_INSTEAD],
        refusal=refusal,
        form=form,
        now_us=context.wall_us(),
    )


def granted(request: Request, context: Context, lease: Lease) -> Response:
    """It is yours, with the line to log in and a way back; or where you stand in the queue."""
    now_us = context.wall_us()
    machines = [one for name in lease.machines if (one := context.view.roster.machines.get(name))]
    return page(
        request,
        "waiting.html" if lease.state is LeaseState.WAITING else "granted.html",
        lease=lease_answer(context.view, context.settings.policy, lease),
        machines=[(machine, ssh_line(machine), machine.mode is Mode.ENFORCED) for machine in machines],
        holding=context.dashboard.rows.holding(lease),
        now_us=now_us,
    )


# Unlock


@router.get("/m/{name}/unlock")
async def unlock_dialog(request: Request, context: InContext, name: str) -> Response:
    """Asked for by an address, it is only offered."""
    forms.by(request)
    machine = known(context, name)
    return page(
        request,
        "unlock.html",
        machine=machine,
        error=None,
        command=f"picluster unlock {shlex.quote(machine.name)}",
    )


@router.post("/m/{name}/unlock")
async def unlock(request: Request, context: InContext, name: str) -> Response:
    """Given back; all machines of the lease."""
    form = await forms.sent(request)
    actor = forms.by(request)
    machine = known(context, name)
    try:
        lease = held_by(context, machine, actor)
        ended = await context.coordinator.ask(Release(actor, lease.id))
    except PiclusterError as error:
        line = f"picluster unlock {shlex.quote(machine.name)}"
        return page(request, "unlock.html", error.status, machine=machine, error=error, command=line)
    names = ", ".join(ended.machines)
    return done(
        request,
        f"{names} {'is' if len(ended.machines) == 1 else 'are'} given back.",
        forms.back_to(request, form),
    )


# Waiting


@router.get("/waiting/{lease_id}")
async def waiting_page(request: Request, context: InContext, lease_id: str) -> Response:
    """Where one stands. While this page is open the place is kept: it asks again and again that it be."""
    actor = forms.by(request)
    lease = context.view.roster.leases.get(lease_id)
    if lease is None or lease.holder != actor.name:
        raise NotFound("You wait for nothing under this address.", "The queue shows who waits.")
    if lease.live:
        lease = await context.coordinator.ask(Renew(actor, lease.id))
    return granted(request, context, lease)


@router.post("/waiting/{lease_id}/still")
async def still_waiting(request: Request, context: InContext, lease_id: str) -> Response:
    """The page that waits is still open: 204 while there is nothing new, else what has come of it."""
    await forms.sent(request)
    actor = forms.by(request)
    try:
        lease = await context.coordinator.ask(Renew(actor, lease_id))
    except LeaseLost as lost:
        raise LeaseLost(
            f"You have lost your place. {lost.message}", "Wait for it again if you still need it."
        ) from None
    if lease.state is LeaseState.WAITING:
        return Response(status_code=204)
    return granted(request, context, lease)


@router.post("/waiting/{lease_id}/leave")
async def leave(request: Request, context: InContext, lease_id: str) -> Response:
    """Out of the queue; or, just granted, given back."""
    form = await forms.sent(request)
    actor = forms.by(request)
    lease = context.view.roster.leases.get(lease_id)
    others = lease is not None and lease.holder != actor.name
    if others and actor.role < Role.OPERATOR:
        raise Conflict("This is somebody else's place in the queue.", "An operator can take them out.")
    await context.coordinator.ask(
        Release(actor, lease_id, form.reason() or ("taken out of the queue" if others else ""))
    )
    said = "It is given back." if lease and lease.machines else "Out of the queue."
    return done(request, said, forms.back_to(request, form, "/queue"))
