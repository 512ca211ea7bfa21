"""From a lease given back to the next holder's first command on the board: over the service, the agent and a real sshd."""

from __future__ import annotations

import os
import time
from statistics import median

from tests.lab.boards import Lab, what_is_lacking
from tests.lab.handovers import figures, hand_overs
from tests.lab.people import Sink, out_of_turn
from tests.service import until

BOARDS = 10
ROUNDS = 100


def boots(lab: Lab) -> list[float]:
    """Seconds from the power button to a free machine in the list, one board after the other."""
    pool, times = lab.service(), []
    for board in lab.shelf([f"boot-{number}" for number in range(BOARDS)], pool):
        began = time.monotonic()
        board.power_on()
        until(lambda board=board: board.machine)  # type: ignore[misc]
        times.append(time.monotonic() - began)
    return times


def main() -> None:
    lacking = "needs root" if os.geteuid() else what_is_lacking()
    if lacking:
        print(f"hand-over on a board: not measured, {lacking}")
        return
    with Lab() as lab:
        times = boots(lab)
        print(
            f"boot to visible, {BOARDS} boards: p50 {median(times):.2f} s, max {max(times):.2f} s", flush=True
        )
        pool = lab.service()
        board = lab.board("pi5", pool)
        until(lambda: board.machine)
        with Sink() as sink:
            done = list(hand_overs(lab, pool, board, sink, ROUNDS))
        print(figures(done))
        print(f"{len(sink.heard):,} commands of holders, {len(out_of_turn(sink.heard))} out of turn")
