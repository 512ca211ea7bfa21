"""Which keys sshd lets in: one file below /run, that is there while a lease is open. Each line carries the fence.

Keys come from people. A line of sshd's file can say much more than a key (a command, an environment, a second
key behind a line break), so nothing of what they wrote is copied but a known type and its base64.
"""

from __future__ import annotations

import binascii
import os
import re
from collections.abc import Sequence

from . import sshd
from .accounts import Account
from .tree import Tree

TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


class NotAKey(ValueError):
    """It must be one line: TYPE BASE64, and a comment if you like. `ssh-keygen -t ed25519` makes a pair."""


class KeysFile:
    """Of one account."""

    def __init__(self, tree: Tree, user: str) -> None:
        self._folder = tree.at(sshd.KEYS)
        self._path = os.path.join(self._folder, user)

    def write(self, account: Account, text: bytes) -> None:
        """All of it or nothing. The account may read it, and root alone may change it. Raises `OSError`."""
        for folder in (os.path.dirname(self._folder), self._folder):
            _make(folder)
        fresh = os.path.join(self._folder, ".new")  # no account's name begins with a dot
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(handle, "wb") as file:
            os.fchown(handle, 0, account.gid)
            os.fchmod(handle, 0o640)
            file.write(text)
        os.replace(fresh, self._path)

    def read(self) -> bytes | None:
        """What is in force; None if nobody is let in."""
        try:
            with open(self._path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def remove(self) -> None:
        """From now on nobody passes, as another account that was the holders' before neither. Raises `OSError` if they do."""
        try:
            for name in os.listdir(self._folder):
                os.unlink(os.path.join(self._folder, name))
        except FileNotFoundError:
            pass  # there is no folder yet


def _make(folder: str) -> None:
    """Open to be read, whatever the umask: sshd looks for keys as the account itself."""
    try:
        os.mkdir(folder)
        os.chmod(folder, 0o755)  # noqa: S103  there is nothing secret in it
    except FileExistsError:
        pass


def text(fence: int, keys: Sequence[str]) -> bytes:
    """The file's lines, for keys that `read` has passed."""
    return "".join(f'environment="PICLUSTER_FENCE={fence}" {key}\n' for key in keys).encode()


def read(line: str) -> str:
    """`TYPE BASE64` of what somebody gave as their public key. Raises `NotAKey`."""
    words = line.split(" ")
    if len(words) < 2 or words[0] not in TYPES or not line.isprintable():
        raise NotAKey(f"{line[:40]!r} is no public key. {NotAKey.__doc__}")
    name = words[0].encode()
    if not _decoded(words[1]).startswith(len(name).to_bytes(4, "big") + name):
        raise NotAKey(f"{line[:40]!r} is damaged. {NotAKey.__doc__}")
    return f"{words[0]} {words[1]}"


def _decoded(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text) if _BASE64.fullmatch(text) else b""
    except binascii.Error:
        return b""
