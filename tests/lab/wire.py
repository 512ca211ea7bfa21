"""The lab's network: a namespace of its own, that the tests enter, with a bridge that every board is plugged into.

Whatever a test starts inside (the service, ssh, a proxy) is inside too. So the host's network never sees a packet, two
test processes may use the same addresses, and all of it is gone with the last process in it.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from types import TracebackType
from typing import Self

GATEWAY = "10.77.0.1"
"""Of the bridge: where boards find the service."""
BITS = 24
_NEW_NETWORK = 0x40000000
"""CLONE_NEWNET; Python has a name for it from 3.12 on."""


class Wire:
    """A context manager: the thread that enters it is in the lab's network until it leaves."""

    def __enter__(self) -> Self:
        self._outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        _check(_libc.unshare(_NEW_NETWORK))
        batch(
            "link set lo up",
            "link add name lab type bridge",
            f"addr add {GATEWAY}/{BITS} dev lab",
            "link set lab up",
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _check(_libc.setns(self._outside, _NEW_NETWORK))
        os.close(self._outside)

    def plug(self, boards: dict[str, int]) -> None:
        """A cable from the bridge to each process's namespace, where it is called eth0; here it has the board's name."""
        lines = []
        for name, pid in boards.items():
            lines += [
                f"link add {port(name)} type veth peer name eth0 netns {pid}",
                f"link set {port(name)} master lab up",
            ]
        batch(*lines)

    def pull(self, name: str) -> None:
        """The link goes down at both ends, as with a cable in the hand."""
        batch(f"link set {port(name)} down")

    def push(self, name: str) -> None:
        batch(f"link set {port(name)} up")

    def unplug(self, name: str) -> None:
        """The cable of a board that is off. The kernel may, or may not yet, have thrown it away by itself."""
        subprocess.run(["ip", "link", "delete", port(name)], stderr=subprocess.DEVNULL, check=False)


def port(name: str) -> str:
    """What a board's end of the cable is called at the bridge. The kernel takes 15 characters."""
    return f"p-{name}"[:15]


def batch(*lines: str) -> None:
    """`ip` with each of these lines."""
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


_libc = ctypes.CDLL(None, use_errno=True)


def _check(answer: int) -> None:
    if answer:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
