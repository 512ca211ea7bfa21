"""What 200 open pages cost the service: its CPU beside that with nobody looking, in one run, with 1,000 machines that beat."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode

import uvloop

from benchmarks.load import Connection, request
from benchmarks.service import TOKEN, change, resident_mib, service, update

MACHINES = 1_000
BEAT_S = 30.0
VIEWERS = 200
SECONDS = float(os.environ.get("BENCH_SECONDS", "30"))
CHANGE_S = 1.0
"""Between two changes, where there are any: each is pushed to everybody."""

ROLES = ("", "user", "operator")
"""Who looks, in turn: somebody without a name, a user, an operator. Each sees other rows."""


class Viewer:
    """One page that is left open: a stream, of which everything is read."""

    def __init__(self, port: int, cookie: str) -> None:
        self._port, self._cookie = port, cookie
        self.bytes = 0

    async def look(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**22)
        writer.write(request("GET", "/ui/stream?page=machines", Cookie=self._cookie))
        try:
            while told := await reader.read(2**16):
                self.bytes += len(told)
        finally:
            writer.close()


async def cookie_of(port: int, role: str) -> str:
    """A session for somebody with this role; empty for nobody."""
    if not role:
        return ""
    auth = {"Authorization": f"Bearer {TOKEN}", "Content_Type": "application/json"}
    async with Connection(port) as connection:
        made = await connection.ask(
            request("POST", "/api/v1/tokens", {"name": role, "kind": "person", "role": role}, **auth)
        )
    token = re.search(rb'"token":\s*"([^"]+)"', made)
    assert token
    form = urlencode({"token": token.group(1).decode()}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /login HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nContent-Length: {len(form)}\r\n\r\n"
    writer.write(head.encode() + form)
    said = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    cookie = re.search(rb"set-cookie: ([^;]+)", said, re.IGNORECASE)
    assert cookie, said
    return cookie.group(1).decode()


async def beating(port: int) -> None:
    """All machines in turn, spread over the time between two beats."""
    async with Connection(port) as connection:
        begun, count = time.perf_counter(), 0
        while True:
            await connection.ask(update(count % MACHINES))
            count += 1
            await asyncio.sleep(max(0.0, begun + count * BEAT_S / MACHINES - time.perf_counter()))


async def changing(port: int) -> None:
    """Somebody locks a machine, or gives it back."""
    async with Connection(port) as connection:
        for count in range(10**9):
            await connection.ask(change("lock" if count % 2 == 0 else "free", count // 2 % MACHINES, "ann"))
            await asyncio.sleep(CHANGE_S)


@asynccontextmanager
async def meanwhile(*tasks: asyncio.Task[None]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def cpu_s(pid: int) -> float:
    """What the process has had of the CPU so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def share(pid: int) -> float:
    """Percent of one core, over some seconds."""
    begun, before = time.perf_counter(), cpu_s(pid)
    await asyncio.sleep(SECONDS)
    return 100 * (cpu_s(pid) - before) / (time.perf_counter() - begun)


async def measure(port: int, pid: int, count: int, cookies: list[str]) -> str:
    viewers = [Viewer(port, cookies[number % len(cookies)]) for number in range(count)]
    async with meanwhile(*(asyncio.create_task(viewer.look()) for viewer in viewers)):
        await asyncio.sleep(3)
        told = sum(viewer.bytes for viewer in viewers)
        quiet = await share(pid)
        per_viewer = (sum(viewer.bytes for viewer in viewers) - told) / max(1, count) / SECONDS
        async with meanwhile(asyncio.create_task(changing(port))):
            busy = await share(pid)
        return f"{count:>8} {quiet:>16.1f} % {busy:>16.1f} % {per_viewer / 1024:>12.1f} {resident_mib(pid):>6.0f}"


async def compare(port: int, pid: int) -> None:
    async with Connection(port) as connection:
        for number in range(MACHINES):
            await connection.ask(update(number))
    cookies = [await cookie_of(port, role) for role in ROLES]
    async with meanwhile(asyncio.create_task(beating(port))):
        for count in (0, VIEWERS):
            print(await measure(port, pid, count, cookies), flush=True)


def main() -> None:
    print(f"{MACHINES:,} machines that beat every {BEAT_S:g} s, {SECONDS:g} s each; all share the machine")
    print("CPU of the service, in percent of one core\n")
    print(f"{'viewers':>8} {'beats alone':>18} {'a change a second':>18} {'kB/s to each':>12} {'MiB':>6}")
    with tempfile.TemporaryDirectory() as folder, service(folder) as (port, pid):
        uvloop.run(compare(port, pid))
