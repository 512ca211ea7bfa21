"""What boards say and what that changes: they appear, move, reboot, fall silent, come back, and report clean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from picluster.errors import Conflict, NotAllowed, NotAuthenticated
from picluster.pool import enrolment, health, leases, succession, verdict
from picluster.pool.commands import Beat, MoveIn, Report, UpdateAddress
from picluster.pool.ledger import Ledger
from picluster.pool.model import (
    LEGACY_PREFIX,
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
from picluster.pool.policy import Policy

LEGACY_ID = "legacy:"
"""Identity of a board that speaks only the old protocol: this and its address."""


def plain(machine: Machine, report: Report, epoch: int, wall_us: int, policy: Policy) -> bool:
    """Whether a beat says nothing new, so that it needs no turn of its own."""
    return (
        machine.presence is Presence.ONLINE
        and machine.seen_epoch == epoch
        and not machine.cleaning
        and not machine.judging
        and machine.boot_id == report.boot_id
        and machine.address == report.address
        and machine.mode is report.mode
        and machine.reported_fence == report.fence
        and machine.reported_closed == report.closed
        and (report.comment is None or machine.comment == report.comment)
        and enrolment.says_what_is_known(machine, report)
        and machine.ssh_user == report.ssh_user
        and machine.ssh_port == report.ssh_port
        and machine.board_labels == report.labels
        and _known(machine, report.facts)
        and machine.ailing == health.findings(machine, report.telemetry, report.facts, wall_us, policy)
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
    _still_trusted(ledger, said.by)
    report = said.report
    standing = ledger.roster.machine_at(report.address)
    if machine is not None and machine.service is Service.PENDING and standing not in (None, machine):
        report = replace(report, address=machine.address)  # nobody has looked at it: it displaces nobody
        standing = machine
    if machine is not None and machine.mode is Mode.LEGACY and machine is not standing:
        if not _joined(ledger, said.by):
            raise Conflict(
                f"A board of the old protocol, at {machine.address}, is called {machine.name} already.",
                f"Give this one another name, or `picluster delete {machine.name}` if it is gone.",
            )
        standing = machine  # it joined there, and has another address by now
    if machine is not None and ledger.overtaken(machine.name, report.boot_id, report.seq):
        return machine  # what it says was true before what we know
    name = machine.name if machine is not None else said.machine
    if standing is not None and standing.mode is Mode.LEGACY and report.mode is not Mode.LEGACY:
        machine = succession.take_over(ledger, name, standing, machine)
    elif standing is not None and standing.name != name:
        ledger.save(replace(standing, address=""))
    if machine is None:
        machine = enrolment.look_twice(ledger, _register(ledger, said.machine, report))
    _hear(ledger, machine.name, report, said.heard_us)
    report = enrolment.recognised(ledger, machine, report)
    machine = _reported(ledger, ledger.roster.machines[machine.name], report)
    for rule in (_witness, _boot, _shut, _cleaned, verdict.judge, _let_in):
        machine = rule(ledger, machine, report)
    return _examined(ledger, machine, report, said.heard_us)


def _examined(ledger: Ledger, machine: Machine, report: Report, heard_us: int) -> Machine:
    wall_us = heard_us or ledger.wall_us
    found = health.findings(machine, report.telemetry, report.facts, wall_us, ledger.policy)
    return health.examine(ledger, machine, found)


def _still_trusted(ledger: Ledger, by: Actor) -> None:
    """Whoever let the beat in has looked at an older copy: the token may be revoked in this very batch."""
    token = ledger.roster.tokens.get(by.token)
    if by.token and (token is None or token.revoked or token.approve):
        raise NotAuthenticated("This board's token was revoked.", "Make a new one: `picluster join`.")


def _joined(ledger: Ledger, by: Actor) -> bool:
    """Whether this board got its token by joining, so that its name was chosen for it."""
    token = ledger.roster.tokens.get(by.token)
    issuer = ledger.roster.tokens.get(token.issued_by) if token else None
    return issuer is not None and issuer.kind == "join"


def _register(ledger: Ledger, name: str, report: Report) -> Machine:
    machine = enrolment.introduce(
        ledger, replace(_newcomer(ledger, name, report), seen_epoch=ledger.state.epoch)
    )
    detail = {"address": machine.address, "id": machine.id}
    ledger.note("machine.registered", SYSTEM, machine=machine.name, detail=detail)
    return machine


def _newcomer(ledger: Ledger, name: str, report: Report) -> Machine:
    return Machine(
        name=ledger.roster.unique_name(name),
        id=report.id,
        address=report.address,
        mode=report.mode,
        facts=report.facts,
        comment=report.comment or "",
        board_labels=report.labels,
        boot_id=report.boot_id,
    )


def bring(ledger: Ledger, said: MoveIn) -> Machine:
    """A board that another service has heard: known, and away until it says something here."""
    newcomer = _newcomer(ledger, _called(said.report), said.report)
    machine = enrolment.introduce(ledger, replace(newcomer, presence=Presence.OFFLINE))
    _hear(ledger, machine.name, said.report, said.heard_us)
    ledger.note("machine.imported", said.by, machine=machine.name, detail={"address": machine.address})
    return machine


def _called(report: Report) -> str:
    """The old protocol knows no names: by its host name, else its address."""
    return enrolment.machine_name(str(report.facts.get("host_name") or report.address))


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
    before, machine = machine.address, ledger.save(new)
    if came_back:
        ledger.note("machine.online", SYSTEM, machine=machine.name)
    if machine.address != before:
        detail = {"address": machine.address, "was": before}
        ledger.note("machine.moved", SYSTEM, machine=machine.name, detail=detail)
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
    if report.fence < machine.registered_us and report.fence <= ledger.state.revision:
        return ledger.save(  # it was in this pool before, and was forgotten: no proof of anything
            replace(machine, fence=report.fence, reported_fence=report.fence, reported_closed=report.closed)
        )
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
    if report.boot_id in ("", machine.boot_id):
        return machine
    before, came_back = machine.boot_id, report.boot_id == machine.former_boot_id
    machine = ledger.save(replace(machine, boot_id=report.boot_id, former_boot_id=before))
    if came_back:
        return enrolment.attend(ledger, machine, "two boards report as it, in turn: was its card copied?")
    if before:
        ledger.note("machine.rebooted", SYSTEM, machine=machine.name)
        if machine.lease:
            leases.rebooted(ledger, machine, ledger.roster.leases[machine.lease])
        elif machine.presence_since_s < ledger.now:  # else its silence was counted already
            health.stumbled(ledger, machine)
    return ledger.roster.machines[machine.name]


def _shut(ledger: Ledger, machine: Machine, report: Report) -> Machine:
    """A board that has closed the fence of its live lease never opens it again, as when its fence file was damaged."""
    lease = ledger.roster.leases.get(machine.lease)
    if lease is None or report.mode is not Mode.ENFORCED or not report.closed or report.fence != lease.fence:
        return machine
    leases.end(ledger, lease, "board_closed", SYSTEM, reason=f"{machine.name} closed the fence by itself")
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


def _let_in(ledger: Ledger, machine: Machine, report: Report) -> Machine:
    """The lease is ready when every machine of it lets its holder in."""
    lease = ledger.roster.leases.get(machine.lease)
    if (
        lease is not None
        and not lease.ready
        and all(_open(ledger.roster.machines[name], lease) for name in lease.machines)
    ):
        lease = ledger.save(replace(lease, ready=True))
        ledger.note("lease.ready", SYSTEM, lease=lease)
    return machine


def _open(machine: Machine, lease: Lease) -> bool:
    return machine.mode is not Mode.ENFORCED or (
        machine.reported_fence == lease.fence and not machine.reported_closed
    )


def update_address(ledger: Ledger, said: UpdateAddress) -> Machine:
    """The old protocol's update: registers the board at this address, or is its heartbeat."""
    report = said.report
    machine = ledger.roster.machine_at(report.address)
    if machine is None:
        machine = _register(ledger, _called(report), report)
        _hear(ledger, machine.name, report, said.heard_us)
        return machine
    if machine.mode is not Mode.LEGACY:
        return succession.other_program(ledger, machine, report)
    _hear(ledger, machine.name, report, said.heard_us)
    machine = _reported(ledger, machine, replace(report, id=machine.id))
    return _examined(ledger, machine, report, said.heard_us)


# Time


def overdue(ledger: Ledger, machine: Machine) -> None:
    """Something is due with this machine: see what. Deadlines of the same moment are all served."""
    now, policy = ledger.now, ledger.policy
    if machine.delay_until_s and now >= machine.delay_until_s:
        machine = ledger.save(replace(machine, delay_until_s=0.0))
    if machine.presence is Presence.ONLINE and now >= ledger.silent_s(machine):
        machine = ledger.save(replace(machine, presence=Presence.OFFLINE, presence_since_s=now))
        ledger.note("machine.offline", SYSTEM, machine=machine.name)
        machine = health.stumbled(ledger, machine)
    machine = health.overdue(ledger, machine)
    if machine.presence is Presence.ONLINE:
        since = max(machine.cleaning_since_s, machine.presence_since_s)
        if machine.cleaning and now >= since + policy.clean_s and machine.service is Service.IN_SERVICE:
            leases.quarantine(ledger, machine, f"did not report clean within {policy.clean_s:g} s")
    elif machine.lease and now >= machine.presence_since_s + policy.dead_machine_s:
        lease = ledger.roster.leases[machine.lease]
        if (
            lease.state is LeaseState.HELD
            and not lease.open_ended
            and not lease.holder.startswith(LEGACY_PREFIX)
        ):
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
