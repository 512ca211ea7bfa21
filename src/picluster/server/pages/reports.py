"""Reports: how the machines were used, how long jobs waited, who was silent and who was dirty; a page, and files."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import dropwhile

from fastapi import APIRouter, Request
from markupsafe import Markup
from starlette.responses import Response

from picluster.errors import PiclusterError
from picluster.server.pages import forms
from picluster.server.pages.activity import harmless
from picluster.server.pages.forms import Form
from picluster.server.pages.frame import SAFE_HEADERS, page
from picluster.server.pages.viewer import known_viewer
from picluster.server.v1.common import InContext
from picluster.server.words import less_than
from picluster.wire import DayReport, MachineReport, Report

router = APIRouter(include_in_schema=False)

DAYS = ((7, "7 days"), (30, "30 days"))
SORTS = (
    ("name", "Machine"),
    ("used", "Used"),
    ("leases", "Leases"),
    ("offline", "Offline"),
    ("dirty", "Dirty"),
)
MOST_MACHINES = 500
"""On one page, as in the list of machines."""

STEPS = 5
"""Of a heat cell, from idle to used all day: more shades cannot be told apart."""

CELL, GAP, HEIGHT = 18, 2, 18
"""Of the cells of a week, in pixels; those of a month are narrower."""
NARROW = 7

BAR_WIDTH, BAR_HEIGHT = 160, 8


@dataclass(frozen=True, slots=True)
class Line:
    """One machine in the table."""

    machine: MachineReport
    used: float
    """Share of the time in which it was there."""
    offline_s: float
    heat: Markup


@router.get("/reports")
async def reports_page(request: Request, context: InContext) -> Response:
    """As the address says it: `days`, `sort`."""
    viewer = known_viewer(request)
    form = forms.asked(request)
    days, sort = _days(form), _sort(form)
    made: Report | None = None
    problem: PiclusterError | None = None
    try:
        made = await context.reports.of(context, days)
    except PiclusterError as error:
        problem = error
    lines = _sorted(map(_line, made.machines), sort) if made else []
    return page(
        request,
        "reports.html",
        problem.status if problem else 200,
        viewer=viewer,
        problem=problem,
        made=made,
        said=said(made, days) if made and made.machines else "",
        days=days,
        choices=DAYS,
        sort=sort,
        sorts=SORTS,
        lines=lines[:MOST_MACHINES],
        total=len(lines),
        by_day=_by_day(made) if made else [],
        short=short,
        bar=bar,
        percent=percent,
        waited=less_than,
    )


def _days(form: Form) -> int:
    return next((days for days, _ in DAYS if form.text("days") == str(days)), DAYS[0][0])


def _sort(form: Form) -> str:
    said = form.text("sort", "name")
    return said if said.removeprefix("-") in dict(SORTS) else "name"


def _by_day(made: Report) -> list[tuple[DayReport, float | None, Markup]]:
    """(day, share in use or None while nothing was there, the waits drawn), newest first, from when there is anything."""
    longest_s = max((day.wait_p95_s or 0.0 for day in made.days), default=0.0)
    known = list(dropwhile(lambda day: not day.there_s and not day.granted, made.days))
    return [
        (day, share(day.used_s, day.there_s) if day.there_s else None, _wait_bar(day, longest_s))
        for day in reversed(known or made.days[-1:])
    ]


def short(day: str) -> str:
    """`Tue 24 Nov`."""
    return date.fromisoformat(day).strftime("%a %-d %b")


def _line(machine: MachineReport) -> Line:
    used = share(sum(machine.used_s), sum(machine.there_s))
    return Line(machine, used, sum(machine.offline_s), heat(machine))


def _sorted(lines: Iterable[Line], sort: str) -> list[Line]:
    """Figures with the largest first; the name decides between equals."""
    by = sort.removeprefix("-")
    figures: dict[str, Callable[[Line], float]] = {
        "name": lambda line: 0,
        "used": lambda line: -line.used,
        "leases": lambda line: -line.machine.leases,
        "offline": lambda line: -line.offline_s,
        "dirty": lambda line: -line.machine.dirty,
    }
    found = sorted(lines, key=lambda line: (figures[by](line), line.machine.name.casefold()))
    return found[::-1] if sort.startswith("-") else found


def share(part_s: float, whole_s: float) -> float:
    """Between 0 and 1."""
    return min(1.0, part_s / whole_s) if whole_s else 0.0


def said(made: Report, days: int) -> str:
    """The report in two sentences."""
    used = share(sum(day.used_s for day in made.days), sum(day.there_s for day in made.days))
    told = f"In the last {days} days the machines were in use {percent(used)} of the time."
    if made.wait_p50_s is None or made.wait_p95_s is None:
        return f"{told} Nobody asked for one."
    half, most = less_than(made.wait_p50_s), less_than(made.wait_p95_s)
    if half == most:
        return f"{told} Of 100 jobs 95 waited less than {most}."
    return f"{told} Half of all jobs waited less than {half}, 95 of 100 less than {most}."


def percent(of: float) -> str:
    """`38 %`; what is not nothing is not told as nothing."""
    return "<1 %" if 0 < of < 0.01 else f"{of:.0%}".replace("%", " %")


# Small pictures


def heat(machine: MachineReport) -> Markup:
    """A cell for each day, the darker the longer somebody had the machine; hollow where it was not there."""
    width = CELL if len(machine.used_s) <= DAYS[0][0] else NARROW
    shares = [
        share(used, there) if there else None
        for used, there in zip(machine.used_s, machine.there_s, strict=True)
    ]
    cells = Markup("").join(
        Markup('<rect class="h{}" x="{}" y="0.5" width="{}" height="{}" rx="2.5"/>').format(
            "-none" if part is None else -(-round(part * 100) * STEPS // 100),
            at * (width + GAP) + 0.5,
            width - 1,
            HEIGHT - 1,
        )
        for at, part in enumerate(shares)
    )
    told = ", ".join("not there" if part is None else percent(part) for part in shares)
    return Markup('<svg class="heat" width="{}" height="{}" role="img" aria-label="{}">{}</svg>').format(
        len(shares) * (width + GAP), HEIGHT, f"Used, day by day: {told}", cells
    )


def bar(part: float, width: int = BAR_WIDTH) -> Markup:
    """A share as a bar."""
    return Markup(
        '<svg class="share" width="{}" height="{}" aria-hidden="true"><rect class="all" width="100%" height="8" rx="4"/>'
        '<rect class="part" width="{:.1f}%" height="8" rx="4"/></svg>'
    ).format(width, BAR_HEIGHT, 100 * part)


def _wait_bar(day: DayReport, longest_s: float) -> Markup:
    """The median and the 95th of a hundred on one line, on the scale of the longest of all days."""
    if day.wait_p50_s is None or day.wait_p95_s is None:
        return Markup("")
    half, most = share(day.wait_p50_s, longest_s) * 100, share(day.wait_p95_s, longest_s) * 100
    return Markup(
        '<svg class="waited" width="{}" height="12" aria-hidden="true"><line x1="0" x2="{:.1f}%" y1="6" y2="6"/>'
        '<rect x="0" y="2" width="{:.1f}%" height="8" rx="4"/></svg>'
    ).format(BAR_WIDTH, max(1.0, most), max(1.0, half))


# As a file


@router.get("/reports.csv")
async def reports_csv(request: Request, context: InContext) -> Response:
    """A row for each machine and day, or with `of=days` for each day."""
    known_viewer(request)
    form = forms.asked(request)
    made = await context.reports.of(context, _days(form))
    rows = _rows_of_days(made) if form.text("of") == "days" else _rows_of_machines(made)
    text = io.StringIO()
    csv.writer(text).writerows([harmless(str(field)) for field in row] for row in rows)
    name = "days" if form.text("of") == "days" else "machines"
    headers = {**SAFE_HEADERS, "Content-Disposition": f'attachment; filename="report-{name}.csv"'}
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def _rows_of_machines(made: Report) -> list[Sequence[object]]:
    rows: list[Sequence[object]] = [("machine", "day", "there_s", "used_s", "offline_s")]
    for one in made.machines:
        for day, *figures in zip(made.days, one.there_s, one.used_s, one.offline_s, strict=True):
            rows.append((one.name, day.day, *figures))
    return rows


def _rows_of_days(made: Report) -> list[Sequence[object]]:
    head = ("day", "there_s", "used_s", "granted", "wait_p50_s", "wait_p95_s")
    days = (
        (day.day, day.there_s, day.used_s, day.granted, day.wait_p50_s, day.wait_p95_s) for day in made.days
    )
    return [head, *(["" if figure is None else figure for figure in day] for day in days)]
