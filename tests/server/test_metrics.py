"""Metrics: counted where it happens, with labels that have an end; documented, and drawn and alarmed on by what exists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ruamel.yaml import YAML

from picluster.errors import ENDINGS, Conflict, NotFound, PiclusterError
from picluster.pool.model import Event, Lease, LeaseState, Machine, PoolState, Webhook
from picluster.server import words
from picluster.server.coordinator import Coordinator
from picluster.server.figures import MOST_MODELS, STATES, OfThePool, OfTheProcess
from picluster.server.metrics import MOST_KINDS, Metrics
from picluster.server.view import View
from tests.server.conftest import Api, Board, fresh_lease

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/reference/metrics.md").read_text()
WORDS = PAGE + "".join((ROOT / f"docs/reference/{page}.md").read_text() for page in ("events", "errors"))
DASHBOARD = ROOT / "deploy/grafana/picluster.json"
ALERTS = ROOT / "deploy/prometheus/alerts.yml"

NAME = re.compile(r"\b((?:picluster|process)_[a-z_]+)\b")


@pytest.fixture
def view() -> View:
    return View(cap_s=6.0, monotonic=lambda: 0.0)


@pytest.fixture
def metrics(view: View) -> Metrics:
    """As a service has them, over a view of its own."""
    coordinator = cast(Coordinator, SimpleNamespace(last_turn_age_s=lambda: 0.5, short_of_space=False))
    metrics = Metrics()
    for figures in (OfThePool(view), OfTheProcess(coordinator)):
        metrics.registry.register(figures)
    return metrics


def numbers(text: str) -> dict[str, float]:
    """Each line of an answer, by name and labels."""
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def told(metrics: Metrics) -> dict[str, float]:
    return numbers(metrics.text().decode())


def event(kind: str, machine: str = "", lease: str = "", **detail: Any) -> Event:
    return Event(1, 1, 0, kind, "ann", machine=machine, lease=lease, detail=detail)


# What the pool is like


def test_machines_are_told_by_state_and_model(view: View, metrics: Metrics) -> None:
    rows = [
        *(
            Machine(f"free-{n}", f"id-{n}", f"10.0.0.{n}", facts={"model": "pi5"}, seen_epoch=1)
            for n in range(3)
        ),
        Machine("away", "id-a", "10.0.1.1", facts={"model": "pi5"}),
        Machine("plain", "id-b", "10.0.1.2", seen_epoch=1),
    ]
    view.publish(rows, PoolState(revision=1), ())
    found = told(metrics)
    assert found['picluster_machines{model="pi5",state="free"}'] == 3
    assert found['picluster_machines{model="pi5",state="offline"}'] == 1
    assert found['picluster_machines{model="unknown",state="free"}'] == 1


def test_what_nobody_is_in_is_told_as_nothing(view: View, metrics: Metrics) -> None:
    """Or a panel would say `No data` exactly when no machine is free; of an empty pool, too."""
    view.publish([Machine("m", "i", "a", facts={"model": "pi5"}, seen_epoch=1)], PoolState(revision=1), ())
    found = told(metrics)
    assert [found[f'picluster_machines{{model="pi5",state="{state}"}}'] for state in STATES] == [1, *[0] * 8]
    view.publish([], PoolState(revision=2), (), reloaded=True)
    assert told(metrics)['picluster_machines{model="other",state="free"}'] == 0


def test_every_state_of_a_machine_is_told() -> None:
    """Those that the pages have, but for what is somebody's view of one: mine, and joining."""
    assert {*STATES} == {*words.STATES} - {"mine", "joining"}


def test_models_that_boards_make_up_have_an_end(view: View, metrics: Metrics) -> None:
    """The most frequent keep their names, whatever a board calls itself; and no machine is missing."""
    models = ["pi5"] * 50 + [f"made-up-{number:03}" + "x" * 500 for number in range(200)]
    rows = [Machine(f"m{n}", f"i{n}", f"a{n}", facts={"model": model}) for n, model in enumerate(models)]
    view.publish(rows, PoolState(revision=1), ())
    found = {name: value for name, value in told(metrics).items() if name.startswith("picluster_machines")}
    assert len(found) == (MOST_MODELS + 1) * len(STATES) and sum(found.values()) == 250
    assert any('model="pi5"' in name for name in found) and max(map(len, found)) < 120


def test_the_queue_is_told_with_its_oldest(view: View, metrics: Metrics) -> None:
    waiting = [Lease(f"l{n}", "ann", "", joined_s=float(n), place=n) for n in (40, 10, 30)]
    held = Lease("h", "ben", "", state=LeaseState.HELD, machines=("m",))
    view.publish([*waiting, held], PoolState(revision=1, service_s=100.0, crowded=True), ())
    found = told(metrics)
    assert (found['picluster_leases{state="waiting"}'], found['picluster_leases{state="held"}']) == (3, 1)
    assert found["picluster_queue_oldest_seconds"] == 90
    assert found["picluster_queue_crowded"] == 1
    view.publish([], PoolState(revision=2, service_s=100.0), (), reloaded=True)
    assert told(metrics)["picluster_queue_oldest_seconds"] == 0


def test_webhooks_are_told_by_how_it_goes(view: View, metrics: Metrics) -> None:
    hooks = [
        Webhook("a", "slack", ""),
        Webhook("b", "slack", "", failing_since_us=1),
        Webhook("c", "slack", "", failing_since_us=1, paused=True),
    ]
    view.publish(hooks, PoolState(revision=1), ())
    found = told(metrics)
    assert [found[f'picluster_webhooks{{state="{state}"}}'] for state in ("well", "failing", "paused")] == [
        1
    ] * 3


# What was counted


def test_a_lease_on_several_machines_is_one_lease(metrics: Metrics) -> None:
    """Its events are as many as its machines."""
    machines = ("a", "b", "c")
    lease = Lease("l", "ann", "", state=LeaseState.HELD, machines=machines, joined_s=10.0, granted_s=50.0)
    metrics.happened([event("lease.held", name, "l") for name in machines], [lease])
    metrics.happened([event("lease.ended", name, "l", why="expired") for name in machines], [])
    found = told(metrics)
    assert found['picluster_events_total{kind="lease.held"}'] == 3
    assert (found["picluster_wait_seconds_count"], found["picluster_wait_seconds_sum"]) == (1, 40)
    assert found['picluster_leases_ended_total{why="expired"}'] == 1


def test_what_is_counted_has_an_end(metrics: Metrics) -> None:
    """Kinds, codes and reasons are ours; if that is ever wrong, Prometheus is not what breaks."""
    most = MOST_KINDS + 50
    odd = [type("Odd", (PiclusterError,), {"code": f"odd_{number}"}) for number in range(most)]
    metrics.happened([event(f"kind.{number}") for number in range(most)], [])
    metrics.happened(
        [event("lease.ended", lease=f"l{number}", why=f"w{number}") for number in range(most)], []
    )
    for kind in odd:
        metrics.error(kind("once"))
    found = told(metrics)
    for name in ("picluster_events_total{", "picluster_errors_total{"):
        assert len([line for line in found if line.startswith(name)]) == MOST_KINDS + 1
    assert found['picluster_leases_ended_total{why="other"}'] == most


@pytest.mark.parametrize(
    "line",
    [
        *(f'turn_failures_total{{reason="{reason}"}}' for reason in ("unavailable", "disk_full", "broken")),
        *(f'leases_ended_total{{why="{why}"}}' for why in (*ENDINGS, "other")),
        *(f'webhook_events_total{{outcome="{outcome}"}}' for outcome in ("delivered", "failed", "given_up")),
        *(f'beats_total{{protocol="{protocol}"}}' for protocol in ("v1", "legacy")),
        *(f'events_total{{kind="{kind}"}}' for kind in ("machine.offline", "machine.quarantined")),
        'errors_total{code="error"}',
    ],
)
def test_what_may_be_counted_is_told_as_nothing_before(metrics: Metrics, line: str) -> None:
    """To Prometheus a counter that is born at 1 has not grown: an alert would miss the first, and often only, one."""
    assert told(metrics)[f"picluster_{line}"] == 0


def test_whatever_has_a_word_in_the_sources_is_told_from_the_start(metrics: Metrics) -> None:
    sources = "".join(file.read_text() for file in (ROOT / "src/picluster/server").rglob("*.py"))
    words = re.findall(r'turn_failed\("(\w+)"\)|beats\.labels\("(\w+)"\)', sources)
    assert len(words) == 5
    known = "".join(told(metrics))
    assert [word for pair in words for word in pair if word and f'"{word}"' not in known] == []


def test_nothing_is_told_that_is_not_documented(metrics: Metrics) -> None:
    """The library would add to each counter when it was made."""
    assert [name for name in told(metrics) if "_created" in name] == []


def test_errors_are_counted_by_their_code(metrics: Metrics) -> None:
    for error in (NotFound(), NotFound(), Conflict()):
        metrics.error(error)
    found = told(metrics)
    assert found['picluster_errors_total{code="not_found"}'] == 2


def test_a_service_counts_what_happens_in_it(api: Api, board: Board) -> None:
    def now() -> dict[str, float]:
        return numbers(api.get("/metrics", "").text)

    before = now()
    lease = fresh_lease()
    api.put(lease, {"selector": f"name:{board.name}"})
    held = now()
    api.delete(lease)
    api.get("machines/nobody")
    api.post(f"machines/{board.name}/beat", {}, "pc_agent_wrong")
    after = now()

    def grew(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert held['picluster_leases{state="held"}'] == before['picluster_leases{state="held"}'] + 1
    assert grew("picluster_wait_seconds_count") == 1
    assert grew('picluster_leases_ended_total{why="released"}') == 1
    assert grew('picluster_errors_total{code="not_found"}') == 1
    assert grew('picluster_errors_total{code="not_authenticated"}') == 1
    assert grew('picluster_machines{model="unknown",state="free"}') == 0
    assert after["picluster_last_turn_age_seconds"] < 10


@pytest.mark.parametrize(
    ("method", "path", "sent", "status"),
    [
        ("PUT", "/healthz", b"", 405),
        ("PUT", "/api/v1/leases/x", b"\xff", 400),
        ("PUT", "/api/v1/leases/x", b" " * 70_000, 413),
        ("POST", "/api/lock", b" " * 70_000, 413),
        ("POST", "/api/lock", b"[1]", 400),
    ],
)
def test_an_error_is_counted_whoever_finds_it(
    api: Api, method: str, path: str, sent: bytes, status: int
) -> None:
    """Our own code, the web framework, or what stands before both."""

    def counted() -> float:
        found = numbers(api.get("/metrics", "").text)
        return sum(value for name, value in found.items() if name.startswith("picluster_errors_total"))

    before = counted()
    answer = api.send(method, path, content=sent, headers={"Content-Type": "application/json"})
    assert (answer.status_code, counted() - before) == (status, 1)


# Documented, drawn, alarmed on


def families(metrics: Metrics) -> Iterator[tuple[str, str, set[str]]]:
    """(name as it is asked for, kind, labels) of everything that a busy service tells."""
    for family in metrics.registry.collect():
        labels = {label for sample in family.samples for label in sample.labels}
        yield family.name + ("_total" if family.type == "counter" else ""), family.type, labels


@pytest.fixture
def busy(metrics: Metrics, view: View) -> Metrics:
    """With a sample of everything, so that it has its labels."""
    view.publish([Machine("m", "i", "a")], PoolState(revision=1), ())
    metrics.happened([event("lease.ended", "m", "l", why="expired")], [])
    metrics.error(NotFound())
    metrics.turn(0.1, 1)
    metrics.turn_failed("broken")
    metrics.beats.labels("v1").inc()
    metrics.webhooks.labels("delivered").inc()
    return metrics


def test_every_metric_is_documented_with_its_labels(busy: Metrics) -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("| `")]
    documented = {name: line for line in lines for name in NAME.findall(line.split("|")[1])}
    known = {name: labels for name, _, labels in families(busy)}
    assert set(documented) == set(known)
    for name, labels in known.items():
        assert set(re.findall(r"`(\w+)`", documented[name].split("|")[2])) == labels, name


def samples(busy: Metrics) -> set[str]:
    """Every name that a query can have."""
    found = {name for name, _, _ in families(busy)}
    histograms = [name for name, kind, _ in families(busy) if kind == "histogram"]
    return found | {f"{name}_{part}" for name in histograms for part in ("bucket", "sum", "count")}


def queries() -> Iterator[tuple[str, str]]:
    """(where, what) of the dashboard and of the alerts."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for group in YAML(typ="safe").load(ALERTS)["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


@pytest.mark.parametrize(("where", "query"), [*queries()])
def test_what_is_asked_for_exists(busy: Metrics, where: str, query: str) -> None:
    """Names, labels and the words that they are compared with."""
    names = NAME.findall(query)
    assert names or "up{" in query
    assert set(names) <= samples(busy)
    labels = {label for name, _, labels in families(busy) for label in labels} | {"job", "instance"}
    assert set(re.findall(r"[{,](\w+)=", query)) <= labels
    assert query.count("(") == query.count(")") and query.count("{") == query.count("}")


def test_what_is_compared_with_is_a_word_that_there_is() -> None:
    """A misspelt state would be an alert that never comes."""
    for where, query in queries():
        for compared in re.findall(r"(?:state|why|kind|code|reason)=~?\"([^\"]+)\"", query):
            for word in compared.split("|"):
                assert re.search(rf"\b{re.escape(word)}\b", WORDS), (where, word)


def test_a_dashboard_can_be_imported_anywhere() -> None:
    """It asks for its Prometheus, and no two panels have one place."""
    board = json.loads(DASHBOARD.read_text())
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {panel["datasource"]["uid"] for panel in panels if "datasource" in panel} == {"${datasource}"}
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places)


def test_an_alert_says_what_to_do_about_it() -> None:
    (group,) = YAML(typ="safe").load(ALERTS)["groups"]
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in ("page", "ticket") and rule["annotations"]["summary"]
