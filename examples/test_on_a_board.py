"""Build, send to a free board, test there, bring the results back, as pytest: `pytest test_on_a_board.py --pi model:pi5`."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from picluster import Board

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def installed(pi: Board) -> Iterator[str]:
    """The program is copied once, for all tests; the folder that it is in."""
    subprocess.run([HERE / "build.sh"], check=True)
    pi.put(HERE / "build", name="digits")
    yield "digits"
    pi.run("rm -r digits")


def test_digits(pi: Board, installed: str) -> None:
    assert pi.run("python3 digits.pyz 8", folder=installed).stdout == "31415926\n"


def test_thousand_digits(pi: Board, installed: str, tmp_path: Path) -> None:
    pi.run("./check.sh", folder=installed, timeout_s=60)
    where, *_ = (file.read_text() for file in pi.get("results/where.txt", tmp_path, folder=installed))
    assert where.split()[0] == pi.run("uname -n").stdout.strip()
