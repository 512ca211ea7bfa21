"""What happened to the board during a lease: counters that only grow, from the report that opens a fence to the one
that closes it. The service makes its verdict of them.

The last answer is not enough: an alarm is over in two seconds, a hot hour is forgotten when the fan starts.
Each counter is null until its source could be read once, so that nobody takes a blind board for a clean
one. They are kept in a file, at most once a minute, for a restart of the agent or of the board.
"""

from __future__ import annotations

import json
import os

from .telemetry import Reading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HOT_C = 80.0
"""Where a Raspberry Pi begins to slow down."""
FULL = 0.02
"""Of the disk free, or less: jobs begin to fail."""
STEP_S = 0.5
"""What adjusting moves a clock between two beats is a hundredth of this."""
KEEP_EVERY_S = 60.0
"""Cards wear."""

_BY_READING = ("throttled", "hot", "disk")
_COUNTS = (*_BY_READING, "under_voltage", "clock_steps", "beats_missed", "reboots", "agent_restarts")


class SinceOpen:
    """The counters of one fence."""

    def __init__(self, fence: int, boot_id: str, now: float, reading: Reading) -> None:
        self.fence = fence
        self.boot_id = boot_id
        self.closed = False
        self.seconds = 0.0
        """Open on this board, as far as its clock ran."""
        self.reports = 0
        self.temperature_max: float | None = None
        self.longest_silence_s = 0.0
        self.counts: dict[str, int | None] = dict.fromkeys(_COUNTS)
        for name in ("clock_steps", "beats_missed", "reboots", "agent_restarts"):
            self.counts[name] = 0
        self._now = now
        self._alarms = 0
        self._disk_errors = reading.disk_errors

    def look(self, reading: Reading, now: float, alarms: int | None) -> None:
        """One reading, and how many alarms the watch has counted since it began (None: it sees nothing)."""
        self.reports += 1
        self.seconds += max(now - self._now, 0.0)
        self._now = now
        self._note("throttled", reading.frequency_capped)
        if reading.temperature is not None:
            self._note("hot", reading.temperature >= HOT_C)
            self.temperature_max = max(reading.temperature, self.temperature_max or reading.temperature)
        self._note("disk", self._disk_trouble(reading))
        if alarms is not None:
            self.add("under_voltage", alarms - self._alarms)
            self._alarms = alarms
        else:
            self._note("under_voltage", reading.under_voltage)

    def add(self, name: str, number: int) -> None:
        self.counts[name] = (self.counts[name] or 0) + max(number, 0)

    def _note(self, name: str, seen: bool | None) -> None:
        if seen is not None:
            self.add(name, int(seen))

    def _disk_trouble(self, reading: Reading) -> bool | None:
        if reading.disk_total is None and reading.read_only_root is None:
            return None
        full = reading.disk_free is not None and reading.disk_free < FULL * (reading.disk_total or 0)
        before, errors = self._disk_errors, reading.disk_errors
        self._disk_errors = errors
        grown = errors is not None and before is not None and errors > before
        return full or grown or bool(reading.read_only_root)

    def as_json(self) -> dict[str, Any]:
        return {
            "fence": self.fence,
            "closed": self.closed,
            "seconds": round(self.seconds, 1),
            "reports": self.reports,
            "temperature_max": self.temperature_max,
            "longest_silence_s": round(self.longest_silence_s, 1),
            **self.counts,
        }


class Counters:
    """The counters of the lease that is open, and of the one before. `keep` is the file for a restart."""

    def __init__(self, keep: str | os.PathLike[str], boot_id: str) -> None:
        self._keep = os.fspath(keep)
        self._boot_id = boot_id
        self._kept: dict[str, Any] = {}
        self._kept_at = -KEEP_EVERY_S
        self.open: SinceOpen | None = None
        self.last: dict[str, Any] | None = None
        """The closing counters of the fence before: the service may have granted the next one meanwhile."""

    def begin(self, fence: int, now: float, reading: Reading) -> None:
        self.open = SinceOpen(fence, self._boot_id, now, reading)
        self._write(now)

    def resume(self, fence: int, now: float, reading: Reading) -> None:
        """The agent begins anew and finds a fence open: go on counting, and count that too."""
        since = SinceOpen(fence, self._boot_id, now, reading)
        kept = self._read()
        if kept.get("fence") == fence:
            for name in _COUNTS:
                if isinstance(kept.get(name), int):
                    since.counts[name] = abs(kept[name])
            since.seconds, since.reports = _number(kept.get("seconds")), int(_number(kept.get("reports")))
            since.temperature_max = _number(kept["temperature_max"]) if kept.get("temperature_max") else None
            since.longest_silence_s = _number(kept.get("longest_silence_s"))
        rebooted = kept.get("boot_id") not in (None, self._boot_id)
        since.add("reboots" if rebooted else "agent_restarts", 1)
        self.open = since
        self._write(now)

    def look(self, reading: Reading, now: float, alarms: int | None) -> None:
        if self.open:
            self.open.look(reading, now, alarms)
            if now >= self._kept_at + KEEP_EVERY_S and self._told() != self._kept:
                self._write(now)

    def end(self, reading: Reading, now: float, alarms: int | None) -> None:
        """The fence closes with what is read now."""
        if self.open:
            self.open.look(reading, now, alarms)
            self.open.closed = True
            self.last, self.open = self.open.as_json(), None

    def stepped(self) -> None:
        if self.open:
            self.open.add("clock_steps", 1)

    def heard(self, silence_s: float, interval_s: float) -> None:
        """The service answered, so long after its last answer."""
        if self.open:
            self.open.add("beats_missed", int(silence_s / max(interval_s, 1.0)) - 1)
            self.open.longest_silence_s = max(self.open.longest_silence_s, silence_s)

    def as_json(self) -> dict[str, Any]:
        return {"since_open": self.open.as_json() if self.open else None, "last_closed": self.last}

    # The file

    def _told(self) -> dict[str, Any]:
        """What makes the file worth writing."""
        return {"fence": self.open.fence, **self.open.counts} if self.open else {}

    def _write(self, now: float) -> None:
        assert self.open
        self._kept_at, self._kept = now, self._told()
        fresh = self._keep + ".new"
        try:
            with open(fresh, "w", encoding="utf-8") as file:
                json.dump({**self.open.as_json(), "boot_id": self._boot_id}, file)
            os.replace(fresh, self._keep)
        except OSError:
            pass  # nowhere to keep it: a restart will count from nothing, and say that it restarted

    def _read(self) -> dict[str, Any]:
        try:
            with open(self._keep, "rb") as file:
                kept = json.loads(file.read(64 * 1024))
        except (OSError, ValueError, RecursionError):
            return {}
        return kept if isinstance(kept, dict) else {}


class ClockWatch:
    """Notices when the wall clock jumps against the clock that counts since the boot."""

    def __init__(self) -> None:
        self._offset: float | None = None

    def stepped(self, wall_s: float, boot_s: float) -> bool:
        offset = wall_s - boot_s
        before, self._offset = self._offset, offset
        return before is not None and abs(offset - before) > STEP_S


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and abs(value) < 1e15 else 0.0
