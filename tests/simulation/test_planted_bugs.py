"""Bugs planted one at a time into the rules: the simulation has to notice each, or it proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from picluster.pool import queue, roster, verdict
from picluster.pool.commands import Report
from picluster.pool.ledger import Ledger
from picluster.pool.model import Lease, Machine, Presence, Service
from picluster.pool.roster import Roster
from picluster.store.clock import ServiceTime
from tests.simulation.test_simulation import simulate

SEEDS, STEPS = 8, 1_000
"""Far more than any planted bug needs to show."""

Patch = pytest.MonkeyPatch


def _free_without(*ignored: str) -> Callable[[Roster, Machine], bool]:
    """`Roster.is_free` that does not look at some of what it should."""

    def is_free(roster: Roster, machine: Machine) -> bool:
        checks = {
            "service": machine.service is Service.IN_SERVICE,
            "lease": not machine.lease,
            "cleaning": not machine.cleaning,
            "rest": not machine.delay_until_s,
            "presence": machine.presence is Presence.ONLINE,
            "epoch": machine.seen_epoch == roster.epoch,
            "deleted": not machine.deleted,
        }
        return all(holds for name, holds in checks.items() if name not in ignored)

    return is_free


def verdict_of_another(patch: Patch) -> None:
    """Whatever counters a board brings along are taken for this lease's."""

    def closing(lease: Lease, machine: Machine, report: Report) -> verdict.Finding | None:
        counters = report.telemetry.get("last_closed")
        return verdict.of(counters, machine) if isinstance(counters, dict) else None

    patch.setattr(verdict, "_closing", closing)


def verdict_never(patch: Patch) -> None:
    patch.setattr(verdict, "overdue", lambda ledger, lease: lease)


def two_holders(patch: Patch) -> None:
    patch.setattr(Roster, "is_free", _free_without("lease"))


def uncleaned(patch: Patch) -> None:
    patch.setattr(Roster, "is_free", _free_without("cleaning"))


def no_rest(patch: Patch) -> None:
    patch.setattr(Roster, "is_free", _free_without("rest"))


def offline_granted(patch: Patch) -> None:
    patch.setattr(Roster, "is_free", _free_without("presence"))


def drained_granted(patch: Patch) -> None:
    patch.setattr(Roster, "is_free", _free_without("service"))


def epoch_ignored(patch: Patch) -> None:
    patch.setattr(Roster, "is_free", _free_without("epoch"))


def expires_early(patch: Patch) -> None:
    right = Ledger.expires_s

    def wrong(ledger: Ledger, lease: Lease) -> float:
        end = right(ledger, lease)
        return lease.renewed_s + (end - lease.renewed_s) / 2 if end != float("inf") else end

    patch.setattr(Ledger, "expires_s", wrong)


def never_expires(patch: Patch) -> None:
    patch.setattr(Ledger, "expires_s", lambda ledger, lease: float("inf"))


def confirms_by_itself(patch: Patch) -> None:
    right = queue.hold

    def wrong(ledger: Ledger, lease: Lease, names: Any, *, confirmed: bool) -> Lease:
        return right(ledger, lease, names, confirmed=True)

    patch.setattr(queue, "hold", wrong)


def lost_wake_up(patch: Patch) -> None:
    patch.setattr(Ledger, "touch", lambda ledger, machine: None)


def aside_forgotten(patch: Patch) -> None:
    patch.setattr(Ledger, "unaside", lambda ledger, name: None)


def same_revision_twice(patch: Patch) -> None:
    patch.setattr(Ledger, "next_revision", lambda ledger: ledger.state.revision or ledger.wall_us)


def index_not_updated(patch: Patch) -> None:
    right = Roster._index_facts

    def wrong(roster: Roster, old: Machine | None, machine: Machine) -> None:
        if old is None:
            right(roster, old, machine)

    patch.setattr(Roster, "_index_facts", wrong)


def last_comes_first(patch: Patch) -> None:
    right = roster.order_of

    def wrong(lease: Lease) -> Any:
        key, place = right(lease)
        return (-key, -place)

    patch.setattr(roster, "order_of", wrong)
    patch.setattr(queue, "order_of", wrong)


def priority_ignored(patch: Patch) -> None:
    patch.setattr(roster, "order_of", lambda lease: (lease.joined_s, lease.place))


def pauses_count(patch: Patch) -> None:
    """Service time runs on while the service does not."""

    def wrong(time: ServiceTime, stored_s: float, mono_s: float) -> float:
        seen_service_s, seen_mono_s = time._seen or (stored_s, mono_s)
        return max(stored_s, seen_service_s + mono_s - seen_mono_s)

    patch.setattr(ServiceTime, "at", wrong)


def others_not_read(patch: Patch) -> None:
    """A replica decides without having seen what the other one wrote."""
    right = Ledger.adopt

    def wrong(ledger: Ledger, rows: Any, state: Any) -> None:
        right(ledger, [] if ledger.state.revision else rows, state)

    patch.setattr(Ledger, "adopt", wrong)


BUGS = [
    last_comes_first,
    priority_ignored,
    pauses_count,
    others_not_read,
    two_holders,
    uncleaned,
    no_rest,
    offline_granted,
    drained_granted,
    epoch_ignored,
    expires_early,
    never_expires,
    confirms_by_itself,
    lost_wake_up,
    aside_forgotten,
    same_revision_twice,
    index_not_updated,
    verdict_of_another,
    verdict_never,
]


def _caught(seeds: int) -> str:
    for seed in range(seeds):
        try:
            simulate(seed, STEPS)
        except Exception as noticed:  # a broken invariant, or the store's last word
            return f"{type(noticed).__name__}: {noticed}"
    return ""


@pytest.mark.parametrize("plant", BUGS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_caught(plant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    """With the bug, one of a few seeds breaks; the same seeds hold without it (`test_simulation`)."""
    plant(monkeypatch)
    assert _caught(SEEDS)
