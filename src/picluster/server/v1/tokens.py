"""Tokens over HTTP, and who one is."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from picluster import __version__
from picluster.errors import Malformed
from picluster.pool.commands import IssueToken, RevokeToken
from picluster.pool.model import Role, Token
from picluster.server.access.credentials import digest, new_secret
from picluster.server.access.gate import require
from picluster.server.present import token_answer
from picluster.server.v1.common import Admin, InContext, Limit, Operator, Viewer, answer
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
async def list_tokens(context: InContext, actor: Admin, limit: Limit = 1000, after: str = "") -> Response:
    """Tokens without their secrets, oldest first; the next page begins behind the token `after`."""
    known = context.view.roster.tokens
    if after and after not in known:
        raise Malformed(
            "after: no token has this id any more.", "Begin again without `after`.", field="after"
        )
    start = _in_order(known[after]) if after else (-1, "")
    tokens = sorted((token for token in known.values() if _in_order(token) > start), key=_in_order)
    return answer([token_answer(token) for token in tokens[:limit]])


def _in_order(token: Token) -> tuple[int, str]:
    return (token.issued_us, token.id)


@router.post("/tokens", response_model=TokenAnswer, status_code=201)
async def make_token(ask: TokenRequest, context: InContext, actor: Operator) -> Response:
    """A new token. Its text is in this answer and nowhere else. Operators make join tokens, admins all kinds."""
    joins = ask.kind == "join"
    if not joins:
        require(actor, Role.ADMIN)
    raise_problems(ask.problems())
    secret = new_secret(ask.kind)
    now = context.wall_us()
    lives_s = ask.expires_in_s or (JOIN_TOKEN_S if joins else 0.0)
    token = Token(
        id=secret.id,
        kind=ask.kind,
        name=ask.name,
        role=ROLE_OF_KIND.get(ask.kind) or Role[ask.role.upper()],
        digest=digest(secret.text),
        issued_by=actor.name,
        issued_us=now,
        expires_us=now + int(lives_s * 1e6) if lives_s else 0,
        uses_left=ask.uses if joins else 0,
        approve=ask.approve,
    )
    issued = await context.coordinator.ask(IssueToken(actor, token))
    return answer(token_answer(issued, secret.text), 201)


@router.delete("/tokens/{token_id}", response_model=TokenAnswer)
async def revoke_token(token_id: str, context: InContext, actor: Admin) -> Response:
    """End a token. Repeating is the same answer."""
    return answer(token_answer(await context.coordinator.ask(RevokeToken(actor, token_id))))
