"""One board, both programs: what becomes of an old-protocol machine when its board runs the agent, too."""

from __future__ import annotations

from dataclasses import replace

from picluster.pool import enrolment, leases
from picluster.pool.commands import Report
from picluster.pool.ledger import Ledger
from picluster.pool.model import SYSTEM, Lease, Machine, Service


def take_over(ledger: Ledger, name: str, legacy: Machine, known: Machine | None) -> Machine | None:
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


def other_program(ledger: Ledger, machine: Machine, report: Report) -> Machine:
    """An update for an enrolled machine's address changes nothing, unless another board keeps sending it."""
    host = str(report.facts.get("host_name") or "")
    ours = str(machine.facts.get("host_name") or machine.name)
    if not host or host.casefold() == ours.casefold():
        return ledger.save(replace(machine, strange_updates=0)) if machine.strange_updates else machine
    strange = machine.strange_updates + 1
    machine = ledger.save(replace(machine, strange_updates=strange))
    if strange >= ledger.policy.strange_updates and machine.service is Service.IN_SERVICE:
        reason = f"another board, {host!r}, reports from its address {machine.address}"
        machine = enrolment.attend(ledger, machine, reason)
    return machine
