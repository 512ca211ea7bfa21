"""The boards of the design's pictures, by name, model, rack and state; and as many more of the kind as a test wants.

A board here is what it should look like to a person; `pool.py` does what a board and people would do to get there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

GIB = 1 << 30


@dataclass(frozen=True)
class Model:
    """What boards of one model say of themselves."""

    short: str
    text: str
    cpu: str
    mem: int
    cpus: int = 4


PI5 = Model("pi5", "Raspberry Pi 5 Model B Rev 1.0", "Cortex-A76 BCM2712", 8 * GIB)
PI4 = Model("pi4", "Raspberry Pi 4 Model B Rev 1.4", "Cortex-A72 BCM2711", 4 * GIB)
PI3 = Model("pi3bplus", "Raspberry Pi 3 Model B Plus Rev 1.3", "Cortex-A53 BCM2837", GIB)
CM4 = Model("cm4", "Raspberry Pi Compute Module 4 Rev 1.1", "Cortex-A72 BCM2711", 8 * GIB)
ZERO2W = Model("zero2w", "Raspberry Pi Zero 2 W Rev 1.0", "Cortex-A53 BCM2710", GIB // 2)


@dataclass(frozen=True)
class Lock:
    """Who has a board, what for and how long: until released, for `ttl_s`, or renewed by a program up to `most_s`."""

    by: str
    job: str
    ttl_s: float | None = None
    most_s: float | None = None


RENEWED_S = 840.0
"""A ttl that only programs choose, long enough that a test needs no renewer."""


def for_(seconds: float, by: str, job: str) -> Lock:
    return Lock(by, job, seconds)


def renewed(most_s: float, by: str, job: str) -> Lock:
    return Lock(by, job, RENEWED_S, most_s)


@dataclass(frozen=True)
class Board:
    """One board. Of `lock`, `gone_s`, `drained`, `pending`, `sagging` and `cleaning` those that are set are so."""

    name: str
    address: str
    model: Model
    labels: dict[str, str] = field(default_factory=dict)
    os: str = "Raspberry Pi OS 12"
    temperature: float = 46.0
    load: float = 0.04
    lock: Lock | None = None
    gone_s: float = 0.0
    """Offline, and silent for so long."""
    drained: str = ""
    """Out of service, with this reason."""
    pending: bool = False
    sagging: bool = False
    """Its supply is too weak, for which the health rules take it out."""
    cleaning: bool = False
    """Given back just now by `lock.by`, and not yet clean."""
    comment: str = ""
    old: bool = False
    """It speaks the first service's protocol."""

    @property
    def facts(self) -> dict[str, Any]:
        model, said = self.model, {"os": self.os, "arch": "aarch64", "host_name": self.name}
        said |= {"model": model.short, "model_name": model.text, "platform": model.cpu}
        return {**said, "mem": model.mem, "cpus": model.cpus, "serial": f"{_seed(self).getrandbits(64):016x}"}

    @property
    def host_key(self) -> str:
        return f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{_seed(self).getrandbits(160):043x} root@{self.name}"

    def telemetry(self) -> dict[str, Any]:
        """How it is now."""
        loads = [self.load, round(self.load * 0.8, 2), round(self.load * 0.6, 2)]
        return {
            "temperature": self.temperature,
            "load": loads,
            "mem_available": self.model.mem // 2,
            "disk_free": 21 * GIB,
            "disk_total": 29 * GIB,
            "uptime_s": 86_400 + _seed(self).randrange(900_000),
            "under_voltage": self.sagging,
        }


def _seed(board: Board) -> random.Random:
    """Chance that is the same each time."""
    return random.Random(board.name)


CAMERA, RACK_A, RACK_B, BENCH = {"camera": ""}, {"rack": "a"}, {"rack": "b"}, {"rack": "bench"}
RIG = {"rack": "camera rig", "fan": "", **CAMERA}
VISION, NIGHTLY = "ci:pipelines/vision", "nightly vision-perf #4812"

RACKS = (
    Board(
        "pi5-rack-a-01", "10.0.4.11", PI5, {**RACK_A, **CAMERA}, temperature=46.2
    ),
    Board(
        "pi5-rack-a-02", "10.0.4.12", PI5, {**RACK_A, **CAMERA}, temperature=61.3, load=2.31,
        lock=for_(2 * 3600, "ann", "camera driver, torn frames"),
    ),
    Board("pi5-rack-a-03", "10.0.4.13", PI5, {**RACK_A, "nvme": ""}, temperature=45.0, load=0.02),
    Board(
        "pi5-rack-a-04", "10.0.4.14", PI5, {**RACK_A, "nvme": ""}, "Raspberry Pi OS 13", 64.1, 3.40,
        lock=for_(2280, "bob", "kernel 6.12 rt, cyclictest"),
    ),
    Board(
        "pi5-rack-a-05", "10.0.4.15", PI5, RACK_A, temperature=55.4, load=0.44,
        lock=for_(3600, "bob", "boot order of the nvme hat"), cleaning=True,
    ),
    Board("pi5-rack-a-06", "10.0.4.16", PI5, RACK_A, "Raspberry Pi OS 13", load=0.01),
    Board("pi5-rack-a-07", "10.0.4.17", PI5, RACK_A, "Raspberry Pi OS 13", 41.0, 0.31, pending=True),
    Board(
        "pi5-rack-a-08", "10.0.4.18", PI5, {**RACK_A, "nvme": ""}, temperature=59.0, load=1.66,
        lock=for_(6060, "dana", "nvme boot, firmware 2026-10"),
    ),
    Board(
        "pi4-rack-b-01", "10.0.4.41", PI4, RACK_B, temperature=60.2, load=2.75,
        lock=renewed(8640, VISION, NIGHTLY),
    ),
    Board(
        "pi4-rack-b-02", "10.0.4.42", PI4, RACK_B, temperature=62.0, load=2.81,
        lock=renewed(8640, VISION, NIGHTLY),
    ),
    Board("pi4-rack-b-03", "10.0.4.43", PI4, RACK_B, temperature=58.0, load=0.12, sagging=True),
    Board("pi4-rack-b-04", "10.0.4.44", PI4, {**RACK_B, "hat": "relay"}, "Ubuntu 24.04", 47.0, 0.03),
    Board(
        "pi4-rack-b-05", "10.0.4.45", PI4, RACK_B, gone_s=720, lock=renewed(7200, "ci:pipelines/nightly", "soak"),
    ),
    Board("pi3-rack-b-06", "10.0.4.46", PI3, RACK_B, temperature=49.0, load=0.05),
    Board(
        "pi3-rack-b-07", "10.0.4.47", PI3, RACK_B, temperature=63.0, load=0.97, old=True,
        lock=Lock("legacy:carl", "python3 soak_test.py"),
    ),
    Board("pi3-rack-b-08", "10.0.4.48", PI3, RACK_B, "Raspberry Pi OS 11", gone_s=68_400),
    Board(
        "cm4-bench-01", "10.0.5.11", CM4, {**BENCH, "emmc": ""}, "Debian 12", 57.0, 1.04,
        lock=for_(19_200, "bob", "emmc wear, long write"),
    ),
    Board("cm4-bench-02", "10.0.5.12", CM4, {**BENCH, "emmc": ""}, "Debian 12", 45.0, 0.02),
    Board(
        "cm4-bench-03", "10.0.5.13", CM4, BENCH, "Debian 12", 43.0, 0.0,
        drained="New eMMC carrier, back on Thursday",
    ),
    Board(
        "zero2w-bench-01", "10.0.5.21", ZERO2W, BENCH, temperature=44.0, load=0.08,
        lock=Lock("ann", "boot-time bisect"), comment="serial console on ttyUSB3 of the bench host",
    ),
    Board("zero2w-bench-02", "10.0.5.22", ZERO2W, BENCH, temperature=42.0, load=0.06),
    Board("zero2w-bench-03", "10.0.5.23", ZERO2W, BENCH, temperature=43.0),
    Board(
        "pi5-cam-01", "10.0.4.31", PI5, RIG, temperature=72.4, load=3.87,
        lock=for_(360, "ann", "vision-perf, baseline run"),
    ),
    Board(
        "pi5-cam-02", "10.0.4.32", PI5, RIG, temperature=66.0, load=3.12,
        lock=renewed(1680, VISION, "pr-2291 camera smoke"),
    ),
)  # fmt: skip
"""The 24 of the pictures."""

SMALL = tuple(board for board in RACKS if board.name.startswith(("pi5-rack-a-0", "cm4-bench-02")))[:8]
"""Eight of them: one rack, and most of what can be the matter."""

WELL = {"lock": None, "cleaning": False, "pending": False, "sagging": False}

TROUBLE = tuple(
    replace(board, **{**WELL, **trouble})  # type: ignore[arg-type]
    for board, trouble in zip(
        RACKS[:12],
        [
            *({"gone_s": seconds} for seconds in (95, 600, 7200, 260_000)),
            *({"sagging": True, "temperature": 58.0} for _ in range(2)),
            *({"temperature": 84.5, "load": 4.2} for _ in range(2)),
            {"drained": "burnt smell, do not switch on"},
            {"pending": True},
            {"comment": "<b>not bold</b> \u202eright to left " + "long" * 60},
            {"labels": {f"label{number}": "x" * 40 for number in range(12)}},
        ],
        strict=True,
    )
)
"""Twelve boards, with something the matter with each."""

KINDS = (PI5, PI5, PI4, PI4, CM4, ZERO2W)
JOBS = (
    "nightly vision-perf",
    "boot-time bisect",
    "kernel 6.12 rt, cyclictest",
    "firmware 2026-10",
    "wifi soak",
)
PEOPLE = ("ann", "bob", "dana", VISION)


def many(count: int) -> tuple[Board, ...]:
    """A lab of so many: a rack for each 20; of ten boards about five free, three locked, one drained, one out of order."""
    return tuple(_one_of_many(number) for number in range(count))


def _one_of_many(number: int) -> Board:
    rack, slot, chance = number // 20 + 1, number % 20 + 1, random.Random(number)
    model = chance.choice(KINDS)
    board = Board(
        f"{model.short}-rack-{rack:02}-{slot:02}",
        f"10.{rack}.4.{slot}",
        model,
        {"rack": f"{rack:02}", **(CAMERA if number % 7 == 0 else {})},
        temperature=round(chance.uniform(40, 66), 1),
        load=round(chance.expovariate(1.5), 2),
    )
    return replace(board, **_plight(number, chance))


def _plight(number: int, chance: random.Random) -> dict[str, Any]:
    if number % 10 in (2, 5, 8):
        job = chance.choice(JOBS)
        return {"lock": for_(chance.randrange(1800, 40_000), chance.choice(PEOPLE), job)}
    if number % 40 == 3:
        return {"gone_s": float(chance.randrange(200, 90_000))}
    if number % 40 == 13:
        return {"sagging": True}
    return {"drained": "waits for a fan"} if number % 20 == 17 else {}


def past(board: Board, until_us: int, span_s: float = 3600, every_s: float = 30) -> Iterator[dict[str, Any]]:
    """Samples as they would be if the board had beaten all the time, but for when it was gone; the newest last."""
    chance = _seed(board)
    warmth = 0.0
    for step in range(int(span_s / every_s), 0, -1):
        warmth = 0.9 * warmth + chance.uniform(-0.8, 0.8)
        ago_s = step * every_s + chance.uniform(0, 4)
        if ago_s < board.gone_s:
            return
        yield {
            "machine": board.name,
            "at_us": until_us - int(ago_s * 1e6),
            "temperature": round(board.temperature + warmth * 2, 1),
            "load": round(max(0.0, board.load * (1 + warmth / 6)), 2),
            "mem_available": board.model.mem // 2,
            "disk_free": 21 * GIB,
            "throttled": board.temperature >= 80 and step % 4 == 0,
            "under_voltage": board.sagging and step % 9 == 4,
            "rebooted": False,
        }
