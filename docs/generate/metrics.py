"""`docs/reference/metrics.md`: every metric, from what the registry of a service says of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import Metric

from docs.generate.markdown import code, table
from picluster.server.app import Service
from picluster.server.figures import OfThePool
from picluster.server.settings import Settings
from picluster.store.sqlite import SqliteStore

HEAD = """# Metrics, one by one

What `GET /metrics` tells; `make docs` writes this page anew. [Metrics](../metrics.md) says how to have them read, drawn and
alarmed on. No label takes more values than stand here, but for kinds of [events](events.md), codes of [errors](errors.md) and
models, which have an end too: what would be more is `other`.

"""

POOL = """## What the pool is like

Read when somebody asks, and the same at every replica: take `max` over them.

"""

DID = """
## What this process did

Counted since it started: take `rate` or `increase`, and `sum` over replicas. Prometheus adds `_bucket`, `_sum` and `_count` to
histograms.

"""

IS = """
## How this process is

What begins with `process_` is as Prometheus' own clients tell it, on Linux.

"""

MOST_WORDS = 20
"""A label with fewer words has them told beside it; those with more have pages of their own."""


def page() -> str:
    """The whole page."""
    context = Service(Settings.model_construct(), SqliteStore(":memory:")).context
    told = list(context.metrics.registry.collect())
    pool = {family.name for family in OfThePool(context.view).collect()}
    counted = {one.name for one in told if one.type != "gauge" and not one.name.startswith("process_")}
    return "".join(
        [
            *(HEAD, POOL, _table(one for one in told if one.name in pool)),
            *(DID, _table(one for one in told if one.name in counted)),
            *(IS, _table(one for one in told if one.name not in pool | counted)),
        ]
    )


def _table(families: Iterable[Metric]) -> str:
    return table(("metric", "labels", "what it is"), map(_row, families))


def _row(family: Metric) -> tuple[str, ...]:
    name = family.name + ("_total" if family.type == "counter" else "")
    what = family.documentation.rstrip(".") + (" (histogram)" if family.type == "histogram" else "")
    return code(name), "; ".join(_labels(family)), what


def _labels(family: Metric) -> Iterator[str]:
    """Each with the words that it takes, if those are few and ours."""
    for label in dict.fromkeys(label for sample in family.samples for label in sample.labels):
        words = list(
            dict.fromkeys(sample.labels[label] for sample in family.samples if label in sample.labels)
        )
        told = label != "le" and 1 < len(words) <= MOST_WORDS
        yield f"{code(label)}: {', '.join(words)}" if told else code(label)
