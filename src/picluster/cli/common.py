"""What commands share: the way to the pool, how things are named, and what the exit codes mean."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from picluster.errors import (
    Held,
    Malformed,
    NotAllowed,
    NotFound,
    PiclusterError,
    Unavailable,
    Unsatisfiable,
    WaitedTooLong,
)

if TYPE_CHECKING:
    from picluster.client.sync import Client
    from picluster.wire import MachineAnswer

F = TypeVar("F", bound=Callable[..., Any])

EXIT_CODES: dict[type[PiclusterError], int] = {
    Malformed: 2,
    NotFound: 3,
    Unsatisfiable: 3,
    NotAllowed: 4,
    Held: 5,
    Unavailable: 6,
    WaitedTooLong: 124,
}
"""As documented; whatever else goes wrong is 1."""

PATIENCE_S = 5.0
"""A person at a prompt: a restart of the service is outlasted, a wrong address is told soon."""

FOR_EVER = "ever"
_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def exit_code(problem: PiclusterError) -> int:
    """As documented; a database that cannot be used brings its own."""
    own = getattr(problem, "exit_code", None)
    return (
        int(own) if own else next((code for kind, code in EXIT_CODES.items() if isinstance(problem, kind)), 1)
    )


def complain(problem: PiclusterError) -> int:
    """Say on stderr what is wrong and what to do; the exit code for it."""
    from picluster.cli.output import plain

    print(f"picluster: {plain(problem.message)}", file=sys.stderr)
    if problem.hint:
        print(f"           {plain(problem.hint)}", file=sys.stderr)
    for note in getattr(problem, "__notes__", ()):
        print(f"           {plain(note)}", file=sys.stderr)
    return exit_code(problem)


def talk(text: str) -> None:
    """Talk is for people, on stderr; stdout is for data."""
    from picluster.cli.output import plain

    print(plain(text), file=sys.stderr, flush=True)


@contextmanager
def extra(name: str, doing: str) -> Iterator[None]:
    """For the import of what comes with this extra alone. Raises `Malformed` with how to get it."""
    try:
        yield
    except ModuleNotFoundError as missing:
        raise Malformed(
            f"{doing} needs {missing.name}, which is not installed.",
            f"pip install 'pi-cluster-service[{name}]'",
        ) from None


# The way to the pool


def of_pool(command: F) -> F:
    """The options that say which service, and a first argument `pool`: the client for it."""
    from functools import wraps

    @click.option("--url", help="Address of the service; several with commas.  [PICLUSTER_URL]")
    @click.option("--token", help="Your token.  [PICLUSTER_TOKEN; better there than here]")
    @wraps(command)
    def with_pool(url: str | None, token: str | None, **given: Any) -> Any:
        from picluster.client.sync import Client

        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP, and nohup ignores it
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _stop)
        with Client(url, token, patience_s=PATIENCE_S) as pool:
            return command(pool, **given)

    return with_pool  # type: ignore[return-value]


def _stop(number: int, frame: FrameType | None) -> None:
    """A job that is cancelled, or whose terminal closes, cleans up as one that is interrupted."""
    raise KeyboardInterrupt


# How things are named


def names_argument(required: bool = True) -> Callable[[F], F]:
    """Machines, each by name, address, glob or selector; all that any of them names."""
    return click.argument("names", nargs=-1, required=required, shell_complete=complete_machines)


def selector_argument() -> Callable[[F], F]:
    """One selector: the arguments are its terms. For a command of the class `Selecting`."""
    return click.argument("terms", metavar="[SELECTOR]...", nargs=-1, shell_complete=complete_machines)


class Selecting(click.Command):
    """A command whose selector may have terms like `-rack:b`, which are no options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        before, after = args[:end], args[end + 1 :]
        negated = [arg for arg in before if NEGATED.match(arg)]
        return super().parse_args(
            ctx, [*(arg for arg in before if not NEGATED.match(arg)), "--", *negated, *after]
        )


NEGATED = re.compile(r"-[A-Za-z][\w.-]*[:<>]")


def complete_machines(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of machines, for the shell; nothing when the service is away."""
    from picluster.client.sync import Client

    try:
        with Client(ctx.params.get("url"), ctx.params.get("token"), patience_s=0.0) as pool:
            return [machine.name for machine in pool.machines() if machine.name.startswith(incomplete)]
    except PiclusterError:
        return []


def named(pool: Client, names: Sequence[str]) -> list[MachineAnswer]:
    """The machines that any of these names, globs or selectors means. Raises `NotFound` naming what means none."""
    found: dict[str, MachineAnswer] = {}
    for name in names:
        not_empty(name)
        some = pool.machines(name)
        if not some:
            raise NotFound(f"No machine matches {name!r}.", "`picluster list` shows what there is.")
        found.update({machine.name: machine for machine in some})
    return list(found.values())


def not_empty(selector: str) -> None:
    """An empty selector is every machine: too many for a variable of a script that was not set."""
    if not selector.strip():
        raise Malformed("A name is empty; it would mean every machine.", "Is a variable of yours not set?")


def mine(pool: Client) -> list[MachineAnswer]:
    """What the one who asks has locked."""
    me = pool.whoami().name
    return [machine for machine in pool.machines() if machine.lease and machine.lease.holder == me]


# Durations


class Duration(click.ParamType[float]):
    """`90`, `90s`, `15m`, `2h`, `1d`, and where it may be, `ever`."""

    name = "duration"

    def __init__(self, ever: bool = False) -> None:
        self._ever = ever

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        text = str(value).strip().lower()
        if self._ever and text == FOR_EVER:
            return float("inf")
        number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS_S else (text, "s")
        try:
            seconds = float(number) * _UNITS_S[unit]
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < float("inf"):
            ever = f", or {FOR_EVER}" if self._ever else ""
            self.fail(f"{value!r} is no duration: say 90s, 15m, 2h or 1d{ever}.", param, ctx)
        return seconds


def each(machines: Iterable[MachineAnswer], do: Callable[[MachineAnswer], object]) -> int:
    """Do it for every machine, also when one fails; the exit code of the first failure."""
    failures: dict[str, int] = {}
    for machine in machines:
        try:
            do(machine)
        except PiclusterError as problem:
            if problem.message not in failures:  # what one may not, one may not for each: said once
                failures[problem.message] = complain(problem)
    return next(iter(failures.values()), 0)
