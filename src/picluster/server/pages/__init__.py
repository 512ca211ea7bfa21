"""Pages for people: rendered here, every value escaped, working without script and livelier with it.

`frame.py` answers in HTML, `rows.py` makes the rows, `live.py` tells open pages what changes; the other files are a
page or a kind of dialog each.
"""

from __future__ import annotations

from fastapi import APIRouter

from picluster.server.context import Context
from picluster.server.pages import (
    access,
    actions,
    activity,
    adding,
    extending,
    leasing,
    live,
    look,
    machine,
    machines,
    queue,
    reports,
    settings_people,
    settings_service,
    settings_tokens,
    settings_webhooks,
    settings_you,
    static,
)
from picluster.server.pages.dashboard import Dashboard
from picluster.server.pages.frame import is_part, problem, templates

__all__ = ["Dashboard", "dashboard", "is_part", "problem", "router"]

router = APIRouter(include_in_schema=False)
for part in (
    static,
    access,
    live,
    look,
    machines,
    machine,
    queue,
    activity,
    reports,
    adding,
    settings_you,
    settings_people,
    settings_tokens,
    settings_webhooks,
    settings_service,
    leasing,
    extending,
    actions,
):
    router.include_router(part.router)


def dashboard(context: Context) -> Dashboard:
    """The dashboard of a service; one for each."""
    return Dashboard(context, templates)
