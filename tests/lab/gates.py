"""The gate alone on a board: what the agent's loop would ask it, asked by a test, with nothing else going on."""

from __future__ import annotations

import json
import subprocess
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.lab.boards import ACCOUNT, AGENT, PYTHON, Board, Key

DRIVER = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from picluster_agent import enforce, processes, sweep
from picluster_agent.log import Log
from picluster_agent.settings import find_enforcing
from picluster_agent.tree import Tree

exec(sys.argv[3])  # a bug, or nothing
gate = enforce.Enforcer(Tree(), find_enforcing(json.loads(sys.argv[2]), Tree()), Log(sys.stderr))
for line in sys.stdin:
    verb, *said = json.loads(line)
    began = time.monotonic()
    try:
        answer = getattr(gate, verb)(*said)
    except OSError as problem:
        answer = f"OSError: {problem}"
    took_s = time.monotonic() - began
    print(json.dumps([answer, gate.mode, gate.trouble, took_s]), flush=True)
"""


class Answer(NamedTuple):
    """What a call came to, and what the gate says of itself then."""

    value: Any
    mode: str
    trouble: str
    took_s: float


class GateOn:
    """Runs it on a board; leaving it kills it, and what it let in stays in."""

    def __init__(self, board: Board, bug: str = "", **told: str) -> None:
        self._board = board
        argv = [PYTHON, "-c", DRIVER, AGENT, json.dumps({"PICLUSTER_SSH_USER": ACCOUNT, **told}), bug]
        self._process = subprocess.Popen(
            board.command(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> str:
        """What it has logged."""
        self._process.kill()
        return self._process.communicate()[1]

    def look(self) -> Answer:
        return self._ask("look")

    def open(self, fence: int, *keys: Key | str) -> Answer:
        return self._ask("open", fence, [key if isinstance(key, str) else key.public for key in keys])

    def close(self, fence: int) -> Answer:
        return self._ask("close", fence)

    def _ask(self, *said: Any) -> Answer:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(said) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self._process.communicate()[1]
        return Answer(*json.loads(line))
