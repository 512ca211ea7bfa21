"""`PiBoardTable` and `PiBoardEntity`: what scripts of the first service use, with their meaning, on the queue.

The table speaks the modern API with the shared key, so that waiting is waiting in turn: a freed board comes in
milliseconds, not at the next poll. What the modern API has no word for, registering and reading a board by its
address, goes over the old protocol.
"""

from __future__ import annotations

import json
import os
import re
import time
import uuid
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from picluster.client import flows
from picluster.client.flows import Session
from picluster.client.sync import Client, own_address
from picluster.errors import (
    Held,
    LeaseLost,
    Malformed,
    NotAllowed,
    NotFound,
    PiclusterError,
    Unavailable,
    WaitedTooLong,
)
from picluster.wire import LONGEST_SELECTOR, LeaseAnswer, LeaseRequest

LOCKED = "Lock"

LEGACY = "legacy:"
"""Begins the holder of whoever showed the shared key."""

FIELDS = {
    "IpAddress": "ip_address",
    "Platform": "platform",
    "OsName": "os_name",
    "OsVersion": "os_version",
    "CurrentTaskName": "current_task_name",
    "CurrentUserName": "current_user_name",
    "Command": "command",
    "LastHeartbeat": "last_heartbeat",
    "LockKey": "lock_key",
    "Comment": "comment",
    "HostName": "hostname",
    "Temperature": "temperature",
    "SystemLoad": "system_load",
    "IsAlive": "alive",
}
"""Keys of the old protocol, and the attributes that scripts read."""

FREED = {"Command": "Free", "CurrentUserName": "", "CurrentTaskName": "", "LockKey": ""}

MISMATCH = "api key mismatch"
"""How the old protocol says that the key is wrong."""

LOOK_AGAIN_S = 25.0
"""While it waits, a script looks so often whether further boards have come that match."""

LOOK_FOR_THE_FIRST_S = 2.0
"""While not one registered board matches, there is nothing to queue for."""


class PiBoardEntity:
    """One board, as the old protocol shows it."""

    def __init__(self, values: dict[str, Any] | None = None) -> None:
        self.ip_address: str = ""
        self.platform: str = ""
        self.os_name: str = ""
        self.os_version: str = ""
        self.current_task_name: str = ""
        self.current_user_name: str = ""
        self.command: str = ""
        self.last_heartbeat: int = 0
        self.lock_key: str = ""
        self.comment: str = ""
        self.hostname: str = ""
        self.temperature: str = ""
        self.system_load: str = ""
        self.alive: bool = True
        if values:
            self.load(values)

    def load(self, values: dict[str, Any]) -> None:
        """Take over what a dictionary of the protocol says; unknown keys are left out, missing ones stay."""
        for key, name in FIELDS.items():
            if key in values:
                setattr(self, name, values[key])

    def serialize(self) -> str:
        """As JSON of the protocol."""
        return json.dumps({key: getattr(self, name) for key, name in FIELDS.items()})

    def deserialize(self, text: str) -> None:
        """From JSON of the protocol."""
        self.load(json.loads(text))

    def __repr__(self) -> str:
        return f"PiBoardEntity({self.ip_address!r}, {self.command!r}, {self.current_user_name!r})"


class PiBoardTable:
    """All boards of a service, for scripts.

        cluster = PiBoardTable("http://service:1337/api/")
        board = cluster.wait_for_free_machine("nightly", rePlatform="BCM2711")
        ...
        cluster.unlock(board.ip_address)

    A lock lasts until it is unlocked, unless `ttl` says how many seconds. Every method raises `PiclusterError`;
    a wrong key is `NotAllowed` at once, never a wait for ever.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        apikey: str | None = None,
        username: str | None = None,
        *,
        ttl: float | None = None,
    ) -> None:
        self._client = Client(endpoint, apikey or os.environ.get("RPI_APIKEY") or None, username)
        weakref.finalize(self, self._client.close)  # scripts never had to close a table
        self._session = self._client.session
        self._ttl = ttl
        self.username = self._session.where.user

    @property
    def client(self) -> Client:
        """The same pool with the modern words."""
        return self._client

    # One board

    def get(self, id: str) -> PiBoardEntity | None:
        """The board at an address; None if there is none."""
        found = self._read({"id": id}) if id else []
        return PiBoardEntity(found[0]) if found and found[0] else None

    def get_all(self) -> list[PiBoardEntity]:
        """All boards, by address."""
        return [PiBoardEntity(found) for found in self._read({})]

    def update(self, entity: PiBoardEntity) -> PiBoardEntity:
        """Register a board, or say that it is alive."""
        said = {
            key: getattr(entity, name)
            for key, name in FIELDS.items()
            if key not in ("IsAlive", "LastHeartbeat")
        }
        registered = self._old("update", said)
        if registered is None:
            raise NotFound(f"{entity.ip_address} was not registered.")
        return PiBoardEntity(registered)

    def delete(self, id: str | PiBoardEntity) -> PiBoardEntity:
        """Forget a board that nobody has locked; as it was. Raises `NotFound`, or `Conflict` when it is locked."""
        machine = self._client.machine(_address(id))
        before = self._shown(machine.address)
        self._client.forget(machine.name)
        return before

    def lock(self, id: str | PiBoardEntity, jobName: str = "") -> PiBoardEntity:
        """Lock a board now, also a silent one. Raises `Held`, which says who has it, or `NotFound`."""
        machine = self._client.machine(_address(id))
        silent = machine.state == "offline" and self._principal().startswith(LEGACY)
        if silent and (board := self._lock_silent(machine.address, jobName)) is not None:
            return board
        ask = LeaseRequest(_any_of([machine.address]), job=jobName, ttl_s=self._ttl, queue=False)
        lease = self._client.acquire(ask, renewing=False).answer
        try:
            return self._locked(lease)
        except BaseException:
            with suppress(PiclusterError):
                self._client.release(lease.id)
            raise

    def unlock(self, id: str | PiBoardEntity, reason: str = "") -> PiBoardEntity:
        """Give a board back. Raises `Held` if somebody else has it, `NotFound` if there is none.

        With a reason, which is recorded, also what another user of the shared key has. A board that nobody has
        and nobody may have, as one out of service, is answered as it is.
        """
        machine = self._client.machine(_address(id))
        if machine.lease is not None:
            if not reason and machine.lease.holder != self._principal():
                raise Held(f"{machine.address} is locked by {_plain(machine.lease.holder)}.")
            self._client.release(machine.lease.id, reason)
        board = self._shown(machine.address)
        if machine.lease is not None or machine.state in ("free", "offline"):
            board.load(FREED)  # the next in the queue may have it already
        return board

    # Many

    def get_matching_machines(
        self,
        reAddress: str | None = None,
        rePlatform: str | None = None,
        ignore_alive: bool = False,
    ) -> list[PiBoardEntity]:
        """Boards that are alive, and whose address and platform match these regular expressions from their start."""
        fits = _matcher(reAddress, rePlatform)
        return [board for board in self.get_all() if fits(board) and (ignore_alive or board.alive)]

    def wait_for_free_machine(
        self,
        jobName: str,
        reAddress: str | None = None,
        rePlatform: str | None = None,
        ignore_alive: bool = False,
        timeout_s: float | None = None,
    ) -> PiBoardEntity:
        """Wait in the queue for one of the boards that match, and lock it.

        A silent board counts again as soon as it is heard; with `ignore_alive`, at once. Boards that register
        meanwhile count, too. Raises `WaitedTooLong` after `timeout_s`; a wrong key raises at once.
        """
        self._principal()
        clock = self._session.clock
        end = clock() + (flows.FOR_EVER if timeout_s is None else timeout_s)
        asked: set[str] = set()
        leases: list[str] = []
        """One for the boards that were there at first, one for those that came later, …"""
        try:
            while True:
                boards = self.get_matching_machines(reAddress, rePlatform, ignore_alive=True)
                if ignore_alive and (board := self._lock_a_silent_one(boards, jobName)):
                    return board
                fresh = {board.ip_address for board in boards} - asked
                if fresh:
                    asked |= fresh
                    leases.append(str(uuid.uuid4()))
                    ask = LeaseRequest(_any_of(fresh), job=jobName, ttl_s=self._ttl, wait_for_machines=True)
                    self._client.run(flows.ask(self._session, leases[-1], ask))
                left = max(0.0, min(LOOK_AGAIN_S, end - clock()))
                for lease_id in leases:
                    try:
                        held = self._held(lease_id, left / len(leases))
                    except LeaseLost:  # as on a computer that slept: it asks anew, for all
                        leases.remove(lease_id)
                        asked.clear()
                        break
                    if held is not None:
                        board = self._locked(held)
                        leases.remove(lease_id)
                        return board
                if not leases:
                    time.sleep(min(left, LOOK_FOR_THE_FIRST_S))
                if clock() >= end:
                    raise WaitedTooLong(
                        f"{self.username} got none of {len(asked)} matching boards in {timeout_s:g} s."
                    )
        finally:
            for lease_id in leases:
                with suppress(PiclusterError):
                    self._client.release(lease_id)

    def _held(self, lease_id: str, wait_s: float) -> LeaseAnswer | None:
        """The lease, confirmed, if its turn comes within these seconds."""
        lease = self._client.run(flows.renew(self._session, lease_id, wait_s=wait_s, until=flows.FOR_EVER))
        if lease.state == "waiting":
            return None
        return self._client.renew(lease_id)

    def _lock_a_silent_one(self, boards: Iterable[PiBoardEntity], job: str) -> PiBoardEntity | None:
        """Boards that nobody hears are in no queue; the old protocol locks them all the same."""
        for board in boards:
            silent = not board.alive and board.command != LOCKED
            if silent and (locked := self._lock_silent(board.ip_address, job)) is not None:
                return locked
        return None

    def _lock_silent(self, address: str, job: str) -> PiBoardEntity | None:
        """Asked once: the old protocol would refuse the second time what it did the first."""
        said = {"CurrentUserName": self.username, "CurrentTaskName": job, "LockKey": str(uuid.uuid4())}
        here = Session(replace(self._session.where, addresses=(self._session.address,)), patience_s=0.0)
        try:
            locked = self._old("lock", {"IpAddress": address, "Command": LOCKED, **said}, here)
        except Unavailable as problem:
            problem.hint = f"{address} may be locked now: look, and unlock it."
            raise
        return PiBoardEntity(locked) if locked is not None else None

    # Whoever asks

    def get_user_name(self) -> str:
        """The name under which this table locks."""
        return self.username

    def get_local_ip(self) -> str:
        """This computer's address on the way to the service."""
        return own_address(self._session.address)

    # The way there

    def _principal(self) -> str:
        """Who we are to the service: `legacy:NAME` with the shared key. Raises `NotAllowed` for a wrong one."""
        return self._client.whoami().name

    def _locked(self, lease: LeaseAnswer) -> PiBoardEntity:
        board = self._shown(lease.machines[0].address)
        board.command, board.lock_key = LOCKED, lease.id
        board.current_user_name, board.current_task_name = self.username, lease.job
        return board

    def _shown(self, address: str) -> PiBoardEntity:
        found = self.get(address)
        if found is None:
            raise NotFound(f"No machine has the address {address!r}.")
        return found

    def _read(self, query: dict[str, object]) -> list[dict[str, Any]]:
        found = self._client.run(flows.call(self._session, "GET", "/api", query=query))
        if not isinstance(found, list):
            said = found.get("error", "it did not answer a list") if isinstance(found, dict) else found
            raise NotAllowed(f"The boards cannot be read: {said}.", "Set RPI_APIKEY, or a token.")
        return found

    def _old(self, what: str, said: dict[str, Any], session: Session | None = None) -> dict[str, Any] | None:
        """One write of the old protocol; None when it is refused. Raises `NotAllowed` for a wrong key."""
        body = {"ApiKey": self._session.where.token, **said}
        answer = self._client.run(flows.call(session or self._session, "POST", f"/api/{what}", body))
        if isinstance(answer, dict) and "error" in answer:
            if answer["error"] == MISMATCH:
                raise NotAllowed("The key is not the service's.", "Set RPI_APIKEY to the shared key.")
            raise Malformed(str(answer["error"]))
        return answer if isinstance(answer, dict) else None


def _matcher(address: str | None, platform: str | None) -> Callable[[PiBoardEntity], bool]:
    """Whether a board's address and platform match, from their start. Raises `Malformed` for a bad pattern."""
    patterns = [("reAddress", address, "ip_address"), ("rePlatform", platform, "platform")]
    compiled = []
    for name, pattern, attribute in patterns:
        try:
            compiled.append((re.compile(pattern or ""), attribute))
        except re.error as problem:
            raise Malformed(f"{name}: {pattern!r} is no regular expression: {problem}.", field=name) from None
    return lambda board: all(pattern.match(getattr(board, name) or "") for pattern, name in compiled)


def _any_of(addresses: Iterable[str]) -> str:
    """A selector for these boards: as many of them as it can name."""
    named: list[str] = []
    room = LONGEST_SELECTOR - len("ip:()")
    for address in sorted(addresses):
        text = '"' + address.replace("\\", "\\\\").replace('"', '\\"') + '"'
        room -= len(text.encode()) + 1
        if room < 0:
            break
        named.append(text)
    return f"ip:({'|'.join(named)})"


def _address(board: str | PiBoardEntity) -> str:
    return board.ip_address if isinstance(board, PiBoardEntity) else board


def _plain(holder: str) -> str:
    return holder.removeprefix(LEGACY)
