"""The scripts of each template, with the environment of its system, on a board: it goes well, it fails, it is cancelled."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import uuid
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.ci.conftest import PACKAGE, Job
from tests.ci.systems import ACTION, ALL, BY_NAME, CANCELLED, EXAMPLES, GOOD, Step, System, on, to_its_process
from tests.lab.boards import Board
from tests.lab.desk import live
from tests.lab.runs import GIVEN_BACK_S, free_within, running_on
from tests.service import PATIENCE_S, ServiceProcess, until

pytestmark = [pytest.mark.needs_root, pytest.mark.xdist_group("lab-ci")]
BUSY = "echo begun; sleep 4321 & sleep 4321; wait"
LONG_TTL = "--ttl 10m"
"""So that nobody is helped by an end that would come by itself."""


def begun(job: Job) -> subprocess.Popen[str]:
    """The job's command, once it is on the board and says so."""
    for step in [step for step in job.steps if step.when == GOOD and not step.runs]:
        job.start(step).communicate()
    process = job.start(next(step for step in job.steps if step.runs))
    assert process.stdout
    assert any(line == "begun\n" for line in process.stdout), f"it ended with {process.wait()}"
    return process


@ALL
def test_the_example_is_built_tested_and_its_results_kept(
    system: System, pool: ServiceProcess, rack: list[Board], folder: Path
) -> None:
    """As its pipeline asks for: the client is the one that is pinned, and whoever looks sees which job has the board."""
    shutil.copytree(EXAMPLES, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("build", "out"))
    job = Job(system, folder, pool, system.asked(system.example))
    subprocess.run(["./build.sh"], cwd=folder, check=True)
    code, said = job.run(GOOD)
    assert (code, "results/digits.txt: OK" in said) == (0, True), said
    report = ElementTree.parse(job.results / "junit.xml")
    assert report.find(".//testcase") is not None and report.find(".//failure") is None
    assert list(job.results.rglob("digits.txt"))
    [asked] = folder.rglob("asked")
    assert asked.read_text() == f"install --quiet {ACTION if system.name == 'github' else PACKAGE}\n"
    last = pool.get("/api/v1/leases?state=ended").json()[-1]
    assert "nightly" in last["job"] or "boards" in last["job"]


@on("azure", "jenkins")  # one for each shell
def test_a_failure_is_the_jobs_and_leaves_its_report(
    system: System, pool: ServiceProcess, rack: list[Board], folder: Path
) -> None:
    """Several paths and patterns, with blanks and stars in them, come to the board and back as they are; its $ are its own."""
    (folder / "my bits").mkdir()
    (folder / "my bits/one").write_text("1")
    (folder / "two").write_text("2")
    command = "cat 'my bits/one' two >all.txt; echo \"$PICLUSTER_MACHINE\" >'which one.log'; exit 7"
    asked = {"machines": "model:pi5", "command": command, "options": "--timeout 60s"}
    job = Job(system, folder, pool, {**asked, "copy": "my bits\ntwo\n", "fetch": "*.txt\nwhich one.log"})
    code, said = job.run(GOOD)
    assert code == 7, said
    assert ElementTree.parse(job.results / "junit.xml").find(".//failure") is not None
    assert (job.results / "files/all.txt").read_text() == "12"
    assert (job.results / "files/which one.log").read_text().strip() in {board.name for board in rack}


@ALL
def test_cancelled_in_the_middle_it_gives_back(
    system: System, pool: ServiceProcess, rack: list[Board], folder: Path
) -> None:
    """The run cleans up by itself, on the signal that its system sends; the step for what is left finds nothing."""
    asked = {"machines": f"name:{rack[0].name}", "command": BUSY, "options": LONG_TTL}
    job = Job(system, folder, pool, asked)
    process = begun(job)
    system.cancel(process)
    process.communicate(timeout=PATIENCE_S)
    assert live(pool) == []
    code, said = job.run(CANCELLED)
    assert code == 0 and "Nothing is locked for this job." in said
    free_within(rack[0], GIVEN_BACK_S)
    assert running_on(rack[0], "sleep 4321") == []
    assert (job.results / "junit.xml").exists()


@on("azure", "gitlab")  # the others' step is Azure's
def test_what_was_killed_is_given_back_by_the_next_step(
    system: System, pool: ServiceProcess, rack: list[Board], folder: Path
) -> None:
    """A run that got no time to clean up. What others have, under whatever job, stays theirs."""
    other = rack[1]
    ours = {"selector": f"name:{other.name}", "job": "another job", "ttl_s": 600}
    lease = f"/api/v1/leases/{uuid.uuid4()}"
    job = Job(
        system, folder, pool, {"machines": f"name:{rack[0].name}", "command": BUSY, "options": LONG_TTL}
    )
    process = begun(job)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert pool.send("PUT", lease, ours).json()["state"] == "held"
    code, said = job.run(CANCELLED)
    assert code == 0 and f"Given back: {rack[0].name}." in said
    assert [one["job"] for one in live(pool)] == ["another job"]
    pool.send("DELETE", lease)
    free_within(rack[0], GIVEN_BACK_S)


def test_a_shell_in_between_would_keep_the_signal_to_itself(
    pool: ServiceProcess, rack: list[Board], folder: Path
) -> None:
    """Why the scripts end with `exec`: systems tell the shell alone, and it waits for its child."""
    job = Job(
        BY_NAME["github"], folder, pool, {"machines": f"name:{rack[0].name}", "command": BUSY, "options": ""}
    )
    job.steps = [
        Step(f"{step.script.replace('exec ', '')}\necho not exec", step.environment, step.when)
        for step in job.steps
    ]
    process = begun(job)
    to_its_process(signal.SIGINT)(process)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    assert len(live(pool)) == 1
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=PATIENCE_S)
    until(lambda: live(pool) == [])
