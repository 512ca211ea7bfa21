"""What the record says of a campaign: was a machine ever granted twice, was an acknowledged lock forgotten?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tests.service import ServiceProcess

PAGE = 1_000
FOR_EVER = float("inf")

Events = Sequence[dict[str, Any]]
"""As `GET /api/v1/history` answers them, oldest first."""


@dataclass(frozen=True)
class Acknowledged:
    """A lock that the service answered with yes."""

    address: str
    user: str
    job: str


def whole_record(pool: ServiceProcess) -> list[dict[str, Any]]:
    """Every event of the pool, oldest first."""
    newest_first: list[dict[str, Any]] = []
    after = 0
    while True:
        page = pool.get(f"/api/v1/history?limit={PAGE}&after={after}").json()
        newest_first += page
        if len(page) < PAGE:
            return newest_first[::-1]
        after = revision(page[-1])


def revision(event: dict[str, Any]) -> int:
    return int(event["id"].partition(".")[2])


def granted_twice(events: Events) -> list[str]:
    """Sorted by fence, each grant of a machine has to be over before the next one begins."""
    over = {
        (event["machine"], event["lease"]): revision(event)
        for event in events
        if event["kind"] == "lease.ended" and event["machine"]
    }
    grants: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for event in events:
        if event["kind"] == "lease.held":
            grants[event["machine"]].append((event["detail"]["fence"], event["lease"]))
    problems = []
    for machine, granted in grants.items():
        granted.sort()
        for (fence, lease), (later, other) in pairwise(granted):
            if over.get((machine, lease), FOR_EVER) >= later or later <= fence:
                problems.append(f"{machine}: {other} was granted with {later} while {lease} had {fence}")
    return problems


def forgotten(acknowledged: Iterable[Acknowledged], events: Events) -> list[Acknowledged]:
    """Acknowledged locks of which the record has no grant."""
    granted = Counter(
        (event["machine"], event["holder"], event["detail"]["job"])
        for event in events
        if event["kind"] == "lease.held"
    )
    return [one for one in acknowledged if not granted[one.address, f"legacy:{one.user}", one.job]]
