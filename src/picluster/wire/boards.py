"""What boards and the service tell each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from picluster.pool.model import Mode, OnReboot, Service
from picluster.wire.limits import (
    LARGEST_NUMBER,
    LONGEST_KEY,
    LONGEST_REPORTED,
    MOST_HOST_KEYS,
    NOTHING_ELSE,
    SSH_USER,
    Problems,
    address,
    called,
    labels,
    text,
    within,
)


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
        yield from address(self.address)
        for name in ("name", "id", "address", "boot_id"):
            yield from text(name, getattr(self, name))
        if self.id.startswith("legacy:"):
            yield "id", "must not begin with `legacy:`"
        if len(self.host_keys) > MOST_HOST_KEYS:
            yield "host_keys", f"has {len(self.host_keys)} keys, {MOST_HOST_KEYS} are allowed"
        for number, key in enumerate(self.host_keys):
            yield from text(f"host_keys[{number}]", key, LONGEST_KEY)


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
        yield from address(self.address)
        if self.id.startswith("legacy:"):
            yield "id", "must not begin with `legacy:`"
        if self.mode is Mode.LEGACY:
            yield "mode", "must be enforced or advisory"
        for name in ("id", "address", "boot_id", "ssh_user", "orders"):
            yield from text(name, getattr(self, name))
        if not SSH_USER.fullmatch(self.ssh_user):
            yield "ssh_user", "must be an account's name: letters, digits, `_`, `.`, `-`"
        for name in ("seq", "fence"):
            yield from within(name, getattr(self, name), 0, LARGEST_NUMBER)
        yield from within("ssh_port", self.ssh_port, 1, 65_535)
        yield from labels(self.labels)
        yield from called("facts", self.facts)
        for number, key in enumerate(self.host_keys):
            yield from text(f"host_keys[{number}]", key, LONGEST_KEY)
        yield from _tree("telemetry", self.telemetry)


def _tree(name: str, value: Any, depth: int = 0) -> Problems:
    """Telemetry is free in form, but it has to be storable."""
    if depth > 4:
        yield name, "is nested deeper than 4"
    elif isinstance(value, str):
        yield from text(name, value, LONGEST_REPORTED)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from text(f"{name}.key", str(key))
            yield from _tree(name, item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tree(name, item, depth + 1)
    elif isinstance(value, int) and not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
        yield name, "has a number beyond 64 bits"


@dataclass(frozen=True, slots=True)
class JoinAnswer:
    """A board is let in: its name, and the token for its beats, which is in this answer and nowhere else."""

    machine: str
    token: str
    service: Service
    reason: str
    """Why it is not in service, if it is not."""


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
