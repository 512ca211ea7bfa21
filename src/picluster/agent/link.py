"""The beat: one long poll after the other, over one connection, at one of several addresses. It never gives up.

`Link.beat` sends one report and reads the orders, or says how long to wait before the next attempt: nothing while
there is another address to try, then longer and longer, up to half a minute; minutes where somebody has to do
something first, such as making a token. Each trouble is logged once, and so is its end.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence

from . import VERSION
from .http1 import Address, Answer, Broken, Connection, Gone
from .orders import NotOrders, Orders, parse
from .records import NamedTuple
from .tree import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from typing import Any

    from .log import Log

MARGIN_S = 3.0
"""How much later than asked an answer may come before the connection counts as dead."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
"""A service that comes back has to hear its boards before three beats are over, or they count as offline."""
FIRST_SLOW_PAUSE_S, LONGEST_SLOW_PAUSE_S = 60.0, 300.0
"""For what only a person can put right."""
LONGEST_RETRY_AFTER_S = 60.0
MOST_TROUBLES = 32
"""Of one outage in the log."""
_PASSING = (408, 421, 425, 429)
"""Refusals that time alone may put right."""


class NoOrders(Exception):
    """This beat brought nothing; the next is due after `pause_s`."""

    def __init__(self, pause_s: float, why: str) -> None:
        super().__init__(why)
        self.pause_s = pause_s


class Trouble(NamedTuple):
    """Why there were no orders."""

    text: str
    slow: bool = False
    retry_after_s: float = 0.0


def chance() -> float:
    """From 0 to 1. `random` would cost more memory than it is worth here."""
    return int.from_bytes(os.urandom(4), "big") / 2**32


def jittered(seconds: float, lot: float) -> float:
    """From four fifths of it to the whole: boards that started together must not beat together."""
    return seconds * (0.8 + 0.2 * lot)


class Link:
    """The conversation with the service."""

    def __init__(
        self,
        addresses: Sequence[Address],
        token: Callable[[], str],
        log: Log,
        trust: Callable[[], ssl.SSLContext],
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = chance,
        connect: Callable[[Address], Connection] | None = None,
    ) -> None:
        self._addresses = list(addresses)
        self._token = token
        self._log = log
        self._clock = clock
        self._chance = chance
        self._connect = connect or (lambda address: Connection(address, trust))
        self._place = 0
        self._connection = self._connect(self.address)
        self._failures = 0
        """In a row, over all addresses."""
        self._slow = 0
        self._troubles: set[str] = set()
        """That were logged since the last orders."""
        self._trouble_since = 0.0
        self._heard = False

    @property
    def address(self) -> Address:
        """Where the next beat goes."""
        return self._addresses[self._place]

    @property
    def connected(self) -> bool:
        return self._connection.kept

    def close(self) -> None:
        self._connection.close()

    def beat(self, machine: str, report: Mapping[str, Any], wait_s: float) -> Orders:
        """Say this, and hear what there is to do, at once or within `wait_s`. Raises `NoOrders`."""
        self._warn_if_readable()
        trouble: Trouble | None
        try:
            answer = self._post(f"/api/v1/machines/{machine}/beat?wait={wait_s:.3f}", report, wait_s)
            trouble = _trouble(answer)
            orders = parse(answer.body) if trouble is None else None
        except (Broken, NotOrders) as problem:
            orders, trouble = None, Trouble(str(problem))
        if orders is None:
            raise self._failed(trouble or Trouble("no orders"))
        self._succeeded()
        return orders

    def _post(self, path: str, report: Mapping[str, Any], wait_s: float) -> Answer:
        token = self._token()
        if not token:
            raise Broken("not tried, since there is no token for this board yet")
        body = json.dumps(report, separators=(",", ":"), allow_nan=False).encode()
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": f"picluster-agent/{VERSION}",
        }
        try:
            return self._connection.post(path, headers, body, wait_s + MARGIN_S)
        except Gone:  # an idle connection that the service had closed: not worth a word
            return self._connection.post(path, headers, body, wait_s + MARGIN_S)

    def _warn_if_readable(self) -> None:
        if not self.address.secure and self.address.host not in ("localhost", "127.0.0.1", "::1"):
            self._log.once(
                f"{self.address} is not encrypted: who listens on the network can read this board's token"
            )

    def _succeeded(self) -> None:
        if not self._heard:
            self._log(f"beats at {self.address}")
        elif self._troubles:
            self._log(f"beats again, at {self.address}, after {self._clock() - self._trouble_since:.0f} s")
        self._failures = self._slow = 0
        self._troubles.clear()
        self._heard = True

    def _failed(self, trouble: Trouble) -> NoOrders:
        """Say so once, turn to the next address, and say when."""
        said = f"{self.address}: {trouble.text}"
        if not self._troubles:
            self._trouble_since = self._clock()
        if said not in self._troubles and len(self._troubles) < MOST_TROUBLES:
            self._troubles.add(said)
            self._log(said)
        self._failures += 1
        self._slow = self._slow + 1 if trouble.slow else 0
        self._turn_to_next()
        if self._failures % len(self._addresses):
            return NoOrders(0.0, said)
        rounds = self._failures // len(self._addresses) - 1
        if self._slow >= len(self._addresses):
            slow_rounds = self._slow // len(self._addresses) - 1
            pause_s = min(FIRST_SLOW_PAUSE_S * 2.0 ** min(slow_rounds, 8), LONGEST_SLOW_PAUSE_S)
        else:
            pause_s = min(FIRST_PAUSE_S * 2.0 ** min(rounds, 8), LONGEST_PAUSE_S)
        pause_s *= 0.5 + 0.5 * self._chance()
        return NoOrders(max(pause_s, min(trouble.retry_after_s, LONGEST_RETRY_AFTER_S)), said)

    def _turn_to_next(self) -> None:
        if len(self._addresses) > 1:
            self._connection.close()
            self._place = (self._place + 1) % len(self._addresses)
            self._connection = self._connect(self.address)


def _trouble(answer: Answer) -> Trouble | None:
    """What an answer other than 200 means, and what to do about it."""
    status = answer.status
    if status == 200:
        return None
    message = _message(answer.body)
    after = answer.headers.get("retry-after", "")
    retry_after_s = float(after) if after.isascii() and after.isdigit() and len(after) < 6 else 0.0
    if status == 401:
        what = "it does not know this board's token. Make one there: picluster token create NAME --kind agent"
        return Trouble(f"{what} ({message})", slow=True)
    if status == 403:
        return Trouble(f"it does not let this board beat: {message}", slow=True)
    if 300 <= status < 400:
        goes = answer.headers.get("location", "")[:200]
        return Trouble(
            f"it sends this board elsewhere: set PICLUSTER_URL to what {goes!r} begins with", slow=True
        )
    slow = 400 <= status < 500 and status not in _PASSING
    return Trouble(f"it answers {status}: {message}", slow, retry_after_s)


def _message(body: bytes) -> str:
    """Message and hint of the service, if it was the service."""
    try:
        error = json.loads(body)["error"]
        return clean(f"{error['message']} {error['hint']}", 300)
    except (ValueError, KeyError, TypeError, RecursionError):
        return "not in the words of a picluster service"
