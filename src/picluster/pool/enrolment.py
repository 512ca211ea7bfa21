"""Who a board is: how it joins, how it is known again, and what is done when two say that they are the same.

A machine is known by the board's identity and by its SSH host keys, which clients pin. Whoever says something else under
a known name is not believed, and not granted, until a person has looked: it may be another board, or a rewritten card.
"""

from __future__ import annotations

import re
from dataclasses import replace

from picluster.errors import NotAllowed, NotAuthenticated
from picluster.pool.commands import Join, Report
from picluster.pool.ledger import Ledger
from picluster.pool.model import SYSTEM, Machine, Mode, Presence, Service, Token

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")
_NOT_AT_THEIR_START = re.compile(r"^[^A-Za-z0-9]+")
_LONGEST_NAME = 60
"""Of the 63 that a name may have, so that a number fits behind."""


def machine_name(wanted: str) -> str:
    """A machine name out of whatever a board calls itself."""
    return _NOT_AT_THEIR_START.sub("", _NOT_IN_NAMES.sub("-", wanted))[:_LONGEST_NAME] or "machine"


# Joining


def join(ledger: Ledger, ask: Join) -> Machine:
    """A board is let in with a join token, and gets a token of its own.

    Asking again in the same boot is the same machine. Whoever else says to be a board that is known gets a token
    that is worth nothing until a person agrees: identity and host keys are no secrets, a boot id is. Raises
    `NotAllowed` when the join token has let in as many boards as it may, `NotAuthenticated` when it is over.
    """
    join_token = _valid(ledger, ask)
    known = ledger.roster.machine_of_board(ask.id) or _legacy_at(ledger, ask.address)
    doubtful = known is not None and known.mode is not Mode.LEGACY and not _same_boot(known, ask)
    before = [] if known is None or doubtful else agent_tokens(ledger, known.name)
    again = any(token.issued_by == join_token.id for token in before)
    if not again:
        _use_up(ledger, join_token)
    machine = known or _newcomer(ledger, ask)
    if doubtful:
        reason = "a board joined that says to be this one: was its card rewritten, or copied?"
        machine = attend(ledger, machine, reason, claimed_host_keys=ask.host_keys)
    elif join_token.approve and not again:
        machine = _pend(ledger, machine)
    for token in before:
        _revoke(ledger, token)
    ledger.save(replace(ask.token, name=machine.name, issued_by=join_token.id, approve=doubtful))
    detail = {"address": ask.address, "id": ask.id, "token": join_token.id}
    ledger.note("machine.joined", ask.by, machine=machine.name, detail=detail)
    return machine


def _valid(ledger: Ledger, ask: Join) -> Token:
    """The join token as it is now: whoever let the question in has looked at an older copy."""
    token = ledger.roster.tokens.get(ask.by.token)
    over = token is None or token.revoked or 0 < token.expires_us <= ledger.wall_us
    if token is None or over:
        raise NotAuthenticated(
            "This join token has expired or was revoked.", "`picluster join` makes another one."
        )
    return token


def _legacy_at(ledger: Ledger, address: str) -> Machine | None:
    standing = ledger.roster.machine_at(address)
    return standing if standing and standing.mode is Mode.LEGACY else None


def _same_boot(known: Machine, ask: Join) -> bool:
    """Whether it is the board as it runs now, which has joined again, as when it was set up anew."""
    return bool(ask.boot_id) and ask.boot_id == known.boot_id and _same_keys(known, ask.host_keys)


def _use_up(ledger: Ledger, token: Token) -> None:
    if not token.uses_left:
        raise NotAllowed(
            "This join token has let in as many boards as it may.",
            "An operator makes another one: `picluster join`.",
        )
    ledger.save(replace(token, uses_left=token.uses_left - 1))


def _newcomer(ledger: Ledger, ask: Join) -> Machine:
    """It stands in the list at once, and is offline until its first beat."""
    return introduce(
        ledger,
        Machine(
            name=_free_name(ledger, machine_name(ask.name)),
            id=ask.id,
            address=ask.address,
            host_keys=ask.host_keys,
            boot_id=ask.boot_id,
            presence=Presence.OFFLINE,
        ),
    )


def _free_name(ledger: Ledger, wanted: str) -> str:
    """One that no machine has, nor a board that somebody has made a token for by hand."""
    name, number = ledger.roster.unique_name(wanted), 2
    while agent_tokens(ledger, name):
        name, number = ledger.roster.unique_name(f"{wanted}-{number}"), number + 1
    return name


def introduce(ledger: Ledger, machine: Machine) -> Machine:
    """A machine that is new to the pool; or back, and then it still has to clean up behind its last holder."""
    before = ledger.roster.tombstones.get(machine.name)
    if before is not None and before.id == machine.id:
        machine = replace(machine, fence=before.fence, cleaning=before.cleaning)
    return ledger.save(
        replace(
            machine,
            presence_since_s=ledger.now,
            cleaning_since_s=ledger.now,
            registered_us=ledger.wall_us,
        )
    )


def _pend(ledger: Ledger, machine: Machine) -> Machine:
    reason = "it joined with a token whose boards a person has to approve"
    return ledger.save(replace(machine, service=Service.PENDING, reason=reason))


def agent_tokens(ledger: Ledger, name: str) -> list[Token]:
    """Those of a machine's board that are not revoked."""
    ids = ledger.roster.agent_tokens.get(name.casefold(), ())
    return [ledger.roster.tokens[token_id] for token_id in ids]


def shut_out(ledger: Ledger, machine: Machine) -> None:
    """The tokens that its board had are worth nothing any more."""
    for token in agent_tokens(ledger, machine.name):
        _revoke(ledger, token)


def _revoke(ledger: Ledger, token: Token) -> None:
    ledger.save(replace(token, revoked=True, revoked_s=ledger.now))


# Knowing again


def look_twice(ledger: Ledger, machine: Machine) -> Machine:
    """A machine that came with a token made for it by hand: perhaps its board is in the pool under another name."""
    other = ledger.roster.machine_of_board(machine.id)
    if other is None or other.name == machine.name:
        return machine
    reason = f"it has the identity of {other.name}, {machine.id}: delete the one that is gone"
    return attend(ledger, machine, reason)


def recognised(ledger: Ledger, machine: Machine, report: Report) -> Report:
    """What is to be believed of a report: identity and host keys only if they are those that are known.

    A machine whose report says something else stands for attention, and keeps what it was known by: whoever
    holds a lease on it pins the keys that were there when it was granted.
    """
    if machine.mode is Mode.LEGACY:
        return report
    keys = report.host_keys if report.host_keys and not machine.host_keys else machine.host_keys
    if report.id != machine.id:
        reason = f"it reports another identity, {report.id}: is its card in another board?"
        attend(ledger, machine, reason, claimed_id=report.id, claimed_host_keys=report.host_keys)
    elif not _same_keys(machine, report.host_keys):
        reason = "its SSH host keys have changed: was its card rewritten?"
        attend(ledger, machine, reason, claimed_host_keys=report.host_keys)
    elif machine.claimed_id or (machine.claimed_host_keys and not _doubted_tokens(ledger, machine)):
        ledger.save(replace(machine, claimed_id="", claimed_host_keys=()))
    return replace(report, id=machine.id, host_keys=keys)


def says_what_is_known(machine: Machine, report: Report) -> bool:
    """Whether a report has nothing new of who the board is, compared with what is known or already doubted."""
    if machine.claimed_id or machine.claimed_host_keys:
        return (report.id, report.host_keys) == (machine.claimed_id or machine.id, machine.claimed_host_keys)
    first = bool(report.host_keys) and not machine.host_keys
    return report.id == machine.id and _same_keys(machine, report.host_keys) and not first


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
    """It is not granted until a person has looked, and what it claims is remembered for them. Said once."""
    machine = ledger.roster.machines[machine.name]
    new = replace(
        machine,
        service=Service.ATTENTION,
        reason=reason,
        claimed_id=claimed_id or machine.claimed_id,
        claimed_host_keys=claimed_host_keys or machine.claimed_host_keys,
    )
    if new == machine:
        return machine
    machine = ledger.save(new)
    ledger.note("machine.attention", SYSTEM, machine=machine.name, detail={"reason": reason})
    return machine


def believed(ledger: Ledger, machine: Machine) -> Machine:
    """A person has looked: it is who it claims to be. A board that joined in its name takes the place of the one before."""
    doubted = _doubted_tokens(ledger, machine)
    for token in agent_tokens(ledger, machine.name) if doubted else ():
        if token is doubted[-1]:
            ledger.save(replace(token, approve=False))
        else:
            _revoke(ledger, token)
    return replace(
        machine,
        id=machine.claimed_id or machine.id,
        host_keys=machine.claimed_host_keys or machine.host_keys,
        claimed_id="",
        claimed_host_keys=(),
    )


def _doubted_tokens(ledger: Ledger, machine: Machine) -> list[Token]:
    """Of boards that say to be this one; the newest last."""
    tokens = [token for token in agent_tokens(ledger, machine.name) if token.approve]
    return sorted(tokens, key=lambda token: (token.issued_us, token.id))
