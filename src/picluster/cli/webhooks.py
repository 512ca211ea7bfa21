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
    picluster webhooks change room --address -
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
    made = pool.add_webhook(name, _typed(address), kind=kind, notices=list(notices))
    _tell(made, output, f"The webhook {made.name} is told what happens")


def _typed(address: str) -> str:
    """As it is, or the first line of stdin."""
    return sys.stdin.readline().strip() if address == "-" else address


def _tell(made: WebhookAnswer, output: str, said: str) -> None:
    """What came of it; a secret alone on stdout, so that a script can keep it."""
    if output in ("table", "wide", "name") and made.secret:
        print(made.secret)
        talk(
            f"The webhook {made.name} is signed with this, shown this once: docs/webhooks.md says how to check it."
        )
    elif output in ("table", "wide"):
        talk(f"{said}; try it: picluster webhooks test {made.name}")
    else:
        show_one(made, output, {"name": made.name, "secret": made.secret}, made.name)


@webhooks_command.command("change")
@click.argument("name")
@click.option("--address", metavar="URL", help="Another address; `-` reads it from stdin.")
@click.option(
    "--notice",
    "notices",
    type=click.Choice(("everything", *NOTICES)),
    multiple=True,
    help="Of what from now on; may be given several times.",
)
@click.option("--renew-secret", is_flag=True, help="Sign with another secret from now on, printed once.")
@output_options
@of_pool
def change_webhook(
    pool: Client, name: str, address: str | None, notices: tuple[str, ...], renew_secret: bool, output: str
) -> None:
    """Change where it is, what it is told of, or what its messages are signed with; the rest stays.

    What waits is kept for it, and tried again at once.

    \b
    picluster webhooks change room --address - < url.txt
    picluster webhooks change ci --notice machine.lost --notice machine.back
    picluster webhooks change ci --renew-secret
    """
    changes: dict[str, object] = {"renew_secret": True} if renew_secret else {}
    if address is not None:
        changes["url"] = _typed(address)
    if notices:
        changes["notices"] = [] if "everything" in notices else list(notices)
    if not changes:
        raise click.UsageError("Nothing to change: use --address, --notice or --renew-secret.")
    changed = pool.amend_webhook(name, **changes)
    _tell(changed, output, f"The webhook {changed.name} is changed")


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
