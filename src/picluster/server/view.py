"""What readers see: the rows of the last committed turn, never the copy that a turn is working on.

Lives in the event loop, is updated after each commit in proportion to what changed, and wakes those who
wait for exactly what changed. The rows in order of revision are at once the event stream, the ETag and
the answer to "what have I missed".
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence

from picluster.pool.model import SESSION, Heard, Lease, Machine, PoolState, Row
from picluster.pool.roster import Roster

Key = tuple[str, str]
"""("machine", name) or ("lease", id)."""


class View:
    """One committed revision of the pool, for reading, and the bell for those who wait for the next."""

    def __init__(self, cap_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.roster = Roster()
        self.state = PoolState()
        self.heard: dict[str, Heard] = {}
        self.version = 0
        """Counts publications, for caches that depend on anything at all."""
        self._cap_s = cap_s
        self._monotonic = monotonic
        self._adopted = monotonic()
        self._in_order: OrderedDict[Key, Machine | Lease] = OrderedDict()
        self._waiting: dict[Key, set[asyncio.Event]] = {}
        self._followers: set[asyncio.Event] = set()
        self.listeners: list[Callable[[Sequence[Row]], None]] = []
        """Called with the rows of each publication."""
        self.hearers: list[Callable[[Heard], None]] = []
        """Called with each beat that is news; thousands come in a second."""

    @property
    def revision(self) -> int:
        return self.state.revision

    def now(self) -> float:
        """Service time, as far as it may be known between turns."""
        return self.state.service_s + min(self._monotonic() - self._adopted, self._cap_s)

    def publish(
        self, rows: Sequence[Row], state: PoolState, heard: Iterable[Heard], *, reloaded: bool = False
    ) -> None:
        """Show what a commit changed, then wake who waited for it."""
        if reloaded:
            self._forget(rows)
        if state.epoch != self.roster.epoch:
            self.roster.begin_epoch(state.epoch)
        self.state, self._adopted = state, self._monotonic()
        self.version += 1
        for row in rows:
            self._show(row)
        for beat in heard:
            self.hear(beat)
        for listener in self.listeners:
            listener(rows)
        if rows:
            for follower in self._followers:
                follower.set()

    def hear(self, beat: Heard) -> None:
        """A beat that is not written yet is shown all the same."""
        old = self.heard.get(beat.name)
        if old is None or beat.heard_us >= old.heard_us:
            self.heard[beat.name] = beat
            for hearer in self.hearers:
                hearer(beat)

    def silent_s(self, machine: Machine) -> float:
        """Seconds of service time since the machine was last heard."""
        heard = self.heard.get(machine.name)
        return max(0.0, self.now() - (heard.heard_s if heard else machine.presence_since_s))

    def changes_after(self, revision: int) -> list[Machine | Lease]:
        """Rows newer than `revision`, oldest first; each once, as it is now."""
        found = []
        for row in reversed(self._in_order.values()):
            if row.revision <= revision:
                break
            found.append(row)
        found.reverse()
        return found

    def waiter(self, *keys: Key) -> _Bell:
        """For the time of a `with` block: an event that is set whenever one of these rows changes."""
        return _Bell([self._waiting.setdefault(key, set()) for key in keys], lambda: self._tidy(keys))

    def follower(self) -> _Bell:
        """For the time of a `with` block: an event that is set whenever any row changes."""
        return _Bell([self._followers], lambda: None)

    def waiting(self) -> Iterator[Lease]:
        """Waiting leases in the order of the queue."""
        entries = sorted(entry for group in self.roster.waiting_groups() for entry in group.waiting)
        return (self.roster.leases[lease_id] for _, lease_id in entries)

    def _forget(self, rows: Sequence[Row]) -> None:
        """Start from an empty copy; whoever waits is woken, since anything may be different now."""
        self.roster = Roster()
        self.roster.begin_epoch(self.state.epoch)
        self._in_order.clear()
        self.heard.clear()
        for bells in self._waiting.values():
            for bell in bells:
                bell.set()

    def _show(self, row: Row) -> None:
        self.roster.put(row)
        if not isinstance(row, Machine | Lease):
            return
        key = ("machine", row.name) if isinstance(row, Machine) else ("lease", row.id)
        self._in_order[key] = row
        self._in_order.move_to_end(key)
        for bell in self._waiting.get(key, ()):
            bell.set()
        if isinstance(row, Machine) and row.deleted:
            self.heard.pop(row.name, None)

    def _tidy(self, keys: Iterable[Key]) -> None:
        for key in keys:
            if not self._waiting.get(key, True):
                del self._waiting[key]

    def forget_old(self, kept_s: float) -> None:
        """Drop ended leases, tombstones, revoked tokens and sessions that are over for longer than they are remembered."""
        before, before_us = self.now() - kept_s, self.state.turned_us - kept_s * 1e6
        for token in list(self.roster.tokens.values()):
            ran_out = token.kind == SESSION and 0 < token.expires_us < before_us
            if ran_out or (token.revoked and token.revoked_s < before):
                self.roster.drop_token(token.id)
        for key, row in list(self._in_order.items()):
            if isinstance(row, Lease) and not row.live and row.ended_s < before:
                self.roster.drop_lease(row.id)
                del self._in_order[key]
            elif isinstance(row, Machine) and row.deleted and row.deleted_s < before:
                self.roster.drop_tombstone(row.name)
                del self._in_order[key]


class _Bell:
    """An event in some sets for as long as the block runs."""

    def __init__(self, sets: Sequence[set[asyncio.Event]], tidy: Callable[[], None]) -> None:
        self._sets = sets
        self._tidy = tidy
        self._event = asyncio.Event()

    def __enter__(self) -> asyncio.Event:
        for where in self._sets:
            where.add(self._event)
        return self._event

    def __exit__(self, *exc: object) -> None:
        for where in self._sets:
            where.discard(self._event)
        self._tidy()
