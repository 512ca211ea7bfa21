"""Why somebody waits, and for whom: answers over a roster, for people. Nothing here decides."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from picluster.pool.model import Lease, LeaseState, Machine, Mode, Presence, Service
from picluster.pool.roster import Group, Roster, order_of

FREE, LOCKED, OFFLINE, CLEANING, SET_ASIDE = "free", "locked", "offline", "cleaning", "set_aside"


def state_of(roster: Roster, machine: Machine) -> str:
    """One word for a machine: free, locked, cleaning, set_aside, offline, drained, quarantined, pending, attention."""
    if machine.lease:
        return LOCKED
    if machine.service is not Service.IN_SERVICE:
        return machine.service.value
    if not present(roster, machine):
        return OFFLINE
    if machine.cleaning or machine.delay_until_s:
        return CLEANING
    return SET_ASIDE if machine.name in roster.aside else FREE


def present(roster: Roster, machine: Machine) -> bool:
    """Whether it has been heard lately, in this epoch; it may be locked or drained all the same."""
    return machine.presence is Presence.ONLINE and machine.seen_epoch == roster.epoch


def is_awaited(machine: Machine) -> bool:
    """Whether it has joined, and not beaten yet; what came over from the first service has beaten there."""
    return machine.seen_epoch == 0 and machine.mode is not Mode.LEGACY


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a selector would get now."""

    machines: dict[str, str]
    """Every matching machine, by name, with its state."""
    waiting: int
    """Waiting leases that want one of them, too."""

    def summary(self) -> str:
        counts = Counter(self.machines.values())
        return (
            ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in counts.most_common()) or "none"
        )


def outlook(roster: Roster, group: Group) -> Outlook:
    machines = {name: state_of(roster, roster.machines[name]) for name in sorted(group.matches)}
    return Outlook(machines, sum(len(rival.waiting) for rival in _rivals(roster, group)))


def ahead(roster: Roster, lease: Lease) -> int:
    """How many waiting leases that want one of the same machines come before it."""
    order = order_of(lease)
    return sum(rival.ahead_of(order) for rival in _rivals(roster, roster.group_of(lease)))


def why_waiting(roster: Roster, lease: Lease) -> str:
    """One sentence for a person who waits; empty for a lease that does not."""
    if lease.state is not LeaseState.WAITING:
        return ""
    group = roster.group_of(lease)
    if len(group.matches) < lease.count:
        return f"{len(group.matches)} registered machines match and {lease.count} are needed; waiting for more to register."
    sentence = f"{lease.count} of {len(group.matches)} matching needed: {outlook(roster, group).summary()}."
    before = ahead(roster, lease)
    if before:
        sentence += f" {before} ahead of you."
    if lease.set_aside:
        sentence += f" Set aside for you meanwhile: {', '.join(lease.set_aside)}."
    return sentence


def _rivals(roster: Roster, group: Group) -> list[Group]:
    return [
        other
        for other in roster.waiting_groups()
        if other is group or not other.matches.isdisjoint(group.matches)
    ]
