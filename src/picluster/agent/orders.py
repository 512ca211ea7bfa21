"""What a beat's answer tells the board, read with mistrust: a half, strange or over-long one is none."""

from __future__ import annotations

import json

from .records import NamedTuple
from .tree import LARGEST_NUMBER, clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SHORTEST_INTERVAL_S, LONGEST_INTERVAL_S = 0.05, 3600.0
MOST_KEYS = 16
LONGEST_KEY = 16 * 1024


class NotOrders(Exception):
    """This is not the answer to a beat."""


class LeaseHere(NamedTuple):
    """The lease on this board."""

    fence: int
    holder: str
    job: str
    expires_in_s: float | None
    """None: until it is given back."""
    on_reboot: str
    keys: tuple[str, ...]


class Orders(NamedTuple):
    machine: str
    interval_s: float
    fence: int
    """The newest of this machine, as the service knows it."""
    lease: LeaseHere | None
    cleaning: int
    """The fence whose closing report it waits for; 0 for none."""
    service: str
    orders: str
    """To be sent back with the next beat."""


def parse(body: bytes) -> Orders:
    """Raises `NotOrders`."""
    try:
        said = json.loads(body)
        if not isinstance(said, dict):
            raise TypeError("not an object")
        lease = said["lease"]
        return Orders(
            machine=clean(_text(said["machine"])),
            interval_s=min(max(_number(said["interval_s"]), SHORTEST_INTERVAL_S), LONGEST_INTERVAL_S),
            fence=_fence(said["fence"]),
            lease=None if lease is None else _lease(lease),
            cleaning=_fence(said["cleaning"]),
            service=clean(_text(said.get("service", ""))),
            orders=_text(said["orders"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise NotOrders(f"it answers something else than orders ({problem!r:.100})") from None


def _lease(said: Any) -> LeaseHere:
    expires = said["expires_in_s"]
    return LeaseHere(
        fence=_fence(said["fence"]),
        holder=clean(_text(said["holder"])),
        job=clean(_text(said["job"])),
        expires_in_s=None if expires is None else _number(expires),
        on_reboot=clean(_text(said.get("on_reboot", ""))),
        keys=_keys(said.get("ssh_public_keys", [])),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"not a text: {value!r:.50}")
    return value


def _keys(values: Any) -> tuple[str, ...]:
    """Each is one line, or it would be more keys than were granted."""
    if not isinstance(values, list) or len(values) > MOST_KEYS:
        raise TypeError("not a list of keys")
    keys = tuple(_text(value) for value in values)
    if not all(len(key) <= LONGEST_KEY and key.isprintable() for key in keys):
        raise ValueError("a key is not one line of text")
    return keys


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e15:
        raise TypeError(f"not a number: {value!r:.50}")
    return float(value)


def _fence(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_NUMBER:
        raise TypeError(f"not a fence: {value!r:.50}")
    return value
