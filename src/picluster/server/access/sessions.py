"""A browser's session is a token in a cookie: a row like others, so a log-out is known to every replica at once.

A page calls `begin` or `begin_with_token` and gives the secret to `set_cookie`; from then on `session_actor`
knows who asks. Every form has to ask `same_origin` before it changes anything.
"""

from __future__ import annotations

from typing import cast
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from picluster.errors import Malformed, NotAllowed
from picluster.pool.commands import IssueToken, RevokeToken
from picluster.pool.model import LEGACY_PREFIX, SESSION, Actor, Role, Token
from picluster.server.access import accounts
from picluster.server.access.credentials import Secret, new_secret
from picluster.server.access.gate import BY_KEY, BY_PASSWORD, BY_SETUP, BY_TOKEN
from picluster.server.context import Context

SESSION_S = 14 * 86_400.0
"""How long one stays logged in: over a holiday of a week, but not on a computer that was given away."""

COOKIE = "picluster_session"

NOWHERE = "nowhere"
"""What no origin is equal to, for a request that does not say whom it is for."""

SECURE_PREFIX = "__Host-"
"""Under TLS: browsers take such a cookie only from this very host, over TLS, so no neighbour can plant one."""

# Beginning and ending


async def begin(
    context: Context, name: str, password: str, address: str, *, how: str = BY_PASSWORD
) -> tuple[Secret, Actor]:
    """Log in with a password. Raises `WrongPassword`, `TooManyAttempts`, or `NotAllowed` for a disabled account."""
    person = await accounts.proven(context, name, password, address)
    actor = Actor(person.name, person.role, address)
    return await _begin(context, actor, how, proven=person.password)


async def begin_with_token(context: Context, text: str, name: str, address: str) -> tuple[Secret, Actor]:
    """Log in with a token, for as long as that lives; or with the shared key and a name, which nobody verifies."""
    if not text.strip():
        raise Malformed("token: it is empty.", "Paste yours; an admin makes one.", field="token")
    who = quote(name.strip(), safe="", errors="surrogatepass")
    actor = context.gate.actor(f"Bearer {text.strip()}", who, address)
    assert actor is not None
    if actor.role <= Role.NOBODY:
        raise NotAllowed("This is the token of a board.", "Log in with one of your own.")
    if actor.name == LEGACY_PREFIX:
        raise Malformed("name: say who you are when you use the shared key.", field="name")
    if actor.legacy:
        return await _begin(context, actor, BY_KEY)
    return await _begin(context, actor, f"{BY_TOKEN}{actor.token}")


async def begin_as_first_admin(
    context: Context, code: str, name: str, password: str, address: str
) -> tuple[Secret, Actor]:
    """The one-time link makes the first admin's account and logs in to it."""
    await accounts.first_admin(context, code, name, password, address)
    return await begin(context, name, password, address, how=BY_SETUP)


async def _begin(context: Context, actor: Actor, how: str, proven: str = "") -> tuple[Secret, Actor]:
    secret, now = new_secret(SESSION), context.wall_us()
    token = Token(
        secret.id,
        SESSION,
        actor.name,
        actor.role,
        context.gate.session_digest(secret.text, how),
        issued_by=how,
        issued_us=now,
        expires_us=now + int(SESSION_S * 1e6),
    )
    await context.coordinator.ask(IssueToken(actor, token, proven=proven))
    return secret, context.gate.session(secret.text, actor.address) or actor


async def end(context: Context, request: Request) -> None:
    """Log out, if one is logged in."""
    actor = session_actor(request)
    if actor is not None:
        await context.coordinator.ask(RevokeToken(actor, actor.token))


def sessions_of(context: Context, name: str) -> list[Token]:
    """Where somebody is logged in, the latest first."""
    now = context.wall_us()
    tokens = context.view.roster.tokens.values()
    mine = [token for token in tokens if (token.kind, token.name, token.revoked) == (SESSION, name, False)]
    return sorted((one for one in mine if one.expires_us > now), key=lambda one: -one.issued_us)


# Requests and answers


def session_actor(request: Request) -> Actor | None:
    """Who is logged in; None without a session that still counts."""
    text = request.cookies.get(_cookie(request))
    if not text:
        return None
    address = request.client.host if request.client else ""
    return cast(Context, request.app.state.context).gate.session(text, address)


def set_cookie(response: Response, request: Request, secret: Secret) -> None:
    """Let the browser keep the session: for no script to read, and for no other site's form to use."""
    _keep(response, request, secret.text, int(SESSION_S))


def clear_cookie(response: Response, request: Request) -> None:
    """Let the browser forget the session."""
    _keep(response, request, "", 0)


def same_origin(request: Request) -> None:
    """Only our own pages may change anything: by `Sec-Fetch-Site`, or, where the browser does not send it (plain HTTP
    on a LAN), by an `Origin` that is ours. Raises `NotAllowed`."""
    site = request.headers.get("sec-fetch-site")
    ours = _netloc(request.headers.get("origin", "")) == (request.headers.get("host") or NOWHERE)
    if site != "same-origin" and (site or not ours):
        raise NotAllowed(
            "This form was sent from another site.", "Open our own page, and send it from there."
        )


def _netloc(origin: str) -> str:
    """Host and port of an origin; nothing of what is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _keep(response: Response, request: Request, value: str, seconds: int) -> None:
    response.set_cookie(
        _cookie(request),
        value,
        max_age=seconds,
        path="/",
        secure=_over_tls(request),
        httponly=True,
        samesite="lax",
    )


def _cookie(request: Request) -> str:
    return SECURE_PREFIX + COOKIE if _over_tls(request) else COOKIE


def _over_tls(request: Request) -> bool:
    """Whether the browser speaks TLS, with us or with a proxy that we trust (the server then says so in the scope)."""
    return request.url.scheme == "https"
