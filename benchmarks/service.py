"""What one service on one core does, for 10, 1,000 and 10,000 machines, and how quick a hand-over is."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from benchmarks.load import REFUSED, Connection, rate, request

POOLS = (10, 1_000, 10_000)
SECONDS = float(os.environ.get("BENCH_SECONDS", "4"))
CLIENTS = 64
WAITERS = 500
KEY, TOKEN = "bench", "benchmark-admin-token-0000"
OLD_BEATS = {10: 2400, 1_000: 460, 10_000: 42}
"""Beats a second of the service that this one continues, on a core of the same kind."""


@contextmanager
def service(folder: str) -> Iterator[tuple[int, int]]:
    """A real service in a folder: (port, pid)."""
    env = {
        **os.environ,
        "RPI_APIKEY": KEY,
        "PICLUSTER_ADMIN_TOKEN": TOKEN,
        "PICLUSTER_POLICY__LOCK_DELAY_S": "0",
    }
    command = [
        sys.executable,
        "-m",
        "picluster",
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--data",
        folder,
    ]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        greeting = process.stderr.readline()
        found = re.search(r":(\d+)$", greeting.strip())
        if not found:
            raise SystemExit(greeting + process.stderr.read())
        try:
            yield int(found.group(1)), process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)


def update(number: int) -> bytes:
    board = {
        "IpAddress": f"10.{number // 65536}.{number // 256 % 256}.{number % 256}",
        "HostName": f"pi-{number}",
    }
    facts = {"Platform": "ARMv7 Processor rev 4 (v7l)", "OsName": "Linux", "OsVersion": "6.1"}
    beat = {"Temperature": "48.3'C", "SystemLoad": "0.1 : 0.2 : 0.3", "Command": None, "Comment": None}
    return request("POST", "/api/update", {"ApiKey": KEY, **board, **facts, **beat})


def change(what: str, number: int, user: str) -> bytes:
    address = f"10.{number // 65536}.{number // 256 % 256}.{number % 256}"
    body = {
        "ApiKey": KEY,
        "IpAddress": address,
        "CurrentUserName": user,
        "CurrentTaskName": "bench",
        "LockKey": "k",
    }
    return request("POST", f"/api/{what}", body)


async def measure(port: int, pid: int, machines: int) -> dict[str, float]:
    beats = [update(number) for number in range(machines)]
    async with Connection(port) as connection:
        for beat in beats:
            await connection.ask(beat)

    async def beat(connection: Connection, number: int) -> None:
        await connection.ask(beats[number % machines])

    async def pair(connection: Connection, number: int) -> bool:
        which, user = number % machines, f"user-{number}"
        if await connection.ask(change("lock", which, user)) == b"null":
            return REFUSED
        return await connection.ask(change("free", which, user)) != b"null"

    async def listing(connection: Connection, number: int) -> None:
        await connection.ask(request("GET", "/api"))

    return {
        "beats/s": await rate(port, CLIENTS, SECONDS, beat),
        "lock+free/s": await rate(port, CLIENTS, SECONDS, pair),
        "lists/s": await rate(port, 4, SECONDS, listing),
        "MiB": resident_mib(pid),
    }


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024  # type: ignore[union-attr]


async def hand_over(port: int) -> list[float]:
    """Milliseconds from sending a release until the next of 500 held-open waiters has its answer."""
    auth = {"Authorization": f"Bearer {TOKEN}", "Content_Type": "application/json"}
    released_at = 0.0
    times: list[float] = []
    granted: asyncio.Queue[tuple[str, float]] = asyncio.Queue()

    async def waiter(connection: Connection, lease: str) -> None:
        ask = {"selector": "10.0.0.0", "ttl_s": None}
        answer = json.loads(
            await connection.ask(request("PUT", f"/api/v1/leases/{lease}?wait=25", ask, **auth))
        )
        while answer["state"] == "waiting":
            renew = request("POST", f"/api/v1/leases/{lease}/renew?wait=25", {}, **auth)
            answer = json.loads(await connection.ask(renew))
        granted.put_nowait((lease, time.perf_counter()))

    connections = [await Connection(port).__aenter__() for _ in range(WAITERS + 1)]
    await connections[-1].ask(update(0))
    waiting = [asyncio.create_task(waiter(connection, str(uuid.uuid4()))) for connection in connections[:-1]]
    holder, _ = await granted.get()
    everybody = request("GET", "/api/v1/queue?limit=1000", **auth)
    while len(json.loads(await connections[-1].ask(everybody))) < WAITERS - 1:
        pass  # asking is what passes the time: each answer lets more of them join
    for _ in range(WAITERS - 1):
        released_at = time.perf_counter()
        await connections[-1].ask(request("DELETE", f"/api/v1/leases/{holder}", **auth))
        holder, at = await granted.get()
        times.append((at - released_at) * 1000)
    await asyncio.gather(*waiting)
    for connection in connections:
        await connection.__aexit__()
    return times


def fsync_ms(folder: str) -> list[float]:
    """The price of one durable write on this disk."""
    times = []
    with open(Path(folder) / "fsync", "wb") as file:
        for _ in range(200):
            file.write(b"x" * 4096)
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - started) * 1000)
    return times


def main() -> None:
    print(f"{CLIENTS} clients, {SECONDS:g} s each; load and service share the machine\n")
    print(f"{'machines':>9} {'beats/s':>9} {'× old':>7} {'lock+free/s':>12} {'lists/s':>9} {'MiB':>6}")
    for machines in POOLS:
        with tempfile.TemporaryDirectory() as folder, service(folder) as (port, pid):
            found = uvloop.run(measure(port, pid, machines))
        ratio = found["beats/s"] / OLD_BEATS[machines]
        print(
            f"{machines:>9,} {found['beats/s']:>9,.0f} {ratio:>7,.1f} {found['lock+free/s']:>12,.0f}"
            f" {found['lists/s']:>9,.0f} {found['MiB']:>6.0f}",
            flush=True,
        )
    with tempfile.TemporaryDirectory() as folder, service(folder) as (port, _):
        disk = fsync_ms(folder)
        times = sorted(uvloop.run(hand_over(port)))
    p50, p99 = statistics.median(times), times[int(len(times) * 0.99)]
    print(f"\nrelease to next grant, {WAITERS} waiters on one machine: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    print(f"one fsync on the same disk: p50 {statistics.median(disk):.2f} ms, p99 {sorted(disk)[197]:.2f} ms")
