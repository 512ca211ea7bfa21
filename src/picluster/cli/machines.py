"""Machines: what there is, and what people say of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from picluster.cli.common import (
    Selecting,
    each,
    mine,
    named,
    names_argument,
    of_pool,
    selector_argument,
    talk,
)
from picluster.cli.output import clock, output_options, show, show_one, span
from picluster.errors import NotAllowed, NotFound

if TYPE_CHECKING:
    from picluster.client.sync import Client
    from picluster.wire import MachineAnswer, PowerAnswer


LONGEST_MODEL = 20
"""Boards of the old protocol have no model, but a platform of sixty characters."""


def holder(machine: MachineAnswer) -> str:
    return machine.lease.holder if machine.lease else ""


def model(machine: MachineAnswer) -> str:
    """The short model; of a board that knows none, as much of its platform as a column bears."""
    platform = str(machine.facts.get("platform") or "")
    short = platform if len(platform) <= LONGEST_MODEL else platform[: LONGEST_MODEL - 1] + "…"
    return str(machine.facts.get("model") or short)


def labels_of(machine: MachineAnswer) -> str:
    return " ".join(f"{key}:{value}" if value else key for key, value in sorted(machine.labels.items()))


def until(machine: MachineAnswer) -> str:
    if machine.lease is None:
        return ""
    left = machine.lease.expires_in_s
    return "until unlocked" if left is None else f"{span(left)} left"


def temperature(machine: MachineAnswer) -> str:
    degrees = machine.telemetry.get("temperature")
    return f"{degrees:g} °C" if isinstance(degrees, int | float) else ""


COLUMNS = {
    "name": lambda machine: machine.name,
    "state": lambda machine: machine.state,
    "model": model,
    "holder": holder,
    "job": lambda machine: machine.lease.job if machine.lease else machine.reason,
    "time": until,
    "labels": labels_of,
}
WIDE = {
    "address": lambda machine: machine.address,
    "mode": lambda machine: str(machine.mode),
    "temp": temperature,
    "seen": lambda machine: span(machine.seen_s),
    "comment": lambda machine: machine.comment,
}


@click.command("list", cls=Selecting)
@selector_argument()
@click.option("--me", is_flag=True, help="Only what I have locked.")
@output_options
@of_pool
def list_command(pool: Client, terms: Sequence[str], me: bool, output: str) -> None:
    """What there is, and who has it.

    \b
    picluster list                     everything
    picluster list model:pi5 -state:offline
    picluster list 'pi-*' -o wide
    picluster list --me -q             names of what I have

    Exits with 3 when a selector finds nothing.
    """
    query = " ".join(terms)
    found = pool.machines(query)
    if me:
        wanted = {machine.name for machine in mine(pool)}
        found = [machine for machine in found if machine.name in wanted]
    show(found, output, COLUMNS, WIDE, "" if terms else "No machines yet. `picluster demo` has eight to try.")
    if terms and not found:
        raise NotFound(f"No machine matches {query!r}.", "`picluster list` shows what there is.")


@click.command("show")
@click.argument("name")
@output_options
@of_pool
def show_command(pool: Client, name: str, output: str) -> None:
    """Everything about one machine.

    \b
    picluster show pi-1
    picluster show 10.0.0.7 -o json
    """
    (machine, *others) = named(pool, [name])
    if others:
        raise NotFound(f"{name!r} matches {len(others) + 1} machines.", "`picluster list` shows several.")
    facts = {key.replace("_", " "): value for key, value in sorted(machine.facts.items())}
    if isinstance(facts.get("mem"), int):
        facts["mem"] = f"{facts['mem'] / 2**30:.3g} GiB"
    about = {
        "name": machine.name,
        "state": machine.state + (f" ({machine.reason})" if machine.reason else ""),
        "address": machine.address,
        "mode": str(machine.mode),
        "held by": holder(machine),
        "for": machine.lease.job if machine.lease else "",
        "time": until(machine),
        "last heard": f"{span(machine.seen_s)} ago",
        "temperature": temperature(machine),
        "labels": labels_of(machine),
        "comment": machine.comment,
        "fence": machine.fence or "",
        "last verdict": _last_verdict(pool, machine),
    }
    show_one(machine, output, about | facts, machine.name)


def _last_verdict(pool: Client, machine: MachineAnswer) -> str:
    """Of the last lease on it that was judged; nothing for a reader without a login."""
    try:
        judged = list(pool.history(1, machine=machine.name, kind="lease.judged"))
    except NotAllowed:
        return ""
    if not judged:
        return ""
    verdict, reasons = judged[0].detail["verdict"], judged[0].detail["reasons"]
    why = f": {'; '.join(reasons)}" if reasons else ""
    return f"{verdict}{why} ({judged[0].holder}, {clock(judged[0].at_us)})"


@click.command("label")
@click.argument("name")
@click.argument("labels", nargs=-1, required=True, metavar="KEY=VALUE|KEY|KEY-...")
@of_pool
@click.pass_context
def label_command(ctx: click.Context, pool: Client, name: str, labels: Sequence[str]) -> None:
    """Label machines: key=value or key sets a label, key- removes it. For operators.

    \b
    picluster label pi-1 rack=b camera
    picluster label 'model:pi4' old-
    """
    changes: dict[str, str | None] = {}
    for one in labels:
        if one.endswith("-") and "=" not in one:
            changes[one[:-1]] = None
        else:
            key, _, value = one.partition("=")
            changes[key] = value

    def label(machine: MachineAnswer) -> None:
        amended = pool.amend(machine.name, labels=changes)
        talk(f"{machine.name}: {labels_of(amended) or 'no labels'}")
        for key, value in changes.items():
            if value is None and key in amended.labels:
                talk(f"{key} is what {machine.name} says of itself; it stays until the board says otherwise.")

    ctx.exit(each(named(pool, [name]), label))


@click.command("comment")
@click.argument("name")
@click.argument("text")
@of_pool
@click.pass_context
def comment_command(ctx: click.Context, pool: Client, name: str, text: str) -> None:
    """Say something about machines; "" says nothing any more.

    \b
    picluster comment pi-1 "new SD card since Monday"
    """

    def comment(machine: MachineAnswer) -> None:
        pool.amend(machine.name, comment=text)
        talk(f"{machine.name}: {text}" if text else f"{machine.name} has no comment any more.")

    ctx.exit(each(named(pool, [name]), comment))


@click.command("drain")
@names_argument()
@click.option("--reason", required=True, help="Why; everybody sees it.")
@click.option("--evict", is_flag=True, help="End the leases on them, too.")
@of_pool
@click.pass_context
def drain_command(ctx: click.Context, pool: Client, names: Sequence[str], reason: str, evict: bool) -> None:
    """Take machines out of service: who has one keeps it, nobody gets it afterwards. For operators.

    \b
    picluster drain pi-1 --reason "new fan"
    """

    def drain(machine: MachineAnswer) -> None:
        pool.amend(machine.name, service="drained", reason=reason, evict=evict)
        talk(f"{machine.name} is out of service.")

    ctx.exit(each(named(pool, names), drain))


@click.command("undrain")
@names_argument()
@of_pool
@click.pass_context
def undrain_command(ctx: click.Context, pool: Client, names: Sequence[str]) -> None:
    """Put machines back into service, whatever keeps them out; so this approves new ones, too. For operators.

    \b
    picluster undrain pi-1
    picluster undrain state:pending        boards that joined and wait for a look
    picluster undrain state:attention      it is who it says it is
    """

    def undrain(machine: MachineAnswer) -> None:
        pool.amend(machine.name, service="in_service")
        talk(f"{machine.name} is in service.")

    ctx.exit(each(named(pool, names), undrain))


@click.command("power")
@click.argument("action", type=click.Choice(["on", "off", "cycle"]))
@names_argument()
@output_options
@of_pool
@click.pass_context
def power_command(ctx: click.Context, pool: Client, action: str, names: Sequence[str], output: str) -> None:
    """Switch machines on or off, or cycle them, by the commands in the service's configuration. For operators.

    \b
    picluster power cycle pi-1
    picluster power off 'rack:b'
    """
    switched: list[PowerAnswer] = []

    def switch(machine: MachineAnswer) -> None:
        switched.append(pool.power(machine.name, action))

    code = each(named(pool, names), switch)
    columns = {
        "name": lambda answer: answer.machine,
        "action": lambda answer: answer.action,
        "outcome": lambda answer: answer.outcome,
    }
    show(switched, output, columns, {"output": lambda answer: answer.output.strip()}, "Nothing was switched.")
    for answer in switched:
        if not answer.ok and output == "table":
            talk(f"{answer.machine}: {answer.output.strip() or 'it printed nothing'}")
    ctx.exit(code or int(not all(answer.ok for answer in switched)))


@click.command("delete")
@names_argument()
@of_pool
@click.pass_context
def delete_command(ctx: click.Context, pool: Client, names: Sequence[str]) -> None:
    """Forget machines that nobody has. Their boards need a new token to come back.

    \b
    picluster delete pi-1 'old-*'
    """

    def delete(machine: MachineAnswer) -> None:
        pool.forget(machine.name)
        talk(f"{machine.name} is forgotten.")

    ctx.exit(each(named(pool, names), delete))
