"""Settings of the whole service: what it is set to and why, a copy of the pool, and whose work is in these pages."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from picluster.server.described import described
from picluster.server.pages.frame import SAFE_HEADERS
from picluster.server.pages.settings import BACKUP, LICENCES, POOL, opened, tab_page
from picluster.server.v1.common import InContext
from picluster.wire import SettingAnswer

router = APIRouter(include_in_schema=False)


@router.get("/settings/pool")
async def pool_page(request: Request, context: InContext) -> Response:
    """What it is set to, what that means, and what changes it."""
    opened(request, POOL)
    found = described(context.settings, context.power.rules)
    rules = [one for one in found.settings if "POLICY__" in one.variable]
    service = [one for one in found.settings if one not in rules]
    return tab_page(
        request,
        POOL,
        "settings_pool.html",
        groups=[("service", "The service", service), ("rules", "The rules", rules)],
        power=found.power,
        worded=worded,
        exactly=exactly,
        settings=context.settings,
    )


def worded(one: SettingAnswer, value: str | float | bool | None) -> str:
    """A value as people read it, by the unit in its name."""
    if one.secret:
        return "set, and not shown" if value else "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == "":
        return "not set"
    if one.variable.endswith("_S"):
        return exactly(float(value))
    if one.variable.endswith("_US"):
        return exactly(float(value) / 1e6)
    if one.variable.endswith("_C"):
        return f"{float(value):g} °C"
    if one.variable.endswith("DISK_FULL"):
        return f"{100 * float(value):g} %"
    return str(value)


def exactly(seconds: float) -> str:
    """`1 m 30 s`: all of it, since a setting is no estimate."""
    parts, left = [], seconds
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if left >= length:
            parts.append(f"{left // length:g} {unit}")
            left %= length
    return " ".join([*parts, f"{left:g} s"] if left or not parts else parts)


# Backup


@router.get("/settings/backups")
async def backups_page(request: Request, context: InContext) -> Response:
    """How to keep a copy, and how to come back from one."""
    opened(request, BACKUP)
    return tab_page(
        request, BACKUP, "settings_backup.html", url=context.settings.url != "", file=_file(context.wall_us())
    )


@router.get("/settings/backup")
async def backup(request: Request, context: InContext) -> StreamingResponse:
    """The same as `/api/v1/backup`, for whoever is logged in here."""
    opened(request, BACKUP)
    headers = {**SAFE_HEADERS, "Content-Disposition": f'attachment; filename="{_file(context.wall_us())}"'}
    return StreamingResponse(context.store.backup(), media_type="application/gzip", headers=headers)


def _file(now_us: int) -> str:
    return f"picluster-{datetime.fromtimestamp(now_us / 1e6, UTC):%Y-%m-%d}.picluster"


# Licences


@dataclass(frozen=True, slots=True)
class Vendored:
    """One package whose files are served with ours."""

    name: str
    version: str
    licence: str
    text: str


@router.get("/settings/licences")
async def licences_page(request: Request) -> Response:
    """What is not ours in these pages, and on which terms it is here."""
    opened(request, LICENCES)
    return tab_page(request, LICENCES, "settings_licences.html", packages=vendored())


@cache
def vendored() -> tuple[Vendored, ...]:
    """What is in `static/vendor`, as its own list says."""
    folder = files(__package__) / "static" / "vendor"
    listed = tomllib.loads((folder / "vendored.toml").read_text(encoding="utf-8"))
    return tuple(
        Vendored(
            one["name"],
            one["version"],
            one["licence"],
            (folder / one["folder"] / "LICENSE").read_text(encoding="utf-8"),
        )
        for one in listed["package"]
    )
