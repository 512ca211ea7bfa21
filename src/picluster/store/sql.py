"""The turn, on any database: lock, tell the time, read, write, commit or roll back.

A database adds to this how it connects, how it commits, and what its errors mean.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from sqlalchemy import Connection, Delete, Select, Table, delete, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from picluster.errors import PiclusterError, Unavailable
from picluster.pool.model import SESSION, Event, Heard, Lease, LeaseState, Machine, PoolState, Row, Sample
from picluster.store import (
    KEPT_S,
    HistoryQuery,
    Outbox,
    Snapshot,
    StoreProblem,
    backup,
    backup_file,
    samples,
    tables,
)
from picluster.store.clock import Clock, ServiceTime
from picluster.store.tables import EVENTS, HEARD, POOL, REVISED, RULES_VERSION, Kind, chunks, upsert

T = TypeVar("T")

CHUNK = 500
"""Names asked for in one statement: below every database's limit, and enough that a second one is rare."""

READERS = 4
"""Connections for pages of history and snapshots at the same time."""

PIECE = 1_000
"""Events fetched at once, however many are read: a few hundred kilobytes."""

READER_WAIT_S = 5.0
"""How long a read waits for one of them."""

TIDY_BATCH = 1_000
"""Rows removed in one transaction: a few milliseconds, which turns have to wait for."""

TIDY_BATCHES = 20
"""Batches of each table in one call. What is left over waits for the next call."""


class LockedTurn:
    """The lock on the pool, and the state it found. See `picluster.store.Turn`."""

    def __init__(
        self,
        connection: Connection,
        store: SqlStore,
        state: PoolState,
        now: float,
        mono_s: float,
        wall_us: int,
        fresh: bool,
    ) -> None:
        self.state = state
        self.now = now
        self.wall_us = wall_us
        self.fresh = fresh
        self.timeline = store.timeline
        self.mono_s = mono_s
        self.written: PoolState | None = None
        """What `write` stored, if it was called: only then is there something to commit."""
        self._connection = connection
        self._store = store

    def rows_after(self, revision: int) -> Sequence[Row]:
        """All rows with a greater revision, by revision; with 0, all. Where nobody else has written since, as always
        with a single service, the pool's own row says so, and no table is asked."""
        return [] if revision == self.state.revision else rows_after(self._connection, revision)

    def heard(self, names: Iterable[str] | None = None) -> Sequence[Heard]:
        """The presence rows of these machines, or all, in no particular order."""
        if names is None:
            return HEARD.select(self._connection, HEARD.all)
        return [
            heard
            for some in chunks(names, CHUNK)
            for heard in HEARD.select(self._connection, tables.READ_HEARD_OF, names=some)
        ]

    def write(
        self,
        state: PoolState,
        changed: Sequence[Row],
        happened: Sequence[Event],
        heard: Sequence[Heard],
        sampled: Sequence[Sample] = (),
    ) -> None:
        """Store it all; durable when the block has ended without an exception.

        Raises SQLAlchemy's `IntegrityError` when two live leases would hold one machine: a bug in the rules,
        for which the whole turn fails.
        """
        for kind in REVISED:
            self._put(kind, [thing for thing in changed if type(thing) is kind.of])
        self._hold([thing for thing in changed if type(thing) is Lease])
        self._put(HEARD, heard)
        if sampled:
            self._store.keep_samples(self._connection, sampled)
        self._forget([thing.name for thing in changed if type(thing) is Machine and thing.deleted])
        if happened:
            self._connection.execute(tables.TELL, [EVENTS.row(event) for event in happened])
        written = replace(state, rules_version=RULES_VERSION)
        self._connection.execute(tables.WRITE_POOL, POOL.row(written))
        if changed:
            self._store.announce(self._connection, state.revision)
        self.written = written

    def _put(self, kind: Kind[Any], things: Sequence[Any]) -> None:
        if things:
            self._store.put(self._connection, kind, [kind.row(thing) for thing in things])

    def _hold(self, leases: Sequence[Lease]) -> None:
        """Make the held rows of these leases what the leases say. Most often, as for a renewal, they are."""
        if not leases:
            return
        wanted = {
            (machine, lease.id)
            for lease in leases
            if lease.state is LeaseState.HELD
            for machine in lease.machines
        }
        stored = {
            (machine, lease)
            for ids in chunks((lease.id for lease in leases), CHUNK)
            for machine, lease in self._connection.execute(tables.READ_HOLDS, {"ids": ids})
        }
        let_go = [{"freed": machine} for machine, _ in sorted(stored - wanted)]
        hold = [{"machine": machine, "lease": lease} for machine, lease in sorted(wanted - stored)]
        if let_go:
            self._connection.execute(tables.LET_GO, let_go)
        if hold:
            self._connection.execute(tables.HOLD, hold)

    def _forget(self, names: Sequence[str]) -> None:
        if names:
            self._connection.execute(tables.FORGET_HEARD, [{"gone": name} for name in names])


def rows_after(connection: Connection, revision: int) -> list[Row]:
    """All rows with a greater revision, by revision."""
    rows: list[Row] = []
    for kind in REVISED:
        rows += kind.select(connection, tables.READ_NEWER[kind], after=revision)
    rows.sort(key=lambda row: row.revision)
    return rows


def found(state: PoolState | None) -> PoolState:
    """The pool's row. Raises `StoreProblem` when it is missing, or belongs to a newer service."""
    if state is None:
        raise StoreProblem("the row of the table 'pool' is missing", hint="Restore a backup.")
    if state.rules_version > RULES_VERSION:
        raise StoreProblem(
            f"a newer version serves this pool (rules {state.rules_version}, this one knows {RULES_VERSION})",
            hint="Upgrade this one.",
        )
    return state


class SqlStore(ABC):
    """What the stores share. One thread opens turns; reads come from any."""

    timeline = ""
    """Which history of the database the present connection shows."""

    def __init__(self, clock: Clock, cap_s: float, dialect_insert: Callable[[Table], Any]) -> None:
        self._clock = clock
        self._time = ServiceTime(cap_s)
        self._connection: Connection | None = None
        self._upserts = {kind: upsert(kind, dialect_insert) for kind in (*REVISED, HEARD)}
        self._sample = samples.keeping(dialect_insert)
        self._thin = samples.thinning(dialect_insert)
        self._alone = threading.RLock()
        """One turn at a time on the one writing connection."""

    # What a database adds

    @abstractmethod
    def open(self) -> None:
        """Check, migrate, and get ready."""

    @abstractmethod
    def free_reserve(self) -> None:
        """Give back the space that was kept for releases on a full disk."""

    @abstractmethod
    def keep_reserve(self) -> bool:
        """Try to set that space aside again; whether there was enough."""

    @abstractmethod
    def _alone_there(self, connection: Connection) -> None:
        """Raises `StoreProblem` when another process serves this pool."""

    @abstractmethod
    def _connect(self) -> Connection:
        """A new writing connection, checked."""

    @abstractmethod
    def _reading(self) -> AbstractContextManager[Connection]:
        """A connection in a read-only transaction that sees one moment."""

    @abstractmethod
    def _meaning(self, error: DBAPIError) -> PiclusterError | None:
        """What an error of the driver means to the caller; None if it is a bug."""

    @abstractmethod
    def _spoilt(self, error: DBAPIError) -> bool:
        """Whether the connection cannot be used after this error."""

    def _explain(self, error: DBAPIError) -> NoReturn:
        meaning = self._meaning(error)
        if meaning is None:
            raise error
        raise meaning from error

    def _commit(self, connection: Connection) -> None:
        """Make it durable. May raise `CommitUnknown`."""
        connection.commit()

    def put(self, connection: Connection, kind: Kind[Any], rows: list[dict[str, Any]]) -> None:
        """Insert or replace rows."""
        connection.execute(self._upserts[kind], rows)

    def keep_samples(self, connection: Connection, sampled: Sequence[Sample]) -> None:
        """One that is there already, from a beat that two replicas heard, stays."""
        connection.execute(self._sample, [samples.row(sample) for sample in sampled])

    @abstractmethod
    def announce(self, connection: Connection, revision: int) -> None:
        """Wake whoever else serves this pool, once this is committed."""

    # Turns

    @contextmanager
    def turn(self) -> Iterator[LockedTurn]:
        """The lock, until the block ends: commit if `write` was called, undo if not or on an exception."""
        with self._alone:
            if self._connection is not None and self._connection.in_transaction():
                raise RuntimeError("a turn within a turn would undo it")
            try:
                turn = self._begin()
                yield turn
                self._end(turn)
            except DBAPIError as error:
                self._give_up(spoilt=self._spoilt(error))
                self._explain(error)
            except BaseException:
                self._give_up(spoilt=False)
                raise

    def _begin(self) -> LockedTurn:
        connection = self._writing()
        connection.begin()
        state = found(self._pool(connection, tables.LOCK_POOL))
        mono_s = self._clock.monotonic()
        return LockedTurn(
            connection,
            self,
            state,
            now=self._time.at(state.service_s, mono_s),
            mono_s=mono_s,
            wall_us=self._clock.wall_us(),
            fresh=self._time.fresh,
        )

    def _end(self, turn: LockedTurn) -> None:
        connection = self._writing()
        if turn.written is None:
            connection.rollback()
            return
        self._commit(connection)
        self._time.succeeded(turn.written.service_s, turn.mono_s)

    def _give_up(self, spoilt: bool) -> None:
        """Leave nothing of this turn, neither in the database nor on the connection."""
        if self._connection is None:
            return
        try:
            self._connection.rollback()
        except DBAPIError:
            spoilt = True
        if spoilt or self._connection.invalidated:
            self._disconnect()

    def _writing(self) -> Connection:
        if self._connection is None:
            self._time.forget()
            self._connection = self._connect()
        return self._connection

    def _disconnect(self) -> None:
        """The next turn connects anew, and begins with an empty copy."""
        connection, self._connection = self._connection, None
        self._time.forget()
        if connection is not None:
            with suppress(DBAPIError):
                connection.close()

    @staticmethod
    def _pool(connection: Connection, statement: Select[Any]) -> PoolState | None:
        return next(iter(POOL.select(connection, statement)), None)

    # Reads, without the lock

    def catch_up(self, revision: int) -> Snapshot:
        """What is newer than `revision`, and the state it belongs to, in one moment."""

        def read(connection: Connection) -> Snapshot:
            state = found(self._pool(connection, tables.READ_POOL))
            return Snapshot(state, rows_after(connection, revision))

        return self._read(read)

    def heard_since(self, service_s: float) -> Sequence[Heard]:
        """Presence rows stamped at or after this service time."""
        return self._read(lambda one: HEARD.select(one, tables.READ_HEARD_SINCE, since=service_s))

    def history(self, query: HistoryQuery) -> Sequence[Event]:
        """Events, newest first. A page may exceed `limit` so that it never ends within a revision."""
        return self._read(lambda one: _history(one, query))

    def events_between(
        self, since_us: int, until_us: int, kinds: Collection[str], most: int
    ) -> Iterator[Event]:
        """Events of these kinds, oldest first, at most so many, read in pieces from one moment."""
        columns = tables.events.c
        wanted = EVENTS.all.where(
            columns.at_us >= since_us, columns.at_us < until_us, columns.kind.in_(kinds)
        )
        ordered = wanted.order_by(columns.at_us, columns.id).limit(most)
        try:
            with (
                self._reading() as connection,
                connection.execution_options(yield_per=PIECE).execute(ordered) as found,
            ):
                for row in found:
                    yield EVENTS.load(row)
        except DBAPIError as error:
            self._explain(error)
        except PoolTimeout as error:
            raise Unavailable("too many reads at once") from error

    def outbox(self, cursor: int, kinds: Collection[str], limit: int) -> Outbox:
        """Events of these kinds behind the cursor, oldest first, and up to where they are told of."""
        return self._read(lambda one: _outbox(one, cursor, kinds, limit))

    def samples(self, machine: str, since_us: int, until_us: int, limit: int) -> Sequence[Sample]:
        """How a board was, oldest first, thinned where that is long ago; at most `limit`."""
        return self._read(lambda one: samples.found(one, machine, since_us, until_us, limit))

    def lately(self, since_us: int) -> Sequence[Sample]:
        """How all boards were since then, oldest first."""
        return self._read(lambda one: samples.lately(one, since_us))

    def _read(self, read: Callable[[Connection], T]) -> T:
        try:
            with self._reading() as connection:
                return read(connection)
        except DBAPIError as error:
            self._explain(error)
        except PoolTimeout as error:
            raise Unavailable("too many reads at once") from error

    # Backups

    def backup(self) -> Iterator[bytes]:
        """All rows of one moment, as a file in pieces, while turns go on."""
        try:
            with self._reading() as connection:
                yield from backup.taken(connection, self._clock.wall_us())
        except DBAPIError as error:
            self._explain(error)
        except PoolTimeout as error:
            raise Unavailable("too many reads at once") from error

    def restore(self, file: Path, *, replace: bool = False) -> None:
        """Replace everything by a backup, in one transaction."""
        backup_file.check(file, RULES_VERSION)
        with self._alone:
            try:
                connection = self._writing()
                with connection.begin():
                    self._alone_there(connection)
                    self._pool(connection, tables.LOCK_POOL)
                    if not replace and not backup.empty(connection):
                        raise StoreProblem(
                            "this pool has machines or leases, which a restore would replace",
                            hint="Say --force if that is meant.",
                        )
                    backup.write(connection, file)
            except DBAPIError as error:
                self._give_up(spoilt=self._spoilt(error))
                self._explain(error)
            finally:
                self._time.forget()

    # Housekeeping

    def tidy(self, now: float, wall_us: int) -> None:
        """Remove what has been over for longer than `KEPT_S`, in batches with a transaction each."""
        with self._alone:
            try:
                for statement in _outdated(now, wall_us):
                    self._remove(statement)
            except DBAPIError as error:
                self._give_up(spoilt=self._spoilt(error))
                self._explain(error)

    def _remove(self, statement: Delete) -> None:
        connection = self._writing()
        for _ in range(TIDY_BATCHES):
            with connection.begin():
                removed = connection.execute(statement).rowcount
            if removed < TIDY_BATCH:
                return

    def thin(self, wall_us: int) -> bool:
        """Thin some of the samples that are a day old; whether there may be more."""
        with self._alone:
            try:
                connection = self._writing()
                with connection.begin():
                    return samples.thin(connection, self._thin, wall_us)
            except DBAPIError as error:
                self._give_up(spoilt=self._spoilt(error))
                self._explain(error)

    def close(self) -> None:
        """Give the connection back. May be called twice."""
        with self._alone:
            self._disconnect()


def _history(connection: Connection, query: HistoryQuery) -> list[Event]:
    columns = tables.events.c
    wanted = EVENTS.all.order_by(columns.revision.desc(), columns.id.desc())
    for name in ("machine", "holder", "lease", "kind"):
        if value := getattr(query, name):
            wanted = wanted.where(columns[name] == value)
    if query.kinds:
        wanted = wanted.where(columns.kind.in_(query.kinds))
    if query.since_us:
        wanted = wanted.where(columns.at_us >= query.since_us)
    if query.until_us:
        wanted = wanted.where(columns.at_us < query.until_us)
    page = wanted.where(columns.revision < query.before) if query.before else wanted
    events = EVENTS.select(connection, page.limit(query.limit))
    if len(events) < query.limit or not events:
        return events
    last = events[-1].revision
    whole = [event for event in events if event.revision != last]
    return whole + EVENTS.select(connection, wanted.where(columns.revision == last))


def _outbox(connection: Connection, cursor: int, kinds: Collection[str], limit: int) -> Outbox:
    """Turns commit one after the other, so whatever this moment does not show has a higher revision than it shows."""
    columns = tables.events.c
    wanted = EVENTS.all.where(columns.kind.in_(kinds)).order_by(columns.revision, columns.id)
    revision = connection.execute(select(tables.pool.c.revision)).scalar_one()
    events = EVENTS.select(connection, wanted.where(columns.revision > cursor).limit(limit))
    if len(events) < limit:
        return Outbox(events, max(cursor, revision))
    last = events[-1].revision
    whole = [event for event in events if event.revision != last]
    return Outbox(whole + EVENTS.select(connection, wanted.where(columns.revision == last)), last)


def _outdated(now: float, wall_us: int) -> Iterator[Delete]:
    """What removes a batch of each kind of old row."""
    ended, machines, events = tables.leases.c, tables.machines.c, tables.events.c
    tokens, people, webhooks = tables.tokens.c, tables.people.c, tables.webhooks.c
    old_us = wall_us - int(KEPT_S["thinned"] * 1e6)
    tombstones, over_us = now - KEPT_S["tombstone"], wall_us - int(KEPT_S["tombstone"] * 1e6)
    event_us = wall_us - int(KEPT_S["event"] * 1e6)
    over = (ended.state == LeaseState.ENDED.value) & (ended.ended_s < now - KEPT_S["lease"])
    for key, old in (
        (ended.id, over),
        (machines.name, machines.deleted & (machines.deleted_s < tombstones)),
        (tokens.id, tokens.revoked & (tokens.revoked_s < tombstones)),
        (tokens.id, (tokens.kind == SESSION) & (tokens.expires_us < over_us)),
        (people.name, people.deleted & (people.deleted_s < tombstones)),
        (webhooks.name, webhooks.deleted & (webhooks.deleted_s < tombstones)),
        (events.id, events.at_us < event_us),
    ):
        yield delete(key.table).where(key.in_(select(key).where(old).limit(TIDY_BATCH)))
    yield delete(tables.thinned).where(tables.thinned.c.at_us < old_us)
