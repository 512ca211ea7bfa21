"""The service's unit: systemd has nothing to say about it, and what it allows is as little as it was."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from picluster.server.serve import FINISH_S, OPEN_FILES, WRONG_SETTING_EXIT
from picluster.store.sqlite import DAMAGED_EXIT

ROOT = Path(__file__).parents[2]
UNIT = (ROOT / "deploy/systemd/picluster.service").read_text()
EXPOSURE = 1.1
"""At most, of 10, as `systemd-analyze security` counts; in docs/hosting.md, too."""

needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="needs the Debian package systemd"
)


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """With a program that is here: systemd looks for it."""
    file = tmp_path / "picluster.service"
    file.write_text(UNIT.replace("/opt/picluster/bin/picluster", sys.executable))
    return file


@needs_systemd
def test_systemd_has_nothing_to_say(unit: Path) -> None:
    found = analyze("verify", str(unit))
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
    unit.write_text(unit.read_text().replace("ProtectHome=yes", "ProtectHome=maybe"))
    assert "maybe" in analyze("verify", str(unit)).stderr


@needs_systemd
def test_it_is_as_closed_as_it_was(unit: Path) -> None:
    found = analyze("security", "--offline=true", f"--threshold={EXPOSURE * 10:.0f}", str(unit))
    assert found.returncode == 0, found.stdout.strip().splitlines()[-1]


def test_the_score_is_in_the_docs() -> None:
    assert f"{EXPOSURE:.1f} of 10" in (ROOT / "docs/hosting.md").read_text()


def test_what_only_a_person_can_mend_is_not_tried_again() -> None:
    assert f"\nRestartPreventExitStatus={WRONG_SETTING_EXIT} {DAMAGED_EXIT}\n" in UNIT


def test_it_has_time_to_end_and_files_to_open() -> None:
    assert f"\nLimitNOFILE={OPEN_FILES}\n" in UNIT
    (stop_s,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE)
    assert int(stop_s) > FINISH_S
