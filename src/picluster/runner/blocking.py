"""A board for programs without an event loop: scripts, tests, the old runner.

    with Client() as cluster, Board.leased(cluster, "model:pi5", job="demo") as board:
        board.put("build", "demo")
        print(board.run("demo/test.sh").stdout)
        board.get("demo/*.xml", "results")

One connection, made when it is first needed and again after it broke off, carried by a thread. What runs on the board
ends when the block is left, the call is interrupted, its time is over or the lease is lost.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from picluster.errors import CommandFailed, ConnectionLost, LeaseLost, Malformed, TransferFailed
from picluster.runner import shell
from picluster.runner.keys import Access, access_of
from picluster.wire import LeasedMachine

if TYPE_CHECKING:
    from picluster.client.sync import Client, Lease
    from picluster.runner.ssh import Reached

T = TypeVar("T")

TIMED_OUT = 124
"""What a command whose time is over is said to have ended with: as `timeout` does."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command went."""

    command: str
    status: int
    """As its shell said it; 128 and the signal that ended it; 124 when its time was over."""
    stdout: str
    stderr: str
    output: str
    """Both, as they came."""

    def check(self) -> Self:
        """Raises `CommandFailed`, with the end of what it said, unless it ended with 0."""
        if self.status == 0:
            return self
        why = "took too long" if self.status == TIMED_OUT else f"ended with {self.status}"
        said = "".join(f"\n  {line}" for line in self.output.splitlines()[-TOLD_LINES:])
        raise CommandFailed(f"`{self.command}` {why}.{said}", status=self.status)


TOLD_LINES = 20
"""Of what a command said before it failed: enough to see why, not a log in the place of a sentence."""


class Board:
    """A machine that is ours for now, reached with blocking calls; from several threads, if need be.

    Every call raises `MachineTrouble` when the board cannot be reached or the connection breaks off, and `LeaseLost`
    when the lease is.
    """

    def __init__(
        self, machine: LeasedMachine, access: Access | None = None, lease: Lease | None = None
    ) -> None:
        self.machine = machine
        self._access = access or access_of()
        self._lease = lease
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"to {machine.name}", daemon=True)
        self._connecting = asyncio.Lock()
        self._connection = AsyncExitStack()
        self._reached: Reached | None = None
        self._working: set[asyncio.Task[Any]] = set()

    @classmethod
    @contextmanager
    def leased(cls, client: Client, selector: str = "", *, user: str = "", **more: Any) -> Iterator[Self]:
        """A board that matches, when its turn comes, for the time of the block. `more` is what `Client.lease` takes."""
        access = fresh_access(user)
        with (
            client.lease(selector, ssh_public_keys=access.public_keys, **more) as lease,
            cls(lease.machine, access, lease) as board,
        ):
            yield board

    def __enter__(self) -> Self:
        self._thread.start()
        if self._lease is not None:
            self._lease.on_lost.append(self._lost)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What still runs there is ended before the board is somebody else's."""
        if self._lease is not None:
            self._lease.on_lost.remove(self._lost)
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        # A thread that unpacks what came may still wait for the loop, and Python would wait for the thread.
        asyncio.run_coroutine_threadsafe(self._loop.shutdown_default_executor(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def lease(self) -> Lease:
        """What it is ours by."""
        assert self._lease is not None, "this board is nobody's lease"
        return self._lease

    # What one does there

    def run(
        self,
        command: str | Sequence[str],
        *,
        check: bool = True,
        timeout_s: float | None = None,
        environment: Mapping[str, str] | None = None,
        folder: str = "",
        on_output: Callable[[str, bytes], object] = lambda stream, piece: None,
    ) -> Ran:
        """Run a shell's line, or words that no shell shall touch, from the home or a `folder`.

        Raises `CommandFailed` unless it ended with 0, or `check` is false.
        """
        line = command if isinstance(command, str) else shell.line(command)
        ran = self._do(self._run(line, timeout_s, environment, folder, on_output))
        return ran.check() if check else ran

    def put(self, source: str | Path, dest: str = ".", *, name: str = "") -> None:
        """A file or a folder of here, as `name` (its own) below the folder `dest` there."""
        self._do(self._put(Path(source), dest, name))

    def get(self, patterns: str | Sequence[str], into: str | Path = ".", *, folder: str = "") -> list[Path]:
        """What the shell's patterns name there, from the home or a `folder`, into a folder of here. The files.

        Raises `TransferFailed` for a pattern that names nothing.
        """
        wanted = [patterns] if isinstance(patterns, str) else list(patterns)
        return self._do(self._get(wanted, Path(into), folder))

    # How

    async def _run(
        self,
        line: str,
        timeout_s: float | None,
        environment: Mapping[str, str] | None,
        folder: str,
        on_output: Callable[[str, bytes], object],
    ) -> Ran:
        pieces: list[tuple[str, bytes]] = []

        def keep(stream: str, piece: bytes) -> None:
            pieces.append((stream, piece))
            on_output(stream, piece)

        reached = await self._connected()
        try:
            async with asyncio.timeout(timeout_s):
                status = await reached.run(line, environment=environment, folder=folder, on_output=keep)
        except TimeoutError:
            status = TIMED_OUT
        return Ran(line, status, _of(pieces, "stdout"), _of(pieces, "stderr"), _of(pieces))

    async def _put(self, source: Path, dest: str, name: str) -> None:
        await (await self._connected()).put(source, dest, name=name)

    async def _get(self, patterns: list[str], into: Path, folder: str) -> list[Path]:
        fetched = await (await self._connected()).get(patterns, folder, into)
        if fetched.missing:
            raise TransferFailed(f"{self.machine.name} has no {' and no '.join(fetched.missing)}.")
        return [into / name for name in fetched.files]

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        """Carry it out in the loop; an interrupted caller ends it, and so does the loss of the lease."""
        if self._lease is not None and self._lease.lost is not None:
            work.close()
            self._lease.check()
        future = asyncio.run_coroutine_threadsafe(self._carry_out(work), self._loop)
        try:
            return future.result()
        except CancelledError:
            if self._lease is not None:
                self._lease.check()
            raise
        except BaseException:
            future.cancel()
            raise

    async def _carry_out(self, work: Coroutine[Any, Any, T]) -> T:
        """A connection that broke off is of no use to the next call: the board may have rebooted since."""
        task = asyncio.current_task()
        assert task is not None
        self._working.add(task)
        try:
            return await work
        except ConnectionLost:
            await self._disconnect()
            raise
        finally:
            self._working.discard(task)

    async def _connected(self) -> Reached:
        connect = _ssh().connect
        async with self._connecting:
            if self._reached is not None:
                return self._reached
            reached: Reached = await self._connection.enter_async_context(connect(self.machine, self._access))
            self._reached = reached
            return reached

    async def _disconnect(self) -> None:
        self._reached = None
        await self._connection.aclose()

    async def _end(self) -> None:
        working = list(self._working)
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        await self._disconnect()

    def _lost(self, lost: LeaseLost) -> None:
        """Told by the thread that renews; too late, if the block has just been left."""
        ending = self._end()
        try:
            asyncio.run_coroutine_threadsafe(ending, self._loop)
        except RuntimeError:  # the loop is closed
            ending.close()


def _of(pieces: list[tuple[str, bytes]], wanted: str = "") -> str:
    """As text. (Put together before it is decoded: a letter may be cut in two.)"""
    return b"".join(piece for stream, piece in pieces if wanted in ("", stream)).decode(errors="replace")


def fresh_access(user: str = "") -> Access:
    """With a key for one lease; `key.public` of it is for the lease's `ssh_public_keys`."""
    return access_of(user=user, key=_ssh().fresh_key())


def _ssh() -> ModuleType:
    """Loaded when somebody goes to a board, which needs the extra `run`."""
    try:
        from picluster.runner import ssh
    except ModuleNotFoundError as problem:
        raise Malformed(
            f"Going to a board needs {problem.name}, which is not installed.",
            "pip install 'pi-cluster-service[run]'",
        ) from None
    return ssh
