"""`RemoteRunner`: what scripts of the first service use to run something on a board, on leases and pinned keys.

    RemoteRunner(cluster="http://service:1337/api/", source_dir="build", target_dir="/home/pi/test",
                 command="./test.sh", copyback_files="results.xml").run_command()

The words are the old ones. What changed: a command that fails raises, a board is not locked for ever when a script
dies, and nobody is believed to be a board because they answer at its address.
"""

from __future__ import annotations

import asyncio
import logging
import os
import posixpath
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path

from picluster.client.aio import AsyncClient
from picluster.client.boards import PiBoardTable
from picluster.client.reading import read
from picluster.client.sync import Client
from picluster.client.where import Where
from picluster.errors import Malformed, NotFound, PiclusterError
from picluster.runner.blocking import Board, Ran, fresh_access
from picluster.runner.borrow import held
from picluster.runner.job import write_all
from picluster.runner.keys import Access
from picluster.wire import LeasedMachine, MachineAnswer

LOG = logging.getLogger("picluster.remote")

OLD_USER = "pi"
"""Who the old runner logged in as, where neither script, environment nor board says otherwise."""

TARGET = "picluster-remote"
"""A folder of its own for what is copied, when the script names none: it is emptied before and after."""

SSH_PORT = 22


class RemoteRunner:
    """Copies something to a board, runs a command there, copies results back.

    `cluster` is the address of a service, or a `PiBoardTable`; the board is then leased: the one at `ipaddress`, or
    the first that is free, or with `all` each of them in turn. Without `cluster` the board at `ipaddress` has to be in
    your `known_hosts`. `password` is `RPI_PASSWORD` unless given. `source_files` and `copyback_files` are lists, or
    names with commas. `target_dir` is emptied before (`start_clean`) and removed after (`cleanup`).
    """

    def __init__(
        self,
        cluster: str | PiBoardTable | None = None,
        ipaddress: str | None = None,
        username: str | None = None,
        password: str | None = None,
        source_dir: str | None = None,
        target_dir: str | None = None,
        copyback_files: str | Sequence[str] | None = None,
        copyback_dir: str | None = None,
        command: str | None = None,
        logfile: str | None = None,
        start_clean: bool = True,
        cleanup: bool = True,
        timeout: float | None = None,
        all: bool | None = None,
        source_files: str | Sequence[str] | None = None,
        apikey: str | None = None,
    ) -> None:
        if not cluster and (all or not ipaddress):
            raise Malformed(
                "Which board? Say `ipaddress`, or the `cluster` to get one from.", field="cluster"
            )
        sources = [Path(source_dir)] if source_dir else []
        self._cluster, self._apikey = cluster, apikey
        self._address, self._all = ipaddress or "", bool(all)
        self._user = username or os.environ.get("RPI_USERNAME", "")
        self._password = password or os.environ.get("RPI_PASSWORD", "")
        self._folders, self._files = sources, [Path(name) for name in _names(source_files)]
        self._target = _target(target_dir, bool(sources or self._files), start_clean or cleanup)
        self._wanted, self._back = _names(copyback_files), Path(copyback_dir or ".")
        self._command = command or ""
        self._logfile = logfile
        self._start_clean, self._cleanup = start_clean, cleanup
        self._timeout_s = timeout

    def run_command(self) -> list[str]:
        """What the command said, as lines. Raises `CommandFailed` with them, unless it ended with 0 on every board."""
        lines: list[str] = []
        with self._client() as client, self._log() as log:
            for machine in self._machines(client):
                with self._board(client, machine) as board:
                    ran = self._on(board, lambda stream, piece: write_all(log, piece))
                lines += ran.output.splitlines()
                ran.check()
        return lines

    def _log(self) -> RawIOBase:
        """Whoever follows it sees what the command says while it runs."""
        return open(self._logfile or os.devnull, "wb", buffering=0)

    # Which board

    @contextmanager
    def _client(self) -> Iterator[Client | None]:
        if not self._cluster:
            yield None
        elif isinstance(self._cluster, PiBoardTable):
            yield self._cluster.client
        else:
            with Client(self._cluster, self._apikey) as client:
                yield client

    def _machines(self, client: Client | None) -> list[str]:
        """Selectors, each of one board."""
        if client is None or not self._all:
            return [self._address]
        there = [machine.name for machine in client.machines() if _usable(machine)]
        if not there:
            raise NotFound(
                "No board of the cluster is online and in service.", "`picluster list` shows them."
            )
        return there

    @contextmanager
    def _board(self, client: Client | None, selector: str) -> Iterator[Board]:
        if client is None:
            with Board(_outside(selector), self._access()) as board:
                yield board
        elif lease_id := _locked_before(client, selector):
            with self._held(client, lease_id, selector) as board:
                yield board
        else:
            with self._leased(client, selector) as board:
                yield board

    @contextmanager
    def _leased(self, client: Client, selector: str) -> Iterator[Board]:
        fresh = fresh_access()
        job = self._command or "RemoteRunner"
        LOG.info("Waiting for %s", selector or "a board")
        with client.lease(selector, job=job, ssh_public_keys=fresh.public_keys) as lease:
            LOG.info("Running on %s (%s)", lease.machine.name, lease.machine.address)
            with Board(lease.machine, self._access(lease.machine, fresh), lease) as board:
                yield board

    @contextmanager
    def _held(self, client: Client, lease_id: str, selector: str) -> Iterator[Board]:
        """The script has locked it before: it stays locked."""
        name = client.machine(selector).name
        machine, opened = asyncio.run(_opened(client.session.where, lease_id, name, self._user))
        with Board(machine, self._access(machine, opened)) as board:
            yield board

    def _access(self, machine: LeasedMachine | None = None, fresh: Access | None = None) -> Access:
        user = self._user or (machine.ssh_user if machine else "") or OLD_USER
        return Access(fresh.key if fresh else None, user, self._password)

    # What is done there

    def _on(self, board: Board, on_output: Callable[[str, bytes], object]) -> Ran:
        if self._start_clean:
            self._remove(board)
        try:
            self._copy(board)
            ran = board.run(
                self._command or "true",
                check=False,
                timeout_s=self._timeout_s,
                folder=self._target,
                on_output=on_output,
            )
            if self._wanted:
                self._fetch(board, ran)
            return ran
        finally:
            if self._cleanup:
                self._remove(board)

    def _copy(self, board: Board) -> None:
        for folder in self._folders:
            board.put(folder, self._target, name=".")
        for file in self._files:
            board.put(file, self._target)

    def _fetch(self, board: Board, ran: Ran) -> None:
        """Also after a failure, whose reason they may have; then what is missing is no second one."""
        try:
            board.get(self._wanted, self._back, folder=self._target)
        except PiclusterError:
            ran.check()
            raise

    def _remove(self, board: Board) -> None:
        if self._target:
            board.run(f"rm -rf -- {shlex.quote(self._target)}")


def _locked_before(client: Client, address: str) -> str:
    """The lease by which we have the board at an address already, if so."""
    found = client.machines(address) if address else []
    mine = [one.lease.id for one in found if one.lease and one.lease.holder == client.whoami().name]
    return mine[0] if mine else ""


async def _opened(where: Where, lease_id: str, name: str, user: str) -> tuple[LeasedMachine, Access]:
    from picluster.runner.many import MANNER

    async with AsyncClient(",".join(where.addresses), where.token, where.user) as client:
        return await held(client, lease_id, name, user, MANNER)


def _outside(address: str) -> LeasedMachine:
    """A board that no pool knows anything of; so no host key of it either."""
    nothing = {"name": address, "address": address, "model": "", "mode": "legacy", "ready": True}
    return read(LeasedMachine, nothing | {"host_keys": [], "ssh_user": "", "ssh_port": SSH_PORT})


def _names(said: str | Sequence[str] | None) -> list[str]:
    parts = said.split(",") if isinstance(said, str) else said or ()
    return [name for part in parts if (name := str(part).strip())]


NOT_FOR_EMPTYING = re.compile(r"/+([a-z]*|home/[^/]+)|\.|~|\.\.(/.*)?")
"""Roots, homes, and what lies above: nobody means to lose those."""


def _target(said: str | None, copying: bool, emptied: bool) -> str:
    """The folder there, from the home if it is not absolute; none when there is nothing to copy and none is named."""
    if not said:
        return TARGET if copying else ""
    folder = posixpath.normpath(said.removeprefix("~/"))
    if emptied and NOT_FOR_EMPTYING.fullmatch(folder):
        raise Malformed(
            f"target_dir: {said!r} would be emptied, and is more than a folder of yours.",
            "Name one that is for this run alone, or say start_clean=False and cleanup=False.",
            field="target_dir",
        )
    return folder


def _usable(machine: MachineAnswer) -> bool:
    return machine.presence == "online" and machine.service == "in_service"
