"""What happened: the record of the pool, newest first, a sentence for each event; and as a file to take away."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from picluster.errors import Malformed, PiclusterError
from picluster.pool.model import Event
from picluster.server.context import Context
from picluster.server.http import encode
from picluster.server.pages import forms
from picluster.server.pages.forms import Form
from picluster.server.pages.frame import SAFE_HEADERS, page
from picluster.server.pages.viewer import known_viewer
from picluster.server.present import event_answer
from picluster.server.sentences import GROUPS, HIGHLIGHTS, SENTENCES, tell, told
from picluster.server.v1.common import InContext
from picluster.store import HistoryQuery, Store
from picluster.wire import LARGEST_NUMBER, text_problem

router = APIRouter(include_in_schema=False)

ON_A_PAGE = 100
MOST_EXPORTED = 100_000
"""Events in one file: some 20 MB, and half a minute of one thread. Who wants more asks for shorter times."""

DAY_US = 86_400_000_000

PIECE = 1_000
"""Events that are read and sent at once."""

MOST_NAMES = 500
"""Machines that the form offers by name."""

KINDS = (("", "Highlights"), ("all", "Everything"), *((key, word) for key, (word, _) in GROUPS.items()))
"""What somebody may look for: (as it stands in the address, as it is read). A single kind of event is understood, too."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula, which would run at whoever opens the file: told as text instead."""

FIELDS = ("kind", "machine", "holder", "since", "until", "zone", "after")
COLUMNS = ("at", "what", "kind", "who", "holder", "machine", "lease", "address", "detail", "id")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events, as the address says it."""

    query: HistoryQuery
    kind: str
    typed: dict[str, str]
    """What stands in the form."""

    def address(self, path: str, **more: Any) -> str:
        """The same with another path, or another page."""
        said = {key: value for key, value in (self.typed | more).items() if value}
        return f"{path}?{urlencode(said)}" if said else path

    @property
    def narrowed(self) -> bool:
        return any(value for key, value in self.typed.items() if key not in ("after", "zone"))


def typed_in(form: Form) -> dict[str, str]:
    """Every field of the form, as it was filled in."""
    return {name: form.text(name) for name in FIELDS}


def wanted(form: Form) -> Wanted:
    """Raises `Malformed` that names the field."""
    typed = typed_in(form)
    for name, text in typed.items():
        if problem := text_problem(text):
            raise Malformed(f"{name}: {problem}", field=name)
    kind = typed["kind"]
    since_us, until_us = _day_us(typed, "since"), _day_us(typed, "until", end=True)
    if since_us and until_us and since_us >= until_us:
        raise Malformed("From is a later day than To.", "Change one of the two.", field="since")
    query = HistoryQuery(
        machine=typed["machine"],
        holder=typed["holder"],
        kinds=_kinds(kind),
        since_us=since_us,
        until_us=until_us,
        before=_number(typed["after"], "after"),
        limit=ON_A_PAGE,
    )
    return Wanted(query, kind, typed)


def _kinds(kind: str) -> tuple[str, ...]:
    if kind in GROUPS:
        return GROUPS[kind][1]
    if kind in SENTENCES:
        return (kind,)
    if kind not in ("", "all"):
        raise Malformed(
            f"kind: {kind[:40]!r} is nothing that happens here.", "Choose one of the form.", field="kind"
        )
    return () if kind else HIGHLIGHTS


def _day_us(typed: dict[str, str], name: str, *, end: bool = False) -> int:
    """When a day begins, or ends, where the reader is: `zone` is what the script says, minutes behind UTC."""
    text, zone = typed[name], typed["zone"]
    if not text:
        return 0
    try:
        day = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
        minutes = int(zone or "0")
        day += timedelta(days=int(end), minutes=max(-1_440, min(1_440, minutes)))
    except (ValueError, OverflowError):
        raise Malformed(
            f"{name}: {text[:40]!r} is no day.", "Write it as in 2026-10-31.", field=name
        ) from None
    return max(0, int(day.timestamp() * 1e6))


def _number(text: str, name: str) -> int:
    if not text:
        return 0
    if not text.isdecimal() or int(text) > LARGEST_NUMBER:
        raise Malformed(f"{name}: must be a whole number.", "Begin with the newest.", field=name)
    return int(text)


@router.get("/activity")
async def activity_page(request: Request, context: InContext) -> Response:
    """As the address says it: `machine`, `holder`, `kind`, `since`, `until`, and `after` for what is older."""
    viewer = known_viewer(request)
    form = forms.asked(request)
    problem: PiclusterError | None = None
    found: Sequence[Event] = ()
    try:
        wants = wanted(form)
        found = await asyncio.to_thread(context.store.history, wants.query)
    except PiclusterError as error:
        problem, wants = error, Wanted(HistoryQuery(), "", typed_in(form))
    roster = context.view.roster
    return page(
        request,
        "activity.html",
        problem.status if problem else 200,
        viewer=viewer,
        problem=problem,
        wrong=problem.details.get("field") if problem else "",
        wants=wants,
        typed=wants.typed,
        events=told(found),
        today_us=context.wall_us() // DAY_US * DAY_US,
        older=found[-1].revision if len(found) >= ON_A_PAGE else 0,
        kinds=KINDS if wants.kind in dict(KINDS) else (*KINDS, (wants.kind, wants.kind)),
        names=sorted(roster.machines)[:MOST_NAMES],
        holders=sorted(roster.live)[:MOST_NAMES],
    )


# As a file


@router.get("/activity.csv")
async def activity_csv(request: Request, context: InContext) -> Response:
    """For a spreadsheet: what somebody chose as a name is told as text, never run as a formula."""
    return _file(request, context, "csv", "text/csv; charset=utf-8", rows)


@router.get("/activity.jsonl")
async def activity_jsonl(request: Request, context: InContext) -> Response:
    """For programs: an object on each line, as in `GET /api/v1/history`."""
    return _file(request, context, "jsonl", "application/jsonl; charset=utf-8", lines)


def _file(
    request: Request,
    context: Context,
    suffix: str,
    media_type: str,
    made: Callable[[Iterator[list[Event]]], Iterator[str | bytes]],
) -> Response:
    known_viewer(request)
    wants = wanted(forms.asked(request))
    headers = {**SAFE_HEADERS, "Content-Disposition": f'attachment; filename="activity.{suffix}"'}
    return StreamingResponse(
        made(everything(context.store, wants.query)), media_type=media_type, headers=headers
    )


def everything(store: Store, query: HistoryQuery, most: int = MOST_EXPORTED) -> Iterator[list[Event]]:
    """Page after page, up to a limit. Runs in a thread."""
    sent, query = 0, replace(query, limit=PIECE)
    while sent < most:
        found = list(store.history(query))
        if found:
            yield found[: most - sent]
        if len(found) < PIECE:
            return
        sent += len(found)
        query = replace(query, before=found[-1].revision)


def lines(pages: Iterator[list[Event]]) -> Iterator[bytes]:
    for found in pages:
        yield b"".join(encode(event_answer(event)) + b"\n" for event in found)


def rows(pages: Iterator[list[Event]]) -> Iterator[str]:
    yield _csv([COLUMNS])
    for found in pages:
        yield _csv([_row(event) for event in found])


def _row(event: Event) -> tuple[str, ...]:
    at = datetime.fromtimestamp(event.at_us / 1e6, UTC).isoformat(timespec="milliseconds")
    said = (event.kind, event.actor, event.holder, event.machine, event.lease, event.address)
    detail = encode(dict(event.detail)).decode() if event.detail else ""
    return (at, tell(event).plain, *said, detail, f"{event.epoch}.{event.revision}")


def _csv(found: list[tuple[str, ...]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([harmless(field) for field in row] for row in found)
    return text.getvalue()


def harmless(field: str) -> str:
    """With a quote before what a spreadsheet would run."""
    return f"'{field}" if field.startswith(FORMULA) else field
