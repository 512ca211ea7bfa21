"""A `picluster` for the PATH that starts warm: a fork of a process that has imported everything.

Pages type it dozens of times, and a cold start is a third of a second of CPU, of a service more than one. The program in
the PATH hands its arguments, folder, environment and open files over, passes signals on, and ends as the fork does.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from tests.warm import rehearse

ROOT = Path(__file__).parent.parent.parent
LARGEST = 128 * 1024
"""Bytes of arguments and environment."""

PROGRAM = f"""#!{sys.executable} -IS
import json, os, signal, socket, sys

pool = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
pool.connect(os.path.join(os.path.dirname(__file__), "socket"))
said = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(pool, [said], [0, 1, 2])
fork = int(pool.recv(64))
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, frame: os.kill(fork, number))
sys.exit(int(pool.recv(64)))
"""


@contextmanager
def picluster(folder: Path) -> Iterator[Path]:
    """For the time of the block; a folder with it, for the PATH."""
    program = folder / "picluster"
    program.write_text(PROGRAM)
    program.chmod(0o700)
    command = [sys.executable, "-m", "tests.docs.warm", str(folder / "socket")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdout.read(1)
        yield folder
        process.stdin.close()


# In the process that forks


def attend(listener: socket.socket) -> None:
    """One fork for each that comes, until whoever started this is gone."""
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        caller, _ = listener.accept()
        if not os.fork():
            listener.close()
            _serve(caller)
        caller.close()


def _serve(caller: socket.socket) -> None:
    """Start what is asked for, and say how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    said, files, _, _ = socket.recv_fds(caller, LARGEST, 3)
    if not (fork := os.fork()):
        caller.close()
        _become(*json.loads(said), files)
    for file in files:
        os.close(file)
    caller.send(str(fork).encode())
    caller.send(str(os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) & 0xFF).encode())
    os._exit(0)


def _become(arguments: list[str], folder: str, environment: dict[str, str], files: list[int]) -> None:
    for target, source in enumerate(files):
        os.dup2(source, target)
        os.close(source)
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
    """To its end, and not a step further: taking apart what it never made would cost more than most commands do."""
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
