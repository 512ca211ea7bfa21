"""News as server-sent events, and what happened, from the record.

The stream is made of the view's rows in order of revision: whoever resumes gets each row that changed
since, once, as it is now. There is no buffer that could overflow.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from starlette.responses import Response, StreamingResponse

from picluster.errors import Malformed
from picluster.pool.model import Lease, Machine
from picluster.server.context import Context
from picluster.server.http import encode
from picluster.server.present import event_answer, lease_answer, machine_answer
from picluster.server.v1.common import InContext, Limit, Viewer, answer
from picluster.store import HistoryQuery
from picluster.wire import LARGEST_NUMBER, EventAnswer, text_problem

PING_S = 15.0
"""Proxies cut idle connections; a page that hears nothing for longer knows that it is stale."""

AHEAD_US = 60_000_000
"""Another replica may have seen more than this one; a minute more it has only in somebody's imagination."""

router = APIRouter(tags=["events"])


STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}
"""What the API's reference cannot find out by itself."""


@router.get("/events", response_class=Response, responses=STREAM)
async def events(
    context: InContext,
    actor: Viewer,
    after: str = "",
    last_event_id: Annotated[str, Header()] = "",
) -> StreamingResponse:
    """Machines and leases as they change. Resumes behind `Last-Event-ID` or `after`; `resync` says: read the lists anew."""
    start = resumed(context, last_event_id or after)
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(_stream(context, start), media_type="text/event-stream", headers=headers)


def resumed(context: Context, text: str) -> int | None:
    """The revision behind which a stream begins; None when that cannot be said any more. Raises `Malformed`."""
    if not text:
        return context.view.revision
    epoch, dot, revision = text.partition(".")
    if not dot or not epoch.isdecimal() or not revision.isdecimal() or len(text) > 40:
        raise Malformed(
            "after: must be an event id, EPOCH.REVISION", "Leave it out to begin with now.", field="after"
        )
    now_us = context.wall_us()
    known = now_us - int(context.settings.policy.kept_s * 1e6) <= int(revision) <= now_us + AHEAD_US
    return int(revision) if int(epoch) == context.view.roster.epoch and known else None


async def _stream(context: Context, start: int | None) -> AsyncIterator[bytes]:
    view = context.view
    epoch = view.roster.epoch
    position = view.revision if start is None else start
    context.metrics.streams.inc()
    try:
        yield _event("resync" if start is None else "hello", f"{epoch}.{position}", {})
        with view.follower() as news:
            while not context.stopping.is_set():
                news.clear()
                if view.roster.epoch != epoch:
                    epoch, position = view.roster.epoch, view.revision
                    yield _event("resync", f"{epoch}.{position}", {})
                for row in view.changes_after(position):
                    position = row.revision
                    yield _row(context, row, f"{epoch}.{position}")
                if not await _news_or_end(context, news):
                    yield _event("ping", f"{epoch}.{position}", {})
    finally:
        context.metrics.streams.dec()


async def _news_or_end(context: Context, news: asyncio.Event) -> bool:
    tasks = [asyncio.ensure_future(news.wait()), asyncio.ensure_future(context.stopping.wait())]
    try:
        done, _ = await asyncio.wait(tasks, timeout=PING_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    return bool(done)


def _row(context: Context, row: Machine | Lease, event_id: str) -> bytes:
    if isinstance(row, Lease):
        return _event("lease", event_id, lease_answer(context.view, context.settings.policy, row))
    if row.deleted:
        return _event("machine", event_id, {"name": row.name, "deleted": True})
    return _event("machine", event_id, machine_answer(context.view, context.settings.policy, row))


def _event(kind: str, event_id: str, data: object) -> bytes:
    return b"event: %s\nid: %s\ndata: %s\n\n" % (kind.encode(), event_id.encode(), encode(data))


@router.get("/history", response_model=list[EventAnswer])
async def history(
    context: InContext,
    actor: Viewer,
    machine: str = "",
    holder: str = "",
    lease: str = "",
    kind: str = "",
    since: Annotated[int, Query(ge=0, le=LARGEST_NUMBER, description="µs since 1970")] = 0,
    until: Annotated[int, Query(ge=0, le=LARGEST_NUMBER, description="µs since 1970")] = 0,
    after: Annotated[
        int, Query(ge=0, le=LARGEST_NUMBER, description="revision of the last event of the page before")
    ] = 0,
    limit: Limit = 100,
) -> Response:
    """What happened, newest first. A page never ends within a revision, so it may be a little longer than `limit`."""
    for name, text in (("machine", machine), ("holder", holder), ("lease", lease), ("kind", kind)):
        problem = text_problem(text, 9 * 1024)
        if problem:
            raise Malformed(f"{name}: {problem}", field=name)
    query = HistoryQuery(machine, holder, lease, kind, since, until, after, limit)
    found = await asyncio.to_thread(context.store.history, query)
    return answer([event_answer(event) for event in found])
