"""Scripts of the old kind that lock and free as fast as they can, while the service is killed under them."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx2

from tests.end_to_end.record import Acknowledged
from tests.service import KEY, ServiceProcess

LOST = "lost"
"""The answer to a call that nobody can know the outcome of."""


class Locker(threading.Thread):
    """Locks and frees, notes what was acknowledged, and frees what it is unsure of."""

    def __init__(
        self, pool: ServiceProcess, name: str, addresses: list[str], enough: threading.Event
    ) -> None:
        super().__init__()
        self.pool, self.user, self.addresses, self.enough = pool, name, addresses, enough
        self.held: dict[str, str] = {}
        """What is acknowledged as mine: address to the job's name."""
        self.unsure: set[str] = set()
        self.acknowledged: list[Acknowledged] = []
        self.problems: list[str] = []
        self._chance = random.Random(name)

    def run(self) -> None:
        while not self.enough.is_set():
            address = self._chance.choice(self.addresses)
            if address in self.held:
                self._free(address)
            elif address in self.unsure:
                self._settle(address)
            else:
                self._lock(address)

    def _call(self, call: str, address: str, **more: Any) -> Any:
        body = {"ApiKey": KEY, "IpAddress": address, "CurrentUserName": self.user, **more}
        try:
            answer = httpx2.post(f"{self.pool.address}/api/{call}", json=body, timeout=30)
        except httpx2.TransportError:
            return LOST
        return answer.json() if answer.status_code == 200 else LOST

    def _lock(self, address: str) -> None:
        job = f"{self.user}-{len(self.acknowledged)}"
        answer = self._call("lock", address, CurrentTaskName=job)
        if answer == LOST:
            self.unsure.add(address)
        elif answer is not None:
            self.acknowledged.append(Acknowledged(address, self.user, job))
            self.held[address] = job

    def _free(self, address: str) -> None:
        answer = self._call("free", address)
        if answer == LOST:
            self.unsure.add(address)
        elif answer is None:
            self.problems.append(f"{self.user} lost {address}, whose lock was acknowledged")
        del self.held[address]

    def _settle(self, address: str) -> None:
        """Whether it is mine or not, it is not afterwards."""
        if self._call("free", address) != LOST:
            self.unsure.discard(address)


@contextmanager
def lockers(pools: Sequence[ServiceProcess], addresses: list[str], name: str) -> Iterator[list[Locker]]:
    """One locker at each of these services (the same may be named more than once), until the block ends."""
    enough = threading.Event()
    found = [Locker(pool, f"{name}-{number}", addresses, enough) for number, pool in enumerate(pools)]
    for locker in found:
        locker.start()
    try:
        yield found
    finally:
        enough.set()
        for locker in found:
            locker.join()


def locks(some: Sequence[Locker]) -> int:
    """How many locks were acknowledged to them together."""
    return sum(len(locker.acknowledged) for locker in some)
