"""The service as one ASGI application: the hot calls first, FastAPI for the rest, one form of error for all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from picluster import __version__
from picluster.errors import Malformed, NotFound, PiclusterError, Unavailable
from picluster.pool.commands import IssueToken, RevokeToken
from picluster.pool.model import SYSTEM, Role, Token
from picluster.pool.people import has_admin
from picluster.server.access.credentials import (
    ADMIN_TOKEN_ID,
    SHORTEST_ADMIN_TOKEN,
    digest,
    new_secret,
    same,
)
from picluster.server.access.gate import Gate
from picluster.server.context import Context
from picluster.server.coordinator import Coordinator
from picluster.server.downloads import router as downloads
from picluster.server.figures import OfThePool, OfTheProcess
from picluster.server.http import (
    LARGEST_BODY,
    BodyTooLarge,
    Hot,
    error_body,
    error_headers,
    header,
    send_error,
    without_body,
)
from picluster.server.legacy import LegacyDoor
from picluster.server.metrics import Metrics
from picluster.server.pages.frame import is_part, problem
from picluster.server.pages.routes import dashboard
from picluster.server.pages.routes import router as pages
from picluster.server.pages.static import router as static
from picluster.server.power import Power
from picluster.server.settings import Settings
from picluster.server.v1 import backup, events, joining, leases, machines, people, reports, tokens, webhooks
from picluster.server.v1 import settings as settings_api
from picluster.server.v1.beats import Beats, beat_path
from picluster.server.view import View
from picluster.server.webhooks.courier import Couriers
from picluster.store import Store, StoreProblem
from picluster.wire import ErrorAnswer

REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorAnswer, "description": "Refused; nothing was changed"},
    "503": {"model": ErrorAnswer, "description": "Not now; safe to repeat"},
}
"""In the API's reference, for every call; FastAPI would promise a 422 of its own form."""

API = "/api/"

NO_OBJECT = "must be a JSON object, sent with `Content-Type: application/json`"


class Service:
    """One service: `app` is the ASGI application, `context` what is behind it."""

    def __init__(
        self, settings: Settings, store: Store, *, shared: bool = False, power: Power | None = None
    ) -> None:
        metrics = Metrics()
        view = View(cap_s=settings.policy.slack_s)
        coordinator = Coordinator(
            store, view, settings.policy, pulse_s=settings.pulse_s, metrics=metrics, shared=shared
        )
        self.context = Context(settings, store, view, coordinator, None, metrics)  # type: ignore[arg-type]
        for figures in (OfThePool(view), OfTheProcess(coordinator)):
            metrics.registry.register(figures)
        self.context.power = power or Power()
        self.context.gate = Gate(view, settings.api_key, self.context.wall_us)
        self.context.dashboard = dashboard(self.context)
        self.context.couriers = Couriers(self.context)
        self.setup_code = ""
        """The secret in the one-time link of a first start; empty when an admin exists."""
        self.app: ASGIApp = Front(self._api(), self.context)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the store and take turns for the time of the block."""
        await self.context.coordinator.start()
        try:
            await self._first_admin()
            await self.context.dashboard.remember()
            self.context.couriers.start()
            yield
        finally:
            self.stop_waiting()
            await self.context.couriers.stop()
            await self.context.coordinator.stop()

    def stop_waiting(self) -> None:
        """End streams and held-open calls; their clients are told to ask again. For signal handlers, too."""
        self.context.stopping.set()

    def _api(self) -> FastAPI:
        api = FastAPI(title="picluster", version=__version__, lifespan=None, docs_url=None, redoc_url=None)
        api.state.context = self.context
        v1 = APIRouter(prefix="/api/v1", responses=REFUSALS)
        for part in (
            machines,
            leases,
            events,
            tokens,
            people,
            joining,
            reports,
            settings_api,
            webhooks,
            backup,
        ):
            v1.include_router(part.router)
        api.include_router(v1)
        api.include_router(pages)
        api.include_router(static)
        api.include_router(downloads)
        api.include_router(_health(self.context))
        api.add_exception_handler(PiclusterError, _refuse)
        api.add_exception_handler(RequestValidationError, _malformed)
        api.add_exception_handler(HTTPException, _http_error)
        api.add_exception_handler(Exception, _broken)
        return api

    async def _first_admin(self) -> None:
        """Somebody has to be admin: the configured token, or a one-time link while there is no other."""
        ask, roster = self.context.coordinator.ask, self.context.view.roster
        chosen = self.context.settings.admin_token
        known = roster.tokens.get(ADMIN_TOKEN_ID)
        if chosen and len(chosen) < SHORTEST_ADMIN_TOKEN:
            raise StoreProblem(
                f"PICLUSTER_ADMIN_TOKEN has fewer than {SHORTEST_ADMIN_TOKEN} characters.",
                "Use `openssl rand -hex 32`.",
                exit_code=2,
            )
        if chosen and known is None:
            await ask(
                IssueToken(
                    SYSTEM,
                    Token(
                        ADMIN_TOKEN_ID,
                        "person",
                        "admin",
                        Role.ADMIN,
                        digest(chosen),
                        issued_us=self.context.wall_us(),
                    ),
                )
            )
        elif chosen and known is not None and (known.revoked or not same(known.digest, digest(chosen))):
            raise StoreProblem(
                "PICLUSTER_ADMIN_TOKEN is not the token that this pool was set up with.",
                "Use that one, or unset it and make tokens through the API.",
                exit_code=2,
            )
        if has_admin(roster, self.context.wall_us()):
            return
        for old in list(roster.tokens.values()):
            if old.kind == "setup" and not old.revoked:
                await ask(RevokeToken(SYSTEM, old.id))
        secret = new_secret("setup")
        await ask(
            IssueToken(
                SYSTEM,
                Token(
                    secret.id,
                    "setup",
                    "setup",
                    Role.NOBODY,
                    digest(secret.text),
                    issued_us=self.context.wall_us(),
                ),
            )
        )
        self.setup_code = secret.text


class Front:
    """Outermost: the calls that come thousands a second go straight to their handlers, all bodies have a limit."""

    def __init__(self, api: ASGIApp, context: Context) -> None:
        self._api = api
        self._metrics = context.metrics
        self._beats = Beats(context)
        self._hot: dict[tuple[str, str], Hot] = {}
        self._read_list: Hot | None = None
        if context.settings.legacy_door:
            door = LegacyDoor(context)
            self._hot, self._read_list = door.routes(), door.read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._api(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        if method == "HEAD":
            await without_body(self, scope, receive, send)
            return
        hot = self._hot.get((method, path))
        if hot is not None:
            await hot(scope, receive, send)
        elif method == "POST" and (name := beat_path(path)):
            await self._beats(scope, receive, send, name)
        elif (
            path == "/"
            and method == "GET"
            and self._read_list
            and "text/html" not in header(scope, b"accept")
        ):
            await self._read_list(scope, receive, send)
        else:
            await self._guarded(scope, receive, send)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """FastAPI reads bodies whole, so one that is too large is refused by what it says, or where it gets so."""
        size = 0

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > LARGEST_BODY:
                raise HTTPException(
                    BodyTooLarge.status
                )  # the one kind of error that FastAPI passes on from here
            return message

        length = header(scope, b"content-length")
        program = scope["path"].startswith(API)
        if program and length.isdecimal() and int(length) > LARGEST_BODY:
            error = BodyTooLarge(hint=f"At most {LARGEST_BODY} bytes are read.")
            self._metrics.error(error)
            await send_error(send, error)
            return
        await self._api(scope, limited, send)


def _health(context: Context) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/healthz")
    async def healthz() -> Response:
        """The process lives."""
        return PlainTextResponse("ok\n")

    @router.get("/readyz")
    async def readyz() -> Response:
        """A turn succeeded lately."""
        if context.stopping.is_set() or not context.coordinator.alive():
            raise Unavailable("No turn has succeeded lately.", "Look at the service's log.")
        return PlainTextResponse("ok\n")

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(context.metrics.text(), media_type="text/plain; version=0.0.4")

    return router


def _response(error: PiclusterError) -> Response:
    return Response(error_body(error), error.status, error_headers(error), media_type="application/json")


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, PiclusterError)
    return _answer(request, error)


def _answer(request: Request, error: PiclusterError) -> Response:
    """As a page for people, and in the API's form for programs."""
    request.app.state.context.metrics.error(error)
    accepts = request.headers.get("accept", "")
    by_people = "text/html" in accepts or is_part(request)
    return problem(request, error) if by_people and not request.url.path.startswith(API) else _response(error)


async def _malformed(request: Request, error: Exception) -> Response:
    """FastAPI's findings in our form: every bad field at once."""
    assert isinstance(error, RequestValidationError)
    fields = dict(_field(found) for found in error.errors())
    message = "; ".join(f"{name}: {what}" for name, what in fields.items())
    return _answer(request, Malformed(message, "Correct these fields and ask again.", fields=fields))


def _field(found: Mapping[str, Any]) -> tuple[str, str]:
    """(name as the client typed it, what is wrong with it)."""
    where, *path = found["loc"]
    if found["type"] == "json_invalid":
        return "body", f"is not JSON: {found['ctx']['error']}, at character {path[0]}"
    if where == "body" and not path:
        return "body", NO_OBJECT
    return ".".join(str(part) for part in path), found["msg"]


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return _answer(
            request, NotFound(f"There is nothing at {request.url.path}.", "The API is at /api/v1; see /docs.")
        )
    if error.status_code == BodyTooLarge.status:
        return _answer(request, BodyTooLarge(hint=f"At most {LARGEST_BODY} bytes are read."))
    if error.status_code == 400:  # FastAPI's only one: what `json` cannot even say where to find
        return _answer(request, Malformed(f"body: {NO_OBJECT}", fields={"body": NO_OBJECT}))
    response = _answer(request, Malformed(str(error.detail)))
    response.status_code = error.status_code
    response.headers.update(error.headers or {})
    return response


async def _broken(request: Request, error: Exception) -> Response:
    return _answer(
        request,
        PiclusterError(
            "The service failed on this request; nothing was changed.", "The service's log says more."
        ),
    )
