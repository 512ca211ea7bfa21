"""The dashboard of one service: what its pages share, each made once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from picluster.pool.model import Machine, Row
from picluster.server.context import Context
from picluster.server.pages.join_tokens import JoinTokens
from picluster.server.pages.live import Live
from picluster.server.pages.overview import Glance
from picluster.server.pages.rows import Rows
from picluster.server.pages.trends import POINT_US, POINTS, Trends


class Dashboard:
    """One of each service, in its event loop."""

    def __init__(self, context: Context, templates: Environment) -> None:
        self._context = context
        self._templates = templates
        self.glance = Glance(context.view)
        self.trends = Trends(context.settings.beat_s)
        self.rows = Rows(context, templates, self.glance, self.trends)
        self.live = Live(context)
        self.join_tokens = JoinTokens(context)
        context.view.hearers.append(self.trends.hear)
        context.view.listeners.append(self._forget)

    async def remember(self) -> None:
        """What the boards were like in the hour before this start, from the store."""
        now_us = self._context.wall_us()
        found = await asyncio.to_thread(self._context.store.lately, now_us - POINTS * POINT_US)
        self.trends.remember(found)

    def _forget(self, rows: Sequence[Row]) -> None:
        """A board that comes back under the name of a deleted one begins anew."""
        for row in rows:
            if isinstance(row, Machine) and row.deleted:
                self.trends.forget(row.name)

    def render(self, template: str, **values: Any) -> str:
        return self._templates.get_template(template).render(**values)

    def gone(self, name: str) -> Markup:
        """A row that has left the list."""
        return Markup('<tr id="m-{}" data-gone></tr>').format(name)
