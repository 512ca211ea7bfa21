"""The schema, once for both databases, and how a row becomes a dataclass and back.

A column carries the name of the dataclass field it stores, and the field's type says how: scalars are real
columns, mappings and tuples are JSON text. To add a column, add the field to `pool.model`, the column here
and a migration; the tests find whichever of the three is missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from enum import Enum
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from picluster.pool.model import EMPTY, Event, Heard, Lease, Machine, Person, PoolState, Token, Webhook
from picluster.store import StoreProblem

R = TypeVar("R")

RULES_VERSION = 5
"""Raised when the rules change so that an older service must not decide for the same pool any more."""

MEASURES = ("temperature", "load", "mem_available", "disk_free")
"""Of a sample: °C, over one minute, bytes, bytes."""

MARKS = ("throttled", "under_voltage", "rebooted")
"""Of a sample: what is told of it even when the numbers are thinned."""

metadata = MetaData()


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _number(name: str) -> Column[int]:
    """64 bits throughout: revisions are microseconds, and a board may count anything."""
    return Column(name, BigInteger, nullable=False)


def _seconds(name: str, nullable: bool = False) -> Column[float]:
    """Doubles on both databases, so that a time reads back exactly as it was written."""
    return Column(name, Double, nullable=nullable)


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False)


def _json(name: str) -> Column[str]:
    """Text, not a JSON type: nothing queries inside, and both databases return exactly what was written."""
    return Column(name, Text, nullable=False)


pool = Table(
    "pool",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="pool_is_one_row"), primary_key=True),
    _number("revision"),
    _seconds("service_s"),
    _number("epoch"),
    _number("epoch_since"),
    _number("rules_version"),
    _number("turned_us"),
    _text("timeline"),
    _flag("crowded"),
)

machines = Table(
    "machines",
    metadata,
    Column("name", Text, primary_key=True),
    _text("id"),
    _text("address"),
    _text("mode"),
    _text("service"),
    _text("reason"),
    _flag("by_rule"),
    _json("ailing"),
    _seconds("ailing_since_s"),
    _number("setbacks"),
    _seconds("setbacks_since_s"),
    _number("stumbles"),
    _seconds("stumbles_since_s"),
    _json("facts"),
    _json("board_labels"),
    _json("labels"),
    _text("comment"),
    _json("host_keys"),
    _text("claimed_id"),
    _json("claimed_host_keys"),
    _text("ssh_user"),
    _number("ssh_port"),
    _text("boot_id"),
    _text("former_boot_id"),
    _text("presence"),
    _seconds("presence_since_s"),
    _number("seen_epoch"),
    _text("lease"),
    _number("fence"),
    _number("reported_fence"),
    _flag("reported_closed"),
    _number("cleaning"),
    _seconds("cleaning_since_s"),
    _number("cleaning_failures"),
    _seconds("delay_until_s"),
    _json("judging"),
    _seconds("powered_s"),
    _number("strange_updates"),
    _number("registered_us"),
    _flag("deleted"),
    _seconds("deleted_s"),
    _number("revision"),
    Index("machines_by_revision", "revision"),
)

leases = Table(
    "leases",
    metadata,
    Column("id", Text, primary_key=True),
    _text("holder"),
    _text("selector"),
    _text("asked"),
    _text("job"),
    _number("count"),
    _number("priority"),
    _seconds("ttl_s", nullable=True),
    _seconds("wait_s", nullable=True),
    _seconds("not_after_s", nullable=True),
    _text("on_reboot"),
    _json("ssh_public_keys"),
    _seconds("joined_s"),
    _number("joined_us"),
    _number("place"),
    _seconds("renewed_s"),
    _text("state"),
    _json("machines"),
    _number("fence"),
    _seconds("granted_s"),
    _number("granted_us"),
    _flag("confirmed"),
    _flag("ready"),
    _json("set_aside"),
    _seconds("set_aside_since_s", nullable=True),
    _seconds("reboot_until_s"),
    _text("ended"),
    _text("ended_by"),
    _seconds("ended_s"),
    _number("ended_us"),
    _text("verdict"),
    _json("verdict_reasons"),
    _json("awaiting"),
    _number("revision"),
    Index("leases_by_revision", "revision"),
)

holds = Table(
    "holds",
    metadata,
    Column("machine", Text, primary_key=True),
    Column("lease", Text, ForeignKey("leases.id", name="holds_a_lease"), nullable=False),
    Index("holds_by_lease", "lease"),
)
"""The database's last word: one row per held machine, so no machine can have two holders."""

tokens = Table(
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),
    _text("kind"),
    _text("name"),
    _number("role"),
    _text("digest"),
    _text("issued_by"),
    _number("issued_us"),
    _number("expires_us"),
    _number("uses_left"),
    _flag("approve"),
    _flag("revoked"),
    _seconds("revoked_s"),
    _number("revision"),
    Index("tokens_by_revision", "revision"),
)

people = Table(
    "people",
    metadata,
    Column("name", Text, primary_key=True),
    _number("role"),
    _text("password"),
    _flag("disabled"),
    _number("created_us"),
    _text("created_by"),
    _flag("deleted"),
    _seconds("deleted_s"),
    _number("revision"),
    Index("people_by_revision", "revision"),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("name", Text, primary_key=True),
    _text("kind"),
    _text("url"),
    _json("notices"),
    _text("secret"),
    _flag("paused"),
    _number("created_us"),
    _text("created_by"),
    _number("cursor"),
    _json("pauses"),
    _text("courier"),
    _seconds("courier_until_s"),
    _number("failures"),
    _number("failing_since_us"),
    _seconds("retry_s"),
    _number("delivered"),
    _number("given_up"),
    _json("attempts"),
    _flag("deleted"),
    _seconds("deleted_s"),
    _number("revision"),
    Index("webhooks_by_revision", "revision"),
)

presence = Table(
    "presence",
    metadata,
    Column("name", Text, primary_key=True),
    _seconds("heard_s"),
    _number("heard_us"),
    _text("boot_id"),
    _number("seq"),
    _json("telemetry"),
)
"""Narrow, and with no index but its key: it is written ten thousand times for each time it is searched."""

samples = Table(
    "samples",
    metadata,
    Column("machine", Text, primary_key=True),
    Column("at_us", BigInteger, primary_key=True, autoincrement=False),
    *(_seconds(name, nullable=True) for name in MEASURES),
    *(_flag(name) for name in MARKS),
    Index("samples_by_time", "at_us"),
)
"""How boards were, beat by beat, for a day."""

thinned = Table(
    "thinned",
    metadata,
    Column("machine", Text, primary_key=True),
    Column("at_us", BigInteger, primary_key=True, autoincrement=False),
    _number("count"),
    *(_seconds(f"{name}_{part}", nullable=True) for name in MEASURES for part in ("min", "mean", "max")),
    *(_flag(name) for name in MARKS),
    Index("thinned_by_time", "at_us"),
)
"""The same in spans of ten minutes, for a month; a mark that was there once in a span is there."""

events = Table(
    "events",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    _number("revision"),
    _number("epoch"),
    _number("at_us"),
    _text("kind"),
    _text("actor"),
    _text("address"),
    _text("machine"),
    _text("lease"),
    _text("holder"),
    _json("detail"),
    Index("events_by_revision", "revision"),
    Index("events_by_machine", "machine", "revision"),
    Index("events_by_holder", "holder", "revision"),
    Index("events_by_lease", "lease", "revision"),
    Index("events_by_time", "at_us"),
)


def _plain(value: object) -> dict[Any, Any]:
    """What `json` does not know by itself: read-only mappings."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be stored")


def _to_json(value: object) -> str:
    """ASCII, so that whatever a board reports, half a surrogate pair or a NUL too, can be stored anywhere."""
    return json.dumps(value, default=_plain, separators=(",", ":"))


def _mapping_to_json(value: Mapping[str, Any]) -> str:
    return _to_json(value) if value else "{}"


def _tuple_to_json(value: Sequence[str]) -> str:
    return _to_json(value) if value else "[]"


def _mapping_from_json(text: str) -> Mapping[str, Any]:
    if text == "{}":
        return EMPTY
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _tuple_from_json(text: str) -> tuple[str, ...]:
    if text == "[]":
        return ()
    value = json.loads(text)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("not a JSON list of strings")
    return tuple(value)


def _rows_to_json(value: Sequence[Any]) -> str:
    return _to_json([asdict(item) for item in value]) if value else "[]"


def _rows_from_json(of: type[Any]) -> Callable[[str], tuple[Any, ...]]:
    """Dataclasses of plain values; one that lacks a field or has another raises `TypeError`."""
    return lambda text: () if text == "[]" else tuple(of(**item) for item in json.loads(text))


Codec = tuple[Callable[[Any], Any], Callable[[Any], Any]]


def _codec(hint: Any) -> Codec | None:
    """How a field of this type is written and read; None where the driver does it."""
    shape = get_origin(hint) or hint
    if isinstance(shape, type):
        if issubclass(shape, Enum):
            return (lambda member: member.value), shape
        if issubclass(shape, tuple):
            of = get_args(hint)[0]
            if isinstance(of, type) and is_dataclass(of):
                return _rows_to_json, _rows_from_json(of)
            return _tuple_to_json, _tuple_from_json
        if issubclass(shape, Mapping):
            return _mapping_to_json, _mapping_from_json
    return None


class Kind(Generic[R]):
    """One dataclass and its table."""

    def __init__(self, of: type[R], table: Table, key: str) -> None:
        self.of = of
        self.table = table
        self.key = key
        self.names = tuple(field.name for field in fields(of))  # type: ignore[arg-type]
        self.columns = [table.c[name] for name in self.names]
        self.all: Select[Any] = select(*self.columns)
        hints = get_type_hints(of)
        codecs = [(at, name, _codec(hints[name])) for at, name in enumerate(self.names)]
        self._writes = [(name, codec[0]) for _, name, codec in codecs if codec]
        self._reads = [(at, codec[1]) for at, _, codec in codecs if codec]

    def row(self, thing: R) -> dict[str, Any]:
        """The values of its columns, as a statement takes them."""
        values = {name: getattr(thing, name) for name in self.names}
        for name, write in self._writes:
            values[name] = write(values[name])
        return values

    def load(self, row: Sequence[Any]) -> R:
        """The dataclass from a row of `all`. Raises `StoreProblem` when a value in it makes no sense."""
        values = list(row)
        at = 0
        try:
            for at, read in self._reads:
                values[at] = read(values[at])
        except (ValueError, TypeError, RecursionError) as error:
            raise self._nonsense(row, self.names[at]) from error
        return self.of(*values)

    def select(self, connection: Connection, statement: Select[Any], **parameters: Any) -> list[R]:
        """All that a statement made from `all` finds."""
        load = self.load
        return [load(row) for row in connection.execute(statement, parameters)]

    def _nonsense(self, row: Sequence[Any], column: str) -> StoreProblem:
        key = row[self.names.index(self.key)] if self.key in self.names else 1
        return StoreProblem(
            f"table {self.table.name!r}, row {key!r}: the value of {column!r} cannot be read",
            hint="It was damaged or edited by hand: correct that value, or restore a backup.",
            table=self.table.name,
            key=str(key),
            column=column,
        )


POOL = Kind(PoolState, pool, key="id")
MACHINES = Kind(Machine, machines, key="name")
LEASES = Kind(Lease, leases, key="id")
TOKENS = Kind(Token, tokens, key="id")
PEOPLE = Kind(Person, people, key="name")
WEBHOOKS = Kind(Webhook, webhooks, key="name")
HEARD = Kind(Heard, presence, key="name")
EVENTS = Kind(Event, events, key="revision")

REVISED: tuple[Kind[Any], ...] = (MACHINES, LEASES, TOKENS, PEOPLE, WEBHOOKS)
"""What takes revisions, in the order in which it is written."""

READ_POOL = POOL.all.where(pool.c.id == 1)
LOCK_POOL = READ_POOL.with_for_update()
"""The lock on PostgreSQL. SQLite has no row locks, and renders nothing: there the transaction is the lock."""
WRITE_POOL = update(pool).where(pool.c.id == 1).values({name: bindparam(name) for name in POOL.names})
READ_NEWER = {
    kind: kind.all.where(kind.table.c.revision > bindparam("after")).order_by(kind.table.c.revision)
    for kind in REVISED
}
READ_HEARD_SINCE = HEARD.all.where(presence.c.heard_s >= bindparam("since"))
READ_HEARD_OF = HEARD.all.where(presence.c.name.in_(bindparam("names", expanding=True)))
FORGET_HEARD = delete(presence).where(presence.c.name == bindparam("gone"))
READ_HOLDS = select(holds.c.machine, holds.c.lease).where(holds.c.lease.in_(bindparam("ids", expanding=True)))
LET_GO = delete(holds).where(holds.c.machine == bindparam("freed"))
HOLD = insert(holds)
TELL = insert(events)


def upsert(kind: Kind[Any], dialect_insert: Callable[[Table], Any]) -> Any:
    """Insert or replace rows of this kind, in the words of one dialect."""
    statement = dialect_insert(kind.table)
    changed = {name: statement.excluded[name] for name in kind.names if name != kind.key}
    newer = kind.table.c.heard_s <= statement.excluded.heard_s if kind is HEARD else None
    return statement.on_conflict_do_update(index_elements=[kind.key], set_=changed, where=newer)


def chunks(values: Iterable[str], size: int) -> Iterable[list[str]]:
    """Lists of at most `size`: databases limit how many parameters one statement takes."""
    rest = list(values)
    return (rest[start : start + size] for start in range(0, len(rest), size))
