"""Completion: sources that the shells here can load, and words from the service."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.cli.conftest import Shell, boards
from tests.client.stub import nowhere
from tests.service import ServiceProcess


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_load_it(sh: Shell, shell: str) -> None:
    result = sh(f"completion {shell}")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "_PICLUSTER_COMPLETE" in result.stdout
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n"], input=result.stdout, text=True, check=True)
    loaded = subprocess.run([shell], input=result.stdout, text=True, capture_output=True)
    assert (loaded.returncode, loaded.stderr) == (0, "")


def words(sh: Shell, line: str, **how: str) -> list[str]:
    """What bash would offer for the last word of a line."""
    settings = {
        "_PICLUSTER_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(line.count(" ")),
    }
    result = sh.run([], **settings, **how)
    assert result.exit_code == 0 and not result.stderr
    return [offer.partition(",")[2] for offer in result.stdout.split()]


def test_commands_options_and_machines_are_offered(sh: Shell, pool: ServiceProcess) -> None:
    names = boards(pool, 2)
    assert words(sh, "picluster un") == ["undrain", "unlock"]
    assert "--lock_override" in words(sh, "picluster unlock --")
    assert words(sh, f"picluster unlock {names[0][:-1]}") == names
    assert words(sh, f"picluster list -q {names[0][:-1]}") == names
    assert words(sh, "picluster completion f") == ["fish"]


def test_nothing_is_offered_when_the_service_is_away(sh: Shell) -> None:
    assert words(sh, "picluster unlock x", PICLUSTER_URL=nowhere()) == []
    assert words(sh, "picluster unlock x", PICLUSTER_URL="ftp://lab") == []
