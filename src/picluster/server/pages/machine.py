"""The page of one machine: who has it, how it is and was, what it is, what happened to it, and how to use it.

Its tabs are addresses. What changes while one looks are the elements named in `data-polls`; the charts fetch their
numbers themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request
from markupsafe import Markup
from starlette.responses import Response

from picluster.pool.health import number
from picluster.pool.model import Event, Machine
from picluster.server.context import Context
from picluster.server.http import encode
from picluster.server.pages import past, series
from picluster.server.pages.frame import SAFE_HEADERS, page
from picluster.server.pages.gzipped import compressed
from picluster.server.pages.identity import identity, memory_bytes
from picluster.server.pages.lease_card import lease_card
from picluster.server.pages.rows import HOT_C, labels_of, model_of, ssh_line, system_of
from picluster.server.pages.series import SPANS, USUAL, Series, Span
from picluster.server.pages.viewer import Viewer, known_viewer, viewer_of
from picluster.server.pages.ways import Way, ways
from picluster.server.sentences import HIGHLIGHTS, Told, tell, told
from picluster.server.v1.common import InContext
from picluster.store import HistoryQuery

router = APIRouter(include_in_schema=False)

TABS = (
    ("", "Overview"),
    ("/health", "Health"),
    ("/history", "History"),
    ("/runs", "Runs"),
    ("/use", "Use it"),
)

More = Callable[[Request, Context, Machine, Viewer], Awaitable[dict[str, Any]]]
"""What one tab shows besides what all have in common, as values for its template."""

LAST_RUNS = 3
RUNS_ON_A_PAGE = 25
EVENTS_ON_A_PAGE = 50

YOUNG_S = 2 * 3600
"""Up to here a chart of a day would be empty but for its edge."""

MOST_SAMPLES = 30_000
"""Of a chart: a day of beats every ten seconds, the most that are kept, and six days in spans."""


@router.get("/m/{name}")
async def overview(request: Request, context: InContext, name: str) -> Response:
    """Who has it, its last day, its last leases; beside that what it is."""
    return await _tab(request, context, name, "", "machine_overview.html", _overview)


@router.get("/m/{name}/health")
async def health(request: Request, context: InContext, name: str) -> Response:
    """Charts over `span`, or the same numbers `as=table`."""
    return await _tab(request, context, name, "/health", "machine_health.html", _health)


@router.get("/m/{name}/history")
async def history(request: Request, context: InContext, name: str) -> Response:
    """What happened to it, newest first."""
    return await _tab(request, context, name, "/history", "machine_history.html", _history)


@router.get("/m/{name}/runs")
async def runs(request: Request, context: InContext, name: str) -> Response:
    """Who had it, what for, how long, and whether the board was honest."""
    return await _tab(request, context, name, "/runs", "machine_runs.html", _runs)


@router.get("/m/{name}/use")
async def use(request: Request, context: InContext, name: str) -> Response:
    """The lines to copy."""
    return await _tab(request, context, name, "/use", "machine_use.html", _use)


@router.get("/m/{name}/series")
async def numbers(request: Request, context: InContext, name: str, span: str = USUAL.key) -> Response:
    """What the charts draw, as JSON."""
    viewer = viewer_of(request)
    machine = context.view.roster.machine_called(name)
    if not viewer.known or machine is None:
        return Response(status_code=404 if viewer.known else 401, headers=SAFE_HEADERS)
    found = await _series(context, machine, SPANS.get(span, USUAL))
    response = compressed(request, encode(found.as_json(viewer.name)).decode(), 200, SAFE_HEADERS)
    response.headers["Content-Type"] = "application/json"
    return response


# What the tabs show


async def _tab(
    request: Request, context: Context, name: str, tab: str, template: str, more: More
) -> Response:
    """One tab, with what all have in common; or that there is no such machine, and the way on."""
    viewer = known_viewer(request)
    machine = context.view.roster.machine_called(name)
    if machine is None:
        deletion = await asyncio.to_thread(past.forgotten, context.store, name)
        return page(request, "machine_gone.html", 404, name=name, deletion=deletion, now_us=context.wall_us())
    return page(
        request,
        template,
        viewer=viewer,
        **_common(context, machine, viewer, tab),
        taken_out=_told(await asyncio.to_thread(past.taken_out, context.store, machine)),
        **await more(request, context, machine, viewer),
    )


def _told(event: Event | None) -> Told | None:
    return tell(event) if event else None


def _common(context: Context, machine: Machine, viewer: Viewer, tab: str) -> dict[str, Any]:
    rows, now_us = context.dashboard.rows, context.wall_us()
    return {
        "machine": machine,
        "home": f"/m/{machine.name}",
        "tab": tab,
        "tabs": TABS,
        "card": lease_card(context, machine, viewer),
        "state": rows.state(machine, viewer),
        "model": model_of(machine),
        "system": system_of(machine),
        "labels": labels_of(machine),
        "ssh": ssh_line(machine),
        "beats": Markup(rows.cells(machine.name)[2]),  # noqa: S704  made of our own drawings and numbers
        "beat_s": context.settings.beat_s,
        "now_us": now_us,
    }


async def _overview(request: Request, context: Context, machine: Machine, viewer: Viewer) -> dict[str, Any]:
    heard = context.view.heard.get(machine.name)
    stays = await asyncio.to_thread(past.addresses, context.store, machine)
    return {
        **await _health(request, context, machine, viewer),
        "facts": identity(machine, heard, context.wall_us()),
        "stays": stays,
        "last_runs": await _some_runs(context, machine, 0, LAST_RUNS),
        "way_of": _ways(context, machine, viewer)[0],
    }


async def _health(request: Request, context: Context, machine: Machine, viewer: Viewer) -> dict[str, Any]:
    """The charts fetch their numbers themselves; a table has them in it."""
    asked = request.query_params
    span = SPANS.get(asked.get("span", "")) or await _usual(context, machine)
    as_table = asked.get("as") == "table"
    return {
        "spans": SPANS.values(),
        "span": span,
        "as_table": as_table,
        "series": await _series(context, machine, span) if as_table else None,
        "hot_c": HOT_C,
    }


async def _usual(context: Context, machine: Machine) -> Span:
    """A day; of a board that has not been here for longer than `YOUNG_S`, an hour."""
    now_us = context.wall_us()
    since_us, until_us = (now_us - seconds * 1_000_000 for seconds in (USUAL.seconds, YOUNG_S))
    older = await asyncio.to_thread(context.store.samples, machine.name, since_us, until_us, limit=1)
    return USUAL if older else SPANS["1h"]


async def _history(request: Request, context: Context, machine: Machine, viewer: Viewer) -> dict[str, Any]:
    query = HistoryQuery(
        machine=machine.name, kinds=HIGHLIGHTS, before=_before(request), limit=EVENTS_ON_A_PAGE
    )
    found = await asyncio.to_thread(context.store.history, query)
    older = found[-1].revision if len(found) >= EVENTS_ON_A_PAGE else 0
    return {"events": told(found), "older": older, "later": query.before}


async def _runs(request: Request, context: Context, machine: Machine, viewer: Viewer) -> dict[str, Any]:
    before = _before(request)
    found = await _some_runs(context, machine, before, RUNS_ON_A_PAGE)
    older = found[-1].revision if len(found) >= RUNS_ON_A_PAGE else 0
    return {"runs": found, "older": older, "later": before}


def _before(request: Request) -> int:
    """Where the page before this one ended; 0 for the newest."""
    after = request.query_params.get("after", "")
    return int(after) if after.isascii() and after.isdecimal() and len(after) < 19 else 0


async def _use(request: Request, context: Context, machine: Machine, viewer: Viewer) -> dict[str, Any]:
    return {"ways": _ways(context, machine, viewer)}


def _ways(context: Context, machine: Machine, viewer: Viewer) -> list[Way]:
    lease = context.view.roster.leases.get(machine.lease)
    return ways(machine, mine=lease is not None and lease.holder == viewer.name)


async def _some_runs(context: Context, machine: Machine, before: int, limit: int) -> list[past.Run]:
    found = await asyncio.to_thread(past.runs, context.store, machine.name, before=before, limit=limit)
    leases = context.view.roster.leases
    return [past.known_better(run, leases.get(run.lease)) for run in found]


async def _series(context: Context, machine: Machine, span: Span) -> Series:
    heard = context.view.heard.get(machine.name)
    memory, cpus = memory_bytes(machine, heard), number(machine.facts.get("cpus"))
    now_us = context.wall_us()
    since_us = now_us - span.seconds * 1_000_000

    def read() -> Series:
        store, name = context.store, machine.name
        samples = store.samples(name, since_us, now_us + 1, MOST_SAMPLES)
        return Series(
            span,
            now_us,
            series.points(samples, span, memory),
            past.runs_since(store, name, since_us),
            past.reboots(store, name, since_us),
            int(cpus) if cpus else None,
            memory,
        )

    return await asyncio.to_thread(read)
