"""Warm starts of `picluster serve`: a process that has imported everything forks one service after the other.

A cold start spends more than a second of CPU, nearly all of it on imports, and the tests start hundreds of services. A
fork is as real: it has a process group, signals, files and an environment of its own, and dies alone. Its parent is the
process here, which waits for it, so the tests ask for its exit code.

One line of JSON is one question, and another one its answer:

    {"start": ["serve", …], "environment": {…}, "output": ["/dev/null", "/tmp/…"]}    {"pid": 4711}
    {"poll": 4711}                                                                    {"code": null}
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

ROOT = Path(__file__).parent.parent
POLL_S = 0.005


class Nursery:
    """The process that forks. It ends with the one that made it, and leaves its services as they are."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.warm"]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )  # a Ctrl-C is for the tests, which then end their services
        self._turn = threading.Lock()

    def ask(self, **question: Any) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        with self._turn:
            print(json.dumps(question), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        assert answer, "the process that starts services has ended"
        return dict(json.loads(answer))

    def start(
        self, arguments: Sequence[str], environment: Mapping[str, str], stderr: str, stdout: str = os.devnull
    ) -> WarmProcess:
        """`picluster ARGUMENTS` with this environment, in a session of its own; what it says is added to these files."""
        told = self.ask(start=list(arguments), environment=dict(environment), output=[stdout, stderr])
        return WarmProcess(self, told["pid"])

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """The same to its end."""
        with NamedTemporaryFile() as stdout, NamedTemporaryFile() as stderr:
            process = self.start(arguments, environment, stderr.name, stdout.name)
            try:
                code = process.wait(timeout)
            finally:
                process.kill()
            said = (Path(file.name).read_text() for file in (stdout, stderr))
            return subprocess.CompletedProcess(list(arguments), code, *said)


class WarmProcess:
    """What tests need of `subprocess.Popen`."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery = nursery
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._nursery.ask(poll=self.pid)["code"]
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, or minus the signal. Raises `subprocess.TimeoutExpired`."""
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        while (code := self.poll()) is None:
            if time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(f"picluster, pid {self.pid}", timeout or 0.0)
            time.sleep(POLL_S)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


# In the process that forks


def attend() -> list[str] | None:
    """Answer until nobody asks any more: None. In a fork: what it is to be."""
    for line in sys.stdin:
        question = json.loads(line)
        if "poll" in question:
            pid, status = os.waitpid(question["poll"], os.WNOHANG)
            _answer(code=os.waitstatus_to_exitcode(status) if pid else None)
        elif pid := os.fork():
            _answer(pid=pid)
        else:
            _become(question)
            return list(question["start"])
    return None


def _answer(**told: Any) -> None:
    print(json.dumps(told), flush=True)


def _become(question: Mapping[str, Any]) -> None:
    """On its own: no word to whoever asked, and nothing of the environment here."""
    os.setsid()
    os.environ.clear()
    os.environ.update(question["environment"])
    nothing = os.open(os.devnull, os.O_RDWR)
    said = [os.open(name, os.O_WRONLY | os.O_APPEND) for name in question["output"]]
    for target, source in enumerate((nothing, *said)):
        os.dup2(source, target)
    os.closerange(3, 64)


def rehearse() -> None:
    """What is imported only when a database is opened, too."""
    from picluster.store.sqlite import SqliteStore

    store = SqliteStore(":memory:")
    store.open()
    store.close()


def main() -> None:
    from picluster.cli import main as picluster
    from picluster.server import serve  # noqa: F401  what is to be warm

    rehearse()
    gc.freeze()
    arguments = attend()
    if arguments is not None:
        sys.argv = ["picluster", *arguments]
        picluster()


if __name__ == "__main__":
    main()
