"""Tokens of boards, programs and people: which there are, and new ones, shown this once."""

from __future__ import annotations

import shlex
from collections import Counter

from fastapi import APIRouter, Request
from starlette.responses import Response

from picluster.errors import Malformed, PiclusterError
from picluster.pool.model import Actor, Role, Token
from picluster.server.context import Context
from picluster.server.downloads import own_address
from picluster.server.pages import forms
from picluster.server.pages.forms import Form
from picluster.server.pages.frame import go, page
from picluster.server.pages.settings import EXPIRIES, TOKENS, USUAL_EXPIRY, opened, tab_page
from picluster.server.v1 import tokens
from picluster.server.v1.common import InContext
from picluster.wire import TokenRequest

router = APIRouter(include_in_schema=False)

MOST_SHOWN = 200
"""More are told on the command line; nobody reads a list of a thousand."""

KINDS = {
    "person": ("People", "somebody, for scripts of theirs"),
    "ci": ("Programs", "a program, as a pipeline"),
    "join": ("Joining", "boards that join with it"),
    "agent": ("Boards", "one board, that reports with it"),
}
"""Word and meaning; boards get theirs by joining, so theirs are seldom made by hand."""

JOIN_EXPIRIES = (("1h", "1 hour"), ("24h", "1 day"), ("7d", "7 days"))
USUAL_JOIN_EXPIRY = "24h"


@router.get("/settings/tokens")
async def tokens_page(request: Request, context: InContext, kind: str = "") -> Response:
    """Those that still count, by kind: for admins all, for operators the join tokens that they have made."""
    actor = opened(request, TOKENS)
    live = _live(context, actor)
    counts = Counter(token.kind for token in live)
    kind = kind if kind in KINDS else next((one for one in KINDS if counts[one]), "person")
    found = [token for token in live if token.kind == kind]
    return tab_page(
        request,
        TOKENS,
        "settings_tokens.html",
        kinds=[(key, KINDS[key][0], counts[key]) for key in KINDS if _may_make(actor, key)],
        kind=kind if _may_make(actor, kind) else "join",
        tokens=found[:MOST_SHOWN],
        more=max(0, len(found) - MOST_SHOWN),
        this=_behind(context, actor),
        now_us=context.wall_us(),
    )


def _live(context: Context, actor: Actor) -> list[Token]:
    """The newest first."""
    now_us, kinds = context.wall_us(), {kind for kind in KINDS if _may_make(actor, kind)}
    seen = tokens.visible_tokens(context, actor).values()
    live = [token for token in seen if token.kind in kinds and _counts(token, now_us)]
    return sorted(live, key=lambda token: -token.issued_us)


def _counts(token: Token, now_us: int) -> bool:
    used_up = token.kind == "join" and not token.uses_left
    return not token.revoked and not used_up and not 0 < token.expires_us <= now_us


def _behind(context: Context, actor: Actor) -> str:
    """The token that this session was begun with, if it was."""
    session = context.view.roster.tokens.get(actor.token)
    return session.issued_by.removeprefix("token:") if session else ""


def _may_make(actor: Actor, kind: str) -> bool:
    return actor.role >= Role.ADMIN or kind == "join"


@router.get("/settings/tokens/new")
async def new_dialog(request: Request, context: InContext) -> Response:
    """For whom or what, with which role, and how long."""
    return _dialog(request, opened(request, TOKENS), forms.asked(request))


@router.post("/settings/tokens/new")
async def new_token(request: Request, context: InContext) -> Response:
    """Made, and shown this once."""
    form = await forms.sent(request)
    actor = opened(request, TOKENS)
    try:
        token, text = await tokens.make(context, actor, _asked(form))
    except PiclusterError as error:
        return _dialog(request, actor, form, error)
    home = f"{TOKENS.path}?kind={token.kind}"
    return page(
        request,
        "settings_secret.html",
        secret=True,
        token=token,
        text=text,
        home=home,
        url=own_address(request),
    )


def _asked(form: Form) -> TokenRequest:
    kind = form.text("kind")
    expires_in_s = forms.duration(form.text("expires"), "expires")
    if kind != "join":
        return TokenRequest(form.text("name"), kind, form.text("role", "user"), expires_in_s)
    uses = form.text("uses", "1")
    if not uses.isdecimal() or len(uses) > 4:
        raise Malformed("uses: must be a number of boards.", field="uses")
    return TokenRequest(
        form.text("name") or "boards", kind, "user", expires_in_s, int(uses), form.chosen("approve")
    )


def _dialog(request: Request, actor: Actor, form: Form, error: PiclusterError | None = None) -> Response:
    kinds = [kind for kind in KINDS if _may_make(actor, kind)]
    kind = form.text("kind") if form.text("kind") in kinds else kinds[0]
    expiries = JOIN_EXPIRIES if kind == "join" else EXPIRIES
    usual = {"join": USUAL_JOIN_EXPIRY, "agent": forms.FOR_EVER}.get(kind, USUAL_EXPIRY)
    name = form.text("name") or ("boards" if kind == "join" else "")
    return page(
        request,
        "settings_token_new.html",
        form=form,
        error=error,
        kinds=[(key, *KINDS[key]) for key in kinds],
        kind=kind,
        roles=TokenRequest.ROLES,
        role=form.text("role") or "user",
        expiries=expiries,
        expires=form.text("expires") or usual,
        frame_of_command=f"picluster token create {{word}} --kind {kind}",
        command=f"picluster token create {shlex.quote(name or 'NAME')} --kind {kind}",
    )


@router.post("/settings/tokens/{token_id}/revoke")
async def revoke_token(request: Request, context: InContext, token_id: str) -> Response:
    """It works no more, nor do sessions that began with it."""
    await forms.sent(request)
    token = await tokens.revoke(context, opened(request, TOKENS), token_id)
    return go(request, f"{TOKENS.path}?kind={token.kind}&done=revoked")
