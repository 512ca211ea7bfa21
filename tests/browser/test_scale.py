"""A thousand machines on one page that is left open: what the first look costs, that the page stays smooth, and that it
does not grow. A campaign of minutes; what it measures is printed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, CDPSession, Page

from tests.browser.boards import many
from tests.browser.chromium import SIZES, log_in
from tests.browser.flows import expect_live
from tests.browser.pool import Pool, pool_of

MACHINES = 1_000
BEAT_S = 30.0
WARM_S, WATCHED_S = 90.0, 600.0
"""All rows have changed a few times before it counts; then ten minutes."""

LONGEST_TASK_MS = 200
"""What a person feels as a page that hangs."""

GROWTH = 1.1
"""Memory may be a tenth more after ten minutes: the collector's mood. A leak of one row a beat would be a doubling."""

_WATCH_TASKS = """
window.tasks = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) tasks.push([Math.round(entry.startTime), Math.round(entry.duration)]);
}).observe({type: "longtask", buffered: true});
"""


@contextmanager
def beating(pool: Pool) -> Iterator[None]:
    """All machines beat in turn, spread over the time between two beats, each a little warmer or cooler."""
    over = threading.Event()

    def beat() -> None:
        count, begun = 0, time.monotonic()
        names = list(pool.boards)
        while not over.wait(max(0.0, begun + count * BEAT_S / len(names) - time.monotonic())):
            name = names[count % len(names)]
            board = pool.boards[name]
            pool.beat(name, telemetry={**board.telemetry(), "temperature": board.temperature + count % 7})
            count += 1

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def memory(session: CDPSession, pool: Pool) -> dict[str, float]:
    """What the page and the service have, after the page's collector has been through."""
    session.send("HeapProfiler.collectGarbage")
    told: list[dict[str, Any]] = session.send("Performance.getMetrics")["metrics"]
    metrics = {one["name"]: one["value"] for one in told}
    status = Path(f"/proc/{pool.service.process.pid}/status").read_text()
    resident = int(status.partition("VmRSS:")[2].split()[0])
    return {
        "heap MiB": metrics["JSHeapUsedSize"] / 2**20,
        "nodes": metrics["Nodes"],
        "service MiB": resident / 1024,
    }


def first_look(page: Page, address: str) -> dict[str, float]:
    """Bytes and milliseconds until everything has come, with nothing in the cache."""
    page.goto(address, wait_until="load")
    expect_live(page)
    found: dict[str, float] = page.evaluate(
        """() => { const all = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
          return {"kB": all.reduce((sum, one) => sum + one.transferSize, 0) / 1024,
                  "ms to the first picture": performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0,
                  "ms to load": performance.getEntriesByType("navigation")[0].loadEventEnd} }"""
    )
    return found


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_thousand_machines_that_beat(browser: Browser, tmp_path: Path) -> None:
    """No task keeps the page from answering for longer than a person forgives, and its memory stays flat."""
    boards = [board for board in many(MACHINES + MACHINES // 20) if not board.gone_s][:MACHINES]
    with (
        pool_of(boards, tmp_path, PICLUSTER_QUOTA="0") as pool,
        beating(pool),
        browser.new_context(viewport=SIZES["desktop"]) as context,
    ):
        log_in(context, pool.address, pool.person("ann"))
        page = context.new_page()
        page.add_init_script(_WATCH_TASKS)
        say("first look", first_look(page, pool.address))
        session = context.new_cdp_session(page)
        session.send("Performance.enable")
        page.wait_for_timeout(WARM_S * 1000)
        before = memory(session, pool)
        say("memory, warm", before)
        page.wait_for_timeout(WATCHED_S * 1000)
        after = memory(session, pool)
        say(f"memory, {WATCHED_S / 60:g} minutes later", after)
        tasks = page.evaluate("tasks")
    say("tasks over 50 ms", {"count": len(tasks), "longest ms": max((ms for _, ms in tasks), default=0)})
    assert all(after[what] <= before[what] * GROWTH for what in before)
    assert all(ms <= LONGEST_TASK_MS for _, ms in tasks), tasks


def say(what: str, figures: dict[str, float]) -> None:
    told = ", ".join(f"{value:,.1f} {unit}" for unit, value in figures.items())
    print(f"\n{MACHINES:,} machines, {what}: {told}", flush=True)
