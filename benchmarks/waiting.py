"""From a machine given back to the next holder's `with` block, with the real client at both ends."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time

from benchmarks.service import KEY, TOKEN, service
from picluster import Client, PiBoardTable
from picluster.client.boards import PiBoardEntity

ROUNDS = 500
OLD_POLL_S = 10.0
"""The first service's script slept so long between two looks: on average half of it was lost, at worst all."""


def hand_overs(url: str) -> list[float]:
    """Milliseconds from just before the release is sent until the waiter may use the machine."""
    times: list[float] = []
    with Client(url, TOKEN) as holder, Client(url, TOKEN) as waiter:
        for _ in range(ROUNDS):
            granted_at: list[float] = []

            def wait(granted_at: list[float] = granted_at) -> None:
                with waiter.lease("", ttl=30):
                    granted_at.append(time.perf_counter())

            with holder.lease("", ttl=30):
                thread = threading.Thread(target=wait)
                thread.start()
                while not holder.queue():
                    pass  # asking is what passes the time
                released_at = time.perf_counter()
            thread.join()
            times.append((granted_at[0] - released_at) * 1000)
    return times


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, service(folder) as (port, _):
        url = f"http://127.0.0.1:{port}"
        PiBoardTable(url, KEY, "bench").update(PiBoardEntity({"IpAddress": "10.0.0.1", "HostName": "pi"}))
        times = sorted(hand_overs(url))
    p50, p99 = statistics.median(times), times[int(len(times) * 0.99)]
    print(f"given back to used by the next, {ROUNDS} times: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    print(
        f"polling each {OLD_POLL_S:g} s, as before: p50 {OLD_POLL_S / 2:g} s, p99 {OLD_POLL_S * 0.99:.1f} s"
    )
