"""Watches the voltage alarm during a lease. It can be gone by the next beat, and a verdict must know of it.

The kernel's driver notifies whoever polls the file. Until it has done so once, nobody knows whether it
does, so the file is read every 2 s; from then on the notification is relied upon, and the board sleeps.
"""

from __future__ import annotations

import os
import select
import threading

LOOK_S = 2.0
"""The driver asks the firmware as often, and shows an alarm for as long at least."""
TRUSTING_LOOK_S = 60.0
"""A look all the same, when it is known to notify."""
_MOST_EMPTY_WAKES = 10
"""So many notifications in a row that bring nothing, and the file is one that is always ready."""


class VoltageWatch(threading.Thread):
    """Counts alarms, from one that is there already until `stop()`; `count` may be read at any time."""

    def __init__(self, alarm: str | os.PathLike[str], look_s: float = LOOK_S) -> None:
        super().__init__(name="voltage", daemon=True)
        self._look_s = look_s
        self._wake, self._waker = os.pipe()
        self._file = -1
        self.count = 0
        self.notifies = False
        self.readable = False
        """Whether it sees anything."""
        try:
            self._file = os.open(alarm, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            self.count += _alarmed(self._file)
            self.readable = True
        except (OSError, ValueError):
            pass  # the sensor is not there, or broken

    def stop(self) -> None:
        """At once; the count stays."""
        os.close(self._waker)
        if self.is_alive():
            self.join()
        os.close(self._wake)
        if self._file >= 0:
            os.close(self._file)

    def run(self) -> None:
        try:
            if self.readable:
                self._watch()
        except (OSError, ValueError):
            self.readable = False  # the sensor has gone

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        poll.register(self._file, select.POLLPRI | select.POLLERR)
        before, empty = bool(self.count), 0
        while True:
            ready = dict(poll.poll((TRUSTING_LOOK_S if self.notifies else self._look_s) * 1000))
            if self._wake in ready:
                return
            now = _alarmed(self._file)
            if self._file in ready:
                self.notifies = True
                empty = 0 if now != before else empty + 1
                if empty > _MOST_EMPTY_WAKES:
                    poll.unregister(self._file)
                    self.notifies = False
                self.count += now or not before  # it says that it changed: if it is gone, it was there
            else:
                self.count += now and not before
            before = now


def _alarmed(file: int) -> bool:
    return int(os.pread(file, 16, 0).strip() or b"0") != 0
