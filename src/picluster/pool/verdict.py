"""Whether a board was honest while it was leased: clean, dirty with reasons, or unknown.

Made of the counters that the agent kept from the report that opened the fence to the one that closed it, never of how
the board happens to be now. A board that could not look, or was not there to say, is unknown: not clean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from picluster.pool.commands import Report
from picluster.pool.ledger import Ledger
from picluster.pool.model import SYSTEM, Lease, Machine, Mode

CLEAN, UNKNOWN, DIRTY = "clean", "unknown", "dirty"

_WORSE = ("", CLEAN, UNKNOWN, DIRTY)
"""Of several machines the last of these holds."""

_COUNTS = {
    "throttled": "throttled, seen {n} ×",
    "under_voltage": "under-voltage, {n} ×",
    "hot": "too hot, seen {n} ×",
    "disk": "disk full, read-only or failing, seen {n} ×",
    "clock_steps": "its clock was set, {n} ×",
    "beats_missed": "{n} beats missed",
}
"""What makes a lease dirty, as the agent counts it (docs/agent.md, *What happened during a lease*)."""

_EYES = ("hot", "disk")
"""What every board can see of itself; without it, its silence means nothing."""
_PI_EYES = (*_EYES, "throttled", "under_voltage")
"""A Raspberry Pi has sensors for these, too. Other boards are believed without."""

Finding = tuple[str, list[str]]
"""(clean, dirty or unknown; the reasons)."""


def of(counters: Mapping[str, Any], machine: Machine) -> Finding:
    """What the closing counters of one board come to."""
    counts = {name: _count(counters.get(name)) for name in (*_COUNTS, "agent_restarts")}
    reasons = [text.format(n=counts[name]) for name, text in _COUNTS.items() if counts[name]]
    if reasons:
        return DIRTY, reasons
    eyes = _PI_EYES if _is_raspberry_pi(machine) else _EYES
    blind = [name.replace("_", "-") for name in eyes if counts[name] is None]
    if blind:
        return UNKNOWN, [f"could not see: {', '.join(blind)}"]
    if counts["agent_restarts"]:
        return UNKNOWN, ["the agent was restarted, so that nobody looked for a while"]
    return CLEAN, []


def _is_raspberry_pi(machine: Machine) -> bool:
    return str(machine.facts.get("model_name") or "").startswith("Raspberry Pi")


def _count(value: object) -> int | None:
    """None for what was not seen, or is no number."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return max(value, 0)


# The life of a verdict


def at_end(lease: Lease, machines: Sequence[Machine], rebooted: str) -> Lease:
    """A lease that ends: what is known of it at once, and whose closing report is awaited."""
    awaiting = tuple(machine.name for machine in machines if machine.mode is not Mode.LEGACY)
    for machine in machines:
        if machine.name == rebooted:
            lease = _worse(lease, machine.name, (DIRTY, ["rebooted by itself"]))
        if machine.mode is Mode.LEGACY:
            lease = _worse(lease, machine.name, (UNKNOWN, ["runs no agent"]))
    return replace(lease, awaiting=awaiting)


def judge(ledger: Ledger, machine: Machine, report: Report) -> Machine:
    """A board whose closing reports are awaited says something: perhaps it is one of them."""
    if not machine.judging:
        return machine
    left = []
    for lease_id in machine.judging:
        lease = ledger.roster.leases.get(lease_id)
        if lease is None or machine.name not in lease.awaiting:
            continue
        finding = _closing(lease, machine, report)
        if finding is None:
            left.append(lease_id)
        else:
            _settle(ledger, lease, machine.name, finding)
    judging = tuple(left)
    return machine if judging == machine.judging else ledger.save(replace(machine, judging=judging))


def _closing(lease: Lease, machine: Machine, report: Report) -> Finding | None:
    """What the report says of this lease; None while it may still come."""
    counters = report.telemetry.get("last_closed")
    if isinstance(counters, Mapping) and counters.get("fence") == lease.fence:
        return of(counters, machine)
    past_it = report.fence > lease.fence or (report.fence == lease.fence and report.closed)
    if past_it or (report.knows and report.fence < lease.fence):
        return UNKNOWN, ["the board kept no count of it"]
    return None


def overdue(ledger: Ledger, lease: Lease) -> Lease:
    """What has not been said by now will not be."""
    for name in lease.awaiting:
        lease = _settle(ledger, lease, name, (UNKNOWN, ["its closing report did not come"]))
    return lease


def _settle(ledger: Ledger, lease: Lease, name: str, finding: Finding) -> Lease:
    awaiting = tuple(other for other in lease.awaiting if other != name)
    lease = ledger.save(_worse(replace(lease, awaiting=awaiting), name, finding))
    if not awaiting:
        detail = {"verdict": lease.verdict, "reasons": list(lease.verdict_reasons)}
        ledger.note("lease.judged", SYSTEM, lease=lease, detail=detail)
    return lease


def _worse(lease: Lease, name: str, finding: Finding) -> Lease:
    """The lease with this finding added; of several machines each reason says whose it is."""
    verdict, reasons = finding
    if lease.count > 1:
        reasons = [f"{name}: {reason}" for reason in reasons]
    return replace(
        lease,
        verdict=max(lease.verdict, verdict, key=_WORSE.index),
        verdict_reasons=(*lease.verdict_reasons, *reasons),
    )
