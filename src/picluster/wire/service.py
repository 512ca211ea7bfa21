"""The service itself: what went wrong, what happened, how it is set, how its pool was used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
