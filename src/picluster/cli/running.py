"""How a job looks while it runs: what the command says goes where it would have gone, all else to stderr.

One machine's output is passed on as it is; that of several line by line, each with the machine's name before it. It is
written in a thread: a pager that is not read must not keep the lease from being renewed.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shlex
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from picluster.cli.common import complain, talk
from picluster.cli.leases import Waiting
from picluster.cli.output import span
from picluster.runner.job import Part, Result, Watch
from picluster.runner.keys import access_of
from picluster.runner.plan import Ending, Job
from picluster.runner.report import why_not_clean

if TYPE_CHECKING:
    from picluster.client.flows import Step
    from picluster.wire import LeaseAnswer, LeasedMachine

MEGABYTE = 1_000_000
LONGEST_LINE = 64 * 1024
"""Bytes without an end that are kept for it; then they are a line as they are."""
RUNS = "runs"
"""The step that speaks for itself."""


class Terminal(Watch):
    """Shows one job. `cancel` stops it, once there is something to stop."""

    cancel: Callable[[], object]

    def __init__(self, job: Job, quiet: bool) -> None:
        self._several, self._quiet = job.count > 1, quiet
        self._waiting = Waiting()
        self._moved = Moved(live=not self._several)
        self._lines: dict[tuple[str, str], bytes] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.stop()
        self._moved.stop()

    def stop(self, number: int) -> None:
        """A signal has come. The first is for cleaning up; with the second one everything ends here and now."""
        if self.stopped_by and number == getattr(signal, "SIGHUP", None):
            return  # a shell and its terminal both send it when a window is closed
        if self.stopped_by:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self._stop(number)
        name = signal.Signals(number).name
        with suppress(OSError):  # the terminal may be what has gone
            self._waiting.stop()
            self._moved.stop()
            talk(
                f"{name}: ending the command and giving back. Once more ends this at once; what is locked then runs out."
            )

    def _stop(self, number: int) -> None:
        self.stopped_by = number
        self.cancel()

    # What it is told

    def waits(self, step: Step) -> None:
        if not self._quiet:
            self._waiting(step)

    def leased(self, lease: LeaseAnswer) -> None:
        self._waiting.stop()
        names = ", ".join(f"{machine.name} ({machine.address})" for machine in lease.machines)
        self._say(f"{names}: yours, fence {lease.fence}.")

    def begins(self, machine: LeasedMachine, what: str) -> None:
        self._moved.stop()
        if what != RUNS and not self._quiet:
            self._moved.begin(f"{machine.name} {what}")

    def moved(self, machine: LeasedMachine, size: int) -> None:
        self._moved.more(size)

    def misses(self, machine: LeasedMachine, patterns: Sequence[str]) -> None:
        self._moved.stop()
        talk(f"{machine.name} has nothing to fetch as {' or as '.join(patterns)}.")

    def holds(self, result: Result) -> None:
        assert result.lease is not None and result.held_s is not None
        names = " ".join(machine.name for machine in result.lease.machines)
        talk(f"Held for {span(result.held_s)}, to look. `picluster unlock {names}` gives back earlier.")
        for part in result.parts:
            talk(f"    {_way_to(part.machine, result.job)}   # in {part.work_folder}")

    def says(self, machine: LeasedMachine, stream: str, piece: bytes) -> Awaitable[None] | None:
        shown = self._prefixed(machine.name, stream, piece) if self._several else piece
        return self._written(stream, shown) if shown else None

    def ended(self, result: Result) -> None:
        """The last words: how it went, and what to do if it did not go well."""
        self._moved.stop()
        for (name, stream), rest in self._lines.items():
            if rest:
                _write(stream, _line(name, rest) + b"\n")
        if result.problem is not None:
            complain(result.problem)
        elif result.ending is Ending.NOT_CLEAN:
            talk(f"picluster: --require-clean: {why_not_clean(result)}")
        elif result.ending is Ending.TIME_OVER:
            talk(f"picluster: the command ran for more than {span(result.job.timeout_s)}, and was ended.")
        if result.parts:
            self._say(_summary(result))

    # How it is said

    def _say(self, text: str) -> None:
        if not self._quiet:
            talk(text)

    def _prefixed(self, name: str, stream: str, piece: bytes) -> bytes:
        """The lines that are complete now."""
        *whole, rest = (self._lines.get((name, stream), b"") + piece).split(b"\n")
        if len(rest) > LONGEST_LINE:
            whole, rest = [*whole, rest], b""
        self._lines[name, stream] = rest
        return b"".join(_line(name, line) + b"\n" for line in whole)

    async def _written(self, stream: str, shown: bytes) -> None:
        try:
            await asyncio.to_thread(_write, stream, shown)
        except OSError as problem:
            if problem.errno != errno.EPIPE:
                raise
            if not self.stopped_by:  # `| head` has seen enough
                self._stop(signal.SIGPIPE)


def _way_to(machine: LeasedMachine, job: Job) -> str:
    """What a person types."""
    user, port = access_of(user=job.user).user_on(machine), machine.ssh_port
    where = shlex.quote(f"{user}@{machine.address}" if user else machine.address)
    return f"ssh {f'-p {port} ' if port != 22 else ''}{where}"


def _line(name: str, line: bytes) -> bytes:
    return name.encode() + b"| " + line


def _write(stream: str, shown: bytes) -> None:
    handle = (sys.stdout if stream == "stdout" else sys.stderr).fileno()
    while shown:
        shown = shown[os.write(handle, shown) :]


def _summary(result: Result) -> str:
    parts = []
    for part in result.parts:
        took = f" after {span((part.ended_us - part.began_us) / 1e6)}" if part.ended_us else ""
        parts.append(f"{part.machine.name}: {_came_to(part, result)}{took}")
    return f"{'; '.join(parts)}; {_afterwards(result)}."


def _came_to(part: Part, result: Result) -> str:
    """What became of the command there."""
    if part.time_over:
        return "time over"
    if part.status is not None:
        return f"exit {part.status}"
    if not part.began_us:
        return "not begun"
    return "stopped" if result.stopped_by else "no exit status"


def _afterwards(result: Result) -> str:
    """What became of the machines. Whoever stops a job does not wait for their verdict."""
    if result.held_s is not None:
        return "held"
    assert result.lease is not None
    if result.stopped_by and result.lease.state != "ended":
        return f"not given back, since the service could not be told; the lease runs out in {span(result.job.ttl_s)}"
    if result.stopped_by and not result.lease.verdict:
        return "given back"
    reasons = ", ".join(result.lease.verdict_reasons)
    return f"verdict {result.verdict}{f' ({reasons})' if reasons else ''}"


class Moved:
    """How far a copy is: a live line where nobody else writes, as on a terminal with one machine; else that it begins."""

    def __init__(self, live: bool = True) -> None:
        self._live = live
        self._status: Any = None
        self._what, self._size = "", 0
        self._shown = ExitStack()

    def begin(self, what: str) -> None:
        self._what, self._size = what, 0
        if not (self._live and sys.stderr.isatty()):
            talk(f"{what} …")
            return
        from rich.console import Console

        self._status = self._shown.enter_context(Console(stderr=True, highlight=False).status(what))

    def more(self, size: int) -> None:
        self._size += size
        if self._status is not None:
            from rich.text import Text

            self._status.update(Text(f"{self._what}: {self._size / MEGABYTE:,.0f} MB"))

    def stop(self) -> None:
        self._shown.close()
        self._status = None
