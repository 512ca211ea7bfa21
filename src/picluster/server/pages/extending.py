"""A lease for longer: what is chosen is added to what is left, so that nobody shortens it by a word that says longer.

A lease without an end has nothing to add to; it can be given one. A form says from which end it counts, so sending it
twice adds once.
"""

from __future__ import annotations

import shlex

from fastapi import APIRouter, Request
from starlette.responses import Response

from picluster.errors import PiclusterError
from picluster.pool.commands import Renew
from picluster.pool.model import Lease, Machine
from picluster.server.context import Context
from picluster.server.pages import forms
from picluster.server.pages.forms import Form
from picluster.server.pages.frame import done, page
from picluster.server.pages.leasing import LENGTHS, USUAL, held_by, known
from picluster.server.present import expires_in_s
from picluster.server.v1.common import InContext
from picluster.server.words import span
from picluster.wire import LONGEST_TTL_S, RenewRequest, raise_problems

router = APIRouter(include_in_schema=False)

ENDS = tuple((value, word) for value, word in LENGTHS if value != forms.FOR_EVER)
"""The lengths that have an end."""


def usual_extension_s(ttl_s: float) -> float:
    """What one press adds to a lease of this length: the longest of the usual lengths that it has, at least the shortest."""
    lengths = [forms.duration(value) or 0.0 for value, _ in ENDS]
    return max((length for length in lengths if length <= ttl_s), default=lengths[0])


def extension_word(ttl_s: float) -> str:
    """On the button that does that."""
    return f"Extend by {span(usual_extension_s(ttl_s))}"


@router.get("/m/{name}/extend")
async def extend_dialog(request: Request, context: InContext, name: str) -> Response:
    """By how much; or, of a lease without an end, when it is to end."""
    forms.by(request)
    return _dialog(request, context, known(context, name), forms.asked(request))


@router.post("/m/{name}/extend")
async def extend(request: Request, context: InContext, name: str) -> Response:
    """By what was chosen; by one press on the row, by what is usual."""
    form = await forms.sent(request)
    actor = forms.by(request)
    machine = known(context, name)
    try:
        lease = held_by(context, machine, actor)
        ttl_s = _wanted_s(context, lease, form)
        raise_problems(RenewRequest(ttl_s=ttl_s).problems())
        await context.coordinator.ask(Renew(actor, lease.id, ttl_s))
    except PiclusterError as error:
        return _dialog(request, context, machine, form, error)
    said = f"{machine.name} is yours " + ("until you unlock it." if ttl_s is None else f"for {span(ttl_s)}.")
    return done(request, said, forms.back_to(request, form))


def _wanted_s(context: Context, lease: Lease, form: Form) -> float | None:
    """The length from now on that the form asks for; None for no end. Never less than what is left, unless there was no
    end."""
    left_s = expires_in_s(context.view, context.settings.policy, lease)
    if left_s is None or lease.ttl_s is None:
        return forms.duration(form.text("for")) if form.text("for") else None
    added_s = forms.duration(form.text("by"), "by") if form.text("by") else usual_extension_s(lease.ttl_s)
    if added_s is None:
        return None
    return max(left_s, min(_left_then_s(context, form, left_s) + added_s, LONGEST_TTL_S))


def _left_then_s(context: Context, form: Form, left_s: float) -> float:
    """What is left until the end that stood in the form when it was made; of a form without one, until the present end."""
    said = form.text("end")
    if not said.isdecimal() or len(said) > LONGEST_END:
        return left_s
    return min(left_s, int(said) / 1e3 - context.wall_us() / 1e6)


LONGEST_END = 15
"""Digits of a point in time in ms."""


def _dialog(
    request: Request, context: Context, machine: Machine, form: Form, error: PiclusterError | None = None
) -> Response:
    lease = context.view.roster.leases.get(machine.lease)
    holding = context.dashboard.rows.holding(lease)
    adds = holding is None or holding.shape != "open"
    field = "by" if adds else "for"
    return page(
        request,
        "extend.html",
        machine=machine,
        holding=holding,
        adds=adds,
        field=field,
        lengths=LENGTHS if adds else ENDS,
        length=form.text(field, USUAL),
        most=span(LONGEST_TTL_S),
        form=form,
        error=error,
        now_us=context.wall_us(),
        command_start=shlex.join(["picluster", "extend", machine.name]),
        command=shlex.join(["picluster", "extend", machine.name, f"--{field}", form.text(field, USUAL)]),
    )
