"""Asks the firmware with `vcgencmd`, where somebody switched that on. It can hang, so it is kept on a short leash."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

EVERY_S = 300.0
LIMIT_S = 2.0
MOST_FAILURES = 3
_DYING_S = 0.5
"""That a killed one may take to be gone."""
COMMAND = ("vcgencmd", "get_throttled")
_ANSWER = re.compile(rb"throttled=0x([0-9a-fA-F]{1,8})\s*")


class Firmware:
    """`bits()` answers what is known, asks at most once in 5 minutes, and gives up after three failures."""

    def __init__(self, clock: Callable[[], float], command: Sequence[str] = COMMAND) -> None:
        self._clock = clock
        self._command = command
        self._failures = 0
        self._asked: float | None = None
        self._bits: int | None = None

    def bits(self) -> int | None:
        now = self._clock()
        if self._failures >= MOST_FAILURES or (self._asked is not None and now < self._asked + EVERY_S):
            return self._bits
        self._asked = now
        self._bits = ask(self._command)
        self._failures = self._failures + 1 if self._bits is None else 0
        return self._bits


def ask(command: Sequence[str]) -> int | None:
    """The bits, or None after 2 s at the latest. One that hangs in the kernel cannot be killed: it is not waited for."""
    import subprocess  # costs memory that most boards need not spend

    try:
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except (OSError, ValueError):
        return None
    try:
        said = running.communicate(timeout=LIMIT_S)[0]
    except (OSError, subprocess.TimeoutExpired):
        running.kill()
        if running.stdout:
            running.stdout.close()
        try:
            running.wait(timeout=_DYING_S)
        except subprocess.TimeoutExpired:
            pass  # it hangs in the kernel
        return None
    found = _ANSWER.fullmatch(said)
    return int(found[1], 16) if found and running.returncode == 0 else None
