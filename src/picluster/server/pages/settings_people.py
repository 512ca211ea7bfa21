"""Accounts, for admins: who there is, and what can be done with each, as one table from which the dialogs are made."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from picluster.errors import Malformed, NotFound, PiclusterError
from picluster.pool.commands import ForgetPerson
from picluster.pool.model import Actor, Person
from picluster.pool.tokens import of_a_person
from picluster.server.access import accounts
from picluster.server.context import Context
from picluster.server.pages import forms
from picluster.server.pages.forms import Form
from picluster.server.pages.frame import go, page
from picluster.server.pages.settings import PEOPLE, YOU, opened, tab_page
from picluster.server.v1.common import InContext
from picluster.wire import PersonAmendment, PersonRequest, TokenRequest

router = APIRouter(include_in_schema=False)

MAY = {
    "viewer": "Look.",
    "user": "Also lock, queue and unlock for themselves.",
    "operator": "Also end anyone's lease, label, drain, switch power, and add machines.",
    "admin": "Also accounts, tokens, settings and backups.",
}
"""What each role adds to those before it."""


@dataclass(frozen=True, slots=True)
class PersonVerb:
    """One thing that can be done with an account."""

    name: str
    word: str
    title: str
    """With {} for the account."""
    icon: str
    about: str
    do: Callable[[Context, Actor, Person, Form], Awaitable[object]]
    """Raises `PiclusterError`."""
    possible: Callable[[Person], bool] = lambda person: True
    danger: bool = False


async def _give_role(context: Context, actor: Actor, person: Person, form: Form) -> None:
    await accounts.amend(context, actor, person.name, PersonAmendment(role=form.text("role")))


async def _set_password(context: Context, actor: Actor, person: Person, form: Form) -> None:
    await accounts.amend(context, actor, person.name, PersonAmendment(password=twice(form)))


async def _disable(context: Context, actor: Actor, person: Person, form: Form) -> None:
    await accounts.amend(context, actor, person.name, PersonAmendment(disabled=True))


async def _enable(context: Context, actor: Actor, person: Person, form: Form) -> None:
    await accounts.amend(context, actor, person.name, PersonAmendment(disabled=False))


async def _remove(context: Context, actor: Actor, person: Person, form: Form) -> None:
    if form.text("retype") != person.name:
        raise Malformed(
            "retype: that is not the name of the account.",
            f"Type {person.name} to remove it.",
            field="retype",
        )
    await context.coordinator.ask(ForgetPerson(actor, person.name))


VERBS = {
    verb.name: verb
    for verb in (
        PersonVerb(
            "role",
            "Role",
            "Role of {}",
            "user-circle",
            "A lower one counts at once, a higher one from the next log-in.",
            _give_role,
        ),
        PersonVerb(
            "password",
            "New password",
            "New password for {}",
            "key",
            "Whoever is logged in to this account has to log in again. Tokens stay.",
            _set_password,
        ),
        PersonVerb(
            "disable",
            "Disable",
            "Disable {}",
            "player-pause",
            "Sessions and personal tokens end at once. Leases stay; an operator may take them back.",
            _disable,
            lambda person: not person.disabled,
            danger=True,
        ),
        PersonVerb(
            "enable",
            "Enable",
            "Enable {}",
            "player-play",
            "They log in with the password of before. Tokens that ended stay ended.",
            _enable,
            lambda person: person.disabled,
        ),
        PersonVerb(
            "remove",
            "Remove",
            "Remove {}",
            "trash",
            "The account ends, with its sessions and personal tokens. Leases stay until they are given back.",
            _remove,
            danger=True,
        ),
    )
}


@router.get("/settings/people")
async def people_page(request: Request, context: InContext) -> Response:
    """All accounts by name, with what each has open."""
    opened(request, PEOPLE)
    roster = context.view.roster
    counts = _credentials(context)
    return tab_page(
        request,
        PEOPLE,
        "settings_people.html",
        people=[person for _, person in sorted(roster.people.items())],
        counts=counts,
        now_us=context.wall_us(),
    )


def _credentials(context: Context) -> Counter[tuple[str, str]]:
    """How many sessions and personal tokens each has, by (name in lower case, kind)."""
    now_us = context.wall_us()
    return Counter(
        (token.name.casefold(), token.kind)
        for token in context.view.roster.tokens.values()
        if of_a_person(token) and not token.revoked and not 0 < token.expires_us <= now_us
    )


def twice(form: Form) -> str:
    """A new password that was typed twice. Raises `Malformed` if they differ."""
    if form.raw("password") != form.raw("again"):
        raise Malformed("again: the two passwords differ.", "Type the same twice.", field="again")
    return form.raw("password")


# A new account


@router.get("/settings/people/add")
async def add_dialog(request: Request, context: InContext) -> Response:
    """Who, what they may do, and a first password."""
    opened(request, PEOPLE)
    return _add_dialog(request, forms.asked(request))


@router.post("/settings/people/add")
async def add_person(request: Request, context: InContext) -> Response:
    """An account for somebody."""
    form = await forms.sent(request)
    actor = opened(request, PEOPLE)
    try:
        ask = PersonRequest(form.text("name"), form.text("role", "user"), twice(form) or None)
        await accounts.add(context, actor, ask)
    except PiclusterError as error:
        return _add_dialog(request, form, error)
    return go(request, PEOPLE.path)


def _add_dialog(request: Request, form: Form, error: PiclusterError | None = None) -> Response:
    return page(
        request,
        "settings_person_add.html",
        form=form,
        error=error,
        roles=TokenRequest.ROLES,
        role=form.text("role") or "user",
        may=MAY,
    )


# One account


@router.get("/settings/people/{name}")
async def person_menu(request: Request, context: InContext, name: str) -> Response:
    """What can be done with an account, now."""
    actor = opened(request, PEOPLE)
    person = _known(context, name)
    verbs = [verb for verb in VERBS.values() if verb.possible(person)]
    mine = person.name.casefold() == actor.name.casefold()
    return page(request, "settings_person_menu.html", person=person, verbs=verbs, mine=mine, you=YOU)


@router.get("/settings/people/{name}/{verb}")
async def person_dialog(request: Request, context: InContext, name: str, verb: str) -> Response:
    """What it does, and what it needs to know."""
    opened(request, PEOPLE)
    return _dialog(request, _known(context, name), _verb(verb), forms.asked(request))


@router.post("/settings/people/{name}/{verb}")
async def change_person(request: Request, context: InContext, name: str, verb: str) -> Response:
    """Done, or the same dialog with what is in the way."""
    form, chosen = await forms.sent(request), _verb(verb)
    actor = opened(request, PEOPLE)
    person = _known(context, name)
    try:
        await chosen.do(context, actor, person, form)
    except PiclusterError as error:
        return _dialog(request, person, chosen, form, error)
    return go(request, PEOPLE.path)


def _known(context: Context, name: str) -> Person:
    person = context.view.roster.person(name)
    if person is None:
        raise NotFound(
            f"There is no account {name[:64]!r} any more.", "Go back to the list: it may have been removed."
        )
    return person


def _verb(name: str) -> PersonVerb:
    if name not in VERBS:
        raise NotFound("Nothing of that name can be done with an account.", "Go back to the list.")
    return VERBS[name]


def _dialog(
    request: Request, person: Person, verb: PersonVerb, form: Form, error: PiclusterError | None = None
) -> Response:
    role = form.text("role") or person.role.name.lower()
    line = f"picluster people {verb.name} {shlex.quote(person.name)}"
    return page(
        request,
        "settings_person.html",
        person=person,
        verb=verb,
        form=form,
        role=role,
        error=error,
        frame_of_command=f"{line} {{word}}" if verb.name == "role" else line,
        command=f"{line} {role}" if verb.name == "role" else line,
        roles=TokenRequest.ROLES,
        may=MAY,
    )
