"""Modern clients that hold a lease and renew it as often as they can, whatever the service answers."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from tests.service import ADMIN, ServiceProcess, until

BETWEEN_S = 0.1
"""A short breath, so that holders do not keep the service from its work."""


class Holder(threading.Thread):
    """Takes one machine, then renews until told to stop; an outage is no reason to give up, a lost lease is."""

    def __init__(self, addresses: list[str], selector: str, ttl_s: float | None) -> None:
        super().__init__()
        self.lease = f"/api/v1/leases/{uuid.uuid4()}"
        self._addresses = addresses
        self._body = {"selector": selector, "ttl_s": ttl_s}
        self._enough = threading.Event()
        self.fence = 0
        self.renewals = 0
        self.failures = 0
        self.lost: dict[str, Any] | None = None
        """The refusal, if the lease was lost."""

    def run(self) -> None:
        while not self._enough.is_set() and self.lost is None:
            answer = self._ask()
            if answer is None or answer.status_code >= 500:
                self.failures += 1
                self._addresses.append(self._addresses.pop(0))
            elif answer.status_code == 200 and answer.json()["state"] != "ended":
                self._renewed(answer.json())
            else:
                self.lost = answer.json()
            self._enough.wait(BETWEEN_S)

    def _renewed(self, lease: dict[str, Any]) -> None:
        if lease["fence"]:
            assert self.fence in (0, lease["fence"]), "a lease changed its fence"
            self.fence = lease["fence"]
            self.renewals += 1

    def _ask(self) -> httpx2.Response | None:
        headers = {"Authorization": f"Bearer {ADMIN}"}
        try:
            if not self.fence:
                url = f"{self._addresses[0]}{self.lease}"
                return httpx2.put(url, json=self._body, headers=headers, timeout=5)
            return httpx2.post(f"{self._addresses[0]}{self.lease}/renew", headers=headers, timeout=5)
        except httpx2.TransportError:
            return None

    def stop(self) -> None:
        self._enough.set()
        self.join()


@contextmanager
def holders(pools: list[ServiceProcess], selectors: list[str], ttl_s: float | None) -> Iterator[list[Holder]]:
    """One holder for each selector, each with its lease, until the block ends."""
    found = [Holder([pool.address for pool in pools], selector, ttl_s) for selector in selectors]
    for holder in found:
        holder.start()
    try:
        until(lambda: all(holder.renewals for holder in found))
        yield found
    finally:
        for holder in found:
            holder.stop()
