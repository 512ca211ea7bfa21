"""A job from its lease to its verdict: wait, connect, copy, run, fetch, clean, give back.

    result = await carry_out(Job("model:pi5", "./test.sh", copies=(copy_of("build/"),)), client, Watch())

Whatever goes wrong, in whatever step: the command on every machine is ended, its folder is removed, the lease is
given back, and the result says what it was.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from io import RawIOBase
from pathlib import Path
from typing import BinaryIO

from picluster.client.aio import AsyncClient, AsyncLease
from picluster.client.flows import Step
from picluster.errors import NotFound, PiclusterError, TransferFailed, Unavailable
from picluster.runner import plan
from picluster.runner.borrow import refuse_simulated
from picluster.runner.keys import access_of
from picluster.runner.plan import Ending, Job
from picluster.runner.ssh import Reached, connect, fresh_key
from picluster.runner.transfer import Progress
from picluster.wire import LONGEST_WAIT_S, LeaseAnswer, LeasedMachine

VERDICT_S = 10.0
"""How long the verdict is waited for when it is only to be told: an agent answers in milliseconds."""
VERDICT_REQUIRED_S = 120.0
"""And when it decides: as long as a board may take to clean up before it is put out of service."""
LOOK_EVERY_S = 0.1
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A disk, somebody's share of it, or a file is full."""


class Watch:
    """Is told how it goes. This one does not care."""

    stopped_by: int = 0
    """The signal for which whoever watches has cancelled the job, so that the job can say so."""

    def waits(self, step: Step) -> None:
        """How the lease stands, and that nobody answers."""

    def leased(self, lease: LeaseAnswer) -> None:
        """The machines are ours, and let us in."""

    def begins(self, machine: LeasedMachine, what: str) -> None:
        """A step: `copies build`, `runs`, `fetches`."""

    def moved(self, machine: LeasedMachine, size: int) -> None:
        """So many bytes more, of what is copied or fetched."""

    def says(self, machine: LeasedMachine, stream: str, piece: bytes) -> Awaitable[None] | None:
        """Output of the command: of `stdout` or `stderr`. What is returned is awaited before there is more."""
        return None

    def misses(self, machine: LeasedMachine, patterns: Sequence[str]) -> None:
        """Nothing there is named by these."""

    def holds(self, result: Result) -> None:
        """The machines stay ours, since it failed."""


@dataclass
class Part:
    """What happened on one machine."""

    machine: LeasedMachine
    folder: Path | None
    """Where its results are; None if nobody wants them."""
    status: int | None = None
    """Of the command; None if it has not come to its end."""
    time_over: bool = False
    began_us: int = 0
    ended_us: int = 0
    fetched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    work_folder: str = ""

    @property
    def files(self) -> Path | None:
        """Where what was fetched lies."""
        return self.folder and self.folder / "files"

    @property
    def output(self) -> Path | None:
        return self.folder and self.folder / "output.txt"


@dataclass
class Result:
    """What came of a job."""

    job: Job
    lease: LeaseAnswer | None = None
    """As it was last heard of; with the verdict, if there is one."""
    parts: list[Part] = field(default_factory=list)
    problem: PiclusterError | None = None
    """What came between."""
    stopped_by: int = 0
    held_s: float | None = None
    """The machines stay for so long."""

    @property
    def statuses(self) -> list[int]:
        return [part.status for part in self.parts if part.status is not None]

    @property
    def ending(self) -> Ending:
        if self.stopped_by:
            return Ending.STOPPED
        if self.problem is not None:
            return plan.ending_of(self.problem)
        if any(part.time_over for part in self.parts):
            return Ending.TIME_OVER
        if any(self.statuses):
            return Ending.FAILED
        return Ending.NOT_CLEAN if self.job.require_clean and not self.clean else Ending.PASSED

    @property
    def verdict(self) -> str:
        return (self.lease.verdict if self.lease else "") or "unknown"

    @property
    def clean(self) -> bool:
        return self.verdict == "clean"

    @property
    def exit_code(self) -> int:
        return plan.exit_code(self.ending, self.statuses, self.stopped_by)


async def carry_out(job: Job, client: AsyncClient, watch: Watch) -> Result:
    """Do it. Raises nothing that can go wrong on the way: the result says it.

    Cancelled after `watch.stopped_by` was set, it cleans up and has a result, too; otherwise it is cancelled.
    """
    result = Result(job)
    try:
        await _Carrying(job, client, watch, result).to_the_end()
        if result.held_s is None:
            await _judged(client, result)
    except PiclusterError as problem:
        result.problem = problem
    except asyncio.CancelledError:
        if not watch.stopped_by:
            raise
    result.stopped_by = watch.stopped_by
    return result


class _Carrying:
    """One job on its way."""

    def __init__(self, job: Job, client: AsyncClient, watch: Watch, result: Result) -> None:
        self._job, self._client, self._watch, self._result = job, client, watch, result
        key = fresh_key()
        self._access = access_of(user=job.user, key=key)
        self._request = job.request(key.public)
        self._all_there = asyncio.Barrier(job.count)
        self._all_done = asyncio.Barrier(job.count)

    async def to_the_end(self) -> None:
        lease: AsyncLease | None = None
        try:
            async with self._leased() as lease:
                await self._with(lease)
        finally:
            if lease is not None:
                self._result.lease = lease.answer

    def _leased(self) -> AbstractAsyncContextManager[AsyncLease]:
        ask = self._request
        return self._client.lease(
            ask.selector,
            job=ask.job,
            ttl=ask.ttl_s,
            timeout_s=self._job.wait_s,
            watch=self._watch.waits,
            count=ask.count,
            queue=ask.queue,
            priority=ask.priority,
            ssh_public_keys=ask.ssh_public_keys,
        )

    async def _with(self, lease: AsyncLease) -> None:
        self._result.lease = lease.answer
        self._result.parts = [Part(machine, self._folder_of(machine)) for machine in lease.machines]
        self._watch.leased(lease.answer)
        await self._are_there(lease)
        await self._on_all(lease)
        if self._failed and self._job.hold_on_failure_s is not None:
            await self._hold(lease, self._job.hold_on_failure_s)

    async def _are_there(self, lease: AsyncLease) -> None:
        """Raises `NotReached` for a board of the demonstration."""
        with suppress(Unavailable, NotFound):  # then the connection will tell
            for machine in lease.machines:
                refuse_simulated(await self._client.machine(machine.name))

    def _folder_of(self, machine: LeasedMachine) -> Path | None:
        out = self._job.out
        return out / plan.file_name(machine.name) if out and self._job.count > 1 else out

    @property
    def _failed(self) -> bool:
        return any(part.time_over or part.status for part in self._result.parts)

    async def _on_all(self, lease: AsyncLease) -> None:
        """On each machine at once; what goes wrong on one ends it on all."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for rank in range(self._job.count):
                    tasks.create_task(self._on_one(lease, rank))
        except BaseExceptionGroup as several:
            await self._still_ours(lease)
            raise several.exceptions[0] from None

    async def _still_ours(self, lease: AsyncLease) -> None:
        """Raises `LeaseLost` if it is not: a board closes the connection of somebody whose lease is over."""
        with suppress(Unavailable):
            await self._client.renew(lease.id)

    async def _on_one(self, lease: AsyncLease, rank: int) -> None:
        part = self._result.parts[rank]
        async with connect(part.machine, self._access) as reached, reached.work_folder() as folder:
            part.work_folder = folder
            await self._copy(reached, folder)
            await self._all_there.wait()
            told = plan.environment(lease.machines, rank, lease.id, lease.fence)
            await self._command(reached, part, told)
            await self._fetch(reached, part)
            await self._all_done.wait()
            reached.keeps_folder = self._failed and self._job.hold_on_failure_s is not None

    async def _copy(self, reached: Reached, folder: str) -> None:
        for copy in self._job.copies:
            self._watch.begins(reached.machine, f"copies {copy.source}")
            dest = copy.folder if copy.folder.startswith("/") else f"{folder}/{copy.folder}"
            await reached.put(copy.source, dest, self._moved(reached.machine), name=copy.name)

    async def _command(self, reached: Reached, part: Part, told: dict[str, str]) -> None:
        self._watch.begins(part.machine, "runs")
        with _writing(part.output) as output:

            def heard(stream: str, piece: bytes) -> Awaitable[None] | None:
                if output is not None:
                    write_all(output, piece)
                return self._watch.says(part.machine, stream, piece)

            part.began_us = _now_us()
            try:
                async with asyncio.timeout(self._job.timeout_s):
                    part.status = await reached.run(
                        self._job.command, environment=told, folder=part.work_folder, on_output=heard
                    )
            except TimeoutError:
                part.time_over = True
            finally:
                part.ended_us = _now_us()

    async def _fetch(self, reached: Reached, part: Part) -> None:
        if not self._job.fetches or part.files is None:
            return
        self._watch.begins(part.machine, "fetches")
        wanted = self._job.fetches
        fetched = await reached.get(wanted, part.work_folder, part.files, self._moved(part.machine))
        part.fetched, part.missing = fetched
        if part.missing:
            self._watch.misses(part.machine, part.missing)

    def _moved(self, machine: LeasedMachine) -> Progress:
        return lambda size: self._watch.moved(machine, size)

    async def _hold(self, lease: AsyncLease, held_s: float) -> None:
        """From now on it is for people: for so long, with their keys alone, and nobody renews."""
        lease.answer = await self._client.renew(
            lease.id, ttl_s=held_s, ssh_public_keys=self._job.ssh_public_keys
        )
        lease.stays = True
        self._result.lease, self._result.held_s = lease.answer, held_s
        self._watch.holds(self._result)


@contextmanager
def _writing(file: Path | None) -> Iterator[BinaryIO | None]:
    """Where output is kept, if somebody wants it; each piece is there as soon as it came."""
    if file is None:
        yield None
        return
    with _room_for(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb", buffering=0) as output:
            yield output


def write_all(file: BinaryIO | RawIOBase, piece: bytes) -> None:
    """All of it, or an error: where there is little room left the system takes a part and says nothing."""
    left = memoryview(piece)
    while left:
        left = left[file.write(left) :]


@contextmanager
def _room_for(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        if problem.filename is None and problem.errno not in NO_ROOM:  # it is not about the file
            raise
        raise TransferFailed(
            f"{problem.filename or file}: {problem.strerror or problem}",
            "Make room here, or name another --out.",
        ) from None


async def _judged(client: AsyncClient, result: Result) -> None:
    """The lease is over; wait for its verdict, which is there when the last of its boards has reported."""
    assert result.lease is not None
    end = time.monotonic() + (VERDICT_REQUIRED_S if result.job.require_clean else VERDICT_S)
    with suppress(Unavailable):  # what is not known is not clean
        while not result.lease.verdict and time.monotonic() < end:
            result.lease = await client.release(result.lease.id, wait_s=_open_for(end))
            await asyncio.sleep(0 if result.lease.verdict else LOOK_EVERY_S)


def _open_for(end: float) -> float:
    return max(0.0, min(LONGEST_WAIT_S, end - time.monotonic()))


def _now_us() -> int:
    return time.time_ns() // 1_000
