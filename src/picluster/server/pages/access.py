"""Into the pages and out again: log in, log out, and the one-time link of the first start."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from picluster.errors import Malformed, NotAllowed, PiclusterError
from picluster.server.access import sessions
from picluster.server.access.credentials import Secret
from picluster.server.context import Context
from picluster.server.pages import forms
from picluster.server.pages.forms import Form
from picluster.server.pages.frame import go, page
from picluster.server.v1.common import InContext

router = APIRouter(include_in_schema=False)


@router.get("/login")
async def login_page(request: Request, context: InContext) -> Response:
    """By name and password; or with a token, or the shared key."""
    return _login(request, context, forms.asked(request))


@router.post("/login")
async def login(request: Request, context: InContext) -> Response:
    """On to where one wanted to be."""
    form = await forms.sent(request)
    try:
        secret = await _begun(context, form, _address(request))
        await sessions.end(context, request)  # the one that this browser had, perhaps somebody else's
    except PiclusterError as error:
        return _login(request, context, form, error)
    return _inside(request, secret, _onward(request, form))


async def _begun(context: Context, form: Form, address: str) -> Secret:
    name = form.text("name")
    if form.text("token"):
        secret, _ = await sessions.begin_with_token(context, form.text("token"), name, address)
    else:
        secret, _ = await sessions.begin(context, name, form.raw("password"), address)
    return secret


def _login(request: Request, context: Context, form: Form, error: PiclusterError | None = None) -> Response:
    return page(
        request,
        "login.html",
        next=_onward(request, form),
        error=error,
        name=form.text("name"),
        by_token=bool(form.text("token")),
        legacy=context.settings.legacy_door,
    )


def _onward(request: Request, form: Form) -> str:
    """Where one wanted to be; not back here, as from the button that stands on this page, too."""
    where = forms.back_to(request, form)
    return "/" if where.partition("?")[0] in ("/login", "/setup") else where


def _inside(request: Request, secret: Secret, where: str) -> Response:
    response = go(request, where)
    sessions.set_cookie(response, request, secret)
    return response


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


@router.post("/logout")
async def logout(request: Request, context: InContext) -> Response:
    """The session ends, at every replica."""
    await forms.sent(request)
    await sessions.end(context, request)
    response = go(request, "/")
    sessions.clear_cookie(response, request)
    return response


@router.get("/setup")
async def setup_page(request: Request, context: InContext, code: str = "") -> Response:
    """The one-time link of the first start, or that it is none any more. Opening it uses nothing up; the button does."""
    try:
        context.gate.setup_token(code)
    except NotAllowed as over:
        return _over(request, over)
    return page(request, "setup.html", code=code, name="")


def _over(request: Request, over: NotAllowed) -> Response:
    """Said before anything is typed, with the way on."""
    return page(request, "setup_over.html", error=over)


@router.post("/setup")
async def setup(request: Request, context: InContext) -> Response:
    """The first account, of an admin; one is logged in to it at once."""
    form = await forms.sent(request)
    code, name, password = form.text("code"), form.text("name"), form.raw("password")
    try:
        if password != form.raw("again"):
            raise Malformed("again: the two passwords differ.", "Type the same twice.", field="again")
        secret, _ = await sessions.begin_as_first_admin(context, code, name, password, _address(request))
    except NotAllowed as over:
        return _over(request, over)
    except PiclusterError as error:
        return page(request, "setup.html", error.status, code=code, name=name, error=error)
    return _inside(request, secret, "/add")
