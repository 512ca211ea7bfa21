"""One board passed from holder to holder, each of whom works on it without a pause: who got in when, and who was out when."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

from tests.lab.boards import Board, Lab
from tests.lab.people import Holder, Sink
from tests.service import PATIENCE_S, ServiceProcess, until


class HandOver(NamedTuple):
    """One of them, in seconds from just before the release is sent."""

    key_s: float
    """Until the next holder's first command was carried out, over ssh with their own key."""
    session_s: float
    """Until the last holder's session was dead."""


class Worker:
    """A holder at work: `session` sends one command after the other into the sink, under `name`."""

    def __init__(self, lab: Lab, pool: ServiceProcess, name: str) -> None:
        self.name = name
        self.holder = Holder(lab, pool)
        self.session: subprocess.Popen[str]

    def wait_for(self, board: Board, sink: Sink) -> threading.Thread:
        """In the queue, and then at work at once."""
        self.holder.ask(f"name:{board.name}")

        def begin() -> None:
            self.holder.ready()
            self.session = sink.work(board, self.holder, self.name)

        waiting = threading.Thread(target=begin)
        waiting.start()
        return waiting

    def ended(self) -> float:
        """When its session died."""
        self.session.communicate(timeout=PATIENCE_S)
        return time.monotonic()


def hand_overs(lab: Lab, pool: ServiceProcess, board: Board, sink: Sink, rounds: int) -> Iterator[HandOver]:
    """So many of them. Whoever had the board tries to come back each time, and is refused."""
    last = Worker(lab, pool, "0")
    last.wait_for(board, sink).join()
    until(lambda: "0" in sink.began)
    for number in range(1, rounds + 1):
        following = Worker(lab, pool, str(number))
        waiting = following.wait_for(board, sink)
        until(lambda: pool.get("/api/v1/queue").json())
        released = time.monotonic()
        last.holder.release()
        dead = last.ended()
        waiting.join()
        until(lambda name=following.name: name in sink.began)
        assert not last.holder.can_use(board), f"the key of holder {last.name} still opens {board.name}"
        assert last.holder.renew()["error"]["code"] == "lease_lost"
        yield HandOver(sink.began[following.name] - released, dead - released)
        last = following
    last.holder.release()
    last.ended()


def figures(done: list[HandOver]) -> str:
    """In a line, for people."""
    keys, sessions = [one.key_s for one in done], [one.session_s for one in done]
    return (
        f"given back to the next holder's first command over ssh, {len(done)} times: "
        f"p50 {median(keys) * 1000:.0f} ms, max {max(keys) * 1000:.0f} ms; "
        f"the last holder's session dead: p50 {median(sessions) * 1000:.0f} ms, max {max(sessions) * 1000:.0f} ms"
    )
