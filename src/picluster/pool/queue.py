"""Who gets what is free: walk the waiters in their fixed order, grant what is enough, set aside what is not.

Only groups that something changed for are walked, and within a group only its first waiter counts: who
comes later wants the same and cannot have it sooner. Nobody holds while waiting, so there is no deadlock;
the order never changes, so there is no starvation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from heapq import heappop, heappush

from picluster.pool.ledger import Ledger
from picluster.pool.model import SYSTEM, Lease, LeaseState, Machine, Mode, Service
from picluster.pool.roster import Group, Order, order_of


def grant(ledger: Ledger) -> None:
    """Give every machine that became free to the first who waits for it."""
    walk: list[tuple[Order, str]] = []
    while True:
        for group in ledger.touched:
            if group.waiting and (group.free or group.count > 1):
                heappush(walk, group.waiting[0])
        ledger.touched.clear()
        if not walk:
            return
        _, lease_id = heappop(walk)
        lease = ledger.roster.leases[lease_id]
        group = ledger.roster.group_of(lease)
        if group.waiting and group.waiting[0][1] == lease_id:
            _serve_first(ledger, group, lease)


def watch_length(ledger: Ledger) -> None:
    """Tell when too many wait, and when that is over: at half as many, or each who comes and goes would be told."""
    waiting, most = ledger.roster.waiting, ledger.policy.crowded
    crowded = most > 0 and (2 * waiting > most if ledger.state.crowded else waiting >= most)
    if crowded != ledger.state.crowded:
        ledger.next_revision()  # whoever reads the events by revision must not have passed this one already
        ledger.state = replace(ledger.state, crowded=crowded)
        ledger.note("queue.long" if crowded else "queue.short", SYSTEM, detail={"waiting": waiting})


def available(ledger: Ledger, group: Group, order: Order, count: int) -> list[str]:
    """Up to `count` free machines for a lease at this place in the queue: not those set aside for one before it."""
    aside, leases = ledger.roster.aside, ledger.roster.leases

    def allowed(name: str) -> bool:
        keeper = aside.get(name)
        return keeper is None or order_of(leases[keeper]) >= order

    return group.free.best(count, allowed)


def hold(ledger: Ledger, lease: Lease, names: Sequence[str], *, confirmed: bool) -> Lease:
    """The grant: the lease gets its machines, and its revision becomes their fence."""
    fence = ledger.next_revision()
    spared = set(lease.set_aside) - set(names)
    machines = [ledger.roster.machines[name] for name in names]
    lease = ledger.save(
        replace(
            lease,
            state=LeaseState.HELD,
            machines=tuple(names),
            fence=fence,
            granted_s=ledger.now,
            granted_us=ledger.wall_us,
            renewed_s=ledger.now,
            confirmed=confirmed,
            ready=all(machine.mode is not Mode.ENFORCED for machine in machines),
            set_aside=(),
            set_aside_since_s=None,
        ),
        revision=fence,
    )
    for machine in machines:
        ledger.save(replace(machine, lease=lease.id, fence=fence, cleaning_failures=0))
    for name in spared:
        ledger.touch(ledger.roster.machines[name])
    ledger.note("lease.held", SYSTEM, lease=lease, detail={"fence": fence, "job": lease.job[:200]})
    return lease


def _serve_first(ledger: Ledger, group: Group, lease: Lease) -> None:
    names = available(ledger, group, order_of(lease), group.count)
    if len(names) == group.count:
        hold(ledger, lease, names, confirmed=lease.id in ledger.joined)
        ledger.touched.add(group)
    elif group.count > 1:
        _set_aside(ledger, group, lease, names)


def _set_aside(ledger: Ledger, group: Group, lease: Lease, names: Sequence[str]) -> None:
    """Keep for it what it can already have, for a while, unless it could not be enough in any case."""
    since, keep = _window(ledger, lease, bool(names) and _feasible(ledger, group))
    wanted = tuple(sorted(names)) if keep else ()
    if wanted == lease.set_aside and since == lease.set_aside_since_s:
        return
    for name in wanted:
        if ledger.roster.aside.get(name) != lease.id:
            ledger.unaside(name)
    ledger.save(replace(lease, set_aside=wanted, set_aside_since_s=since))
    for name in set(lease.set_aside) - set(wanted):
        ledger.touch(ledger.roster.machines[name])


def _window(ledger: Ledger, lease: Lease, possible: bool) -> tuple[float | None, bool]:
    """When the present window began, and whether it lets the lease keep machines: on, then off for as long."""
    since, span = lease.set_aside_since_s, ledger.policy.aside_s
    if since is not None and ledger.now - since < span:
        return since, possible
    if since is not None and ledger.now - since < 2 * span:
        return since, False
    return (ledger.now, True) if possible else (None, False)


def _feasible(ledger: Ledger, group: Group) -> bool:
    """Whether as many matching machines as asked are in service and will come free some day."""
    enough = 0
    for name in group.matches:
        enough += _comes_free(ledger, ledger.roster.machines[name])
        if enough >= group.count:
            return True
    return False


def _comes_free(ledger: Ledger, machine: Machine) -> bool:
    if machine.service is not Service.IN_SERVICE:
        return False
    lease = ledger.roster.leases.get(machine.lease)
    return lease is None or not lease.open_ended
