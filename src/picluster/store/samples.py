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
    cast,
    delete,
    func,
    literal,
    select,
)

from picluster.pool.model import Sample
from picluster.store import KEPT_S, SPAN_S
from picluster.store.tables import MARKS, MEASURES, READ_SAMPLES, READ_THINNED, samples, thinned

SPAN_US = int(SPAN_S * 1e6)

MACHINES_AT_ONCE = 200
"""Thinned in one transaction: a day late, at 20 samples a span, these are a few thousand rows and milliseconds."""

_PARTS = (("min", func.min), ("mean", func.avg), ("max", func.max))


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
    old = [_spanned(row) for row in connection.execute(READ_THINNED.limit(limit), bounds)]
    recent = connection.execute(READ_SAMPLES.limit(limit), bounds)
    return [*old, *(_single(row) for row in recent)][:limit]


def thin(connection: Connection, insert: Callable[[Select[Any]], Any], wall_us: int) -> bool:
    """Thin the oldest day-old samples of some machines; whether there may be more."""
    before_us = (wall_us - int(KEPT_S["sample"] * 1e6)) // SPAN_US * SPAN_US
    old = samples.c.at_us < before_us
    names = connection.execute(
        select(samples.c.machine).where(old).distinct().limit(MACHINES_AT_ONCE)
    ).scalars()
    some = old & samples.c.machine.in_(list(names))
    connection.execute(insert(_spans(some)))
    return bool(connection.execute(delete(samples).where(some)).rowcount)


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
