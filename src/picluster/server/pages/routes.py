"""All pages under one router, and the dashboard behind them: what the application needs of this folder."""

from __future__ import annotations

from fastapi import APIRouter

from picluster.server.context import Context
from picluster.server.pages import (
    access,
    actions,
    activity,
    adding,
    docs,
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
from picluster.server.pages.frame import templates

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
    docs,
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
