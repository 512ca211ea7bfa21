"""Leases: lock, wait, extend, unlock, and who stands in line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from picluster.cli.common import (
    FOR_EVER,
    Duration,
    Selecting,
    each,
    mine,
    named,
    names_argument,
    not_empty,
    of_pool,
    selector_argument,
    talk,
)
from picluster.cli.output import output_options, show, span
from picluster.errors import Held, Malformed, NotFound

if TYPE_CHECKING:
    from picluster.client.flows import Step
    from picluster.client.sync import Client
    from picluster.wire import LeaseAnswer, MachineAnswer

WORKING_DAY_S = 8 * 3_600.0
"""How long a lock by hand lasts unless told otherwise: nobody's board is gone for good when they go home."""

MACHINES = {
    "name": lambda machine: machine.name,
    "address": lambda machine: machine.address,
    "model": lambda machine: machine.model,
    "mode": lambda machine: str(machine.mode),
}


def lock_options(command: Any) -> Any:
    for option in (
        click.option("--job", "--reason", "job", default="", help="What for; everybody sees it."),
        click.option(
            "--for",
            "ttl_s",
            type=Duration(ever=True),
            default=WORKING_DAY_S,
            help="How long: 90s, 15m, 2h, 1d or ever.  [default: 8h]",
        ),
        click.option(
            "--count", type=click.IntRange(1, 64), default=1, help="So many machines, all or nothing."
        ),
        click.option(
            "--priority", type=click.IntRange(0, 3), default=1, help="0 lets others pass.  [default: 1]"
        ),
        click.option(
            "--on-reboot",
            type=click.Choice(("release", "keep", "quarantine")),
            default="release",
            help="What becomes of it when the board reboots by itself.  [default: release]",
        ),
        click.option("--timeout", type=Duration(), help="Wait so long at most, then exit with 124."),
    ):
        command = option(command)
    return command


@click.command("lock", cls=Selecting)
@selector_argument()
@lock_options
@click.option("--wait", "wait", is_flag=True, help="Wait for your turn, as `picluster wait`.")
@output_options
@of_pool
def lock_command(pool: Client, terms: Sequence[str], wait: bool, output: str, **asked: Any) -> None:
    """Lock a machine that matches, now, or be told who has it (exit code 5).

    \b
    picluster lock pi-1
    picluster lock model:pi5 tag:camera --for 2h --job "video tests"
    picluster lock --count 2 model:pi4 --wait
    ssh pi@$(picluster lock -o csv pi-1 | tail -1 | cut -d, -f2)
    """
    try:
        held = _lock(pool, terms, queue=wait or asked["timeout"] is not None, **asked)
    except Held as refusal:
        if not _wants_to_wait(refusal):
            raise Held(_whose(refusal), f"{_waiting(terms, **asked)} waits for your turn.") from None
        held = _lock(pool, terms, queue=True, **asked)
    _hand_over(pool, held, output)


@click.command("wait", cls=Selecting)
@selector_argument()
@lock_options
@output_options
@of_pool
def wait_command(pool: Client, terms: Sequence[str], output: str, **asked: Any) -> None:
    """Lock a machine that matches when your turn comes. Ctrl-C leaves the queue.

    \b
    picluster wait model:pi5 --for 30m && ./measure.sh; picluster unlock --me
    picluster wait pi-1 --timeout 10m
    """
    _hand_over(pool, _lock(pool, terms, queue=True, **asked), output)


def _lock(
    pool: Client,
    terms: Sequence[str],
    *,
    queue: bool,
    job: str,
    ttl_s: float,
    count: int,
    priority: int,
    on_reboot: str,
    timeout: float | None,
) -> LeaseAnswer:
    from picluster.pool.model import OnReboot
    from picluster.wire import LeaseRequest, raise_problems

    for term in terms:
        not_empty(term)
    ends = None if ttl_s == float("inf") else ttl_s
    ask = LeaseRequest(
        " ".join(terms), count, job, ends, queue, priority=priority, on_reboot=OnReboot(on_reboot)
    )
    raise_problems(ask.problems())
    with Waiting() as progress:
        try:
            return pool.acquire(ask, timeout_s=timeout, watch=progress, renewing=False).answer
        except KeyboardInterrupt as stopped:
            if not getattr(stopped, "__notes__", ()):
                stopped.add_note("You have left the queue, and nothing was locked.")
            raise


def _wants_to_wait(refusal: Held) -> bool:
    """Ask, where there is somebody to ask."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    talk(_whose(refusal))
    return click.confirm("Wait for your turn?", default=True, err=True)


def _whose(refusal: Held) -> str:
    details = refusal.details
    since, left = details.get("age_s"), details.get("expires_in_s")
    if since is None:
        return refusal.message
    end = "until unlocked" if left is None else f"{span(left)} left"
    return f"{refusal.message.rstrip('.')}: since {span(since)}, {end}."


def _waiting(
    terms: Sequence[str],
    *,
    job: str,
    ttl_s: float,
    count: int,
    priority: int,
    on_reboot: str,
    timeout: float | None,
) -> str:
    """The command that waits for what was asked for."""
    import shlex

    words = ["picluster", "wait", *terms]
    words += ["--count", str(count)] * (count != 1)
    words += ["--priority", str(priority)] * (priority != 1)
    words += ["--for", FOR_EVER if ttl_s == float("inf") else f"{ttl_s:g}s"] * (ttl_s != WORKING_DAY_S)
    words += ["--on-reboot", on_reboot] * (on_reboot != "release")
    words += ["--job", job] * (job != "")
    return f"`{shlex.join(words)}`"


class Waiting:
    """How waiting goes: one live line on a terminal, else a line for each change."""

    def __init__(self) -> None:
        self._said = ""
        self._status: Any = None

    def __enter__(self) -> Waiting:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """It is over; what is printed now is not overwritten."""
        if self._status is not None:
            self._status.stop()

    def __call__(self, step: Step) -> None:
        from picluster.client.flows import News

        if isinstance(step, News):
            self._say(_standing(step.lease))
        elif (because := getattr(step, "because", None)) is not None:
            self._say(f"{because.message} Trying on …")

    def _say(self, text: str) -> None:
        if text == self._said:
            return
        self._said = text
        if not sys.stderr.isatty():
            talk(text)
            return
        if self._status is None:
            from rich.console import Console

            self._status = Console(stderr=True, highlight=False).status("", spinner="dots")
            self._status.start()
        from rich.text import Text

        self._status.update(Text(text))


def _standing(lease: LeaseAnswer) -> str:
    if lease.state == "held":
        return f"{', '.join(one.name for one in lease.machines)} is yours; it is letting you in."
    return f"Waiting: {lease.why_waiting}"


def _hand_over(pool: Client, lease: LeaseAnswer, output: str) -> None:
    """Nothing stays locked that could not be told: as when what reads our output has ended."""
    try:
        _tell(lease, output)
        sys.stdout.flush()
    except BaseException:
        pool.release(lease.id)
        raise


def _tell(lease: LeaseAnswer, output: str) -> None:
    """The machines on stdout; until when, and how to give them back, on stderr."""
    show(lease.machines, output, MACHINES)
    if output in ("table", "wide"):
        end = "until unlocked" if lease.expires_in_s is None else f"for {span(lease.expires_in_s)}"
        names = " ".join(machine.name for machine in lease.machines)
        talk(f"Yours {end}. `picluster unlock {names}` gives back.")


@click.command("unlock")
@names_argument(required=False)
@click.option("--me", is_flag=True, help="Everything that I have.")
@click.option("--job", help="Everything that I have or wait for under just this job; it may be nothing.")
@click.option(
    "--force",
    is_flag=True,
    help="Also what somebody else has; for operators, or among users of the shared key.",
)
@click.option("--lock_override", "old_force", is_flag=True, help="The old word for --force; needs no reason.")
@click.option("--reason", default="", help="Why, when it is somebody else's; it is recorded.")
@of_pool
@click.pass_context
def unlock_command(
    ctx: click.Context,
    pool: Client,
    names: Sequence[str],
    me: bool,
    job: str | None,
    force: bool,
    old_force: bool,
    reason: str,
) -> None:
    """Give machines back.

    \b
    picluster unlock pi-1
    picluster unlock --me
    picluster unlock --job "nightly 4711"
    picluster unlock pi-1 --force --reason "Ann is on holiday"
    """
    if job is not None:
        if names or me or force or old_force:
            raise Malformed("--job: goes alone; it means all that you have for that job.", field="job")
        _give_back_all_for(pool, job, reason)
        return
    if not names and not me:
        raise Malformed("Which? Name machines, or say --me.", "`picluster list --me` shows yours.")
    override = force or old_force
    reason = reason or ("--lock_override" if old_force else "")
    if override and not reason:
        raise Malformed("--reason: say why you take it from somebody; it is recorded.", field="reason")
    whoami = pool.whoami().name
    found = _chosen(pool, names, me)
    locked = [machine for machine in found if machine.lease is not None]
    if not locked:
        talk("Nothing of this is locked." if names else "You have nothing locked.")
    several = len(found) > 1 and not override
    if several and any(one.lease and one.lease.holder == whoami for one in locked):
        locked = [one for one in locked if one.lease and one.lease.holder == whoami]

    ended: set[str] = set()

    def unlock(machine: MachineAnswer) -> None:
        assert machine.lease is not None
        if machine.lease.holder != whoami and not override:
            raise Held(
                f"{machine.name} is {machine.lease.holder}'s.",
                f"`picluster unlock {machine.name} --force --reason WHY` takes it all the same.",
            )
        if machine.lease.id not in ended:
            ended.add(machine.lease.id)
            names = [one.name for one in pool.release(machine.lease.id, reason).machines]
            talk(f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} given back.")

    ctx.exit(each(locked, unlock))


def _give_back_all_for(pool: Client, job: str, reason: str) -> None:
    """What a job left that could not clean up: a lease of it, or its place in the queue."""
    if not job.strip():
        raise Malformed("--job: is empty.", "Is a variable of yours not set?", field="job")
    me = pool.whoami().name
    # In this order: what is granted in between is in both, and giving it back twice is once.
    live = {one.id: one for state in ("waiting", "held") for one in pool.leases(state, me) if one.job == job}
    for lease in live.values():
        names = ", ".join(machine.name for machine in pool.release(lease.id, reason).machines)
        talk(f"Given back: {names}." if names else "Left the queue.")
    if not live:
        talk("Nothing is locked for this job.")


def _chosen(pool: Client, names: Sequence[str], me: bool) -> list[MachineAnswer]:
    """The machines named; with --me, those of them, or of all, that are mine."""
    if not me:
        return named(pool, names)
    wanted = {machine.name for machine in named(pool, names)}
    return [machine for machine in mine(pool) if not names or machine.name in wanted]


@click.command("extend")
@names_argument(required=False)
@click.option("--me", is_flag=True, help="Everything that I have.")
@click.option("--by", "by_s", type=Duration(ever=True), help="Added to what is left: 30m, 2h, 1d or ever.")
@click.option("--for", "ttl_s", type=Duration(ever=True), help="From now on: 15m, 2h, 1d or ever.")
@of_pool
@click.pass_context
def extend_command(
    ctx: click.Context,
    pool: Client,
    names: Sequence[str],
    me: bool,
    by_s: float | None,
    ttl_s: float | None,
) -> None:
    """Keep what you have locked: --by so much longer, or --for so long from now, which may be less than is left.

    \b
    picluster extend pi-1 --by 2h
    picluster extend --me --for 1d
    """
    if not names and not me:
        raise Malformed("Which? Name machines, or say --me.", "`picluster list --me` shows yours.")
    if (by_s is None) == (ttl_s is None):
        raise Malformed("How long? Say either --by or --for.", "`--by 2h` adds to what is left.", field="by")
    if ttl_s == 0:
        raise Malformed("--for: give back at once with `picluster unlock`.", field="for")
    found = _chosen(pool, names, me)
    if not found:
        raise NotFound("You have nothing locked.", "`picluster lock` locks.")

    def extend(machine: MachineAnswer) -> None:
        if machine.lease is None:
            raise NotFound(f"{machine.name} is not locked.", f"`picluster lock {machine.name}` locks it.")
        wanted_s = ttl_s if ttl_s is not None else _longer_s(machine.lease.expires_in_s, by_s or 0.0)
        lease = pool.renew(machine.lease.id, ttl_s=None if wanted_s == float("inf") else wanted_s)
        end = "until unlocked" if lease.expires_in_s is None else f"for {span(lease.expires_in_s)}"
        talk(f"{machine.name} is yours {end}.")

    ctx.exit(each(found, extend))


def _longer_s(left_s: float | None, by_s: float) -> float:
    """What is left and so much more, as far as a lease may go; what has no end has none afterwards."""
    from picluster.wire import LONGEST_TTL_S

    if left_s is None or by_s == float("inf"):
        return float("inf")
    return max(left_s, min(left_s + by_s, LONGEST_TTL_S))


QUEUE = {
    "place": lambda row: row[0],
    "holder": lambda row: row[1].holder,
    "wants": lambda row: (
        (f"{row[1].count} of " if row[1].count > 1 else "") + (row[1].selector or "any machine")
    ),
    "job": lambda row: row[1].job,
    "why": lambda row: row[1].why_waiting,
}


@click.command("queue")
@output_options
@of_pool
def queue_command(pool: Client, output: str) -> None:
    """Who waits, in order, and why.

    \b
    picluster queue
    picluster queue -o jsonl | jq .holder
    """
    waiting = pool.queue()
    if output in ("json", "jsonl"):
        show(waiting, output, QUEUE)
    elif output == "name":
        show(waiting, output, {"lease": lambda lease: lease.id})
    else:
        show(list(enumerate(waiting, 1)), output, QUEUE, {"lease": lambda row: row[1].id}, "Nobody waits.")
