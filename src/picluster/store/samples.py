"""How boards were: a row for each beat kept, for a day; then one for each ten minutes, for a month.

Numbers are thinned to mean, lowest and highest; what was marked once in a span stays marked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    Row,
    Select,
    Table,
    bindparam,
    cast,
    delete,
    func,
    literal,
    select,
)

from picluster.pool.model import Sample
from picluster.store import KEPT_S, SPAN_S
from picluster.store.tables import MARKS, MEASURES, samples, thinned

SPAN_US = int(SPAN_S * 1e6)

AT_ONCE = 200
"""Samples looked at in one transaction, of nearly as many machines; at 20 a span these are some thousand rows, and
milliseconds for which turns have to wait."""

_PARTS = (("min", func.min), ("mean", func.avg), ("max", func.max))


def _reading(table: Table) -> Select[Any]:
    bounds = table.c.at_us >= bindparam("since"), table.c.at_us < bindparam("until")
    return select(table).where(table.c.machine == bindparam("of"), *bounds).order_by(table.c.at_us)


MOST_LATELY = 150_000
"""Samples of all boards, read at a start: an hour of a thousand boards; of more, the last part of it."""

_READ_SAMPLES, _READ_THINNED = _reading(samples), _reading(thinned)


def row(sample: Sample) -> dict[str, Any]:
    """The values of a fresh sample's columns."""
    known = asdict(sample)
    return {name: known[name] for name in ("machine", "at_us", *MEASURES, *MARKS)}


def keeping(dialect_insert: Callable[[Table], Any]) -> Any:
    """The statement that keeps fresh samples, in the words of one dialect."""
    return dialect_insert(samples).on_conflict_do_nothing()


def thinning(dialect_insert: Callable[[Table], Any]) -> Callable[[Select[Any]], Any]:
    """The statement that keeps what a query has thinned."""
    columns = [column.name for column in thinned.columns]
    return lambda query: dialect_insert(thinned).from_select(columns, query).on_conflict_do_nothing()


def found(connection: Connection, machine: str, since_us: int, until_us: int, limit: int) -> list[Sample]:
    """Oldest first, at most `limit`."""
    bounds = {"of": machine, "since": since_us, "until": until_us}
    old = [_spanned(row) for row in connection.execute(_READ_THINNED.limit(limit), bounds)]
    recent = connection.execute(_READ_SAMPLES.limit(limit), bounds)
    return [*old, *(_single(row) for row in recent)][:limit]


def lately(connection: Connection, since_us: int) -> list[Sample]:
    """Of all boards, oldest first: the newest `MOST_LATELY` of them."""
    newest = select(samples).where(samples.c.at_us >= since_us).order_by(samples.c.at_us.desc())
    found = [_single(row) for row in connection.execute(newest.limit(MOST_LATELY))]
    found.reverse()
    return found


def thin(connection: Connection, insert: Callable[[Select[Any]], Any], wall_us: int) -> bool:
    """Thin the oldest span of some machines, if it is a day old; whether there may be more."""
    before_us = (wall_us - int(KEPT_S["sample"] * 1e6)) // SPAN_US * SPAN_US
    oldest = select(samples.c.machine, samples.c.at_us).where(samples.c.at_us < before_us)
    found = connection.execute(oldest.order_by(samples.c.at_us).limit(AT_ONCE)).all()
    if not found:
        return False
    begin_us = found[0].at_us // SPAN_US * SPAN_US
    in_span = (samples.c.at_us >= begin_us) & (samples.c.at_us < begin_us + SPAN_US)
    names = {row.machine for row in found if row.at_us < begin_us + SPAN_US}
    some = in_span & samples.c.machine.in_(names)
    connection.execute(insert(_spans(some)))
    connection.execute(delete(samples).where(some))
    return True


def _spans(some: Any) -> Select[Any]:
    span_us = literal(SPAN_US, BigInteger)
    at_us = (samples.c.at_us - samples.c.at_us % span_us).label("span_us")
    parts = [part(samples.c[name]) for name in MEASURES for _, part in _PARTS]
    marks = [func.max(cast(samples.c[name], Integer)) > 0 for name in MARKS]
    return (
        select(samples.c.machine, at_us, func.count(), *parts, *marks)
        .where(some)
        .group_by(samples.c.machine, at_us)
    )


def _single(row: Row[Any]) -> Sample:
    values = dict(row._mapping)
    edges = {f"{name}_{part}": values[name] for name in MEASURES for part in ("min", "max")}
    return Sample(**values, **edges)


def _spanned(row: Row[Any]) -> Sample:
    values = dict(row._mapping)
    return Sample(**{name.removesuffix("_mean"): value for name, value in values.items()})
