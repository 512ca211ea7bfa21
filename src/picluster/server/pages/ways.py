"""How to use a machine, as lines to copy: at a terminal, from a script, in a test."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from picluster.pool.model import Machine
from picluster.server.pages.rows import ssh_line

PYTHON = """\
from picluster import Client

with Client() as pool, pool.lease("{}", job="try") as lease:
    print(lease.machine.address, lease.fence)"""

PYTEST = """\
def test_it_is_a_64_bit_system(pi):
    assert pi.run("uname -m").stdout.strip() == "aarch64\""""


@dataclass(frozen=True, slots=True)
class Step:
    """Lines to copy, and what they do."""

    about: str
    lines: str
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to use the machine."""

    key: str
    word: str
    steps: tuple[Step, ...]


def ways(machine: Machine) -> list[Way]:
    """The everyday one first."""
    name = shlex.quote(machine.name)
    run = f"picluster run --on {name} --copy build/ -- ./run_tests.sh"
    return [
        Way(
            "ssh",
            "ssh",
            (
                Step("Log in", ssh_line(machine), "$"),
                Step("With the host key checked, by name", f"picluster ssh {name}", "$"),
                Step("Copy, run, bring the results back", run, "$"),
            ),
        ),
        Way("python", "Python", (Step("Lease it for the time of a block", PYTHON.format(machine.name)),)),
        Way(
            "pytest",
            "pytest",
            (
                Step("The board is a fixture", PYTEST),
                Step("Run the tests on this one", f"pytest --pi {name}", "$"),
            ),
        ),
    ]
