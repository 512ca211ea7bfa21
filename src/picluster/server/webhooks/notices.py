"""What is worth telling outside: a few words, each for the events that it stands for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from picluster.pool.model import Event


def _always(event: Event) -> bool:
    return True


def _ended_because(*why: str) -> Callable[[Event], bool]:
    """Whether a lease that had machines ended for one of these reasons; who only waited has lost nothing."""
    return lambda event: bool(event.machine) and event.detail.get("why") in why


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that a webhook can be told of."""

    about: str
    """As people choose it."""
    kinds: tuple[str, ...]
    counts: Callable[[Event], bool] = _always


NOTICES = {
    "machine.lost": Notice("A machine went silent", ("machine.offline",)),
    "machine.quarantined": Notice("A machine was quarantined", ("machine.quarantined",)),
    "machine.back": Notice(
        "A machine is back, or in service again",
        ("machine.online", "machine.recovered", "machine.in_service"),
    ),
    "lease.expired": Notice(
        "A lease ended because nobody renewed it, at its limit, or with its machine",
        ("lease.ended",),
        _ended_because("expired", "not_after", "machine_lost"),
    ),
    "lease.taken": Notice(
        "A lease was taken from its holder", ("lease.ended",), _ended_because("taken_back", "evicted")
    ),
    "queue.long": Notice("Too many wait, or no more", ("queue.long", "queue.short")),
}
"""By the word for it, in the API and in what is sent."""

KINDS = tuple(sorted({kind for notice in NOTICES.values() for kind in notice.kinds}))
"""The events that may be worth it: all that is read of the record."""


def notice_of(event: Event) -> str:
    """The word for it; empty for what nobody is told of."""
    return next((name for name, one in NOTICES.items() if event.kind in one.kinds and one.counts(event)), "")


def told_to(event: Event, chosen: tuple[str, ...]) -> bool:
    """Whether a webhook that chose these, or none in particular, is told of it."""
    name = notice_of(event)
    return bool(name) and (not chosen or name in chosen)
