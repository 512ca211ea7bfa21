"""What changes, as it changes: a stream of events over any number of breaks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from picluster.client.flows.calls import Session, pause_s


class EventReader:
    """Server-sent events out of pieces of a stream, wherever it is cut."""

    def __init__(self) -> None:
        self._rest = b""
        self._kind = self._id = self._data = ""

    def feed(self, piece: bytes) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """The events that are complete with this piece: (kind, id, data)."""
        *whole, self._rest = (self._rest + piece).split(b"\n")
        for line in whole:
            yield from self._line(line.decode("utf-8", "replace").rstrip("\r"))

    def _line(self, line: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
        field, _, value = line.partition(": ")
        if field == "event":
            self._kind = value
        elif field == "id":
            self._id = value
        elif field == "data":
            self._data = value
        elif not line and self._kind:
            yield self._kind, self._id, json.loads(self._data or "{}")
            self._kind = self._data = ""


def events(pieces: Iterable[bytes]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """All events of a stream: (kind, id, data)."""
    reader = EventReader()
    for piece in pieces:
        yield from reader.feed(piece)


class Following:
    """Where one is in the stream of what changes, over any number of broken streams."""

    KIND = "text/event-stream"

    def __init__(self, session: Session) -> None:
        self._session = session
        self._after = ""
        self._failures = 0
        self._reader = EventReader()

    def path(self) -> str:
        """Where to go on, with a new stream."""
        self._reader = EventReader()
        return "/api/v1/events" + (f"?after={self._after}" if self._after else "")

    def feed(self, piece: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
        """What is news in this piece: (kind, row)."""
        for kind, event_id, data in self._reader.feed(piece):
            known, self._after, self._failures = self._after, event_id or self._after, 0
            if kind != "ping" and not (kind == "hello" and known):
                yield kind, data

    def broke(self, problem: Exception) -> None:
        """A stream that has never begun is tried twice; then this raises what is wrong."""
        self._failures += 1
        if not self._after and self._failures > 1:
            raise problem

    def pause_s(self) -> float:
        """How long to wait before the next stream."""
        return pause_s(self._session, max(1, self._failures))
