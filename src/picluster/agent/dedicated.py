"""Whether an account is nobody's but the holder's, and can do no more than a holder may.

That is not only what enforcing needs. The account will be killed and its home emptied, and a person whose name
somebody wrote into the settings must not be hit.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from . import accounts
from .accounts import Account
from .programs import Budget, run, where
from .records import NamedTuple
from .settings import CONFIG
from .tree import Tree, clean, whole

POWERFUL = frozenset(
    "root adm admin disk docker incus-admin kmem kvm libvirt lxd podman shadow staff sudo wheel".split()
)
"""Groups whose members can become root, or leave something where root or the next holder runs it."""
FIRST_UID, LAST_UID = 1000, 60_000
"""Of people, on every distribution; below are system services, above are systemd's dynamic users and `nobody`."""
_NO_SHELLS = ("nologin", "false")


class Finding(NamedTuple):
    """One thing that is required."""

    what: str
    wrong: str
    """How it is instead; empty if it is right."""
    do: str

    def __str__(self) -> str:
        return f"not ok  {self.wrong}\n        {self.do}" if self.wrong else f"ok      {self.what}"


def findings(tree: Tree, account: Account, budget: Budget) -> Iterator[Finding]:
    yield _is_for_this_alone(tree, account)
    yield _has_no_password(tree, account)
    yield _has_no_power(account)
    yield _has_no_other_ids(tree, account)
    yield _has_a_home(tree, account)
    yield _has_a_shell(tree, account)
    yield _has_no_sudo(account, budget)


def _is_for_this_alone(tree: Tree, account: Account) -> Finding:
    shared = [words[0] for words in accounts.rows(tree, "/etc/passwd", 7) if whole(words[2]) == account.uid]
    wrong = ""
    if not FIRST_UID <= account.uid <= LAST_UID:
        wrong = f"{account.name} has the uid {account.uid}, which is a system's"
    elif len(shared) > 1:
        wrong = f"the uid {account.uid} is shared by {' and '.join(shared)}"
    do = f"name an account with a uid of its own, from {FIRST_UID} to {LAST_UID}, in {CONFIG}"
    return Finding(f"{account.name} is an account of its own", wrong, do)


def _has_no_password(tree: Tree, account: Account) -> Finding:
    kept = [words[1] for words in accounts.rows(tree, "/etc/shadow", 2) if words[0] == account.name]
    wrong = (
        "" if kept and all(one.startswith(("!", "*")) for one in kept) else f"{account.name} has a password"
    )
    return Finding(f"{account.name} has no password", wrong, f"usermod -p '*' {account.name}")


def _has_no_power(account: Account) -> Finding:
    power = sorted(name for name, gid in account.groups.items() if name in POWERFUL or gid == 0)
    wrong = f"{account.name} is in the group {', '.join(power)}" if power else ""
    do = " && ".join(f"gpasswd -d {account.name} {name}" for name in power)
    return Finding(f"{account.name} is in no powerful group", wrong, do)


def _has_no_other_ids(tree: Tree, account: Account) -> Finding:
    """Processes with ids of such a range would outlive those of the account."""
    names = (account.name, str(account.uid))
    files = [
        file
        for file in ("/etc/subuid", "/etc/subgid")
        if any(words[0] in names for words in accounts.rows(tree, file, 3))
    ]
    wrong = f"{account.name} has ids in {' and '.join(files)}" if files else ""
    do = " && ".join(f"sed -i '/^{account.name}:/d;/^{account.uid}:/d' {file}" for file in files)
    return Finding(f"{account.name} has no further uids and gids", wrong, do)


def _has_a_home(tree: Tree, account: Account) -> Finding:
    """It will be emptied."""
    home = os.path.normpath(account.home)
    others = [(words[0], os.path.normpath(words[5])) for words in accounts.rows(tree, "/etc/passwd", 7)]
    inside = [name for name, other in others if name != account.name and f"{other}/".startswith(f"{home}/")]
    wrong = ""
    if not home.startswith("/") or home.count("/") < 2:
        wrong = f"{account.home} cannot be a home that is emptied"
    elif inside:
        wrong = f"{home} is also the home of {', '.join(inside)}"
    elif not belongs_to_root(tree, os.path.dirname(home)):
        wrong = f"others than root can write where {home} is"
    elif not _is_of(account.uid, tree.at(home)):
        wrong = f"{home} does not belong to {account.name}"
    do = f"usermod -d /home/{account.name} {account.name}, and let it belong to {account.name} if it is there"
    return Finding(f"{home} is a home of its own", wrong, do)


def _is_of(uid: int, path: str) -> bool:
    """If it is there; it will be made."""
    try:
        there = os.lstat(path)
    except OSError:
        return True
    return stat.S_ISDIR(there.st_mode) and there.st_uid == uid


def belongs_to_root(tree: Tree, folder: str) -> bool:
    """So that nobody can put something else in the place of what is in it."""
    while True:
        try:
            there = os.lstat(tree.at(folder))
        except OSError:
            return False
        if not stat.S_ISDIR(there.st_mode) or there.st_uid or there.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return False
        if folder == "/":
            return True
        folder = os.path.dirname(folder)


def _has_a_shell(tree: Tree, account: Account) -> Finding:
    shell = account.shell or "/bin/sh"
    usable = os.path.basename(shell) not in _NO_SHELLS and os.access(tree.at(shell), os.X_OK)
    wrong = "" if usable else f"nobody can work with the shell {shell} of {account.name}"
    return Finding(f"{account.name} has a shell", wrong, f"usermod -s /bin/bash {account.name}")


def _has_no_sudo(account: Account, budget: Budget) -> Finding:
    wrong = ""
    if where("sudo"):
        said = clean(run(("sudo", "-n", "-l", "-U", account.name), budget).said)
        if f"User {account.name} is not allowed to run sudo" not in said:
            wrong = f"sudo may give {account.name} something ({said[-100:] or 'it does not answer'})"
    do = f"take it out of /etc/sudoers and /etc/sudoers.d; see sudo -l -U {account.name}"
    return Finding(f"sudo gives {account.name} nothing", wrong, do)
