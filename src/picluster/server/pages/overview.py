"""The pool at a glance: how many machines are how, the strip of cells, one sentence, and the last change.

Made once for each revision, whoever looks: what differs between viewers is only which machines are theirs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from picluster.pool.explain import CLEANING, LOCKED, OFFLINE, SET_ASIDE, present, state_of
from picluster.pool.model import Lease, LeaseState, Machine, Row
from picluster.pool.roster import Roster
from picluster.server.pages.words import person, shown
from picluster.server.view import View

MOST_CELLS = 120
"""More machines than these are one proportional bar."""

NO_RACK = "pool"
RACK = "rack"
"""The label that says where a board stands: the strip groups by it."""

ATTENTION = (OFFLINE, "quarantined", "pending", "attention")
CHIPS = (
    ("all", "All", ""),
    ("free", "Free", "state:free"),
    ("locked", "Locked", "state:(locked|cleaning|set_aside) -user:me"),
    ("mine", "Mine", "user:me"),
    ("offline", "Offline", "state:offline"),
    ("attention", "Attention", "state:(offline|quarantined|pending|attention)"),
    ("drained", "Drained", "state:drained"),
)
"""The filters above the table: key, word, and the search that each stands for."""


def condition(roster: Roster, machine: Machine) -> str:
    """As `state_of`, but whoever looks at a page wants to know first that nobody can reach it, held or not."""
    return OFFLINE if machine.lease and not present(roster, machine) else state_of(roster, machine)


@dataclass(frozen=True, slots=True)
class Overview:
    """One revision."""

    states: dict[str, str]
    """Of every machine, by name, in the order of names."""
    held: dict[str, str]
    """Who has it, by machine."""
    holders: Counter[str]
    """How many machines each of them has."""
    counts: Counter[str]
    waiting: int

    def state(self, name: str, viewer: str) -> str:
        """With `mine` for what the viewer has and can reach."""
        state = self.states[name]
        return "mine" if state == LOCKED and viewer and self.held.get(name) == viewer else state

    def chips(self, viewer: str) -> list[tuple[str, str, str, int]]:
        """(key, word, search, how many) for each filter; without Mine for who has no name."""
        held_offline = sum(self.states[name] == OFFLINE for name in self.held)
        taken = sum(self.counts[state] for state in (LOCKED, CLEANING, SET_ASIDE))
        count = {
            "all": len(self.states),
            "locked": taken + held_offline - self.holders[viewer],
            "mine": self.holders[viewer],
            "attention": sum(self.counts[state] for state in ATTENTION),
        }
        chosen = [chip for chip in CHIPS if viewer or chip[0] != "mine"]
        return [
            (
                key,
                word,
                search if viewer else search.removesuffix(" -user:me"),
                count.get(key, self.counts[key]),
            )
            for key, word, search in chosen
        ]


def overview(roster: Roster, waiting: int) -> Overview:
    states = {name: condition(roster, roster.machines[name]) for name in sorted(roster.machines)}
    held = {
        name: lease.holder for name in states if (lease := roster.leases.get(roster.machines[name].lease))
    }
    return Overview(states, held, Counter(held.values()), Counter(states.values()), waiting)


def racks(roster: Roster, names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Machines by the label `rack`; those without one come last."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found[shown(roster.machines[name].all_labels.get(RACK) or "", 24)].append(name)
    return sorted(found.items(), key=lambda item: (not item[0], item[0]))


@dataclass(slots=True)
class Lately:
    """What the rows that come by say about the recent past: when each machine was freed, and the last change of all."""

    freed_us: dict[str, int] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)
    """Who had a machine last."""
    last: tuple[str, int] = ("", 0)
    """(sentence, when)"""

    def see(self, rows: Sequence[Row]) -> None:
        """Called with the rows of each commit, oldest first."""
        for row in rows:
            if isinstance(row, Lease):
                self._lease(row)

    def _lease(self, lease: Lease) -> None:
        names = ", ".join(shown(name, 40) for name in lease.machines[:3])
        if lease.state is LeaseState.ENDED and lease.machines and lease.ended_us:
            for name in lease.machines:
                if lease.ended_us >= self.freed_us.get(name, 0):
                    self.freed_us[name] = lease.ended_us
                    self.after[name] = lease.holder
            self._say(f"{person(lease.holder)} {_ending(lease)} {names}", lease.ended_us)
        elif lease.state is LeaseState.HELD:
            self._say(f"{person(lease.holder)} locked {names}", lease.granted_us)

    def _say(self, sentence: str, at_us: int) -> None:
        if at_us > self.last[1]:
            self.last = (sentence, at_us)


def _ending(lease: Lease) -> str:
    return "gave back" if lease.ended in ("released", "cancelled") else "lost"


class Glance:
    """The overview of the present revision, and what was lately; one of each service."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._made_for: tuple[int, int] | None = None
        self._made: Overview | None = None
        self.lately = Lately()
        view.listeners.append(self.lately.see)

    @property
    def now(self) -> Overview:
        key = (self._view.revision, self._view.roster.epoch)
        if self._made is None or key != self._made_for:
            self._made_for, self._made = key, overview(self._view.roster, self._count_waiting())
        return self._made

    def _count_waiting(self) -> int:
        return sum(len(group.waiting) for group in self._view.roster.waiting_groups())
