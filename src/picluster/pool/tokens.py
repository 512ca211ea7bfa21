"""Credentials come and go as rows like any other, so every replica knows of a revoked one in milliseconds."""

from __future__ import annotations

from dataclasses import replace

from picluster.errors import Conflict, NotAuthenticated, NotFound
from picluster.pool.commands import IssueToken, RevokeToken
from picluster.pool.ledger import Ledger
from picluster.pool.model import CONFIGURED_ADMIN, SESSION, Actor, Token


def of_a_person(token: Token) -> bool:
    """Whether it stands for somebody whose account, if there is one, decides about it."""
    operators = token.id == CONFIGURED_ADMIN or token.issued_by == f"token:{CONFIGURED_ADMIN}"
    return token.kind in ("person", SESSION) and not operators


def issue(ledger: Ledger, ask: IssueToken) -> Token:
    """A new credential; with `redeeming`, the one-time one it is exchanged for is used up."""
    if ask.token.id in ledger.roster.tokens:
        raise Conflict("A token with this id exists already.", "Ask again; ids are random.")
    _still_welcome(ledger, ask)
    if ask.redeeming:
        redeem(ledger, ask.redeeming)
    token = ledger.save(ask.token)
    ledger.note(
        "session.begun" if token.kind == SESSION else "token.issued",
        ask.by,
        detail={"token": token.id, "kind": token.kind, "name": token.name, "role": token.role.name.lower()},
    )
    return token


def _still_welcome(ledger: Ledger, ask: IssueToken) -> None:
    """Whoever compared the password has looked at an older copy: the account may have changed in this very batch."""
    token = ask.token
    if not of_a_person(token):
        return
    person = ledger.roster.person(token.name)
    if ask.proven and (person is None or person.password != ask.proven):
        raise NotAuthenticated("The password was changed just now.", "Log in with the new one.")
    if person is not None and person.disabled:
        raise Conflict(f"The account {person.name} is disabled.", f"`picluster people enable {person.name}`")


def redeem(ledger: Ledger, token_id: str) -> None:
    """Use up a one-time credential. Raises `NotFound` when that was done before."""
    used = ledger.roster.tokens.get(token_id)
    if used is None or used.revoked:
        raise NotFound(
            "This link was used already, or a newer one was printed.",
            "Restart the service for a new one.",
        )
    ledger.save(replace(used, revoked=True, revoked_s=ledger.now))


def revoke(ledger: Ledger, ask: RevokeToken) -> Token:
    """The credential works no more."""
    token = ledger.roster.tokens.get(ask.token)
    if token is None:
        raise NotFound(f"No token has the id {ask.token!r}.", "`picluster token list` shows them.")
    return end(ledger, ask.by, token)


def end(ledger: Ledger, by: Actor, token: Token) -> Token:
    """Revoke this one, unless it is."""
    if token.revoked:
        return token
    token = ledger.save(replace(token, revoked=True, revoked_s=ledger.now))
    kind = "session.ended" if token.kind == SESSION else "token.revoked"
    ledger.note(kind, by, detail={"token": token.id, "name": token.name})
    return token


def overdue(ledger: Ledger, token_id: str) -> None:
    """Forget a token that has been over for long enough. A session ends by the wall clock, which is asked again."""
    token = ledger.roster.tokens.get(token_id)
    if token is None:
        return
    deadline = ledger.token_deadline(token)
    if deadline > ledger.now:
        ledger.schedule(("token", token_id), deadline)
    else:
        ledger.roster.drop_token(token_id)
