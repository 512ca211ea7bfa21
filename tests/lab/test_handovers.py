"""From one holder to the next: quickly, completely, and never both."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

import pytest

from tests.lab.boards import Board, Lab
from tests.lab.handovers import figures, hand_overs
from tests.lab.people import Heard, Holder, Sink, out_of_turn
from tests.service import ADMIN, PATIENCE_S, ServiceProcess, until

pytestmark = [pytest.mark.needs_root, pytest.mark.xdist_group("lab-handovers")]
TTL_S = 3
"""The shortest that the service takes."""
SLEEPER = """
import subprocess, sys, time
from picluster import Client

url, token, selector, ttl_s, public_key, *session = sys.argv[1:]
with Client(url, token) as client:
    with client.lease(selector, ttl=float(ttl_s), ssh_public_keys=(public_key,)) as lease:
        print(lease.id, flush=True)
        subprocess.run(session, stdin=subprocess.DEVNULL)
        while lease.lost is None:
            time.sleep(0.01)
"""
"""A holder that does everything right, in a process that can be stopped."""


numbers = itertools.count(1)


@pytest.fixture(scope="module")
def pool(lab: Lab) -> ServiceProcess:
    """It asks for beats as seldom as any pool: a hand-over that waits for one is seen."""
    return lab.service(PICLUSTER_PULSE_S="0.2", PICLUSTER_POLICY__SLACK_S="0.5")


@pytest.fixture
def board(lab: Lab, pool: ServiceProcess) -> Board:
    appeared = lab.board(f"hand-{next(numbers)}", pool)
    until(lambda: appeared.machine)
    return appeared


def fences(heard: Sequence[Heard]) -> list[int]:
    """Under which fence each one worked, in order: a session that knew none would be 0."""
    return list(dict.fromkeys(int(one.fence) if one.fence.isdigit() else 0 for one in heard))


def check(lab: Lab, pool: ServiceProcess, board: Board, rounds: int) -> None:
    with Sink() as sink:
        done = list(hand_overs(lab, pool, board, sink, rounds))
    assert out_of_turn(sink.heard) == []
    used = fences(sink.heard)
    assert len(used) == rounds + 1 and all(before < after for before, after in itertools.pairwise(used))
    print(f"{figures(done)}; {len(sink.heard):,} commands, none out of turn")


def test_twenty_hand_overs(lab: Lab, pool: ServiceProcess, board: Board) -> None:
    """No command of a holder is carried out after the first of the next; the old session dies, the old key is refused,
    and each session knows its own fence."""
    check(lab, pool, board, 20)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_hundred_hand_overs(lab: Lab, pool: ServiceProcess, board: Board) -> None:
    check(lab, pool, board, 200)


def test_the_same_check_finds_the_old_holder_on_a_board_that_does_not_enforce(
    lab: Lab, pool: ServiceProcess
) -> None:
    """Advisory is said of it everywhere, and this is what it means: both are in."""
    board = lab.board("advisory", pool, enforced=False)
    ann, bob = Holder(lab, pool), Holder(lab, pool)
    for holder in (ann, bob):
        board.welcome(holder.key, "picluster")
    ann.take(board)
    assert board.machine["mode"] == "advisory"
    with Sink() as sink:
        sessions = [sink.work(board, ann, "ann")]
        until(lambda: "ann" in sink.began)
        ann.release()
        bob.take(board)
        sessions.append(sink.work(board, bob, "bob"))
        until(lambda: "bob" in sink.began)
        until(lambda: "ann" in out_of_turn(sink.heard))
        for session in sessions:
            session.kill()
            session.communicate()


def test_a_holder_that_was_asleep_wakes_up_to_a_closed_board(
    lab: Lab, pool: ServiceProcess, board: Board
) -> None:
    """Stopped for longer than its ttl, with its connection open: it learns that it was too late, and did nothing."""
    ann, bob = Holder(lab, pool), Holder(lab, pool)
    with Sink() as sink:
        work = sink.command(board, ann, "ann")
        told = [pool.address, ADMIN, f"name:{board.name}", str(TTL_S), ann.key.public, *work]
        asleep = subprocess.Popen(
            [sys.executable, "-c", SLEEPER, *told],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert asleep.stdout
        ann.path = f"/api/v1/leases/{asleep.stdout.readline().strip()}"
        until(lambda: "ann" in sink.began)
        os.killpg(asleep.pid, signal.SIGSTOP)
        bob.ask(f"name:{board.name}")
        bob.ready()
        assert ann.lease["ended"] == "expired"
        session = sink.work(board, bob, "bob")
        until(lambda: "bob" in sink.began)
        os.killpg(asleep.pid, signal.SIGCONT)
        complained = asleep.communicate(timeout=PATIENCE_S)[1]
        assert "LeaseLost: The lease has ended: expired" in complained
        assert not ann.can_use(board)
        commands = len(sink.heard)
        until(lambda: len(sink.heard) > commands)
        assert out_of_turn(sink.heard) == [] and session.poll() is None
        bob.release()
        session.communicate(timeout=PATIENCE_S)
    assert fences(sink.heard) == [ann.lease["fence"], bob.fence]


def test_a_board_rides_out_an_outage_of_the_service(lab: Lab, pool: ServiceProcess, board: Board) -> None:
    """The board is the gate: while nobody can say that the lease is over, it is not."""
    ann, bob = Holder(lab, pool), Holder(lab, pool)
    ann.take(board, ttl_s=TTL_S)
    with Sink() as sink:
        session = sink.work(board, ann, "ann")
        until(lambda: "ann" in sink.began)
        pool.kill()
        until(lambda: "refused" in board.log or "closed the connection" in board.log)
        assert ann.can_use(board) and not bob.can_use(board)
        pool.start()
        ann.renew()
        assert board.machine["lease"]["fence"] == ann.fence and session.poll() is None
        until(lambda: "beats again" in board.log)
        ann.release()
        session.communicate(timeout=PATIENCE_S)
    assert fences(sink.heard) == [ann.fence]
