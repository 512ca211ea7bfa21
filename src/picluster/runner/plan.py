"""What a job is, and what its end means: pure, so that each rule can be read and tried by itself."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from picluster.errors import LeaseLost, Malformed, PiclusterError, Refused, WaitedTooLong
from picluster.wire import LeasedMachine, LeaseRequest

TTL_S = 60.0
"""Renewed while the job runs; whoever is killed with `kill -9` blocks its boards for no longer than this."""
EVERYTHING_IN_IT = "."
"""As whose name the content of a folder is copied, and not the folder."""


class Ending(StrEnum):
    """How it went, in a word; the exit code follows from it."""

    PASSED = "passed"
    FAILED = "failed"
    """The command ended with something else than 0."""
    TIME_OVER = "time over"
    NOT_CLEAN = "not clean"
    """The command ended with 0, on a board that was not honest, or cannot be known to have been."""
    WAITED_TOO_LONG = "waited too long"
    REFUSED = "refused"
    LOST = "lease lost"
    STOPPED = "stopped"
    """By a signal."""
    MALFORMED = "asked for wrongly"
    """The pool does not understand the selector, or will not have so much."""
    ERROR = "error"
    """It was neither the command nor the pool: no connection, no room, a wrong host key."""


EXIT_CODES = {
    Ending.PASSED: 0,
    Ending.NOT_CLEAN: 1,
    Ending.TIME_OVER: 124,
    Ending.WAITED_TOO_LONG: 124,
    Ending.REFUSED: 75,
    Ending.LOST: 75,
    Ending.MALFORMED: 2,
    Ending.ERROR: 125,
}
"""A command that failed and a signal that stopped us bring their own."""


class Copy(NamedTuple):
    """Something of here that is to be there before the command runs."""

    source: Path
    folder: str
    """Within the work folder, unless it begins with `/`."""
    name: str
    """What it is called there."""


@dataclass(frozen=True, slots=True)
class Job:
    """A command on machines of the pool: what it needs, and what is wanted of it."""

    selector: str
    command: str
    """A line for a shell."""
    count: int = 1
    copies: tuple[Copy, ...] = ()
    fetches: tuple[str, ...] = ()
    """Patterns, as a shell in the work folder understands them."""
    out: Path | None = None
    """A folder for results."""
    junit: Path | None = None
    job: str = ""
    """What for; everybody sees it."""
    timeout_s: float | None = None
    """For the command, once it runs."""
    ttl_s: float = TTL_S
    queue: bool = True
    wait_s: float | None = None
    """For the machines."""
    priority: int = 1
    require_clean: bool = False
    hold_on_failure_s: float | None = None
    ssh_public_keys: tuple[str, ...] = ()
    """Of people who are let in besides us."""
    user: str = ""
    """To log in as, on boards that do not enforce."""

    def request(self, *runner: str) -> LeaseRequest:
        """What is asked of the pool; `runner` is our own key."""
        text = self.job or f"run {self.command}"
        keys = (*runner, *self.ssh_public_keys)
        return LeaseRequest(
            self.selector,
            self.count,
            text,
            self.ttl_s,
            self.queue,
            priority=self.priority,
            ssh_public_keys=keys,
        )


def copy_of(text: str, there: Callable[[Path], bool] = Path.exists) -> Copy:
    """`PATH[:DEST]`, with the meaning of a final slash that rsync has: of `build/` the content, of `build` the folder.

    Raises `Malformed` for what is not there, before a board is waited for.
    """
    path, colon, dest = text.rpartition(":")
    if not colon or there(Path(text)):
        path, dest = text, ""
    source = Path(path)
    if not path or not there(source):
        raise Malformed(
            f"--copy: there is no {path or text!r} here.", "Say PATH, or PATH:DEST.", field="copy"
        )
    content = path.endswith("/") or path in (".", "..")
    if not dest:
        return Copy(source, "", EVERYTHING_IN_IT if content else source.absolute().name)
    if content:
        return Copy(source, dest, EVERYTHING_IN_IT)
    folder, _, name = dest.rpartition("/")
    return Copy(source, folder or ("/" if dest.startswith("/") else ""), name or source.absolute().name)


def environment(machines: Sequence[LeasedMachine], rank: int, lease_id: str, fence: int) -> dict[str, str]:
    """What each of the machines is told about all of them."""
    return {
        "PICLUSTER_MACHINE": machines[rank].name,
        "PICLUSTER_MACHINES": " ".join(machine.name for machine in machines),
        "PICLUSTER_ADDRESSES": " ".join(machine.address for machine in machines),
        "PICLUSTER_RANK": str(rank),
        "PICLUSTER_LEASE": lease_id,
        "PICLUSTER_FENCE": str(fence),
    }


def file_name(name: str) -> str:
    """A machine's name, as one step of a path, whoever chose it."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".") or "_"


def ending_of(problem: PiclusterError) -> Ending:
    """What it means for a job that this was raised."""
    if isinstance(problem, WaitedTooLong):
        return Ending.WAITED_TOO_LONG
    if isinstance(problem, LeaseLost):
        return Ending.LOST
    if isinstance(problem, Malformed):
        return Ending.MALFORMED
    return Ending.REFUSED if isinstance(problem, Refused) else Ending.ERROR


def exit_code(ending: Ending, statuses: Sequence[int], signal_number: int = signal.SIGINT) -> int:
    """The number for it. Of several machines the worst counts."""
    if ending is Ending.FAILED:
        return max(statuses)
    return 128 + signal_number if ending is Ending.STOPPED else EXIT_CODES[ending]
