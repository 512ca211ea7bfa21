"""Where the pool lives: one schema and one set of statements, on SQLite or PostgreSQL.

The seam is narrow. A `Store` opens turns; a `Turn` is the lock, with the state it found; everything that
is specific to a database stays in that database's file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from picluster.errors import PiclusterError, Unavailable
from picluster.pool.model import Event, Heard, PoolState, Row, Sample


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Rows newer than an asked revision (0: all there are), and the state they belong to."""

    state: PoolState
    rows: Sequence[Row]


class Turn(Protocol):
    """The lock on the pool, from `Store.turn()` to the end of its block: commit or, on an exception, undo."""

    state: PoolState
    """As found: stored revision, stored service time, epoch."""
    now: float
    """Service time of this turn: never before the stored one, never more than this process measured."""
    wall_us: int
    fresh: bool
    """First turn on a new connection: the caller must forget its copy and load all rows."""
    timeline: str
    """Which history this connection shows, to compare with `state.timeline`; empty where there is but one."""

    def rows_after(self, revision: int) -> Sequence[Row]:
        """All rows with a greater revision, by revision; with 0, all."""

    def heard(self, names: Iterable[str] | None = None) -> Sequence[Heard]:
        """The presence rows of these machines, or all."""

    def write(
        self,
        state: PoolState,
        changed: Sequence[Row],
        happened: Sequence[Event],
        heard: Sequence[Heard],
        sampled: Sequence[Sample] = (),
    ) -> None:
        """Store it all; durable when the block has ended without an exception."""


class Store(Protocol):
    """A database that holds one pool. Used by one thread, but for what is said to be thread-safe."""

    def open(self) -> None:
        """Check, migrate, and get ready. Raises `StoreProblem`, whose `exit_code` a service ends with, or
        `Unavailable` when the database does not answer yet."""

    def turn(self) -> AbstractContextManager[Turn]:
        """Take the lock. Raises `Unavailable` (safe to retry) or `DiskFull`; after either nothing was
        written, except that `CommitUnknown` says that nobody can know."""

    def catch_up(self, revision: int) -> Snapshot:
        """A plain snapshot read, without the lock, of what is newer than `revision`."""

    def heard_since(self, service_s: float) -> Sequence[Heard]:
        """Presence rows stamped at or after this service time: what other replicas have heard."""

    def history(self, query: HistoryQuery) -> Sequence[Event]:
        """Events, newest first. Thread-safe."""

    def events_between(
        self, since_us: int, until_us: int, kinds: Collection[str], most: int
    ) -> Iterator[Event]:
        """Events of these kinds, oldest first, at most so many, read in pieces from one moment. Thread-safe."""

    def outbox(self, cursor: int, kinds: Collection[str], limit: int) -> Outbox:
        """Events of these kinds behind the cursor, oldest first; about `limit`, but never a part of a revision.
        Thread-safe."""

    def samples(self, machine: str, since_us: int, until_us: int, limit: int) -> Sequence[Sample]:
        """How a board was, oldest first, thinned where that is long ago; at most `limit`. Thread-safe."""

    def lately(self, since_us: int) -> Sequence[Sample]:
        """How all boards were since then, oldest first. Thread-safe."""

    def backup(self) -> Iterator[bytes]:
        """All rows of one moment, as a file in pieces, while turns go on. Thread-safe."""

    def restore(self, file: Path, *, replace: bool = False) -> None:
        """Replace everything by a backup, all or nothing. Raises `StoreProblem` for a file that is none, and,
        unless `replace`, for a pool that is not empty; also while another process serves it."""

    def tidy(self, now: float, wall_us: int) -> None:
        """Remove what has been over for longer than it is kept."""

    def thin(self, wall_us: int) -> bool:
        """Thin some of the samples that are a day old, in one small transaction; whether there may be more."""

    def free_reserve(self) -> None:
        """Give back the space that was kept for releases on a full disk."""

    def keep_reserve(self) -> bool:
        """Try to set that space aside again; whether there was enough."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """Which events: exact matches, wall-clock bounds in µs, and a page that ends before revision `before`."""

    machine: str = ""
    holder: str = ""
    lease: str = ""
    kind: str = ""
    since_us: int = 0
    until_us: int = 0
    before: int = 0
    limit: int = 100
    kinds: tuple[str, ...] = ()
    """Any of these; empty for all."""


@dataclass(frozen=True, slots=True)
class Outbox:
    """What there is to tell: the event log itself, from a cursor on."""

    events: Sequence[Event]
    cursor: int
    """The revision up to which nothing else was there to tell."""


class StoreProblem(PiclusterError):
    """The database cannot be used as it is."""

    code = "store_problem"

    def __init__(self, message: str, hint: str = "", exit_code: int = 1, **details: Any) -> None:
        super().__init__(message, hint, **details)
        self.exit_code = exit_code


class DiskFull(Unavailable):
    """The disk of the service is full: leases can be renewed and released, not granted."""

    code = "disk_full"


class CommitUnknown(Unavailable):
    """The database did not say whether the last change is stored; ask again with the same id."""

    code = "commit_unknown"


RESTORED_US = 1
"""In `PoolState.turned_us`: this pool has just been restored from a backup, so history has gone back."""

KEPT_S: Mapping[str, float] = {
    "lease": 86_400.0,
    "tombstone": 86_400.0,
    "event": 365 * 86_400.0,
    "sample": 86_400.0,
    "thinned": 30 * 86_400.0,
}
"""How long ended leases and tombstones (service time), events and samples (wall clock) are kept. A client may ask for
an ended lease, and a replica or page may resume, for a day; history is for a year; samples are kept in full for
a day and thinned for a month."""

SPAN_S = 600.0
"""What thinned samples are thinned to: a month of them is 4,320 rows a board."""
