"""Leases: asked for, renewed, and as they are."""

from __future__ import annotations

from dataclasses import dataclass

from picluster.pool.model import Mode, OnReboot
from picluster.wire.limits import (
    HIGHEST_PRIORITY,
    LONGEST_JOB,
    LONGEST_SELECTOR,
    LONGEST_TTL_S,
    MOST_MACHINES,
    NOTHING_ELSE,
    SHORTEST_TTL_S,
    Problems,
    ssh_keys,
    text,
    within,
)


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
        yield from text("selector", self.selector, LONGEST_SELECTOR)
        yield from text("job", self.job, LONGEST_JOB)
        yield from within("count", self.count, 1, MOST_MACHINES)
        yield from within("ttl_s", self.ttl_s, SHORTEST_TTL_S, LONGEST_TTL_S)
        yield from within("wait_s", self.wait_s, 0, LONGEST_TTL_S)
        yield from within("not_after_s", self.not_after_s, 1, LONGEST_TTL_S)
        yield from within("priority", self.priority, 0, HIGHEST_PRIORITY)
        yield from ssh_keys(self.ssh_public_keys)


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
            yield from within("ttl_s", self.ttl_s, SHORTEST_TTL_S, LONGEST_TTL_S)
        yield from within("expect_reboot_s", self.expect_reboot_s, 0, 3600)
        yield from ssh_keys(self.ssh_public_keys)


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
class Explanation:
    """What a selector would get now."""

    selector: str
    matching: int
    machines: dict[str, str]
    waiting: int
    summary: str
