"""What the pool and this process are like now, for Prometheus, read when somebody asks.

What each number is stands beside it here, and from there in docs/reference/metrics.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import product

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from picluster import __version__
from picluster.pool.explain import CLEANING, FREE, LOCKED, OFFLINE, SET_ASIDE, state_of
from picluster.pool.model import Service
from picluster.server.coordinator import Coordinator
from picluster.server.metrics import OTHER, most_common
from picluster.server.view import View
from picluster.server.words import shown

MOST_MODELS = 20
"""Models with a label of their own. They are what boards say, so there could be any number; the rarer ones are `other`."""

LONGEST_MODEL = 40

STATES = (
    *(FREE, LOCKED, CLEANING, SET_ASIDE, OFFLINE),
    *(service.value for service in Service if service is not Service.IN_SERVICE),
)
"""All that `state_of` says."""

Family = Mapping[tuple[str, ...], float]
"""Values by their labels."""


class OfThePool(Collector):
    """From the view, and so equal at every replica."""

    def __init__(self, view: View) -> None:
        self._view = view

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing, so that nothing is read before somebody asks."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        roster = self._view.roster
        yield _gauge(
            "machines",
            f"Machines by state, as in `picluster list`, and model. The {MOST_MODELS} most frequent models have a label of "
            f"their own, the rest is `{OTHER}`",
            self._machines(),
            *("state", "model"),
        )
        yield from self._leases()
        yield _gauge("webhooks", "Webhooks by how it goes", self._webhooks(), "state")
        yield _gauge("people", "Accounts", {(): len(roster.people)})
        yield _gauge("epoch", "Raised each time that history may have gone back", {(): roster.epoch})

    def _machines(self) -> Family:
        """In each state of each model, also where it is none: nothing that is free is a number."""
        roster = self._view.roster
        found = Counter(
            (state_of(roster, machine), str(machine.facts.get("model") or "unknown"))
            for machine in roster.machines.values()
        )
        models: Counter[str] = Counter()
        for (_, model), count in found.items():
            models[model] += count
        named = most_common(models.items(), MOST_MODELS)
        labels = {model: shown(model, LONGEST_MODEL) if model in named else OTHER for model in models}
        bounded: dict[tuple[str, ...], float]
        bounded = dict.fromkeys(product(STATES, {*labels.values()} or {OTHER}), 0)
        for (state, model), count in found.items():
            bounded[state, labels[model]] += count
        return bounded

    def _leases(self) -> Iterator[GaugeMetricFamily]:
        roster, now = self._view.roster, self._view.now()
        joined = (lease.joined_s for lease in self._view.waiting())
        counts: Family = {("held",): sum(roster.live.values()) - roster.waiting, ("waiting",): roster.waiting}
        yield _gauge("leases", "Live leases by state; those that wait are the queue", counts, "state")
        yield _gauge(
            "queue_oldest_seconds",
            "How long the one that has waited longest waits",
            {(): now - min(joined, default=now)},
        )
        yield _gauge(
            "queue_crowded",
            "1 once as many wait as `PICLUSTER_POLICY__CROWDED` says, until half of them are left",
            {(): self._view.state.crowded},
        )

    def _webhooks(self) -> Family:
        counts = Counter(
            "paused" if one.paused else "failing" if one.failing_since_us else "well"
            for one in self._view.roster.webhooks.values()
        )
        return {(state,): counts[state] for state in ("well", "failing", "paused")}


class OfTheProcess(Collector):
    """Which serves, and whether it can."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing, as above."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield _gauge("info", "1, with the version that serves", {(__version__,): 1}, "version")
        yield _gauge(
            "last_turn_age_seconds",
            "Since a turn succeeded here; idle pools take one every few seconds (`PICLUSTER_PULSE_S`)",
            {(): self._coordinator.last_turn_age_s()},
        )
        yield _gauge(
            "short_of_space",
            "1 while the disk is full: leases are renewed and released, not granted",
            {(): self._coordinator.short_of_space},
        )


def _gauge(name: str, about: str, values: Family, *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"picluster_{name}", about, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, float(value))
    return family
