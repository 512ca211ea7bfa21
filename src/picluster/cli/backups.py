"""Backups: the whole pool as one file, and back."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from picluster.cli.common import extra, of_pool, talk
from picluster.errors import Conflict, PiclusterError

if TYPE_CHECKING:
    from picluster.client.sync import Client
    from picluster.store import Store


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@of_pool
def backup_command(pool: Client, file: Path, force: bool) -> None:
    """Copy the whole pool into a file, while it runs. For admins.

    \b
    picluster backup lab-$(date +%F).picluster
    picluster backup - | ssh safe 'cat > lab.picluster'

    The file has digests of all tokens, and who did what: keep it secret.
    """
    if str(file) == "-":
        with pool.stream("/api/v1/backup") as pieces:
            for piece in pieces:
                sys.stdout.buffer.write(piece)
        return
    if file.exists() and not force:
        raise Conflict(f"{file} is there already.", "Choose another name, or say --force.")
    from picluster.store import backup_file

    unfinished = file.with_name(f"{file.name}.unfinished")
    try:
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            with pool.stream("/api/v1/backup") as pieces:
                for piece in pieces:
                    out.write(piece)
            out.flush()
            os.fsync(out.fileno())
        backup_file.check(unfinished)
        size = unfinished.stat().st_size
        os.replace(unfinished, file)
    except OSError as problem:
        raise PiclusterError(
            f"{file} cannot be written: {problem.strerror}.", "Choose another place."
        ) from None
    finally:
        unfinished.unlink(missing_ok=True)
    talk(f"{file}: {size / 1024:.0f} KiB. `picluster restore {file}` brings it back.")


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder of the embedded database.  [default: picluster-data]",
)
@click.option("--url", help="postgresql://… instead of the embedded database.")
@click.option("--force", is_flag=True, help="Replace what is there; an embedded database is moved aside.")
def restore_command(file: Path, data: Path | None, url: str | None, force: bool) -> None:
    """Put a backup in the place of a stopped pool; also one of SQLite into PostgreSQL, and back.

    \b
    picluster restore lab.picluster
    picluster restore lab.picluster --url postgresql://lab@db/picluster

    Leases that were live in it go on. Nothing is granted until its board was heard from again.
    """
    with extra("server", "Restoring"):
        from picluster.server.settings import Settings
        from picluster.store import backup_file
        from picluster.store.tables import RULES_VERSION
    header = backup_file.check(file, RULES_VERSION)
    given = {"data": data, "url": url}
    settings = Settings.load({name: value for name, value in given.items() if value is not None})
    if settings.url:
        _restore_postgres(settings.url, file, force)
    else:
        _restore_sqlite(settings.database, file, force)
    from picluster.cli.output import clock

    place = "the database" if settings.url else settings.database
    talk(f"{place} is the pool of {clock(header.taken_us)}. `picluster serve` serves it.")


def _restore_postgres(url: str, file: Path, force: bool) -> None:
    from picluster.store.postgres import PostgresStore

    store = PostgresStore(url)
    store.open()
    try:
        store.restore(file, replace=force)
    finally:
        store.close()


def _restore_sqlite(path: Path, file: Path, force: bool) -> None:
    from picluster.store import StoreProblem
    from picluster.store.sqlite import SqliteStore

    store = SqliteStore(path)
    try:
        store.open()
        store.restore(file)
    except StoreProblem as problem:
        store.close()
        if not force or not path.exists() or problem.details.get("pid"):
            raise
        _into_new_file(path, file)
    finally:
        store.close()


def _into_new_file(path: Path, file: Path) -> None:
    """Beside the old one first: until the last step the old one stands where it stood."""
    from datetime import datetime

    from picluster.store.files import OneProcess
    from picluster.store.sqlite import SqliteStore

    fresh = path.with_name(f"{path.name}.restoring")
    _remove(fresh)
    store: Store = SqliteStore(fresh)
    store.open()
    try:
        store.restore(file)
    finally:
        store.close()
    aside = path.with_name(f"{path.name}.before-{datetime.now():%Y%m%d-%H%M%S}")
    process = OneProcess(path.with_name(f"{path.name}.lock"))
    process.take()
    try:
        _move(path, aside)
        _move(fresh, path)
    finally:
        process.give_back()
    _remove(fresh)
    talk(f"What was there is {aside}.")


def _move(database: Path, to: Path) -> None:
    """With its write-ahead log; the lock and the reserve beside it stay."""
    for suffix in ("-wal", "-shm", ""):
        old = database.with_name(database.name + suffix)
        if old.exists():
            os.replace(old, to.with_name(to.name + suffix))


def _remove(database: Path) -> None:
    """Whatever an earlier attempt has left."""
    for suffix in ("", "-wal", "-shm", ".lock", ".reserve"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
