"""What people do with machines: label and comment them, take them out of service and back, forget them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from picluster.errors import Conflict, Malformed, NotAllowed, NotFound
from picluster.pool import enrolment, leases
from picluster.pool.commands import Amend, Forget, ForgetAddress, NotePower
from picluster.pool.ledger import Ledger
from picluster.pool.model import Actor, Machine, Mode, Role, Service
from picluster.pool.selector import label_problem


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
    _may_be_called(key for key, value in change.labels.items() if value is not None)
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
    if change.service is not None:
        new = replace(new, by_rule=False)
    if change.service is Service.IN_SERVICE and machine.service is not Service.IN_SERVICE:
        new = _looked_after(ledger, enrolment.believed(ledger, new))
    if new != machine:
        machine = ledger.save(new)
        kind = f"machine.{change.service.value}" if change.service else "machine.amended"
        ledger.note(kind, change.by, machine=machine.name, detail=_amended(change))
    if change.evict and machine.lease:
        lease = ledger.roster.leases[machine.lease]
        leases.end(ledger, lease, "evicted", change.by, reason=change.reason or machine.reason)
    return ledger.roster.machines[machine.name]


def _may_be_called(keys: Iterable[str]) -> None:
    """Raises `Malformed` for a label that searches would take for something else."""
    if problem := label_problem(keys):
        raise Malformed(f"labels: {problem}.", "Call it by another word.", field="labels")


def _looked_after(ledger: Ledger, machine: Machine) -> Machine:
    """A person has seen to it: what was counted against it is forgotten, and the next report says how it is."""
    return replace(
        machine,
        cleaning_since_s=ledger.now,
        cleaning_failures=0,
        strange_updates=0,
        former_boot_id="",
        ailing=(),
        ailing_since_s=ledger.now,
        setbacks=0,
        stumbles=0,
    )


def _reason(machine: Machine, change: Amend) -> str:
    if change.service is Service.IN_SERVICE:
        return ""
    return machine.reason if change.reason is None else change.reason


def _amended(change: Amend) -> dict[str, Any]:
    said = {"labels": dict(change.labels), "comment": change.comment, "reason": change.reason}
    return {key: value for key, value in said.items() if value is not None and value != {}}


def forget(ledger: Ledger, ask: Forget) -> Machine:
    """A machine leaves the pool, and its board needs a new token to come back."""
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
    enrolment.shut_out(ledger, machine)
    ledger.heard.pop(machine.name, None)
    ledger.note("machine.forgotten", by, machine=machine.name, detail={"reason": reason} if reason else {})
    return machine


def _named(ledger: Ledger, name: str) -> Machine:
    """By name or address, as it is read."""
    machine = ledger.roster.machine_called(name)
    if machine is None:
        raise NotFound(f"No machine is called {name!r}.", "`picluster list` shows what there is.")
    return machine


def note_power(ledger: Ledger, power: NotePower) -> Machine:
    """Who switched the power of which machine, and what came of it, is in the record; the board is not blamed for it."""
    machine = _named(ledger, power.machine)
    if power.by.role < Role.OPERATOR:
        raise NotAllowed("Power is switched by operators.", "Ask an operator.")
    kind, detail = "machine.power", {"action": power.action}
    if power.outcome:
        kind, detail = "machine.powered", {**detail, "outcome": power.outcome}
    machine = ledger.save(replace(machine, powered_s=ledger.now))
    lease = ledger.roster.leases.get(machine.lease)
    ledger.note(kind, power.by, machine=machine.name, lease=lease, detail=detail)
    return machine
