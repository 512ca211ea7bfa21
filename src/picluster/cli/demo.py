"""`picluster demo`: everything to try, on this computer, gone afterwards."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from picluster.cli.common import talk
from picluster.errors import Malformed

if TYPE_CHECKING:
    from picluster.demo.lab import Lab

DEFAULT_PORT = 1337

VISITOR, OTHER = "visitor", "eve"
"""The two people as whom one tries it, where the first has no name of their own."""


@click.command("demo")
@click.option("--host", help="Address to listen on; 0.0.0.0 lets others in.  [default: this computer alone]")
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    help="Port of the service; PORT is honoured.  [default: 1337, or a free one]",
)
@click.option("--quiet", is_flag=True, help="Do not tell what happens.")
def demo_command(host: str | None, port: int | None, quiet: bool) -> None:
    """Start a service with eight simulated boards and people who use them. Ctrl-C ends it, and nothing is left.

    \b
    picluster demo
    PORT=8080 picluster demo
    """
    import asyncio

    from picluster.demo.lab import LOOPBACK, free_port, service

    place = host or LOOPBACK
    chosen = port or _port_of_environment() or free_port(DEFAULT_PORT, place)
    with service(chosen, place) as lab:
        asyncio.run(_demonstrate(lab, place, quiet))


def _port_of_environment() -> int:
    text = os.environ.get("PORT", "")
    if text and not (text.isdecimal() and 0 < int(text) < 65_536):
        raise Malformed(f"PORT: {text!r} is no port.", "Unset it, or say 1 to 65535.", field="PORT")
    return int(text) if text else 0


async def _demonstrate(lab: Lab, place: str, quiet: bool) -> None:
    import asyncio
    import signal

    from picluster.demo.lab import inhabit, ready, token_for

    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    loop.add_signal_handler(signal.SIGTERM, this.cancel)
    await ready(lab)
    yours = await token_for(lab, own_name(), role="operator")
    talk(_welcome(lab.url, place, yours, await token_for(lab, OTHER)))
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(inhabit(lab))
            if not quiet:
                tasks.create_task(_narrate(lab))
    except asyncio.CancelledError:
        talk("The demonstration is over.")


def own_name() -> str:
    """Whoever runs it, as this computer calls them; without a name of their own, or with one that reads like a role or
    is somebody's in the demonstration, they are a visitor."""
    import getpass

    from picluster.demo.people import PATIENT, PEOPLE
    from picluster.pool.model import Role

    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):
        return VISITOR
    taken = {person.name for person in (*PEOPLE, PATIENT)} | {
        OTHER,
        "root",
        *(role.name.lower() for role in Role),
    }
    return VISITOR if name in taken or not name.isidentifier() else name


def _reach(place: str) -> str:
    from picluster.demo.lab import EVERYWHERE, LOOPBACK

    if place == LOOPBACK:
        return "Only this computer reaches it; --host 0.0.0.0 lets others in."
    where = "any address of this computer" if place in EVERYWHERE else place
    return f"Whoever reaches {where} reaches it, too."


def _welcome(url: str, place: str, yours: str, eves: str) -> str:
    return f"""
A pool of eight simulated boards is at {url} - open it in a browser,
and log in there with the token below to lock one.
{_reach(place)}

In another terminal:

  export PICLUSTER_URL={url} PICLUSTER_TOKEN={yours}
  picluster list                      what there is, and who has it
  picluster lock model:pi5            a Pi 5, or who has them
  picluster wait model:pi5            a Pi 5, when it is your turn
  picluster queue                     who waits, and why
  picluster unlock --me               give back
  picluster watch                     everything that changes, live

And in a third, to be refused and to wait, as somebody else:

  export PICLUSTER_URL={url} PICLUSTER_TOKEN={eves}

pi5-b overheats, zero2w-a will disappear, and max waits for it. Ctrl-C ends all of it.
"""


async def _narrate(lab: Lab) -> None:
    """One line for each grant, as they come."""
    import asyncio

    from picluster.client.aio import AsyncClient
    from picluster.errors import PiclusterError

    async with AsyncClient(lab.url, lab.admin_token) as pool:
        told = 0
        while True:
            try:
                events = await pool.history(50, kind="lease.held", since=told)
            except PiclusterError:
                events = []
            for event in reversed(events):
                told = max(told, event.at_us + 1)
                talk(f"  {event.holder} got {event.machine} for {event.detail.get('job')!r}")
            await asyncio.sleep(1)
