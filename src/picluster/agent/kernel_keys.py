"""Empties the keyrings that the kernel keeps for an account. They outlive its processes, and the next holder could read them.

There is no program for it on every board, and no call in Python's library, so a child asks the kernel itself.
"""

from __future__ import annotations

import os
import sys

from .accounts import Account
from .tree import Tree

_KEYCTL_NUMBERS = {"x86_64": 250, "i686": 288, "aarch64": 219, "arm": 311, "riscv64": 219}
_CLEAR = 7
_OF_THE_USER, _OF_ITS_SESSIONS = -4, -5


def has_any(tree: Tree, uid: int) -> bool:
    """Whether the kernel keeps keyrings for it at all."""
    return any(line.lstrip().startswith(f"{uid}:") for line in tree.lines("/proc/key-users"))


def forget(account: Account) -> None:
    """Raises `OSError` if something may be left in them."""
    child = os.fork()
    if not child:
        done = False
        try:
            done = _clear_as(account)
        finally:
            os._exit(0 if done else 1)
    if os.waitpid(child, 0)[1]:
        raise OSError(f"the kernel's keyrings of {account.name} cannot be emptied")


def _clear_as(account: Account) -> bool:
    import ctypes  # a megabyte that goes with the child

    os.setgroups(())
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)
    syscall = ctypes.CDLL(None).syscall
    number = _KEYCTL_NUMBERS[machine()]
    return all(syscall(number, _CLEAR, ring) == 0 for ring in (_OF_THE_USER, _OF_ITS_SESSIONS))


def machine() -> str:
    """What this Python was made for: a system of 32 bits may run on a kernel of 64."""
    kernel = os.uname().machine
    if kernel.startswith("arm") or (kernel == "aarch64" and sys.maxsize < 1 << 32):
        return "arm"
    return "i686" if kernel == "x86_64" and sys.maxsize < 1 << 32 else kernel
