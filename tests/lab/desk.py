"""Somebody at a desk: a shell with `picluster` in it, a home with nothing but a login, and a rack of boards to reach."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.boards import Board, Lab
from tests.service import ADMIN, PATIENCE_S, ServiceProcess, until


@pytest.fixture(scope="module")
def rack(lab: Lab, pool: ServiceProcess) -> list[Board]:
    boards = lab.rack(["pi-a", "pi-b", "pi-c"], pool)
    for board in boards:
        until(lambda board=board: board.machine.get("state") == "free")
    return boards


@pytest.fixture(autouse=True)
def all_free(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a story did, it left no board locked."""
    yield
    if "rack" in request.fixturenames:
        left = live(request.getfixturevalue("pool"))
        for lease in left:
            request.getfixturevalue("pool").send("DELETE", f"/api/v1/leases/{lease['id']}?reason=left")
        for board in request.getfixturevalue("rack"):
            until(lambda board=board: board.machine["state"] == "free")
        assert left == []


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: ServiceProcess) -> Path:
    """A person who has nothing but a login."""
    for name in [name for name in os.environ if name.startswith(("PICLUSTER_", "RPI_", "SSH_"))]:
        monkeypatch.delenv(name)
    for name, value in {
        "HOME": str(tmp_path),
        "PICLUSTER_URL": pool.address,
        "PICLUSTER_TOKEN": ADMIN,
    }.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def start(line: str, **how: Any) -> subprocess.Popen[str]:
    """`picluster LINE`, as somebody's shell starts it."""
    command = [sys.executable, "-m", "picluster", *shlex.split(line)]
    how = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how
    return subprocess.Popen(command, text=True, **how)


def sh(line: str, **how: Any) -> subprocess.CompletedProcess[str]:
    process = start(line, **how)
    out, err = process.communicate(timeout=2 * PATIENCE_S)
    return subprocess.CompletedProcess(line, process.returncode, out, err)


def live(pool: ServiceProcess) -> list[dict[str, Any]]:
    return [one for one in pool.get("/api/v1/leases").json() if one["state"] != "ended"]
