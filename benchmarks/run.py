"""The runner beside what people had: `scp` for folders, `ssh … true` for a command, one board after the other for ten."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

from picluster.client.aio import AsyncClient
from picluster.runner.job import Watch, carry_out
from picluster.runner.keys import Access
from picluster.runner.plan import Job
from picluster.runner.ssh import Reached, connect, fresh_key
from tests.lab.boards import ACCOUNT, Board, Lab, what_is_lacking
from tests.lab.people import Holder
from tests.service import ADMIN, ServiceProcess, until

SIZE = 1 << 30
LARGE, MEDIUM, SMALL = 128 << 20, 1 << 20, 16 << 10
"""Half of the bytes are in large files, a quarter each in medium and small ones: an image, libraries, sources."""
ROUNDS, SLOW_S = 2, 1e9
BOARDS = 10
COMMANDS = 20
WORK = "sleep 1"
"""Of a job that runs on ten boards: what takes its time there, and not here."""


def plant_files(folder: Path, size: int) -> None:
    """So many bytes of large and small files, none like another."""
    noise = os.urandom(LARGE + (64 << 10))
    for name, each, share in (("large", LARGE, 2), ("medium", MEDIUM, 4), ("small", SMALL, 4)):
        for number in range(size // share // each):
            file = folder / name / str(number % 100) / str(number)
            file.parent.mkdir(parents=True, exist_ok=True)
            start = number * 7 % (64 << 10)
            file.write_bytes(number.to_bytes(8, "big") + noise[start : start + each - 8])


def main() -> None:
    lacking = "needs root" if os.geteuid() else what_is_lacking()
    if lacking:
        print(f"run: not measured, {lacking}")
        return
    with Lab() as lab:
        pool = lab.service()
        boards = lab.rack([f"pi5-{number}" for number in range(BOARDS)], pool)
        for board in boards:
            until(lambda board=board: board.machine.get("state") == "free")
        commands(lab, pool, boards[0])
        asyncio.run(several(pool))
        folders(lab, pool, boards[0])


# A command


def commands(lab: Lab, pool: ServiceProcess, board: Board) -> None:
    """`true` in three ways, in turn, so that whatever else the computer does is in all of them."""
    plain, whole, inside = [], [], []
    for _ in range(COMMANDS):
        plain.append(_plain_ssh(lab, pool, board))
        whole.append(_timed(lambda: _picluster_run(pool, board)))
        inside.append(asyncio.run(_carried_out(pool, Job(f"name:{board.name}", "true"))))
    ssh, run, job = median(plain), median(whole), median(inside)
    print(
        f"true on a board, {COMMANDS} times in turn, p50: ssh {ssh * 1000:.0f} ms;"
        f" from Python, with lease, folder, cleaning and verdict {job * 1000:.0f} ms ({job / ssh:.1f} ×);"
        f" picluster run, with starting Python {run * 1000:.0f} ms ({run / ssh:.1f} ×)",
        flush=True,
    )


def _plain_ssh(lab: Lab, pool: ServiceProcess, board: Board) -> float:
    """By somebody who has the board already."""
    holder = Holder(lab, pool)
    holder.take(board)
    took_s = _timed(lambda: subprocess.run(board.ssh_command(holder.key, "true"), check=True))
    holder.release()
    until(lambda: board.machine["state"] == "free")
    return took_s


def _picluster_run(pool: ServiceProcess, board: Board) -> None:
    told = {**os.environ, "PICLUSTER_URL": pool.address, "PICLUSTER_TOKEN": ADMIN}
    words = [sys.executable, "-m", "picluster", "run", "-q", "--on", f"name:{board.name}", "true"]
    subprocess.run(words, env=told, check=True)


async def _carried_out(pool: ServiceProcess, job: Job) -> float:
    """How long it took."""
    async with AsyncClient(pool.address, ADMIN) as client:
        began = time.monotonic()
        result = await carry_out(job, client, Watch())
        assert result.exit_code == 0, result
        return time.monotonic() - began


# Several boards


async def several(pool: ServiceProcess) -> None:
    """One job on all, and one after the other."""
    at_once = await _carried_out(pool, Job("name:pi5-*", WORK, count=BOARDS))
    in_turn = 0.0
    for number in range(BOARDS):
        in_turn += await _carried_out(pool, Job(f"name:pi5-{number}", WORK))
    print(
        f"`{WORK}` on {BOARDS} boards: at once {at_once:.1f} s, one after the other {in_turn:.1f} s"
        f" ({in_turn / at_once:.1f} ×)",
        flush=True,
    )


# Folders


def folders(lab: Lab, pool: ServiceProcess, board: Board) -> None:
    """A gigabyte there and back over the same link, in turn; of each the best, since the computer has other work."""
    _allow_scp(board)
    ways = {"picluster": _by_picluster, "scp": _by_scp}
    best = dict.fromkeys(ways, (SLOW_S, SLOW_S))
    with tempfile.TemporaryDirectory(prefix="picluster-bench-", dir="/dev/shm") as where:
        source = Path(where) / "bits"
        plant_files(source, SIZE)
        files = sum(1 for path in source.rglob("*") if path.is_file())
        for _ in range(ROUNDS):
            for name, both in ways.items():
                there, back = both(lab, pool, board, source)
                best[name] = (min(best[name][0], there), min(best[name][1], back))
                shutil.rmtree(source.parent / "back")
    for name, (there, back) in best.items():
        print(
            f"{SIZE >> 20:,} MiB in {files:,} files by {name}, best of {ROUNDS}:"
            f" there {_rate(there)}, back {_rate(back)}",
            flush=True,
        )


def _allow_scp(board: Board) -> None:
    """Which asks for sftp these days."""
    config = board.file("/etc/ssh/sshd_config")
    config.write_text(f"Subsystem sftp internal-sftp\n{config.read_text()}")
    board.run(["pkill", "-HUP", "-o", "sshd"])


def _by_picluster(lab: Lab, pool: ServiceProcess, board: Board, source: Path) -> tuple[float, float]:
    async def both() -> tuple[float, float]:
        key = fresh_key()
        async with (
            AsyncClient(pool.address, ADMIN) as client,
            client.lease(f"name:{board.name}", ssh_public_keys=(key.public,)) as lease,
            connect(lease.machine, Access(key)) as reached,
            reached.work_folder() as folder,
        ):
            there = await _awaited(lambda: reached.put(source, folder))
            back = await _awaited(lambda: _fetched(reached, folder, source.parent / "back"))
            return there, back

    return asyncio.run(both())


async def _fetched(reached: Reached, folder: str, into: Path) -> None:
    fetched = await reached.get(["bits"], folder, into)
    assert fetched.files and not fetched.missing


def _by_scp(lab: Lab, pool: ServiceProcess, board: Board, source: Path) -> tuple[float, float]:
    holder = Holder(lab, pool)
    holder.take(board)
    options = board.ssh_command(holder.key)[1:-1]
    at = f"{ACCOUNT}@{board.address}:"
    copy = ["scp", "-q", "-r", *options]
    there = _timed(lambda: subprocess.run([*copy, source, f"{at}bits"], check=True))
    back = _timed(lambda: subprocess.run([*copy, f"{at}bits", source.parent / "back"], check=True))
    holder.release()
    return there, back


def _timed(do: Callable[[], object]) -> float:
    began = time.monotonic()
    do()
    return time.monotonic() - began


async def _awaited(do: Callable[[], Awaitable[None]]) -> float:
    began = time.monotonic()
    await do()
    return time.monotonic() - began


def _rate(took_s: float) -> str:
    return f"{took_s:.1f} s ({SIZE / took_s / 1e6:.0f} MB/s)"
