"""Machines, as people see and change them: as they are, how they were, and their power."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from picluster.pool.model import Mode, Service
from picluster.wire.limits import LONGEST_REPORTED, NOTHING_ELSE, Problems, labels, text


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
        yield from labels(self.labels)
        for key, value in self.labels.items():
            yield from text(f"labels.{key[:40]}", value or "")
        yield from text("comment", self.comment or "", LONGEST_REPORTED)
        yield from text("reason", self.reason or "")
        if self.service in (Service.PENDING, Service.ATTENTION):
            yield "service", "people set in_service, drained or quarantined"
        if self.service in (Service.DRAINED, Service.QUARANTINED) and not self.reason:
            yield "reason", "say why it goes out of service"


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
