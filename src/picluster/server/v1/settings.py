"""What the service is set to, over HTTP. Read only: see docs/decisions/0020."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from picluster.server.described import described
from picluster.server.v1.common import Admin, InContext, answer
from picluster.wire import SettingsAnswer

router = APIRouter(tags=["settings"])


@router.get("/settings", response_model=SettingsAnswer)
async def settings(context: InContext, actor: Admin) -> Response:
    """Every setting with its present and its usual value, what it means, and the variable that changes it at the next
    start. Of secrets only whether they are set."""
    return answer(described(context.settings, context.power.rules))
