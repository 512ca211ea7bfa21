"""A release, built once; and empty environments that it is installed into, without a package index.

What a distribution needs is taken from the environment of the tests: only what the wheel's metadata asks for is linked into the
empty one. So an import that is not declared fails there, as it would for whoever installs it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tools import dist

UV = dist.ROOT / ".tools/bin/uv"


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `make dist`."""
    if not UV.exists():
        pytest.skip("needs the uv of `make install`")
    folder = tmp_path_factory.mktemp("dist")
    dist.build(folder)
    return folder


@pytest.fixture(scope="session")
def wheel(release: Path) -> Path:
    [found] = release.glob("*.whl")
    return found


def needs(wheel: Path, *extras: str) -> dict[str, Distribution]:
    """All that `pip install WHEEL[extras]` would bring besides ours, by name."""
    [info] = (path for path in zipfile.Path(wheel).iterdir() if path.name.endswith(".dist-info"))
    asked: list[tuple[Distribution, frozenset[str]]] = [(PathDistribution(info), frozenset(extras))]
    found: dict[str, Distribution] = {}
    seen = set()
    for of, of_extras in asked:  # it grows meanwhile
        for requirement in _requirements(of, of_extras):
            name, more = _normal(requirement.name), frozenset(requirement.extras)
            if (name, more) not in seen:
                seen.add((name, more))
                found[name] = distribution(name)
                asked.append((found[name], more))
    return found


def _requirements(of: Distribution, extras: frozenset[str]) -> Iterator[Requirement]:
    for line in of.requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        ):
            yield requirement


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def install(wheel: Path, folder: Path, *extras: str) -> Path:
    """An environment with this and what it needs; its folder of programs."""
    quiet = ("-q", "--offline", "--no-config")
    subprocess.run([UV, "venv", *quiet, "--python", sys.executable, folder], check=True)
    [site] = (folder / "lib").glob("python*/site-packages")
    for needed in needs(wheel, *extras).values():
        for name in {Path(file).parts[0] for file in needed.files or ()} - {"..", "__pycache__"}:
            if not (site / name).exists():
                (site / name).symlink_to(Path(str(needed.locate_file(name))))
    python = folder / "bin/python"
    subprocess.run(
        [UV, "pip", "install", *quiet, "--no-index", "--no-deps", "--python", python, wheel], check=True
    )
    return folder / "bin"
