"""Add a machine: what to run on a board, with a fresh join token in it, and watching it arrive."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from picluster.server.context import Context
from picluster.server.pages.viewer import Viewer


async def invitation(request: Request, context: Context, viewer: Viewer) -> dict[str, Any]:
    """For the list while it is empty: the one line to run, for those who may add machines."""
    return {"line": "", "token_note": "", "operators": []}
