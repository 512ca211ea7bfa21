"""The page of machines: groups of rows, filters, a search that stands in the address, and what is chosen of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from picluster.errors import PiclusterError
from picluster.pool.health import number
from picluster.pool.model import Machine
from picluster.server.context import Context
from picluster.server.pages.adding import invitation
from picluster.server.pages.frame import login_first, page
from picluster.server.pages.search import found
from picluster.server.pages.viewer import Viewer, may_read, viewer_of
from picluster.server.v1.common import InContext

router = APIRouter(include_in_schema=False)

ROWS_ON_A_PAGE = 500
"""More rows make browsers slow, and nobody reads so far down."""

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
    viewer = viewer_of(request)
    if not may_read(context, viewer):
        return login_first(request)
    problem: PiclusterError | None = None
    machines: list[Machine] = []
    try:
        machines = found(context, q, viewer.name)
    except PiclusterError as error:
        problem = error
    sort = sort if sort.lstrip("-") in SORTS else "name"
    machines.sort(key=sort_key(context, sort.lstrip("-")), reverse=sort.startswith("-"))
    at_page = _page_number(request, len(machines))
    shown = machines[(at_page - 1) * ROWS_ON_A_PAGE : at_page * ROWS_ON_A_PAGE]
    total = len(context.view.roster.machines)
    terms = [] if machines or problem else _terms(context, q, viewer)
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
        groups=_grouped(context, shown, viewer),
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


def _grouped(context: Context, machines: list[Machine], viewer: Viewer) -> list[tuple[str, str, list[str]]]:
    rows = context.dashboard.rows
    grouped: dict[str, list[str]] = {key: [] for key, _ in GROUPS}
    for machine in machines:
        grouped[rows.group(machine, viewer)].append(rows.html(machine, viewer))
    return [(key, word, grouped[key]) for key, word in GROUPS]


def _terms(context: Context, q: str, viewer: Viewer) -> list[tuple[str, bool]]:
    """The terms of a search that finds nothing, and which of them no machine fits by itself."""
    terms = []
    for term in q.split()[:20]:
        try:
            alone = bool(found(context, term, viewer.name))
        except PiclusterError:  # half of a quoted text
            alone = True
        terms.append((term, not alone))
    return terms


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
