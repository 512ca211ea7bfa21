"""Moving in: the first service's machines and locks come into a stopped pool."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from picluster.cli.common import extra, talk
from picluster.errors import Malformed

if TYPE_CHECKING:
    from picluster.pool.commands import MoveIn
    from picluster.server.old_file import OldFile
    from picluster.server.settings import Settings
    from picluster.server.turn import Outcome


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder of the embedded database.  [default: picluster-data]",
)
@click.option("--url", help="postgresql://… instead of the embedded database.")
@click.option("--salvage", is_flag=True, help="Of a damaged file, take the whole records before the damage.")
def import_command(file: Path, data: Path | None, url: str | None, salvage: bool) -> None:
    """Take over the machines and locks of the first service.

    \b
    picluster import machines.json
    curl -s http://old:1337/api | picluster import -

    All of it or nothing, and as often as you like: a machine that is here already stays as it is. Nothing is granted
    until its board was heard here.
    """
    with extra("server", "Importing"):
        from picluster.server import old_file
        from picluster.server.settings import Settings
    given = {"data": data, "url": url}
    settings = Settings.load({name: value for name, value in given.items() if value is not None})
    found = old_file.read(sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes())
    if found.damage and not salvage:
        raise _damaged(file, found)
    asked = old_file.commands(found.records, settings.legacy_ttl_s)
    _tell(asked, _carry_out(settings, asked), "the database" if settings.url else str(settings.database))


def _damaged(file: Path, found: OldFile) -> Malformed:
    from picluster.server.old_file import FROM_A_RUNNING_ONE

    return Malformed(
        f"{file} is damaged: {found.damage}. Nothing was imported.",
        f"{FROM_A_RUNNING_ONE} Or --salvage takes the {len(found.records)} machines before that place; those behind it "
        "come back when their boards report, without their locks.",
    )


def _carry_out(settings: Settings, asked: Sequence[MoveIn]) -> Outcome:
    """In one turn: all of it or nothing, and nothing else. What is overdue is for the service there to say."""
    from picluster.server.serve import open_store
    from picluster.server.turn import take_turn

    store = open_store(settings, [])
    try:
        return take_turn(store, None, asked, settings.policy.unhurried())
    finally:
        store.close()


def _tell(asked: Sequence[MoveIn], outcome: Outcome, place: str) -> None:
    """What came in, and each lock that did not."""
    from picluster.pool.model import Lease, Machine

    machines = [machine for machine in outcome.answers if isinstance(machine, Machine)]
    holders = {row.id: row.holder for row in outcome.rows if isinstance(row, Lease)}
    new = sum(machine.registered_us == outcome.state.turned_us for machine in machines)
    locks = [(ask.lock, machine) for ask, machine in zip(asked, machines, strict=True) if ask.lock]
    standing = [(lock, machine) for lock, machine in locks if holders.get(machine.lease) == lock.by.name]
    for lock, machine in locks:
        if (lock, machine) not in standing:
            talk(f"{machine.name} stays as it is here, without the lock of {lock.by.name}.")
    talk(f"{place}: {len(asked)} machines of the file, {new} of them new; {len(standing)} locked as there.")
    talk("Serve it with the key that boards and scripts have: RPI_APIKEY=… picluster serve")
