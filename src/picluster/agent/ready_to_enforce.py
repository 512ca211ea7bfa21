"""Whether this board can keep everybody out but the holder. Until each of these is so, it says *advisory*.

Asking `sudo` and `sshd` takes a while, so they are asked again only when a file that could change the answer was touched.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Iterator

from . import accounts, dedicated, sshd
from .accounts import Account
from .dedicated import Finding, belongs_to_root
from .programs import Budget, run, where
from .settings import Enforcing
from .tree import Tree, clean, real

LIMIT_S = 20.0
"""For `sudo` and `sshd` together. Where the names of hosts cannot be resolved, sudo waits for that."""
_PROGRAMS = ("find", "umount", "ipcrm")
_WATCHED = (
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/subuid",
    "/etc/subgid",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ssh/sshd_config",
    "/etc/ssh/sshd_config.d",
    "/run/sshd.pid",
)
"""Where nothing has changed, nothing is asked again: opening must be quick."""


class Readiness:
    """What was found, asked again only when one of the files that say so was touched."""

    def __init__(self, tree: Tree, told: Enforcing) -> None:
        self._tree, self._told = tree, told
        self._seen: object = None
        self.account: Account | None = None
        """Whose processes may be killed and whose files removed; None unless everything is right."""
        self.trouble = ""
        """Why the board cannot enforce, and what to do."""

    def look(self, alive: Callable[[], None] = lambda: None) -> Account | None:
        """The account, if all is right."""
        seen = _fingerprint(self._tree, self._told)
        if seen != self._seen:
            self.trouble = self._ask(Budget(LIMIT_S, alive))
            self.account = None if self.trouble else accounts.find(self._tree, self._told.user)
            self._seen = None if self.trouble else seen  # it may be put right where no file shows it
        return self.account

    def _ask(self, budget: Budget) -> str:
        try:
            found = findings(self._tree, self._told, budget)
        except OSError as problem:
            return clean(f"what it requires cannot be checked now: {problem}")
        wrong = next((one for one in found if one.wrong), None)
        return clean(f"{wrong.wrong}: {wrong.do}") if wrong else ""


def findings(tree: Tree, told: Enforcing, budget: Budget) -> list[Finding]:
    """All that is required, in the order in which a person would put it right."""
    account = accounts.find(tree, told.user)
    found = [_is_root(), _is_here(tree), *_programs()]
    if account is None:
        make = f"useradd -m -p '*' -s /bin/bash {told.user}"
        return [*found, Finding("", f"there is no account {told.user} in /etc/passwd", make)]
    return [
        *found,
        *dedicated.findings(tree, account, budget),
        *_sshd(tree, told, budget),
        *([_hook(tree, told.cleanup)] if told.cleanup else []),
    ]


def _is_root() -> Finding:
    wrong = "" if os.geteuid() == 0 else "the agent does not run as root"
    return Finding("the agent runs as root", wrong, "only root can end another account's processes")


def _is_here(tree: Tree) -> Finding:
    wrong = "" if tree.root == "/" else f"the agent reads the files of {tree.root}"
    return Finding("the agent is on the board itself", wrong, "start it without --root")


def _programs() -> Iterator[Finding]:
    for name in _PROGRAMS:
        wrong = "" if where(name) else f"there is no {name}"
        yield Finding(f"there is {name}", wrong, "install findutils, mount and util-linux")


def _sshd(tree: Tree, told: Enforcing, budget: Budget) -> Iterator[Finding]:
    write = f"picluster-agent --print-sshd-config --ssh-user {told.user} > {sshd.DROP_IN}"
    reload = "systemctl reload ssh"
    if not where("sshd"):
        yield Finding("", "there is no sshd", "install openssh-server")
        return
    try:
        os.makedirs(_PRIVILEGE_SEPARATION, mode=0o755, exist_ok=True)
    except OSError:
        pass  # then sshd says so
    connection = f"user={told.user},host=board,addr=192.0.2.1,laddr=192.0.2.2,lport={told.ssh_port}"
    ran = run(("sshd", "-T", "-C", connection), budget)
    said = ran.said.decode("utf-8", "replace")
    if ran.code:
        last = clean(said[-200:])
        yield Finding("", f"sshd cannot read its settings ({last})", "see what sshd -t says")
        return
    wrong = "; ".join(sshd.wrong(said))
    yield Finding(
        f"sshd lets {told.user} in by {sshd.KEYS}/{told.user} alone",
        f"sshd does not keep {told.user} to its keys file: {wrong}" if wrong else "",
        f"{write} && {reload}; nothing before it may say otherwise",
    )
    stale = _read_before_it_changed(tree, said)
    wrong = f"sshd has not read {stale} since it was changed" if stale else ""
    yield Finding("sshd has read its settings", wrong, reload)


_PRIVILEGE_SEPARATION = "/run/sshd"
"""Without it sshd prints nothing; where systemd starts it by socket, it is not always there."""


def _read_before_it_changed(tree: Tree, printed: str) -> str:
    """The file of sshd's settings that is newer than its last start or reload, at which it writes its pid anew.

    A board without a clock may have started it at a strange time: a file that is older than the boot was read.
    """
    found = re.search(r"^pidfile (/.*)$", printed, re.MULTILINE)
    started = _changed(tree.at(found[1])) if found else None
    up_s = real((tree.text("/proc/uptime") or "").partition(" ")[0])
    if started is None or up_s is None:
        return ""  # it is started for each connection, and reads everything each time
    booted = time.time() - up_s
    files = ["/etc/ssh/sshd_config"]
    files += [f"/etc/ssh/sshd_config.d/{name}" for name in tree.names("/etc/ssh/sshd_config.d")]
    newer = [file for file in files if (_changed(tree.at(file)) or 0) > max(started, booted)]
    return newer[0] if newer else ""


def _changed(path: str) -> float | None:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return None


def _hook(tree: Tree, path: str) -> Finding:
    wrong = "" if _is_roots_alone(tree, path) else f"{path} is not a program that root alone can change"
    return Finding(
        f"{path} is root's", wrong, f"chown root:root {path} && chmod 755 {path}, in a folder of root's"
    )


def _is_roots_alone(tree: Tree, path: str) -> bool:
    try:
        there = os.lstat(tree.at(path))
    except OSError:
        return False
    others = there.st_uid or there.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    program = stat.S_ISREG(there.st_mode) and there.st_mode & stat.S_IXUSR
    return bool(program) and not others and belongs_to_root(tree, os.path.dirname(path))


def _fingerprint(tree: Tree, told: Enforcing) -> object:
    """Changes when one of the files does. Not the time of the content but of the change, which nobody can set."""
    paths = [*_WATCHED, *([told.cleanup] if told.cleanup else [])]
    for path in _WATCHED:
        if path.endswith(".d"):
            paths += [f"{path}/{name}" for name in tree.names(path)]
    return [_identity(tree.at(path)) for path in paths]


def _identity(path: str) -> tuple[str, int, int]:
    try:
        there = os.stat(path)
    except OSError:
        return path, 0, 0
    return path, there.st_ino, there.st_ctime_ns


def show(told: Enforcing, tree: Tree) -> int:
    """Print how the board stands; the exit code."""
    found = findings(tree, told, Budget(LIMIT_S))
    for one in found:
        print(one)
    wrong = sum(bool(one.wrong) for one in found)
    print(
        f"{wrong} not ok: the board would be advisory"
        if wrong
        else f"This board can enforce, with {told.user}"
    )
    return 1 if wrong else 0
