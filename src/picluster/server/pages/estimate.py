"""When a job that waits gets its machines, as far as the leases in its way say. Pure: a pool goes in, estimates come out.

The queue is walked in its order, as the rules will walk it: each job takes the machines that come first of those that
would do, and they are free for the next one only when it has ended, too. What somebody renews ends at its hard limit
at the latest; what has no end, or stands on a machine that nobody can have, is not guessed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import nsmallest

from picluster.pool.explain import present
from picluster.pool.model import Lease, Machine, Service
from picluster.pool.roster import Roster
from picluster.server.pages.endings import renews_itself


@dataclass(frozen=True, slots=True)
class Coming:
    """When something is over."""

    in_s: float | None = None
    """None: nobody knows."""
    latest: bool = False
    """It may well be sooner."""

    @property
    def order(self) -> float:
        return float("inf") if self.in_s is None else self.in_s


NOW, UNKNOWN = Coming(0.0), Coming()


@dataclass(frozen=True, slots=True)
class Estimate:
    """When a waiting job gets what it asked for, and what that will be."""

    in_s: float | None = None
    """None: nobody knows."""
    latest: bool = False
    """It may well be sooner."""
    machines: tuple[str, ...] = ()
    """Which it waits for: of those that would do, the ones that come first."""
    choice: bool = False
    """Whether others would do as well."""


def lasts(lease: Lease) -> Coming:
    """How long a lease goes on from its grant, if its holder does not give back before."""
    if lease.ttl_s is None or renews_itself(lease):
        return Coming(lease.not_after_s, latest=True) if lease.not_after_s is not None else UNKNOWN
    return Coming(lease.ttl_s)


def rest_of(lease: Lease, now_s: float) -> Coming:
    """How long a held lease still goes on."""
    whole = lasts(lease)
    if whole.in_s is None:
        return UNKNOWN
    since_s = lease.granted_s if whole.latest else lease.renewed_s
    return Coming(max(0.0, since_s + whole.in_s - now_s), whole.latest)


def coming(roster: Roster, machine: Machine, now_s: float) -> Coming:
    """When this machine can be had: being cleaned or resting is a matter of seconds."""
    if machine.service is not Service.IN_SERVICE or not present(roster, machine):
        return UNKNOWN
    lease = roster.leases.get(machine.lease)
    return rest_of(lease, now_s) if lease else NOW


def estimates(roster: Roster, waiting: Iterable[Lease], now_s: float) -> dict[str, Estimate]:
    """Of each waiting lease, by its id; they come in the order of the queue."""
    known: dict[str, Coming] = {}
    found: dict[str, Estimate] = {}
    for lease in waiting:
        matches = roster.group_of(lease).matches
        for name in matches:
            if name not in known:
                known[name] = coming(roster, roster.machines[name], now_s)
        first = nsmallest(lease.count, matches, key=lambda name: (known[name].order, name))
        found[lease.id] = estimate = _estimate(first, known, lease.count, len(matches))
        if estimate.in_s is not None:
            known.update(dict.fromkeys(first, _after(estimate, lasts(lease))))
    return found


def _estimate(first: list[str], known: dict[str, Coming], count: int, matching: int) -> Estimate:
    """All of them at once, so when the last of them comes."""
    in_s = max((known[name].order for name in first), default=0.0)
    if len(first) < count or in_s == float("inf"):
        return Estimate()
    latest = any(known[name].latest for name in first)
    awaited = sorted(name for name in first if known[name].in_s or not in_s)
    return Estimate(in_s, latest, tuple(awaited), choice=matching > count)


def _after(start: Estimate, lease: Coming) -> Coming:
    if start.in_s is None or lease.in_s is None:
        return UNKNOWN
    return Coming(start.in_s + lease.in_s, start.latest or lease.latest)
