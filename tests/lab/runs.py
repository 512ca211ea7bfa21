"""`picluster run` as people and CI jobs start it: a process, with nothing of the tests' own keys and settings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.lab.boards import Board
from tests.service import ADMIN, PATIENCE_S, ServiceProcess, until

GIVEN_BACK_S = 15.0
"""So soon after a run that could clean up its board is free. What it takes is a second; the rest is the share of a
machine that is busy with other tests."""


class Ran(NamedTuple):
    """How it ended."""

    code: int
    out: str
    err: str


class Run:
    """One of them, started. `within` is a command that starts it."""

    def __init__(
        self,
        pool: ServiceProcess,
        board: Board | str,
        *words: str | Path,
        home: Path = Path("/nonexistent"),
        within: Sequence[str] = (),
        settings: dict[str, str] | None = None,
        **more: Any,
    ) -> None:
        usual = {name: value for name, value in os.environ.items() if not name.startswith(("SSH_", "RPI_"))}
        told = {
            "PICLUSTER_URL": pool.address,
            "PICLUSTER_TOKEN": ADMIN,
            "HOME": str(home),
            **(settings or {}),
        }
        selector = f"name:{board.name}" if isinstance(board, Board) else board
        how: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **more}
        self.process = subprocess.Popen(
            [*within, sys.executable, "-m", "picluster", "run", "--on", selector, *map(str, words)],
            env={**usual, **told},
            stdin=subprocess.DEVNULL,
            **how,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
        self.process.wait()

    def says(self, text: str) -> None:
        """Wait until its command has printed this line."""
        assert self.process.stdout
        for line in self.process.stdout:
            if line.strip() == text:
                return
        raise AssertionError(f"it ended with {self.end()}")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> Ran:
        """Wait for its end."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return Ran(self.process.returncode, out, err)


def run(pool: ServiceProcess, board: Board | str, *words: str | Path, **more: Any) -> Ran:
    """One, to its end."""
    with Run(pool, board, *words, **more) as running:
        return running.end()


def free_within(board: Board, seconds: float) -> None:
    """From now on."""
    began = time.monotonic()
    until(lambda: board.machine.get("state") == "free")
    took_s = time.monotonic() - began
    assert took_s <= seconds, f"{board.name} was free only after {took_s:.1f} s"


def running_on(board: Board, word: str) -> list[str]:
    """Commands of the board that have this word."""
    return [line for line in board.run(["ps", "-eo", "args"]).stdout.splitlines() if word in line]
