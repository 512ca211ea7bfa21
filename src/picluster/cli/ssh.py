"""`picluster ssh`: the system's own ssh, which people have set up to their liking, to a machine leased for the session.

It believes the host keys that the board reported to the pool and no others, whatever it has seen at that address
before, and where the board enforces it has a key of its own for the lease.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from picluster.cli.common import mine, named, of_pool, selector_argument, talk
from picluster.cli.reach import COMMAND, REFUSED, WithCommand, awaited, carried
from picluster.errors import LeaseLost, Malformed, NotFound, WrongHost

if TYPE_CHECKING:
    from picluster.client.sync import Client
    from picluster.runner.borrow import Manner, Purpose
    from picluster.runner.keys import Access, Key
    from picluster.wire import LeasedMachine, MachineAnswer

END_S = 5.0
"""How long ssh may take to end when it is told to."""


@click.command("ssh", cls=WithCommand)
@selector_argument()
@click.option("--wait", is_flag=True, help="Wait for a machine that somebody else holds.")
@click.option("--job", default="", help="What for; everybody sees it.  [default: ssh]")
@click.option("--user", default="", help="Log in as, on boards that do not enforce.  [RPI_USERNAME]")
@of_pool
@click.pass_context
def ssh_command(
    ctx: click.Context, pool: Client, terms: Sequence[str], wait: bool, job: str, user: str
) -> None:
    """Log in to a machine: one that you have locked, or one leased for as long as you stay.

    \b
    picluster ssh                                  # the one that you have locked
    picluster ssh model:pi5 --job "look at wifi"
    picluster ssh pi-1 -- -L 8080:localhost:80     # what follows -- is ssh's: options, and a command
    picluster ssh pi-1 -- dmesg --follow

    Uses your ssh, its settings and your keys; on a board that enforces, a key of the lease. A machine that you have
    locked stays yours; another is given back at the end, also on Ctrl-C. The exit code is ssh's.
    """
    from picluster.runner.borrow import Purpose

    if shutil.which("ssh") is None:
        raise NotFound(
            "There is no `ssh` here.", "apt install openssh-client; `picluster run` and `exec` need none."
        )
    machine = _wanted(pool, " ".join(terms))
    purpose = Purpose(job or "ssh", user, queue=wait)
    try:
        ctx.exit(carried(_session(pool, machine, purpose, ctx.meta[COMMAND]), stops=("SIGTERM", "SIGHUP")))
    except LeaseLost as lost:
        talk(f"picluster: {lost.message} {lost.hint}".rstrip())
        ctx.exit(REFUSED)


def _wanted(pool: Client, selector: str) -> MachineAnswer:
    """What we have of it, else what is free of it, else any: to be refused by it in the pool's words."""
    me = pool.whoami().name
    found = named(pool, [selector]) if selector else mine(pool)
    if not found:
        raise NotFound(
            "You have nothing locked.", "Name a machine, or a selector: `picluster ssh model:pi5`."
        )
    held = [machine for machine in found if machine.lease and machine.lease.holder == me]
    if len(held) > 1:
        raise Malformed(f"You have {', '.join(one.name for one in held)}.", "Name one of them.")
    free = [machine for machine in found if machine.state == "free"]
    return (held or free or found)[0]


async def _session(pool: Client, machine: MachineAnswer, purpose: Purpose, words: Sequence[str]) -> int:
    from picluster.runner.borrow import borrowed

    with Ways() as ways:
        async with (
            awaited(pool) as client,
            borrowed(client, machine, pool.whoami().name, purpose, ways.manner) as (leased, access),
        ):
            ways.check(leased, access)
            with _interrupts_are_for_ssh():
                return await _to_its_end(["ssh", *ways.options(leased, access), *words])


async def _to_its_end(command: Sequence[str]) -> int:
    """Its exit code; when we are cancelled, or the lease is lost, it is ended."""
    process = await asyncio.create_subprocess_exec(*command)
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), END_S)
        if process.returncode is None:
            process.kill()
            await process.wait()


@contextmanager
def _interrupts_are_for_ssh() -> Iterator[None]:
    """Ctrl-C goes to the whole terminal: the session decides what it means."""
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Ways:
    """Files that tell ssh whom to believe and what to show, in a folder of ours alone; gone when the block is left."""

    def __enter__(self) -> Ways:
        from picluster.runner.borrow import Manner

        self._temporary = TemporaryDirectory(prefix="picluster-ssh-")
        self._folder = Path(self._temporary.name)
        self.manner: Manner = Manner(self._make_key, self._lets_in)
        return self

    def __exit__(self, *exc: object) -> None:
        self._temporary.cleanup()

    def options(self, machine: LeasedMachine, access: Access) -> list[str]:
        """What ssh is told, up to and with the destination."""
        told = {"StrictHostKeyChecking": "yes", "ControlPath": "none", "Port": str(machine.ssh_port)}
        if machine.host_keys:
            told |= self._believing(machine)
        if key := access.key_for(machine):
            told |= {"IdentityFile": self._quoted(self._written(key)), "IdentitiesOnly": "yes"}
        user = access.user_on(machine)
        return [
            *(f"-o{name}={value}" for name, value in told.items()),
            *(["-l", user] if user else ()),  # by itself: a board says it, and it must not be an option
            "--",
            machine.address,
        ]

    def _believing(self, machine: LeasedMachine) -> dict[str, str]:
        """The reported keys and no others; under a name, since addresses wander."""
        alias = re.sub(r"[^\w.-]", "_", machine.name)
        file = self._folder / "known_hosts"
        file.write_text("".join(f"{alias} {key}\n" for key in machine.host_keys))
        return {
            "UserKnownHostsFile": self._quoted(file),
            "GlobalKnownHostsFile": "/dev/null",
            "KnownHostsCommand": "none",
            "HostKeyAlias": alias,
            "UpdateHostKeys": "no",
        }

    def check(self, machine: LeasedMachine, access: Access) -> None:
        """Where the pool knows no host key, the user has to. Raises `WrongHost` with how to get and check it."""
        from picluster.runner.keys import how_to_know

        if machine.host_keys or _known(self.options(machine, access)):
            return
        raise WrongHost(
            f"Nobody knows the host key of {machine.name}: it has no agent, and is not in your known_hosts.",
            how_to_know(machine),
        )

    def _make_key(self) -> Key:
        from picluster.runner.keys import Key

        file = self._folder / "made"
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "picluster", "-f", str(file)]
        subprocess.run(make, check=True, stdin=subprocess.DEVNULL)
        return Key(file.read_bytes(), file.with_suffix(".pub").read_text().strip())

    def _written(self, key: Key) -> Path:
        file = self._folder / "key"
        file.touch(mode=0o600)
        file.write_bytes(key.private)
        return file

    async def _lets_in(self, machine: LeasedMachine, access: Access) -> bool:
        """Whether ssh comes in with that. What else is in the way, the session itself will say."""
        options = ["-oBatchMode=yes", "-oConnectTimeout=10", *self.options(machine, access)]
        nothing = subprocess.DEVNULL
        tried = await asyncio.create_subprocess_exec(
            "ssh", *options, "true", stdin=nothing, stdout=nothing, stderr=subprocess.PIPE
        )
        _, said = await tried.communicate()
        return b"Permission denied" not in said

    @staticmethod
    def _quoted(file: Path) -> str:
        return f'"{file}"'


def _known(options: Sequence[str]) -> bool:
    """Whether ssh, set up as it is here, has a host key for this destination."""
    told = subprocess.run(["ssh", "-G", *options], capture_output=True, text=True, check=False).stdout
    settings = dict(line.split(" ", 1) for line in told.splitlines() if " " in line)
    host, port = settings.get("hostkeyalias") or settings.get("hostname", ""), settings.get("port", "22")
    name = host if port == "22" or "hostkeyalias" in settings else f"[{host}]:{port}"
    files = f"{settings.get('userknownhostsfile', '')} {settings.get('globalknownhostsfile', '')}".split()
    return any(_has(Path(file).expanduser(), name) for file in files)


def _has(file: Path, name: str) -> bool:
    found = subprocess.run(["ssh-keygen", "-F", name, "-f", str(file)], capture_output=True, check=False)
    return found.returncode == 0 and bool(found.stdout)
