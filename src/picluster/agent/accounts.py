"""The account that holders use on an enforced board, read from the board's own files.

Names from a directory service do not count: an account that is killed and emptied after each lease is the board's own.
"""

from __future__ import annotations

from .records import NamedTuple
from .tree import Tree, whole

LONGEST_FILE = 4 << 20
"""Large sites have long ones."""


class Account(NamedTuple):
    """A line of /etc/passwd, and the groups that list it."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str
    groups: dict[str, int]
    """By name, its own included."""


def find(tree: Tree, name: str) -> Account | None:
    """The account of this name, if the board has it."""
    for words in rows(tree, "/etc/passwd", 7):
        uid, gid = whole(words[2]), whole(words[3])
        if words[0] == name and uid is not None and gid is not None:
            return Account(name, uid, gid, words[5], words[6], _groups(tree, name, gid))
    return None


def rows(tree: Tree, path: str, fields: int) -> list[list[str]]:
    """The lines of a file of fields with colons between them; what has fewer is none."""
    data = tree.data(path, LONGEST_FILE) or b""
    found = (line.split(":") for line in data.decode("utf-8", "replace").split("\n"))
    return [words for words in found if len(words) >= fields]


def _groups(tree: Tree, name: str, gid: int) -> dict[str, int]:
    found = {}
    for words in rows(tree, "/etc/group", 4):
        number = whole(words[2])
        if number is not None and (number == gid or name in words[3].split(",")):
            found[words[0]] = number
    return found
