"""Ends an account: every process of it, and every connection that is just logging in as it. Nothing escapes by forking.

A child that has become the account and signals everybody it may reaches all of them at once: the kernel forks
nothing meanwhile. What it cannot reach are sshd's own processes, which are root's: they are known by their titles.
"""

from __future__ import annotations

import os
import re
import signal
import time

from .accounts import Account
from .programs import Budget, pids

GRACE_S = 0.05
"""A connection whose session was killed ends by itself, and then PAM and the list of who is logged in stay right."""
_QUIET = 2
"""So many looks in a row must find nothing: one is not atomic, and who just passed the check of the key may be in it."""
_SHORTEST_S, _LONGEST_S = 0.001, 0.02
_ROOT = 0
_SSHD = re.compile(r"sshd(-session|-auth)?( \(deleted\))?")
_UIDS = re.compile(rb"^Uid:\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)$", re.MULTILINE)
_DEAD = re.compile(rb"^State:\s+[ZX].*^Threads:\s+[01]$", re.MULTILINE | re.DOTALL)
"""The first thread of a process may be a zombie, and the others live."""


def end_all(account: Account, budget: Budget) -> bool:
    """Whether nothing is left; else the time is over."""
    began, pause_s, quiet = time.monotonic(), _SHORTEST_S, 0
    kill_as(account)
    while quiet < _QUIET:
        found = living(account.uid)
        connections = connecting(account.name)
        quiet = 0 if found or connections else quiet + 1
        if not budget.left_s:
            return False
        if found:
            _kill(found)
            kill_as(account)
        if time.monotonic() - began > GRACE_S:
            _kill(connections)
        if found or connections:
            budget.pause(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_S)
    return True


def living(uid: int) -> list[int]:
    """Processes that run as it in any way: really, effectively, by what they saved, or towards files."""
    found, wanted = [], str(uid).encode()
    for pid in pids():
        status = _status(pid)
        uids = _UIDS.search(status) if wanted in status else None
        if uids and wanted in uids.groups() and not _DEAD.search(status):
            found.append(pid)
    return found


def connecting(user: str) -> list[int]:
    """Root's processes of sshd that serve this account, or are just checking its key."""
    title = re.compile(rb"sshd(-session|-auth)?: " + re.escape(user.encode()) + rb"([ @\[\0]|$)")
    found = []
    for pid in pids():
        try:
            with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:
                if title.match(file.read(256)) and _SSHD.fullmatch(
                    os.path.basename(os.readlink(f"/proc/{pid}/exe"))
                ):
                    found.append(pid)
        except OSError:
            pass  # gone already
    return found


def kill_as(account: Account) -> None:
    """Everything that this account may kill, in one call.

    A process of the account may kill the child first, in the moment between its two calls: the caller looks and repeats.
    """
    try:
        child = os.fork()
    except OSError:
        _kill_one_by_one(account)
        return
    if not child:
        try:
            _become_and_kill(account)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def _become_and_kill(account: Account) -> None:
    os.setgroups(())
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)
    try:
        os.kill(1, 0)
    except PermissionError:
        os.kill(-1, signal.SIGKILL)
    # If it may signal process 1, the capabilities of root stayed with it, and it would kill the whole board.


def _kill_one_by_one(account: Account) -> None:
    """It has used up all the processes that there can be. While they are stopped, none takes the place of a killed one."""
    _kill(living(account.uid), signal.SIGSTOP)
    _kill(living(account.uid), signal.SIGSTOP)
    _kill(living(account.uid))


def _kill(processes: list[int], number: int = signal.SIGKILL) -> None:
    for pid in processes:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass  # gone already


def _status(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
            return file.read(4096)
    except OSError:
        return b""  # gone already
