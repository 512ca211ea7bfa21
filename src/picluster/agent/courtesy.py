"""What people at the board are told: who has it and until when, and a word before the end.

Where that is not possible, since the agent may not write there, it is left out silently.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable

from .orders import LeaseHere
from .tree import Tree, clean

NOTE = "/run/motd.d/picluster"
"""pam_motd shows what is in this folder at each login."""
WARN_S = (300.0, 60.0)
"""So long before its end a lease that nobody renews is announced to be over, and once more."""
_RENEWED = 0.25
"""A lease with less than this part of its time left has missed renewals, or was never meant to have any."""
LONGEST_WORD = 200


class Courtesy:
    """`show` after each answer, `clear` when nobody has the board."""

    def __init__(self, tree: Tree, ssh_user: str = "", wall: Callable[[], float] = time.time) -> None:
        self._tree = tree
        self._ssh_user = ssh_user
        self._wall = wall
        self._shown: str | None = None
        self._fence = 0
        self._longest_s = 0.0
        self._warned = 0

    def show(self, lease: LeaseHere) -> None:
        if lease.fence != self._fence:
            self._fence, self._longest_s, self._warned = lease.fence, 0.0, 0
        self._write(self._note(lease))
        self._warn(lease)

    def clear(self) -> None:
        self._fence = 0
        if self._shown != "":
            try:
                os.unlink(self._tree.at(NOTE))
            except OSError:
                pass  # not there, or not ours
            self._shown = ""

    def _note(self, lease: LeaseHere) -> str:
        """Holder and job come from people: one line each, without control characters, and short."""
        who, job = clean(lease.holder, LONGEST_WORD), clean(lease.job, LONGEST_WORD)
        until = "until it is given back"
        if lease.expires_in_s is not None:
            end = time.localtime(self._wall() + lease.expires_in_s)
            until = f"until {time.strftime('%a %H:%M', end)} unless renewed"
        return f"This board is leased by {who}{f' for {job}' if job else ''}, {until} (picluster).\n"

    def _write(self, note: str) -> None:
        if note == self._shown:
            return
        self._shown = note
        path = self._tree.at(NOTE)
        fresh = os.path.join(os.path.dirname(path), ".picluster.new")
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(fresh, "w", encoding="utf-8") as file:
                file.write(note)
            os.chmod(fresh, 0o644)
            os.replace(fresh, path)
        except OSError:
            pass  # a board where the agent may not

    def _warn(self, lease: LeaseHere) -> None:
        left_s = lease.expires_in_s
        if left_s is None:
            return
        self._longest_s = max(self._longest_s, left_s)
        due = sum(left_s <= min(limit, self._longest_s * _RENEWED) for limit in WARN_S)
        if due > self._warned:
            end = time.strftime("%H:%M:%S", time.localtime(self._wall() + left_s))
            who = clean(lease.holder, LONGEST_WORD)
            self._say(f"picluster: the lease of {who} ends at {end} unless it is renewed.")
        self._warned = due

    def _say(self, text: str) -> None:
        """To the terminals of the account that holders use, or of everybody; `mesg n` is respected."""
        owner = self._owner()
        for name in self._tree.names("/dev/pts"):
            path = self._tree.at(f"/dev/pts/{name}")
            try:
                terminal = os.open(
                    path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                )
            except OSError:
                continue
            try:
                who = os.fstat(terminal)
                if name.isdigit() and who.st_mode & stat.S_IWGRP and owner in (None, who.st_uid):
                    os.write(terminal, f"\r\n\a{text}\r\n".encode())
            except OSError:
                pass  # hung, or gone
            finally:
                os.close(terminal)

    def _owner(self) -> int | None:
        if not self._ssh_user:
            return None
        import pwd

        try:
            return pwd.getpwnam(self._ssh_user).pw_uid
        except KeyError:
            return -1
