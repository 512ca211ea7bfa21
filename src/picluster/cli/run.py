"""`picluster run`: from "I need a Pi" to an exit code, results and JUnit."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from picluster.cli.common import Duration, complain, complete_machines, extra, not_empty, talk
from picluster.errors import Malformed, PiclusterError

if TYPE_CHECKING:
    from picluster.cli.running import Terminal
    from picluster.runner.job import Result
    from picluster.runner.plan import Job

OUT = Path("picluster-out")
"""Where what is fetched goes unless told otherwise."""
PUBLIC_KEYS = ("id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub")
"""Of these in ~/.ssh, the first that is there is let in when a board is held."""
PATIENCE_S = 10.0
"""A restart of the service is outlasted; once there is a lease, its own ttl says for how long."""
OURS = 125
"""The exit code when neither the command nor the pool was at fault."""
STOPS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C, a CI job that is cancelled, a terminal that closes; Windows has not all of them."""


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.option(
    "--on", "selector", required=True, shell_complete=complete_machines, help="Which machines would do."
)
@click.option(
    "-n", "--count", type=click.IntRange(1, 64), default=1, help="So many machines, all or nothing."
)
@click.option(
    "--copy",
    "copies",
    multiple=True,
    metavar="PATH[:DEST]",
    help="Take this along; `build/` is what is in it.",
)
@click.option(
    "--fetch", "fetches", multiple=True, metavar="GLOB", help="Bring this back, from the work folder."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Folder for results.  [default, with --fetch: {OUT}]",
)
@click.option(
    "--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write a JUnit report to this file."
)
@click.option("--timeout", "timeout_s", type=Duration(), help="End the command after so long: exit code 124.")
@click.option("--wait", "wait_s", type=Duration(), help="Wait so long for machines at most: exit code 124.")
@click.option("--no-queue", "queue", flag_value=False, default=True, help="Do not wait: exit code 75.")
@click.option(
    "--ttl",
    "ttl_s",
    type=Duration(),
    help="How long machines stay blocked when this process is killed.  [default: 60s]",
)
@click.option("--priority", type=click.IntRange(0, 3), default=1, help="0 lets others pass.  [default: 1]")
@click.option("--job", default="", help="What for; everybody sees it.  [default: the command]")
@click.option("--require-clean", is_flag=True, help="Fail (1) unless the boards were honest all the time.")
@click.option(
    "--hold-on-failure",
    "hold_s",
    type=Duration(),
    help="If it fails, keep the machines for so long, to look.",
)
@click.option(
    "--ssh-key",
    "ssh_keys",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.pub",
    help="Let this key in too.",
)
@click.option(
    "--user",
    default="",
    help="Log in as, on boards that do not enforce.  [RPI_USERNAME; else what the board says]",
)
@click.option("--url", help="Address of the service; several with commas.  [PICLUSTER_URL]")
@click.option("--token", help="Your token.  [PICLUSTER_TOKEN; better there than here]")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but what the command says.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def run_command(ctx: click.Context, /, url: str | None, token: str | None, quiet: bool, **asked: Any) -> None:
    """Run a command on machines of the pool, and give them back.

    \b
    picluster run --on model:pi5 -- uname -a
    picluster run --on 'model:pi5 tag:camera' --copy build/ --fetch 'results/*' -- ./run_tests.sh
    picluster run --on rack:b -n 4 --timeout 10m --junit report.xml -- 'make check | tee log'

    It waits its turn, copies, runs in a fresh folder, shows what is said, fetches, cleans up. The exit code is the
    command's own (of several machines the highest), or 2 when it was asked for wrongly, 125 when it was us, 75 when the
    machines were refused or lost, 124 when a time was over, 1 when --require-clean was not met, 128 and the number of
    the signal that stopped us.
    """
    try:
        job = _job(**asked)
    except Malformed as problem:
        raise click.UsageError(f"{problem.message} {problem.hint}".strip()) from None
    ctx.exit(_run(job, url, token, quiet))


def _job(
    *,
    command: Sequence[str],
    copies: Sequence[str],
    fetches: Sequence[str],
    out: Path | None,
    ssh_keys: Sequence[Path],
    hold_s: float | None,
    ttl_s: float | None,
    selector: str,
    **asked: Any,
) -> Job:
    """What was asked for, checked as far as it can be before anybody waits."""
    from picluster.runner.keys import public_key
    from picluster.runner.plan import TTL_S, Job, copy_of
    from picluster.runner.shell import line
    from picluster.wire import LONGEST_TTL_S, SHORTEST_TTL_S, raise_problems

    not_empty(selector)
    files = ssh_keys or (_own_public_keys() if hold_s is not None else ())
    if hold_s is not None and not files:
        raise Malformed("--hold-on-failure: nobody could look.", "Say whom to let in: --ssh-key FILE.pub.")
    job = Job(
        selector,
        line(command),
        copies=tuple(map(copy_of, copies)),
        fetches=tuple(fetches),
        out=out or (OUT if fetches else None),
        ssh_public_keys=tuple(map(public_key, files)),
        hold_on_failure_s=hold_s,
        ttl_s=TTL_S if ttl_s is None else ttl_s,
        **asked,
    )
    raise_problems(job.request("ssh-ed25519 ours").problems())
    if hold_s is not None and not SHORTEST_TTL_S <= hold_s <= LONGEST_TTL_S:
        raise Malformed("--hold-on-failure: must be from 3 s to 30 d.", "A person can `picluster extend` it.")
    return job


def _own_public_keys() -> list[Path]:
    """The one that `ssh` would show first."""
    there = (Path.home() / ".ssh" / name for name in PUBLIC_KEYS)
    return [file for file in there if file.exists()][:1]


def _run(job: Job, url: str | None, token: str | None, quiet: bool) -> int:
    """Carry it out; its exit code. What is wrong is said here, in a line or two."""
    import asyncio

    with extra("run", "Going to a board"):
        from picluster.cli.running import Terminal
        from picluster.runner import plan, report

    with Terminal(job, quiet) as watch:
        try:
            result = asyncio.run(_stoppable(job, url, token, watch))
            report.write(result)
            with suppress(OSError):  # nobody is there any more to read it
                watch.ended(result)
        except PiclusterError as problem:
            complain(problem)
            return plan.exit_code(plan.ending_of(problem), ())
        except OSError as problem:
            talk(f"picluster: {problem.filename or 'output'}: {problem.strerror or problem}")
            return OURS
    return result.exit_code


async def _stoppable(job: Job, url: str | None, token: str | None, watch: Terminal) -> Result:
    """A signal cancels the job, and it cleans up."""
    import asyncio

    from picluster.client.aio import AsyncClient
    from picluster.runner.job import carry_out

    async with AsyncClient(url, token, patience_s=PATIENCE_S) as client:
        task = asyncio.ensure_future(carry_out(job, client, watch))
        watch.cancel = task.cancel
        loop = asyncio.get_running_loop()
        for number in STOPS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                with suppress(NotImplementedError):  # on Windows: there Python's own Ctrl-C cancels the job
                    loop.add_signal_handler(number, watch.stop, number)
        return await task
