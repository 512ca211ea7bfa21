"""The life of a lease: asked for, renewed, given back, or ended by time. Nothing revives an ended one."""

from __future__ import annotations

from dataclasses import replace

from picluster.errors import (
    Held,
    LeaseConflict,
    LeaseLost,
    Malformed,
    NotAllowed,
    NotFound,
    QuotaExceeded,
    Unsatisfiable,
)
from picluster.pool import queue, verdict
from picluster.pool.commands import Acquire, FreeAddress, LockAddress, Release, Renew
from picluster.pool.ledger import Ledger
from picluster.pool.model import (
    LEGACY_PREFIX,
    SYSTEM,
    Actor,
    Lease,
    LeaseState,
    Machine,
    Mode,
    OnReboot,
    Role,
    Service,
)
from picluster.pool.roster import Group, Roster, order_of
from picluster.pool.selector import parse

PRIORITIES = {Role.USER: 1, Role.OPERATOR: 2, Role.ADMIN: 3}
"""The highest priority that a role may ask for."""

MOST_FOR_USERS = 8
"""Machines in one lease of a user: more would let one job hold up a lab."""


# Asking


def acquire(ledger: Ledger, ask: Acquire) -> Lease:
    """A new lease, held or waiting; or, asked again, the same one, renewed."""
    known = ledger.roster.leases.get(ask.lease)
    if known is not None:
        _same(known, ask)
        return _renewed(ledger, known, ask.by) if known.live else known
    _permitted(ledger.roster, ask)
    selector = resolve(ledger.roster, ask.selector, new_labels=ask.wait_for_machines)
    group = ledger.roster.group(selector, ask.count)
    if not ask.wait_for_machines and len(group.matches) < ask.count:
        raise _unsatisfiable(group)
    lease = _asked(ledger, ask, selector)
    if not ask.queue:
        _refuse_unless_free(ledger, group, lease)
    ledger.joined.add(lease.id)
    revision = ledger.next_revision()
    lease = ledger.save(replace(lease, place=revision), revision=revision)
    ledger.note(
        "lease.asked",
        ask.by,
        lease=lease,
        detail={"selector": selector, "count": ask.count, "job": ask.job[:200]},
    )
    ledger.touched.add(group)
    if not ask.queue:
        queue.grant(ledger)
    return ledger.roster.leases[lease.id]


def resolve(roster: Roster, text: str, *, new_labels: bool = False) -> str:
    """The selector that a person's words mean: an exact machine name or address wins over reading them as one."""
    machine = roster.machine_called(text.strip())
    if machine is not None:
        return parse(f"name:{machine.name}").canonical
    return parse(text, label_keys=None if new_labels else _LabelKeys(roster)).canonical


class _LabelKeys:
    """The keys of the labels that some machine has."""

    def __init__(self, roster: Roster) -> None:
        self._counts = roster.label_keys

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._counts[key.casefold()] > 0

    def __iter__(self) -> object:
        return iter([key for key, count in self._counts.items() if count > 0])


def lock_address(ledger: Ledger, lock: LockAddress) -> Machine:
    """The machine at this address is taken, now, even if it is silent; behind everybody who already waits."""
    queue.grant(ledger)
    machine = ledger.roster.machine_at(lock.address)
    if machine is None:
        raise NotFound(f"No machine has the address {lock.address!r}.")
    if ledger.roster.obstacle(machine):
        raise Held(f"{machine.name} cannot be locked: {ledger.roster.obstacle(machine)}.")
    lease = Lease(
        id=lock.lease,
        holder=lock.by.name,
        selector=parse(f"name:{machine.name}").canonical,
        job=lock.job,
        ttl_s=lock.ttl_s,
        joined_s=ledger.now,
        joined_us=ledger.wall_us,
        renewed_s=ledger.now,
    )
    queue.hold(ledger, replace(lease, place=ledger.next_revision()), [machine.name], confirmed=True)
    return ledger.roster.machines[machine.name]


def _same(known: Lease, ask: Acquire) -> None:
    if known.holder != ask.by.name or known.asked != ask.asked:
        raise LeaseConflict(
            "A lease with this id was asked for by somebody else or with another body.",
            "Use a fresh UUID for a new lease, and the same body when you ask again.",
        )


def _permitted(roster: Roster, ask: Acquire) -> None:
    if ask.count > MOST_FOR_USERS and ask.by.role < Role.OPERATOR:
        raise NotAllowed(
            f"count {ask.count} is above what your role may ask for ({MOST_FOR_USERS}).",
            "Ask for fewer, or an operator to do it.",
        )
    highest = PRIORITIES.get(ask.by.role, 0)
    if ask.priority > highest:
        raise NotAllowed(
            f"priority {ask.priority} is above what your role may ask for ({highest}).",
            f"Ask for 0 to {highest}.",
        )
    if ask.quota and ask.by.limited and roster.live[ask.by.name] >= ask.quota:
        raise QuotaExceeded(
            f"{ask.by.name} has {roster.live[ask.by.name]} live leases, and {ask.quota} are allowed.",
            "Release one (`picluster list --me`), or ask the operator for a higher limit.",
        )


def _unsatisfiable(group: Group) -> Unsatisfiable:
    there = len(group.matches)
    return Unsatisfiable(
        f"{group.text or 'any machine'} matches {there} registered machine{'' if there == 1 else 's'}, "
        f"and {group.count} {'is' if group.count == 1 else 'are'} asked for.",
        "Widen the selector (`picluster list` shows what there is), or wait for machines to register.",
        matching=there,
        asked=group.count,
    )


def _asked(ledger: Ledger, ask: Acquire, selector: str) -> Lease:
    return Lease(
        id=ask.lease,
        holder=ask.by.name,
        selector=selector,
        asked=ask.asked,
        job=ask.job,
        count=ask.count,
        priority=ask.priority,
        ttl_s=ask.ttl_s,
        wait_s=ask.wait_s,
        not_after_s=ask.not_after_s,
        on_reboot=ask.on_reboot,
        ssh_public_keys=ask.ssh_public_keys,
        joined_s=ledger.now,
        joined_us=ledger.wall_us,
        renewed_s=ledger.now,
    )


def _refuse_unless_free(ledger: Ledger, group: Group, lease: Lease) -> None:
    """Who does not want to wait is refused before anything is written; those already waiting come first."""
    queue.grant(ledger)
    last_place = max(ledger.state.revision + 1, ledger.wall_us)
    order = order_of(replace(lease, place=last_place))
    if len(queue.available(ledger, group, order, lease.count)) < lease.count:
        raise _held(ledger, group)


def _held(ledger: Ledger, group: Group) -> Held:
    """Who has it, what for, and until when, if one lease is in the way; else how many are taken."""
    roster = ledger.roster
    machines = [roster.machines[name] for name in sorted(group.matches)]
    leases = [roster.leases[machine.lease] for machine in machines if machine.lease]
    hint = "Ask again with queue: true (`picluster wait`) to get your turn."
    if len(machines) == 1 and leases:
        held = leases[0]
        end = min(ledger.expires_s(held) - ledger.policy.slack_s, ledger.limit_s(held))
        return Held(
            f"{machines[0].name} is held by {held.holder}" + (f" for {held.job!r}." if held.job else "."),
            hint,
            machine=machines[0].name,
            holder=held.holder,
            job=held.job,
            lease=held.id,
            since_us=held.granted_us,
            age_s=round(ledger.now - held.granted_s, 3),
            expires_in_s=None if end == float("inf") else round(max(0.0, end - ledger.now), 3),
        )
    obstacles = [
        roster.obstacle(machine) or ("free" if roster.is_free(machine) else "offline") for machine in machines
    ]
    summary = ", ".join(
        f"{obstacles.count(word)} {word.replace('_', ' ')}" for word in dict.fromkeys(obstacles)
    )
    return Held(
        f"{group.count} of {len(machines)} matching machines asked for: {summary}.",
        hint,
        matching=len(machines),
    )


# Staying


def renew(ledger: Ledger, ask: Renew) -> Lease:
    """The holder or waiter is still there; it may change the ttl or keys, or announce a reboot."""
    lease = ledger.roster.leases.get(ask.lease)
    if lease is None:
        raise LeaseLost(
            "No lease has this id; it ended more than a day ago, or never was.", "Ask for a new lease."
        )
    _own(lease, ask.by)
    if not lease.live:
        raise LeaseLost.because(lease.ended, lease.ended_by, lease.holder)
    changes: dict[str, object] = {}
    if ask.ttl_s != 0.0:
        changes["ttl_s"] = ask.ttl_s
    if ask.ssh_public_keys is not None:
        changes["ssh_public_keys"] = ask.ssh_public_keys
    if ask.expect_reboot_s is not None:
        changes["reboot_until_s"] = ledger.now + ask.expect_reboot_s
    lease = _renewed(ledger, lease, ask.by, **changes)
    if "ttl_s" in changes:
        for machine in ledger.machine_of(lease):
            ledger.reconsider(machine)
    return lease


def _renewed(ledger: Ledger, lease: Lease, by: Actor, **changes: object) -> Lease:
    first = lease.state is LeaseState.HELD and not lease.confirmed
    lease = ledger.save(replace(lease, renewed_s=ledger.now, confirmed=True, **changes))  # type: ignore[arg-type]
    if first:
        ledger.note("lease.confirmed", by, lease=lease)
    elif changes:
        length = {"ttl_s": lease.ttl_s} if "ttl_s" in changes else {}
        ledger.note("lease.changed", by, lease=lease, detail={"changed": sorted(changes), **length})
    return lease


def _own(lease: Lease, by: Actor) -> None:
    if lease.holder != by.name:
        raise NotAllowed(f"This lease belongs to {lease.holder}.", "Only its holder can renew it.")


# Ending


def release(ledger: Ledger, ask: Release) -> Lease:
    """Given back by the holder, or taken back by an operator with a reason."""
    lease = ledger.roster.leases.get(ask.lease)
    if lease is None:
        raise NotFound("No lease has this id.", "`picluster list --me` shows yours.")
    mine = lease.holder == ask.by.name
    if not mine:
        _may_override(lease, ask)
    if not lease.live:
        return lease
    why = "released" if lease.state is LeaseState.HELD else "cancelled"
    return end(ledger, lease, why if mine else "taken_back", ask.by, reason=ask.reason, by_holder=mine)


def _may_override(lease: Lease, ask: Release) -> None:
    both_legacy = ask.by.legacy and lease.holder.startswith(LEGACY_PREFIX)
    if ask.by.role < Role.OPERATOR and not both_legacy:
        raise NotAllowed(f"This lease belongs to {lease.holder}.", "Ask them, or an operator, to release it.")
    if lease.live and not ask.reason:
        raise Malformed(
            "reason: taking back somebody's lease needs a reason.", "Say why; it is recorded.", field="reason"
        )


def free_address(ledger: Ledger, ask: FreeAddress) -> Machine:
    """The old protocol's free; answers the machine as it is once freed, even if somebody gets it at once."""
    machine = ledger.roster.machine_at(ask.address)
    if machine is None:
        raise NotFound(f"No machine has the address {ask.address!r}.")
    lease = ledger.roster.leases.get(machine.lease)
    if lease is None:
        return _freed_by_nobody(ledger, machine)
    if lease.holder == ask.by.name:
        end(ledger, lease, "released", ask.by, by_holder=True)
    elif (
        machine.mode is Mode.LEGACY
        and ask.by.address == machine.address
        and not lease.holder.startswith(LEGACY_PREFIX)
    ):
        rebooted(ledger, machine, lease)
        if ledger.roster.machines[machine.name].lease:
            raise Held(f"{machine.name} stays with {lease.holder} over a reboot.")
    else:
        raise Held(f"{machine.name} is held by {lease.holder}.")
    return ledger.roster.machines[machine.name]


def _freed_by_nobody(ledger: Ledger, machine: Machine) -> Machine:
    """A machine that announced something at its registration shows plain `Free` from its first free on."""
    if machine.fence == 0 and machine.facts.get("announced_command") != "Free":
        return ledger.save(
            replace(machine, facts={**machine.facts, "announced_command": "Free", "announced_task": ""})
        )
    return machine


def rebooted(ledger: Ledger, machine: Machine, lease: Lease) -> None:
    """The board went down and came up by itself while leased; the lease said what that means."""
    if (
        lease.on_reboot is OnReboot.KEEP
        or machine.facts.get("nounlock")
        or ledger.now <= lease.reboot_until_s
    ):
        ledger.note("lease.rebooted", SYSTEM, machine=machine.name, lease=lease)
        return
    end(ledger, lease, "reboot", SYSTEM, reason=f"{machine.name} rebooted", rebooted=machine.name)
    if lease.on_reboot is OnReboot.QUARANTINE:
        quarantine(ledger, ledger.roster.machines[machine.name], "rebooted while leased")


def quarantine(ledger: Ledger, machine: Machine, reason: str, *, by_rule: bool = False) -> Machine:
    """Out of service by the rules; until a person says otherwise or, if `by_rule`, until it is well."""
    machine = ledger.save(replace(machine, service=Service.QUARANTINED, reason=reason, by_rule=by_rule))
    ledger.note("machine.quarantined", SYSTEM, machine=machine.name, detail={"reason": reason})
    return machine


def end(
    ledger: Ledger,
    lease: Lease,
    why: str,
    by: Actor,
    *,
    reason: str = "",
    by_holder: bool = False,
    rebooted: str = "",
) -> Lease:
    """The lease is over, on all its machines; each is cleaned, rests, or is free at once."""
    rests = not by_holder and lease.confirmed
    for name in lease.set_aside:
        ledger.touch(ledger.roster.machines[name])
    if lease.set_aside or not lease.machines:
        ledger.touched.add(ledger.roster.group_of(lease))
    lease = replace(
        lease,
        state=LeaseState.ENDED,
        ended=why,
        ended_by=by.name,
        ended_s=ledger.now,
        ended_us=ledger.wall_us,
        set_aside=(),
        set_aside_since_s=None,
    )
    lease = ledger.save(verdict.at_end(lease, ledger.machine_of(lease), rebooted))
    for machine in ledger.machine_of(lease):
        enforced = machine.mode is Mode.ENFORCED
        delayed = rests and not enforced and machine.name != rebooted
        ledger.save(
            replace(
                machine,
                lease="",
                judging=(*machine.judging, lease.id) if machine.name in lease.awaiting else (),
                cleaning=lease.fence if enforced else 0,
                cleaning_since_s=ledger.now if enforced else 0.0,
                delay_until_s=ledger.now + ledger.policy.lock_delay_s if delayed else 0.0,
            )
        )
    ledger.note("lease.ended", by, lease=lease, detail={"why": why, "reason": reason})
    return lease


def overdue(ledger: Ledger, lease: Lease) -> None:
    """Something is due with this lease: see what."""
    roster, now = ledger.roster, ledger.now
    if not lease.live:
        if now >= ledger.verdict_s(lease):
            lease = verdict.overdue(ledger, lease)
        if now >= ledger.lease_deadline(lease):
            roster.drop_lease(lease.id)
    elif now >= ledger.limit_s(lease):
        end(ledger, lease, "not_after", SYSTEM, reason="its hard limit was reached")
    elif not lease.machines and lease.wait_s is not None and now >= lease.joined_s + lease.wait_s:
        end(ledger, lease, "wait_over", SYSTEM)
    elif now >= ledger.expires_s(lease):
        end(ledger, lease, _why_expired(lease), SYSTEM)
    elif lease.set_aside_since_s is not None:
        ledger.touched.add(roster.group_of(lease))


def _why_expired(lease: Lease) -> str:
    if not lease.machines:
        return "gave_up"
    return "expired" if lease.confirmed else "unconfirmed"
