"""What happened to one machine, read out of its events: who had it, with which verdict, and where it was reachable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from picluster.pool.model import Event, Lease, Machine, Service
from picluster.store import HistoryQuery, Store
from picluster.wire import text_problem

MOST_RUNS = 500
"""In one chart: more bands than pixels for them tell nothing."""

MOST_REBOOTS = 200
MOST_MOVES = 20
"""A board with a lease from DHCP moves once in a while; one that moves all the time is told so far back."""


@dataclass(frozen=True, slots=True)
class Run:
    """One lease on one machine."""

    lease: str
    holder: str
    job: str
    since_us: int
    until_us: int = 0
    """0 while it lasts."""
    why: str = ""
    reason: str = ""
    by: str = ""
    """Who ended it."""
    verdict: str = ""
    reasons: tuple[str, ...] = ()
    revision: int = 0
    """Of the grant: the next page begins before it."""

    @property
    def seconds(self) -> float:
        return (self.until_us - self.since_us) / 1e6


def runs(store: Store, machine: str, *, before: int = 0, limit: int = 20) -> list[Run]:
    """Newest first, with what became of each; of those granted before a revision."""
    held = store.history(HistoryQuery(machine=machine, kind="lease.held", before=before, limit=limit))
    ended = store.history(HistoryQuery(machine=machine, kind="lease.ended", before=before, limit=limit + 1))
    ends = {event.lease: event for event in ended}
    return [_judged(store, machine, _run(event, ends.get(event.lease))) for event in held]


def runs_since(store: Store, machine: str, since_us: int) -> list[Run]:
    """All that lasted into this time, newest first, without verdicts."""
    ended = store.history(
        HistoryQuery(machine=machine, kind="lease.ended", since_us=since_us, limit=MOST_RUNS)
    )
    ends = {event.lease: event for event in ended}
    held = store.history(HistoryQuery(machine=machine, kind="lease.held", since_us=since_us, limit=MOST_RUNS))
    found = [_run(event, ends.get(event.lease)) for event in held]
    known = {run.lease for run in found}
    older = [_run(replace(end, at_us=since_us), end) for end in ended if end.lease not in known]
    return found + older


def _run(held: Event, ended: Event | None) -> Run:
    begun = Run(
        held.lease, held.holder, str(held.detail.get("job") or ""), held.at_us, revision=held.revision
    )
    if ended is None:
        return begun
    said = ended.detail
    why, reason = str(said.get("why") or ""), str(said.get("reason") or "")
    return replace(begun, until_us=ended.at_us, why=why, reason=reason, by=ended.actor)


def _judged(store: Store, machine: str, run: Run) -> Run:
    found = store.history(HistoryQuery(machine=machine, lease=run.lease, kind="lease.judged", limit=1))
    if not found:
        return run
    reasons = found[0].detail.get("reasons")
    told = tuple(map(str, reasons)) if isinstance(reasons, list | tuple) else ()
    return replace(run, verdict=str(found[0].detail.get("verdict") or ""), reasons=told)


def known_better(run: Run, lease: Lease | None) -> Run:
    """With what the pool itself remembers of the lease for a day: a board without an agent is judged without an event."""
    if lease is None or run.verdict or lease.awaiting:
        return run
    return replace(run, verdict=lease.verdict, reasons=lease.verdict_reasons)


def reboots(store: Store, machine: str, since_us: int) -> list[int]:
    """When, oldest first."""
    query = HistoryQuery(machine=machine, kind="machine.rebooted", since_us=since_us, limit=MOST_REBOOTS)
    return sorted(event.at_us for event in store.history(query))


# Addresses


@dataclass(frozen=True, slots=True)
class Stay:
    """One address, and from when to when it was the machine's; 0 where that is not known, or lasts."""

    address: str
    since_us: int
    until_us: int


def addresses(store: Store, machine: Machine) -> list[Stay]:
    """Where it was reachable, the present address first."""
    moves = store.history(HistoryQuery(machine=machine.name, kind="machine.moved", limit=MOST_MOVES))
    return stays(machine.address, machine.registered_us, moves)


def stays(address: str, registered_us: int, moves: Sequence[Event]) -> list[Stay]:
    """Out of its moves, newest first."""
    found, until_us = [], 0
    for move in moves:
        found.append(Stay(address, move.at_us, until_us))
        address, until_us = str(move.detail.get("was") or ""), move.at_us
    found.append(Stay(address, registered_us if len(moves) < MOST_MOVES else 0, until_us))
    return _once(stay for stay in found if stay.address)


def _once(found: Iterable[Stay]) -> list[Stay]:
    """Each address once, with its latest stay: one that goes to and fro is no news."""
    by_address: dict[str, Stay] = {}
    for stay in found:
        by_address.setdefault(stay.address, stay)
    return list(by_address.values())


def taken_out(store: Store, machine: Machine) -> Event | None:
    """Who took it out of service as it is now, and when; None of one that is in service, or when nobody remembers."""
    if machine.service is Service.IN_SERVICE:
        return None
    kind = f"machine.{machine.service.value}"
    found = store.history(HistoryQuery(machine=machine.name, kind=kind, limit=1))
    return found[0] if found else None


def forgotten(store: Store, name: str) -> Event | None:
    """Its deletion, if that is the last thing that happened to it. A name in an address may be no text for a database."""
    if text_problem(name):
        return None
    found = store.history(HistoryQuery(machine=name, limit=5))
    return next((event for event in found if event.kind == "machine.forgotten"), None)
