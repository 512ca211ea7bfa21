"""Where an account may leave files besides its home: places that are known, and those that are found by their modes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from .accounts import Account
from .tree import Tree

EVERYBODYS = ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run/lock", "/run/screen", "/run/user")  # noqa: S108
"""Looked into in any case; other places are found by their modes."""
DEPTH = 4
"""So many folders deep in a file system such a place is looked for, as /srv/lab/shared/results. Each level more costs time
between two holders, and who opens a folder to everybody deep in the system can name it to the cleanup program."""
MOST_FOLDERS = 20_000
_DULL = ("proc", "sys", "usr", "bin", "lib", "sbin", "boot", "etc")
"""At the root: there nobody but root has a place to write, or there are no files."""
_NO_FILES = frozenset(
    "autofs binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts efivarfs fusectl nsfs proc pstore securityfs"
    " sysfs tracefs".split()
)
_REMOTE = ("nfs", "cifs", "smb", "9p", "ceph", "fuse")
"""They can hang, and their servers have a say in whose files are whose."""
SPOOLS = (
    "/var/spool/cron/crontabs",
    "/var/spool/cron/atjobs",
    "/var/spool/cron/atspool",
    "/var/spool/cron",
    "/var/spool/at",
    "/var/mail",
    "/var/spool/mail",
)
"""Where programs with more rights put what belongs to the account."""
_LONGEST_TABLE = 16 << 20


def places(tree: Tree, account: Account) -> list[str]:
    """All of them but the account's home, none inside of another."""
    known = [tree.at(path) for path in (*EVERYBODYS, *SPOOLS) if tree.exists(path)]
    home = os.path.realpath(tree.at(account.home))
    kept: dict[str, int] = {}
    for path, there in _those_there(sorted({*map(os.path.realpath, known), *_open_folders(tree, account)})):
        inside = any(path.startswith(f"{one}/") and device == there.st_dev for one, device in kept.items())
        if not inside and not f"{path}/".startswith(f"{home}/"):
            kept[path] = there.st_dev
    return list(kept)


def _open_folders(tree: Tree, account: Account) -> Iterator[str]:
    """By their modes, down to `DEPTH` below the root of each file system that takes writes.

    It goes into nothing that the account can fill, so that nobody can keep it busy, and nowhere where it cannot go.
    """
    left, table = MOST_FOLDERS, list(mounts(tree))
    mounted = {tree.at(fields[4]) for fields, _, _ in table}
    for folders in _file_systems(tree, table, mounted):
        for _ in range(DEPTH):
            level: list[str] = []
            for path, there in folders:
                if _may(account, there, stat.S_IWOTH) or there.st_uid == account.uid:
                    yield path
                elif _may(account, there, stat.S_IXOTH):
                    level.append(path)
            left -= len(level)
            if left < 0:
                return
            folders = _inside(level, mounted)


def _inside(level: list[str], mounted: set[str]) -> Iterator[tuple[str, os.stat_result]]:
    """The folders in these. What is mounted there is not even looked at: a server that is away would hold us for ever."""
    for folder in level:
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.path not in mounted and entry.is_dir(follow_symlinks=False):
                        yield entry.path, entry.stat(follow_symlinks=False)
        except OSError:
            pass  # gone, or on a card that is failing


def _may(account: Account, there: os.stat_result, right: int) -> bool:
    """Whether everybody has this right, or a group that the account is in."""
    of_group = there.st_mode & right << 3 and there.st_gid in account.groups.values()
    return bool(there.st_mode & right or of_group)


def _file_systems(
    tree: Tree, table: list[tuple[list[str], str, str]], mounted: set[str]
) -> Iterator[Iterator[tuple[str, os.stat_result]]]:
    """Where to begin in each: at its root, or for the system's own a level below, without what is dull."""
    top = (tree.at(name) for name in tree.names("/") if name not in _DULL)
    yield _those_there(path for path in top if path not in mounted)
    for fields, kind, options in table:
        local = kind not in _NO_FILES and not kind.startswith(_REMOTE)
        if local and fields[4] != "/" and "rw" in options.split(","):
            yield _those_there([tree.at(fields[4])])


def _those_there(paths: Iterable[str]) -> Iterator[tuple[str, os.stat_result]]:
    for path in paths:
        try:
            there = os.lstat(path)
        except OSError:
            continue
        if stat.S_ISDIR(there.st_mode):
            yield path, there


def mounts(tree: Tree) -> Iterator[tuple[list[str], str, str]]:
    """Of each the fields of mountinfo up to its dash, the kind of file system, and its options."""
    data = tree.data("/proc/self/mountinfo", _LONGEST_TABLE) or b""
    for line in os.fsdecode(data).split("\n"):
        before, dash, after = line.partition(" - ")
        words = after.split(" ")
        if dash and len(words) > 2:
            yield [_plain(field) for field in before.split(" ")], words[0], words[2]


def _plain(field: str) -> str:
    """Space, tab, line break and backslash are written as octal numbers."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field
