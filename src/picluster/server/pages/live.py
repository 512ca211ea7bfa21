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
from collections import Counter, deque
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
from picluster.server.pages.search import Search
from picluster.server.pages.svg import pool_cell
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

MOST_STREAMS_OF_STRANGERS = 50
"""From one address, without a login."""

LIVE_KEYS = ("temp", "load", "seen")
"""A search for these changes its answer without any row being changed."""

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Watching:
    """What a page that is open shows."""

    viewer: Viewer
    page: str
    machine: str
    search: Search | None
    """None for one that finds nothing, as what is no selector does."""
    by_beats: bool

    @classmethod
    def of(cls, context: Context, viewer: Viewer, page: str, machine: str, q: str) -> Watching:
        try:
            search = Search.of(context, q, viewer.name)
        except PiclusterError:
            search = None
        by_beats = any(f"{key}{sign}" in q for key in LIVE_KEYS for sign in "<>:")
        return cls(viewer, page, machine, search, by_beats)

    def finds(self, context: Context, machine: Machine) -> bool:
        return self.search is not None and self.search.finds(context, machine)


@dataclass(frozen=True, slots=True)
class Batch:
    """What beats have changed in a few seconds."""

    number: int
    names: set[str]
    told: bytes
    nearing: set[str]
    """Machines whose lease has come near its end meanwhile: time alone has changed their rows."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a page in pieces, as somebody sees it who holds nothing."""

    chips: str
    named_chips: str
    """For somebody with a name: with the filter for what is theirs."""
    strip: str
    rest: str


NOBODY_IN_PARTICULAR = "\0"
"""A name that nobody can have, for what everybody sees who holds nothing."""


class Live:
    """What is made once for all viewers of one kind."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._batches: deque[Batch] = deque(maxlen=BATCHES)
        self._number = 0
        self._made_at = 0.0
        self._head: tuple[tuple[int, bool], Head] | None = None
        self.streams: Counter[str] = Counter()
        """Open streams by address."""

    def beats(self, after: int, now: float) -> tuple[int, list[Batch]]:
        """(number of the newest telling, those after `after`); a new one is made when it is time."""
        if now - self._made_at >= BEATS_S:
            self._made_at = now
            dashboard, view = self._context.dashboard, self._context.view
            stirred, nearing = (
                dashboard.trends.taken(),
                dashboard.glance.endings.nearing(view.roster, view.now()),
            )
            if stirred or nearing:
                self._number += 1
                told = event("beats", "", self._told(stirred))
                self._batches.append(Batch(self._number, stirred, told, nearing))
        return self._number, [batch for batch in self._batches if batch.number > after]

    def _told(self, names: set[str]) -> bytes:
        """`{name: [temperature, load, beats]}`."""
        rows = self._context.dashboard.rows
        known = (name for name in sorted(names) if name in self._context.view.roster.machines)
        return encode({name: rows.cells(name) for name in known})

    def parts(self, viewer: Viewer) -> str:
        """The head of the page for this viewer: shared but for what is theirs."""
        overview = self._context.dashboard.glance.now
        shared = self._shared(Viewer("", viewer.role) if viewer.known else Viewer())
        if not viewer.name:
            return shared.chips + shared.strip + shared.rest
        own = parts_of(self._context, viewer, racks=False) if overview.holders[viewer.name] else None
        if own is None:
            return shared.named_chips + shared.strip + shared.rest
        render = self._context.dashboard.render
        strip = render("pool_strip.html", parts=own) if own.shares else shared.strip
        for name in overview.by_holder[viewer.name] if not own.shares else ():
            strip = strip.replace(pool_cell(name, "locked"), pool_cell(name, "mine"))
        mine = f'<output data-count="mine">{own.mine}</output>'
        return render("chips.html", parts=own) + strip + shared.rest + mine

    def _shared(self, viewer: Viewer) -> Head:
        """Made once for each revision, with and without a login."""
        key = (self._context.view.revision, viewer.known)
        if self._head is None or self._head[0] != key:
            self._head = (key, self._made(viewer))
        return self._head[1]

    def _made(self, viewer: Viewer) -> Head:
        render, parts = self._context.dashboard.render, parts_of(self._context, viewer)
        named = parts_of(self._context, Viewer(NOBODY_IN_PARTICULAR, viewer.role), racks=False)
        return Head(
            render("chips.html", parts=parts),
            render("chips.html", parts=named),
            render("pool_strip.html", parts=parts),
            render("live_parts.html", parts=parts),
        )


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
    address = request.client.host if request.client else ""
    _not_too_many(context, viewer, address)
    watching = Watching.of(context, viewer, page, machine, q)
    start = resumed(context, last_event_id or after)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    told = _told(context, watching, start, address, lambda: viewer_of(request) == viewer)
    return StreamingResponse(told, media_type="text/event-stream", headers=headers)


def _not_too_many(context: Context, viewer: Viewer, address: str) -> None:
    """Raises `Unavailable`: whoever opens thousands of pages must not keep boards and jobs from being answered."""
    streams = context.dashboard.live.streams
    if streams.total() >= MOST_STREAMS or (
        not viewer.known and streams[address] >= MOST_STREAMS_OF_STRANGERS
    ):
        raise Unavailable("Too many pages are open already.", "This one asks every 15 seconds instead.")


async def _told(
    context: Context, watching: Watching, start: int | None, address: str, still: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """Until the service stops, the session ends, or the viewer leaves."""
    live, view, clock = context.dashboard.live, context.view, asyncio.get_running_loop().time
    epoch = view.roster.epoch
    position = view.revision if start is None else start
    flushed = pinged = clock() - PING_S
    beats, _ = live.beats(0, clock())
    live.streams[address] += 1
    context.metrics.streams.inc()
    try:
        yield event(
            "resync" if start is None else "hello",
            f"{epoch}.{position}",
            encode({"now": context.wall_us() // 1000, "viewer": watching.viewer.mark}),
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
        live.streams[address] -= 1
        if not live.streams[address]:
            del live.streams[address]
        context.metrics.streams.dec()


def _beaten(context: Context, watching: Watching, batches: list[Batch]) -> bytes:
    """What this page shows of the beats that have come."""
    nearing = sorted(set().union(*(batch.nearing for batch in batches)))
    if watching.page == "machines":
        if watching.by_beats:
            return event("changed", "", b"{}")
        rows = event("rows", "", _rows(context, watching, nearing)) if nearing else b""
        return rows + b"".join(batch.told for batch in batches)
    if any(watching.machine in batch.names for batch in batches):
        cells = context.dashboard.rows.cells(watching.machine)
        return event("beats", "", encode({watching.machine: cells}))
    return b""


def _news(
    context: Context, watching: Watching, changed: list[Machine | Lease], before: int, at: str
) -> bytes:
    """One flush: what this page shows of what has changed since the revision `before`."""
    if watching.page != "machines" and context.dashboard.glance.shown_at <= before:
        return b""
    parts = event("parts", "", context.dashboard.live.parts(watching.viewer))
    names = _touched(context, watching.viewer, changed, before)
    if watching.page == "machines":
        if len(names) > MOST_ROWS:
            return parts + event("changed", at, b"{}")
        return parts + event("rows", at, _rows(context, watching, names))
    if watching.page == "none" or (watching.machine and watching.machine not in names):
        return parts
    return parts + event("changed", at, b"{}")


def _touched(context: Context, viewer: Viewer, changed: list[Machine | Lease], before: int) -> list[str]:
    """The machines whose rows look different after these changes, each once."""
    glance = context.dashboard.glance
    found = dict.fromkeys(glance.let_go_after(before))
    if viewer.name and glance.queue_at > before:
        found.update(dict.fromkeys(glance.waited_for(viewer.name)))
    for row in changed:
        names = (row.name,) if isinstance(row, Machine) else (*row.machines, *row.set_aside)
        found.update(dict.fromkeys(names))
    return list(found)


def _rows(context: Context, watching: Watching, names: list[str]) -> str:
    rows, roster = context.dashboard.rows, context.view.roster
    html: list[str] = []
    for name in names:
        machine = roster.machines.get(name)
        if machine is None or not watching.finds(context, machine):
            html.append(context.dashboard.gone(name))
        else:
            html.append(rows.html(machine, watching.viewer))
    return "".join(html)


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
