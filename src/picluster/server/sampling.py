"""Which beats are kept as samples: not more than one in ten seconds of each board, whatever it sends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from picluster.pool.health import number, throttled, under_voltage
from picluster.pool.model import Heard, Sample

SPACING_US = 10_000_000
"""A third of the usual beat: every beat is kept, but a board that beats all the time does not fill the disk."""


@dataclass(frozen=True, slots=True)
class _Last:
    """The last beat of a board that was kept."""

    at_us: int
    boot_id: str
    alarms: float
    """Since the lease that is open began; an alarm between two beats is over by the next, and is counted there."""


class Sampler:
    """Remembers which beat of each board was kept last."""

    def __init__(self) -> None:
        self._last: dict[str, _Last] = {}

    def samples(self, heard: Iterable[Heard]) -> list[Sample]:
        """Of these beats, those to be kept."""
        return [self._sample(beat) for beat in heard if beat.telemetry and self._due(beat)]

    def kept(self, heard: Iterable[Heard]) -> None:
        """They are stored, those of them that were due. Not before: a turn that fails is taken again."""
        for beat in heard:
            if beat.telemetry and self._due(beat):
                self._last[beat.name] = _Last(beat.heard_us, beat.boot_id, _alarms(beat.telemetry))

    def _due(self, beat: Heard) -> bool:
        """Either way: the clock may have been set back."""
        last = self._last.get(beat.name)
        return last is None or abs(beat.heard_us - last.at_us) >= SPACING_US

    def _sample(self, beat: Heard) -> Sample:
        said, last = beat.telemetry, self._last.get(beat.name)
        load = said.get("load")
        return Sample(
            beat.name,
            beat.heard_us,
            temperature=number(said.get("temperature")),
            load=number(load[0]) if isinstance(load, list | tuple) and load else None,
            mem_available=number(said.get("mem_available")),
            disk_free=number(said.get("disk_free")),
            throttled=throttled(said),
            under_voltage=under_voltage(said) or _alarms(said) > (last.alarms if last else 0),
            rebooted=last is not None and last.boot_id != beat.boot_id,
        )


def _alarms(said: Mapping[str, Any]) -> float:
    since_open = said.get("since_open")
    return number(since_open.get("under_voltage")) or 0 if isinstance(since_open, Mapping) else 0
