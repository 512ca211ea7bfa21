"""A day in the life of one pool: short verbs for what people and boards do, and time that passes when told.

Every verb is one turn, and raises the refusal if there is one. While time passes the service pulses as the
real one does, boards that are not silent beat, and whoever is named renews.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from picluster.errors import PiclusterError
from picluster.pool.commands import (
    Acquire,
    Amend,
    Beat,
    Command,
    Forget,
    ForgetAddress,
    FreeAddress,
    Hear,
    IssueToken,
    Join,
    LockAddress,
    Pass,
    RaiseEpoch,
    Release,
    Renew,
    Report,
    RevokeToken,
    UpdateAddress,
)
from picluster.pool.model import (
    SYSTEM,
    Actor,
    Event,
    Heard,
    Lease,
    Machine,
    Mode,
    Person,
    PoolState,
    Role,
    Row,
    Service,
    Token,
    Webhook,
)
from picluster.pool.policy import Policy
from picluster.pool.pool import Answer, Pool

PULSE_S = 5.0
SLACK_S = Policy().slack_s
"""What every deadline waits longer than its name says."""

ROLES = {"op": Role.OPERATOR, "root": Role.ADMIN}


def actor(name: str, address: str = "") -> Actor:
    """`op` is an operator and `root` an admin; everybody else is a user, and `legacy:` users have no quota."""
    limited = name != "root" and not name.startswith("legacy:")
    return Actor(name, ROLES.get(name, Role.USER), address, limited=limited)


def key_of(row: Row) -> tuple[str, str]:
    """What a newer version of the row replaces."""
    return (type(row).__name__, row.name if isinstance(row, Machine | Person | Webhook) else row.id)


@dataclass(frozen=True)
class Board:
    """A board as it is outside, and what it says when it beats."""

    name: str
    address: str
    mode: Mode
    host: str
    model: str
    labels: dict[str, str]
    boot: int = 1
    fence: int = 0
    closed: bool = True
    clean: bool = True
    silent: bool = False
    nounlock: bool = False
    serial: str = ""
    keys: tuple[str, ...] = ()
    telemetry: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    knows: bool = False

    @property
    def report(self) -> Report:
        if self.mode is Mode.LEGACY:
            facts = {"host_name": self.host, "model": self.model, "nounlock": self.nounlock}
            return Report(
                f"legacy:{self.address}", self.address, Mode.LEGACY, facts=facts, telemetry=self.telemetry
            )
        return Report(
            id=self.serial or f"serial-{self.name}",
            address=self.address,
            mode=self.mode,
            boot_id=f"boot-{self.boot}",
            facts={"host_name": self.host, "model": self.model, **self.facts},
            labels=self.labels,
            host_keys=self.keys,
            telemetry=self.telemetry,
            fence=self.fence,
            closed=self.closed,
            clean=self.clean,
            knows=self.knows,
        )

    @property
    def beat(self) -> Command:
        if self.mode is Mode.LEGACY:
            return UpdateAddress(actor(f"legacy:{self.address}"), self.report)
        return Beat(Actor(self.name, Role.AGENT, machine=self.name), self.name, self.report)


@dataclass
class Day:
    """One pool, its boards, and everything that was written about them."""

    policy: Policy = field(default_factory=Policy)
    now: float = 1_000.0
    boards: dict[str, Board] = field(default_factory=dict)
    stored: dict[tuple[str, str], Row] = field(default_factory=dict)
    """What a database would keep: the newest version of each row."""
    stored_heard: dict[str, Heard] = field(default_factory=dict)
    record: list[Event] = field(default_factory=list)
    changed: Sequence[Row] = ()
    """Rows that the last turn changed."""
    happened: Sequence[Event] = ()
    """Events of the last turn."""

    def __post_init__(self) -> None:
        self.pool = Pool(self.policy)

    # Turns

    def turn(self, *commands: Command) -> list[Answer]:
        """One batch, with its refusals among the answers."""
        answers, self.changed, self.happened = self.pool.turn(commands, self.now, self.wall_us)
        self.record.extend(self.happened)
        self.stored.update({key_of(row): row for row in self.changed})
        self.stored_heard.update({heard.name: heard for heard in self.pool.heard_now})
        return answers

    def take(self, command: Command) -> Any:
        """One command alone; raises its refusal."""
        (answer,) = self.turn(command)
        if isinstance(answer, PiclusterError):
            raise answer
        return answer

    def passes(self, seconds: float, *renewing: str) -> None:
        """Time passes, pulse by pulse; boards that are not silent are heard, and these leases are renewed."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + PULSE_S)
            self.turn(self.heard, *(self.renewal(lease) for lease in renewing))

    @property
    def wall_us(self) -> int:
        return 1_700_000_000_000_000 + int(self.now * 1e6)

    @property
    def heard(self) -> Hear:
        """The plain beats of all boards that talk."""
        beats = (
            Heard(board.name, boot_id=board.report.boot_id)
            for board in self.boards.values()
            if not board.silent
        )
        return Hear(tuple(beats))

    # Looking

    def machine(self, name: str) -> Machine:
        return self.pool.ledger.roster.machines[name]

    def lease(self, lease: str) -> Lease:
        return self.pool.ledger.roster.leases[lease]

    def token(self, token: str) -> Token:
        return self.pool.ledger.roster.tokens[token]

    def has(self, lease: str) -> str:
        """The machines of a live lease, as one word; empty while it waits."""
        return " ".join(self.lease(lease).machines) if self.lease(lease).live else ""

    def state(self, lease: str) -> str:
        """waiting, held, or why it ended."""
        return self.lease(lease).ended or self.lease(lease).state.value

    def kinds(self) -> list[str]:
        """What kinds of things happened so far, in order."""
        return [event.kind for event in self.record]

    def everything(self) -> tuple[object, ...]:
        """All that a refusal could leave a trace in."""
        ledger, roster = self.pool.ledger, self.pool.ledger.roster
        things = (
            roster.machines,
            roster.tombstones,
            roster.leases,
            roster.tokens,
            roster.people,
            roster.webhooks,
        )
        rows = tuple(dict(thing) for thing in things)
        return ledger.state, rows, dict(roster.aside), dict(ledger.heard), len(self.record)

    # Boards

    def board(
        self,
        name: str,
        mode: Mode = Mode.ADVISORY,
        *,
        model: str = "pi5",
        host: str = "",
        address: str = "",
        **labels: str,
    ) -> Machine:
        """A board says hello."""
        address = address or f"10.0.0.{len(self.boards) + 1}"
        self.boards[name] = Board(name, address, mode, host or name, model, labels)
        return self.beats(name)

    def beats(self, name: str, **changes: Any) -> Machine:
        """A board reports, perhaps something new; silence is over."""
        self.boards[name] = replace(self.boards[name], **{"silent": False, **changes})
        machine = self.take(self.boards[name].beat)
        assert isinstance(machine, Machine)
        return machine

    def opens(self, name: str) -> Machine:
        """An agent lets the present holder in."""
        return self.beats(name, fence=self.machine(name).fence, closed=False)

    def closes(self, name: str, *, clean: bool = True, **said: Any) -> Machine:
        """An agent has shut the last holder out, and says whether it could clean up."""
        return self.beats(name, fence=self.machine(name).fence, closed=True, clean=clean, **said)

    def ends(self, name: str, **counters: Any) -> Machine:
        """An agent closes the last holder's fence, and says what it counted meanwhile."""
        fence = self.machine(name).fence
        return self.closes(name, telemetry={"last_closed": {"fence": fence, **counters}})

    def joins(self, name: str, token: str, *, wanted: str = "", boot: int = 1, **said: Any) -> Machine:
        """A board asks to be let in, with this join token, and says who it is."""
        board = Board(
            name, said.pop("address", f"10.1.0.{len(self.boards) + 1}"), Mode.ADVISORY, name, "pi5", {}, boot
        )
        board = self.boards[name] = replace(board, **said)
        who = Actor(f"join:{token}", Role.JOIN, board.address, token=token)
        credential = Token(
            f"agent-of-{name}-{self.now:.0f}-{len(self.record)}", "agent", name, Role.AGENT, "digest"
        )
        report = board.report
        asking = Join(
            who, credential, wanted or name, report.id, report.address, report.boot_id, report.host_keys
        )
        machine = self.take(asking)
        assert isinstance(machine, Machine)
        self.boards[name] = replace(board, name=machine.name, serial=report.id)
        return machine

    def reboots(self, name: str) -> Machine:
        return self.beats(name, boot=self.boards[name].boot + 1)

    def falls_silent(self, *names: str) -> None:
        for name in names:
            self.boards[name] = replace(self.boards[name], silent=True)

    # People

    def ask(self, who: str, lease: str, selector: str = "", **more: Any) -> Lease:
        answer = self.take(self.asking(who, lease, selector, **more))
        assert isinstance(answer, Lease)
        return answer

    def asking(self, who: str, lease: str, selector: str = "", **more: Any) -> Acquire:
        return Acquire(actor(who), lease, selector, **more)

    def renew(self, lease: str, who: str = "", **more: Any) -> Lease:
        answer = self.take(self.renewal(lease, who, **more))
        assert isinstance(answer, Lease)
        return answer

    def renewal(self, lease: str, who: str = "", **more: Any) -> Renew:
        return Renew(actor(who or self.lease(lease).holder), lease, **more)

    def release(self, lease: str, who: str = "", reason: str = "") -> Lease:
        answer = self.take(self.releasing(lease, who, reason))
        assert isinstance(answer, Lease)
        return answer

    def releasing(self, lease: str, who: str = "", reason: str = "") -> Release:
        return Release(actor(who or self.lease(lease).holder), lease, reason)

    def amend(self, name: str, who: str = "op", **changes: Any) -> Machine:
        answer = self.take(Amend(actor(who), name, **changes))
        assert isinstance(answer, Machine)
        return answer

    def drain(self, name: str) -> Machine:
        return self.amend(name, service=Service.DRAINED, reason="broken fan")

    def undrain(self, name: str) -> Machine:
        return self.amend(name, service=Service.IN_SERVICE)

    def forget(self, name: str, who: str = "op") -> Machine:
        answer = self.take(Forget(actor(who), name))
        assert isinstance(answer, Machine)
        return answer

    def raise_epoch(self) -> None:
        self.take(RaiseEpoch(SYSTEM, "restored from a backup"))

    # The old protocol

    def lock(self, who: str, name: str, lease: str, **more: Any) -> Machine:
        answer = self.take(LockAddress(actor(f"legacy:{who}"), lease, self.boards[name].address, **more))
        assert isinstance(answer, Machine)
        return answer

    def free(self, who: str, name: str, *, by_itself: bool = False) -> Machine:
        """Somebody frees a board; or the board itself does, at its start."""
        address = self.boards[name].address
        sender = address if by_itself else "10.9.9.9"
        answer = self.take(FreeAddress(actor(f"legacy:{who}", sender), address))
        assert isinstance(answer, Machine)
        return answer

    def delete(self, who: str, name: str) -> Machine:
        answer = self.take(ForgetAddress(actor(f"legacy:{who}"), self.boards[name].address))
        assert isinstance(answer, Machine)
        return answer

    # Tokens

    def issue(self, token: Token, redeeming: str = "") -> Token:
        answer = self.take(IssueToken(actor("root"), token, redeeming))
        assert isinstance(answer, Token)
        return answer

    def revoke(self, token: str) -> Token:
        answer = self.take(RevokeToken(actor("root"), token))
        assert isinstance(answer, Token)
        return answer

    # Other replicas

    @property
    def state_stored(self) -> PoolState:
        return self.pool.state

    def newcomer(self) -> Pool:
        """Another replica that has just read all there is."""
        pool = Pool(self.policy)
        pool.merge(sorted(self.stored.values(), key=lambda row: row.revision), self.state_stored)
        pool.hear(self.stored_heard.values())
        return pool

    def wait(self) -> None:
        """A pulse with nothing in it."""
        self.take(Pass())
