"""One pure class that decides everything: `answers, changed, happened = pool.turn(commands, now, wall_us)`.

A batch is handled in this order: let time pass, renewals, what is due, the other commands, grants. So a
renewal that has arrived is never expired by its own batch, and a machine given back in a batch goes to its
next holder in the same commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from picluster.errors import PiclusterError
from picluster.pool import boards, care, enrolment, leases, moving_in, people, queue, tokens, webhooks
from picluster.pool.commands import (
    Acquire,
    AddPerson,
    AddWebhook,
    Amend,
    AmendPerson,
    AmendWebhook,
    Beat,
    Command,
    Forget,
    ForgetAddress,
    ForgetPerson,
    ForgetWebhook,
    FreeAddress,
    Hear,
    IssueToken,
    Join,
    LockAddress,
    MoveIn,
    NotePower,
    NoteTest,
    Pass,
    RaiseEpoch,
    Rehash,
    Release,
    Renew,
    RevokeToken,
    TakeUp,
    Tell,
    UpdateAddress,
)
from picluster.pool.ledger import Ledger
from picluster.pool.model import (
    Event,
    Heard,
    Lease,
    Machine,
    Mode,
    Person,
    PoolState,
    Presence,
    Row,
    Token,
    Webhook,
)
from picluster.pool.policy import Policy

Answer = Machine | Lease | Token | Person | Webhook | PiclusterError | None
"""A row as it is after the turn, or the refusal, or nothing to say."""


class Pool:
    """All machines and leases of one service, at a revision.

    Knows no clock: `now` is service time, which every turn brings along. Not thread-safe, and after an
    exception out of `turn` not to be used again: throw it away and load another.
    """

    def __init__(self, policy: Policy | None = None) -> None:
        self._ledger = Ledger(policy or Policy())

    @property
    def revision(self) -> int:
        return self._ledger.state.revision

    @property
    def now(self) -> float:
        return self._ledger.now

    @property
    def state(self) -> PoolState:
        """The state to be stored with what the last turn changed."""
        return replace(self._ledger.state, service_s=self._ledger.now, turned_us=self._ledger.wall_us)

    @property
    def heard_now(self) -> Sequence[Heard]:
        """Presence rows that the last turn renewed."""
        return list(self._ledger.heard_now.values())

    @property
    def ledger(self) -> Ledger:
        """The working copy, for the invariants that a simulation checks. Not for readers."""
        return self._ledger

    def merge(self, rows: Iterable[Row], state: PoolState) -> None:
        """Catch up with what others wrote. Equal revision is not equal time: the stored time is always adopted."""
        self._ledger.adopt(rows, state)

    def hear(self, heard: Iterable[Heard]) -> None:
        """Adopt presence rows as stored: another replica may have heard a board later than this one."""
        for row in heard:
            mine = self._ledger.heard.get(row.name)
            if mine is None or row.heard_s > mine.heard_s:
                self._ledger.heard[row.name] = row

    def next_deadline(self) -> float:
        """Service time at which the next turn is needed even if nobody asks for anything."""
        return self._ledger.next_deadline()

    def falling_silent(self, now: float) -> list[str]:
        """Machines that a turn at `now` would declare offline, so that it can look whether others heard them."""
        ledger = self._ledger
        ledger.now = max(ledger.now, now)
        due = ledger.due()
        silent = []
        for kind, name in due:
            ledger.schedule((kind, name), ledger.now)
            machine = ledger.roster.machines.get(name) if kind == "machine" else None
            if (
                machine is not None
                and machine.presence is Presence.ONLINE
                and ledger.now >= ledger.silent_s(machine)
            ):
                silent.append(name)
        return silent

    def turn(
        self, commands: Sequence[Command], now: float, wall_us: int
    ) -> tuple[list[Answer], list[Row], list[Event]]:
        """Answer a batch of commands. Returns the answers in order, the rows that changed, and what happened."""
        ledger = self._ledger
        ledger.begin(now, wall_us)
        answers: list[Answer] = [None] * len(commands)
        _note_who_was_heard(ledger, commands)
        renewals = [_is_renewal(ledger, command) for command in commands]
        self._answer(commands, answers, renewals)
        self._let_time_pass()
        self._answer(commands, answers, [not renewal for renewal in renewals])
        queue.grant(ledger)
        queue.watch_length(ledger)
        return (
            self._final(answers),
            sorted(ledger.changed.values(), key=lambda row: row.revision),
            ledger.happened,
        )

    def _answer(self, commands: Sequence[Command], answers: list[Answer], chosen: Sequence[bool]) -> None:
        for index, command in enumerate(commands):
            if chosen[index]:
                answers[index] = self._answer_one(command)

    def _answer_one(self, command: Command) -> Answer:
        try:
            return _HANDLERS[type(command)](self._ledger, command)
        except PiclusterError as refusal:
            return refusal

    def _let_time_pass(self) -> None:
        ledger = self._ledger
        for kind, key in ledger.due():
            if kind == "lease" and key in ledger.roster.leases:
                leases.overdue(ledger, ledger.roster.leases[key])
                if key in ledger.roster.leases:
                    lease = ledger.roster.leases[key]
                    ledger.schedule((kind, key), ledger.lease_deadline(lease))
            elif kind == "machine":
                self._machine_due(key)
            elif kind == "token":
                tokens.overdue(ledger, key)

    def _machine_due(self, name: str) -> None:
        ledger = self._ledger
        machine = ledger.roster.machines.get(name)
        if machine is not None:
            boards.overdue(ledger, machine)
            machine = ledger.roster.machines[name]
            deadline = ledger.machine_deadline(machine)
            if deadline > ledger.now:
                ledger.schedule(("machine", name), deadline)
            return
        tombstone = ledger.roster.tombstones.get(name)
        if tombstone is not None and ledger.now >= ledger.machine_deadline(tombstone):
            ledger.roster.drop_tombstone(name)

    def _final(self, answers: list[Answer]) -> list[Answer]:
        """Leases as they are after the grants; machines as the command left them (old clients compare)."""
        current = self._ledger.roster.leases
        return [current.get(answer.id, answer) if isinstance(answer, Lease) else answer for answer in answers]


def _is_renewal(ledger: Ledger, command: Command) -> bool:
    """Proof of life, which is heard before anything is declared dead."""
    if isinstance(command, Acquire):
        return command.lease in ledger.roster.leases
    return isinstance(command, Renew | Hear)


def _note_who_was_heard(ledger: Ledger, commands: Sequence[Command]) -> None:
    """A machine whose beat is in the batch is not declared silent by it."""
    for command in commands:
        if isinstance(command, Beat) and boards.may_speak(command):
            machine = ledger.roster.machine_named(command.machine)
        elif isinstance(command, UpdateAddress):
            machine = ledger.roster.machine_at(command.report.address)
            if machine is not None and machine.mode is not Mode.LEGACY:
                continue
        else:
            continue
        known = ledger.heard.get(machine.name) if machine is not None else None
        if known is not None:
            ledger.heard[known.name] = replace(known, heard_s=ledger.now)


def _hear(ledger: Ledger, command: Hear) -> None:
    for heard in command.heard:
        if heard.name in ledger.roster.machines:
            ledger.hear(heard)


def _raise_epoch(ledger: Ledger, command: RaiseEpoch) -> None:
    boards.raise_epoch(ledger, command.by, command.reason)


def _pass(ledger: Ledger, command: Pass) -> None:
    """Time has passed already."""


_HANDLERS: dict[type, Callable[[Ledger, Any], Answer]] = {
    Acquire: leases.acquire,
    LockAddress: leases.lock_address,
    Renew: leases.renew,
    Release: leases.release,
    FreeAddress: leases.free_address,
    Beat: boards.beat,
    Join: enrolment.join,
    UpdateAddress: boards.update_address,
    MoveIn: moving_in.move_in,
    Hear: _hear,
    Amend: care.amend,
    Forget: care.forget,
    ForgetAddress: care.forget_address,
    NotePower: care.note_power,
    IssueToken: tokens.issue,
    RevokeToken: tokens.revoke,
    AddPerson: people.add,
    AmendPerson: people.amend,
    Rehash: people.rehash,
    ForgetPerson: people.forget,
    AddWebhook: webhooks.add,
    AmendWebhook: webhooks.amend,
    ForgetWebhook: webhooks.forget,
    NoteTest: webhooks.note_test,
    TakeUp: webhooks.take_up,
    Tell: webhooks.tell,
    RaiseEpoch: _raise_epoch,
    Pass: _pass,
}
