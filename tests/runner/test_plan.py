"""What a job is, how `--copy` is read, and which exit code follows from how it went."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from picluster.errors import (
    Held,
    LeaseLost,
    Malformed,
    NotReached,
    PiclusterError,
    Unavailable,
    Unsatisfiable,
    WaitedTooLong,
)
from picluster.pool.model import Mode
from picluster.runner import plan
from picluster.runner.plan import Ending, Job, copy_of, ending_of, exit_code
from picluster.wire import LeasedMachine

THERE = {Path("build"), Path("a:b"), Path("."), Path("deep/file")}


@pytest.mark.parametrize(
    ("text", "folder", "name"),
    [
        ("build", "", "build"),
        ("build/", "", "."),
        (".", "", "."),
        ("deep/file", "", "file"),
        ("build:elsewhere", "", "elsewhere"),
        ("build:to/there", "to", "there"),
        ("build:to/", "to", "build"),
        ("build/:to", "to", "."),
        ("deep/file:/opt/tool", "/opt", "tool"),
        ("deep/file:/tool", "/", "tool"),
        ("a:b", "", "a:b"),
    ],
)
def test_a_copy_is_read_as_rsync_would(text: str, folder: str, name: str) -> None:
    """`build` is the folder, `build/` what is in it; a file whose name has a colon is that file."""
    copy = copy_of(text, THERE.__contains__)
    assert (copy.folder, copy.name) == (folder, name) and copy.source in THERE


@pytest.mark.parametrize("text", ["missing", "missing:there", ":there", ""])
def test_what_is_not_here_is_said_before_anybody_waits(text: str) -> None:
    with pytest.raises(Malformed, match="--copy: there is no"):
        copy_of(text, THERE.__contains__)


@pytest.mark.parametrize(
    ("problem", "ending", "code"),
    [
        (WaitedTooLong(), Ending.WAITED_TOO_LONG, 124),
        (LeaseLost(), Ending.LOST, 75),
        (Held(), Ending.REFUSED, 75),
        (Unsatisfiable(), Ending.REFUSED, 75),
        (Malformed(), Ending.MALFORMED, 2),
        (Unavailable(), Ending.ERROR, 125),
        (NotReached(), Ending.ERROR, 125),
        (PiclusterError(), Ending.ERROR, 125),
    ],
)
def test_what_came_between_has_a_code_of_its_own(problem: PiclusterError, ending: Ending, code: int) -> None:
    assert ending_of(problem) is ending
    assert exit_code(ending, []) == code


def test_the_command_brings_its_own_code_and_the_worst_counts() -> None:
    assert exit_code(Ending.FAILED, [0, 3, 139, 1]) == 139
    assert exit_code(Ending.PASSED, [0, 0]) == 0
    assert exit_code(Ending.STOPPED, [0], signal.SIGTERM) == 143


def test_every_ending_has_a_code() -> None:
    assert set(plan.EXIT_CODES) | {Ending.FAILED, Ending.STOPPED} == set(Ending)


def test_each_machine_is_told_of_all() -> None:
    machines = [
        LeasedMachine(name, address, "pi5", Mode.ENFORCED, True, (), "picluster", 22)
        for name, address in (("pi-a", "10.0.0.1"), ("pi-b", "10.0.0.2"))
    ]
    assert plan.environment(machines, 1, "some-id", 77) == {
        "PICLUSTER_MACHINE": "pi-b",
        "PICLUSTER_MACHINES": "pi-a pi-b",
        "PICLUSTER_ADDRESSES": "10.0.0.1 10.0.0.2",
        "PICLUSTER_RANK": "1",
        "PICLUSTER_LEASE": "some-id",
        "PICLUSTER_FENCE": "77",
    }


def test_a_lease_says_what_for_and_carries_our_key_first() -> None:
    request = Job("model:pi5", "make check", ssh_public_keys=("ssh-rsa ann",)).request("ssh-ed25519 ours")
    assert (request.job, request.ssh_public_keys) == ("run make check", ("ssh-ed25519 ours", "ssh-rsa ann"))


@pytest.mark.parametrize("name", ["../../etc", "a/b", "..", "", ".ssh"])
def test_no_machine_is_called_so_that_its_results_lie_elsewhere(name: str) -> None:
    step = plan.file_name(name)
    assert step and "/" not in step and not step.startswith(".")
