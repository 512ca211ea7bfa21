"""Pages for people: plain, rendered here, every value escaped. The dashboard replaces them."""

from __future__ import annotations

from fastapi import APIRouter, Request
from jinja2 import Environment, PackageLoader, select_autoescape
from starlette.responses import HTMLResponse, Response

from picluster.errors import PiclusterError
from picluster.pool.commands import IssueToken
from picluster.pool.model import LEGACY_PREFIX, Actor, Machine, Role, Token
from picluster.server.access.credentials import digest, new_secret
from picluster.server.access.sessions import same_origin
from picluster.server.context import Context
from picluster.server.present import machine_answer
from picluster.server.v1.common import InContext
from picluster.server.v1.machines import find

SAFE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

router = APIRouter(include_in_schema=False)

_pages = Environment(loader=PackageLoader("picluster.server.pages"), autoescape=select_autoescape(["html"]))


def page(template: str, status: int = 200, **values: object) -> HTMLResponse:
    return HTMLResponse(_pages.get_template(template).render(**values), status, SAFE_HEADERS)


@router.get("/")
async def machines_page(request: Request, context: InContext, q: str = "") -> Response:
    """The table of machines, with a search."""
    if not (context.settings.legacy_door and context.settings.public_list):
        return page("closed.html", 401, address=str(request.base_url).rstrip("/"))
    problem, found = "", []
    try:
        found = find(context, q)
    except PiclusterError as error:
        problem = f"{error.message}\n{error.hint}"
    rows = [_row(context, machine) for machine in found]
    total = len(context.view.roster.machines)
    return page("machines.html", 400 if problem else 200, rows=rows, q=q, problem=problem, total=total)


def _row(context: Context, machine: Machine) -> dict[str, object]:
    shown = machine_answer(context.view, context.settings.policy, machine)
    lease = shown.lease
    return {
        "machine": shown,
        "holder": lease.holder.removeprefix(LEGACY_PREFIX) if lease else "",
        "job": lease.job if lease else "",
        "end": _end(lease.expires_in_s) if lease else "",
        "model": shown.facts.get("model") or shown.facts.get("platform") or "",
        "os": shown.facts.get("os") or "",
        "temperature": shown.telemetry.get("temperature", ""),
    }


def _end(seconds: float | None) -> str:
    return "no end" if seconds is None else f"{int(seconds // 60)} m {int(seconds % 60)} s left"


@router.get("/setup")
async def setup_page(context: InContext, code: str = "") -> Response:
    """The one-time link of the first start. Opening it uses nothing up; the button does."""
    return page("setup.html", code=code, token="", problem="")


@router.post("/setup")
async def setup(request: Request, context: InContext) -> Response:
    """Exchange the one-time code for the admin's token, shown this once."""
    address = request.client.host if request.client else ""
    try:
        same_origin(request)
        code = (await request.body()).decode("latin-1").removeprefix("code=")
        used = context.gate.setup_token(code)
        secret = new_secret("person")
        token = Token(
            secret.id, "person", "admin", Role.ADMIN, digest(secret.text), "setup", context.wall_us()
        )
        await context.coordinator.ask(
            IssueToken(Actor("setup", Role.ADMIN, address), token, redeeming=used.id)
        )
    except PiclusterError as error:
        return page("setup.html", error.status, code="", token="", problem=f"{error.message} {error.hint}")
    return page("setup.html", code="", token=secret.text, problem="")
