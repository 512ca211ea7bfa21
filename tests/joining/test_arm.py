"""The agent as boards run it: on ARM of 64 and of 32 bits, with the Python that Debian has for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from picluster.agent import bundle
from tests.agent.trees import PI4_ON_32_BITS, PI5, plant
from tests.joining.conftest import join_token, needs
from tests.joining.container import root
from tests.service import ServiceProcess

QEMU = {"arm64": "qemu-aarch64-static", "armhf": "qemu-arm-static"}
BOARDS = {"arm64": PI5, "armhf": PI4_ON_32_BITS}
MACHINES = {"arm64": "aarch64", "armhf": "armv7l"}
MODELS = {"arm64": "pi5", "armhf": "pi4"}
MOST_KIB = 64 * 1024
"""Emulator and agent together; the emulator keeps a translation of all that ran. The agent alone: 20 MiB."""

pytestmark = [
    pytest.mark.needs_root,
    needs("mmdebstrap", *QEMU.values()),
    pytest.mark.timeout(300),  # the first time, the systems are downloaded
]


class ArmBoard:
    """A folder in an ARM system in a folder, on this machine's kernel."""

    def __init__(self, architecture: str, system: Path, folder: Path) -> None:
        self.architecture = architecture
        self._system = system
        self._inside = f"/{folder.relative_to(system)}"
        plant(folder / "board", BOARDS[architecture])
        (folder / "picluster-agent.pyz").write_bytes(bundle.archive())
        shutil.copy(shutil.which(QEMU[architecture]) or "", folder / "qemu")

    def python(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        command = ["chroot", str(self._system), f"{self._inside}/qemu", "/usr/bin/python3", *arguments]
        env = {"PATH": os.environ["PATH"], **environment}
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def agent(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        where = [f"{self._inside}/picluster-agent.pyz", "--root", f"{self._inside}/board"]
        return self.python("-I", *where, *arguments, **environment)


def ends_well(running: subprocess.Popen[str]) -> str:
    """What it said."""
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 0, said
    return said.strip()


@pytest.fixture(params=QEMU)
def board(request: pytest.FixtureRequest) -> Iterator[ArmBoard]:
    options = ("--variant=extract", f"--architectures={request.param}", "--skip=check/qemu")
    system = root(request.param, *options, packages=("python3",))
    with tempfile.TemporaryDirectory(dir=system / "tmp") as folder:
        yield ArmBoard(request.param, system, Path(folder))


def test_it_joins_and_beats(pool: ServiceProcess, board: ArmBoard) -> None:
    """With nothing but what Debian's python3 brings, as the machine that the board is."""
    name, machine = f"arm-{board.architecture}", MACHINES[board.architecture]
    assert ends_well(board.python("-c", "import os; print(os.uname().machine)")) == machine
    ends_well(board.agent("--url", pool.address, "--name", name, PICLUSTER_JOIN_TOKEN=join_token(pool)))
    began = os.times()
    ends_well(board.agent("--once"))
    ended = os.times()
    found = pool.get(f"/api/v1/machines/{name}").json()
    assert (found["facts"]["model"], found["facts"]["arch"]) == (MODELS[board.architecture], machine)
    cpu_s = sum(ended[2:4]) - sum(began[2:4])
    print(f"{board.architecture}: {cpu_s:.2f} s of the processor, emulated, for a start and a beat")


def test_it_stays_small(pool: ServiceProcess, board: ArmBoard) -> None:
    """The emulator's translations are in it; for the agent alone, see `test_shipped`."""
    name = f"arm-{board.architecture}"
    ends_well(board.agent("--url", pool.address, "--name", name, PICLUSTER_JOIN_TOKEN=join_token(pool)))
    agent = board.agent()
    try:
        assert agent.stdout
        assert any("beats at" in line for line in agent.stdout)
        status = Path(f"/proc/{agent.pid}/status").read_text()
    finally:
        agent.terminate()
        agent.communicate()
    peak_kib = int(status.partition("VmHWM:")[2].split()[0])
    print(f"{board.architecture}: {peak_kib} KiB resident at most, emulator and agent")
    assert peak_kib < MOST_KIB
