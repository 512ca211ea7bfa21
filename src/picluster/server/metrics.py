"""What the service counts of itself, for Prometheus. Bounded label sets; completed with the operator's issue."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

TURN_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)


class Metrics:
    """One registry for each service, so that several can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._turns = Histogram(
            "picluster_turn_seconds",
            "From asking for the lock to the commit",
            buckets=TURN_BUCKETS_S,
            registry=self.registry,
        )
        self._batch = Histogram(
            "picluster_turn_commands",
            "Commands that shared a turn",
            buckets=BATCH_BUCKETS,
            registry=self.registry,
        )
        self.beats = Counter(
            "picluster_beats", "Beats answered, by protocol", ["protocol"], registry=self.registry
        )
        self.webhooks = Counter(
            "picluster_webhook_events",
            "Events that webhooks were told, by what came of it: delivered, failed (once for each attempt), given_up",
            ["outcome"],
            registry=self.registry,
        )
        self.streams = Gauge("picluster_streams", "Open event streams", registry=self.registry)

    def turn(self, seconds: float, commands: int) -> None:
        self._turns.observe(seconds)
        self._batch.observe(commands)

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A number that is read when somebody asks."""
        Gauge(name, text, registry=self.registry).set_function(read)

    def text(self) -> bytes:
        return generate_latest(self.registry)
