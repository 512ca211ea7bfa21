"""Accounts: who may do what at most, and when what they log in with ends. Somebody always stays admin."""

from __future__ import annotations

from dataclasses import replace

from picluster.errors import Conflict, NotFound
from picluster.pool import tokens
from picluster.pool.commands import AddPerson, AmendPerson, ForgetPerson, Rehash
from picluster.pool.ledger import Ledger
from picluster.pool.model import CONFIGURED_ADMIN, SESSION, Actor, Person, Role, Token
from picluster.pool.roster import Roster

# What an account is worth


def standing(person: Person | None, role: Role) -> Role:
    """What is left of a credential's role: no more than the account's, if there is one; nothing while it is disabled."""
    if person is None:
        return role
    return Role.NOBODY if person.disabled else min(role, person.role)


def has_admin(roster: Roster, wall_us: int, instead: Person | None = None) -> bool:
    """Whether somebody can come in as admin: with a password, or with a token. `instead` stands for the account of its name."""
    people = roster.people
    if instead is not None:
        people = {**people, instead.name.casefold(): instead}
    return any(_is_admin(person) for person in people.values()) or any(
        _opens_as_admin(token, people.get(token.name.casefold()), wall_us) for token in roster.tokens.values()
    )


def _is_admin(person: Person) -> bool:
    enabled = not person.disabled and not person.deleted
    return enabled and person.role is Role.ADMIN and bool(person.password)


def _opens_as_admin(token: Token, person: Person | None, wall_us: int) -> bool:
    if token.kind != "person" or token.revoked or 0 < token.expires_us <= wall_us:
        return False
    if token.id == CONFIGURED_ADMIN:
        return token.role is Role.ADMIN
    gone = person is not None and person.deleted  # and its tokens with it
    return not gone and standing(person, token.role) is Role.ADMIN


# What people do with accounts


def add(ledger: Ledger, ask: AddPerson) -> Person:
    """A new account; with `redeeming`, the one-time link it is exchanged for is used up."""
    known = ledger.roster.person(ask.person.name)
    if known is not None:
        raise Conflict(
            f"There is an account {known.name} already.",
            f"Change it: `picluster people role {known.name} …`, or choose another name.",
        )
    _keep_an_admin(ledger, ask.person)
    if ask.redeeming:
        tokens.redeem(ledger, ask.redeeming)
    person = ledger.save(ask.person)
    _note(ledger, "person.added", ask.by, person)
    return person


def amend(ledger: Ledger, ask: AmendPerson) -> Person:
    """Change an account; who may log in no more, or with another password, is logged out in the same turn."""
    old = _existing(ledger, ask.name)
    new = replace(
        old,
        role=old.role if ask.role is None else ask.role,
        password=old.password if ask.password is None else ask.password,
        disabled=old.disabled if ask.disabled is None else ask.disabled,
    )
    if new == old:
        return old
    _keep_an_admin(ledger, new)
    person = ledger.save(new)
    _note(ledger, "person.changed", ask.by, person, password=new.password != old.password)
    if person.disabled:
        _end_credentials(ledger, ask.by, person, SESSION, "person")
    elif new.password != old.password:
        _end_credentials(ledger, ask.by, person, SESSION)
    return person


def rehash(ledger: Ledger, ask: Rehash) -> Person | None:
    """Keep the same password under newer parameters, unless it is another one by now."""
    person = ledger.roster.person(ask.name)
    if person is None or person.password != ask.before:
        return person
    return ledger.save(replace(person, password=ask.after))


def forget(ledger: Ledger, ask: ForgetPerson) -> Person:
    """An account ends, and with it whatever its owner could come in with."""
    old = _existing(ledger, ask.name)
    gone = replace(old, password="", deleted=True, deleted_s=ledger.now)
    _keep_an_admin(ledger, gone)
    person = ledger.save(gone)
    _note(ledger, "person.deleted", ask.by, person)
    _end_credentials(ledger, ask.by, person, SESSION, "person")
    return person


def _existing(ledger: Ledger, name: str) -> Person:
    person = ledger.roster.person(name)
    if person is None:
        raise NotFound(f"There is no account {name!r}.", "`picluster people list` shows them.")
    return person


def _keep_an_admin(ledger: Ledger, changed: Person) -> None:
    """A pool that nobody can administer could not be mended from outside."""
    roster, wall_us = ledger.roster, ledger.wall_us
    if has_admin(roster, wall_us) and not has_admin(roster, wall_us, changed):
        raise Conflict(
            f"Nobody would be admin any more without {changed.name}.",
            "Make somebody else admin first: `picluster people role NAME admin`.",
        )


def _end_credentials(ledger: Ledger, by: Actor, person: Person, *kinds: str) -> None:
    name = person.name.casefold()
    for token in list(ledger.roster.tokens.values()):
        if token.kind in kinds and token.name.casefold() == name and tokens.of_a_person(token):
            tokens.end(ledger, by, token)


def _note(ledger: Ledger, kind: str, by: Actor, person: Person, password: bool = False) -> None:
    """What is told of it: that there is another password, never which."""
    detail = {"name": person.name, "role": person.role.name.lower(), "disabled": person.disabled}
    ledger.note(kind, by, detail=detail | ({"password": "changed"} if password else {}))
