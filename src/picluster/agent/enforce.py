"""The gate of an enforced board: in goes who has a key of the lease; when it is over, everything of theirs dies and goes.

The order is what counts. Keys out first, then the processes, then what they left, then the owner's own program, and at last a
look whether anything is left. If so it begins anew; clean is said only when a look found nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

from . import keys
from .accounts import Account
from .gate import Gate
from .log import Log
from .processes import connecting, end_all, living
from .programs import Budget, run_aloud
from .ready_to_enforce import Readiness
from .settings import Enforcing
from .sweep import Ground, sweep, what_is_left
from .tree import Tree

CLOSE_S = 95.0
"""The service waits 120 s for a board that is online, and a beat must fit in."""
_ROUNDS = 3
"""A job of cron may begin in the moment in which its table is removed. It cannot happen often."""
_MOST_NAMED = 5
"""Of what is left, in the log."""


class Enforcer(Gate):
    """For one account, as the settings say."""

    def __init__(
        self, tree: Tree, told: Enforcing, log: Log, alive: Callable[[], None] = lambda: None
    ) -> None:
        self._tree, self._told, self._log, self._alive = tree, told, log, alive
        self._ready = Readiness(tree, told)
        self._file = keys.KeysFile(tree, told.user)
        self.ssh_user = told.user
        self.look()

    def look(self) -> None:
        before = self.trouble
        enforces = self._ready.look(self._alive) is not None
        self.mode = "enforced" if enforces else "advisory"
        self.trouble = self._ready.trouble
        if self.trouble != before:
            self._log(
                f"this board cannot enforce: {self.trouble}" if self.trouble else "this board enforces again"
            )

    def open(self, fence: int, public_keys: Sequence[str]) -> None:
        """What was let in already needs no second check; else a board that is just being changed would throw people out."""
        text = keys.text(fence, list(self._readable(public_keys)))
        if self._file.read() != text:
            self._file.write(self._checked(), text)

    def _readable(self, public_keys: Sequence[str]) -> Iterator[str]:
        """One that cannot be read keeps nobody else out."""
        for line in public_keys:
            try:
                yield keys.read(line)
            except keys.NotAKey as problem:
                self._log(str(problem))

    def _checked(self) -> Account:
        self.look()
        if not self._ready.account:
            self._file.remove()
            raise OSError(self.trouble)
        return self._ready.account

    def close(self, fence: int) -> bool:
        try:
            self._file.remove()
            left = self._clean_up(fence, self._checked(), Budget(CLOSE_S, self._alive))
        except OSError as problem:
            left = [str(problem)]
        if left:
            more = f" and {len(left) - _MOST_NAMED} more" if len(left) > _MOST_NAMED else ""
            self._log.once(f"fence {fence} is not clean: {', '.join(left[:_MOST_NAMED])}{more}")
        return not left

    def _clean_up(self, fence: int, account: Account, budget: Budget) -> list[str]:
        """What could not be removed."""
        left: list[str] = []
        for attempt in range(_ROUNDS):
            if not end_all(account, budget):
                return [*_processes(account)] or ["a process that comes and goes"]
            ground = Ground(self._tree, account)
            failed = sweep(ground, budget)
            if not failed and attempt == 0:
                failed = self._hook(fence, account, budget)
            if failed:
                return failed
            left = [*what_is_left(ground, budget), *_processes(account)]
            if not left:
                break
        return left

    def _hook(self, fence: int, account: Account, budget: Budget) -> list[str]:
        """The board's owner knows more than we do: a device to reset, a service to restart."""
        if not self._told.cleanup:
            return []
        told = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "PICLUSTER_FENCE": str(fence),
            "PICLUSTER_SSH_USER": account.name,
            "PICLUSTER_HOME": account.home,
        }
        path = self._tree.at(self._told.cleanup)
        code = run_aloud([path], told, budget.part(self._told.cleanup_s))
        return [f"{self._told.cleanup} ended with {code}"] if code else []


def _processes(account: Account) -> Iterator[str]:
    for pid in (*living(account.uid), *connecting(account.name)):
        yield f"process {pid} ({_name(pid)})"


def _name(pid: int) -> str:
    return Tree("/").text(os.path.join("/proc", str(pid), "comm")) or "gone already"
