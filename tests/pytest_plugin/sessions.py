"""Runs of pytest as somebody's project has them: in a folder of their own, in a process of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from textwrap import dedent
from typing import Any
from xml.etree import ElementTree

from tests.service import ADMIN, PATIENCE_S, ServiceProcess

INI = """\
[pytest]
addopts = -p no:cacheprovider -p no:schemathesis -p no:hypothesispytest
"""
"""Nothing of what only our own tests use, which takes a second to load."""


class Project:
    """Somebody's tests, and the boards that they may have."""

    def __init__(self, folder: Path, pool: ServiceProcess, boards: Sequence[str] = ()) -> None:
        self.folder, self.pool, self.boards = folder, pool, list(boards)
        self._runs: list[subprocess.Popen[str]] = []
        self.only = f"--pi=name:({'|'.join(boards)})"
        self._environment = {**os.environ, "PICLUSTER_URL": pool.address, "PICLUSTER_TOKEN": ADMIN}
        self.ini("")

    def ini(self, lines: str) -> None:
        (self.folder / "pytest.ini").write_text(INI + dedent(lines))

    def write(self, tests: str, name: str = "test_it.py") -> None:
        (self.folder / name).write_text(dedent(tests))

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """A run that goes on meanwhile, on boards of this project."""
        run = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-v", self.only, *arguments],
            cwd=self.folder,
            env=self._environment | environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._runs.append(run)
        return run

    def end(self) -> None:
        """No run outlives its test, however that ends; nor do the workers of one."""
        for run in self._runs:
            with run, suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)

    def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """The exit code, and all that it said."""
        process = self.start(*arguments, **environment)
        said, _ = process.communicate(timeout=2 * PATIENCE_S)
        return process.returncode, said

    def leases(self, state: str = "") -> list[dict[str, Any]]:
        """That the pool remembers of these boards, oldest first."""
        found: list[dict[str, Any]] = self.pool.get("/api/v1/leases" + f"?state={state}" * bool(state)).json()
        return [lease for lease in found if any(name in lease["selector"] for name in self.boards)]

    def properties(self, test: str) -> dict[str, str]:
        """Of one test in the JUnit file `out.xml`."""
        [case] = ElementTree.parse(self.folder / "out.xml").iterfind(f".//testcase[@name='{test}']")
        return {one.attrib["name"]: one.attrib["value"] for one in case.iterfind(".//property")}
