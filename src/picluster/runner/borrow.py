"""A machine for a short purpose: one that we hold is used as it is and stays ours; any other is leased, and given back.

A lease of ours may have been made by `picluster lock`, with no key for a board that enforces, or with somebody's own.
So our own keys are tried first; only when the board takes none of them does the lease get a fresh one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from picluster.client import flows
from picluster.client.aio import AsyncClient
from picluster.client.sync import Watch, nobody
from picluster.errors import LeaseLost, NotLetIn, NotReached
from picluster.runner.keys import Access, Key, access_of
from picluster.wire import LeasedMachine, MachineAnswer

TTL_S = 60.0
"""Renewed while it is used; whoever is killed blocks a board for no longer than this."""

LET_IN_S = 10.0
"""A board learns of a new key by the call that it holds open, in milliseconds; this much when it has to ask anew."""

LOOK_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Manner:
    """How one gets in: two ways that need no more from each other than this."""

    make_key: Callable[[], Key]
    lets_in: Callable[[LeasedMachine, Access], Awaitable[bool]]
    """Whether the machine takes what we have to show."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a machine is wanted for."""

    job: str
    user: str = ""
    """To log in as, where the board does not say who."""
    queue: bool = False
    """Wait for our turn; else be refused with who has it."""
    watch: Watch = nobody


SIMULATED = "simulated"
"""The fact by which a board of the demonstration is told from one that takes commands."""


def refuse_simulated(machine: MachineAnswer) -> None:
    """Raises `NotReached` for a board that is not there, before an address is tried that leads nowhere."""
    if machine.facts.get(SIMULATED):
        raise NotReached(
            f"{machine.name} is simulated: it can be locked, but takes no commands.",
            "Put a board of yours into a pool of yours: `picluster serve` starts one, `picluster join` prints the line"
            " for a board.",
        )


@asynccontextmanager
async def borrowed(
    client: AsyncClient, machine: MachineAnswer, me: str, purpose: Purpose, manner: Manner
) -> AsyncIterator[tuple[LeasedMachine, Access]]:
    """The machine, and what opens it, for the time of the block. Raises `Held` when it is somebody else's."""
    refuse_simulated(machine)
    if machine.lease is not None and machine.lease.holder == me:
        yield await held(client, machine.lease.id, machine.name, purpose.user, manner)
        return
    key = manner.make_key()
    async with client.lease(
        machine.name,
        job=purpose.job,
        ttl=TTL_S,
        queue=purpose.queue,
        watch=purpose.watch,
        ssh_public_keys=(key.public,),
    ) as lease:
        yield lease.machine, access_of(user=purpose.user, key=key)


async def held(
    client: AsyncClient, lease_id: str, name: str, user: str, manner: Manner
) -> tuple[LeasedMachine, Access]:
    """A machine of a lease of ours, and what opens it: our own keys, else a fresh one that the lease gets."""
    lease = await client.run(flows.lease(client.session, lease_id))
    machine = next((one for one in lease.machines if one.name == name), None)
    if machine is None or lease.state != "held":
        raise LeaseLost(f"Your lease of {name} has just ended.", "Once more, and it is leased for this.")
    own = access_of(user=user)
    if machine.mode != "enforced" or await manner.lets_in(machine, own):
        return machine, own
    return machine, await _let_in(
        client, lease_id, machine, access_of(user=user, key=manner.make_key()), manner
    )


async def _let_in(
    client: AsyncClient, lease_id: str, machine: LeasedMachine, access: Access, manner: Manner
) -> Access:
    """The lease gets our key. Another command of ours may give it another one before we have used it: then again."""
    assert access.key is not None
    end = asyncio.get_running_loop().time() + LET_IN_S
    while True:
        await client.renew(lease_id, ssh_public_keys=(access.key.public,))
        for _ in range(5):
            if await manner.lets_in(machine, access):
                return access
            await asyncio.sleep(LOOK_EVERY_S)
        if asyncio.get_running_loop().time() > end:
            raise NotLetIn(
                f"{machine.name} does not let the key of your lease in.",
                "Its agent may be away: `picluster show` says when it was last heard.",
            )
