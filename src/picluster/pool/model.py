"""What there is in a pool: machines, leases, tokens, people, webhooks, and what happened to them.

Rows are immutable and shared: a reader may keep one while the next turn decides. A row that changes is
replaced by one with a higher `revision`; that number is the place in a queue, the fence of a grant, the
id in the event stream, and what a replica has not seen yet, all at once.

Seconds ending in `_s` are *service time* (see `pool.Pool`), never a wall clock; microseconds ending in
`_us` are wall-clock times since 1970, for people and the record only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

EMPTY: Mapping[str, Any] = MappingProxyType({})


class Mode(StrEnum):
    """How far a board itself keeps strangers out."""

    ENFORCED = "enforced"
    ADVISORY = "advisory"
    LEGACY = "legacy"


class Service(StrEnum):
    """Whether a machine may be granted, as decided by people or rules."""

    IN_SERVICE = "in_service"
    DRAINED = "drained"
    QUARANTINED = "quarantined"
    PENDING = "pending"
    ATTENTION = "attention"


class Presence(StrEnum):
    ONLINE = "online"
    OFFLINE = "offline"


class LeaseState(StrEnum):
    WAITING = "waiting"
    HELD = "held"
    ENDED = "ended"


class OnReboot(StrEnum):
    """What a reboot of the board does to the lease on it."""

    RELEASE = "release"
    KEEP = "keep"
    QUARANTINE = "quarantine"


class Role(IntEnum):
    """What a principal may do; each role includes the ones below it, agents and join tokens excepted."""

    JOIN = -2
    AGENT = -1
    NOBODY = 0
    VIEWER = 1
    USER = 2
    OPERATOR = 3
    ADMIN = 4


LEGACY_PREFIX = "legacy:"
"""A principal without an identity of its own: whoever knows the shared key and says a name."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks, with which right, from where."""

    name: str
    role: Role = Role.USER
    address: str = ""
    machine: str = ""
    """For an agent token: the one machine it may speak for."""
    token: str = ""
    """Id of the token it came with; empty without one."""
    limited: bool = True
    """Whether the quota of live leases counts (not for `legacy:`, CI and admins)."""

    @property
    def legacy(self) -> bool:
        return self.name.startswith(LEGACY_PREFIX)


SYSTEM = Actor("picluster", Role.ADMIN, limited=False)
"""The rules themselves, when they act without being asked (expiry, presence)."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A board that can be leased."""

    name: str
    id: str
    """Board identity, `legacy:ADDRESS` for one that speaks only the old protocol; never the address itself."""
    address: str
    mode: Mode = Mode.ADVISORY
    service: Service = Service.IN_SERVICE
    reason: str = ""
    """Why it is not in service, for people."""
    by_rule: bool = False
    """Quarantined by a health rule, which takes it back when the board is well again. What people or a failed
    cleaning took out of service waits for people."""
    ailing: tuple[str, ...] = ()
    """What its last report says is wrong with it, in words of `health`; empty while it is well."""
    ailing_since_s: float = 0.0
    """Since when it has been ailing, or well."""
    setbacks: int = 0
    """Quarantines by a health rule since `setbacks_since_s`: a board that comes and goes needs a person."""
    setbacks_since_s: float = 0.0
    stumbles: int = 0
    """Silences and reboots of its own since `stumbles_since_s`, while nobody had it."""
    stumbles_since_s: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    """What the board reports and what rarely changes: model, arch, os, mem (bytes), cpus, serial, platform…"""
    board_labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """Labels set by people; they win over the board's."""
    comment: str = ""
    host_keys: tuple[str, ...] = ()
    claimed_id: str = ""
    claimed_host_keys: tuple[str, ...] = ()
    """What it says of itself now, if that is not what it was known by: taken over when a person has looked."""
    ssh_user: str = ""
    ssh_port: int = 22
    boot_id: str = ""
    former_boot_id: str = ""
    """The boot before. One that comes back is another board under the same name: boots do not."""
    presence: Presence = Presence.ONLINE
    presence_since_s: float = 0.0
    seen_epoch: int = 0
    """The epoch in which the board was last heard; only one heard in the present epoch is granted."""
    lease: str = ""
    """The live lease that holds it, or empty. A copy of what the lease says, for whoever looks from here."""
    fence: int = 0
    """The fence of the newest grant of this machine; 0 if it never was granted."""
    reported_fence: int = 0
    reported_closed: bool = True
    cleaning: int = 0
    """The fence that the agent must report clean before the machine is free; 0 when nothing is awaited."""
    cleaning_since_s: float = 0.0
    cleaning_failures: int = 0
    delay_until_s: float = 0.0
    """A board that does not enforce rests this long after a lease that its holder did not end."""
    judging: tuple[str, ...] = ()
    """Ended leases whose closing report is awaited from here."""
    powered_s: float = 0.0
    """When a person last switched its power: what it does after that is no fault of its own."""
    strange_updates: int = 0
    """Old-protocol updates in a row from this address under another host name."""
    registered_us: int = 0
    deleted: bool = False
    deleted_s: float = 0.0
    """A tombstone: readers who have seen the machine learn that it is gone."""
    revision: int = 0

    @property
    def all_labels(self) -> Mapping[str, str]:
        return {**self.board_labels, **self.labels} if self.labels else self.board_labels


@dataclass(frozen=True, slots=True)
class Heard:
    """The last beat of a machine. Narrow, outside the revisions, and cheap to lose: the next one repairs it."""

    name: str
    heard_s: float = 0.0
    heard_us: int = 0
    boot_id: str = ""
    seq: int = 0
    telemetry: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    """temperature (°C), load (three floats), text forms of the old protocol, and what else a board measures."""


@dataclass(frozen=True, slots=True)
class Sample:
    """How a board was at a moment, or, thinned, in the span of time that began then."""

    machine: str
    at_us: int
    count: int = 1
    """Beats that it is made of."""
    temperature: float | None = None
    """°C; of several beats the mean, here and below."""
    temperature_min: float | None = None
    temperature_max: float | None = None
    load: float | None = None
    """Over one minute."""
    load_min: float | None = None
    load_max: float | None = None
    mem_available: float | None = None
    """Bytes."""
    mem_available_min: float | None = None
    mem_available_max: float | None = None
    disk_free: float | None = None
    """Bytes."""
    disk_free_min: float | None = None
    disk_free_max: float | None = None
    throttled: bool = False
    """At any of the beats, here and below."""
    under_voltage: bool = False
    rebooted: bool = False


@dataclass(frozen=True, slots=True)
class Lease:
    """A claim on machines: waiting, then held, then ended. Waiting is a lease that has no machines yet."""

    id: str
    """A UUID chosen by the client: asking again is the same lease. Not a secret."""
    holder: str
    selector: str
    asked: str = ""
    """A digest of what was asked, so that the same id with another body is noticed."""
    job: str = ""
    count: int = 1
    priority: int = 1
    ttl_s: float | None = 120.0
    """How long it lives after a renewal; None until released."""
    wait_s: float | None = None
    not_after_s: float | None = None
    """Hard limit, counted from the grant."""
    on_reboot: OnReboot = OnReboot.RELEASE
    ssh_public_keys: tuple[str, ...] = ()
    joined_s: float = 0.0
    joined_us: int = 0
    place: int = 0
    """The revision at which it joined the queue: the tie-break among equals, never changed."""
    renewed_s: float = 0.0
    state: LeaseState = LeaseState.WAITING
    machines: tuple[str, ...] = ()
    fence: int = 0
    granted_s: float = 0.0
    granted_us: int = 0
    confirmed: bool = True
    """False from a grant after waiting until the client shows that it is still there."""
    ready: bool = False
    """Every machine of it lets the holder in (at once where the board does not enforce)."""
    set_aside: tuple[str, ...] = ()
    """Free machines that nobody behind this waiting lease of several may take."""
    set_aside_since_s: float | None = None
    reboot_until_s: float = 0.0
    """A reboot announced by the holder is expected until then."""
    ended: str = ""
    """Why it ended: released, expired, unconfirmed, gave_up, wait_over, not_after, machine_lost, reboot, …"""
    ended_by: str = ""
    ended_s: float = 0.0
    ended_us: int = 0
    verdict: str = ""
    """clean, dirty or unknown, once the lease is over; of several machines, the worst of those heard so far."""
    verdict_reasons: tuple[str, ...] = ()
    awaiting: tuple[str, ...] = ()
    """Machines of an ended lease whose closing report has not come: the verdict is not settled before."""
    revision: int = 0

    @property
    def live(self) -> bool:
        return self.state is not LeaseState.ENDED

    @property
    def open_ended(self) -> bool:
        return self.ttl_s is None and self.not_after_s is None


@dataclass(frozen=True, slots=True)
class Token:
    """A credential, of which only the SHA-256 is kept."""

    id: str
    kind: str
    """person, ci, agent, join, session (a browser's cookie), or setup (the one-time link of the first start)."""
    name: str
    """The principal it stands for; for an agent the machine."""
    role: Role
    digest: str
    issued_by: str = ""
    """Who made it; of a session, how it began: `password`, `setup`, `legacy` (with the shared key), or `token:ID`, with
    which it ends."""
    issued_us: int = 0
    expires_us: int = 0
    """Wall clock: people write down dates. 0 for never."""
    uses_left: int = 0
    """For a join token: so many more boards may join with it."""
    approve: bool = False
    """For a join token: boards that join with it wait until a person has looked at them. For an agent's: it is worth
    nothing before, since its board says to be one that is known already."""
    revoked: bool = False
    revoked_s: float = 0.0
    revision: int = 0


CONFIGURED_ADMIN = "configured-admin"
"""Id of the token that the operator chose in `PICLUSTER_ADMIN_TOKEN`. It belongs to nobody's account, so that whoever
runs the service can always get back in."""

SESSION = "session"
"""The kind of token that is a browser's session."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an account: what they may do at most, and a password to log in with."""

    name: str
    """As it is written; no two are the same but for upper and lower case."""
    role: Role
    password: str = ""
    """An argon2 hash; empty while there is none, and nobody can log in."""
    disabled: bool = False
    created_us: int = 0
    created_by: str = ""
    deleted: bool = False
    deleted_s: float = 0.0
    """A tombstone: other replicas learn that the account is gone."""
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """One transition, written in the same transaction as what it tells of, and never changed."""

    revision: int
    epoch: int
    at_us: int
    kind: str
    actor: str
    address: str = ""
    machine: str = ""
    lease: str = ""
    holder: str = ""
    detail: Mapping[str, Any] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of sending one message to a webhook."""

    at_us: int
    state: str
    """delivered, failed (it will be tried again) or given_up."""
    about: str
    """The first thing that it told of, in a few words."""
    count: int
    """So many things were in it."""
    outcome: str
    """With which status the receiver answered, or what was in the way: everybody may read it."""
    refused: bool = False
    """The receiver was there and would not take it: unlike one that is away, it is not tried for long."""
    said: str = ""
    """What it said besides, for admins alone: many repeat what they were asked, and an address is a secret."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A time of which a webhook is told nothing, in revisions."""

    since: int
    """What happened up to this one is told all the same."""
    until: int = 0
    """The last one that is not told; 0 while it lasts."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address outside that is told what happens, in order, until it has taken it or its patience is over."""

    name: str
    """As it is written; no two are the same but for upper and lower case."""
    kind: str
    """How it is told: generic, slack or teams."""
    url: str
    """May itself be a secret, as those of chat services are."""
    notices: tuple[str, ...] = ()
    """What it is told of; empty for everything that there is a notice for."""
    secret: str = ""
    """What its messages are signed with; empty for chat services, which would not look."""
    paused: bool = False
    created_us: int = 0
    created_by: str = ""
    cursor: int = 0
    """The revision up to which it has been told everything. The events behind it are what it has yet to be told."""
    pauses: tuple[Pause, ...] = ()
    """Those that the cursor has not passed yet: of the events behind it, what happened then is not told."""
    courier: str = ""
    """The process that tells it now; no other may, until `courier_until_s`."""
    courier_until_s: float = 0.0
    failures: int = 0
    """Attempts in a row that failed, at what is to be told next."""
    failing_since_us: int = 0
    """When attempts began to fail; 0 while it answers."""
    retry_s: float = 0.0
    """It is not tried before that."""
    delivered: int = 0
    given_up: int = 0
    """Events, since it was made."""
    attempts: tuple[Attempt, ...] = ()
    """The last ones, the newest first."""
    deleted: bool = False
    deleted_s: float = 0.0
    """A tombstone: other replicas learn that it is gone."""
    revision: int = 0


Row = Machine | Lease | Token | Person | Webhook
"""What takes a revision."""


@dataclass(frozen=True, slots=True)
class PoolState:
    """The single row that every turn locks."""

    revision: int = 0
    service_s: float = 0.0
    epoch: int = 1
    epoch_since: int = 0
    """The revision at which this epoch began: a board that knows a later fence proves that history went back."""
    rules_version: int = 0
    turned_us: int = 0
    """Wall clock of the last turn: a start that finds it old raises the epoch."""
    timeline: str = ""
    """Which history of the database this is (PostgreSQL's timeline): another one raises the epoch."""
    crowded: bool = False
    """Whether too many wait: told when it begins and when it is over, not at each who comes or goes."""
