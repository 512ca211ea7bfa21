"""What boards say and what that changes: they appear, move, reboot, fall silent, come back, and report clean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from picluster.errors import Conflict, NotAllowed, NotFound
from picluster.pool import leases
from picluster.pool.commands import Amend, Beat, Forget, ForgetAddress, Report, UpdateAddress
from picluster.pool.ledger import Ledger
from picluster.pool.model import (
    SYSTEM,
    Actor,
    Heard,
    Lease,
    LeaseState,
    Machine,
    Mode,
    Presence,
    Role,
    Service,
)

LEGACY_ID = "legacy:"
"""Identity of a board that speaks only the old protocol: this and its address."""

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")


def plain(machine: Machine, report: Report, epoch: int) -> bool:
    """Whether a beat says nothing new, so that it needs no turn of its own."""
    return (
        machine.presence is Presence.ONLINE
        and machine.seen_epoch == epoch
        and not machine.cleaning
        and machine.boot_id == report.boot_id
        and machine.address == report.address
        and machine.id == report.id
        and machine.mode is report.mode
        and machine.reported_fence == report.fence
        and machine.reported_closed == report.closed
        and (report.comment is None or machine.comment == report.comment)
        and machine.host_keys == report.host_keys
        and machine.ssh_user == report.ssh_user
        and machine.ssh_port == report.ssh_port
        and machine.board_labels == report.labels
        and _known(machine, report.facts)
    )


def _known(machine: Machine, facts: Mapping[str, Any]) -> bool:
    if machine.mode is not Mode.LEGACY:
        return machine.facts == facts
    return all(
        machine.facts.get(key) == value for key, value in facts.items() if not key.startswith("announced_")
    )


# Beats


def may_speak(said: Beat) -> bool:
    """An agent speaks for its own machine only."""
    return said.by.role is not Role.AGENT or said.by.machine == said.machine


def beat(ledger: Ledger, said: Beat) -> Machine:
    """An agent reports: a new board, or news of a known one."""
    machine = ledger.roster.machine_named(said.machine)
    if not may_speak(said):
        raise NotAllowed(
            f"This token is for {said.by.machine}, not for {said.machine}.",
            "Each board has a token of its own.",
        )
    report = said.report
    standing = ledger.roster.machine_at(report.address)
    if machine is not None and machine.mode is Mode.LEGACY and machine is not standing:
        raise Conflict(
            f"A board of the old protocol, at {machine.address}, is called {machine.name} already.",
            f"Give this one another name, or `picluster delete {machine.name}` if it is gone.",
        )
    if machine is not None and ledger.overtaken(machine.name, report.boot_id, report.seq):
        return machine  # what it says was true before what we know
    name = machine.name if machine is not None else said.machine
    if standing is not None and standing.mode is Mode.LEGACY and report.mode is not Mode.LEGACY:
        machine = _take_over(ledger, name, standing, machine)
    elif standing is not None and standing.name != name:
        ledger.save(replace(standing, address=""))
    if machine is None:
        machine = _register(ledger, said.machine, report)
    _hear(ledger, machine.name, report, said.heard_us)
    machine = _reported(ledger, machine, report)
    machine = _witness(ledger, machine, report)
    machine = _boot(ledger, machine, report)
    machine = _cleaned(ledger, machine, report)
    _let_in(ledger, machine)
    return ledger.roster.machines[machine.name]


def _register(ledger: Ledger, name: str, report: Report) -> Machine:
    name = ledger.roster.unique_name(name)
    before = ledger.roster.tombstones.get(name)
    if before is not None and before.id != report.id:
        before = None
    machine = ledger.save(
        Machine(
            name=name,
            id=report.id,
            address=report.address,
            mode=report.mode,
            facts=report.facts,
            comment=report.comment or "",
            board_labels=report.labels,
            boot_id=report.boot_id,
            presence_since_s=ledger.now,
            seen_epoch=ledger.state.epoch,
            fence=before.fence if before else 0,
            cleaning=before.cleaning if before else 0,
            cleaning_since_s=ledger.now,
            registered_us=ledger.wall_us,
        )
    )
    ledger.note(
        "machine.registered",
        SYSTEM,
        machine=machine.name,
        detail={"address": machine.address, "id": machine.id},
    )
    return machine


def _hear(ledger: Ledger, name: str, report: Report, heard_us: int) -> None:
    ledger.hear(
        Heard(
            name=name,
            heard_us=heard_us or ledger.wall_us,
            boot_id=report.boot_id,
            seq=report.seq,
            telemetry=report.telemetry,
        )
    )


def _reported(ledger: Ledger, machine: Machine, report: Report) -> Machine:
    """Take over what the board says of itself; being heard in this epoch is part of it."""
    came_back = machine.presence is Presence.OFFLINE
    facts = report.facts
    if report.mode is Mode.LEGACY:
        facts = {
            **machine.facts,
            **{key: value for key, value in facts.items() if not key.startswith("announced_")},
        }
    new = replace(
        machine,
        id=report.id,
        address=report.address,
        mode=report.mode,
        facts=machine.facts if facts == machine.facts else facts,
        board_labels=machine.board_labels if report.labels == machine.board_labels else report.labels,
        host_keys=report.host_keys,
        ssh_user=report.ssh_user,
        ssh_port=report.ssh_port,
        comment=machine.comment if report.comment is None else report.comment,
        presence=Presence.ONLINE,
        presence_since_s=ledger.now if came_back else machine.presence_since_s,
        seen_epoch=ledger.state.epoch,
        strange_updates=machine.strange_updates if report.address == machine.address else 0,
    )
    if new == machine:
        return machine
    moved = machine.address != new.address
    machine = ledger.save(new)
    if came_back:
        ledger.note("machine.online", SYSTEM, machine=machine.name)
    if moved:
        ledger.note("machine.moved", SYSTEM, machine=machine.name, detail={"address": machine.address})
    return machine


def _witness(ledger: Ledger, machine: Machine, report: Report) -> Machine:
    """A board that knows a later fence than the service proves that the database went back in time."""
    if report.fence <= machine.fence:
        if (machine.reported_fence, machine.reported_closed) != (report.fence, report.closed):
            machine = ledger.save(
                replace(machine, reported_fence=report.fence, reported_closed=report.closed)
            )
        return machine
    if report.fence > ledger.wall_us + ledger.policy.future_us:
        if machine.service is not Service.QUARANTINED:
            machine = leases.quarantine(
                ledger, machine, f"it reports fence {report.fence}, which no service can have granted"
            )
        return machine
    if report.fence > ledger.state.revision:
        ledger.state = replace(ledger.state, revision=report.fence)
    unknown_here = report.fence > ledger.state.epoch_since
    lease = ledger.roster.leases.get(machine.lease)
    if lease is not None:
        leases.end(ledger, lease, "history_went_back", SYSTEM, reason=f"{machine.name} knows a later fence")
    machine = ledger.save(
        replace(
            ledger.roster.machines[machine.name],
            fence=report.fence,
            reported_fence=report.fence,
            reported_closed=report.closed,
            cleaning=report.fence if report.mode is Mode.ENFORCED else 0,
            cleaning_since_s=ledger.now,
        )
    )
    ledger.note("machine.witnessed", SYSTEM, machine=machine.name, detail={"fence": report.fence})
    if unknown_here:
        raise_epoch(ledger, SYSTEM, f"{machine.name} knows fence {report.fence}, and the database does not")
        machine = ledger.save(replace(ledger.roster.machines[machine.name], seen_epoch=ledger.state.epoch))
    return machine


def _boot(ledger: Ledger, machine: Machine, report: Report) -> Machine:
    if machine.boot_id == report.boot_id:
        return machine
    before = machine.boot_id
    machine = ledger.save(replace(machine, boot_id=report.boot_id))
    if before and report.boot_id:
        ledger.note("machine.rebooted", SYSTEM, machine=machine.name)
        if machine.lease:
            leases.rebooted(ledger, machine, ledger.roster.leases[machine.lease])
    return ledger.roster.machines[machine.name]


def _cleaned(ledger: Ledger, machine: Machine, report: Report) -> Machine:
    """The board has closed the fence that was awaited, and says whether it could clean up behind it."""
    if not machine.cleaning:
        return machine
    if report.mode is not Mode.ENFORCED:
        return ledger.save(replace(machine, cleaning=0))
    if report.fence < machine.cleaning or not report.closed:
        return machine
    if report.clean:
        machine = ledger.save(replace(machine, cleaning=0, cleaning_failures=0))
        ledger.note("machine.clean", SYSTEM, machine=machine.name, detail={"fence": report.fence})
        return machine
    failures = machine.cleaning_failures + 1
    machine = ledger.save(replace(machine, cleaning_failures=failures))
    if failures >= ledger.policy.clean_failures and machine.service is not Service.QUARANTINED:
        machine = leases.quarantine(ledger, machine, f"could not be cleaned, {failures} times")
    return machine


def _let_in(ledger: Ledger, machine: Machine) -> None:
    """The lease is ready when every machine of it lets its holder in."""
    lease = ledger.roster.leases.get(machine.lease)
    if lease is None or lease.ready:
        return
    if all(_open(ledger.roster.machines[name], lease) for name in lease.machines):
        lease = ledger.save(replace(lease, ready=True))
        ledger.note("lease.ready", SYSTEM, lease=lease)


def _open(machine: Machine, lease: Lease) -> bool:
    return machine.mode is not Mode.ENFORCED or (
        machine.reported_fence == lease.fence and not machine.reported_closed
    )


# One board, both programs


def _take_over(ledger: Ledger, name: str, legacy: Machine, known: Machine | None) -> Machine | None:
    """An enrolled machine appears where an old-protocol one stood: it is that one, with its lease and history."""
    if legacy.name == name:
        ledger.note("machine.enrolled", SYSTEM, machine=name, detail={"was": legacy.id})
        return legacy
    lease = ledger.roster.leases.get(legacy.lease)
    if lease is not None and known is not None and _has_been_elsewhere(known, lease):
        reason = f"{legacy.name} is {name}, which has had holders of its own since"
        leases.end(ledger, lease, "machine_merged", SYSTEM, reason=reason)
        lease, legacy = None, ledger.roster.machines[legacy.name]
    ledger.save(replace(legacy, lease="", address="", deleted=True, deleted_s=ledger.now))
    fence = max(legacy.fence, known.fence if known else 0)
    heir = known or replace(legacy, name=name, registered_us=ledger.wall_us)
    heir = replace(
        heir, fence=fence, lease=legacy.lease or heir.lease, comment=heir.comment or legacy.comment
    )
    heir = replace(heir, labels={**legacy.labels, **heir.labels}, address=legacy.address)
    heir = ledger.save(heir)
    if lease is not None:
        machines = tuple(name if held == legacy.name else held for held in lease.machines)
        ledger.save(replace(lease, machines=machines))
    ledger.note("machine.enrolled", SYSTEM, machine=name, detail={"was": legacy.id, "name": legacy.name})
    return heir


def _has_been_elsewhere(known: Machine, lease: Lease) -> bool:
    """Whether an enrolled board has a history of its own since this lock: then nobody can have used it as that one."""
    return bool(known.lease or known.cleaning or known.fence > lease.fence)


def update_address(ledger: Ledger, said: UpdateAddress) -> Machine:
    """The old protocol's update: registers the board at this address, or is its heartbeat."""
    report = said.report
    machine = ledger.roster.machine_at(report.address)
    if machine is None:
        wanted = str(report.facts.get("host_name") or report.address)
        machine = _register(ledger, legacy_name(wanted), report)
        _hear(ledger, machine.name, report, said.heard_us)
        return machine
    if machine.mode is not Mode.LEGACY:
        return _other_program(ledger, machine, report)
    _hear(ledger, machine.name, report, said.heard_us)
    return _reported(ledger, machine, replace(report, id=machine.id))


def legacy_name(wanted: str) -> str:
    """A machine name out of whatever an old board calls itself."""
    return _NOT_IN_NAMES.sub("-", wanted)[:63] or "machine"


def _other_program(ledger: Ledger, machine: Machine, report: Report) -> Machine:
    """An update for an enrolled machine's address changes nothing, unless another board keeps sending it."""
    host = str(report.facts.get("host_name") or "")
    ours = str(machine.facts.get("host_name") or machine.name)
    if not host or host.casefold() == ours.casefold():
        return ledger.save(replace(machine, strange_updates=0)) if machine.strange_updates else machine
    strange = machine.strange_updates + 1
    machine = ledger.save(replace(machine, strange_updates=strange))
    if strange >= ledger.policy.strange_updates and machine.service is Service.IN_SERVICE:
        reason = f"another board, {host!r}, reports from its address {machine.address}"
        machine = ledger.save(replace(machine, service=Service.ATTENTION, reason=reason))
        ledger.note("machine.attention", SYSTEM, machine=machine.name, detail={"reason": reason})
    return machine


# People


def amend(ledger: Ledger, change: Amend) -> Machine:
    """Labels, comment, in or out of service."""
    machine = _named(ledger, change.machine)
    more_than_comment = (
        change.labels or change.evict or change.service is not None or change.reason is not None
    )
    if change.by.role < Role.OPERATOR and more_than_comment:
        raise NotAllowed(
            "Labels and service are changed by operators.", "Ask an operator; a comment is free to all users."
        )
    labels = {**machine.labels, **change.labels}
    new = replace(
        machine,
        labels={key: value for key, value in labels.items() if value is not None}
        if change.labels
        else machine.labels,
        comment=machine.comment if change.comment is None else change.comment,
        service=machine.service if change.service is None else change.service,
        reason=_reason(machine, change),
    )
    if change.service is Service.IN_SERVICE and machine.service is not Service.IN_SERVICE:
        new = replace(new, cleaning_since_s=ledger.now, cleaning_failures=0, strange_updates=0)
    if new != machine:
        machine = ledger.save(new)
        kind = f"machine.{change.service.value}" if change.service else "machine.amended"
        ledger.note(kind, change.by, machine=machine.name, detail=_amended(change))
    if change.evict and machine.lease:
        lease = ledger.roster.leases[machine.lease]
        leases.end(ledger, lease, "evicted", change.by, reason=change.reason or machine.reason)
    return ledger.roster.machines[machine.name]


def _reason(machine: Machine, change: Amend) -> str:
    if change.service is Service.IN_SERVICE:
        return ""
    return machine.reason if change.reason is None else change.reason


def _amended(change: Amend) -> dict[str, Any]:
    said = {"labels": dict(change.labels), "comment": change.comment, "reason": change.reason}
    return {key: value for key, value in said.items() if value}


def forget(ledger: Ledger, ask: Forget) -> Machine:
    """A machine leaves the pool; whoever beats in its name afterwards registers anew."""
    machine = _named(ledger, ask.machine)
    legacy_may = ask.by.legacy and machine.mode is Mode.LEGACY
    if ask.by.role < Role.OPERATOR and not legacy_may:
        raise NotAllowed("Machines are deleted by operators.", "Ask an operator.")
    if machine.lease:
        holder = ledger.roster.leases[machine.lease].holder
        raise Conflict(
            f"{machine.name} is held by {holder}.", f"`picluster unlock {machine.name}` first.", holder=holder
        )
    return _forgotten(ledger, machine, ask.by, ask.reason)


def forget_address(ledger: Ledger, ask: ForgetAddress) -> Machine:
    """The old protocol's delete: only machines of the old protocol that nobody has."""
    machine = ledger.roster.machine_at(ask.address)
    if machine is None:
        raise NotFound(f"No machine has the address {ask.address!r}.")
    if machine.mode is not Mode.LEGACY or ledger.roster.obstacle(machine):
        raise Conflict(f"{machine.name} cannot be deleted through the old protocol now.")
    return _forgotten(ledger, machine, ask.by)


def _forgotten(ledger: Ledger, machine: Machine, by: Actor, reason: str = "") -> Machine:
    ledger.save(replace(machine, deleted=True, deleted_s=ledger.now))
    ledger.heard.pop(machine.name, None)
    ledger.note("machine.forgotten", by, machine=machine.name, detail={"reason": reason} if reason else {})
    return machine


def _named(ledger: Ledger, name: str) -> Machine:
    """By name or address, as it is read."""
    machine = ledger.roster.machine_called(name)
    if machine is None:
        raise NotFound(f"No machine is called {name!r}.", "`picluster list` shows what there is.")
    return machine


# Time


def overdue(ledger: Ledger, machine: Machine) -> None:
    """Something is due with this machine: see what. Deadlines of the same moment are all served."""
    now, policy = ledger.now, ledger.policy
    if machine.delay_until_s and now >= machine.delay_until_s:
        machine = ledger.save(replace(machine, delay_until_s=0.0))
    if machine.presence is Presence.ONLINE and now >= ledger.silent_s(machine):
        machine = ledger.save(replace(machine, presence=Presence.OFFLINE, presence_since_s=now))
        ledger.note("machine.offline", SYSTEM, machine=machine.name)
    if machine.presence is Presence.ONLINE:
        since = max(machine.cleaning_since_s, machine.presence_since_s)
        if machine.cleaning and now >= since + policy.clean_s and machine.service is Service.IN_SERVICE:
            leases.quarantine(ledger, machine, f"did not report clean within {policy.clean_s:g} s")
    elif machine.lease and now >= machine.presence_since_s + policy.dead_machine_s:
        lease = ledger.roster.leases[machine.lease]
        if lease.state is LeaseState.HELD and not lease.open_ended and not lease.holder.startswith(LEGACY_ID):
            leases.end(
                ledger, lease, "machine_lost", SYSTEM, reason=f"{machine.name} has been offline for too long"
            )


def raise_epoch(ledger: Ledger, by: Actor, reason: str) -> None:
    """History may have gone back: from now on only what was heard since is granted."""
    revision = ledger.next_revision()
    ledger.state = replace(ledger.state, epoch=ledger.state.epoch + 1, epoch_since=revision)
    ledger.roster.begin_epoch(ledger.state.epoch)
    for name in list(ledger.roster.aside):
        ledger.unaside(name)
    ledger.note("pool.epoch", by, detail={"epoch": ledger.state.epoch, "reason": reason})
