"""Settings of one person: the password, tokens for scripts of their own, and where they are logged in."""

from __future__ import annotations

import asyncio
import shlex
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from picluster.errors import Malformed, NotFound, PiclusterError
from picluster.pool.commands import RevokeToken
from picluster.pool.model import Actor, Role, Token
from picluster.server.access import accounts, sessions
from picluster.server.access.gate import BY_KEY, BY_PASSWORD, BY_SETUP
from picluster.server.context import Context
from picluster.server.downloads import own_address
from picluster.server.pages import forms
from picluster.server.pages.forms import Form
from picluster.server.pages.frame import go, page
from picluster.server.pages.settings import EXPIRIES, USUAL_EXPIRY, YOU, opened, tab_page
from picluster.server.v1 import tokens
from picluster.server.v1.common import InContext
from picluster.store import HistoryQuery
from picluster.wire import PersonAmendment, TokenRequest, text_problem

router = APIRouter(include_in_schema=False)

LONGEST_LABEL = 64
"""Bytes of what a token is for, so that it fits a line of a list."""

BEGUN = {
    BY_PASSWORD: "with the password",
    BY_SETUP: "with the link of the first start",
    BY_KEY: "with the shared key",
}
"""How a session began, in words; else it was with a token."""

MOST_BEGUN = 500
"""Events read for the addresses of sessions: the log-ins of two weeks in a pool of some dozen people."""


@dataclass(frozen=True, slots=True)
class Session:
    """One browser that somebody is logged in with."""

    token: Token
    how: str
    address: str
    """From where it began; empty when that is no more in the record."""
    this: bool


@router.get("/settings")
async def you_page(request: Request, context: InContext) -> Response:
    """Who one is here, with the password, the tokens and the sessions."""
    return await _page(request, context, opened(request, YOU))


async def _page(
    request: Request, context: Context, actor: Actor, error: PiclusterError | None = None
) -> Response:
    person = context.view.roster.person(actor.name)
    return tab_page(
        request,
        YOU,
        "settings_you.html",
        actor=actor,
        person=person,
        has_password=bool(person and person.password) and is_person(context, actor),
        tokens=own_tokens(context, actor),
        purpose=purpose,
        makes_tokens=is_person(context, actor),
        sessions=await _sessions(context, actor),
        error=error,
        address=own_address(request),
        now_us=context.wall_us(),
    )


def is_person(context: Context, actor: Actor) -> bool:
    """Whether tokens and sessions of this name belong to whoever is logged in, and not only this session."""
    return tokens.own(context, actor, context.view.roster.tokens.get(actor.token))


def own_tokens(context: Context, actor: Actor) -> list[Token]:
    """Those that still count, the newest first."""
    now_us = context.wall_us()
    mine = [
        token
        for token in tokens.visible_tokens(context, actor).values()
        if tokens.own(context, actor, token) and not token.revoked
    ]
    live = [token for token in mine if not 0 < token.expires_us <= now_us]
    return sorted(live, key=lambda token: -token.issued_us)


def purpose(token: Token) -> str:
    """What somebody has said that a token is for: here, or when they logged in on the command line."""
    said = token.issued_by.removeprefix(f"{token.name}: ").removeprefix("login: ")
    return said if said not in (token.name, "login") else ""


# The password


@router.post("/settings/password")
async def change_password(request: Request, context: InContext) -> Response:
    """Another one, for whoever knows the present one. It ends all sessions; this browser gets a new one."""
    form = await forms.sent(request, back=YOU.path)
    actor = opened(request, YOU)
    try:
        await _amend(context, actor, form)
    except PiclusterError as error:
        return await _page(request, context, actor, error)
    secret, _ = await sessions.begin(context, actor.name, form.raw("password"), actor.address)
    response = go(request, f"{YOU.path}?done=password")
    sessions.set_cookie(response, request, secret)
    return response


async def _amend(context: Context, actor: Actor, form: Form) -> None:
    present, wanted = form.raw("current_password"), form.raw("password")
    if wanted != form.raw("again"):
        raise Malformed("again: the two passwords differ.", "Type the same twice.", field="again")
    if actor.role >= Role.ADMIN:  # whom `amend` does not ask, but a browser left open is not the admin
        await accounts.proven(context, actor.name, present, actor.address)
    await accounts.amend(
        context, actor, actor.name, PersonAmendment(password=wanted, current_password=present)
    )


# Tokens


@router.get("/settings/token")
async def token_dialog(request: Request, context: InContext) -> Response:
    """What a new token of one's own is for, and how long it lives."""
    return _token_dialog(request, opened(request, YOU), forms.asked(request))


@router.post("/settings/token")
async def make_token(request: Request, context: InContext) -> Response:
    """Made, and shown this once."""
    form = await forms.sent(request)
    actor = opened(request, YOU)
    try:
        token, text = await _make(context, actor, form)
    except PiclusterError as error:
        return _token_dialog(request, actor, form, error)
    return page(
        request,
        "settings_secret.html",
        secret=True,
        token=token,
        text=text,
        home=YOU.path,
        url=own_address(request),
    )


async def _make(context: Context, actor: Actor, form: Form) -> tuple[Token, str]:
    label, role = form.text("label"), form.text("role") or actor.role.name.lower()
    if not label or not label.isprintable() or (problem := text_problem(label, LONGEST_LABEL)):
        what = problem if label and label.isprintable() else "must be one line"
        raise Malformed(f"label: {what}.", "Say what the token is for.", field="label")
    ask = TokenRequest(actor.name, "person", role, forms.duration(form.text("expires"), "expires"))
    return await tokens.make(context, actor, ask, label=f"{actor.name}: {label}")


def _token_dialog(
    request: Request, actor: Actor, form: Form, error: PiclusterError | None = None
) -> Response:
    roles = [role for role in TokenRequest.ROLES if Role[role.upper()] <= actor.role]
    command = f"picluster token create {shlex.quote(actor.name)}"
    return page(
        request,
        "settings_token.html",
        form=form,
        error=error,
        roles=roles,
        role=form.text("role") or roles[-1],
        expiries=EXPIRIES,
        expires=form.text("expires") or USUAL_EXPIRY,
        command=command,
    )


@router.post("/settings/token/{token_id}/revoke")
async def revoke_token(request: Request, context: InContext, token_id: str) -> Response:
    """It works no more, nor do sessions that began with it."""
    await forms.sent(request)
    await tokens.revoke(context, opened(request, YOU), token_id)
    return go(request, f"{YOU.path}?done=revoked")


# Sessions


async def _sessions(context: Context, actor: Actor) -> list[Session]:
    query = HistoryQuery(kind="session.begun", limit=MOST_BEGUN)
    events = await asyncio.to_thread(context.store.history, query)
    addresses = {str(event.detail.get("token")): event.address for event in events}
    return [
        Session(
            token,
            BEGUN.get(token.issued_by, "with a token"),
            addresses.get(token.id, ""),
            token.id == actor.token,
        )
        for token in own_sessions(context, actor)
    ]


def own_sessions(context: Context, actor: Actor) -> list[Token]:
    """Of a person all; of a program, or somebody with the shared key, this one."""
    found = sessions.sessions_of(context, actor.name)
    mine = [token for token in found if token.id == actor.token or tokens.own(context, actor, token)]
    return sorted(mine, key=lambda token: (token.id != actor.token, -token.issued_us))


@router.post("/settings/sessions/end")
async def end_sessions(request: Request, context: InContext) -> Response:
    """One of one's own (`id`), or all but this one."""
    form, actor = await forms.sent(request), opened(request, YOU)
    wanted = form.text("id")
    mine = {token.id for token in own_sessions(context, actor)}
    if wanted and wanted not in mine:
        raise NotFound("That session has ended already.", "Reload the page to see those there are.")
    for session in [wanted] if wanted else mine - {actor.token}:
        await context.coordinator.ask(RevokeToken(actor, session))
    return go(request, f"{YOU.path}?done={'session' if wanted else 'others'}")
