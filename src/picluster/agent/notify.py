"""Tells systemd that the agent is ready, and that it still lives. Does nothing where no service manager listens."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping

BUSY_S = 30.0
"""So much longer each sign that it is busy makes the time for it."""


class Manager:
    """Who started the agent, if it wants to know."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._where = environ.get("NOTIFY_SOCKET", "")
        period = environ.get("WATCHDOG_USEC", "")
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._period_s = int(period) / 1e6 if period.isdigit() and mine and self._where else 0.0

    def ready(self) -> None:
        self._say("READY=1")

    def alive(self) -> None:
        if self._period_s:
            self._say("WATCHDOG=1")

    def busy(self) -> None:
        """As `alive`, for work that may take longer than a start or an end is given."""
        self.alive()
        self._say(f"EXTEND_TIMEOUT_USEC={int(BUSY_S * 1e6)}")

    def stopping(self) -> None:
        self._say("STOPPING=1")

    def sleep(self, seconds: float, sleep: Callable[[float], None] = time.sleep) -> None:
        """For a long time, but with a sign of life twice in each period."""
        while self._period_s and seconds > self._period_s / 2:
            sleep(self._period_s / 2)
            seconds -= self._period_s / 2
            self.alive()
        sleep(seconds)

    def _say(self, text: str) -> None:
        if not self._where.startswith(("/", "@")):
            return
        where = "\0" + self._where[1:] if self._where.startswith("@") else self._where
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as towards:
                towards.connect(where)
                towards.send(text.encode())
        except OSError:
            pass  # it is not there any more; nothing depends on it
