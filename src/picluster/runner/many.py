"""A command on many machines at once: so many at a time, each with its own ending, and none stops the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from picluster.client.aio import AsyncClient
from picluster.errors import NotLetIn, PiclusterError, WaitedTooLong
from picluster.runner.borrow import Manner, Purpose, borrowed
from picluster.runner.keys import Access
from picluster.runner.ssh import connect, fresh_key
from picluster.wire import LeasedMachine, MachineAnswer

OnOutput = Callable[[str, str, bytes], object]
"""Is told each piece of output as it comes: the machine's name, `stdout` or `stderr`, and the bytes. What it returns, if
it can be awaited, is, so that a slow reader slows the commands down and not the renewals."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went on one machine."""

    machine: str
    status: int | None
    """The command's; none when it did not come to its end."""
    problem: PiclusterError | None
    """Why it did not."""
    duration_s: float
    """From the asking for the machine to the end."""


async def on_many(
    client: AsyncClient,
    machines: Sequence[MachineAnswer],
    command: str,
    purpose: Purpose,
    *,
    at_once: int,
    timeout_s: float | None,
    on_output: OnOutput,
) -> list[Outcome]:
    """Run a shell's line on each; the outcomes, in the order of the machines. Cancelled, it ends all of them."""
    me = (await client.whoami()).name
    places = asyncio.Semaphore(at_once)

    async def on_one(machine: MachineAnswer) -> Outcome:
        async with places:
            began = time.monotonic()
            try:
                status = await _run(client, machine, me, command, purpose, timeout_s, on_output)
                return Outcome(machine.name, status, None, time.monotonic() - began)
            except PiclusterError as problem:
                return Outcome(machine.name, None, problem, time.monotonic() - began)

    async with asyncio.TaskGroup() as tasks:
        working = [tasks.create_task(on_one(machine)) for machine in machines]
    return [task.result() for task in working]


async def _run(
    client: AsyncClient,
    machine: MachineAnswer,
    me: str,
    command: str,
    purpose: Purpose,
    timeout_s: float | None,
    on_output: OnOutput,
) -> int:
    async with (
        borrowed(client, machine, me, purpose, MANNER) as (leased, access),
        connect(leased, access) as reached,
    ):
        try:
            async with asyncio.timeout(timeout_s):
                return await reached.run(
                    command, on_output=lambda stream, piece: on_output(machine.name, stream, piece)
                )
        except TimeoutError:
            raise WaitedTooLong(
                f"It took longer than {timeout_s:g} s and was ended.", "--timeout says how long it may take."
            ) from None


async def lets_in(machine: LeasedMachine, access: Access) -> bool:
    """Whether it does, found out by a connection of its own."""
    try:
        async with connect(machine, access):
            return True
    except NotLetIn:
        return False


MANNER = Manner(fresh_key, lets_in)
"""Keys in memory, and asyncssh."""
