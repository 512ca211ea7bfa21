"""A pool under a random but repeatable day: boards, clients, operators, pauses and restarts, out of one seed.

Runs the real rules on the real SQLite store with a fake clock. After every turn the invariants are
checked against what the world itself remembers of the answers it got.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

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
from picluster.pool.model import Actor, Heard, Machine, Mode, OnReboot, Role, Service
from picluster.pool.policy import Policy
from picluster.pool.pool import Pool
from picluster.pool.roster import Roster
from picluster.server.turn import take_turn
from picluster.store.clock import Clock
from picluster.store.sql import SqlStore
from picluster.store.sqlite import SqliteStore
from tests.simulation.invariants import Broken, Client, Invariants, check_indexes, check_store

POLICY = Policy(aside_s=120.0, dead_machine_s=200.0, kept_s=300.0, well_s=60.0)
"""As delivered, with the longest spans shortened so that a day of a thousand steps sees their ends."""

PULSE_S = 5.0
PAUSE_S = 1_000.0
SELECTORS = ("model:pi5", "model:pi4", "", "tag:camera", "-tag:camera", "model:(pi4|pi5)", "board-1")
PEOPLE = ("ann", "bob", "eve", "kim")
OPERATOR = Actor("op", Role.OPERATOR)
FULL_CHECK_EVERY = 40
TOGETHER = 0.7
"""How often renewals and beats share a batch with the rest."""
COMES_BACK = 0.03
"""So that a silent board is mostly away for longer than it takes to be called offline."""


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
    alarm: bool = False
    counted: dict[str, int] = field(default_factory=dict)
    """Of the fence closed last, as far as the agent saw it."""

    @property
    def telemetry(self) -> dict[str, Any]:
        return {"under_voltage": self.alarm, "last_closed": self.counted or None}

    @property
    def name(self) -> str:
        return f"board-{self.number}"

    @property
    def address(self) -> str:
        return f"10.0.0.{self.number}"


@dataclass
class Replica:
    """One service process: its way to the database, and its copy of the pool."""

    store: SqlStore
    pool: Pool | None = None

    def restart(self) -> None:
        """As `kill -9` and a new start: nothing is left but what is stored."""
        self.pool = None
        if not isinstance(self.store, SqliteStore):
            self.store.close()
            self.store.open()


@dataclass
class World:
    """One seed's pool, served by some replicas: two in one memory, unless `stores` says where."""

    seed: int
    stores: Callable[[Clock], Sequence[SqlStore]] = lambda clock: [SqliteStore(":memory:", clock=clock)] * 2
    chance: random.Random = field(init=False)
    clock: SimulatedClock = field(default_factory=SimulatedClock)
    boards: dict[str, Board] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)
    steps: int = 0
    last_turn_s: float = 0.0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.invariants = Invariants(POLICY, self.clients)
        stores = self.stores(self.clock)
        for store in set(stores):
            store.open()
        self.replicas = [Replica(store) for store in stores]
        self.roster = Roster()
        """As after the last turn, whoever took it."""
        self.take(Pass())
        for number in range(1, 7):
            mode = (Mode.ENFORCED, Mode.ADVISORY, Mode.LEGACY)[number % 3]
            board = self.boards[f"board-{number}"] = Board(number, mode, camera=number % 2 == 0)
            self.take(self.beat(board))

    def close(self) -> None:
        for replica in self.replicas:
            replica.store.close()

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step()

    def step(self) -> None:
        """Something happens, a little time passes, everything still holds."""
        self.steps += 1
        self.clock.seconds += self.chance.choice((0.0, 0.1, 1.0, 4.0))
        self._pulse()
        batch = [command for _ in range(self.chance.choice((1, 1, 1, 2, 4))) if (command := self.something())]
        if self.chance.random() < TOGETHER:
            self.take(*batch, *self._signs_of_life())
        else:
            self.take(*(batch or [Pass()]))
            self.take(*self._signs_of_life())
        if self.chance.random() < 0.01:
            self.chance.choice(self.replicas).restart()
        if self.chance.random() < 0.004:
            self._pause()
        if self.steps % FULL_CHECK_EVERY == 0:
            check_indexes(self.roster)
            check_store(self.replicas[0].store, self.roster)

    def _pulse(self) -> None:
        while self.clock.seconds - self.last_turn_s > PULSE_S:
            self.take(Pass())

    def _pause(self) -> None:
        """All of them are stopped for long, or started again after long."""
        self.clock.seconds += PAUSE_S
        for replica in self.replicas:
            if self.chance.random() < 0.5:
                replica.restart()
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
                "alarm",
            ),
            (30, 2, 1, 1, 14, 4, 9, 2, 6, 2, 1, 1),
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
        if machine is not None and board.mode is not Mode.LEGACY:
            self._obey(board, machine)
        return self.beat(board)

    def _obey(self, board: Board, machine: Machine) -> None:
        """What an agent does with the answers it gets: close what is over, open what is new."""
        if machine.cleaning:
            if not board.closed:
                self._count(board)
            board.fence, board.closed = machine.cleaning, True
            self.invariants.closed[board.name] = machine.cleaning
            return
        if not board.closed and (not machine.lease or machine.fence > board.fence):
            self._count(board)
            board.closed = True
        if machine.lease and machine.fence > board.fence:
            board.fence, board.closed = machine.fence, False

    def _count(self, board: Board) -> None:
        """What the board says of the fence that it closes."""
        board.counted = {"fence": board.fence, "hot": self.chance.choice((0, 0, 1)), "disk": 0}
        self.invariants.counted[(board.name, board.fence)] = board.counted["hot"]

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
            telemetry=board.telemetry,
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

    def _alarm(self) -> Command | None:
        board = self._board()
        board.alarm = not board.alarm and board.mode is not Mode.LEGACY
        return self.beat(board) if board.talking else None

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
        self.clients[ask.lease] = Client(actor, ask)
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

    def _signs_of_life(self) -> list[Command]:
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
        return [*renewals, Hear(tuple(heard))]

    def take(self, *commands: Command) -> None:
        """One turn by one of the replicas, and what has to be true after it."""
        replica = self.chance.choice(self.replicas)
        outcome = take_turn(replica.store, replica.pool, commands, POLICY)
        replica.pool, self.roster = outcome.pool, outcome.pool.ledger.roster
        self.last_turn_s = self.clock.seconds
        try:
            self.invariants.check(commands, outcome, self.clock.seconds)
        except Broken as broken:
            raise Broken(f"seed {self.seed}, step {self.steps}: {broken}") from None
