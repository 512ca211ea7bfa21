"""Runs the system's own programs, never for longer than there is time, and shows systemd meanwhile that the agent lives.

(`posix_spawn`, since `subprocess` takes a megabyte of the twenty that the agent may have, and is no quicker.)
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Mapping, Sequence

from .records import NamedTuple

_FOLDERS = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Root runs nothing that is found elsewhere."""
ENVIRONMENT = {
    "PATH": ":".join(_FOLDERS),
    "LC_ALL": "C",
    "HOME": "/root",
    "RES_OPTIONS": "timeout:1 attempts:1",
}
"""Where names cannot be resolved, sudo would wait 20 s for the board's own."""
_MOST_OUTPUT = 4 << 20
SIGN_S = 0.1
"""Quick work need not be announced."""
_LOOK_S = 1.0
"""So often somebody who waits for a program says that the agent lives."""
_DYING_S = 1.0
"""That a killed one may take to be gone. One that hangs in the kernel is not waited for."""
_NOTHING = "/dev/null"


class Budget:
    """The time that something may take, and whom to tell that it goes on."""

    def __init__(
        self,
        seconds: float,
        alive: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._alive = clock, alive
        self._said = clock()
        self._end = self._said + seconds

    @property
    def left_s(self) -> float:
        return max(self._end - self._clock(), 0.0)

    def alive(self) -> None:
        """Say so, if that was not just done."""
        now = self._clock()
        if now >= self._said + SIGN_S:
            self._said = now
            self._alive()

    def part(self, seconds: float) -> Budget:
        """At most so much of it."""
        return Budget(min(seconds, self.left_s), self.alive, self._clock)

    def pause(self, seconds: float) -> None:
        time.sleep(min(seconds, self.left_s))
        self.alive()


class Ran(NamedTuple):
    """How it ended, and what it said."""

    code: int
    """Of a signal, the negative number; that of SIGKILL also for one that took too long."""
    said: bytes


def where(name: str) -> str | None:
    """The system's program of this name."""
    paths = (os.path.join(folder, name) for folder in _FOLDERS)
    return next((path for path in paths if os.access(path, os.X_OK)), None)


def run(argv: Sequence[str], budget: Budget, *, errors: bool = True) -> Ran:
    """One of the system's programs, with what it said, its complaints among it. Raises `OSError` if it cannot be run."""
    program = where(argv[0])
    if not program:
        raise FileNotFoundError(2, f"there is no {argv[0]}")
    reading, writing = os.pipe()
    try:
        streams: list[tuple[object, ...]] = [(os.POSIX_SPAWN_DUP2, writing, 1)]
        streams.append(
            (os.POSIX_SPAWN_DUP2, writing, 2)
            if errors
            else (os.POSIX_SPAWN_OPEN, 2, _NOTHING, os.O_WRONLY, 0)
        )
        try:
            pid = _spawn(program, argv, ENVIRONMENT, streams)
        finally:
            os.close(writing)
        said = _read(reading, budget)
    finally:
        os.close(reading)
    return Ran(_wait(pid, budget), said)


def run_aloud(argv: Sequence[str], environment: Mapping[str, str], budget: Budget) -> int:
    """A program of the board's owner; what it says goes where the agent's own words go. Raises `OSError`."""
    pid = _spawn(argv[0], argv, environment, [(os.POSIX_SPAWN_DUP2, 2, 1)])
    return _wait(pid, budget)


def _spawn(
    program: str, argv: Sequence[str], environment: Mapping[str, str], streams: Sequence[tuple[object, ...]]
) -> int:
    """In a session of its own, so that it can be killed with all that it started."""
    actions = [(os.POSIX_SPAWN_OPEN, 0, _NOTHING, os.O_RDONLY, 0), *streams]
    return os.posix_spawn(
        program,
        list(argv),
        environment,
        file_actions=actions,
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGPIPE,),
    )


def _read(file: int, budget: Budget) -> bytes:
    """Up to its end, or for as long as there is time."""
    poll = select.poll()
    poll.register(file, select.POLLIN)
    parts, most = [], _MOST_OUTPUT
    while budget.left_s and most > 0:
        if poll.poll(min(budget.left_s, _LOOK_S) * 1000):
            part = os.read(file, 65_536)
            if not part:
                break
            parts.append(part)
            most -= len(part)
        budget.alive()
    return b"".join(parts)


def _wait(pid: int, budget: Budget) -> int:
    """How it ended. When the time is over it is killed, and what it started with it; that is so at its end, too."""
    _sleep_until_it_ends(pid, budget)
    kill_session(pid)
    _sleep_until_it_ends(pid, Budget(_DYING_S, budget.alive))
    done, status = os.waitpid(pid, os.WNOHANG)
    if not done:
        return -signal.SIGKILL
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)


def _sleep_until_it_ends(pid: int, budget: Budget) -> None:
    """It is left a zombie, so that nobody else can have its number meanwhile."""
    pause_s = 0.000_2
    while not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) and budget.left_s:
        budget.pause(pause_s)
        pause_s = min(pause_s * 2, 0.05)


def kill_session(session: int) -> None:
    """Every process of it, whatever groups they have made."""
    for pid in pids():
        try:
            if os.getsid(pid) == session:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # gone already


def pids() -> list[int]:
    """Of all processes that there are now."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]
