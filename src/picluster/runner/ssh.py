"""The way to a machine: one pinned connection, over which commands run and folders go there and back.

    async with connect(machine, Access(key)) as reached:
        async with reached.work_folder() as folder:
            await reached.put(Path("build"), folder)
            status = await reached.run("./test.sh", folder=folder, on_output=print)
            await reached.get(["results/*"], folder, Path("out"))

The machine is the one whose host key the pool knows, or, where the pool knows none, one that the user's own
`known_hosts` has; any other is refused. What runs there ends with us: each command is the head of a group of processes
that a shell beside it ends when we say so, and also when it hears nothing more of us because we were killed or the
network is gone.

Raises `MachineTrouble` and its kinds. asyncssh is imported here and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from inspect import isawaitable
from pathlib import Path
from typing import Any

import asyncssh

from picluster.errors import ConnectionLost, NotLetIn, NotReached, TransferFailed, WrongHost
from picluster.runner import transfer
from picluster.runner.archive import PIECE, pack
from picluster.runner.keys import Access, Key, how_to_know
from picluster.runner.shell import END_S, MISSING, ended_with_us, gathering, holding, unpacking
from picluster.wire import LeasedMachine

OnOutput = Callable[[str, bytes], object]
"""Is told each piece of output as it comes: `stdout` or `stderr`, and the bytes. What it returns, if it can be awaited, is:
so somebody slow slows the command down, and nothing else."""

CONNECT_S = 20.0
"""Also a Pi Zero that is swapping has shaken hands by then."""
SILENCE_S, SILENCES = 5, 3
"""So often a silent machine is asked for a sign of life, and so many times: 15 to 20 s after a power cut it is given up."""
ON_THE_WAY_S = 2
"""How much later than it happens there we hear of it, at most; then we do not wait any more."""
WINDOW = 8 * 1024 * 1024
"""Bytes that may be on their way to us unacknowledged: what a gigabit over 60 ms takes."""
AES_IN_HARDWARE = ("pi5", "cm5")
"""How the models begin whose processors have AES: a third quicker there than ChaCha20, which is the quicker one elsewhere."""
NO_ROOM = ("No space left", "Wrote only")
"""What `tar` says of a full disk, when it is asked to speak English: beyond its end, and across it."""
PACKET = 128 * 1024
"""Bytes in one packet to us, at most: each costs the same, whatever its size."""
_BROKE_OFF = "Did it lose its power or its network? `picluster show NAME` says when it was last heard."


@asynccontextmanager
async def connect(
    machine: LeasedMachine, access: Access, timeout_s: float = CONNECT_S
) -> AsyncIterator[Reached]:
    """The machine, for the time of the block. Raises `NotReached`, `WrongHost` or `NotLetIn`."""
    with _refusals(machine, access, timeout_s):
        connection = await asyncssh.connect(
            machine.address,
            machine.ssh_port,
            config=None,
            known_hosts=_trusted(machine),
            connect_timeout=timeout_s,
            login_timeout=timeout_s,
            keepalive_interval=SILENCE_S,
            keepalive_count_max=SILENCES,
            encryption_algs="^aes128-gcm@openssh.com" if machine.model.startswith(AES_IN_HARDWARE) else (),
            **_identity(machine, access),
        )
    try:
        yield Reached(machine, connection)
    finally:
        connection.abort()


def fresh_key(comment: str = "picluster") -> Key:
    """A key for one lease."""
    made = asyncssh.generate_private_key("ssh-ed25519", comment)
    return Key(made.export_private_key(), made.export_public_key().decode().strip())


def _identity(machine: LeasedMachine, access: Access) -> dict[str, Any]:
    """Who we are to it: with the lease's key nothing of the user's own is shown."""
    found: dict[str, Any] = {}
    if user := access.user_on(machine):
        found["username"] = user
    if key := access.key_for(machine):
        return found | {"client_keys": [asyncssh.import_private_key(key.private)], "agent_path": None}
    if access.password:
        found["password"] = access.password
    return found


def _trusted(machine: LeasedMachine) -> Any:
    """The keys that the pool knows of it; where it knows none, whatever the user's own known_hosts has."""
    if not machine.host_keys:
        return ()
    keys = []
    for line in machine.host_keys:
        with suppress(asyncssh.KeyImportError):  # of a kind that we do not speak: the others may do
            keys.append(asyncssh.import_public_key(line))
    return keys, [], []


@contextmanager
def _refusals(machine: LeasedMachine, access: Access, timeout_s: float) -> Iterator[None]:
    """What stands between us and the machine, in words, with the way out."""
    where = f"{machine.name} ({machine.address} port {machine.ssh_port})"
    try:
        yield
    except asyncssh.HostKeyNotVerifiable:
        raise _wrong_host(machine, where) from None
    except asyncssh.KeyExchangeFailed as problem:
        raise (
            _wrong_host(machine, where)
            if "host key" in problem.reason
            else NotReached(f"{where} speaks another SSH than we do: {problem.reason}")
        ) from None
    except asyncssh.PermissionDenied:
        raise _not_let_in(machine, access, where) from None
    except TimeoutError:
        raise NotReached(f"{where} did not answer within {timeout_s:g} s.", _UNREACHED) from None
    except (OSError, asyncssh.Error) as problem:
        raise NotReached(f"{where} could not be reached: {_said(problem)}", _UNREACHED) from None


_UNREACHED = "Is it on, and is there a way from here to its address? `picluster show NAME` says when it was last heard."


def _wrong_host(machine: LeasedMachine, where: str) -> WrongHost:
    if machine.host_keys:
        return WrongHost(
            f"{where} showed another host key than {machine.name} reported to the pool; nothing was sent to it.",
            "Another computer answers at this address, or the board was set up anew: its agent reports new keys with"
            " its next beat.",
        )
    return WrongHost(
        f"The pool knows no host key of {where}, and your ~/.ssh/known_hosts has none either.",
        how_to_know(machine),
    )


def _not_let_in(machine: LeasedMachine, access: Access, where: str) -> NotLetIn:
    user = access.user_on(machine) or "your own user name"
    if access.key_for(machine):
        return NotLetIn(f"{where} does not let this lease's key in.", "Has the lease just ended? Try again.")
    tried = "your keys and RPI_PASSWORD" if access.password else "your keys"
    return NotLetIn(
        f"{where} lets {user} in with none of {tried}.",
        "Add your key there (ssh-copy-id), set RPI_PASSWORD, or say who to be: --user or RPI_USERNAME.",
    )


def _said(problem: Exception) -> str:
    return getattr(problem, "reason", "") or getattr(problem, "strerror", "") or str(problem) or "no answer"


class Reached:
    """A machine that we are connected to."""

    def __init__(self, machine: LeasedMachine, connection: asyncssh.SSHClientConnection) -> None:
        self.machine = machine
        self._connection = connection
        self.keeps_folder = False
        """The work folder stays when its block is left: somebody wants to look into it."""

    @asynccontextmanager
    async def work_folder(self) -> AsyncIterator[str]:
        """A fresh folder in the user's home; gone afterwards, also if the machine hears no more of us."""
        async with self._process(holding()) as process:
            with self._while_connected():
                folder = (await process.stdout.readline()).decode().strip()
                if not folder:
                    said = (await process.stderr.read()).decode(errors="replace").strip()
                    raise TransferFailed(f"{self.machine.name} has no place for a folder: {said}")
            try:
                yield folder
            finally:
                with suppress(OSError, asyncssh.Error, TimeoutError):
                    if self.keeps_folder:
                        process.stdin.write(b"keep\n")
                    process.stdin.write_eof()
                    await asyncio.wait_for(process.wait_closed(), 2 * END_S + ON_THE_WAY_S)

    async def run(
        self,
        command: str,
        *,
        environment: Mapping[str, str] | None = None,
        folder: str = "",
        on_output: OnOutput = lambda stream, piece: None,
    ) -> int:
        """Run a shell's line there; its exit status, or 128 and the signal that ended it.

        Cancelled, it ends the command and all that it began: first kindly, after a few seconds not.
        """
        async with self._process(ended_with_us(command, environment or {}, folder)) as process:
            ended = asyncio.create_task(_to_the_end(process, on_output))
            ended.add_done_callback(_looked_at)
            try:
                with self._while_connected():
                    await asyncio.shield(ended)
            except asyncio.CancelledError:
                process.stdin.write_eof()
                # What it still says is heard; if nobody is there any more, nothing else is waited for either.
                _, deaf = await asyncio.wait([ended], timeout=2 * END_S + ON_THE_WAY_S)
                if deaf:
                    self._connection.abort()
                raise
            finally:
                ended.cancel()
            if process.exit_status is None or process.exit_status < 0:
                raise ConnectionLost(f"The connection to {self.machine.name} broke off.", _BROKE_OFF)
            return int(process.exit_status)

    async def put(
        self, source: Path, dest: str, progress: transfer.Progress = transfer.nobody, *, name: str = ""
    ) -> None:
        """A file or a folder of here, with all that is in it, as `name` (its own) below the folder `dest` of there."""
        async with self._process(unpacking(dest)) as process:
            complaint = asyncio.create_task(process.stderr.read())
            try:
                with self._while_connected():
                    async with aclosing(transfer.in_thread(pack(source, name))) as pieces:
                        async for piece in pieces:
                            process.stdin.write(piece)
                            progress(len(piece))
                            await process.stdin.drain()
                    process.stdin.write_eof()
                    await process.wait_closed()
            except ConnectionLost:
                if process.exit_status is None:  # else it has stopped reading, and says why
                    raise
            finally:
                said = await _said_on(complaint)
            self._done(process, f"{source} could not be copied to {self.machine.name}", said)

    async def get(
        self,
        patterns: Sequence[str],
        folder: str,
        into: Path,
        progress: transfer.Progress = transfer.nobody,
    ) -> transfer.Fetched:
        """What the shell's patterns name in `folder` of there, below the folder `into` of here, and only there."""
        async with self._process(gathering(patterns, folder)) as process:

            async def read() -> bytes:
                piece = await process.stdout.read(PIECE)
                progress(len(piece))
                return piece

            complaint = asyncio.create_task(process.stderr.read())
            try:
                with self._while_connected():
                    files = await transfer.unpack(read, into)
                    await process.wait_closed()
            finally:
                said = await _said_on(complaint)
            missing = [line[len(MISSING) :] for line in said.splitlines() if line.startswith(MISSING)]
            rest = "\n".join(line for line in said.splitlines() if not line.startswith(MISSING))
            self._done(process, f"{self.machine.name} could not give everything back", rest)
            return transfer.Fetched(files, missing)

    def _done(self, process: asyncssh.SSHClientProcess[bytes], what: str, said: str) -> None:
        """Raises unless it ended well; of what it said the first line is the cause, unless a full disk came after it."""
        if process.exit_status is None:
            raise ConnectionLost(f"The connection to {self.machine.name} broke off.", _BROKE_OFF)
        if process.exit_status:
            lines = said.strip().splitlines() or [f"tar ended with {process.exit_status}"]
            if full := next((line for line in lines if any(words in line for words in NO_ROOM)), ""):
                raise TransferFailed(f"{what}, which is full: {full}", f"Make room on {self.machine.name}.")
            raise TransferFailed(f"{what}: {lines[0]}")

    @asynccontextmanager
    async def _process(self, command: str) -> AsyncIterator[asyncssh.SSHClientProcess[bytes]]:
        with self._while_connected():
            process = await self._connection.create_process(
                command, encoding=None, window=WINDOW, max_pktsize=PACKET
            )
        try:
            yield process
        finally:
            process.close()

    @contextmanager
    def _while_connected(self) -> Iterator[None]:
        try:
            yield
        except (
            asyncssh.DisconnectError,
            asyncssh.ChannelOpenError,
            BrokenPipeError,
            ConnectionError,
        ) as problem:
            raise ConnectionLost(
                f"The connection to {self.machine.name} broke off: {_said(problem)}", _BROKE_OFF
            ) from None


async def _to_the_end(process: asyncssh.SSHClientProcess[bytes], on_output: OnOutput) -> None:
    """Pass on all that it says, until it has ended."""

    async def pass_on(stream: asyncssh.SSHReader[bytes], name: str) -> None:
        while piece := await stream.read(PIECE):
            told = on_output(name, piece)
            if isawaitable(told):
                await told

    await asyncio.gather(pass_on(process.stdout, "stdout"), pass_on(process.stderr, "stderr"))
    await process.wait_closed()


def _looked_at(ended: asyncio.Task[None]) -> None:
    """What went wrong after somebody had stopped waiting for it is nobody's concern."""
    if not ended.cancelled():
        ended.exception()


async def _said_on(complaint: asyncio.Task[bytes]) -> str:
    """What came on stderr so far, or altogether if that has ended."""
    with suppress(TimeoutError, OSError, asyncssh.Error):
        return (await asyncio.wait_for(complaint, 1)).decode(errors="replace")
    return ""
