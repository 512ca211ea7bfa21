"""Warm starts of `picluster`: a process that has imported everything forks one after the other.

A cold start spends up to a second of CPU, nearly all of it on imports, and the tests start hundreds of services and
type hundreds of commands. A fork is as real: it has a process group, signals, files and an environment of its own, and
dies alone. Whoever wants one connects to the socket of the nursery and hands its arguments, folder, environment and open
files over; the answers are its process id at once and its exit code at its end. Tests do so by `Nursery.start`, shells by
the program `picluster` in `Nursery.programs`.
"""

from __future__ import annotations

import gc
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import NoReturn

ROOT = Path(__file__).parent.parent
LARGEST = 128 * 1024
"""Bytes of arguments and environment."""
FILES_MOST = 64
"""Beyond what the process that forks has open."""

PROGRAM = f"""#!{sys.executable} -IS
import json, os, signal, socket, sys

nursery = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
nursery.connect(os.path.join(os.path.dirname(__file__), "socket"))
said = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(nursery, [said], [0, 1, 2])
fork = int(nursery.recv(64))
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, frame: os.kill(fork, number))
code = int(nursery.recv(64))
sys.exit(code if code >= 0 else 128 - code)
"""
"""As quick as Python can be; signals go on to the fork, and its end is this one's."""


class Nursery:
    """The process that forks. It ends with the one that made it, and leaves its services as they are."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="warm-")  # a short name, since a socket's has to be
        self.programs = Path(self._folder.name)
        """For the PATH of a shell."""
        program = self.programs / "picluster"
        program.write_text(PROGRAM)
        program.chmod(0o700)
        command = [sys.executable, "-m", "tests.warm", str(self.programs / "socket")]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )  # a Ctrl-C is for the tests, which then end their services
        assert self._process.stdout
        assert self._process.stdout.read(1), "the process that starts services has ended"

    def start(
        self, arguments: Sequence[str], environment: Mapping[str, str], stderr: str, stdout: str = os.devnull
    ) -> WarmProcess:
        """`picluster ARGUMENTS` with this environment, in a session of its own; what it says is added to these files."""
        told = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        told.connect(str(self.programs / "socket"))
        files = [
            os.open(os.devnull, os.O_RDWR),
            *(os.open(it, os.O_WRONLY | os.O_APPEND) for it in (stdout, stderr)),
        ]
        said = json.dumps([list(arguments), os.getcwd(), dict(environment)]).encode()
        socket.send_fds(told, [said], files)
        for file in files:
            os.close(file)
        return WarmProcess(told)

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


@cache
def nursery() -> Nursery:
    """One for each process that runs tests."""
    return Nursery()


class WarmProcess:
    """What tests need of `subprocess.Popen`."""

    def __init__(self, told: socket.socket) -> None:
        self._told = told
        self.pid = int(told.recv(64))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self.returncode = int(self._told.recv(64))
            self._told.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, or minus the signal. Raises `subprocess.TimeoutExpired`."""
        if self.returncode is None and not select.select([self._told], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(f"picluster, pid {self.pid}", timeout or 0.0)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


# In the process that forks


def attend(listener: socket.socket) -> None:
    """One fork for each that comes, until whoever started this is gone."""
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        caller, _ = listener.accept()
        if not os.fork():
            _serve(caller)
        caller.close()


def _serve(caller: socket.socket) -> NoReturn:
    """Start what is asked for, and say how it ended."""
    os.setsid()  # it outlives whoever forks
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    said, files, _, _ = socket.recv_fds(caller, LARGEST, 3)
    if not (fork := os.fork()):
        _become(*json.loads(said), files)
    for file in files:
        os.close(file)
    _tell(caller, fork)
    _tell(caller, os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]))
    os._exit(0)


def _tell(caller: socket.socket, number: int) -> None:
    """Nobody may be there any more: a test that is killed does not wait for its services."""
    try:
        caller.send(str(number).encode())
    except ConnectionError:
        pass


def _become(arguments: list[str], folder: str, environment: dict[str, str], files: list[int]) -> NoReturn:
    """On its own: a session, files, a folder and an environment that have nothing of those here."""
    os.setsid()
    for target, source in enumerate(files):
        os.dup2(source, target)
    os.closerange(3, FILES_MOST)
    # Those that there are remember what kind of file they were. Lines come when they are whole, as on a terminal.
    sys.stdin = io.TextIOWrapper(io.FileIO(0))
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w"), line_buffering=True)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w"), errors="backslashreplace", line_buffering=True)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["picluster", *arguments]
    _run()


def _run() -> NoReturn:
    """To its end, and not a step further: taking apart what it never made would cost more than most commands do.

    So threads that outlive a service are seen only where it starts cold, as in tests/packaging.
    """
    from picluster.cli import main

    code: object = 1
    try:
        main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def rehearse() -> None:
    """What is imported only when a database is opened, too."""
    from picluster.store.sqlite import SqliteStore

    store = SqliteStore(":memory:")
    store.open()
    store.close()


def main() -> None:
    from picluster.client import sync  # noqa: F401  what is to be warm
    from picluster.server import serve  # noqa: F401

    rehearse()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(sys.argv[1])
        listener.listen()
        print(end="!", flush=True)
        attend(listener)


if __name__ == "__main__":
    main()
