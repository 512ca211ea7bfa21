"""Tokens over HTTP, and who one is."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from picluster import __version__
from picluster.errors import Malformed
from picluster.pool.commands import IssueToken, RevokeToken
from picluster.pool.model import SESSION, Actor, Role, Token
from picluster.pool.tokens import of_a_person
from picluster.server.access.credentials import digest, new_secret
from picluster.server.access.gate import BY_TOKEN, require
from picluster.server.context import Context
from picluster.server.present import token_answer
from picluster.server.v1.common import InContext, Limit, Viewer, answer
from picluster.wire import JOIN_TOKEN_S, TokenAnswer, TokenRequest, WhoAmI, raise_problems

router = APIRouter(tags=["access"])

ROLE_OF_KIND = {"agent": Role.AGENT, "join": Role.JOIN}


@router.get("/whoami", response_model=WhoAmI)
async def whoami(context: InContext, actor: Viewer) -> Response:
    """Who asks, and whom."""
    view = context.view
    return answer(
        WhoAmI(
            name=actor.name,
            role=actor.role.name.lower(),
            version=__version__,
            service_s=view.now(),
            wall_us=context.wall_us(),
            epoch=view.roster.epoch,
            revision=view.revision,
            legacy_door=context.settings.legacy_door,
        )
    )


@router.get("/tokens", response_model=list[TokenAnswer])
async def list_tokens(context: InContext, actor: Viewer, limit: Limit = 1000, after: str = "") -> Response:
    """Tokens without their secrets, oldest first; the next page begins behind the token `after`. Whoever is not admin
    sees what they could revoke."""
    known = visible_tokens(context, actor)
    if after and after not in known:
        raise Malformed(
            "after: no token has this id any more.", "Begin again without `after`.", field="after"
        )
    start = _in_order(known[after]) if after else (-1, "")
    tokens = sorted((token for token in known.values() if _in_order(token) > start), key=_in_order)
    return answer([token_answer(token) for token in tokens[:limit]])


def visible_tokens(context: Context, actor: Actor) -> dict[str, Token]:
    """By id: those that they could revoke. Sessions are no tokens to anybody who lists them."""
    return {
        token_id: token
        for token_id, token in context.view.roster.tokens.items()
        if token.kind != SESSION and _may_revoke(context, actor, token)
    }


def _may_revoke(context: Context, actor: Actor, token: Token | None) -> bool:
    """Admins any, others their own and the join tokens that they have made."""
    if actor.role is Role.ADMIN or own(context, actor, token):
        return True
    made = token is not None and token.kind == "join" and token.issued_by == actor.name
    return made and actor.role is Role.OPERATOR


def own(context: Context, actor: Actor, token: Token | None) -> bool:
    """Whether a credential belongs to the person who asks. Programs with a token of their own have no others."""
    if token is None or not of_a_person(token) or not _is_person(context, actor):
        return False
    return token.name == actor.name


def _is_person(context: Context, actor: Actor) -> bool:
    shown = _shown(context, actor)
    return shown is not None and of_a_person(shown) and not actor.legacy


def _shown(context: Context, actor: Actor) -> Token | None:
    """What somebody came with: a token, also through a session that was begun with it; or a session of an account."""
    tokens = context.view.roster.tokens
    shown = tokens.get(actor.token)
    if shown is not None and shown.kind == SESSION and shown.issued_by.startswith(BY_TOKEN):
        return tokens.get(shown.issued_by.removeprefix(BY_TOKEN))
    return shown


def _in_order(token: Token) -> tuple[int, str]:
    return (token.issued_us, token.id)


@router.post("/tokens", response_model=TokenAnswer, status_code=201)
async def make_token(ask: TokenRequest, context: InContext, actor: Viewer) -> Response:
    """A new token. Its text is in this answer and nowhere else. People make personal ones for themselves, with their own
    role at most; operators make join tokens, and admins all kinds."""
    issued, text = await make(context, actor, ask)
    return answer(token_answer(issued, text), 201)


async def make(context: Context, actor: Actor, ask: TokenRequest, *, label: str = "") -> tuple[Token, str]:
    """A new token for somebody who asks: the row, and the text that is shown this once. Raises `NotAllowed`, or
    `Malformed` that names every bad field."""
    _raise_unless_allowed(context, actor, ask)
    raise_problems(ask.problems())
    return await issue(context, actor, ask, label=label)


def _raise_unless_allowed(context: Context, actor: Actor, ask: TokenRequest) -> None:
    if ask.kind == "join":
        require(actor, Role.OPERATOR)
        return
    for_oneself = ask.kind == "person" and ask.name == actor.name and _is_person(context, actor)
    if not for_oneself or Role.__members__.get(ask.role.upper(), Role.VIEWER) > actor.role:
        require(actor, Role.ADMIN)


async def issue(
    context: Context, actor: Actor, ask: TokenRequest, *, label: str = "", proven: str = ""
) -> tuple[Token, str]:
    """Make a token that was asked for by somebody who may; the row, and the text that is shown this once."""
    secret, now = new_secret(ask.kind), context.wall_us()
    joins = ask.kind == "join"
    lives_s = ask.expires_in_s or (JOIN_TOKEN_S if joins else 0.0)
    token = Token(
        id=secret.id,
        kind=ask.kind,
        name=ask.name,
        role=ROLE_OF_KIND.get(ask.kind) or Role[ask.role.upper()],
        digest=digest(secret.text),
        issued_by=label or actor.name,
        issued_us=now,
        expires_us=_no_later(context, actor, now + int(lives_s * 1e6) if lives_s else 0),
        uses_left=ask.uses if joins else 0,
        approve=ask.approve,
    )
    issued: Token = await context.coordinator.ask(IssueToken(actor, token, proven=proven))
    return issued, secret.text


def _no_later(context: Context, actor: Actor, expires_us: int) -> int:
    """When it ends: for those who are not admin no later than the token they asked with, or one that was lent or stolen
    for a day would be good for ever."""
    shown = _shown(context, actor)
    if shown is None or shown.kind == SESSION or not shown.expires_us or actor.role is Role.ADMIN:
        return expires_us
    return min(expires_us or shown.expires_us, shown.expires_us)


@router.delete("/tokens/{token_id}", response_model=TokenAnswer)
async def revoke_token(token_id: str, context: InContext, actor: Viewer) -> Response:
    """End a token: one's own, as an operator also a join token that one has made, as an admin any. Repeating is the same
    answer."""
    return answer(token_answer(await revoke(context, actor, token_id)))


async def revoke(context: Context, actor: Actor, token_id: str) -> Token:
    """It works no more. Raises `NotAllowed`."""
    if not _may_revoke(context, actor, context.view.roster.tokens.get(token_id)):
        require(actor, Role.ADMIN)
    ended: Token = await context.coordinator.ask(RevokeToken(actor, token_id))
    return ended
