"""Webhooks: who outside is told what happens."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from picluster.cli.common import of_pool, talk
from picluster.cli.output import clock, output_options, show, show_one, span

if TYPE_CHECKING:
    from picluster.client.sync import Client
    from picluster.wire import WebhookAnswer

NOTICES = (
    *("machine.lost", "machine.quarantined", "machine.back"),
    *("lease.expired", "lease.taken", "queue.long"),
)
"""As in `wire`, which is not loaded for a help text; a test compares."""


@click.group("webhooks", no_args_is_help=True)
def webhooks_command() -> None:
    """Tell chat rooms and programs what happens: machines lost and back, leases that end early, a long queue. For admins.

    \b
    picluster webhooks add room --kind slack https://hooks.slack.com/services/…
    picluster webhooks add ci https://ci.example/picluster --notice machine.lost --notice machine.back
    picluster webhooks test room
    picluster webhooks list
    picluster webhooks pause room
    picluster webhooks remove room
    """


@webhooks_command.command("list")
@output_options
@of_pool
def list_webhooks(pool: Client, output: str) -> None:
    """All webhooks by name, and whether their receivers answer.

    \b
    picluster webhooks list -o json       with the last deliveries
    """
    columns = {
        "name": lambda one: one.name,
        "kind": lambda one: one.kind,
        "host": lambda one: one.host,
        "told of": lambda one: ", ".join(one.notices) or "everything",
        "state": state,
        "delivered": lambda one: one.delivered,
        "given up": lambda one: one.given_up,
    }
    more = {"last": _last, "made": lambda one: clock(one.created_us), "by": lambda one: one.created_by}
    show(pool.webhooks(), output, columns, more, "No webhooks: nobody outside is told anything.")


def state(one: WebhookAnswer) -> str:
    """Whether it is told, and whether it listens."""
    if one.paused:
        return "paused"
    if not one.failing_since_us:
        return "well"
    again = f", again in {span(one.retry_in_s)}" if one.retry_in_s else ""
    return f"failing since {clock(one.failing_since_us)}{again}"


def _last(one: WebhookAnswer) -> str:
    """What came of the last message."""
    return f"{one.attempts[0].about}: {one.attempts[0].outcome}" if one.attempts else ""


@webhooks_command.command("add")
@click.argument("name")
@click.argument("address", metavar="URL")
@click.option(
    "--kind",
    type=click.Choice(["generic", "slack", "teams"]),
    default="generic",
    help="How it is told.  [default: generic, signed JSON]",
)
@click.option(
    "--notice",
    "notices",
    type=click.Choice(NOTICES),
    multiple=True,
    help="Of what; may be given several times.  [default: everything]",
)
@output_options
@of_pool
def add_webhook(
    pool: Client, name: str, address: str, kind: str, notices: tuple[str, ...], output: str
) -> None:
    """Tell a chat room or a program what happens from now on.

    URL may itself be a secret: with `-` it is read from stdin. What the messages of a program are signed with is printed
    once, on stdout, and not shown again.

    \b
    picluster webhooks add room --kind slack - < url.txt
    """
    url = sys.stdin.readline().strip() if address == "-" else address
    made = pool.add_webhook(name, url, kind=kind, notices=list(notices))
    if output in ("table", "wide", "name") and made.secret:
        print(made.secret)
        talk(
            f"The webhook {made.name} is signed with this, shown this once: docs/webhooks.md says how to check it."
        )
    elif output in ("table", "wide"):
        talk(f"The webhook {made.name} is told what happens; try it: picluster webhooks test {made.name}")
    else:
        show_one(made, output, {"name": made.name, "secret": made.secret}, made.name)


@webhooks_command.command("test")
@click.argument("name")
@of_pool
def test_webhook(pool: Client, name: str) -> None:
    """Send one message now, and say what came of it; exit code 1 if it did not arrive.

    \b
    picluster webhooks test room
    """
    tried = pool.test_webhook(name)
    talk(f"{tried.name}: {tried.outcome}")
    if not tried.arrived:
        sys.exit(1)


@webhooks_command.command("pause")
@click.argument("name")
@of_pool
def pause_webhook(pool: Client, name: str) -> None:
    """Tell it nothing for now. What happens meanwhile it is never told; what waits already is kept for it.

    \b
    picluster webhooks pause room
    """
    talk(f"The webhook {pool.amend_webhook(name, paused=True).name} is paused.")


@webhooks_command.command("resume")
@click.argument("name")
@of_pool
def resume_webhook(pool: Client, name: str) -> None:
    """Tell it again what happens from now on, and what waited before the pause.

    \b
    picluster webhooks resume room
    """
    talk(f"The webhook {pool.amend_webhook(name, paused=False).name} is told again.")


@webhooks_command.command("remove")
@click.argument("name")
@of_pool
def remove_webhook(pool: Client, name: str) -> None:
    """Tell it nothing any more, nor what waits.

    \b
    picluster webhooks remove room
    """
    talk(f"The webhook {pool.forget_webhook(name).name} is gone.")
