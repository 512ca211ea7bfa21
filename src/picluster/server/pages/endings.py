"""When leases end that were taken for a fixed time: the next one, and those whose end has come near.

A heap of ends in service time. What a lease says now decides; an entry that it has outlived is dropped when it comes up.
"""

from __future__ import annotations

from heapq import heappop, heappush

from picluster.pool.model import Lease, LeaseState
from picluster.pool.roster import Roster

RENEWED_TTL_S = 300.0
"""Whoever takes a board for no longer than this is a program that renews, as is who sets a hard limit; people choose
half an hour or more."""

SOON_S = 900.0
"""With less than this left, the end is the news of the row, and Extend its button."""


def renews_itself(lease: Lease) -> bool:
    """Whether a program seems to keep it alive; the rules know no difference."""
    return lease.ttl_s is not None and (
        lease.ttl_s <= RENEWED_TTL_S or (lease.not_after_s or 0.0) > lease.ttl_s
    )


def fixed_end_s(lease: Lease) -> float | None:
    """Service time at which a lease ends unless somebody extends it; None for one that renews itself or has no end."""
    if lease.state is not LeaseState.HELD or lease.ttl_s is None or renews_itself(lease):
        return None
    return lease.renewed_s + lease.ttl_s


class Endings:
    """Of all leases."""

    def __init__(self) -> None:
        self._ends: list[tuple[float, str]] = []
        self._nearing: list[tuple[float, str]] = []

    def see(self, lease: Lease) -> None:
        """A lease is new or different."""
        end_s = fixed_end_s(lease)
        if end_s is not None:
            heappush(self._ends, (end_s, lease.id))
            heappush(self._nearing, (end_s - SOON_S, lease.id))

    def next_s(self, roster: Roster) -> float | None:
        """The earliest of all ends."""
        while self._ends and not _stands(roster, *self._ends[0]):
            heappop(self._ends)
        return self._ends[0][0] if self._ends else None

    def nearing(self, roster: Roster, now_s: float) -> set[str]:
        """Machines whose lease has come near its end since this was asked last."""
        names: set[str] = set()
        while self._nearing and self._nearing[0][0] <= now_s:
            near_s, lease_id = heappop(self._nearing)
            if _stands(roster, near_s + SOON_S, lease_id):
                names.update(roster.leases[lease_id].machines)
        return names


def _stands(roster: Roster, end_s: float, lease_id: str) -> bool:
    lease = roster.leases.get(lease_id)
    return lease is not None and fixed_end_s(lease) == end_s
