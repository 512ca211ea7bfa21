"""`/ui/stream`: what changes on an open page, as server-sent events.

    hello, resync   the stream begins here; or: too much was missed, fetch the page anew
    rows            table rows as they are now; one with `data-gone` has left the list
    parts           chips, strip, sentence, counts, each to take the place of the element with its id
    changed         something that this page shows is different: fetch its live part anew
    beats           for boards that have beaten: their three cells, as JSON
    ping, bye       the stream lives; it ends, come again

A viewer gets the first change at once and then one flush a second. The rows come from the view in order of revision,
so whoever resumes gets what changed since, once, as it is now; there is no buffer that could overflow.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Header, Request
from starlette.responses import Response, StreamingResponse

from picluster.errors import NotAuthenticated, PiclusterError, Unavailable
from picluster.pool.model import Lease, Machine
from picluster.server.context import Context
from picluster.server.http import encode
from picluster.server.pages.glance_parts import parts_of
from picluster.server.pages.search import fits
from picluster.server.pages.viewer import Viewer, may_read, viewer_of
from picluster.server.v1.common import InContext
from picluster.server.v1.events import PING_S, resumed

FLUSH_S = 1.0
"""Between two flushes to one viewer; the first change after a quiet second goes out at once."""

BEATS_S = 5.0
"""Between two tellings of what only beats have changed: temperatures, load, the strips."""

BATCHES = 12
"""Tellings of beats that are kept: a minute, for viewers that were held up."""

MOST_ROWS = 300
"""More changed rows than these are fetched as a page: that is cheaper for both ends."""

MOST_STREAMS = 2_000
"""Open streams; each costs some 50 kB and a place among the open files. Pages without one poll."""

LIVE_KEYS = ("temp", "load", "seen")
"""A search for these changes its answer without any row being changed."""

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Watching:
    """What a page that is open shows."""

    viewer: Viewer
    page: str
    q: str
    machine: str

    @property
    def by_beats(self) -> bool:
        return any(f"{key}{sign}" in self.q for key in LIVE_KEYS for sign in "<>:")


@dataclass(frozen=True, slots=True)
class Batch:
    """What beats have changed in a few seconds."""

    number: int
    names: set[str]
    told: bytes


class Live:
    """What is made once for all viewers of one kind."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._batches: deque[Batch] = deque(maxlen=BATCHES)
        self._number = 0
        self._made_at = 0.0
        self._parts: OrderedDict[tuple[object, ...], str] = OrderedDict()
        self.streams = 0

    def beats(self, after: int, now: float) -> tuple[int, list[Batch]]:
        """(number of the newest telling, those after `after`); a new one is made when it is time."""
        if now - self._made_at >= BEATS_S:
            self._made_at = now
            stirred = self._context.dashboard.trends.taken()
            if stirred:
                self._number += 1
                self._batches.append(Batch(self._number, stirred, event("beats", "", self._told(stirred))))
        return self._number, [batch for batch in self._batches if batch.number > after]

    def _told(self, names: set[str]) -> bytes:
        """`{name: [temperature, load, beats]}`."""
        rows = self._context.dashboard.rows
        known = (name for name in sorted(names) if name in self._context.view.roster.machines)
        return encode({name: rows.cells(name) for name in known})

    def parts(self, viewer: Viewer) -> str:
        """The head of the page for this viewer."""
        overview = self._context.dashboard.glance.now
        mine = viewer.name if overview.holders[viewer.name] else bool(viewer.name)
        key = (self._context.view.revision, mine, viewer.kind)
        found = self._parts.get(key)
        if found is None:
            found = self._parts[key] = self._context.dashboard.render(
                "live_parts.html", viewer=viewer, parts=parts_of(self._context, viewer)
            )
            while len(self._parts) > 64:
                self._parts.popitem(last=False)
        return found


@router.get("/ui/stream")
async def stream(
    request: Request,
    context: InContext,
    page: str = "machines",
    q: str = "",
    machine: str = "",
    after: str = "",
    last_event_id: Annotated[str, Header()] = "",
) -> Response:
    """News for one open page. Resumes behind `Last-Event-ID` or `after`."""
    viewer = viewer_of(request)
    if not (viewer.known or (page == "machines" and may_read(context, viewer))):
        raise NotAuthenticated("This page needs a login.", "Log in again.")
    if context.dashboard.live.streams >= MOST_STREAMS:
        raise Unavailable(
            f"{MOST_STREAMS} pages are open already.", "This one asks every 15 seconds instead."
        )
    watching = Watching(viewer, page, q, machine)
    start = resumed(context, last_event_id or after)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    told = _told(context, watching, start, lambda: viewer_of(request) == viewer)
    return StreamingResponse(told, media_type="text/event-stream", headers=headers)


async def _told(
    context: Context, watching: Watching, start: int | None, still: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """Until the service stops, the session ends, or the viewer leaves."""
    live, view, clock = context.dashboard.live, context.view, asyncio.get_running_loop().time
    epoch = view.roster.epoch
    position = view.revision if start is None else start
    flushed = pinged = clock() - PING_S
    beats, _ = live.beats(0, clock())
    live.streams += 1
    context.metrics.streams.inc()
    try:
        yield event(
            "resync" if start is None else "hello",
            f"{epoch}.{position}",
            encode({"now": context.wall_us() // 1000, "viewer": watching.viewer.name}),
        )
        with view.follower() as news:
            while not context.stopping.is_set() and still():
                news.clear()
                if view.roster.epoch != epoch:
                    yield event("resync", f"{view.roster.epoch}.{view.revision}", b"{}")
                    return
                now = clock()
                if view.revision > position and now - flushed >= FLUSH_S:
                    before, position, flushed = position, view.revision, now
                    yield _news(context, watching, view.changes_after(before), before, f"{epoch}.{position}")
                beats, batches = live.beats(beats, now)
                if batches:
                    yield _beaten(context, watching, batches)
                if now - pinged >= PING_S:
                    pinged = now
                    yield event("ping", "", encode({"now": context.wall_us() // 1000}))
                waits_s = FLUSH_S - (now - flushed) if view.revision > position else BEATS_S
                await _until(context, news, max(0.05, waits_s), view.revision > position)
        yield event("bye", "", b"{}")
    finally:
        live.streams -= 1
        context.metrics.streams.dec()


def _beaten(context: Context, watching: Watching, batches: list[Batch]) -> bytes:
    """What this page shows of the beats that have come."""
    if watching.page == "machines":
        return event("changed", "", b"{}") if watching.by_beats else b"".join(batch.told for batch in batches)
    if any(watching.machine in batch.names for batch in batches):
        cells = context.dashboard.rows.cells(watching.machine)
        return event("beats", "", encode({watching.machine: cells}))
    return b""


def _news(
    context: Context, watching: Watching, changed: list[Machine | Lease], before: int, at: str
) -> bytes:
    """One flush: what this page shows of what has changed since the revision `before`."""
    parts = event("parts", "", context.dashboard.live.parts(watching.viewer))
    names = _touched(context, changed, before)
    if watching.page == "machines":
        if len(names) > MOST_ROWS:
            return parts + event("changed", at, b"{}")
        return parts + event("rows", at, _rows(context, watching, names))
    if watching.machine and watching.machine not in names:
        return parts
    return parts + event("changed", at, b"{}")


def _touched(context: Context, changed: list[Machine | Lease], before: int) -> list[str]:
    """The machines whose rows look different after these changes, each once."""
    found = dict.fromkeys(context.dashboard.glance.let_go_after(before))
    for row in changed:
        names = (row.name,) if isinstance(row, Machine) else (*row.machines, *row.set_aside)
        found.update(dict.fromkeys(names))
    return list(found)


def _rows(context: Context, watching: Watching, names: list[str]) -> str:
    rows, roster = context.dashboard.rows, context.view.roster
    html: list[str] = []
    for name in names:
        machine = roster.machines.get(name)
        if machine is None or not _matches(context, watching, machine):
            html.append(context.dashboard.gone(name))
        else:
            html.append(rows.html(machine, watching.viewer))
    return "".join(html)


def _matches(context: Context, watching: Watching, machine: Machine) -> bool:
    try:
        return fits(context, watching.q, machine, watching.viewer.name)
    except PiclusterError:
        return False


async def _until(context: Context, news: asyncio.Event, seconds: float, sleep: bool) -> None:
    """Until something is new or the service stops, at most so long; `sleep` if what is new has to wait its second."""
    waits = [context.stopping.wait()] if sleep else [context.stopping.wait(), news.wait()]
    tasks = [asyncio.ensure_future(one) for one in waits]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def event(kind: str, at: str, data: str | bytes) -> bytes:
    """One event; `data` on one line, since a line break would end it."""
    text = data if isinstance(data, bytes) else data.replace("\n", " ").replace("\r", " ").encode()
    return b"event: %s\n%sdata: %s\n\n" % (kind.encode(), b"id: %s\n" % at.encode() if at else b"", text)
