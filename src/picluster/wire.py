"""The JSON of `/api/v1`, as dataclasses that both ends share.

Requests know their limits: `problems()` names every bad field at once, in words for people. Answers are
made from the rows of the pool by the server.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from picluster.errors import Malformed
from picluster.pool.model import Mode, OnReboot, Service

LONGEST_TEXT = 255
"""Names, addresses, labels: what fits a line and an index."""
LONGEST_JOB = 8 * 1024
"""Old clients put whole command lines into the job; 8 KiB is what the old protocol is held to, too."""
LONGEST_SELECTOR = 16 * 1024
"""Names of a few hundred machines."""
LONGEST_REPORTED = 512
"""What a board says of itself; more is cut, not refused."""
MOST_MACHINES = 64
"""Machines in one lease: what a page can show and a turn can write without being noticed."""
MOST_KEYS = 4
"""SSH keys in one lease: the runner's and a person's, with one to change each."""
LONGEST_KEY = 4 * 1024
"""An RSA key of 16,384 bits with a comment."""
MOST_HOST_KEYS = 16
"""sshd has three or four."""
MOST_USES = 1_000
"""Boards that join with one token: a rack or two; a token for more is a password."""
JOIN_TOKEN_S = 86_400.0
"""How long a join token is good for unless said otherwise: it stands on SD cards and in terminals."""
PERSONAL_TOKEN_S = 90 * 86_400.0
"""How long a token lives that is made by logging in: a laptop that is used no more forgets its way in."""
LONGEST_NAME = 64
"""Characters of an account's name: a mail address, which fits a column of a page."""
SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 1024
"""Characters, and bytes. Short ones are guessed; nobody types more than a passphrase."""
RESERVED_NAMES = ("legacy:", "picluster", "agent:", "token:")
"""No principal of a person or a program begins like this."""
LONGEST_URL = 2_048
"""Those of Teams workflows have some 400 characters, most of them a signature."""
MOST_LABELS = 64
SHORTEST_TTL_S, LONGEST_TTL_S = 3.0, 30 * 86_400.0
LONGEST_WAIT_S = 25.0
"""How long one call may be held open: below what proxies cut (30 s and more)."""
HIGHEST_PRIORITY = 3
LARGEST_NUMBER = 2**63 - 1

NOTHING_ELSE = {"extra": "forbid"}
"""A request with a field that we do not know is refused by name: `ttl` for `ttl_s` must not mean the default."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""A machine's name: a host name and a little more."""
ADDRESS = re.compile(r"[A-Za-z0-9:\[][A-Za-z0-9.:%_\]-]*")
"""A host name, IPv4 or IPv6. What begins with a dash, or has blanks or quotes, would be an option or a command to whatever
program is given it: `ssh`, or the one that switches power."""
SSH_USER = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.@$-]*)?")
"""For the same reason: the holder's `ssh` is told it."""
LABEL_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")

Problems = Iterator[tuple[str, str]]
"""(field, what is wrong and what would be right)."""


def raise_problems(problems: Problems) -> None:
    """Raise `Malformed` that names every bad field, if there is one."""
    fields = dict(problems)
    if fields:
        raise Malformed(
            "; ".join(f"{name}: {what}" for name, what in fields.items()),
            f"Correct {'this field' if len(fields) == 1 else 'these fields'} and ask again.",
            fields=fields,
        )


def text_problem(text: str, longest: int = LONGEST_TEXT) -> str:
    """What no database, log or page could carry, or what is too long; empty when it is fine."""
    if "\x00" in text:
        return "has a NUL character"
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "has a lone surrogate, which is not text"
    return f"is {size} bytes long, {longest} are allowed" if size > longest else ""


def _text(name: str, text: str, longest: int = LONGEST_TEXT) -> Problems:
    problem = text_problem(text, longest)
    if problem:
        yield name, problem


def _address(address: str) -> Problems:
    if not ADDRESS.fullmatch(address):
        yield "address", "must be a host name or an IP address"


def _range(name: str, value: float | None, low: float, high: float) -> Problems:
    if value is not None and not low <= value <= high:
        yield name, f"must be from {low:g} to {high:g}"


def _keys(keys: tuple[str, ...] | None) -> Problems:
    if keys is None:
        return
    if len(keys) > MOST_KEYS:
        yield "ssh_public_keys", f"has {len(keys)} keys, {MOST_KEYS} are allowed"
    for number, key in enumerate(keys):
        if "\n" in key or "\r" in key or len(key.split()) < 2:
            yield f"ssh_public_keys[{number}]", "is not one line of the form TYPE KEY [COMMENT]"
        yield from _text(f"ssh_public_keys[{number}]", key, LONGEST_KEY)


def lease_id_problem(text: str) -> str:
    try:
        ok = str(uuid.UUID(text)) == text.lower()
    except ValueError:
        ok = False
    return "" if ok else "must be a UUID like 2f1c9d5e-0000-4000-8000-000000000000, chosen by you"


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """`PUT /leases/{uuid}`: which machines, for what, how long."""

    __pydantic_config__ = NOTHING_ELSE

    selector: str = ""
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

    def problems(self) -> Problems:
        yield from _text("selector", self.selector, LONGEST_SELECTOR)
        yield from _text("job", self.job, LONGEST_JOB)
        yield from _range("count", self.count, 1, MOST_MACHINES)
        yield from _range("ttl_s", self.ttl_s, SHORTEST_TTL_S, LONGEST_TTL_S)
        yield from _range("wait_s", self.wait_s, 0, LONGEST_TTL_S)
        yield from _range("not_after_s", self.not_after_s, 1, LONGEST_TTL_S)
        yield from _range("priority", self.priority, 0, HIGHEST_PRIORITY)
        yield from _keys(self.ssh_public_keys)


@dataclass(frozen=True, slots=True)
class RenewRequest:
    """`POST /leases/{uuid}/renew`: still there; and perhaps another ttl (null: until released), keys, a reboot to come."""

    __pydantic_config__ = NOTHING_ELSE

    ttl_s: float | None = 0.0
    """0, or left out, keeps what it is."""
    ssh_public_keys: tuple[str, ...] | None = None
    expect_reboot_s: float | None = None

    def problems(self) -> Problems:
        if self.ttl_s != 0.0:
            yield from _range("ttl_s", self.ttl_s, SHORTEST_TTL_S, LONGEST_TTL_S)
        yield from _range("expect_reboot_s", self.expect_reboot_s, 0, 3600)
        yield from _keys(self.ssh_public_keys)


@dataclass(frozen=True, slots=True)
class MachineAmendment:
    """`PATCH /machines/{name}`: labels (null removes one), comment, service with the reason."""

    __pydantic_config__ = NOTHING_ELSE

    labels: dict[str, str | None] = field(default_factory=dict)
    comment: str | None = None
    service: Service | None = None
    reason: str | None = None
    evict: bool = False

    def problems(self) -> Problems:
        if len(self.labels) > MOST_LABELS:
            yield "labels", f"has {len(self.labels)}, {MOST_LABELS} are allowed"
        for key, value in self.labels.items():
            if not LABEL_KEY.fullmatch(key):
                yield (
                    f"labels.{key[:40]!r}",
                    "a key is a letter and then letters, digits, `_`, `.` or `-`, 63 at most",
                )
            yield from _text(f"labels.{key[:40]}", value or "")
        yield from _text("comment", self.comment or "", LONGEST_REPORTED)
        yield from _text("reason", self.reason or "")
        if self.service in (Service.PENDING, Service.ATTENTION):
            yield "service", "people set in_service, drained or quarantined"
        if self.service in (Service.DRAINED, Service.QUARANTINED) and not self.reason:
            yield "reason", "say why it goes out of service"


@dataclass(frozen=True, slots=True)
class BeatRequest:
    """`POST /machines/{name}/beat`: what a board says of itself. Over-long texts are cut, not refused."""

    id: str
    address: str
    mode: Mode = Mode.ADVISORY
    boot_id: str = ""
    seq: int = 0
    """Grows with each beat of one boot, over a restart of the agent too, as milliseconds since the boot do; a beat that
    comes after a later one is dropped. 0: in any order."""
    facts: dict[str, str | int | float | bool | None] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    host_keys: tuple[str, ...] = ()
    ssh_user: str = ""
    ssh_port: int = 22
    telemetry: dict[str, Any] = field(default_factory=dict)
    fence: int = 0
    closed: bool = True
    clean: bool = True
    orders: str = ""
    """What the last answer said under this name: the call is held open only while there is nothing newer. Else a
    lease granted between two beats, or by the beat itself, would be news only when the wait is over."""

    def problems(self) -> Problems:
        if not self.id:
            yield "id", "must not be empty"
        yield from _address(self.address)
        if self.id.startswith("legacy:"):
            yield "id", "must not begin with `legacy:`"
        if self.mode is Mode.LEGACY:
            yield "mode", "must be enforced or advisory"
        for name in ("id", "address", "boot_id", "ssh_user", "orders"):
            yield from _text(name, getattr(self, name))
        if not SSH_USER.fullmatch(self.ssh_user):
            yield "ssh_user", "must be an account's name: letters, digits, `_`, `.`, `-`"
        for name in ("seq", "fence"):
            yield from _range(name, getattr(self, name), 0, LARGEST_NUMBER)
        yield from _range("ssh_port", self.ssh_port, 1, 65_535)
        if len(self.labels) > MOST_LABELS:
            yield "labels", f"has {len(self.labels)}, {MOST_LABELS} are allowed"
        for key in self.labels:
            if not LABEL_KEY.fullmatch(key):
                yield (
                    f"labels.{key[:40]!r}",
                    "a key is a letter and then letters, digits, `_`, `.` or `-`, 63 at most",
                )
        for key in self.facts:
            if not LABEL_KEY.fullmatch(key):
                yield (
                    f"facts.{key[:40]!r}",
                    "a key is a letter and then letters, digits, `_`, `.` or `-`, 63 at most",
                )
        for number, key in enumerate(self.host_keys):
            yield from _text(f"host_keys[{number}]", key, LONGEST_KEY)
        yield from _tree("telemetry", self.telemetry)


def _tree(name: str, value: Any, depth: int = 0) -> Problems:
    """Telemetry is free in form, but it has to be storable."""
    if depth > 4:
        yield name, "is nested deeper than 4"
    elif isinstance(value, str):
        yield from _text(name, value, LONGEST_REPORTED)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _text(f"{name}.key", str(key))
            yield from _tree(name, item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tree(name, item, depth + 1)
    elif isinstance(value, int) and not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
        yield name, "has a number beyond 64 bits"


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """`POST /join`: a board asks to be let in, and says who it is."""

    __pydantic_config__ = NOTHING_ELSE

    name: str
    """What it would like to be called; it gets this, or something like it."""
    id: str
    address: str
    boot_id: str = ""
    host_keys: tuple[str, ...] = ()

    def problems(self) -> Problems:
        for name in ("name", "id"):
            if not getattr(self, name):
                yield name, "must not be empty"
        yield from _address(self.address)
        for name in ("name", "id", "address", "boot_id"):
            yield from _text(name, getattr(self, name))
        if self.id.startswith("legacy:"):
            yield "id", "must not begin with `legacy:`"
        if len(self.host_keys) > MOST_HOST_KEYS:
            yield "host_keys", f"has {len(self.host_keys)} keys, {MOST_HOST_KEYS} are allowed"
        for number, key in enumerate(self.host_keys):
            yield from _text(f"host_keys[{number}]", key, LONGEST_KEY)


@dataclass(frozen=True, slots=True)
class PowerRequest:
    """`POST /machines/{name}/power`"""

    __pydantic_config__ = NOTHING_ELSE

    action: str

    ACTIONS = ("on", "off", "cycle")

    def problems(self) -> Problems:
        if self.action not in self.ACTIONS:
            yield "action", f"must be one of {', '.join(self.ACTIONS)}"


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """`POST /tokens`: a credential for somebody or something."""

    __pydantic_config__ = NOTHING_ELSE

    name: str
    kind: str = "person"
    role: str = "user"
    expires_in_s: float | None = None
    """Null: never; for a join token, a day."""
    uses: int = 1
    """For a join token: how many boards may join with it."""
    approve: bool = False
    """For a join token: whether its boards wait until a person has looked at them."""

    KINDS = ("person", "ci", "agent", "join")
    ROLES = ("viewer", "user", "operator", "admin")

    def problems(self) -> Problems:
        if self.kind not in self.KINDS:
            yield "kind", f"must be one of {', '.join(self.KINDS)}"
        if self.kind in ("person", "ci") and self.role not in self.ROLES:
            yield "role", f"must be one of {', '.join(self.ROLES)}"
        if not self.name or self.name.startswith(RESERVED_NAMES):
            yield "name", "must not be empty, nor begin with `legacy:`, `agent:`, `token:` or `picluster`"
        if self.kind == "agent" and not NAME.fullmatch(self.name):
            yield "name", "must be the machine's name: letters, digits, `.`, `_`, `-`, at most 63"
        yield from _text("name", self.name)
        yield from _range("uses", self.uses, 1, MOST_USES)
        if self.kind != "join" and (self.uses != 1 or self.approve):
            yield "kind", "only a join token has `uses` and `approve`"
        yield from _range("expires_in_s", self.expires_in_s, 60, 10 * 365 * 86_400)


def _person_name(name: str) -> Problems:
    """An account's name stands in pages, addresses and the history, and is typed: nothing in it may be invisible."""
    if not 1 <= len(name) <= LONGEST_NAME:
        yield "name", f"must have 1 to {LONGEST_NAME} characters"
    elif name.startswith(RESERVED_NAMES):
        yield "name", "must not begin with `legacy:`, `agent:`, `token:` or `picluster`"
    elif not name.isprintable() or name != name.strip() or "/" in name or not name.strip("."):
        yield "name", "must be letters, digits and signs but `/`, without blanks at its ends"
    else:
        yield from _text("name", name)


def _role(role: str | None) -> Problems:
    if role is not None and role not in TokenRequest.ROLES:
        yield "role", f"must be one of {', '.join(TokenRequest.ROLES)}"


def _password(password: str | None, name: str) -> Problems:
    if password is None:
        return
    if len(password) < SHORTEST_PASSWORD:
        yield "password", f"must have at least {SHORTEST_PASSWORD} characters"
    if password.casefold() == name.casefold():
        yield "password", "must not be the name"
    yield from _text("password", password, LONGEST_PASSWORD)


@dataclass(frozen=True, slots=True)
class LoginRequest:
    """`POST /login`: name and password for a token of one's own."""

    __pydantic_config__ = NOTHING_ELSE

    name: str
    password: str
    label: str = ""
    """Where the token will be kept, for the list of one's tokens."""

    def problems(self) -> Problems:
        yield from _text("name", self.name)
        yield from _text("password", self.password, LONGEST_PASSWORD)
        yield from _text("label", self.label)


@dataclass(frozen=True, slots=True)
class PersonRequest:
    """`POST /people`: an account for somebody."""

    __pydantic_config__ = NOTHING_ELSE

    name: str
    role: str = "user"
    password: str | None = None
    """Null: none yet; the person cannot log in before there is one."""

    def problems(self) -> Problems:
        yield from _person_name(self.name)
        yield from _role(self.role)
        yield from _password(self.password, self.name)


@dataclass(frozen=True, slots=True)
class PersonAmendment:
    """`PATCH /people/{name}`: what is left out stays as it is."""

    __pydantic_config__ = NOTHING_ELSE

    role: str | None = None
    password: str | None = None
    current_password: str | None = None
    """For those who are not admin, and change their own password."""
    disabled: bool | None = None

    def problems(self, name: str) -> Problems:
        yield from _role(self.role)
        yield from _password(self.password, name)
        yield from _text("current_password", self.current_password or "", LONGEST_PASSWORD)


def _notices(notices: tuple[str, ...]) -> Problems:
    if unknown := [notice for notice in notices if notice not in WebhookRequest.NOTICES]:
        yield (
            "notices",
            f"has {', '.join(map(repr, unknown[:4]))}; there is {', '.join(WebhookRequest.NOTICES)}",
        )
    if len(set(notices)) != len(notices):
        yield "notices", "names one twice"


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """`POST /webhooks`: an address that is told what happens."""

    __pydantic_config__ = NOTHING_ELSE

    name: str
    url: str
    kind: str = "generic"
    notices: tuple[str, ...] = ()
    """What it is told of; empty for everything."""

    KINDS = ("generic", "slack", "teams")
    NOTICES = (
        *("machine.lost", "machine.quarantined", "machine.back"),
        *("lease.expired", "lease.taken", "queue.long"),
    )

    def problems(self) -> Problems:
        if not NAME.fullmatch(self.name):
            yield (
                "name",
                "must be letters, digits, `.`, `_`, `-`, at most 63, and begin with a letter or digit",
            )
        if self.kind not in self.KINDS:
            yield "kind", f"must be one of {', '.join(self.KINDS)}"
        yield from _text("url", self.url, LONGEST_URL)
        yield from _notices(self.notices)


@dataclass(frozen=True, slots=True)
class WebhookAmendment:
    """`PATCH /webhooks/{name}`: what is left out stays as it is."""

    __pydantic_config__ = NOTHING_ELSE

    url: str | None = None
    notices: tuple[str, ...] | None = None
    paused: bool | None = None
    """What happens while it is paused it is never told; what waited before is, once it is resumed."""
    renew_secret: bool = False
    """Sign with another secret from now on, which is in the answer and nowhere else."""

    def problems(self) -> Problems:
        yield from _text("url", self.url or "", LONGEST_URL)
        yield from _notices(self.notices or ())


# Answers


@dataclass(frozen=True, slots=True)
class Problem:
    """What was wrong, and the way out; some kinds say more (`fields`, `holder`, …)."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """Every answer that is not a success."""

    error: Problem


@dataclass(frozen=True, slots=True)
class LeaseOnMachine:
    """Who has a machine, as everybody may read it."""

    id: str
    holder: str
    job: str
    fence: int
    since_us: int
    expires_in_s: float | None


@dataclass(frozen=True, slots=True)
class MachineAnswer:
    """A machine as it is now."""

    name: str
    address: str
    state: str
    """free, locked, cleaning, set_aside, offline, drained, quarantined, pending or attention."""
    mode: Mode
    service: Service
    reason: str
    id: str
    facts: dict[str, Any]
    labels: dict[str, str]
    comment: str
    presence: str
    seen_s: float
    """Seconds since it was last heard."""
    telemetry: dict[str, Any]
    host_keys: tuple[str, ...]
    ssh_user: str
    ssh_port: int
    fence: int
    registered_us: int
    revision: int
    lease: LeaseOnMachine | None = None
    ailing: tuple[str, ...] = ()
    """What its last report says is wrong with it: under_voltage, hot, throttled, disk_full, …"""


@dataclass(frozen=True, slots=True)
class LeasedMachine:
    """What a holder needs to reach a machine."""

    name: str
    address: str
    model: str
    mode: Mode
    ready: bool
    host_keys: tuple[str, ...]
    ssh_user: str
    ssh_port: int


@dataclass(frozen=True, slots=True)
class LeaseAnswer:
    """A lease as it is now."""

    id: str
    state: str
    """waiting, held or ended."""
    holder: str
    job: str
    selector: str
    count: int
    priority: int
    ttl_s: float | None
    on_reboot: OnReboot
    place: int
    ahead: int
    """How many waiting leases that want one of the same machines come before it."""
    why_waiting: str
    set_aside: tuple[str, ...]
    machines: tuple[LeasedMachine, ...]
    fence: int
    ready: bool
    expires_in_s: float | None
    """Seconds until it ends unless renewed; null for never."""
    joined_us: int
    granted_us: int
    ended_us: int
    ended: str
    ended_by: str
    verdict: str
    """Whether the boards were honest: clean, dirty or unknown; empty until the last of them has reported the end."""
    verdict_reasons: tuple[str, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class LeaseForAgent:
    """What a board has to know of the lease on it."""

    id: str
    holder: str
    job: str
    fence: int
    expires_in_s: float | None
    on_reboot: OnReboot
    ssh_public_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BeatAnswer:
    """What a beat tells the board."""

    machine: str
    interval_s: float
    fence: int
    """The newest fence of this machine; a lower one is stale."""
    lease: LeaseForAgent | None
    cleaning: int
    """The fence whose closing report is awaited; 0 for none."""
    service: Service
    orders: str
    """Stands for lease, keys, cleaning and service; the next beat sends it back."""


@dataclass(frozen=True, slots=True)
class EventAnswer:
    """Something that happened."""

    id: str
    at_us: int
    kind: str
    actor: str
    address: str
    machine: str
    lease: str
    holder: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """A credential; `token` is there once, in the answer to its making."""

    id: str
    kind: str
    name: str
    role: str
    issued_by: str
    issued_us: int
    expires_us: int
    revoked: bool
    uses_left: int = 0
    approve: bool = False
    token: str | None = None


@dataclass(frozen=True, slots=True)
class PersonAnswer:
    """An account, without its password."""

    name: str
    role: str
    disabled: bool
    has_password: bool
    """Whether its owner can log in."""
    created_us: int
    created_by: str
    revision: int


@dataclass(frozen=True, slots=True)
class JoinAnswer:
    """A board is let in: its name, and the token for its beats, which is in this answer and nowhere else."""

    machine: str
    token: str
    service: Service
    reason: str
    """Why it is not in service, if it is not."""


@dataclass(frozen=True, slots=True)
class SettingAnswer:
    """One thing that the service is set to."""

    variable: str
    """Of the environment, that changes it at the next start."""
    value: str | float | bool | None
    usual: str | float | bool | None
    """What it is where nobody says otherwise."""
    meaning: str
    secret: bool
    """Then the values only say whether there is one."""


@dataclass(frozen=True, slots=True)
class PowerRuleAnswer:
    """Who switches the power of which machines."""

    machines: str
    """A selector."""
    commands: dict[str, list[str]]
    """By action: `on`, `off`, `cycle`."""
    timeout_s: float


@dataclass(frozen=True, slots=True)
class SettingsAnswer:
    """What the service is set to."""

    settings: tuple[SettingAnswer, ...]
    power: tuple[PowerRuleAnswer, ...]
    """From the configuration file; the first that fits counts."""


@dataclass(frozen=True, slots=True)
class PowerAnswer:
    """What came of a power command."""

    machine: str
    action: str
    running: bool
    """It has not ended yet; asking again waits on for the same command."""
    ok: bool
    outcome: str
    """`exit 0`, `exit 3`, `took longer than 30 s`, …"""
    output: str
    """The end of what the command printed."""


@dataclass(frozen=True, slots=True)
class SampleAnswer:
    """How a board was; see the fields of the same names in a beat's telemetry. Of several beats: mean, lowest, highest."""

    at_us: int
    count: int
    temperature: float | None
    temperature_min: float | None
    temperature_max: float | None
    load: float | None
    load_min: float | None
    load_max: float | None
    mem_available: float | None
    mem_available_min: float | None
    mem_available_max: float | None
    disk_free: float | None
    disk_free_min: float | None
    disk_free_max: float | None
    throttled: bool
    under_voltage: bool
    rebooted: bool


@dataclass(frozen=True, slots=True)
class WhoAmI:
    """Who asks, and whom."""

    name: str
    role: str
    version: str
    service_s: float
    wall_us: int
    epoch: int
    revision: int
    legacy_door: bool


@dataclass(frozen=True, slots=True)
class AttemptAnswer:
    """What came of sending one message to a webhook."""

    at_us: int
    state: str
    """delivered, failed (it will be tried again) or given_up."""
    about: str
    """The first thing that it told of."""
    count: int
    """So many things were in it."""
    outcome: str
    """What the receiver answered, or what was in the way."""


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    """A webhook; `secret` is there once, in the answer that made it."""

    name: str
    kind: str
    host: str
    """Where it is. The rest of its address may be a secret, and is not shown again."""
    notices: tuple[str, ...]
    """What it is told of; empty for everything."""
    paused: bool
    created_us: int
    created_by: str
    delivered: int
    given_up: int
    """Events since it was made that arrived, and that did not."""
    failures: int
    """Attempts in a row that failed, at what is next."""
    failing_since_us: int
    """0 while its receiver answers."""
    retry_in_s: float | None
    """Null when nothing has to wait."""
    attempts: tuple[AttemptAnswer, ...]
    """The last ones, the newest first."""
    revision: int
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class WebhookTest:
    """`POST /webhooks/{name}/test`: what came of one message."""

    name: str
    arrived: bool
    outcome: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a selector would get now."""

    selector: str
    matching: int
    machines: dict[str, str]
    waiting: int
    summary: str


@dataclass(frozen=True, slots=True)
class DayReport:
    """One day in UTC; of the first and the last perhaps only a part."""

    day: str
    """As 2026-10-31."""
    there_s: float
    """Machines were there, all together."""
    used_s: float
    """Somebody had them."""
    granted: int
    """Leases that got their machines on this day."""
    wait_p50_s: float | None
    """Of those that were asked for on this day and have got their machines, half waited less; None if there are none."""
    wait_p95_s: float | None


@dataclass(frozen=True, slots=True)
class MachineReport:
    """One machine, over all days of the report; lists have a value for each day."""

    name: str
    deleted: bool
    there_s: tuple[float, ...]
    """It was in the pool."""
    used_s: tuple[float, ...]
    """Somebody had it."""
    offline_s: tuple[float, ...]
    """Nothing was heard of it."""
    leases: int
    """That it was granted to."""
    clean: int
    dirty: int
    unknown: int
    """Verdicts."""


@dataclass(frozen=True, slots=True)
class Report:
    """How the pool was used, from its events."""

    since_us: int
    until_us: int
    granted: int
    wait_p50_s: float | None
    wait_p95_s: float | None
    days: tuple[DayReport, ...]
    machines: tuple[MachineReport, ...]
