"""What has to be true after every turn, whatever happened in it; and what the world remembers to judge by.

Nothing here asks the rules whether they were right: it compares the rows with the answers that clients got,
with clocks of its own, and with indexes built anew from the rows alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from picluster.errors import PiclusterError
from picluster.pool.commands import Acquire, Amend, Beat, Command, Renew
from picluster.pool.model import Actor, Lease, LeaseState, Machine, Mode, Presence, Service
from picluster.pool.policy import Policy
from picluster.pool.roster import Roster, order_of
from picluster.server.turn import Outcome
from picluster.store import Store

CAP_S = 6.0
"""What a gap between two turns counts at most, however long it is."""

ROUNDING_S = 1e-6


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass
class Client:
    """Who asked for a lease, and what was answered."""

    actor: Actor
    ask: Acquire
    alive: bool = True
    renewed_s: float = 0.0
    """Service time of the last acknowledged renewal."""
    renewed_running_s: float = 0.0
    """The same moment on the clock of the running service."""
    ended: bool = False


@dataclass
class Invariants:
    """The promises, checked turn by turn."""

    policy: Policy
    clients: dict[str, Client]
    running_s: float = 0.0
    """How long the service has been running: outages and pauses count for no more than `CAP_S`."""
    _turned_s: float = 0.0
    _revision: int = 0
    _service_s: float = 0.0
    _fences: dict[str, int] = field(default_factory=dict)
    _ended: set[str] = field(default_factory=set)
    _amended: set[str] = field(default_factory=set)
    """Machines that were changed in the last turn, maybe after they were granted in it."""
    _before: dict[str, Machine] = field(default_factory=dict)
    """The machines after the turn before."""
    _waited: dict[str, Lease] = field(default_factory=dict)
    """Who waited after the turn before."""
    closed: dict[str, int] = field(default_factory=dict)
    """The newest fence that each board has really closed."""
    counted: dict[tuple[str, int], int] = field(default_factory=dict)
    """What boards have counted, by name and fence: above 0 is dirty."""
    _settled: dict[str, Lease] = field(default_factory=dict)
    """Ended leases whose verdict is not awaited any more."""
    _unsettled: set[str] = field(default_factory=set)
    """Ended leases whose verdict was awaited after the turn before."""

    def check(self, commands: Sequence[Command], outcome: Outcome, now_s: float) -> None:
        """Raises `Broken` if the turn that was just taken broke a promise."""
        self.running_s += min(now_s - self._turned_s, CAP_S)
        self._turned_s = now_s
        self._remember(commands, outcome)
        self._amended = {command.machine for command in commands if isinstance(command, Amend | Beat)}
        roster = outcome.pool.ledger.roster
        self._check_turn(outcome, roster)
        self._before = dict(roster.machines)
        self._waited = {
            lease.id: lease for lease in roster.leases.values() if lease.state is LeaseState.WAITING
        }

    def _remember(self, commands: Sequence[Command], outcome: Outcome) -> None:
        """What the clients know after the answers they got."""
        for command, answer in zip(commands, outcome.answers, strict=True):
            if isinstance(command, Acquire | Renew):
                client = self.clients[command.lease]
                if isinstance(answer, Lease) and answer.live:
                    client.renewed_s = outcome.state.service_s
                    client.renewed_running_s = self.running_s
                elif isinstance(answer, PiclusterError) and isinstance(command, Acquire):
                    client.ended = True

    def _check_turn(self, outcome: Outcome, roster: Roster) -> None:
        now = outcome.state.service_s
        _that(now >= self._service_s, "service time went back")
        _that(outcome.state.revision >= self._revision, "the revision went back")
        self._service_s, self._revision = now, outcome.state.revision
        revisions = [row.revision for row in outcome.rows]
        _that(outcome.reloaded or len(set(revisions)) == len(revisions), "two rows share a revision")
        holders: dict[str, str] = {}
        for lease in roster.leases.values():
            if lease.live or lease.id not in self._ended:
                self._check_lease(roster, lease, now, holders)
            if not lease.live and self._settled.get(lease.id) is not lease:
                self._check_verdict(lease, now)
        for lease_id in self._unsettled:
            _that(lease_id in roster.leases, f"{lease_id} was forgotten before its verdict came")
        self._unsettled = {lease.id for lease in roster.leases.values() if lease.awaiting}
        for machine in roster.machines.values():
            _that(holders.get(machine.name, "") == machine.lease, f"{machine.name} and its lease disagree")
            self._check_machine(roster, self._before.get(machine.name), machine)
        self._nobody_waits_in_vain(roster)

    def _check_lease(self, roster: Roster, lease: Lease, now: float, holders: dict[str, str]) -> None:
        client = self.clients.get(lease.id)
        if not lease.live:
            if lease.id not in self._ended:
                self._ended.add(lease.id)
                self._check_end(lease, client)
            return
        _that(lease.id not in self._ended, f"{lease.id} came back to life")
        _that(
            (lease.state is LeaseState.HELD) == bool(lease.machines), f"{lease.id} is held without machines"
        )
        for name in lease.machines:
            _that(name not in holders, f"{name} has two holders")
            holders[name] = lease.id
        for name in lease.set_aside:
            machine = roster.machines.get(name)
            _that(machine is not None and roster.is_free(machine), f"{name} is set aside and not free")
            _that(roster.aside.get(name) == lease.id, f"{name} is set aside for two")
        if client is not None:
            lives = (
                self.policy.waiting_s
                if not lease.machines
                else self.policy.confirm_s
                if not lease.confirmed
                else lease.ttl_s
            )
            since = max(client.renewed_s, lease.granted_s)
            silent = lease.machines and client.renewed_s < lease.granted_s
            dead = silent and now > lease.granted_s + self.policy.confirm_s + self.policy.slack_s + ROUNDING_S
            _that(not dead, f"{lease.id} is held by a waiter that never confirmed")
            overdue = lives is not None and now > since + lives + self.policy.slack_s + ROUNDING_S
            _that(not overdue, f"{lease.id} outlived its ttl")

    def _check_verdict(self, lease: Lease, now: float) -> None:
        """It comes in time, does not change, and is never better than what the boards counted."""
        waits = lease.ended_s + self.policy.verdict_s
        _that(not lease.awaiting or now < waits, f"the verdict of {lease.id} does not come")
        if lease.awaiting or not lease.machines:
            return
        before = self._settled.setdefault(lease.id, lease)
        _that(before.verdict == lease.verdict, f"the verdict of {lease.id} has changed")
        self._settled[lease.id] = lease
        _that(lease.verdict in ("clean", "dirty", "unknown"), f"{lease.id} has no verdict")
        counts = [self.counted.get((name, lease.fence)) for name in lease.machines]
        seen = all(count == 0 for count in counts)
        _that(lease.verdict != "clean" or seen, f"{lease.id} is clean, and its boards were not")

    def _check_end(self, lease: Lease, client: Client | None) -> None:
        if client is None:
            return
        client.ended = True
        if lease.ended == "expired":
            assert lease.ttl_s is not None
            _that(lease.ended_s >= client.renewed_s + lease.ttl_s, f"{lease.id} expired before its ttl")
            ran = self.running_s - client.renewed_running_s
            _that(ran >= lease.ttl_s - ROUNDING_S, f"{lease.id} expired through an outage")
        if lease.ended == "unconfirmed":
            _that(
                lease.ended_s >= lease.granted_s + self.policy.confirm_s,
                f"{lease.id} was not left time to confirm",
            )
        if lease.ended == "gave_up":
            _that(
                lease.ended_s >= client.renewed_s + self.policy.waiting_s,
                f"{lease.id} left the queue too early",
            )

    def _check_machine(self, roster: Roster, old: Machine | None, machine: Machine) -> None:
        known = self._fences.get(machine.name, 0)
        if old is not None and old.registered_us == machine.registered_us:
            _that(machine.fence >= known, f"the fence of {machine.name} went back")
        self._fences[machine.name] = machine.fence
        if not machine.lease or (old is not None and old.lease == machine.lease):
            return
        if old is not None and old.registered_us != machine.registered_us:
            known = 0
        lease = roster.leases[machine.lease]
        _that(
            machine.fence > known and lease.fence == machine.fence,
            f"{machine.name} was granted without a new fence",
        )
        in_service = machine.service is Service.IN_SERVICE or machine.name in self._amended
        _that(in_service, f"{machine.name} was granted out of service")
        _that(not machine.cleaning and not machine.delay_until_s, f"{machine.name} was granted unclean")
        by_rule = machine.by_rule and machine.service is not Service.QUARANTINED
        _that(not by_rule, f"{machine.name} is kept out by a rule, and in service")
        closed = self.closed.get(machine.name, 0)
        dirty = machine.mode is Mode.ENFORCED and known > closed
        _that(not dirty, f"{machine.name} was granted before it reported clean")
        if not lease.holder.startswith("legacy:"):
            self._nobody_is_passed(roster, lease, machine, old)
            _that(machine.presence is Presence.ONLINE, f"{machine.name} was granted while offline")
            _that(machine.seen_epoch == roster.epoch, f"{machine.name} was granted unheard in this epoch")

    def _nobody_waits_in_vain(self, roster: Roster) -> None:
        """The first of each group could not be granted by what is free and not kept for somebody before it."""
        for lease in (one for one in roster.leases.values() if one.state is LeaseState.WAITING):
            group = roster.group_of(lease)
            free = [
                name
                for name in group.matches
                if roster.is_free(roster.machines[name])
                and (
                    name not in roster.aside or order_of(roster.leases[roster.aside[name]]) >= order_of(lease)
                )
            ]
            _that(len(free) < lease.count, f"{lease.id} waits for what is free")

    def _nobody_is_passed(self, roster: Roster, lease: Lease, machine: Machine, old: Machine | None) -> None:
        """Whoever waited for this machine before, and stands further ahead, still has nothing."""
        if old is None or (old.facts, old.all_labels) != (machine.facts, machine.all_labels):
            return  # it may not have been what they wait for when it was granted
        for waiter in self._waited.values():
            now = roster.leases.get(waiter.id)
            passed = (
                now is not None
                and now.state is LeaseState.WAITING
                and waiter.count == 1
                and order_of(waiter) < order_of(lease)
                and machine.name in roster.group_of(waiter).matches
            )
            _that(not passed, f"{lease.id} got {machine.name} before {waiter.id}")


def check_indexes(roster: Roster) -> None:
    """The indexes are what one gets from the rows alone."""
    fresh = Roster()
    fresh.begin_epoch(roster.epoch)
    for machine in roster.machines.values():
        fresh.put(machine)
    for lease in roster.leases.values():
        fresh.put(lease)
    _that(fresh.by_address == roster.by_address, "the index of addresses is wrong")
    _that(fresh.aside == roster.aside, "the index of what is set aside is wrong")
    _that(fresh.live == roster.live, "the count of live leases is wrong")
    _that(fresh.waiting == roster.waiting, "the count of waiting leases is wrong")
    _that(+fresh.label_keys == +roster.label_keys, "the count of labels is wrong")
    for group in roster.waiting_groups():
        other = fresh.group(*group.key)
        _that(other.matches == group.matches, f"{group.key} matches the wrong machines")
        _that(set(other.free) == set(group.free), f"{group.key} has the wrong free machines")
        _that(other.waiting == group.waiting, f"{group.key} has the wrong waiters")


def check_store(store: Store, roster: Roster) -> None:
    """What is stored is what the rules work with."""
    rows = store.catch_up(0).rows
    machines = {row.name: row for row in rows if isinstance(row, Machine) and not row.deleted}
    live = {row.id: row for row in rows if isinstance(row, Lease) and row.live}
    _that(machines == roster.machines, "the store has other machines")
    ours = {key: lease for key, lease in roster.leases.items() if lease.live}
    _that(live == ours, "the store has other leases")


def _that(holds: bool, what: str) -> None:
    if not holds:
        raise Broken(what)
