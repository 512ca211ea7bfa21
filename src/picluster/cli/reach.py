"""What `exec`, `cp` and `ssh` share: a command after `--`, one machine by name, and work in an event loop that signals end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from picluster.cli.common import extra, named, talk
from picluster.errors import Malformed, PiclusterError

if TYPE_CHECKING:
    from picluster.client.aio import AsyncClient
    from picluster.client.sync import Client
    from picluster.wire import MachineAnswer

T = TypeVar("T")

REFUSED, OURS = 75, 125
"""Exit codes of `exec` and `ssh` that are not the command's own: 5, as elsewhere for what is held, might be the command's."""

COMMAND = "picluster.command"


class WithCommand(click.Command):
    """What follows `--` is for the machine, and none of it is ours to understand."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        ctx.meta[COMMAND] = args[end + 1 :]
        return super().parse_args(ctx, args[:end])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- WORDS...]"]


def one_machine(pool: Client, name: str) -> MachineAnswer:
    """The one that a name means. Raises `Malformed` for several."""
    found = named(pool, [name])
    if len(found) > 1:
        names = ", ".join(machine.name for machine in found)
        raise Malformed(f"{name!r} means {len(found)} machines: {names}.", "Name one of them.")
    return found[0]


def awaited(pool: Client) -> AsyncClient:
    """The same pool for an event loop."""
    from picluster.client.aio import AsyncClient

    where = pool.session.where
    return AsyncClient(",".join(where.addresses), where.token, where.user, patience_s=pool.session.patience_s)


def carried(work: Coroutine[Any, Any, T], stops: Sequence[str] = ("SIGINT", "SIGTERM", "SIGHUP")) -> T:
    """Carry it out; a signal cancels it, and it cleans up: then we end with 128 and the signal's number."""
    stopped_by = 0

    async def stoppable() -> T:
        def stop(number: int) -> None:
            nonlocal stopped_by
            stopped_by = number
            task.cancel()

        task = asyncio.ensure_future(work)
        for name in stops:
            number = getattr(signal, name)
            if signal.getsignal(number) is not signal.SIG_IGN:
                asyncio.get_running_loop().add_signal_handler(number, stop, number)
        return await task

    try:
        with extra("run", "Going to a board"):
            return asyncio.run(stoppable())
    except asyncio.CancelledError:
        talk("picluster: stopped; what was locked for it is given back.")
        raise click.exceptions.Exit(128 + stopped_by) from None
    except BaseExceptionGroup as several:
        raise _first(several) from None


def _first(several: BaseExceptionGroup[BaseException]) -> BaseException:
    """Of what went wrong at once, what somebody can do something about."""
    known = several.subgroup(PiclusterError)
    one = (known or several).exceptions[0]
    return _first(one) if isinstance(one, BaseExceptionGroup) else one
