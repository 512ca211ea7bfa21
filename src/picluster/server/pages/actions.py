"""The dialogs of the verbs, the menu of a machine, and the same for many machines at once."""

from __future__ import annotations

import shlex
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import Response

from picluster.errors import Malformed, PiclusterError
from picluster.pool.commands import Release
from picluster.pool.model import Actor, Machine, Role
from picluster.server.access.gate import require
from picluster.server.context import Context
from picluster.server.pages import forms
from picluster.server.pages.forms import Form
from picluster.server.pages.frame import done, page
from picluster.server.pages.leasing import LENGTHS, USUAL, asked_for, known
from picluster.server.pages.rows import fingerprint, ssh_line
from picluster.server.pages.verbs import VERBS, Verb, labels_text, possible, role_for, verb_named
from picluster.server.v1.common import InContext

router = APIRouter(include_in_schema=False)

LEASING = ("lock", "unlock")
"""What can be done to many machines besides the verbs."""


@router.get("/m/{name}/menu")
async def menu(request: Request, context: InContext, name: str) -> Response:
    """What can be done with one machine, now, by this person."""
    actor = forms.by(request, Role.VIEWER)
    machine = known(context, name)
    lease = context.view.roster.leases.get(machine.lease)
    return page(
        request,
        "menu.html",
        machine=machine,
        verbs=possible(context, machine, actor),
        mine=lease is not None and lease.holder == actor.name,
        ssh=ssh_line(machine),
    )


@router.get("/m/{name}/{verb}")
async def verb_dialog(request: Request, context: InContext, name: str, verb: str) -> Response:
    """What it does, and what it needs to know."""
    chosen = verb_named(verb)
    _may(request, context, name, chosen)
    return _dialog(request, context, known(context, name), chosen, forms.asked(request))


@router.post("/m/{name}/{verb}")
async def carry_out(request: Request, context: InContext, name: str, verb: str) -> Response:
    """Done, or the same dialog with what is in the way."""
    form, chosen = await forms.sent(request), verb_named(verb)
    actor = _may(request, context, name, chosen)
    machine = known(context, name)
    try:
        said = await chosen.do(context, actor, machine, form)
    except PiclusterError as error:
        return _dialog(
            request, context, context.view.roster.machines.get(machine.name, machine), chosen, form, error
        )
    if chosen.tells:
        return page(request, "told.html", said=said, home=f"/m/{quote(machine.name)}")
    home = f"/m/{quote(machine.name)}" if chosen.name != "delete" else "/"
    return done(request, said, forms.back_to(request, form, home))


def _may(request: Request, context: Context, name: str, verb: Verb) -> Actor:
    """Whoever asks, with the role that this takes with this machine. Raises `NotAuthenticated` or `NotAllowed`."""
    actor = forms.by(request, Role.VIEWER)
    machine = context.view.roster.machine_called(name)
    lease = context.view.roster.leases.get(machine.lease) if machine else None
    return require(actor, role_for(verb, actor, machine, lease) if machine else verb.role)


def _dialog(
    request: Request,
    context: Context,
    machine: Machine,
    verb: Verb,
    form: Form,
    error: PiclusterError | None = None,
) -> Response:
    lease = context.view.roster.leases.get(machine.lease)
    keys = machine.claimed_host_keys or machine.host_keys
    now = {
        "comment": machine.comment,
        "labels": labels_text(machine.labels),
        "was": " ".join(sorted(machine.labels)),
    }
    return page(
        request,
        "verb.html",
        machine=machine,
        verb=verb,
        form=form,
        now=now,
        own_labels=labels_text(machine.board_labels) if verb.name == "label" else "",
        lease=lease,
        holding=context.dashboard.rows.holding(lease),
        reason=machine.reason,
        fingerprints=[fingerprint(key) for key in keys] if verb.name in ("approve", "review") else [],
        error=error,
        frame_of_command=verb.frame(machine.name),
        command=verb.line(machine.name, {**now, **form.typed()}),
        now_us=context.wall_us(),
    )


# Many at once


@router.get("/bulk")
async def bulk_dialog(request: Request, context: InContext) -> Response:
    """Which machines, and what it needs to know."""
    form = forms.asked(request)
    forms.by(request, _role(form))
    return _bulk(request, context, form, [])


@router.post("/bulk")
async def bulk(request: Request, context: InContext) -> Response:
    """One after the other; what could not be done is said, machine by machine, and the rest is done."""
    form = await forms.sent(request)
    actor = forms.by(request, _role(form))
    outcomes = [(name, *await _told_of(context, actor, name, form)) for name in form.list("machine")]
    return _bulk(request, context, form, outcomes)


def _role(form: Form) -> Role:
    """Raises `Malformed` for what cannot be done to many."""
    what = form.text("do")
    if what in LEASING:
        return Role.USER
    verb = VERBS.get(what)
    if verb is None or not verb.bulk:
        raise Malformed("Choose what to do with the selected machines.", field="do")
    return verb.role


async def _told_of(context: Context, actor: Actor, name: str, form: Form) -> tuple[bool, str]:
    """As `_one`, for a line that begins with the name already."""
    ok, said = await _one(context, actor, name, form)
    return ok, said.removeprefix(f"{name} ")


async def _one(context: Context, actor: Actor, name: str, form: Form) -> tuple[bool, str]:
    """(whether it is done, what there is to say)"""
    try:
        machine = known(context, name)
        if form.text("do") == "lock":
            await asked_for(context, actor, _without_id(form), f"name:{machine.name}", queue=False)
            return True, "is yours"
        if form.text("do") == "unlock":
            return await _unlock(context, actor, machine)
        return True, await VERBS[form.text("do")].do(context, actor, machine, form)
    except PiclusterError as error:
        return False, error.message


def _without_id(form: Form) -> Form:
    """Each machine is a lease of its own."""
    return Form({name: values for name, values in form.all.items() if name != "id"})


async def _unlock(context: Context, actor: Actor, machine: Machine) -> tuple[bool, str]:
    lease = context.view.roster.leases.get(machine.lease)
    if lease is None or lease.holder != actor.name:
        return False, "is not yours"
    await context.coordinator.ask(Release(actor, lease.id))
    return True, "is given back"


def _bulk(request: Request, context: Context, form: Form, outcomes: list[tuple[str, bool, str]]) -> Response:
    what, names = form.text("do"), form.list("machine")
    verb = VERBS.get(what)
    return page(
        request,
        "bulk.html",
        names=names,
        known=[name for name in names if context.view.roster.machine_called(name)],
        what=what,
        verb=verb,
        word={"lock": "Lock", "unlock": "Unlock"}.get(what) or (verb.word if verb else ""),
        lengths=LENGTHS,
        length=form.text("for", USUAL),
        form=form,
        outcomes=outcomes,
        error=None
        if names
        else Malformed("No machine is selected.", "Tick some in the list, then try again."),
        command=_bulk_command(what, names),
    )


def _bulk_command(what: str, names: tuple[str, ...]) -> str:
    """The same on the command line, with a place for its options: each machine is locked by a lease of its own."""
    if what == "lock":
        return f"for name in {shlex.join(names)}; do picluster lock $name {{options}}; done"
    if what == "label":
        any_of = f"name:({'|'.join(names)})"
        return f"picluster label {shlex.quote(any_of)} {{labels}}"
    return f"picluster {what} {shlex.join(names)}"
