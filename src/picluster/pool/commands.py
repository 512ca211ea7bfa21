"""What can be asked of a pool: one class per verb. This file is the table of contents of the rules.

A command is data. `Pool.turn` answers each with a row (or rows), or with the `PiclusterError` that
refuses it; a refusal leaves no trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from picluster.pool.model import (
    EMPTY,
    Actor,
    Attempt,
    Heard,
    Mode,
    OnReboot,
    Person,
    Role,
    Service,
    Token,
    Webhook,
)


@dataclass(frozen=True, slots=True)
class Acquire:
    """Somebody wants machines: now (`queue=False`) or when their turn comes. Asking again is the same lease."""

    by: Actor
    lease: str
    selector: str
    asked: str = ""
    count: int = 1
    job: str = ""
    ttl_s: float | None = 120.0
    queue: bool = True
    wait_s: float | None = None
    wait_for_machines: bool = False
    not_after_s: float | None = None
    priority: int = 1
    on_reboot: OnReboot = OnReboot.RELEASE
    ssh_public_keys: tuple[str, ...] = ()
    quota: int = 0
    """At most this many live leases for the holder; 0 for no limit."""


@dataclass(frozen=True, slots=True)
class LockAddress:
    """The old protocol's lock: the machine at this address, now or not at all, alive or not, without an end."""

    by: Actor
    lease: str
    address: str
    job: str = ""
    ttl_s: float | None = None


@dataclass(frozen=True, slots=True)
class Renew:
    """The holder, or the one who waits, is still there; and perhaps wants another ttl, keys, or a reboot."""

    by: Actor
    lease: str
    ttl_s: float | None = 0.0
    """0 keeps what it is; None means until released."""
    ssh_public_keys: tuple[str, ...] | None = None
    expect_reboot_s: float | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """The holder, or an operator with a reason, gives the machines back. Repeating is the same answer."""

    by: Actor
    lease: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FreeAddress:
    """The old protocol's free: ends a legacy lease of this very user, or is the board's own reboot signal."""

    by: Actor
    address: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a board says of itself in a beat."""

    id: str
    address: str
    mode: Mode
    boot_id: str = ""
    seq: int = 0
    facts: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    host_keys: tuple[str, ...] = ()
    ssh_user: str = ""
    ssh_port: int = 22
    comment: str | None = None
    """The old protocol sends one with each update; the agent never does."""
    telemetry: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    fence: int = 0
    closed: bool = True
    clean: bool = True
    """Whether what the holder of a closed fence left behind is gone."""
    knows: bool = False
    """Whether the board has been told what holds now: what it does not report then, it did not see."""


@dataclass(frozen=True, slots=True)
class Beat:
    """A board is there, and says something that is new (plain beats are only `Hear`)."""

    by: Actor
    machine: str
    report: Report
    heard_us: int = 0


@dataclass(frozen=True, slots=True)
class Join:
    """A new board asks to be let in, with a join token. `token` is the credential it gets; its name is decided here."""

    by: Actor
    token: Token
    name: str
    id: str
    address: str
    boot_id: str = ""
    host_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UpdateAddress:
    """The old protocol's update: registers the board at this address, or is its heartbeat."""

    by: Actor
    report: Report
    heard_us: int = 0


@dataclass(frozen=True, slots=True)
class MoveIn:
    """A machine of the first service comes out of its file, with its lock: unheard here, so not granted yet."""

    by: Actor
    report: Report
    heard_us: int = 0
    """When that service last heard it."""
    lock: LockAddress | None = None


@dataclass(frozen=True, slots=True)
class Hear:
    """Boards were heard, and had nothing new to say: many plain beats in one command."""

    heard: tuple[Heard, ...]


@dataclass(frozen=True, slots=True)
class Amend:
    """A person changes what is known of a machine: labels (None removes one), comment, service."""

    by: Actor
    machine: str
    labels: Mapping[str, str | None] = field(default_factory=lambda: EMPTY)
    comment: str | None = None
    service: Service | None = None
    reason: str | None = None
    evict: bool = False
    """With quarantine: end the lease on the machine too."""


@dataclass(frozen=True, slots=True)
class Forget:
    """A machine leaves the pool; refused while it is leased."""

    by: Actor
    machine: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ForgetAddress:
    """The old protocol's delete: the machine at this address leaves the pool."""

    by: Actor
    address: str


@dataclass(frozen=True, slots=True)
class NotePower:
    """Somebody switches a machine's power, or has done so: for the record alone."""

    by: Actor
    machine: str
    action: str
    outcome: str = ""
    """Empty when it begins; then what came of it."""


@dataclass(frozen=True, slots=True)
class IssueToken:
    """A credential comes into being; with `redeeming`, in exchange for a one-time one."""

    by: Actor
    token: Token
    redeeming: str = ""
    proven: str = ""
    """The hash that a password was compared with: refused if the account has another one by now."""


@dataclass(frozen=True, slots=True)
class RevokeToken:
    """A credential ends. Repeating is the same answer."""

    by: Actor
    token: str


@dataclass(frozen=True, slots=True)
class AddPerson:
    """Somebody gets an account; with `redeeming`, in exchange for the one-time link of the first start."""

    by: Actor
    person: Person
    redeeming: str = ""


@dataclass(frozen=True, slots=True)
class AmendPerson:
    """An account changes: role, password (a hash), disabled or not. What is None stays."""

    by: Actor
    name: str
    role: Role | None = None
    password: str | None = None
    disabled: bool | None = None


@dataclass(frozen=True, slots=True)
class Rehash:
    """The same password under newer parameters; nothing if it was changed meanwhile. Ends no session."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class ForgetPerson:
    """An account ends, with its sessions and personal tokens. Leases stay: the work on the boards goes on."""

    by: Actor
    name: str


@dataclass(frozen=True, slots=True)
class AddWebhook:
    """From now on an address outside is told what happens. Refused if the name is taken."""

    by: Actor
    webhook: Webhook


@dataclass(frozen=True, slots=True)
class AmendWebhook:
    """Change a webhook; None leaves as it is. What happens while it is paused it is never told; what was due before
    is, once it is resumed."""

    by: Actor
    name: str
    url: str | None = None
    notices: tuple[str, ...] | None = None
    paused: bool | None = None
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class ForgetWebhook:
    """It is told no more."""

    by: Actor
    name: str


@dataclass(frozen=True, slots=True)
class NoteTest:
    """Somebody has sent a webhook a message to see whether it arrives; what came of it is in the record."""

    by: Actor
    name: str
    outcome: str
    arrived: bool = False
    """Then it is mended, whatever it was before."""


@dataclass(frozen=True, slots=True)
class TakeUp:
    """A process wants to be the one who tells a webhook, for so long. Refused while another one is."""

    name: str
    courier: str
    for_s: float


@dataclass(frozen=True, slots=True)
class Tell:
    """What came of telling it, from the one who does: how far it has got, and whether the rest has to wait."""

    name: str
    courier: str
    cursor: int
    """The revision up to which everything is delivered or given up."""
    attempts: tuple[Attempt, ...]
    """Since the last report, oldest first."""
    delivered: int = 0
    """Events among them that arrived."""
    failures: int = 0
    """Attempts in a row that failed, at what is next."""
    pause_s: float = 0.0
    """Nobody is to try before that."""
    for_s: float = 0.0
    """How much longer the courier wants to be the one; 0 when there is nothing left, or the rest has to wait."""


@dataclass(frozen=True, slots=True)
class RaiseEpoch:
    """History may have gone back: grant nothing that has not been heard from since now."""

    by: Actor
    reason: str


@dataclass(frozen=True, slots=True)
class Pass:
    """Nothing is asked; let service time pass."""


Command = (
    Acquire
    | LockAddress
    | Renew
    | Release
    | FreeAddress
    | Beat
    | Join
    | UpdateAddress
    | MoveIn
    | Hear
    | Amend
    | Forget
    | ForgetAddress
    | NotePower
    | IssueToken
    | RevokeToken
    | AddPerson
    | AmendPerson
    | Rehash
    | ForgetPerson
    | AddWebhook
    | AmendWebhook
    | ForgetWebhook
    | NoteTest
    | TakeUp
    | Tell
    | RaiseEpoch
    | Pass
)
