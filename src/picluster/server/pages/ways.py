"""How to use a machine, as lines to copy: at a terminal, from a script, in a test, in CI."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

from picluster import __version__
from picluster.pool.model import Machine
from picluster.server.pages.rows import ssh_line

PYTHON = """\
from picluster import Client

with Client() as pool, pool.lease("{}", job="try") as lease:
    print(lease.machine.address, lease.fence)"""

PYTEST = """\
def test_it_is_a_64_bit_system(pi):
    assert pi.run("uname -m").stdout.strip() == "aarch64\""""

AZURE = """\
- template: ci/azure-pipelines/run.yml@picluster
  parameters:
    machines: {name}
    command: ./run_tests.sh
    copy: build/
    fetch: results/*"""

GITHUB = """\
- uses: OWNER/picluster/ci/github@v{version}
  with:
    url: ${{{{ vars.PICLUSTER_URL }}}}
    token: ${{{{ secrets.PICLUSTER_TOKEN }}}}
    machines: {name}
    command: ./run_tests.sh
    copy: build/
    fetch: results/*"""


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


def ways(machine: Machine, mine: bool) -> list[Way]:
    """The everyday one first. `mine`: whoever looks has it leased, and would wait for themselves if they leased it again."""
    name = shlex.quote(machine.name)
    run = f"picluster run --on {name} --copy build/ -- ./run_tests.sh"
    before = (_give_back(name),) if mine else ()
    return [
        Way(
            "ssh",
            "ssh",
            (
                Step("Log in", ssh_line(machine), "$"),
                Step("With the host key checked, by name", f"picluster ssh {name}", "$"),
                Step("Copy, run, bring the results back", _with_ones_lease(name) if mine else run, "$"),
            ),
        ),
        Way(
            "python",
            "Python",
            (*before, Step("Lease it for the time of a block", PYTHON.format(machine.name))),
        ),
        Way(
            "pytest",
            "pytest",
            (
                *before,
                Step("The board is a fixture", PYTEST),
                Step("Run the tests on this one", f"pytest --pi {name}", "$"),
            ),
        ),
        Way("ci", "CI", _in_ci(machine.name)),
    ]


def _in_ci(name: str) -> tuple[Step, ...]:
    """A job waits its turn, so also for who has the machine now. JSON's strings are YAML's."""
    known = {"name": json.dumps(name, ensure_ascii=False), "version": __version__}
    return (
        Step("A step of Azure Pipelines (docs/ci-azure.md)", AZURE.format(**known)),
        Step("A step of GitHub Actions (docs/ci-github.md)", GITHUB.format(**known)),
    )


def _give_back(name: str) -> Step:
    return Step("It leases the board itself: give yours back first", f"picluster unlock {name}", "$")


def _with_ones_lease(name: str) -> str:
    """What `run` does, in steps that use the lease one has."""
    steps = (
        f"picluster cp build/ {name}:",
        f"picluster exec {name} -- 'cd build && ./run_tests.sh'",
        f"picluster cp {name}:build/results.xml .",
    )
    return "\n".join(steps)
