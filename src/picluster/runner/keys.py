"""How one gets into a machine: with the lease's own key where the board enforces, else as the user always does.

The key of a lease is made for it and kept in memory: where boards enforce, it opens them until the lease is over, and
nothing else at any time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from picluster.errors import Malformed
from picluster.wire import LeasedMachine

PRIVATE = ("-----BEGIN", "PuTTY-User-Key-File")
"""How a file begins that must never be sent to anybody."""


@dataclass(frozen=True, slots=True)
class Key:
    """An SSH key pair: the private half in OpenSSH's form, the public one as a line."""

    private: bytes = field(repr=False)
    public: str


@dataclass(frozen=True, slots=True)
class Access:
    """What somebody has to be let in with; which of it is used depends on the machine."""

    key: Key | None = None
    """Whose public half the lease carries. Without one, enforced boards too are entered with the user's own keys."""
    user: str = ""
    """To log in as, on boards that do not enforce; else what the machine says."""
    password: str = field(default="", repr=False)
    """For boards that do not enforce, when none of the user's keys is taken."""

    @property
    def public_keys(self) -> tuple[str, ...]:
        """What the lease is to carry."""
        return (self.key.public,) if self.key else ()

    def user_on(self, machine: LeasedMachine) -> str:
        """An enforced board has one account for holders, whoever they are."""
        return machine.ssh_user if machine.mode == "enforced" else self.user or machine.ssh_user

    def key_for(self, machine: LeasedMachine) -> Key | None:
        """The lease's key, where a board has been told of it."""
        return self.key if machine.mode == "enforced" else None


def access_of(environment: Mapping[str, str] = os.environ, user: str = "", key: Key | None = None) -> Access:
    """As flags and environment say: `--user` before `RPI_USERNAME`, and `RPI_PASSWORD`, which is never a flag."""
    return Access(key, user or environment.get("RPI_USERNAME", ""), environment.get("RPI_PASSWORD", ""))


def how_to_know(machine: LeasedMachine) -> str:
    """What to type to get a host key that nobody knows, to check it, and to believe it from now on."""
    port = f"-p {machine.ssh_port} " * (machine.ssh_port != 22)
    return (
        f"`ssh-keyscan {port}{machine.address} > key; ssh-keygen -lf key` shows its fingerprints. If they are those of"
        " `ssh-keygen -lf` for /etc/ssh/ssh_host_*.pub on the board: `cat key >> ~/.ssh/known_hosts`. A board with the"
        " agent tells the pool by itself: `picluster join`."
    )


def public_key(file: Path) -> str:
    """The line of somebody's public key file. Raises `Malformed`, above all for a private one."""
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise Malformed(f"{file}: {_why(problem)}", _WANTED, field="ssh-key") from None
    found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if found and found[0].startswith(PRIVATE):
        raise Malformed(f"{file} is a private key, which nobody else must see.", _WANTED, field="ssh-key")
    if len(found) != 1 or len(found[0].split()) < 2:
        raise Malformed(f"{file} is not one line of the form TYPE KEY [COMMENT].", _WANTED, field="ssh-key")
    return found[0]


_WANTED = "Name the public half, such as ~/.ssh/id_ed25519.pub."


def _why(problem: Exception) -> str:
    return getattr(problem, "strerror", None) or "is not text"
