"""The pool at a glance: how many machines are how, the strip of cells, one sentence, and the last change.

Kept for all viewers: what differs between them is only which machines are theirs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from picluster.pool.explain import CLEANING, LOCKED, OFFLINE, SET_ASIDE, is_awaited, present, state_of
from picluster.pool.model import Lease, LeaseState, Machine, Row
from picluster.pool.roster import Roster, name_in
from picluster.server.pages.endings import Endings, fixed_end_s
from picluster.server.present import JOINING
from picluster.server.view import View
from picluster.server.words import person, shown

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
    ("attention", "Attention", "state:(offline|quarantined|pending|attention) -state:joining"),
    ("drained", "Drained", "state:drained"),
)
"""The filters above the table: key, word, and the search that each stands for."""


def condition(roster: Roster, machine: Machine) -> str:
    """As `state_of`, but whoever looks at a page wants to know first that nobody can reach it, held or not; and of one
    that has only just joined, that this is why."""
    if machine.lease and not present(roster, machine):
        return OFFLINE
    state = state_of(roster, machine)
    return JOINING if state == OFFLINE and is_awaited(machine) else state


class Overview:
    """Of every machine, how it is and who has it; kept true machine by machine, so that a change costs what it touches."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.held: dict[str, str] = {}
        """Who has it, by machine."""
        self.counts: Counter[str] = Counter()
        """Machines by state."""
        self.holders: Counter[str] = Counter()
        """How many machines each of them has."""
        self.by_holder: dict[str, set[str]] = {}
        self.held_offline = 0
        self.waiting = 0

    def state(self, name: str, viewer: str) -> str:
        """With `mine` for what the viewer has and can reach."""
        state = self.states[name]
        return "mine" if state == LOCKED and viewer and self.held.get(name) == viewer else state

    def chips(self, viewer: str) -> list[tuple[str, str, str, int]]:
        """(key, word, search, how many) for each filter; without Mine for who has no name."""
        taken = sum(self.counts[state] for state in (LOCKED, CLEANING, SET_ASIDE))
        count = {
            "all": len(self.states),
            "locked": taken + self.held_offline - self.holders[viewer],
            "mine": self.holders[viewer],
            "offline": self.counts[OFFLINE] + self.counts[JOINING],
            "attention": sum(self.counts[state] for state in ATTENTION),
        }
        found = [(key, word, search, count.get(key, self.counts[key])) for key, word, search in CHIPS]
        if viewer:
            return found
        return [
            (key, word, search.removesuffix(" -user:me"), many)
            for key, word, search, many in found
            if key != "mine"
        ]

    def look_at(self, roster: Roster, name: str) -> None:
        """One machine may be different, or gone."""
        self._count(name, -1)
        machine = roster.machines.get(name)
        self.states.pop(name, None)
        self.held.pop(name, None)
        if machine is None:
            return
        self.states[name] = condition(roster, machine)
        lease = roster.leases.get(machine.lease)
        if lease is not None:
            self.held[name] = lease.holder
        self._count(name, 1)

    def _count(self, name: str, by: int) -> None:
        state, holder = self.states.get(name), self.held.get(name)
        if state is None:
            return
        self.counts[state] += by
        if holder is not None:
            self.holders[holder] += by
            self.held_offline += by * (state == OFFLINE)
            mine = self.by_holder.setdefault(holder, set())
            (mine.add if by > 0 else mine.discard)(name)
            if not self.holders[holder]:
                del self.holders[holder], self.by_holder[holder]


def by_rack(roster: Roster, names: Sequence[str]) -> list[tuple[str, list[str]]]:
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

    def see(self, lease: Lease) -> None:
        """A lease is new or different."""
        names = ", ".join(shown(name, 40) for name in lease.machines[:3])
        if lease.state is LeaseState.ENDED and lease.machines and lease.ended_us:
            for name in lease.machines:
                if lease.ended_us >= self.freed_us.get(name, 0):
                    self.freed_us[name] = lease.ended_us
                    self.after[name] = lease.holder
            self._say(f"{person(lease.holder)} {_ending(lease)} {names}", lease.ended_us)
        elif lease.state is LeaseState.HELD:
            self._say(f"{person(lease.holder)} locked {names}", lease.granted_us)

    def forget(self, name: str) -> None:
        self.freed_us.pop(name, None)
        self.after.pop(name, None)

    def _say(self, sentence: str, at_us: int) -> None:
        if at_us > self.last[1]:
            self.last = (sentence, at_us)


def _ending(lease: Lease) -> str:
    return "gave back" if lease.ended in ("released", "cancelled") else "lost"


class Glance:
    """The overview of the present revision, and what was lately; one of each service."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._roster: Roster | None = None
        self._epoch = 0
        self._touched: set[str] = set()
        self._aside: dict[str, tuple[str, ...]] = {}
        """What is set aside for each waiting lease: the machines of which it says no more are touched, too."""
        self._let_go: dict[str, int] = {}
        self.queue_at = 0
        """The revision at which somebody last came into the queue, or left it: others may stand elsewhere now."""
        self._waits: dict[str, list[str]] = {}
        self._waits_at = (-1, -1)
        self._looks: dict[str, tuple[object, ...]] = {}
        self._overview = Overview()
        self.lately = Lately()
        self.endings = Endings()
        self.shown_at = 0
        """The revision of the last change that people see; a program that renews its lease changes nothing for them."""
        view.listeners.append(self._see)

    @property
    def now(self) -> Overview:
        """As of the revision that the view shows."""
        roster = self._view.roster
        if roster is not self._roster or roster.epoch != self._epoch:
            # Loaded anew; or every machine may look offline.
            self._roster, self._epoch, self._overview = roster, roster.epoch, Overview()
            self._touched = set(roster.machines)
        if self._touched:
            for name in self._touched:
                self._overview.look_at(roster, name)
            self._touched.clear()
        self._overview.waiting = sum(len(group.waiting) for group in roster.waiting_groups())
        return self._overview

    def waited_for(self, holder: str) -> Sequence[str]:
        """The machines that somebody waits for by name: their place is in the row. Found once for all who look."""
        roster = self._view.roster
        if self._waits_at != (roster.epoch, self.queue_at):
            self._waits_at, self._waits = (roster.epoch, self.queue_at), {}
            for group in roster.waiting_groups():
                machine = roster.machine_named(group.name) if group.name else None
                if machine is not None:
                    for _, lease_id in group.waiting:
                        holder_of_place = roster.leases[lease_id].holder
                        self._waits.setdefault(holder_of_place, []).append(machine.name)
        return self._waits.get(holder, ())

    def let_go_after(self, revision: int) -> list[str]:
        """Machines that were set aside or waited for by name and are no more, since then: no row of their own says so."""
        return [name for name, at in self._let_go.items() if at > revision]

    def _see(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if isinstance(row, Machine):
                self._touched.add(row.name)
                self.shown_at = row.revision
                if row.deleted:
                    self.lately.forget(row.name)
                    self._let_go.pop(row.name, None)
            elif isinstance(row, Lease):
                self._touched.update(row.machines, row.set_aside)
                self.lately.see(row)
                self.endings.see(row)
                self._set_aside(row)
                self._look_at(row)

    def _look_at(self, lease: Lease) -> None:
        """Whether people see that it is different."""
        look = (
            *(lease.state, lease.machines, lease.set_aside, lease.ttl_s, lease.ready, lease.confirmed),
            *(lease.verdict, lease.awaiting, fixed_end_s(lease)),
        )
        if self._looks.get(lease.id) != look:
            self.shown_at = self.queue_at = lease.revision
            self._looks[lease.id] = look
            self._wait_over(lease)
        if not lease.live and not lease.awaiting:
            self._looks.pop(lease.id, None)

    def _wait_over(self, lease: Lease) -> None:
        machine = self._view.roster.machine_named(name_in(lease.selector))
        if machine and not lease.live:
            self._let_go[machine.name] = lease.revision

    def _set_aside(self, lease: Lease) -> None:
        before = self._aside.pop(lease.id, ())
        if lease.set_aside:
            self._aside[lease.id] = lease.set_aside
        self._touched.update(before)
        self._let_go.update((name, lease.revision) for name in before if name not in lease.set_aside)
