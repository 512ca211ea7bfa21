"""What a base install costs: distributions, megabytes, and the CPU of importing and starting."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
RUNS = 15


def base_install(folder: Path) -> Path:
    """A fresh environment with what `pip install` of the base brings; its Python."""
    uv, home = ROOT / ".tools/bin/uv", folder / "venv"
    quiet = {"check": True, "stdout": subprocess.DEVNULL}
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, home], **quiet)
    python = home / "bin/python"
    subprocess.run([uv, "pip", "install", "-q", "--python", python, ROOT], **quiet)
    return python


def distributions(python: Path) -> tuple[int, float]:
    """(how many besides our own, MiB of all of them)."""
    (site,) = (python.parent.parent / "lib").glob("python*/site-packages")
    size = sum(file.stat().st_size for file in site.rglob("*") if file.is_file() and file.suffix != ".pyc")
    return len(list(site.glob("*.dist-info"))) - 1, size / 2**20


def cpu_ms(*command: str | Path) -> float:
    """Median CPU time of a command, user and system, once its bytecode is there."""
    times = []
    for _ in range(RUNS + 1):
        before = os.times()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        times.append(spent * 1000)
    return statistics.median(times[1:])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        python = base_install(Path(folder))
        count, mib = distributions(python)
        print(f"base install: {count} distributions besides ours, {mib:.1f} MiB with ours")
        print(f"python -c pass: {cpu_ms(python, '-c', 'pass'):.0f} ms of CPU")
        print(f"import picluster: {cpu_ms(python, '-c', 'import picluster'):.0f} ms")
        print(f"from picluster import Client: {cpu_ms(python, '-c', 'from picluster import Client'):.0f} ms")
        print(f"picluster --help: {cpu_ms(python.parent / 'picluster', '--help'):.0f} ms (aim: under 200)")
