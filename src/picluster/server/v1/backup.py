"""A copy of the whole pool, streamed while it runs: nobody else may open an embedded database."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from picluster.server.v1.common import Admin, InContext

router = APIRouter(tags=["backup"])


@router.get("/backup", response_class=StreamingResponse)
async def backup(context: InContext, actor: Admin) -> StreamingResponse:
    """All rows of this moment, gzip-compressed lines of JSON. It has digests of all tokens: keep it secret."""
    return StreamingResponse(context.store.backup(), media_type="application/gzip")
