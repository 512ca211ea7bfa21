"""A new board is let in: a join token for a token of its own."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from picluster.errors import NotAllowed
from picluster.pool.commands import Join
from picluster.pool.model import Actor, Role, Token
from picluster.server.access.credentials import digest, new_secret
from picluster.server.access.gate import require
from picluster.server.v1.common import InContext, answer, asked_by
from picluster.wire import JoinAnswer, JoinRequest, raise_problems

router = APIRouter(tags=["machines"])


async def _newcomer(actor: Annotated[Actor | None, asked_by(Role.JOIN)]) -> Actor:
    """Who has a join token, and nobody else: a person's would be left behind on the board."""
    known = require(actor, Role.JOIN)
    if known.role is not Role.JOIN:
        raise NotAllowed("Boards join with a join token.", "An operator makes one: `picluster join`.")
    return known


@router.post("/join", response_model=JoinAnswer, status_code=201)
async def join(ask: JoinRequest, context: InContext, actor: Annotated[Actor, Depends(_newcomer)]) -> Response:
    """A board gets its name in the pool and a token for its beats. Asking again is the same machine, with a fresh token."""
    raise_problems(ask.problems())
    secret = new_secret("agent")
    token = Token(secret.id, "agent", ask.name, Role.AGENT, digest(secret.text), issued_us=context.wall_us())
    machine = await context.coordinator.ask(
        Join(actor, token, ask.name, ask.id, ask.address, ask.boot_id, ask.host_keys)
    )
    return answer(JoinAnswer(machine.name, secret.text, machine.service, machine.reason), 201)
