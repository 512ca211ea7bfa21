"""The page of machines: groups of rows, filters, a search that stands in the address, and what is chosen of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from picluster.errors import PiclusterError
from picluster.pool.health import number
from picluster.pool.model import Machine
from picluster.server.context import Context
from picluster.server.pages.adding import invitation
from picluster.server.pages.frame import page
from picluster.server.pages.search import Search, without_a_match
from picluster.server.pages.viewer import Viewer, reader
from picluster.server.v1.common import InContext

router = APIRouter(include_in_schema=False)

ROWS_ON_A_PAGE = 500
"""More rows make browsers slow, and nobody reads so far down."""

ROWS_AT_ONCE = 50
"""Rows made before the event loop is let on: some milliseconds when none of them is kept from before."""

GROUPS = (("mine", "Mine"), ("attention", "Attention"), ("pool", "Pool"))

COLUMNS = (
    ("state", "State", "c-state"),
    ("name", "Machine", "c-machine"),
    ("model", "Model", "c-model"),
    ("holder", "Holder and job", "c-holder"),
    ("temp", "Temperature, 1 h|Temp", "c-temp"),
    ("load", "Load", "c-load"),
    ("seen", "Last 30 beats|Seen", "c-beats"),
    ("", "Labels", "c-labels"),
    ("", "Platform, host", "c-more"),
)
"""(what it is sorted by, head, class) of each column; after a bar the head of a narrow window."""

SORTS = ("name", "state", "model", "holder", "temp", "load", "seen")


@router.get("/")
async def machines_page(request: Request, context: InContext, q: str = "", sort: str = "name") -> Response:
    """The list, as the address says it: `q`, `sort`, `page`."""
    viewer = reader(request, context)
    problem: PiclusterError | None = None
    machines: list[Machine] = []
    try:
        machines = await Search.of(context, q, viewer.name).all(context)
    except PiclusterError as error:
        problem = error
    sort = sort if sort.lstrip("-") in SORTS else "name"
    machines.sort(key=sort_key(context, sort.lstrip("-")), reverse=sort.startswith("-"))
    at_page = _page_number(request, len(machines))
    shown = machines[(at_page - 1) * ROWS_ON_A_PAGE : at_page * ROWS_ON_A_PAGE]
    total = len(context.view.roster.machines)
    tries = viewer.known and total and not (machines or problem)
    terms = await without_a_match(context, q, viewer.name) if tries else [(q, False)]
    return page(
        request,
        "machines.html",
        problem.status if problem else 200,
        viewer=viewer,
        q=q,
        sort=sort,
        problem=problem,
        found=machines,
        total=total,
        terms=terms,
        culprit=next((term for term, bad in terms if bad), ""),
        groups=await _grouped(context, shown, viewer),
        columns=COLUMNS,
        sorts=[(key, word.partition("|")[0]) for key, word, _ in COLUMNS if key],
        pages=-(-len(machines) // ROWS_ON_A_PAGE),
        at_page=at_page,
        **(await invitation(request, context, viewer) if not total else {}),
    )


def _page_number(request: Request, count: int) -> int:
    said = request.query_params.get("page", "1")
    return min(
        max(1, int(said) if said.isdecimal() and len(said) < 6 else 1), max(1, -(-count // ROWS_ON_A_PAGE))
    )


async def _grouped(
    context: Context, machines: list[Machine], viewer: Viewer
) -> list[tuple[str, str, list[str]]]:
    rows = context.dashboard.rows
    grouped: dict[str, list[str]] = {key: [] for key, _ in GROUPS}
    for count, machine in enumerate(machines, 1):
        if machine.name in context.dashboard.glance.now.states:  # it may have been deleted meanwhile
            grouped[rows.group(machine, viewer)].append(rows.html(machine, viewer))
        if count % ROWS_AT_ONCE == 0:
            await asyncio.sleep(0)
    return [(key, word, grouped[key]) for key, word in GROUPS]


def sort_key(context: Context, by: str) -> Callable[[Machine], tuple[Any, ...]]:
    """What the rows are put in order by; the name decides between equals, so that nothing jumps."""
    view, states = context.view, context.dashboard.glance.now.states

    def measured(machine: Machine, what: str) -> float:
        heard = view.heard.get(machine.name)
        value = heard.telemetry.get(what) if heard else None
        value = value[0] if isinstance(value, list | tuple) and value else value
        known = number(value)
        return -1.0 if known is None else known

    def holder(machine: Machine) -> str:
        lease = view.roster.leases.get(machine.lease)
        return lease.holder.casefold() if lease else "\U0010ffff"

    keys: dict[str, Callable[[Machine], Any]] = {
        "name": lambda machine: "",
        "state": lambda machine: states[machine.name],
        "model": lambda machine: str(machine.facts.get("model") or machine.facts.get("platform") or ""),
        "holder": holder,
        "temp": lambda machine: measured(machine, "temperature"),
        "load": lambda machine: measured(machine, "load"),
        "seen": view.silent_s,
    }
    return lambda machine: (keys[by](machine), machine.name.casefold())
