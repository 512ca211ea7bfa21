"""What happened, and what happens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from picluster.cli.common import Duration, of_pool, talk
from picluster.cli.output import clock, dumps, output_options, plain, show

if TYPE_CHECKING:
    from picluster.client.sync import Client
    from picluster.wire import EventAnswer

COLUMNS = {
    "when": lambda event: clock(event.at_us),
    "what": lambda event: event.kind,
    "machine": lambda event: event.machine,
    "who": lambda event: event.actor,
    "more": lambda event: _detail(event),
}
WIDE = {
    "holder": lambda event: event.holder,
    "from": lambda event: event.address,
    "lease": lambda event: event.lease,
    "id": lambda event: event.id,
}


def _detail(event: EventAnswer) -> str:
    return " ".join(
        f"{key}={_said(value)}" for key, value in event.detail.items() if value not in ("", None, [])
    )


def _said(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)


@click.command("history")
@click.argument("machine", required=False, default="")
@click.option("--holder", default="", help="Only leases of this holder.")
@click.option("--kind", default="", help="Only this kind, as lease.held or machine.offline.")
@click.option("--since", type=Duration(), help="Not older than this: 2h, 3d.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, help="So many at most.  [default: 50]")
@output_options
@of_pool
def history_command(
    pool: Client, machine: str, holder: str, kind: str, since: float | None, limit: int, output: str
) -> None:
    """What happened, newest first.

    \b
    picluster history pi-1
    picluster history --since 1d --kind lease.ended -o csv
    """
    filters: dict[str, object] = {"machine": machine, "holder": holder, "kind": kind}
    if since is not None:
        filters["since"] = max(0, pool.whoami().wall_us - int(since * 1e6))
    show(pool.history(limit, **filters), output, COLUMNS, WIDE, "Nothing of this kind happened.")


@click.command("watch")
@click.option(
    "-o", "output", type=click.Choice(["table", "jsonl"]), default="table", help="Form of the output."
)
@of_pool
def watch_command(pool: Client, output: str) -> None:
    """Follow what changes, live, until Ctrl-C.

    \b
    picluster watch
    picluster watch -o jsonl | jq .name
    """
    for kind, data in pool.events():
        if kind == "hello":
            talk("Watching; Ctrl-C ends.")
        elif kind == "resync":
            talk("Something may have been missed while the service was away.")
        elif output == "jsonl":
            print(dumps({"event": kind, **data}), flush=True)
        else:
            print(plain(" ".join(_words(kind, data)).replace("\n", " ")), flush=True)


def _words(kind: str, data: dict[str, Any]) -> Iterator[str]:
    from datetime import datetime

    yield datetime.now().astimezone().strftime("%H:%M:%S")
    if kind == "machine":
        held = data.get("lease")
        yield f"{data['name']:<16}"
        yield "forgotten" if data.get("deleted") else str(data.get("state"))
        if held:
            yield f"by {held['holder']}" + (f" for {held['job']}" if held["job"] else "")
    else:
        machines = ", ".join(one["name"] for one in data.get("machines", []))
        yield f"{data.get('holder', '')}'s lease"
        yield f"{data.get('state')}" + (f" ({data['ended']})" if data.get("ended") else "")
        yield f"on {machines}" if machines else str(data.get("why_waiting") or "")
