"""Files to a machine and from machines: on what is yours, or leased for the purpose."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from picluster.cli.common import complete_machines, of_pool
from picluster.cli.reach import awaited, carried, one_machine
from picluster.errors import Conflict, Malformed, NotFound

if TYPE_CHECKING:
    from picluster.client.sync import Client
    from picluster.runner.borrow import Purpose
    from picluster.runner.ssh import Reached


@click.command("cp")
@click.argument("sources", metavar="SRC...", nargs=-1, required=True, shell_complete=complete_machines)
@click.argument("dest", metavar="DEST", shell_complete=complete_machines)
@click.option("-r", "recursive", is_flag=True, hidden=True, help="Folders always come with what is in them.")
@click.option("--wait", is_flag=True, help="Wait for a machine that somebody else holds.")
@click.option("--job", default="", help="What for; everybody sees it.  [default: cp]")
@click.option("--user", default="", help="Log in as, on boards that do not enforce.  [RPI_USERNAME]")
@of_pool
def cp_command(
    pool: Client, sources: Sequence[str], dest: str, recursive: bool, wait: bool, job: str, user: str
) -> None:
    """Copy files and folders to a machine, or from machines.

    \b
    picluster cp build/ test.sh pi-1:work/
    picluster cp pi-1:work/results.xml .
    picluster cp 'pi-1:logs/*.txt' pi-2:/var/log/syslog logs/

    Paths on a machine begin at the home of its account; patterns are quoted for your own shell. On a machine that you
    have locked it is done as it is; another is leased for it, if it is free, and given back. To a board that is emptied
    after each lease nothing is copied but by whoever has it.
    """

    from picluster.runner.borrow import Purpose

    purpose = Purpose(job or "cp", user, queue=wait)
    places, target = [_place(source) for source in sources], _place(dest)
    there = [place for place in places if place]
    if target and not there:
        files = [Path(source) for source in sources]
        for file in files:
            file.lstat()  # before anybody waits for a machine
        carried(_put(pool, files, *target, purpose))
    elif target is None and len(there) == len(sources):
        into = len(sources) > 1 or dest.endswith("/") or Path(dest).is_dir()
        for machine, path in there:
            carried(_get(pool, machine, path, Path(dest), into, purpose))
    else:
        raise Malformed(
            "One side is a machine, as in pi-1:path, and the other is here.", "A file called a:b is ./a:b."
        )


_REMOTE = re.compile(r"(?:\[([^\]/]+)\]|([^:/\[\]]+)):(.*)", re.DOTALL)


def _place(text: str) -> tuple[str, str] | None:
    """`machine:path`, the path from the machine's home; none for a path of here."""
    found = _REMOTE.fullmatch(text)
    if found is None:
        return None
    path = "" if found[3] == "~" else found[3].removeprefix("~/")
    return found[1] or found[2], path


async def _put(pool: Client, sources: Sequence[Path], machine: str, path: str, purpose: Purpose) -> None:
    async def copy(reached: Reached, progress: Callable[[int], object]) -> None:
        into = len(sources) > 1 or path.endswith("/") or not path or await _is_folder(reached, path)
        folder, name = (path or ".", "") if into else _split(path)
        for source in sources:
            await reached.put(source, folder or ".", progress, name=name)

    _refuse_in_vain(pool, machine)
    await _with_machine(pool, machine, purpose, copy)


def _refuse_in_vain(pool: Client, name: str) -> None:
    """Raises `Conflict` where a board would throw away what came as soon as it is there."""
    machine = one_machine(pool, name)
    mine = machine.lease is not None and machine.lease.holder == pool.whoami().name
    if machine.mode == "enforced" and not mine:
        raise Conflict(
            f"{machine.name} is emptied after each lease, and you have none of it: nothing of this would stay.",
            f"`picluster lock {machine.name}` first, copy and use it, then `picluster unlock {machine.name}`.",
        )


async def _get(pool: Client, machine: str, path: str, dest: Path, into: bool, purpose: Purpose) -> None:
    """Into the folder `dest`, or as `dest`: then beside it first, so that what is there is replaced at once or not at all."""
    from tempfile import TemporaryDirectory

    folder, pattern = _split(path.rstrip("/"))
    into = into or pattern in ("", ".", "..") or bool(_GLOB.search(pattern))

    async def copy(reached: Reached, progress: Callable[[int], object]) -> None:
        with TemporaryDirectory(dir=None if into else dest.parent) as fresh:
            place = dest if into else Path(fresh)
            fetched = await reached.get([pattern or "."], folder, place, progress)
            if fetched.missing:
                raise NotFound(
                    f"{machine} has no {path}.", f"`picluster exec {machine} -- ls` shows what it has."
                )
            if not into:
                (place / pattern).replace(dest)

    await _with_machine(pool, machine, purpose, copy)


_GLOB = re.compile(r"[*?\[]")


def _split(path: str) -> tuple[str, str]:
    """The folder, empty for the home, and the name in it."""
    folder, slash, name = path.rpartition("/")
    return folder or slash, name


async def _is_folder(reached: Reached, path: str) -> bool:
    import shlex

    return await reached.run(f"test -d {shlex.quote(path)}") == 0


async def _with_machine(
    pool: Client,
    name: str,
    purpose: Purpose,
    copy: Callable[[Reached, Callable[[int], object]], Coroutine[Any, Any, None]],
) -> None:
    from picluster.cli.running import Moved
    from picluster.runner.borrow import borrowed
    from picluster.runner.many import MANNER
    from picluster.runner.ssh import connect

    machine, moved = one_machine(pool, name), Moved()
    async with (
        awaited(pool) as client,
        borrowed(client, machine, pool.whoami().name, purpose, MANNER) as (leased, access),
        connect(leased, access) as reached,
    ):
        moved.begin(f"{machine.name} copies")
        try:
            await copy(reached, moved.more)
        finally:
            moved.stop()
