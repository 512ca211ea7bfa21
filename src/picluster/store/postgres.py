"""A pool shared by any number of equal replicas: PostgreSQL does the locking.

A turn locks the one row of `pool`. What a turn changed is told to the other replicas with NOTIFY, in the
same transaction. LISTEN does not pass a pooler in transaction mode: connect to the server itself, or through
a pooler in session mode. Without the notices replicas still see everything, with their next turn.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, NullPool, QueuePool, Table, TextClause, create_engine, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError

from picluster.errors import PiclusterError, Unavailable
from picluster.store import CommitUnknown, DiskFull, StoreProblem, tables
from picluster.store.clock import CAP_S, Clock, SystemClock
from picluster.store.migrations import migrate
from picluster.store.sql import READER_WAIT_S, READERS, SqlStore, found
from picluster.store.tables import HEARD, Kind

log = logging.getLogger(__name__)

IDLE_MS = 5_000
"""How long a replica that was paused inside a turn may keep the lock from the others."""

LOCK_WAIT_MS = 8_000
"""More than a paused replica may take, so that the others outlast it."""

MIGRATION_WAIT_MS = 60_000
"""Replicas that start together wait for the one that migrates, which may run on a slow computer."""

MIGRATION_LOCK = 0x7069_636C_7573
"""The key of the advisory lock: "piclus"."""

CHANNEL = "picluster"

APPLICATION = "picluster"
"""How our connections are called in `pg_stat_activity`, with a word for each process behind it."""

CONNECTION: Mapping[str, str] = {
    "connect_timeout": "5",
    "tcp_user_timeout": str(IDLE_MS),
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "target_session_attrs": "read-write",
}
"""A dead server or network is noticed within seconds, and a standby is no place for a pool. What the URL says
wins."""

BACK_OFF_S = (0.1, 10.0)
"""First and longest wait of the listener before it connects again."""

AFTERWARDS_FINE = frozenset({"55P03", "40001", "40P01", "57014", "53100"})
"""After these the connection can go on: lock timeout, serialization, deadlock, cancelled, disk full."""

NOT_NOW = frozenset({"08", "25", "40", "53", "55", "57", "58"})
"""Classes of errors that are the server's, not ours: connection, transaction state (a standby, an idle
timeout), roll-back, resources, locks, operator, system."""

SETTINGS = text(
    "SELECT set_config('lock_timeout', :lock, false),"
    " set_config('idle_in_transaction_session_timeout', :idle, false),"
    " set_config('default_transaction_isolation', 'read committed', false),"
    " current_setting('fsync'), current_setting('synchronous_commit')"
)
WAL_FILE = "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)"
SYSTEM = "SELECT system_identifier FROM pg_control_system()"
GOING_TRIES = 10
"""At a tenth of a second: far longer than PostgreSQL takes to end a connection."""

GO_ON = text("SELECT pg_sleep(0.1), pg_stat_clear_snapshot()")
"""Within a transaction, who is connected is looked up once unless one asks anew."""

OTHERS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name LIKE :all AND application_name <> :ours"
)
NOTIFY = text("SELECT pg_notify(:channel, :notice)")
MIGRATING = text(
    "SELECT set_config('lock_timeout', :wait, true),"
    " set_config('idle_in_transaction_session_timeout', :wait, true), pg_advisory_xact_lock(:key)"
)


class PostgresStore(SqlStore):
    """A pool in the database at `url`, in any form that libpq takes: `postgresql://user@host/database?…`.

    `on_notice`, if given, is called in a thread of its own with the revision that another replica committed.
    """

    def __init__(
        self,
        url: str,
        clock: Clock | None = None,
        *,
        cap_s: float = CAP_S,
        on_notice: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__(clock or SystemClock(), cap_s, insert)
        self._instance = uuid.uuid4().hex
        self._parameters = {"application_name": f"{APPLICATION} {self._instance[:8]}"} | parameters(url)
        self._warnings: list[str] = []
        self._writer = create_engine("postgresql+psycopg://", creator=self._open_writer, poolclass=NullPool)
        self._readers = create_engine(
            "postgresql+psycopg://",
            creator=self._open_plain,
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=READERS - 1,
            pool_timeout=READER_WAIT_S,
            pool_pre_ping=True,
            isolation_level="REPEATABLE READ",
        ).execution_options(postgresql_readonly=True)
        self._listener = Listener(self._open_plain, self._instance, on_notice) if on_notice else None

    def open(self) -> None:
        """Connect, check that the server keeps what it acknowledges, and bring the schema up to date.

        Raises `StoreProblem`, or `Unavailable` when the server does not answer yet.
        """
        try:
            connection = self._writing()
            with connection.begin():
                connection.execute(MIGRATING, {"wait": f"{MIGRATION_WAIT_MS}ms", "key": MIGRATION_LOCK})
                migrate(connection)
                found(self._pool(connection, tables.READ_POOL))
        except DBAPIError as error:
            self.close()
            if _state(error) == "42501":
                raise StoreProblem(
                    f"the tables cannot be made: {_words(error)}",
                    hint="GRANT CREATE, USAGE ON SCHEMA public to this user, as its owner.",
                ) from error
            self._explain(error)
        except BaseException:
            self.close()
            raise
        if self._listener:
            self._listener.start()

    def close(self) -> None:
        """Give the connections back and end the listener."""
        if self._listener:
            self._listener.stop()
        super().close()
        self._readers.dispose()

    # Statements of its own

    def put(self, connection: Connection, kind: Kind[Any], rows: list[dict[str, Any]]) -> None:
        """Presence comes by the thousand: one statement with an array for each column."""
        if kind is HEARD:
            once = {row[kind.key]: row for row in rows}.values()  # one statement changes a row once
            connection.execute(PUT_HEARD, {name: [row[name] for row in once] for name in kind.names})
        else:
            super().put(connection, kind, rows)

    def free_reserve(self) -> None:
        """Nothing: the space is on the database server."""

    def keep_reserve(self) -> bool:
        """Always enough, as far as can be seen from here."""
        return True

    def announce(self, connection: Connection, revision: int) -> None:
        """Delivered by the server to all who listen, at the commit and not without it."""
        connection.execute(NOTIFY, {"channel": CHANNEL, "notice": f"{self._instance}:{revision}"})

    def _alone_there(self, connection: Connection) -> None:
        """A connection that was closed a moment ago is still shown until its process has ended: so it asks again."""
        for _ in range(GOING_TRIES):
            if not self._others(connection):
                return
            connection.execute(GO_ON)
        raise StoreProblem(
            f"{self._others(connection)} connections of running services are open to this database",
            hint="Stop every replica first.",
        )

    def _others(self, connection: Connection) -> int:
        ours = {"all": f"{APPLICATION}%", "ours": self._parameters["application_name"]}
        return int(connection.execute(OTHERS, ours).scalar_one())

    # Connections

    def _connect(self) -> Connection:
        connection = self._writer.connect()
        try:
            self._make_sure(connection)
            self.timeline = ":".join(part for sql in (SYSTEM, WAL_FILE) if (part := _try(connection, sql)))
        except BaseException:
            connection.close()
            raise
        return connection

    def _make_sure(self, connection: Connection) -> None:
        """Set our limits; raise `StoreProblem` if the server may forget what it has acknowledged."""
        with connection.begin():
            *_, fsync, commit = connection.execute(
                SETTINGS, {"lock": f"{LOCK_WAIT_MS}ms", "idle": f"{IDLE_MS}ms"}
            ).one()
        if fsync != "on":
            raise _forgetful("fsync", fsync)
        if commit in ("off", "local"):
            raise _forgetful("synchronous_commit", commit)

    def _open_plain(self) -> psycopg.Connection[Any]:
        return psycopg.connect(**self._parameters)

    def _open_writer(self) -> psycopg.Connection[Any]:
        connection = self._open_plain()
        connection.add_notice_handler(self._notice)
        return connection

    def _notice(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            self._warnings.append(notice.message_primary or "")

    def _reading(self) -> AbstractContextManager[Connection]:
        return self._readers.begin()

    # The commit, and what errors mean

    def _commit(self, connection: Connection) -> None:
        """Without any timeout: a commit that waits for a standby has already happened here.

        A commit warns of one thing only, in the language of the server: that somebody cancelled that wait.
        """
        self._warnings.clear()
        try:
            connection.commit()
        except DBAPIError as error:
            if self._meaning(error) is None:
                raise
            self._disconnect()
            raise CommitUnknown from error
        if self._warnings:
            self._disconnect()
            raise CommitUnknown(f"the change may be lost in a fail-over: {self._warnings[0]}")

    def _meaning(self, error: DBAPIError) -> PiclusterError | None:
        state = _state(error)
        if state == "53100":
            return DiskFull("The disk of the database server is full.")
        if state[:2] in NOT_NOW or (not state and _is_operational(error)):
            return Unavailable(f"the database does not answer: {_words(error)}")
        return None

    def _spoilt(self, error: DBAPIError) -> bool:
        return self._meaning(error) is not None and _state(error) not in AFTERWARDS_FINE


class Listener:
    """A thread with a connection of its own that waits for notices, and reconnects for ever.

    Nothing depends on it but speed: a lost notice is made good by the next turn.
    """

    def __init__(
        self, connect: Callable[[], psycopg.Connection[Any]], instance: str, on_notice: Callable[[int], None]
    ) -> None:
        self._connect = connect
        self._instance = instance
        self._on_notice = on_notice
        self._stopping = threading.Event()
        self._connection: psycopg.Connection[Any] | None = None
        self._thread: threading.Thread | None = None
        self.listening = threading.Event()
        """Whether notices arrive at present."""

    def start(self) -> None:
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="picluster-listener", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, which is waiting on its connection: a shut-down socket wakes it."""
        self._stopping.set()
        connection = self._connection
        if connection is not None:
            with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)
        if self._thread is not None:
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        wait_s, longest_s = BACK_OFF_S
        while not self._stopping.is_set():
            try:
                self._listen()
            except (psycopg.Error, OSError) as error:
                if self._stopping.is_set():
                    return
                log.warning("no notices from PostgreSQL, will connect again: %s", error)
            wait_s = BACK_OFF_S[0] if self.listening.is_set() else min(2 * wait_s, longest_s)
            self.listening.clear()
            self._stopping.wait(wait_s)

    def _listen(self) -> None:
        with self._connect() as connection:
            connection.autocommit = True
            self._connection = connection
            connection.execute(f"LISTEN {CHANNEL}")
            self.listening.set()
            try:
                while not self._stopping.is_set():
                    for notice in connection.notifies(timeout=60.0):
                        self._tell(notice.payload)
            finally:
                self._connection = None

    def _tell(self, payload: str) -> None:
        instance, _, revision = payload.partition(":")
        if instance == self._instance or not revision.isdecimal():
            return
        try:
            self._on_notice(int(revision))
        except Exception:
            log.exception("a notice could not be handled")


def parameters(url: str) -> dict[str, Any]:
    """What libpq is told: what the URL says, and our defaults for the rest. Raises `StoreProblem`."""
    plain = url.replace("postgresql+psycopg://", "postgresql://", 1)
    try:
        return {**CONNECTION, **conninfo_to_dict(plain)}
    except psycopg.ProgrammingError as error:
        # Not in libpq's words: they quote the part that they stumble over, which may be the password.
        raise StoreProblem(
            "the database URL (--url) cannot be read",
            hint="It looks like postgresql://user:password@host/database; in a password, write %40 for @ and the like.",
        ) from error


def _put_many(kind: Kind[Any]) -> TextClause:
    """Insert or replace rows of which each column comes as one array."""
    arrays = ", ".join(f"CAST(:{name} AS {_array(kind.table, name)})" for name in kind.names)
    changed = ", ".join(f"{name} = excluded.{name}" for name in kind.names if name != kind.key)
    return text(
        f"INSERT INTO {kind.table.name} ({', '.join(kind.names)}) SELECT * FROM unnest({arrays})"  # noqa: S608  our own names
        f" ON CONFLICT ({kind.key}) DO UPDATE SET {changed}"
        f" WHERE {kind.table.name}.heard_s <= excluded.heard_s"
    )


def _array(table: Table, column: str) -> str:
    dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]
    return f"{table.c[column].type.compile(dialect)}[]"


PUT_HEARD = _put_many(HEARD)


def _try(connection: Connection, sql: str) -> str:
    """One value that not every server tells everybody; empty if this one does not."""
    try:
        with connection.begin():
            return str(connection.execute(text(sql)).scalar_one())
    except DBAPIError as error:
        if connection.invalidated or _is_operational(error):
            raise
        return ""


def _forgetful(setting: str, value: str) -> StoreProblem:
    return StoreProblem(
        f"PostgreSQL runs with {setting}={value}: it may forget what it has acknowledged",
        hint=f"Set {setting}=on for this server and this user.",
    )


def _state(error: DBAPIError) -> str:
    """The SQLSTATE, or empty when the error arose on our side of the connection."""
    return getattr(error.orig, "sqlstate", None) or ""


def _is_operational(error: DBAPIError) -> bool:
    return isinstance(error.orig, psycopg.OperationalError | psycopg.InterfaceError)


def _words(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
