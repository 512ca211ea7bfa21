"""Credentials come and go as rows like any other, so every replica knows of a revoked one in milliseconds."""

from __future__ import annotations

from dataclasses import replace

from picluster.errors import Conflict, NotFound
from picluster.pool.commands import IssueToken, RevokeToken
from picluster.pool.ledger import Ledger
from picluster.pool.model import Token


def issue(ledger: Ledger, ask: IssueToken) -> Token:
    """A new credential; with `redeeming`, the one-time one it is exchanged for is used up."""
    if ask.token.id in ledger.roster.tokens:
        raise Conflict("A token with this id exists already.", "Ask again; ids are random.")
    if ask.redeeming:
        used = ledger.roster.tokens.get(ask.redeeming)
        if used is None or used.revoked:
            raise NotFound(
                "This link was used already, or a newer one was printed.",
                "Restart the service for a new one.",
            )
        ledger.save(replace(used, revoked=True, revoked_s=ledger.now))
    token = ledger.save(ask.token)
    ledger.note(
        "token.issued",
        ask.by,
        detail={"token": token.id, "kind": token.kind, "name": token.name, "role": token.role.name.lower()},
    )
    return token


def revoke(ledger: Ledger, ask: RevokeToken) -> Token:
    """The credential works no more."""
    token = ledger.roster.tokens.get(ask.token)
    if token is None:
        raise NotFound(f"No token has the id {ask.token!r}.", "`picluster token list` shows them.")
    if token.revoked:
        return token
    token = ledger.save(replace(token, revoked=True, revoked_s=ledger.now))
    ledger.note("token.revoked", ask.by, detail={"token": token.id, "name": token.name})
    return token
