"""Who a board is: how it joins, how it is known again, and what is done when two say that they are the same.

A machine is known by the board's identity and by its SSH host keys, which clients pin. Whoever says something else under
a known name is not believed, and not granted, until a person has looked: it may be another board, or a rewritten card.
"""

from __future__ import annotations

import re
from dataclasses import replace

from picluster.errors import NotAllowed
from picluster.pool import leases
from picluster.pool.commands import Join, Report
from picluster.pool.ledger import Ledger
from picluster.pool.model import SYSTEM, Lease, Machine, Mode, Presence, Service, Token

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")
_NOT_AT_THEIR_START = re.compile(r"^[^A-Za-z0-9]+")
_LONGEST_NAME = 60
"""Of the 63 that a name may have, so that a number fits behind."""


def machine_name(wanted: str) -> str:
    """A machine name out of whatever a board calls itself."""
    return _NOT_AT_THEIR_START.sub("", _NOT_IN_NAMES.sub("-", wanted))[:_LONGEST_NAME] or "machine"


# Joining


def join(ledger: Ledger, ask: Join) -> Machine:
    """A board is let in with a join token, and gets a token of its own. Asking again is the same machine.

    Raises `NotAllowed` when the join token has let in as many boards as it may.
    """
    join_token = ledger.roster.tokens[ask.by.token]
    known, doubt = _recognise(ledger, ask)
    again = known is not None and any(
        token.issued_by == ask.by.token for token in _agent_tokens(ledger, known)
    )
    if not again:
        _use_up(ledger, join_token)
    machine = known or _newcomer(ledger, ask)
    if doubt:
        machine = attend(ledger, machine, doubt, claimed_host_keys=ask.host_keys)
    elif join_token.approve and not again:
        machine = _pend(ledger, machine)
    shut_out(ledger, machine)
    ledger.save(replace(ask.token, name=machine.name, issued_by=ask.by.token))
    detail = {"address": ask.address, "id": ask.id, "token": join_token.id}
    ledger.note("machine.joined", ask.by, machine=machine.name, detail=detail)
    return machine


def _recognise(ledger: Ledger, ask: Join) -> tuple[Machine | None, str]:
    """The machine that this is already, if it is one; and what is doubtful about it."""
    known = ledger.roster.machine_of_board(ask.id)
    if known is None:
        standing = ledger.roster.machine_at(ask.address)
        return (standing if standing and standing.mode is Mode.LEGACY else None), ""
    if not _same_keys(known, ask.host_keys):
        return known, "it joined again with other SSH host keys, as a rewritten card does, or another board"
    if known.presence is Presence.ONLINE and known.boot_id not in ("", ask.boot_id):
        doubt = f"another board joined with its identity, {ask.id}: is one a copy of the other's card?"
        attend(ledger, known, doubt)
        return None, f"it has the identity of {known.name}, {ask.id}: is one a copy of the other's card?"
    return known, ""


def _use_up(ledger: Ledger, token: Token) -> None:
    if not token.uses_left:
        raise NotAllowed(
            "This join token has let in as many boards as it may.",
            "An admin makes another one: `picluster join`.",
        )
    ledger.save(replace(token, uses_left=token.uses_left - 1))


def _newcomer(ledger: Ledger, ask: Join) -> Machine:
    """It stands in the list at once, and is offline until its first beat."""
    return ledger.save(
        Machine(
            name=ledger.roster.unique_name(machine_name(ask.name)),
            id=ask.id,
            address=ask.address,
            boot_id=ask.boot_id,
            host_keys=ask.host_keys,
            presence=Presence.OFFLINE,
            presence_since_s=ledger.now,
            registered_us=ledger.wall_us,
        )
    )


def _pend(ledger: Ledger, machine: Machine) -> Machine:
    reason = "it joined with a token whose boards a person has to approve"
    return ledger.save(replace(machine, service=Service.PENDING, reason=reason))


def _agent_tokens(ledger: Ledger, machine: Machine) -> list[Token]:
    ids = ledger.roster.agent_tokens.get(machine.name, ())
    return [token for token in map(ledger.roster.tokens.__getitem__, ids) if not token.revoked]


def shut_out(ledger: Ledger, machine: Machine) -> None:
    """The tokens that its board had are worth nothing any more."""
    for token in _agent_tokens(ledger, machine):
        ledger.save(replace(token, revoked=True, revoked_s=ledger.now))


# Knowing again


def introduced(ledger: Ledger, machine: Machine) -> Machine:
    """A machine that came with a token made for it by hand: perhaps its board is in the pool under another name."""
    other = ledger.roster.machine_of_board(machine.id)
    if other is None or other.name == machine.name:
        return machine
    return attend(
        ledger, machine, f"it has the identity of {other.name}, {machine.id}: delete the one that is gone"
    )


def recognised(ledger: Ledger, machine: Machine, report: Report) -> Report:
    """What is to be believed of a report: identity and host keys only if they are those that are known.

    A machine whose report says something else stands for attention, and keeps what it was known by: whoever
    holds a lease on it pins the keys that were there when it was granted.
    """
    if machine.mode is Mode.LEGACY:
        return report
    keys = report.host_keys if report.host_keys and not machine.host_keys else machine.host_keys
    another = report.id not in (machine.id, machine.claimed_id)
    new_keys = not _same_keys(machine, report.host_keys) and report.host_keys != machine.claimed_host_keys
    if another:
        attend(
            ledger,
            machine,
            f"it reports another identity, {report.id}: is its card in another board?",
            claimed_id=report.id,
            claimed_host_keys=report.host_keys,
        )
    elif new_keys:
        attend(
            ledger,
            machine,
            "its SSH host keys have changed: was its card rewritten?",
            claimed_host_keys=report.host_keys,
        )
    return replace(report, id=machine.id, host_keys=keys)


def says_what_is_known(machine: Machine, report: Report) -> bool:
    """Whether a report has nothing new of who the board is, compared with what is known or already doubted."""
    return report.id in (machine.id, machine.claimed_id or machine.id) and (
        report.host_keys in (machine.host_keys, machine.claimed_host_keys)
        or _same_keys(machine, report.host_keys)
    )


def _same_keys(machine: Machine, host_keys: tuple[str, ...]) -> bool:
    """No key that was not known; but a board that lost one, or could not read them, is still the same."""
    return not machine.host_keys or set(host_keys) <= set(machine.host_keys)


def attend(
    ledger: Ledger,
    machine: Machine,
    reason: str,
    *,
    claimed_id: str = "",
    claimed_host_keys: tuple[str, ...] = (),
) -> Machine:
    """It is not granted until a person has looked, and what it claims is remembered for them."""
    machine = ledger.save(
        replace(
            ledger.roster.machines[machine.name],
            service=Service.ATTENTION,
            reason=reason,
            claimed_id=claimed_id,
            claimed_host_keys=claimed_host_keys,
        )
    )
    ledger.note("machine.attention", SYSTEM, machine=machine.name, detail={"reason": reason})
    return machine


def believed(machine: Machine) -> Machine:
    """A person has looked: it is who it claims to be."""
    return replace(
        machine,
        id=machine.claimed_id or machine.id,
        host_keys=machine.claimed_host_keys or machine.host_keys,
        claimed_id="",
        claimed_host_keys=(),
    )


# One board, both programs


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
        machine = attend(ledger, machine, reason)
    return machine
