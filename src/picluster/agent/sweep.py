"""Removes what an account left on the board: in its home, in every place where everybody may write, in spools and in memory.

It begins when no process of the account lives, so nothing changes under its hands. Walking and removing is `find`'s
work: it follows no link, leaves the file system it was sent to never, and goes deeper than a path can be long.
What belongs to somebody else stays, also inside a folder of the account; such a folder becomes root's.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from . import kernel_keys
from .accounts import Account
from .places import mounts, places
from .programs import Budget, Ran, run
from .tree import Tree, clean

SKELETONS = ("/etc/picluster/skel", "/etc/skel")
"""What a new home begins with: the first that there is."""
NAMED = (
    "/var/spool/cron/crontabs",
    "/var/spool/cron",
    "/var/lib/systemd/linger",
    "/var/mail",
    "/var/spool/mail",
)
"""Where something may be called after the account, whoever it belongs to."""
_LONGEST_TABLE = 16 << 20
_AT_ONCE = 200
"""So many arguments for one program."""
_MANAGER_S = 20.0
"""For systemd to notice that all of an account is dead already."""


class Ground:
    """Where to sweep, and after whom."""

    def __init__(self, tree: Tree, account: Account) -> None:
        self.tree, self.account = tree, account
        self.places: list[str] = []
        """Folders where the account may write, but for its home; none of them inside of another."""


def sweep(ground: Ground, budget: Budget) -> list[str]:
    """Each step, also after one that failed; what did not work."""
    failed = []
    for step in (_spools, _manager, _mounts, _memory, _survey, _files, _home):
        try:
            step(ground, budget)
        except OSError as problem:
            failed.append(f"{step.__name__.lstrip('_')}: {problem}")
    return failed


def what_is_left(ground: Ground, budget: Budget) -> Iterator[str]:
    """Of the account, in words for the log. Raises `OSError` where that cannot be seen."""
    tree, uid = ground.tree, ground.account.uid
    yield from _named(ground)
    yield from (f"a mount at {path}" for path in fuse_mounts(tree, uid))
    yield from (f"{kind} {number} in memory" for kind, number in segments(tree, uid))
    ran = _find(ground, budget, "-print0", "-quit", errors=False)
    yield from (os.fsdecode(path) for path in ran.said.split(b"\0") if path)
    if ran.code:
        raise OSError(f"find ended with {ran.code}")


# Spools, and what is called after the account


def _spools(ground: Ground, budget: Budget) -> None:
    """First of all, so that nothing is started from them any more."""
    for path in _named(ground):
        os.unlink(path)


def _named(ground: Ground) -> Iterator[str]:
    paths = (ground.tree.at(f"{folder}/{ground.account.name}") for folder in NAMED)
    return (path for path in paths if os.path.lexists(path) and not os.path.isdir(path))


# The account's own service manager


def _manager(ground: Ground, budget: Budget) -> None:
    """Its processes are dead; systemd has to notice, or the next login finds half of it."""
    tree, uid = ground.tree, ground.account.uid
    folder = tree.at(f"/run/user/{uid}")
    if not os.path.lexists(folder):
        return
    if tree.exists("/run/systemd/system"):
        units = (f"user@{uid}.service", f"user-runtime-dir@{uid}.service")
        run(("systemctl", "stop", *units), budget.part(_MANAGER_S))
        # They were killed, which is no failure that a person should look at.
        run(("systemctl", "reset-failed", *units), budget.part(_MANAGER_S))
    if os.path.ismount(folder):
        _unmount([folder], budget)


# Mounts


def _mounts(ground: Ground, budget: Budget) -> None:
    """Again and again: one may hide another."""
    before: list[str] = []
    found = fuse_mounts(ground.tree, ground.account.uid)
    while found and found != before:
        _unmount(found[::-1], budget)
        before, found = found, fuse_mounts(ground.tree, ground.account.uid)


def fuse_mounts(tree: Tree, uid: int) -> list[str]:
    """What everybody may mount with the help of `fusermount`; it says in its options who did."""
    found = []
    for fields, kind, options in mounts(tree):
        if kind.startswith("fuse") and f"user_id={uid}" in options.split(","):
            found.append(fields[4])
    return found


def _unmount(paths: list[str], budget: Budget) -> None:
    """Lazily, and without a look at what is mounted: who serves it may be dead or malicious."""
    for start in range(0, len(paths), _AT_ONCE):
        run(("umount", "-l", "-i", "-c", "--", *paths[start : start + _AT_ONCE]), budget)


# Memory that outlives its processes


def _memory(ground: Ground, budget: Budget) -> None:
    if kernel_keys.has_any(ground.tree, ground.account.uid):
        kernel_keys.forget(ground.account)
    found = [f"--{kind}-id={number}" for kind, number in segments(ground.tree, ground.account.uid)]
    for start in range(0, len(found), _AT_ONCE):
        run(("ipcrm", *found[start : start + _AT_ONCE]), budget)


def segments(tree: Tree, uid: int) -> list[tuple[str, int]]:
    """System V shared memory, queues and semaphores that it owns or has made."""
    found = []
    for file, kind in (("shm", "shmem"), ("msg", "queue"), ("sem", "semaphore")):
        table = (tree.data(f"/proc/sysvipc/{file}", _LONGEST_TABLE) or b"").splitlines()
        heads = table[0].split() if table else []
        for row in table[1:]:
            columns = dict(zip(heads, row.split()))
            if str(uid).encode() in (columns.get(b"uid"), columns.get(b"cuid")):
                found.append((kind, int(columns.get(file.encode() + b"id", b"0"))))
    return found


# Files


_OF = ("-ignore_readdir_race", "-xdev", "-mindepth", "1", "-user")
"""Others work on meanwhile, and their files come and go."""
_TO_ROOT = ("-type", "d", "-execdir", "chown", "-h", "0:0", "{}", ";", "-execdir", "chmod", "0755", "{}", ";")


def _files(ground: Ground, budget: Budget) -> None:
    """All of the account's, in all places. Where a folder is not empty then, somebody else has something in it."""
    if _find(ground, budget, "-delete").code:
        _check(_find(ground, budget, *_TO_ROOT))


def _find(ground: Ground, budget: Budget, *what: str, errors: bool = True) -> Ran:
    if not ground.places:
        return Ran(0, b"")  # told no place, it would look into the one where the agent was started
    return run(("find", *ground.places, *_OF, str(ground.account.uid), *what), budget, errors=errors)


def _check(ran: Ran) -> None:
    if ran.code:
        raise OSError(clean(ran.said[-200:]) or f"it ended with {ran.code}")


def _survey(ground: Ground, budget: Budget) -> None:
    """Now that nothing comes or goes with the account's logins any more."""
    ground.places = places(ground.tree, ground.account)


# The home


def _home(ground: Ground, budget: Budget) -> None:
    """Made anew, so that no mode, attribute or access list of the old one is left either."""
    tree, account = ground.tree, ground.account
    home = tree.at(account.home)
    if os.path.lexists(home):
        _check(run(("find", home, "-xdev", "-mindepth", "1", "-delete"), budget))
    if os.path.ismount(home):
        for name in os.listxattr(home):
            os.removexattr(home, name)
    else:
        if os.path.lexists(home):
            os.rmdir(home)
        os.mkdir(home, 0o700)
    os.chown(home, account.uid, account.gid)
    os.chmod(home, 0o700)
    skeleton = next((tree.at(path) for path in SKELETONS if tree.exists(path)), None)
    if skeleton:
        _copy(skeleton, home, account)


def _copy(skeleton: str, home: str, account: Account) -> None:
    for folder, folders, files in os.walk(skeleton):
        there = os.path.join(home, os.path.relpath(folder, skeleton))
        for name in (*folders, *files):
            _copy_one(os.path.join(folder, name), os.path.join(there, name))
            os.lchown(os.path.join(there, name), account.uid, account.gid)


def _copy_one(source: str, target: str) -> None:
    mode = os.lstat(source).st_mode
    if stat.S_ISLNK(mode):
        os.symlink(os.readlink(source), target)
    elif stat.S_ISDIR(mode):
        os.mkdir(target, mode & 0o777)
    elif stat.S_ISREG(mode):
        with open(source, "rb") as old, open(target, "xb") as new:
            os.fchmod(new.fileno(), mode & 0o777)
            while part := old.read(65_536):
                new.write(part)
