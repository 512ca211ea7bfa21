"""Each example does what its first line says, and each page what it tells to type, on boards with a real sshd and agent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.docs.blocks import DOCS, blocks, read
from tests.docs.given import ON_BOARDS
from tests.docs.terminal import PORTS, Terminal
from tests.lab.boards import Board
from tests.lab.desk import all_free, home, rack
from tests.service import ADMIN, PATIENCE_S, ServiceProcess

__all__ = ["all_free", "home", "rack"]

pytestmark = [pytest.mark.needs_root, pytest.mark.xdist_group("lab-examples")]

EXAMPLES = Path(__file__).parents[2] / "examples"
FIRST_DIGITS = "31415926535897932384"


@pytest.fixture
def here(home: Path) -> Path:
    """A copy, since building writes."""
    return Path(shutil.copytree(EXAMPLES, home / "examples", ignore=shutil.ignore_patterns("build", "out")))


def run(*command: str | Path) -> str:
    """Its output; `picluster` and `python3` are those that run this."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ran = subprocess.run(
        command, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def found(folder: Path, name: str) -> str:
    [file] = folder.rglob(name)
    return file.read_text()


def test_as_one_command(rack: list[Board], here: Path) -> None:
    assert "results/digits.txt: OK" in run(here / "one_command.sh", "pi-b")
    assert found(here / "out", "digits.txt").startswith(FIRST_DIGITS)
    assert found(here / "out", "where.txt").split()[0] == "pi-b"
    assert ElementTree.parse(here / "out/junit.xml").find(".//testcase") is not None


def test_from_python(rack: list[Board], here: Path) -> None:
    said = run(sys.executable, here / "from_python.py", "pi-a")
    assert said.splitlines()[0] == "results/digits.txt: OK" and "pi-a (pi5) knows 1000 digits of pi." in said
    assert found(here / "out", "digits.txt").startswith(FIRST_DIGITS)


def test_as_pytest(rack: list[Board], here: Path) -> None:
    said = run(
        sys.executable, "-m", "pytest", "-p", "no:cacheprovider", here / "test_on_a_board.py", "--pi", "pi-c"
    )
    assert "2 passed" in said and "pi-c (pi5), fence " in said


def test_for_any_machine(rack: list[Board], here: Path) -> None:
    """Nobody has to say which."""
    assert "results/digits.txt: OK" in run(here / "one_command.sh")


@pytest.mark.parametrize("page", ON_BOARDS)
def test_a_page_about_boards_can_be_followed(
    page: str, rack: list[Board], home: Path, pool: ServiceProcess
) -> None:
    typed = [block for block in blocks(DOCS / page) if block.word == "on a board"]
    login = {"PICLUSTER_URL": pool.address, "PICLUSTER_TOKEN": ADMIN}
    with Terminal(home, dict(zip(PORTS, PORTS, strict=True)), warm=False, **login) as terminal:
        for block in [*read(ON_BOARDS[page], f"given for {page}"), *typed]:
            terminal.follow(block)
