"""A pool in one file: SQLite with a write-ahead log, one process, one writing connection.

Every commit is on the disk before it is acknowledged (`synchronous=FULL`). Readers have connections of their
own, which can neither write nor checkpoint: versions before 3.51.3 can damage a log that two connections do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, NullPool, QueuePool, create_engine, event, text
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DBAPIError

from picluster.errors import PiclusterError, Unavailable
from picluster.store import CommitUnknown, DiskFull, StoreProblem, tables
from picluster.store.clock import CAP_S, Clock, SystemClock
from picluster.store.files import (
    RESERVE_BYTES,
    OneProcess,
    Reserve,
    free_bytes,
    make_ready,
    refuse_app_service,
    refuse_network,
)
from picluster.store.migrations import migrate
from picluster.store.sql import READER_WAIT_S, READERS, SqlStore, found

BUSY_S = 2.0
"""Only a person with the `sqlite3` shell can be in the way, and should not be for long."""

CHECKPOINT_PAGES = 256
"""1 MiB of log between checkpoints, so that it fits into the reserve of a full disk several times."""

NO_SPACE_BYTES = 64 * 1024
"""SQLite says I/O error, or cannot open, where some of its files find no room: with less than this left, it
was the room."""

NO_SPACE_TOO = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})

DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
DAMAGED_EXIT = 78
"""EX_CONFIG of sysexits.h: a service manager must not restart what only a person can repair."""


class SqliteStore(SqlStore):
    """A pool in the file `path`, or in memory with ":memory:"."""

    def __init__(
        self,
        path: str | Path,
        clock: Clock | None = None,
        *,
        cap_s: float = CAP_S,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> None:
        super().__init__(clock or SystemClock(), cap_s, insert)
        self._path = None if str(path) == ":memory:" else Path(path).absolute()
        self._writer = _engine(self._open_writer, "BEGIN IMMEDIATE", NullPool)
        self._readers = _engine(
            self._open_reader,
            "BEGIN",
            QueuePool,
            pool_size=READERS,
            max_overflow=0,
            pool_timeout=READER_WAIT_S,
        )
        if self._path:
            self._process = OneProcess(self._beside(".lock"))
            self._reserve = Reserve(self._beside(".reserve"), reserve_bytes)

    def open(self) -> None:
        """Check the disk and the file, take the file for this process, and bring the schema up to date.

        Raises `StoreProblem`; with `exit_code` 78 when the file is damaged.
        """
        if self._path:
            refuse_app_service(self._path)
            refuse_network(self._path)
            make_ready(self._path)
            self._process.take()
        try:
            self._prepare_with_room()
        except BaseException:
            self.close()
            raise

    def _prepare_with_room(self) -> None:
        """A restart must be possible on a full disk, too: even to read, SQLite makes files."""
        try:
            self._prepare()
        except DiskFull:
            self._disconnect()
            self.free_reserve()
            self._prepare()

    def _prepare(self) -> None:
        try:
            connection = self._writing()
            with connection.begin():
                self._check(connection)
                migrate(connection)
                found(self._pool(connection, tables.READ_POOL))
        except DBAPIError as error:
            self._explain(error)

    def _check(self, connection: Connection) -> None:
        finding = connection.execute(text("PRAGMA quick_check(1)")).scalar_one()
        if finding != "ok":
            raise self._damaged(str(finding).splitlines()[-1])

    def close(self) -> None:
        """Close the file and let another process have it."""
        with self._alone:
            self._readers.dispose()
            super().close()
            if self._path:
                self._process.give_back()

    def announce(self, connection: Connection, revision: int) -> None:
        """Nothing: there is no other process to wake."""

    def free_reserve(self) -> None:
        """Give back the space that was kept for releases on a full disk."""
        if self._path:
            self._reserve.free()

    def keep_reserve(self) -> bool:
        """Set that space aside; False when there is not enough to do so and go on."""
        return self._reserve.keep() if self._path else True

    # Connections

    def _beside(self, suffix: str) -> Path:
        assert self._path is not None
        return self._path.with_name(self._path.name + suffix)

    def _alone_there(self, connection: Connection) -> None:
        """It is: the lock beside the file is ours since `open`."""

    def _connect(self) -> Connection:
        return self._writer.connect()

    def _open_writer(self) -> sqlite3.Connection:
        return _opened(
            str(self._path or ":memory:"),
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"wal_autocheckpoint={CHECKPOINT_PAGES}",
        )

    def _open_reader(self) -> sqlite3.Connection:
        place = f"file:{quote(str(self._path))}?mode=ro"
        return _opened(place, "query_only=ON", "wal_autocheckpoint=0", uri=True)

    def _reading(self) -> AbstractContextManager[Connection]:
        return self._readers.begin() if self._path else self._reading_memory()

    @contextmanager
    def _reading_memory(self) -> Iterator[Connection]:
        """A database in memory has a single connection: a read waits for the turn."""
        with self._alone:
            connection = self._writing()
            with connection.begin():
                yield connection

    # Errors

    def _commit(self, connection: Connection) -> None:
        try:
            connection.commit()
        except DBAPIError as error:
            if _code(error) == sqlite3.SQLITE_IOERR and not self._no_space():
                self._disconnect()
                raise CommitUnknown(f"the disk failed during a commit: {error.orig}") from error
            raise

    def _meaning(self, error: DBAPIError) -> PiclusterError | None:
        code = _code(error)
        if code in DAMAGED:
            return self._damaged(str(error.orig))
        if code == sqlite3.SQLITE_FULL or (code in NO_SPACE_TOO and self._no_space()):
            return DiskFull()
        if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
            return StoreProblem(
                f"the database {self._path} cannot be written: {error.orig}",
                hint="Give the service a folder that it may write to, with --data.",
            )
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR}:
            return Unavailable(f"the database does not answer: {error.orig}")
        return None

    def _spoilt(self, error: DBAPIError) -> bool:
        return _code(error) in {sqlite3.SQLITE_IOERR, *DAMAGED}

    def _no_space(self) -> bool:
        return self._path is not None and free_bytes(self._path.parent) < NO_SPACE_BYTES

    def _damaged(self, finding: str) -> StoreProblem:
        folder = self._path.parent if self._path else "FOLDER"
        return StoreProblem(
            f"the database {self._path} is damaged: {finding}",
            hint=(
                f"`picluster restore BACKUP --force --data {folder}` brings a backup back; without one, "
                f'`sqlite3 {self._path} ".recover" | sqlite3 recovered.db` saves what can be read.'
            ),
            exit_code=DAMAGED_EXIT,
        )


def _opened(path: str, *pragmas: str, uri: bool = False) -> sqlite3.Connection:
    """Without the driver's own transactions, which begin too late; for use by one thread at a time."""
    connection = sqlite3.connect(path, uri=uri, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _engine(connect: Any, begin: str, pool: Any, **options: Any) -> Engine:
    """An engine whose transactions start with these words."""
    engine = create_engine("sqlite://", creator=connect, poolclass=pool, **options)

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _code(error: DBAPIError) -> int:
    """SQLite's primary error code; 0 when it was not SQLite that complained."""
    return int(getattr(error.orig, "sqlite_errorcode", 0)) & 0xFF
