"""A command on many machines at once: on what is yours, or leased for the purpose."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from picluster.cli.common import Duration, exit_code, named, names_argument, of_pool
from picluster.cli.output import output_options, show
from picluster.cli.reach import COMMAND, OURS, REFUSED, WithCommand, awaited, carried
from picluster.errors import Held, LeaseLost, Malformed, NotFound, Refused, WaitedTooLong

if TYPE_CHECKING:
    from picluster.client.sync import Client
    from picluster.runner.many import Outcome
    from picluster.wire import MachineAnswer

SHOWN_JOB = 200
"""Letters of a command that everybody sees as what the machine is used for."""


@click.command("exec", cls=WithCommand)
@names_argument(required=False)
@click.option("--all", "every", is_flag=True, help="Every machine that is online and in service.")
@click.option("--platform", metavar="REGEX", help="Of them, those whose platform begins so.")
@click.option(
    "--addresses", metavar="FILE|LIST", help="Those at these addresses: with commas, or a file of lines."
)
@click.option(
    "-p", "at_once", type=click.IntRange(1, 256), default=16, help="So many at a time.  [default: 16]"
)
@click.option("--timeout", "timeout_s", type=Duration(), help="End it after so long on each: exit code 124.")
@click.option("--wait", is_flag=True, help="Wait for those that somebody else holds.")
@click.option("--skip-held", is_flag=True, help="What somebody else holds is no failure.")
@click.option("--job", default="", help="What for; everybody sees it.  [default: the command]")
@click.option("--user", default="", help="Log in as, on boards that do not enforce.  [RPI_USERNAME]")
@output_options
@of_pool
@click.pass_context
def exec_command(
    ctx: click.Context,
    /,
    pool: Client,
    names: Sequence[str],
    every: bool,
    platform: str | None,
    addresses: str | None,
    output: str,
    skip_held: bool,
    **asked: Any,
) -> None:
    """Run a command on many machines at once.

    \b
    picluster exec model:pi5 -- vcgencmd measure_temp
    picluster exec pi-1 pi-2 -- 'df -h / | tail -1'
    picluster exec --all --platform '.*BCM2711' -p 4 --timeout 1m -o json -- uptime

    On machines that you have locked it runs as they are; others are leased for it, if they are free, and given back.
    Each line begins with its machine, if there are several. The exit code is the highest: a command's own, 75 when a
    machine was somebody else's (not with --skip-held) or lost, 124 when the time was over, 125 when it was us; and 2
    when it was asked for wrongly.
    """
    words = ctx.meta[COMMAND]
    if not words:
        raise click.UsageError("What shall they do? Say it after `--`.", ctx)
    machines = _chosen(pool, names, every, platform, addresses)
    streaming = output in ("table", "wide")
    shown = Shown(streaming, prefixed=len(machines) > 1)
    outcomes = carried(_on_all(pool, machines, words, shown, **asked))
    shown.end()
    _report(outcomes, shown, output, skip_held)
    ctx.exit(max((_code(outcome, skip_held) for outcome in outcomes), default=0))


def _chosen(
    pool: Client, names: Sequence[str], every: bool, platform: str | None, addresses: str | None
) -> list[MachineAnswer]:
    """What is named, by whatever means; of it, what has the address and the platform."""
    if not (names or every or platform or addresses):
        raise Malformed("Which machines? Name them, or say --all.", "`picluster list` shows what there is.")
    pattern = _pattern(platform or "")
    found = named(pool, names) if names else pool.machines()
    if addresses:
        wanted = _addresses(addresses)
        if missing := wanted - {machine.address for machine in found}:
            raise NotFound(
                f"No machine has the address {', '.join(sorted(missing))}.", "`picluster list` shows them."
            )
        found = [machine for machine in found if machine.address in wanted]
    if not (names or addresses):
        found = [one for one in found if one.presence == "online" and one.service == "in_service"]
    if platform:
        found = [one for one in found if pattern.match(str(one.facts.get("platform", "")))]
    if not found:
        raise NotFound("No machine is left of what was asked for.", "`picluster list -o wide` shows them.")
    return found


def _addresses(said: str) -> set[str]:
    text = Path(said).read_text() if Path(said).is_file() else said
    return {word for word in re.split(r"[\s,]+", text) if word}


def _pattern(text: str) -> re.Pattern[str]:
    """Matched here: no service runs what somebody else has written."""
    try:
        return re.compile(text)
    except re.error as problem:
        raise Malformed(
            f"platform: {text!r} is no regular expression: {problem}.", field="platform"
        ) from None


async def _on_all(
    pool: Client,
    machines: Sequence[MachineAnswer],
    words: Sequence[str],
    shown: Shown,
    *,
    at_once: int,
    timeout_s: float | None,
    wait: bool,
    job: str,
    user: str,
) -> list[Outcome]:
    from picluster.runner.borrow import Purpose
    from picluster.runner.many import on_many
    from picluster.runner.shell import line

    command = line(words)
    purpose = Purpose(job or command[:SHOWN_JOB], user, queue=wait)
    async with awaited(pool) as client:
        return await on_many(
            client, machines, command, purpose, at_once=at_once, timeout_s=timeout_s, on_output=shown
        )


def _code(outcome: Outcome, skip_held: bool) -> int:
    if outcome.problem is None:
        return outcome.status or 0
    if isinstance(outcome.problem, Malformed | WaitedTooLong):
        return exit_code(outcome.problem)
    if isinstance(outcome.problem, Refused):
        return 0 if skip_held and isinstance(outcome.problem, Held) else REFUSED
    return OURS


def _report(outcomes: Sequence[Outcome], shown: Shown, output: str, skip_held: bool) -> None:
    """For programs on stdout, with what each said; for people below what was said, where it is no part of that."""
    rows = [
        {
            "machine": outcome.machine,
            "exit": _code(outcome, skip_held),
            "seconds": round(outcome.duration_s, 2),
            "why": _why(outcome),
            "stdout": shown.said(outcome.machine, "stdout"),
            "stderr": shown.said(outcome.machine, "stderr"),
        }
        for outcome in outcomes
    ]
    columns = {name: _cell(name) for name in ("machine", "exit", "seconds", "why")}
    if output not in ("table", "wide"):
        show(rows, output, columns, {name: _cell(name) for name in ("stdout", "stderr")})
    elif len(rows) > 1 or rows[0]["why"]:
        with redirect_stdout(sys.stderr):
            show(rows, "table", columns)


def _why(outcome: Outcome) -> str:
    """What kept the command from its end, in a line."""
    problem = outcome.problem
    if problem is None:
        return ""
    lost = "Lost while it ran: " if isinstance(problem, LeaseLost) else ""
    return f"{lost}{problem.message} {problem.hint}".strip()


def _cell(name: str) -> Callable[[dict[str, object]], object]:
    return lambda row: row[name]


class Shown:
    """What the machines say: shown as it comes, line by line where there are several, or kept for the report."""

    def __init__(self, streaming: bool, prefixed: bool) -> None:
        self._streaming, self._prefixed = streaming, prefixed
        self._kept: dict[tuple[str, str], bytes] = {}

    def __call__(self, machine: str, stream: str, piece: bytes) -> Awaitable[None] | None:
        """In a thread: a pager that is not read must not keep the leases from being renewed."""
        whole = self._kept.pop((machine, stream), b"") + piece
        end = whole.rfind(b"\n") + 1 if self._prefixed else len(whole)
        end = end if self._streaming else 0
        self._kept[machine, stream] = whole[end:]
        return asyncio.to_thread(self._write, machine, stream, whole[:end]) if end else None

    def end(self) -> None:
        """A last line may lack its end."""
        if self._streaming:
            for (machine, stream), rest in self._kept.items():
                self._write(machine, stream, rest + b"\n" if rest else b"")

    def said(self, machine: str, stream: str) -> str:
        return self._kept.get((machine, stream), b"").decode(errors="replace")

    def _write(self, machine: str, stream: str, lines: bytes) -> None:
        name = f"{machine}| ".encode() if self._prefixed else b""
        out = sys.stdout if stream == "stdout" else sys.stderr
        out.buffer.write(b"".join(name + line for line in lines.splitlines(keepends=True)))
        out.flush()
