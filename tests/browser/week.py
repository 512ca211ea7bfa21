"""What one board lived through, as in the design's picture of its page: leases with verdicts, heat, a reboot, a silence.

No test can wait for a day, so it is written into the database that a service on SQLite has open.
"""

from __future__ import annotations

import json
import random
import sqlite3
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.browser.boards import GIB

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
EVERY_S = 60.0
SPAN_S = 600.0


@dataclass(frozen=True)
class Past:
    """One lease that is over: hours ago, for how long, how warm it made the board, and what came of it."""

    holder: str
    job: str
    ago_h: float
    hours: float
    heat: float
    verdict: str = "clean"
    reasons: tuple[str, ...] = ()


RUNS = (
    Past("ci:pipelines/nightly", "nightly soak #4809", 23.2, 2.6, 64),
    Past(
        "bob",
        "thermal soak without fan",
        19.5,
        4.7,
        81,
        "dirty",
        ("throttled, seen 7 ×", "too hot, seen 9 ×"),
    ),
    Past("ci:pipelines/vision", "nightly vision-perf #4811", 9.2, 2.3, 65),
    Past("ann", "vision-perf, torn frames", 4.1, 2.1, 65),
)
"""Of the last day, oldest first."""

REBOOT_H = 11.0
SILENT_S = 900.0
"""Before it came back."""
THROTTLED_H = (17.9, 17.7, 17.6, 17.1, 17.0, 16.2, 16.0)


def write_week(folder: Path, machine: str, runs: Sequence[Past] = RUNS) -> None:
    """The last day beat by beat, six days before it in spans of ten minutes, and the events of the day."""
    now_us = time.time_ns() // 1000
    with closing(sqlite3.connect(folder / "picluster.db", timeout=30)) as database, database:
        database.execute("DELETE FROM samples WHERE machine = ?", (machine,))
        _insert(database, "samples", _day(machine, now_us, runs))
        _insert(database, "thinned", _days_before(machine, now_us))
        _insert(database, "events", _events(machine, now_us, runs))


def _insert(database: sqlite3.Connection, table: str, rows: Iterator[dict[str, Any]]) -> None:
    written = list(rows)
    columns = ", ".join(written[0])
    values = ", ".join(f":{name}" for name in written[0])
    database.executemany(f"INSERT INTO {table} ({columns}) VALUES ({values})", written)


def _day(machine: str, now_us: int, runs: Sequence[Past]) -> Iterator[dict[str, Any]]:
    chance, heat, load = random.Random(machine), 46.0, 0.1
    for step in range(int(DAY_S / EVERY_S), 0, -1):
        ago_h = step * EVERY_S / HOUR_S
        run = next((one for one in runs if one.ago_h - one.hours < ago_h <= one.ago_h), None)
        heat += ((run.heat if run else 45.0) - heat) * 0.05 + chance.uniform(-0.7, 0.7)
        load += ((2.6 + run.heat / 60 if run else 0.06) - load) * 0.3 + chance.uniform(-0.06, 0.06)
        if 0 < (ago_h - REBOOT_H) * HOUR_S < SILENT_S:
            continue
        yield {
            "machine": machine,
            "at_us": now_us - int(step * EVERY_S * 1e6) + chance.randrange(2_000_000),
            "temperature": round(heat, 1),
            "load": round(max(0.0, load), 2),
            "mem_available": int(8 * GIB * (0.9 - 0.07 * max(0.0, load))),
            "disk_free": 21 * GIB,
            "throttled": any(abs(at - ago_h) * HOUR_S < EVERY_S / 2 for at in THROTTLED_H),
            "under_voltage": False,
            "rebooted": False,
        }


def _days_before(machine: str, now_us: int) -> Iterator[dict[str, Any]]:
    chance, span_us = random.Random(machine + "before"), int(SPAN_S * 1e6)
    newest = (now_us - int(DAY_S * 1e6)) // span_us
    for span in range(newest - int(6 * DAY_S / SPAN_S), newest):
        busy = span // 18 % 3 == 0
        edges: dict[str, float] = {}
        for name, mean in (
            ("temperature", (62 if busy else 45) + chance.uniform(-2, 2)),
            ("load", (2.5 if busy else 0.1) + chance.uniform(-0.05, 0.4)),
            ("mem_available", 8 * GIB * (0.65 if busy else 0.9)),
            ("disk_free", 21.0 * GIB),
        ):
            edges |= {f"{name}_min": mean * 0.95, f"{name}_mean": mean, f"{name}_max": mean * 1.05}
        marks = {"throttled": span % 97 == 0, "under_voltage": False, "rebooted": False}
        yield {"machine": machine, "at_us": span * span_us, "count": 20, **edges, **marks}


def _events(machine: str, now_us: int, runs: Sequence[Past]) -> Iterator[dict[str, Any]]:
    told: list[tuple[float, str, Past | None, str, dict[str, Any]]] = []
    for run in runs:
        lease, end_h = str(uuid.uuid4()), run.ago_h - run.hours
        judged = {"verdict": run.verdict, "reasons": run.reasons}
        told += [
            (run.ago_h, "lease.held", run, lease, {"fence": 1, "job": run.job}),
            (end_h, "lease.ended", run, lease, {"why": "released", "reason": ""}),
            (end_h - 0.001, "lease.judged", run, lease, judged),
        ]
    told.append((REBOOT_H, "machine.rebooted", None, "", {}))
    for ago_h, kind, of, lease, detail in sorted(told, key=lambda one: -one[0]):
        at_us = now_us - int(ago_h * HOUR_S * 1e6)
        holder = of.holder if of else ""
        yield {
            "revision": at_us, "epoch": 1, "at_us": at_us, "kind": kind, "actor": holder or "picluster", "address": "",
            "machine": machine, "lease": lease, "holder": holder, "detail": json.dumps(detail),
        }  # fmt: skip
