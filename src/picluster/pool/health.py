"""Which boards are well: what a report says is wrong, who is taken out of service for it, and who comes back.

A finding is a word. Some count at once, since they do not pass, or pass too quickly to be seen twice; the others have to
last. A board that a rule took out comes back by itself when it has been well for a while, but not again and again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from picluster.pool import leases
from picluster.pool.ledger import Ledger
from picluster.pool.model import SYSTEM, Machine, Mode, Presence, Service
from picluster.pool.policy import Policy

WORDS = {
    "under_voltage": "under-voltage",
    "read_only_root": "its root file system takes no writes",
    "cannot_enforce": "it is set up to enforce leases and cannot",
    "hot": "too hot",
    "throttled": "its processor is throttled",
    "disk_full": "its disk is full",
    "clock_wrong": "its clock is wrong",
}
"""Every finding, and what people read."""

AT_ONCE = ("under_voltage", "read_only_root", "cannot_enforce")

IGNORE_LABEL = "health.ignore"
"""An operator's label, as in `health.ignore=throttled,hot`: this board is meant to be like that."""

SWITCHED_S = 300.0
"""After its power was switched by a person a board may be silent and boot."""

COOLED_C = 5.0
"""A hot board counts as hot until it is so much below, or it would come and go with every draught."""

_LARGEST = 1e18
"""No measure is larger, and what is smaller can be reckoned with."""

_FIRMWARE_UNDER_VOLTAGE, _FIRMWARE_THROTTLED = 0b0001, 0b0110
"""Bits of `vcgencmd get_throttled` that say how it is now: voltage; frequency capped, or throttled.
https://www.raspberrypi.com/documentation/computers/os.html#get_throttled"""


def findings(
    known: Machine | None,
    telemetry: Mapping[str, Any],
    facts: Mapping[str, Any],
    wall_us: int,
    policy: Policy,
) -> tuple[str, ...]:
    """What is wrong with a board that reports this now, in the order of `WORDS`. A board may say anything: what is no
    number is nothing. Called for each beat, ten thousand times a second in a large lab."""
    said, found = telemetry.get, []
    if under_voltage(telemetry) or _alarmed(said("since_open")):
        found.append("under_voltage")
    if said("read_only_root") is True:
        found.append("read_only_root")
    if facts.get("cannot_enforce"):
        found.append("cannot_enforce")
    if _too_hot(known, said("temperature"), policy):
        found.append("hot")
    if throttled(telemetry):
        found.append("throttled")
    free, total = number(said("disk_free")), number(said("disk_total"))
    if free is not None and total and free < policy.disk_full * total:
        found.append("disk_full")
    clock_us = number(said("clock_us"))
    if clock_us is not None and abs(clock_us - wall_us) > policy.clock_off_s * 1e6:
        found.append("clock_wrong")
    return _not_meant(known, found) if found else ()


def under_voltage(telemetry: Mapping[str, Any]) -> bool:
    """Just now."""
    return telemetry.get("under_voltage") is True or bool(_firmware(telemetry) & _FIRMWARE_UNDER_VOLTAGE)


def throttled(telemetry: Mapping[str, Any]) -> bool:
    """Just now."""
    return telemetry.get("frequency_capped") is True or bool(_firmware(telemetry) & _FIRMWARE_THROTTLED)


def _firmware(telemetry: Mapping[str, Any]) -> int:
    bits = telemetry.get("firmware")
    return bits if type(bits) is int else 0


def _too_hot(known: Machine | None, temperature: object, policy: Policy) -> bool:
    degrees = number(temperature)
    if degrees is None or degrees < policy.hot_c - COOLED_C:
        return False
    return degrees >= policy.hot_c or (known is not None and "hot" in known.ailing)


def _alarmed(since_open: object) -> bool:
    """At any time in the lease that is open: the alarm itself is over in seconds."""
    return isinstance(since_open, dict) and bool(number(since_open.get("under_voltage")))


def _not_meant(known: Machine | None, words: list[str]) -> tuple[str, ...]:
    meant = known.labels.get(IGNORE_LABEL, "").replace(" ", "").split(",") if known else ()
    return tuple(word for word in words if word not in meant)


def number(value: object) -> float | None:
    """What a board measured, if it is a number that can be reckoned with."""
    if type(value) is float or type(value) is int:  # a bool is no measure
        return value if -_LARGEST < value < _LARGEST else None
    return None


# What follows from it


def examine(ledger: Ledger, machine: Machine, found: tuple[str, ...]) -> Machine:
    """A report has been looked at: keep what was found, and act on what counts at once."""
    if found != machine.ailing:
        turned = bool(found) != bool(machine.ailing)
        since_s = ledger.now if turned else machine.ailing_since_s
        machine = ledger.save(replace(machine, ailing=found, ailing_since_s=since_s))
    if machine.service is Service.IN_SERVICE and any(word in AT_ONCE for word in found):
        return _take_out(ledger, machine, _reason(machine))
    return machine


def stumbled(ledger: Ledger, machine: Machine) -> Machine:
    """It fell silent or rebooted while nobody had it. Once is nothing; a board that does it all the time is broken."""
    policy = ledger.policy
    switched = machine.powered_s and ledger.now < machine.powered_s + SWITCHED_S
    if machine.lease or switched or machine.mode is Mode.LEGACY or machine.service is not Service.IN_SERVICE:
        return machine
    fresh = machine.stumbles == 0 or ledger.now - machine.stumbles_since_s > policy.stumbles_window_s
    since_s = ledger.now if fresh else machine.stumbles_since_s
    stumbles = 1 if fresh else machine.stumbles + 1
    machine = ledger.save(replace(machine, stumbles=stumbles, stumbles_since_s=since_s))
    if stumbles < policy.stumbles:
        return machine
    return _take_out(
        ledger,
        replace(machine, stumbles=0),
        f"fell silent or rebooted {stumbles} times in {policy.stumbles_window_s / 60:.0f} min",
    )


def overdue(ledger: Ledger, machine: Machine) -> Machine:
    """It has been ailing, or well, for long enough."""
    if machine.presence is not Presence.ONLINE or ledger.now < ledger.healthy_s(machine):
        return machine
    if machine.ailing:
        ours = machine.ailing == ("clock_wrong",) and _our_clock(ledger)
        return machine if ours else _take_out(ledger, machine, _reason(machine))
    machine = ledger.save(replace(machine, service=Service.IN_SERVICE, reason="", by_rule=False))
    ledger.note("machine.recovered", SYSTEM, machine=machine.name)
    return machine


def _our_clock(ledger: Ledger) -> bool:
    """Where most boards disagree with the service about the time, it is the service that is wrong."""
    roster = ledger.roster
    return len(roster.machines) > 2 and 2 * roster.ailing["clock_wrong"] > len(roster.machines)


def _reason(machine: Machine) -> str:
    said = [WORDS[word] for word in machine.ailing]
    if "cannot_enforce" in machine.ailing:
        said.append(str(machine.facts.get("cannot_enforce")))
    return ", ".join(said)


def _take_out(ledger: Ledger, machine: Machine, reason: str) -> Machine:
    policy = ledger.policy
    fresh = machine.setbacks == 0 or ledger.now - machine.setbacks_since_s > policy.setbacks_window_s
    setbacks = 1 if fresh else machine.setbacks + 1
    for_good = setbacks >= policy.setbacks
    if for_good:
        reason += (
            f"; {setbacks} times in {policy.setbacks_window_s / 3600:.0f} h, so that it waits for a person"
        )
    since_s = ledger.now if fresh else machine.setbacks_since_s
    machine = replace(machine, setbacks=setbacks, setbacks_since_s=since_s)
    if not machine.ailing:
        machine = replace(machine, ailing_since_s=ledger.now)  # well from now on, if it is
    machine = leases.quarantine(ledger, machine, reason, by_rule=not for_good)
    if policy.evict_ailing and machine.lease:
        leases.end(ledger, ledger.roster.leases[machine.lease], "evicted", SYSTEM, reason=reason)
    return ledger.roster.machines[machine.name]
