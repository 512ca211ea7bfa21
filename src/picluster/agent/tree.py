"""Reading a board: files that may be missing, unreadable or full of garbage. What cannot be read is None.

Everything is read below a root, so that a test, or a person with a dead board's card in a reader, can point
the agent at another tree. Nothing here raises, and nothing is read without a limit.
"""

from __future__ import annotations

import math
import os

MOST_BYTES = 64 * 1024
"""The longest file of interest, /proc/cpuinfo of a large PC, is shorter."""
DEVICE_TREES = ("/proc/device-tree", "/sys/firmware/devicetree/base")
LONGEST_TEXT = 512
"""What the service keeps of a text that a board reports."""
LARGEST_NUMBER = 2**63 - 1
_READ_ONLY = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Not blocking: a named pipe where a file should be must not stop the agent for ever."""


class Tree:
    """The files below `root`, named by their paths on the board."""

    def __init__(self, root: str | os.PathLike[str] = "/") -> None:
        self.root = os.fspath(root)

    def at(self, path: str) -> str:
        """Where it is on this system."""
        return os.path.join(self.root, path.lstrip("/"))

    def data(self, path: str, most: int = MOST_BYTES) -> bytes | None:
        """Up to `most` bytes of it."""
        try:
            file = os.open(self.at(path), _READ_ONLY)
        except (OSError, ValueError):
            return None
        try:
            parts = []
            while most > 0:
                part = os.read(file, most)
                if not part:
                    break
                parts.append(part)
                most -= len(part)
            return b"".join(parts)
        except OSError:
            return None
        finally:
            os.close(file)

    def lines(self, path: str) -> list[str]:
        """Each line of it as clean text; none when there is no such file."""
        data = self.data(path)
        return [clean(line, MOST_BYTES) for line in data.splitlines()] if data else []

    def device_tree(self, name: str) -> bytes | None:
        """A property of the board's device tree, by either of the two names that kernels give it."""
        for folder in DEVICE_TREES:
            data = self.data(f"{folder}/{name}")
            if data:
                return data
        return None

    def text(self, path: str) -> str | None:
        """All of it as one clean line; None also when nothing is left."""
        data = self.data(path)
        return (clean(data) or None) if data else None

    def number(self, path: str) -> int | None:
        """The whole number that it is."""
        return whole(self.text(path))

    def names(self, folder: str) -> list[str]:
        """What is in a folder, sorted."""
        try:
            return sorted(os.listdir(self.at(folder)))
        except (OSError, ValueError):
            return []

    def exists(self, path: str) -> bool:
        return os.path.exists(self.at(path))

    def link(self, path: str) -> str | None:
        """The last name of what a link leads to."""
        try:
            return os.path.basename(os.readlink(self.at(path))) or None
        except (OSError, ValueError):
            return None


def clean(data: bytes | str, longest: int = LONGEST_TEXT) -> str:
    """Text that every database, log and page can carry: no control characters, no NUL, no half characters."""
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    if not text.isprintable():
        text = "".join(one if one.isprintable() else " " for one in text)
    return text.strip()[:longest].rstrip()


def whole(text: str | None) -> int | None:
    """A whole number that fits 64 bits."""
    if not text or not text.isascii() or len(text) > 20 or not text.lstrip("-").isdigit():
        return None
    try:
        number = int(text)
    except ValueError:
        return None
    return number if -LARGEST_NUMBER <= number <= LARGEST_NUMBER else None


def real(text: str | None) -> float | None:
    """A finite number."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
