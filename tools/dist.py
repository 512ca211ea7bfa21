"""All that a release is, into a folder: `python -m tools.dist [FOLDER]`, or `make dist`. Nothing is fetched for it.

The wheel and the sources for a package index; the agent as one file, and as a package for Debian; and what it is all made of.
Built twice from the same sources it is the same, byte for byte, so whoever likes can check a release.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from picluster import __version__
from picluster.agent import bundle
from tools import deb, sbom

ROOT = Path(__file__).parent.parent
STEM = f"pi_cluster_service-{__version__}"
SUMS = "SHA256SUMS"


def build(folder: Path) -> list[Path]:
    """Everything; what was in the folder under these names is gone."""
    folder.mkdir(parents=True, exist_ok=True)
    made = [*python_packages(folder), agent(folder), sbom.write(folder)]
    if deb.possible():
        made.append(deb.build(folder))
    else:
        print("No dpkg-deb here, so no package for Debian.", file=sys.stderr)
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in made]
    (folder / SUMS).write_text("".join(lines))
    return made


def python_packages(folder: Path, root: Path = ROOT) -> list[Path]:
    """Wheel and sources, by the backend itself: the one that is locked, without an environment of its own."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder.resolve())]
    built = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if built.returncode:
        raise SystemExit(built.stderr)
    return [folder / f"{STEM}-py3-none-any.whl", folder / f"{STEM}.tar.gz"]


def agent(folder: Path) -> Path:
    """The file that the service hands to boards."""
    made = folder / "picluster-agent.pyz"
    made.write_bytes(bundle.archive())
    made.chmod(0o755)
    return made


def main(arguments: list[str]) -> None:
    for file in build(Path(arguments[0]) if arguments else ROOT / "dist"):
        print(f"{file.stat().st_size:10,}  {file}")


if __name__ == "__main__":
    main(sys.argv[1:])
