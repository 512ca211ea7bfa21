"""The lab's fixtures, and a job's folder in which a template finds what its system gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ci.systems import Step, System
from tests.lab.conftest import lab, pool
from tests.lab.desk import all_free, rack
from tests.service import ADMIN, PATIENCE_S, ServiceProcess

__all__ = ["all_free", "lab", "pool", "rack"]

PICLUSTER = Path(sys.executable).with_name("picluster")
PACKAGE = "/srv/my wheels/pi_cluster_service-0.1.0-py3-none-any.whl[run]"
STAND_IN = f"""\
#!/bin/sh
# For `python3 -m venv DIR`: an environment whose pip writes down what it is asked for, and brings the client that is tested.
[ "$1 $2" = '-m venv' ] || exec {sys.executable} "$@"
mkdir -p "$3/bin"
cat >"$3/bin/pip" <<'END'
#!/bin/sh
echo "$@" >"${{0%/*}}/../asked"
ln -sf {PICLUSTER} "${{0%/*}}/picluster"
END
chmod +x "$3/bin/pip"
"""


class Job:
    """One job of a system: its folder, and its steps for what is asked for."""

    def __init__(self, system: System, folder: Path, pool: ServiceProcess, asked: dict[str, str]) -> None:
        self.system, self.folder = system, folder
        secrets = {"PICLUSTER_URL": pool.address, "PICLUSTER_TOKEN": ADMIN, "PICLUSTER_PACKAGE": PACKAGE}
        self.steps = system.steps(system.template, asked, folder, secrets)
        (folder / "bin").mkdir()
        (folder / "bin/python3").write_text(STAND_IN)
        (folder / "bin/python3").chmod(0o755)
        (folder / "temp").mkdir()

    def start(self, step: Step) -> subprocess.Popen[str]:
        """As the system does: a file for a shell, that leads a group of its own."""
        script = self.folder / "temp/step.sh"
        script.write_text(step.script)
        return subprocess.Popen(
            [*self.system.shell, str(script)],
            cwd=self.folder,
            env={
                "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
                "HOME": str(self.folder),
                **step.environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, when: str) -> tuple[int, str]:
        """All steps of that moment, until one fails: its exit code, and what they said."""
        said = ""
        for step in self.steps:
            if step.when == when:
                process = self.start(step)
                said += process.communicate(timeout=2 * PATIENCE_S)[0]
                if process.returncode:
                    return process.returncode, said
        return 0, said

    @property
    def results(self) -> Path:
        """What is published and kept."""
        return Path(next(step for step in self.steps if step.runs).environment["OUT"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a job; its path has a blank, since people have those."""
    made = tmp_path / "work 1"
    made.mkdir()
    return made
