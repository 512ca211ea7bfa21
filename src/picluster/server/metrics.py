"""What the service counts of itself, for Prometheus: by this process, since it started, with bounded sets of labels.

What the pool is like now is read when somebody asks, in `figures.py`. What each number is stands beside it here, and from
there in docs/reference/metrics.md.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Collection, Iterable, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from picluster.errors import ENDINGS, PiclusterError
from picluster.pool.model import Event, Lease, LeaseState, Row
from picluster.server.sentences import SENTENCES

# Or each would have a second series, which nobody asks for: since when it is counted.
disable_created_metrics()  # type: ignore[no-untyped-call]

TURN_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
WAIT_BUCKETS_S = (0.1, 1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400)
"""From a grant at once to a day in the queue."""

MOST_KINDS = 100
"""Kinds of events, codes of errors: ours, and far fewer. What would be more is counted as `other`."""

OTHER = "other"

REASONS = ("unavailable", "disk_full", "broken")
"""Why a turn did not come about."""

PROTOCOLS = ("v1", "legacy")

OUTCOMES = ("delivered", "failed", "given_up")
"""Of what webhooks are told."""


class Metrics:
    """One registry for each service, so that several can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._turns = self._histogram(
            "turn_seconds", "From asking for the lock to the commit", TURN_BUCKETS_S
        )
        self._batch = self._histogram(
            "turn_commands", "Commands that shared a turn, and so a commit", BATCH_BUCKETS
        )
        self._failures = self._counter(
            "turn_failures",
            "Turns that did not come about: no database, no space, or a command that broke the rules' code",
            "reason",
            REASONS,
        )
        self._waits = self._histogram(
            "wait_seconds", "From asking for machines to the grant, of leases granted", WAIT_BUCKETS_S
        )
        self._events = _Bounded(
            self._counter("events", "What happened, by kind of event, as in `picluster history`", "kind"),
            SENTENCES,
        )
        self._ended = self._counter(
            "leases_ended", "Leases that ended, by why, as in the history", "why", (*ENDINGS, OTHER)
        )
        self._errors = _Bounded(
            self._counter("errors", "Requests answered with an error, by the `code` in the answer", "code"),
            [PiclusterError.code],
        )
        self.beats = self._counter("beats", "Beats answered, by protocol", "protocol", PROTOCOLS)
        self.webhooks = self._counter(
            "webhook_events",
            "Events that webhooks were told, by what came of it; each attempt that fails counts",
            "outcome",
            OUTCOMES,
        )
        self.streams = Gauge(
            "picluster_streams", "Open event streams: pages, and programs that follow", registry=self.registry
        )

    def _counter(self, name: str, about: str, label: str, known: Iterable[str] = ()) -> Counter:
        """With a series for each word that is known, at 0: what is born at 1 has not grown to Prometheus, and an alert on
        its growth would miss the first one of each process."""
        counter = Counter(f"picluster_{name}", about, [label], registry=self.registry)
        for word in known:
            counter.labels(word)
        return counter

    def _histogram(self, name: str, about: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(f"picluster_{name}", about, buckets=buckets, registry=self.registry)

    def turn(self, seconds: float, commands: int) -> None:
        self._turns.observe(seconds)
        self._batch.observe(commands)

    def turn_failed(self, reason: str) -> None:
        self._failures.labels(reason).inc()

    def happened(self, events: Sequence[Event], rows: Sequence[Row]) -> None:
        """What a turn of this process committed; a lease on several machines counts once. Each turn passes here: it looks
        at an event once, and closer only at the two kinds that ask for it."""
        counts = Tally(event.kind for event in events)
        for kind, count in counts.items():
            self._events.of(kind).inc(count)
        if "lease.ended" in counts:
            ended = {event.lease: event.detail.get("why") for event in events if event.kind == "lease.ended"}
            for why in ended.values():
                self._ended.labels(why if why in ENDINGS else OTHER).inc()
        if "lease.held" in counts:
            granted = {event.lease for event in events if event.kind == "lease.held"}
            for row in rows:
                if isinstance(row, Lease) and row.id in granted and row.state is LeaseState.HELD:
                    self._waits.observe(row.granted_s - row.joined_s)

    def error(self, error: PiclusterError) -> None:
        """Somebody was answered so."""
        self._errors.of(error.code).inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)


class _Bounded:
    """A counter by one label, with an end to how many values that takes; found without asking the library each time. Those
    that are `known` are told from the start."""

    def __init__(self, counter: Counter, known: Iterable[str], most: int = MOST_KINDS) -> None:
        self._counter = counter
        self._most = most
        self._known = {value: counter.labels(value) for value in known}

    def of(self, value: str) -> Counter:
        """Of this value, or of `other` when there are too many already."""
        found = self._known.get(value)
        if found is not None:
            return found
        if len(self._known) >= self._most:
            return self._counter.labels(OTHER)
        return self._known.setdefault(value, self._counter.labels(value))


def most_common(counted: Collection[tuple[str, int]], most: int) -> set[str]:
    """The names that are worth a label of their own: the most frequent, and of equals the first by name."""
    return {name for name, _ in sorted(counted, key=lambda item: (-item[1], item[0]))[:most]}
