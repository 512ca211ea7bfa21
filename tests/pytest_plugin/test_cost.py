"""What the plugin costs those who have it installed and do not use it: nothing that can be noticed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.pytest_plugin.sessions import Project
from tests.service import ServiceProcess

HEAVY = {"httpx2", "asyncssh", "rich", "cryptography", "picluster.client.sync", "picluster.wire"}

LOADED = f"""
import sys
def test_loads_nothing():
    assert "picluster.pytest_plugin" in sys.modules
    assert {{name for name in {HEAVY} if name in sys.modules}} == set()
"""

FEW_MODULES = 3
"""`picluster`, the plugin, and one to spare; what else it needs is pytest's already."""


def test_whoever_does_not_use_it_loads_nothing(tmp_path: Path, pool: ServiceProcess) -> None:
    """Not even with a service named, and a fixture called as ours unused."""
    ours = Project(tmp_path, pool)
    ours.write(LOADED)
    code, said = ours.run("--pi=")
    assert code == 0, said


def test_it_loads_what_pytest_has_loaded_anyway() -> None:
    """Python, asked which modules come with the plugin once pytest is there."""
    program = (
        "import pytest, sys, _pytest.terminal, _pytest.capture; before = set(sys.modules)\n"
        "import picluster.pytest_plugin; print(*sorted(set(sys.modules) - before))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert len(said.split()) <= FEW_MODULES, said
