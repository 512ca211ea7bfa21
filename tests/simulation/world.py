"""A pool under a random but repeatable day: boards, clients, operators, pauses and restarts, out of one seed.

Runs the real rules on the real SQLite store with a fake clock. After every turn the invariants are
checked against what the world itself remembers of the answers it got.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from picluster.errors import PiclusterError
from picluster.pool.commands import (
    Acquire,
    Amend,
    Beat,
    Command,
    ForgetAddress,
    FreeAddress,
    Hear,
    LockAddress,
    Pass,
    Release,
    Renew,
    Report,
    UpdateAddress,
)
from picluster.pool.model import (
    Actor,
    Heard,
    Lease,
    LeaseState,
    Machine,
    Mode,
    OnReboot,
    Presence,
    Role,
    Service,
)
from picluster.pool.policy import Policy
from picluster.pool.pool import Pool
from picluster.pool.roster import Roster, order_of
from picluster.server.turn import Outcome, take_turn
from picluster.store.sqlite import SqliteStore

POLICY = Policy(aside_s=120.0, dead_machine_s=200.0, kept_s=300.0)
"""As delivered, with the longest spans shortened so that a day of a thousand steps sees their ends."""

PULSE_S = 5.0
PAUSE_S = 1_000.0
SELECTORS = ("model:pi5", "model:pi4", "", "tag:camera", "-tag:camera", "model:(pi4|pi5)", "board-1")
PEOPLE = ("ann", "bob", "eve", "kim")
OPERATOR = Actor("op", Role.OPERATOR)
FULL_CHECK_EVERY = 40
COMES_BACK = 0.03
"""So that a silent board is mostly away for longer than it takes to be called offline."""


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass
class SimulatedClock:
    """Monotonic and wall clock that only the world moves."""

    seconds: float = 1_000.0

    def monotonic(self) -> float:
        return self.seconds

    def wall_us(self) -> int:
        return 1_700_000_000_000_000 + int(self.seconds * 1e6)


@dataclass
class Board:
    """A board, as it is outside: what it would say when it beats."""

    number: int
    mode: Mode
    boot: int = 0
    talking: bool = True
    camera: bool = False
    fence: int = 0
    closed: bool = True
    failing: bool = False

    @property
    def name(self) -> str:
        return f"board-{self.number}"

    @property
    def address(self) -> str:
        return f"10.0.0.{self.number}"


@dataclass
class Client:
    """Who asked for a lease, and what was answered."""

    actor: Actor
    ask: Acquire
    alive: bool = True
    renewed_s: float = 0.0
    """Service time of the last acknowledged renewal."""
    ttl_s: float | None = None
    ended: bool = False
    held: bool = False


@dataclass
class World:
    """One seed's pool."""

    seed: int
    chance: random.Random = field(init=False)
    clock: SimulatedClock = field(default_factory=SimulatedClock)
    boards: dict[str, Board] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)
    fences: dict[str, int] = field(default_factory=dict)
    legacy: dict[str, str] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    amended: set[str] = field(default_factory=set)
    """Machines that an operator changed in the last turn, maybe after they were granted in it."""
    before: dict[str, Machine] = field(default_factory=dict)
    """The machines after the turn before."""
    steps: int = 0
    last_turn_s: float = 0.0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.store = SqliteStore(":memory:", clock=self.clock)
        self.store.open()
        self.pool: Pool | None = None
        self.revision = 0
        self.take(Pass())
        for number in range(1, 7):
            mode = (Mode.ENFORCED, Mode.ADVISORY, Mode.LEGACY)[number % 3]
            board = self.boards[f"board-{number}"] = Board(number, mode, camera=number % 2 == 0)
            self.take(self.beat(board))

    def close(self) -> None:
        self.store.close()

    @property
    def roster(self) -> Roster:
        assert self.pool is not None
        return self.pool.ledger.roster

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step()

    def step(self) -> None:
        """Something happens, a little time passes, everything still holds."""
        self.steps += 1
        self.clock.seconds += self.chance.choice((0.0, 0.1, 1.0, 4.0))
        self._pulse()
        batch = [command for _ in range(self.chance.choice((1, 1, 1, 2, 4))) if (command := self.something())]
        self.take(*(batch or [Pass()]))
        self._clients_renew()
        if self.chance.random() < 0.01:
            self.pool = None
            self.take(Pass())
        if self.chance.random() < 0.004:
            self.clock.seconds += PAUSE_S
            if self.chance.random() < 0.5:
                self.pool = None
            self.take(Pass())

    def _pulse(self) -> None:
        while self.clock.seconds - self.last_turn_s > PULSE_S:
            self.take(Pass())

    # What happens

    def something(self) -> Command | None:
        kind = self.chance.choices(
            (
                "beat",
                "silence",
                "reboot",
                "camera",
                "ask",
                "again",
                "release",
                "die",
                "legacy",
                "operate",
                "fail",
            ),
            (30, 2, 1, 1, 14, 4, 9, 2, 6, 2, 1),
        )[0]
        return getattr(self, f"_{kind}")()

    def _board(self) -> Board:
        return self.boards[self.chance.choice(sorted(self.boards))]

    def _beat(self) -> Command | None:
        board = self._board()
        board.talking = board.talking or self.chance.random() < COMES_BACK
        if not board.talking:
            return None
        machine = self.roster.machines.get(board.name)
        if machine is not None and board.mode is Mode.ENFORCED:
            self._obey(board, machine)
        return self.beat(board)

    def _obey(self, board: Board, machine: Machine) -> None:
        """What an agent does with the answers it gets: close what is over, open what is new."""
        if machine.cleaning:
            board.fence, board.closed = machine.cleaning, True
        elif machine.lease and machine.fence > board.fence:
            board.fence, board.closed = machine.fence, False

    def beat(self, board: Board) -> Command:
        facts: dict[str, Any] = {"model": "pi5" if board.number % 2 else "pi4"}
        if board.mode is Mode.LEGACY:
            report = Report(
                f"legacy:{board.address}", board.address, Mode.LEGACY, facts={"host_name": board.name}
            )
            return UpdateAddress(Actor(f"legacy:{board.address}"), report)
        labels = {"camera": ""} if board.camera else {}
        report = Report(
            id=f"serial-{board.number}",
            address=board.address,
            mode=board.mode,
            boot_id=f"boot-{board.boot}",
            facts=facts,
            labels=labels,
            fence=board.fence,
            closed=board.closed,
            clean=not board.failing,
        )
        return Beat(Actor(f"agent:{board.name}", Role.AGENT, machine=board.name), board.name, report)

    def _silence(self) -> None:
        self._board().talking = False

    def _reboot(self) -> Command:
        board = self._board()
        board.boot += 1
        board.talking = True
        return self.beat(board)

    def _camera(self) -> Command | None:
        board = self._board()
        if not board.talking:
            return None
        board.camera = not board.camera
        return self.beat(board)

    def _fail(self) -> None:
        board = self._board()
        board.failing = not board.failing

    def _ask(self) -> Command | None:
        if len([one for one in self.clients.values() if not one.ended]) > 12:
            return None
        actor = Actor(self.chance.choice(PEOPLE))
        ask = Acquire(
            by=actor,
            lease=f"lease-{self.seed}-{len(self.clients)}",
            selector=self.chance.choice(SELECTORS),
            count=self.chance.choice((1, 1, 1, 2, 3)),
            ttl_s=self.chance.choice((10.0, 30.0, 120.0, 7200.0, None)),
            queue=self.chance.random() < 0.8,
            wait_s=self.chance.choice((None, None, 60.0)),
            priority=self.chance.choice((0, 1)),
            on_reboot=self.chance.choice(list(OnReboot)),
        )
        self.clients[ask.lease] = Client(actor, ask, ttl_s=ask.ttl_s)
        return ask

    def _client(self) -> Client | None:
        live = [client for client in self.clients.values() if not client.ended]
        return self.chance.choice(live) if live else None

    def _again(self) -> Command | None:
        client = self._client()
        return client.ask if client and client.alive else None

    def _release(self) -> Command | None:
        client = self._client()
        return Release(client.actor, client.ask.lease) if client else None

    def _die(self) -> None:
        client = self._client()
        if client:
            client.alive = False

    def _legacy(self) -> Command:
        board = self._board()
        actor = Actor(f"legacy:{self.chance.choice(PEOPLE)}")
        kind = self.chance.random()
        if kind < 0.5:
            return LockAddress(
                actor, f"legacy-{self.seed}-{self.steps}-{self.chance.random()}", board.address
            )
        if kind < 0.95:
            return FreeAddress(actor, board.address)
        return ForgetAddress(actor, board.address)

    def _operate(self) -> Command:
        service = self.chance.choice((Service.IN_SERVICE, Service.IN_SERVICE, Service.DRAINED))
        return Amend(
            OPERATOR, self._board().name, service=service, reason="because", evict=self.chance.random() < 0.2
        )

    def _clients_renew(self) -> None:
        renewals = [
            Renew(client.actor, client.ask.lease)
            for client in self.clients.values()
            if client.alive and not client.ended and self.chance.random() < 0.3
        ]
        heard = [
            Heard(board.name, boot_id=f"boot-{board.boot}")
            for board in self.boards.values()
            if board.talking and board.name in self.roster.machines and self.chance.random() < 0.2
        ]
        self.take(*renewals, Hear(tuple(heard)))

    # A turn, and what has to be true after it

    def take(self, *commands: Command) -> Outcome:
        outcome = take_turn(self.store, self.pool, list(commands), POLICY)
        self.pool = outcome.pool
        self.last_turn_s = self.clock.seconds
        self._remember(commands, outcome)
        self.amended = {command.machine for command in commands if isinstance(command, Amend)}
        self._check(outcome)
        self.before = dict(self.roster.machines)
        return outcome

    def _remember(self, commands: tuple[Command, ...], outcome: Outcome) -> None:
        now = outcome.state.service_s
        for command, answer in zip(commands, outcome.answers, strict=True):
            if isinstance(command, Acquire | Renew):
                client = self.clients[command.lease]
                if isinstance(answer, Lease) and answer.live:
                    client.renewed_s = now
                elif isinstance(answer, PiclusterError) and isinstance(command, Acquire):
                    client.ended = True

    def _check(self, outcome: Outcome) -> None:
        roster, now = self.roster, outcome.state.service_s
        self._that(outcome.state.revision >= self.revision, "the revision went back")
        self.revision = outcome.state.revision
        revisions = [row.revision for row in outcome.rows]
        self._that(outcome.reloaded or len(set(revisions)) == len(revisions), "two rows share a revision")
        holders: dict[str, str] = {}
        for lease in roster.leases.values():
            self._check_lease(lease, now, holders)
        for machine in roster.machines.values():
            self._that(
                holders.get(machine.name, "") == machine.lease, f"{machine.name} and its lease disagree"
            )
            self._check_machine(self.before.get(machine.name), machine)
        self._nobody_waits_in_vain()
        if self.steps % FULL_CHECK_EVERY == 0:
            self._check_indexes()
            self._check_store(outcome)

    def _check_lease(self, lease: Lease, now: float, holders: dict[str, str]) -> None:
        client = self.clients.get(lease.id)
        if not lease.live:
            if lease.id not in self.ended:
                self.ended.add(lease.id)
                self._check_end(lease, client)
            return
        self._that(lease.id not in self.ended, f"{lease.id} came back to life")
        self._that(
            (lease.state is LeaseState.HELD) == bool(lease.machines), f"{lease.id} is held without machines"
        )
        for name in lease.machines:
            self._that(name not in holders, f"{name} has two holders")
            holders[name] = lease.id
        for name in lease.set_aside:
            machine = roster_machine(self.roster, name)
            self._that(
                machine is not None and self.roster.is_free(machine), f"{name} is set aside and not free"
            )
            self._that(self.roster.aside.get(name) == lease.id, f"{name} is set aside for two")
        if client is not None:
            lives = (
                POLICY.waiting_s
                if not lease.machines
                else POLICY.confirm_s
                if not lease.confirmed
                else lease.ttl_s
            )
            since = max(client.renewed_s, lease.granted_s)
            silent = lease.machines and client.renewed_s < lease.granted_s
            dead = silent and now > lease.granted_s + POLICY.confirm_s + POLICY.slack_s + 1e-6
            self._that(not dead, f"{lease.id} is held by a waiter that never confirmed")
            overdue = lives is not None and now > since + lives + POLICY.slack_s + 1e-6
            self._that(not overdue, f"{lease.id} outlived its ttl")

    def _check_end(self, lease: Lease, client: Client | None) -> None:
        if client is None:
            return
        client.ended = True
        if lease.ended == "expired":
            assert lease.ttl_s is not None
            self._that(lease.ended_s >= client.renewed_s + lease.ttl_s, f"{lease.id} expired before its ttl")
        if lease.ended == "unconfirmed":
            self._that(
                lease.ended_s >= lease.granted_s + POLICY.confirm_s,
                f"{lease.id} was not left time to confirm",
            )
        if lease.ended == "gave_up":
            self._that(
                lease.ended_s >= client.renewed_s + POLICY.waiting_s, f"{lease.id} left the queue too early"
            )

    def _check_machine(self, old: Machine | None, machine: Machine) -> None:
        known = self.fences.get(machine.name, 0)
        if old is not None and old.registered_us == machine.registered_us:
            self._that(machine.fence >= known, f"the fence of {machine.name} went back")
        self.fences[machine.name] = machine.fence
        if not machine.lease or (old is not None and old.lease == machine.lease):
            return
        if old is not None and old.registered_us != machine.registered_us:
            known = 0
        lease = self.roster.leases[machine.lease]
        self._that(
            machine.fence > known and lease.fence == machine.fence,
            f"{machine.name} was granted without a new fence",
        )
        in_service = machine.service is Service.IN_SERVICE or machine.name in self.amended
        self._that(in_service, f"{machine.name} was granted out of service")
        self._that(not machine.cleaning and not machine.delay_until_s, f"{machine.name} was granted unclean")
        board = self.boards[machine.name]
        dirty = machine.mode is Mode.ENFORCED and known and not (board.fence >= known and board.closed)
        self._that(not dirty, f"{machine.name} was granted before it reported clean")
        if not lease.holder.startswith("legacy:"):
            self._that(machine.presence is Presence.ONLINE, f"{machine.name} was granted while offline")
            self._that(
                machine.seen_epoch == self.roster.epoch, f"{machine.name} was granted unheard in this epoch"
            )

    def _nobody_waits_in_vain(self) -> None:
        """The first of each group could not be granted by what is free and not kept for somebody before it."""
        roster = self.roster
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
            self._that(len(free) < lease.count, f"{lease.id} waits for what is free")

    def _check_indexes(self) -> None:
        """The indexes are what one gets from the rows alone."""
        roster, fresh = self.roster, Roster()
        fresh.begin_epoch(roster.epoch)
        for machine in roster.machines.values():
            fresh.put(machine)
        for lease in roster.leases.values():
            fresh.put(lease)
        self._that(fresh.by_address == roster.by_address, "the index of addresses is wrong")
        self._that(fresh.aside == roster.aside, "the index of what is set aside is wrong")
        self._that(fresh.live == roster.live, "the count of live leases is wrong")
        self._that(+fresh.label_keys == +roster.label_keys, "the count of labels is wrong")
        for group in roster.waiting_groups():
            other = fresh.group(*group.key)
            self._that(other.matches == group.matches, f"{group.key} matches the wrong machines")
            self._that(set(other.free) == set(group.free), f"{group.key} has the wrong free machines")
            self._that(other.waiting == group.waiting, f"{group.key} has the wrong waiters")

    def _check_store(self, outcome: Outcome) -> None:
        rows = self.store.catch_up(0).rows
        machines = {row.name: row for row in rows if isinstance(row, Machine) and not row.deleted}
        live = {row.id: row for row in rows if isinstance(row, Lease) and row.live}
        self._that(machines == self.roster.machines, "the store has other machines")
        ours = {key: lease for key, lease in self.roster.leases.items() if lease.live}
        self._that(live == ours, "the store has other leases")

    def _that(self, holds: bool, what: str) -> None:
        if not holds:
            raise Broken(f"seed {self.seed}, step {self.steps}: {what}")


def roster_machine(roster: Roster, name: str) -> Machine | None:
    return roster.machines.get(name)
