"""Which beats are kept as samples: not more than one in ten seconds of each board, whatever it sends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from picluster.pool.model import Heard, Sample

SPACING_US = 10_000_000
"""A third of the usual beat: every beat is kept, but a board that beats all the time does not fill the disk."""


class Sampler:
    """Remembers when it last kept one of each board, and in which boot."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, str]] = {}

    def samples(self, heard: Iterable[Heard]) -> list[Sample]:
        """Of these beats, those to be kept."""
        return [sample for beat in heard if (sample := self._sample(beat)) is not None]

    def _sample(self, beat: Heard) -> Sample | None:
        at_us, boot_id = self._last.get(beat.name, (0, beat.boot_id))
        if not beat.telemetry or beat.heard_us < at_us + SPACING_US:
            return None
        self._last[beat.name] = (beat.heard_us, beat.boot_id)
        said = beat.telemetry
        load = said.get("load")
        return Sample(
            beat.name,
            beat.heard_us,
            temperature=_number(said.get("temperature")),
            load=_number(load[0]) if isinstance(load, list | tuple) and load else None,
            mem_available=_number(said.get("mem_available")),
            disk_free=_number(said.get("disk_free")),
            throttled=said.get("frequency_capped") is True,
            under_voltage=_under_voltage(said),
            rebooted=boot_id != beat.boot_id,
        )


def _under_voltage(said: Mapping[str, Any]) -> bool:
    return said.get("under_voltage") is True


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e18:
        return None
    return float(value)
