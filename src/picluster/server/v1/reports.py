"""How the pool was used, over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from picluster.server.reported import LONGEST_DAYS
from picluster.server.v1.common import InContext, Viewer, answer
from picluster.wire import Report

router = APIRouter(tags=["reports"])

Days = Annotated[int, Query(ge=1, le=LONGEST_DAYS, description="Today, and the days before it; in UTC")]


@router.get("/reports", response_model=Report)
async def reports(context: InContext, actor: Viewer, days: Days = 7) -> Response:
    """Use of each machine and day, waiting times, silence and verdicts, from the events. A minute old at most, or,
    in a large pool, as old as is needed so that counting does not slow the service down."""
    return answer(await context.reports.of(context, days))
