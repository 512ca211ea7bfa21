"""The copy of the pool that a turn works on: its rows, the next revision, what changed and what happened.

The rules change rows only through `save`, and tell of it through `note`; so whatever they do is in what
the turn writes. Deadlines live in one heap and are asked again when they come up, so moving a deadline
later costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from heapq import heappop, heappush
from typing import Any, TypeVar

from picluster.pool.model import (
    SESSION,
    Actor,
    Event,
    Heard,
    Lease,
    Machine,
    Mode,
    Person,
    PoolState,
    Presence,
    Row,
    Service,
    Token,
    Webhook,
)
from picluster.pool.policy import Policy
from picluster.pool.roster import Group, Roster

R = TypeVar("R", Machine, Lease, Token, Person, Webhook)

Key = tuple[str, str]
"""What a row is called, and what a deadline belongs to: ("machine", name), ("lease", id), ("token", id), ("person", name),
("webhook", name)."""


class Ledger:
    """Rows at a revision, and the pen that changes them."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.roster = Roster()
        self.state = PoolState()
        self.heard: dict[str, Heard] = {}
        self.now = 0.0
        self.wall_us = 0
        self.changed: dict[Key, Row] = {}
        self.happened: list[Event] = []
        self.heard_now: dict[str, Heard] = {}
        self.touched: set[Group] = set()
        """Groups whose first waiter may have a chance that it did not have before."""
        self.joined: set[str] = set()
        """Leases that came in this turn: granted at once, they need no confirmation."""
        self._deadlines: list[tuple[float, Key]] = []
        self._scheduled: dict[Key, float] = {}

    # One turn

    def begin(self, now: float, wall_us: int) -> None:
        self.now = max(now, self.now)
        self.wall_us = wall_us
        self.changed, self.happened, self.heard_now, self.joined = {}, [], {}, set()

    def adopt(self, rows: Iterable[Row], state: PoolState) -> None:
        """Take over what others have written."""
        self.wall_us = max(self.wall_us, state.turned_us)
        if state.epoch != self.roster.epoch:
            self.roster.begin_epoch(state.epoch)
        for row in rows:
            self.roster.put(row)
            self._watch(row)
        self.state = state
        self.now = max(self.now, state.service_s)

    def next_revision(self) -> int:
        revision = max(self.state.revision + 1, self.wall_us)
        self.state = replace(self.state, revision=revision)
        return revision

    def save(self, row: R, revision: int = 0) -> R:
        """Replace a row; it takes the next revision (or the given one, just taken)."""
        row = replace(row, revision=revision or self.next_revision())
        if isinstance(row, Machine):
            self._save_machine(row)
        else:
            self.roster.put(row)
        self.changed[_key(row)] = row
        self._watch(row)
        return row

    def note(
        self,
        kind: str,
        by: Actor,
        *,
        machine: str = "",
        lease: Lease | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Something happened: one event, or one for each machine of the lease."""
        machines = (machine,) if machine or lease is None else lease.machines or ("",)
        for name in machines:
            self.happened.append(
                Event(
                    revision=self.state.revision,
                    epoch=self.state.epoch,
                    at_us=self.wall_us,
                    kind=kind,
                    actor=by.name,
                    address=by.address,
                    machine=name,
                    lease=lease.id if lease else "",
                    holder=lease.holder if lease else "",
                    detail=detail or {},
                )
            )

    def hear(self, heard: Heard) -> None:
        """A board was heard now, unless this is old news."""
        if self.overtaken(heard.name, heard.boot_id, heard.seq):
            return
        stamped = replace(heard, heard_s=self.now)
        self.heard[heard.name] = self.heard_now[heard.name] = stamped

    def overtaken(self, name: str, boot_id: str, seq: int) -> bool:
        """Whether a later beat of the same boot has been heard already. Beats without a number never are."""
        known = self.heard.get(name)
        return known is not None and known.boot_id == boot_id and 0 < seq < known.seq

    def machine_of(self, lease: Lease) -> list[Machine]:
        return [self.roster.machines[name] for name in lease.machines]

    def touch(self, machine: Machine) -> None:
        """Whoever waits for this machine is to be asked again."""
        self.touched.update(group for group in self.roster.groups_of(machine.name) if group.waiting)

    def reconsider(self, machine: Machine) -> None:
        """Whether it will come free, and what is due with it, depends on its lease, which has changed."""
        self.touch(machine)
        self._watch(machine)

    # Deadlines

    def next_deadline(self) -> float:
        """Service time at which something may be due; infinity when nothing is."""
        return self._deadlines[0][0] if self._deadlines else float("inf")

    def due(self) -> list[Key]:
        """What has come up by now, each once, no longer scheduled; in an order that does not depend on which
        appointments this copy happened to keep, so that every replica decides the same."""
        found: set[Key] = set()
        while self._deadlines and self._deadlines[0][0] <= self.now:
            at, key = heappop(self._deadlines)
            if self._scheduled.get(key) == at:
                del self._scheduled[key]
                found.add(key)
        return sorted(found)

    def schedule(self, key: Key, at: float) -> None:
        """Look at this again then; an earlier appointment is kept, and will make a later one."""
        if at < self._scheduled.get(key, float("inf")):
            self._scheduled[key] = at
            heappush(self._deadlines, (at, key))

    def _watch(self, row: Row) -> None:
        if isinstance(row, Machine):
            self.schedule(("machine", row.name), self.machine_deadline(row))
        elif isinstance(row, Lease):
            self.schedule(("lease", row.id), self.lease_deadline(row))
        elif isinstance(row, Token):
            self.schedule(("token", row.id), self.token_deadline(row))

    def token_deadline(self, token: Token) -> float:
        """When it is forgotten: a while after it was revoked, and a session that ran out as well. Other tokens that ran
        out stay, for whoever looks why they are refused."""
        if token.revoked:
            return token.revoked_s + self.policy.kept_s
        if token.kind != SESSION or not token.expires_us:
            return float("inf")
        return self.now + (token.expires_us - self.wall_us) / 1e6 + self.policy.kept_s

    def lease_deadline(self, lease: Lease) -> float:
        """When something is due with this lease: its end, its verdict, a pause in setting aside, or being forgotten."""
        if not lease.live:
            return min(lease.ended_s + self.policy.kept_s, self.verdict_s(lease))
        candidates = [self.expires_s(lease), self.limit_s(lease)]
        if not lease.machines:
            if lease.wait_s is not None:
                candidates.append(lease.joined_s + lease.wait_s)
            if lease.set_aside_since_s is not None:
                ends = (lease.set_aside_since_s + windows * self.policy.aside_s for windows in (1, 2))
                candidates.append(next((end for end in ends if end > self.now), float("inf")))
        return min(candidates)

    def expires_s(self, lease: Lease) -> float:
        """When it ends unless it is renewed: never before its ttl has passed since the last renewal was sent."""
        if not lease.machines:
            lives: float | None = self.policy.waiting_s
        elif not lease.confirmed:
            lives = self.policy.confirm_s
        else:
            lives = lease.ttl_s
        return float("inf") if lives is None else lease.renewed_s + lives + self.policy.slack_s

    def limit_s(self, lease: Lease) -> float:
        """When it ends however often it is renewed."""
        if not lease.machines or lease.not_after_s is None:
            return float("inf")
        return lease.granted_s + lease.not_after_s

    def verdict_s(self, lease: Lease) -> float:
        """When closing reports of an ended lease that have not come will not come any more."""
        return lease.ended_s + self.policy.verdict_s if lease.awaiting else float("inf")

    def machine_deadline(self, machine: Machine) -> float:
        """When something is due with this machine: silence, health, rest, cleaning, or being forgotten."""
        if machine.deleted:
            return machine.deleted_s + self.policy.kept_s
        candidates = [float("inf")]
        if machine.presence is Presence.ONLINE:
            candidates.append(self.silent_s(machine))
            candidates.append(self.healthy_s(machine))
            if machine.cleaning and machine.service is Service.IN_SERVICE:
                candidates.append(
                    max(machine.cleaning_since_s, machine.presence_since_s) + self.policy.clean_s
                )
        elif machine.lease:
            candidates.append(machine.presence_since_s + self.policy.dead_machine_s)
        if machine.delay_until_s:
            candidates.append(machine.delay_until_s)
        return min(candidates)

    def healthy_s(self, machine: Machine) -> float:
        """When a board has been ailing for so long that it goes out of service, or well for so long that it returns."""
        if machine.service is Service.IN_SERVICE and machine.ailing:
            return machine.ailing_since_s + self.policy.ail_s
        if machine.service is Service.QUARANTINED and machine.by_rule and not machine.ailing:
            return max(machine.ailing_since_s, machine.presence_since_s) + self.policy.well_s
        return float("inf")

    def silent_s(self, machine: Machine) -> float:
        """When it counts as offline unless it is heard again."""
        heard = self.heard.get(machine.name)
        since = max(heard.heard_s if heard else 0.0, machine.presence_since_s)
        legacy = machine.mode is Mode.LEGACY
        return (
            since + (self.policy.legacy_offline_s if legacy else self.policy.offline_s) + self.policy.slack_s
        )

    # Rows that others depend on

    def _save_machine(self, machine: Machine) -> None:
        old = self.roster.machines.get(machine.name)
        was_free = old is not None and self.roster.is_free(old)
        if old is not None and machine.deleted:
            self.touch(old)
        self.roster.put(machine)
        is_free = self.roster.is_free(machine)
        if not is_free:
            self.unaside(machine.name)
        if (
            is_free
            or was_free
            or (old is not None and (old.service, old.lease) != (machine.service, machine.lease))
        ):
            self.touch(machine)

    def unaside(self, name: str) -> None:
        """What is no longer free, or goes to one further ahead, is kept for nobody."""
        lease = self.roster.leases.get(self.roster.aside.get(name, ""))
        if lease is not None:
            self.save(replace(lease, set_aside=tuple(other for other in lease.set_aside if other != name)))


def _key(row: Row) -> Key:
    if isinstance(row, Machine):
        return ("machine", row.name)
    if isinstance(row, Person):
        return ("person", row.name)
    if isinstance(row, Webhook):
        return ("webhook", row.name)
    return ("lease", row.id) if isinstance(row, Lease) else ("token", row.id)
