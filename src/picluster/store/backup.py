"""A backup is all rows of one moment, the same for both databases: what one wrote, the other can read.

That is how a lab moves from SQLite to PostgreSQL. The file itself is `backup_file.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, text, update

from picluster import __version__
from picluster.store import RESTORED_US, backup_file, tables
from picluster.store.tables import RULES_VERSION

TABLES = (
    tables.pool,
    tables.machines,
    tables.leases,
    tables.holds,
    tables.tokens,
    tables.people,
    tables.webhooks,
    tables.presence,
    tables.events,
)
"""In the order in which they can be written: holds refer to leases."""

ROWS = 1_000
"""Read and written at once: a few hundred kilobytes of memory, however long the history is."""

EVENT_NUMBERS = text(
    "SELECT setval(pg_get_serial_sequence('events', 'id'), (SELECT coalesce(max(id), 0) + 1 FROM events))"
)
"""PostgreSQL counts events by itself, and has to go on behind those that came with the backup."""


def taken(connection: Connection, taken_us: int) -> Iterator[bytes]:
    """The backup, compressed, in pieces. The connection has to show one moment until the last has been taken."""
    return backup_file.sealed(_rows(connection, taken_us))


def _rows(connection: Connection, taken_us: int) -> Iterator[dict[str, Any]]:
    revision = connection.execute(select(tables.pool.c.revision)).scalar_one()
    yield backup_file.header(__version__, RULES_VERSION, taken_us, revision)
    for table in TABLES:
        found = connection.execution_options(yield_per=ROWS).execute(select(table))
        for row in found.mappings():
            yield {"table": table.name, "row": dict(row)}


def empty(connection: Connection) -> bool:
    """Whether nothing would be lost: no machine has registered and nobody has asked for one."""
    counts = [select(func.count()).select_from(table) for table in (tables.machines, tables.leases)]
    return not any(connection.execute(count).scalar_one() for count in counts)


def write(connection: Connection, path: Path) -> None:
    """Replace every row by those of a checked backup, within the caller's transaction.

    The next turn finds that history went back, and grants nothing that has not been heard from since.
    """
    for table in reversed(TABLES):
        connection.execute(delete(table))
    by_name = {table.name: table for table in TABLES}
    for name, rows in _grouped(path):
        table = by_name[name]
        known = set(table.columns.keys())
        connection.execute(insert(table), [{key: row[key] for key in row if key in known} for row in rows])
    connection.execute(update(tables.pool).values(turned_us=RESTORED_US))
    if connection.dialect.name == "postgresql":
        connection.execute(EVENT_NUMBERS)


def _grouped(path: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Rows of one table at a time, so many that one statement takes them."""
    name, rows = "", list[dict[str, Any]]()
    for _, said in backup_file.read(path):
        if "row" not in said:
            continue
        if rows and (said["table"] != name or len(rows) >= ROWS):
            yield name, rows
            rows = []
        name = said["table"]
        rows.append(said["row"])
    if rows:
        yield name, rows
