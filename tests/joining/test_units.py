"""The units: systemd has nothing to say about them, and what they allow is as little as it was when last looked at."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from picluster import joining

ADVISORY, ENFORCED, JOIN = (
    "picluster-agent.service",
    "picluster-agent-enforced.service",
    "picluster-join.service",
)
EXPOSURE = {ADVISORY: 1.7, ENFORCED: 5.3}
"""At most, of 10, as `systemd-analyze security` counts; in docs/agent.md, too."""
VIEWS_OF_ITS_OWN = (
    *(
        "PrivateTmp",
        "PrivateDevices",
        "PrivateMounts",
        "PrivateIPC",
        "ProtectSystem",
        "ProtectHome",
        "ProtectProc",
    ),
    *(
        "ProtectKernelTunables",
        "ProtectControlGroups",
        "ProtectKernelLogs",
        "ProtectKernelModules",
        "ProcSubset",
    ),
    *(
        "ReadWritePaths",
        "ReadOnlyPaths",
        "InaccessiblePaths",
        "BindPaths",
        "TemporaryFileSystem",
        "MountFlags",
    ),
    *("RootDirectory", "DynamicUser", "LoadCredential", "User"),
)
"""Settings that put a unit into a mount namespace, or make it somebody else."""

pytestmark = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="needs the Debian package systemd"
)


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True)


@pytest.fixture
def unit(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    file = tmp_path / request.param
    file.write_text(joining.text(request.param))
    return file


@pytest.mark.parametrize("unit", [ADVISORY, ENFORCED, JOIN], indirect=True)
def test_systemd_has_nothing_to_say(unit: Path) -> None:
    found = analyze("verify", str(unit))
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


@pytest.mark.parametrize("unit", [ADVISORY], indirect=True)
def test_systemd_would_have_something_to_say(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("Restart=always", "Restart=sometimes"))
    assert "sometimes" in analyze("verify", str(unit)).stderr


@pytest.mark.parametrize("unit", EXPOSURE, indirect=True)
def test_they_are_as_closed_as_they_were(unit: Path) -> None:
    found = analyze("security", "--offline=true", f"--threshold={EXPOSURE[unit.name] * 10:.0f}", str(unit))
    score = found.stdout.strip().splitlines()[-1]
    print(score)
    assert found.returncode == 0, score


@pytest.mark.parametrize("unit", [ENFORCED], indirect=True)
def test_what_enforces_sees_the_board_as_it_is(unit: Path) -> None:
    """With a /tmp of its own it would clean that one, and a holder's files would stay."""
    settings = set(re.findall(r"^(\w+)=", unit.read_text(), re.MULTILINE))
    assert not settings & set(VIEWS_OF_ITS_OWN)


@pytest.mark.parametrize("unit", [ENFORCED], indirect=True)
def test_a_restart_of_what_enforces_throws_nobody_out(unit: Path) -> None:
    text = unit.read_text()
    assert "\nKillMode=process\n" in text and "\nRuntimeDirectoryPreserve=yes\n" in text


def test_the_scores_are_in_the_docs() -> None:
    docs = (Path(__file__).parents[2] / "docs/agent.md").read_text()
    assert all(f"{score:.1f}" in docs for score in EXPOSURE.values())
