"""What a release costs who installs it: megabytes, distributions, seconds; and the CPU of importing and starting."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools import dist

RUNS = 15


def base_install(wheel: Path, folder: Path) -> tuple[Path, float]:
    """An empty environment with what `pip install` of the wheel brings: its Python, and the seconds that pip took."""
    home = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
    python = home / "bin/python"
    began_s = time.monotonic()
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True)
    took_s = time.monotonic() - began_s
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools", "pip"], check=True)
    return python, took_s


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
        made = dist.build(Path(folder) / "dist")
        for file in made:
            print(f"{file.stat().st_size / 1000:6,.0f} kB  {file.name}")
        wheel = made[0]
        base_install(wheel, Path(folder))  # what has to be downloaded is, from now on
        python, took_s = base_install(wheel, Path(folder))
        count, mib = distributions(python)
        print(f"pip install, nothing to download: {took_s:.1f} s")
        print(f"base install: {count} distributions besides ours, {mib:.1f} MiB with ours")
        print(f"python -c pass: {cpu_ms(python, '-c', 'pass'):.0f} ms of CPU")
        print(f"import picluster: {cpu_ms(python, '-c', 'import picluster'):.0f} ms")
        print(f"from picluster import Client: {cpu_ms(python, '-c', 'from picluster import Client'):.0f} ms")
        print(f"picluster --help: {cpu_ms(python.parent / 'picluster', '--help'):.0f} ms (aim: under 200)")
