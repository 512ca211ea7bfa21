"""The parts of a page that show the pool at a glance, as values for the templates; the live stream sends the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from picluster.server.context import Context
from picluster.server.pages.overview import MOST_CELLS, by_rack
from picluster.server.pages.viewer import Viewer
from picluster.server.present import JOINING
from picluster.server.words import many, ticking


@dataclass(frozen=True, slots=True)
class Parts:
    """What the frame and the head of the list say."""

    machines: int
    free: int
    waiting: int
    mine: int
    chips: list[tuple[str, str, str, int]]
    racks: list[tuple[str, list[tuple[str, str]]]]
    """(rack, [(name, state)]); empty where there are too many for cells."""
    shares: list[tuple[str, int]]
    """(state, how many), for the proportional bar."""
    next: Any
    """When the next machine comes free, for those who wait; empty while nobody does, or nobody knows."""
    last: Any
    """The last change, with a time that ticks; empty while nothing has happened."""

    @property
    def sentence(self) -> str:
        return many(self.waiting, "job waits", "jobs wait") if self.waiting else "Nobody waits"


ORDER = (
    "free",
    "mine",
    "locked",
    "set_aside",
    "cleaning",
    JOINING,
    "quarantined",
    "attention",
    "offline",
    "drained",
    "pending",
)


def parts_of(context: Context, viewer: Viewer, *, racks: bool = True) -> Parts:
    """What this viewer sees; without the cells, where somebody has them already."""
    dashboard = context.dashboard
    overview = dashboard.glance.now
    cells = len(overview.states) <= MOST_CELLS
    names = sorted(overview.states) if cells and racks else []
    states = {name: overview.state(name, viewer.name) for name in names}
    mine = overview.holders[viewer.name] if viewer.name else 0
    counts = {**overview.counts, "mine": mine, "locked": max(0, overview.counts["locked"] - mine)}
    said, at_us = dashboard.glance.lately.last
    return Parts(
        machines=len(overview.states),
        free=overview.counts["free"],
        waiting=overview.waiting,
        mine=mine,
        chips=overview.chips(viewer.name),
        racks=[
            (rack, [(name, states[name]) for name in group])
            for rack, group in by_rack(context.view.roster, names)
        ],
        shares=[] if cells else [(state, counts[state]) for state in ORDER if counts.get(state)],
        next=_next_end(context) if overview.waiting else "",
        last=ticking(at_us, context.wall_us(), "ago", said + ", {} ago") if said and viewer.known else "",
    )


def _next_end(context: Context) -> Any:
    """The earliest end of a lease that does not renew itself."""
    view = context.view
    end_s = context.dashboard.glance.endings.next_s(view.roster)
    if end_s is None:
        return ""
    now_us = context.wall_us()
    left_us = int(max(0.0, end_s - view.now()) * 1e6)
    return ticking(now_us + left_us, now_us, "left", "the next machine comes free in {} at the latest")
