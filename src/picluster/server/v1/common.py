"""What the endpoints of `/api/v1` share: the context, who asks, and how rows are answered."""

from __future__ import annotations

from typing import Annotated, Any, cast

from fastapi import Depends, Query, Request, Security
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.responses import Response

from picluster.errors import Malformed
from picluster.pool.model import LEGACY_PREFIX, Actor, Role
from picluster.server.access.gate import USER_HEADER, require
from picluster.server.access.sessions import session_actor
from picluster.server.context import Context
from picluster.server.http import encode
from picluster.wire import LONGEST_WAIT_S

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

Wait = Annotated[float, Query(ge=0, le=LONGEST_WAIT_S, description="Seconds to hold this call open")]
Limit = Annotated[int, Query(ge=1, le=1000)]


def context_of(request: Request) -> Context:
    """The service; and from now on the request knows at which revision it began to look, so that a page that takes its
    time is told by its stream what changed meanwhile."""
    context = cast(Context, request.app.state.context)
    if not hasattr(request.state, "at"):
        request.state.at = f"{context.view.roster.epoch}.{context.view.revision}"
    return context


def maybe_actor(request: Request) -> Actor | None:
    """Who asks, if anybody says so."""
    address = request.client.host if request.client else ""
    user = request.headers.get(USER_HEADER, "")
    said = request.headers.get("authorization", "")
    if not said and request.method in ("GET", "HEAD"):
        return session_actor(request)  # a page's own reads; another site's form could send the cookie, too
    actor = context_of(request).gate.actor(said, user, address)
    if actor and actor.name == LEGACY_PREFIX and request.method not in SAFE_METHODS:
        raise Malformed(
            f"{USER_HEADER}: say who you are when you use the shared key.",
            "Send a name in the header X-Picluster-User, percent-encoded: `ann`, `J%C3%BCrgen`.",
            field=USER_HEADER,
        )
    return actor


class Token(SecurityBase):
    """Who asks, by token or by a page's session; and in the API's description, that a call takes a token."""

    def __init__(self) -> None:
        self.model = HTTPBearer(description="A person's, a CI job's or a board's token; or the shared key.")
        self.scheme_name = "token"

    async def __call__(self, request: Request) -> Actor | None:
        return maybe_actor(request)


TOKEN = Token()


def asked_by(role: Role) -> Any:
    """A dependency: whoever asks, of whom the description says that they need this role."""
    return Security(TOKEN, scopes=[role.name.lower()])


def at_least(role: Role) -> Any:
    """A dependency: the actor, who has at least this role."""

    asked = asked_by(role)

    async def needed(actor: Actor | None = asked) -> Actor:
        return require(actor, role)

    return Depends(needed)


async def list_reader(
    request: Request, actor: Annotated[Actor | None, asked_by(Role.VIEWER)]
) -> Actor | None:
    """The list of machines is open to read while the old door is, unless a setting closes it."""
    settings = context_of(request).settings
    if settings.legacy_door and settings.public_list:
        return actor
    return require(actor, Role.VIEWER)


InContext = Annotated[Context, Depends(context_of)]
Viewer = Annotated[Actor, at_least(Role.VIEWER)]
User = Annotated[Actor, at_least(Role.USER)]
Operator = Annotated[Actor, at_least(Role.OPERATOR)]
Admin = Annotated[Actor, at_least(Role.ADMIN)]
ListReader = Annotated[Actor | None, Depends(list_reader)]


def answer(body: Any, status: int = 200, **headers: str) -> Response:
    return Response(encode(body), status, headers, media_type="application/json")
