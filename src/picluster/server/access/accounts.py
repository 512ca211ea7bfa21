"""Who logs in with a password: proving it, changing it, and the first admin of a new pool."""

from __future__ import annotations

from dataclasses import replace

from picluster.errors import Conflict, NotAllowed, WrongPassword
from picluster.pool.commands import AddPerson, AmendPerson, Rehash
from picluster.pool.model import Actor, Person, Role
from picluster.server.access import passwords
from picluster.server.access.gate import disabled
from picluster.server.context import Context
from picluster.wire import LoginRequest, PersonAmendment, PersonRequest, raise_problems


async def proven(context: Context, name: str, password: str, address: str) -> Person:
    """The account, if this is its password.

    Raises `WrongPassword`, after the same time whether or not there is such an account, and `TooManyAttempts`; and
    `Malformed` for what is longer than any name or password, before anything is made of it.
    """
    raise_problems(LoginRequest(name, password).problems())
    with context.gate.attempts.of(name, address):
        person = context.view.roster.person(name)
        if not await passwords.fits(person.password if person else "", password) or person is None:
            raise WrongPassword(hint="Upper and lower case count. An admin can set a new one.")
    if person.disabled:
        raise disabled(person.name)
    return await _under_todays_parameters(context, person, password)


async def _under_todays_parameters(context: Context, person: Person, password: str) -> Person:
    if not passwords.outdated(person.password):
        return person
    fresh = await passwords.hashed(password)
    kept: Person | None = await context.coordinator.ask(Rehash(person.name, person.password, fresh))
    if kept is None or kept.password != fresh:
        raise WrongPassword("The password was changed just now.", "Log in with the new one.")
    return kept


async def add(context: Context, actor: Actor, ask: PersonRequest, redeeming: str = "") -> Person:
    """A new account; asking again is the same one. Raises `Malformed` that names every bad field, or `Conflict`."""
    raise_problems(ask.problems())
    kept = await passwords.hashed(ask.password) if ask.password else ""
    role, now = Role[ask.role.upper()], context.wall_us()
    person = Person(ask.name, role, kept, created_us=now, created_by=actor.name)
    try:
        added: Person = await context.coordinator.ask(AddPerson(actor, person, redeeming))
    except Conflict:
        known = context.view.roster.person(ask.name)
        if known is None or not await _asked_for_before(known, person, ask.password):
            raise
        return known
    return added


async def _asked_for_before(known: Person, wanted: Person, password: str | None) -> bool:
    """Whether this account is what the same request made, whose answer was lost on the way."""
    untouched = replace(wanted, password=known.password, created_us=known.created_us, revision=known.revision)
    if known != untouched or bool(known.password) != bool(password):
        return False
    return not password or await passwords.fits(known.password, password)


async def amend(context: Context, actor: Actor, name: str, ask: PersonAmendment) -> Person:
    """Change an account, as an admin, or one's own password, knowing the present one."""
    raise_problems(ask.problems(name))
    if actor.role < Role.ADMIN:
        await _only_ones_own_password(context, actor, name, ask)
    amendment = AmendPerson(
        actor,
        name,
        role=Role[ask.role.upper()] if ask.role else None,
        password=await passwords.hashed(ask.password) if ask.password else None,
        disabled=ask.disabled,
    )
    amended: Person = await context.coordinator.ask(amendment)
    return amended


async def _only_ones_own_password(context: Context, actor: Actor, name: str, ask: PersonAmendment) -> None:
    if actor.name.casefold() != name.casefold() or ask.role is not None or ask.disabled is not None:
        raise NotAllowed("Of accounts you may change the password of your own.", "Ask an admin.")
    await proven(context, name, ask.current_password or "", actor.address)


async def first_admin(context: Context, code: str, name: str, password: str, address: str) -> Person:
    """The account of the first admin, in exchange for the one-time link: both in one turn, or neither."""
    used = context.gate.setup_token(code)
    ask = PersonRequest(name, "admin", password)
    return await add(context, Actor("setup", Role.ADMIN, address), ask, redeeming=used.id)
