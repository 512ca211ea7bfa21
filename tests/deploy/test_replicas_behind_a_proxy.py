"""The replica layout of `deploy/compose.yaml` for real: PostgreSQL, two services, and the proxy with its own file."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.deploy.proxy import Proxy, needs_caddy, proxy
from tests.end_to_end.holders import Holder, holders
from tests.end_to_end.lockers import Locker, lockers, locks
from tests.end_to_end.record import forgotten, granted_twice, whole_record
from tests.service import ADMIN, PATIENCE_S, ServiceProcess, service, until

pytestmark = [needs_caddy, pytest.mark.xdist_group("replicas behind a proxy")]

TRUSTED = "PICLUSTER_TRUSTED_PROXIES"
WAIT_S = 25
"""How long a call is held open; what it is told before that, it is told while it waits."""


@pytest.fixture(scope="module")
def layout(postgres_server: Any) -> Iterator[tuple[Proxy, ServiceProcess, ServiceProcess]]:
    url = postgres_server.create_database("behind_a_proxy")
    with (
        service("--url", url, **{TRUSTED: "*"}) as a,
        service("--url", url, **{TRUSTED: "10.0.0.0/8,127.0.0.0/8"}) as b,
        proxy(a, b) as front,
    ):
        for number in range(1, 7):
            a.old("update", f"10.0.0.{number}", HostName=f"10.0.0.{number}")
        yield front, a, b
    postgres_server.drop_database("behind_a_proxy")


def test_a_stream_is_passed_on_as_it_is_told(layout: Any) -> None:
    """A change made at either replica reaches a stream through the proxy while the stream stays open: one that buffers would
    keep it back until the end, or until there are 4 KiB."""
    front, a, b = layout
    headers = {"Authorization": f"Bearer {ADMIN}"}
    with httpx2.stream("GET", f"{front.address}/api/v1/events", headers=headers, timeout=PATIENCE_S) as told:
        lines = told.iter_lines()
        for replica in (a, b):
            comment = f"said at {uuid.uuid4()}"
            replica.send("PATCH", "/api/v1/machines/10.0.0.1", {"comment": comment})
            assert next(line for line in lines if comment in line)


def test_a_call_that_is_held_open_ends_when_its_turn_comes(layout: Any) -> None:
    """Through the proxy a waiter is granted as soon as the machine is given back, at whichever replica."""
    front, a, b = layout
    first, second = (f"/api/v1/leases/{uuid.uuid4()}" for _ in range(2))
    a.send("PUT", first, {"selector": "10.0.0.2", "ttl_s": None})
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(front.send, "PUT", f"{second}?wait={WAIT_S}", {"selector": "10.0.0.2"})
        until(lambda: b.get("/api/v1/queue").json())
        began = time.monotonic()
        a.send("DELETE", first)
        assert waiting.result().json()["state"] == "held"
        assert time.monotonic() - began < WAIT_S / 2


def test_who_asks_is_known_behind_the_proxy(layout: Any) -> None:
    """Limits, the record, and the reboot signal of an old board go by the address of who asks, not by the proxy's; and
    nobody can say that they are somebody else."""
    front, a, _ = layout
    headers = {"Authorization": f"Bearer {ADMIN}", "X-Forwarded-For": "10.9.9.9"}
    asking = [f"127.0.0.{number}" for number in range(2, 8)]
    for address in asking:
        with httpx2.Client(transport=httpx2.HTTPTransport(local_address=address)) as client:
            body = {"comment": f"from {address}"}
            client.patch(f"{front.address}/api/v1/machines/10.0.0.3", json=body, headers=headers)
    record = a.get("/api/v1/history?machine=10.0.0.3&kind=machine.amended").json()
    assert [event["address"] for event in reversed(record)] == asking


def test_losing_a_replica_loses_nothing(layout: Any) -> None:
    """Each replica is killed under load: whoever holds goes on holding, scripts go on locking, an open page goes on behind
    what it was told; no machine has two holders, and no acknowledged lock is forgotten."""
    front, a, b = layout
    with (
        holders([front], ["10.0.0.4"], 120) as (holder,),
        lockers([front], ["10.0.0.5"], "script") as (script,),
    ):
        seen = _next_id(front)
        a.kill()
        _both_go_on(holder, script)
        assert _next_id(front, behind=seen) != seen
        a.start()
        b.kill()
        _both_go_on(holder, script)
    assert holder.lost is None
    assert script.problems == []
    record = whole_record(front)
    assert granted_twice(record) == []
    assert forgotten(script.acknowledged, record) == []


def _both_go_on(holder: Holder, script: Locker) -> None:
    locked, renewed = locks([script]), holder.renewals
    until(lambda: locks([script]) > locked + 2 and holder.renewals > renewed + 2)


def _next_id(front: Proxy, behind: str = "") -> str:
    """The id of the first change of a lease that a stream tells; a stream that is resumed begins with what was missed."""
    headers = {"Authorization": f"Bearer {ADMIN}", **({"Last-Event-ID": behind} if behind else {})}
    with httpx2.stream("GET", f"{front.address}/api/v1/events", headers=headers, timeout=PATIENCE_S) as told:
        event = {}
        for line in told.iter_lines():
            name, _, value = line.partition(": ")
            event[name] = value
            if not line and event.get("event") == "lease":
                return event["id"]
    raise AssertionError("the stream has ended")
