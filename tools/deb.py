"""The agent as a package for Debian and what comes of it: `picluster-agent_VERSION_all.deb`.

A tree is laid out and handed to `dpkg-deb`: the agent as one file, the unit that `install.sh` writes, and what is in
`packaging/agent`. Everything in it has one time, so the same sources give the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from email.utils import formatdate
from pathlib import Path

from picluster import __version__, joining
from picluster.agent import bundle
from picluster.agent.cli import HELP

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "packaging/agent"
NAME = "picluster-agent"
PYZ = "usr/lib/picluster/picluster-agent.pyz"
CONFFILE = "etc/picluster/agent.conf"
SCRIPTS = ("postinst", "prerm", "postrm")
COMPRESSED = "-Zxz"
"""Which every dpkg in use can read; a newer Debian's own choice, zstd, cannot be read by bullseye's."""
DEFAULT_TIME_S = 1_580_601_600
"""As hatchling has it (2 February 2020), unless `SOURCE_DATE_EPOCH` says otherwise."""


def debian_version(version: str) -> str:
    """What comes before a release sorts before it: `0.2.0rc1` is `0.2.0~rc1`."""
    return re.sub(r"\.?(a|b|rc|dev)(\d+)", r"~\1\2", version)


def build(folder: Path) -> Path:
    """The package, in this folder. Raises `FileNotFoundError` where there is no `dpkg-deb`."""
    made = folder / f"{NAME}_{debian_version(__version__)}_all.deb"
    with tempfile.TemporaryDirectory() as temporary:
        tree = Path(temporary) / NAME
        lay_out(tree)
        command = ["dpkg-deb", "--root-owner-group", COMPRESSED, "--build", tree, made]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(_time_s())}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return made


def lay_out(tree: Path) -> None:
    """All that is in the package, as it lies on a board; and in DEBIAN what dpkg wants to know."""
    _write(tree / PYZ, bundle.archive())
    _write(tree / "usr/lib/systemd/system/picluster-agent.service", unit().encode())
    _write(tree / f"usr/bin/{NAME}", (SOURCES / NAME).read_bytes(), 0o755)
    _write(tree / CONFFILE, (SOURCES / "agent.conf").read_bytes())
    _write(tree / f"usr/share/doc/{NAME}/copyright", copyright_file().encode())
    _write(tree / f"usr/share/doc/{NAME}/changelog.gz", _compressed(changelog()))
    _write(tree / f"usr/share/man/man8/{NAME}.8.gz", _compressed(manual()))
    _write_control(tree)
    for path in [tree, *tree.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
        os.utime(path, (_time_s(), _time_s()))


def unit() -> str:
    """The one of boards that let everybody in, with the agent where packages lie."""
    return joining.text("picluster-agent.service").replace("/usr/local/lib/", "/usr/lib/")


def manual() -> str:
    """What `--help` says, as a page of the manual: how it is used, what it is for, and the rest as it is."""
    usage, what, rest = HELP.strip().replace("\\", "\\e").replace("-", "\\-").split("\n\n", 2)
    return f"""\
.TH PICLUSTER\\-AGENT 8 "" "picluster {__version__}"
.SH NAME
{NAME} \\- makes a board a machine of a picluster pool
.SH SYNOPSIS
{usage.removeprefix("Usage: ")}
.SH DESCRIPTION
{what}
.SH OPTIONS
.nf
{rest}
.fi
"""


def copyright_file() -> str:
    """The licence, in Debian's machine-readable form."""
    title, copyright_line, *text = (ROOT / "LICENSE").read_text().strip().split("\n\n")
    assert title == "MIT License"
    body = "\n .\n".join("\n".join(f" {line}" for line in part.splitlines()) for part in text)
    return f"""\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: picluster

Files: *
Copyright: {copyright_line.removeprefix("Copyright (c) ")}
License: Expat
{body}
"""


def changelog() -> str:
    """Debian wants one of its own form; what changed is told in ours."""
    maintainer = re.search(r"^Maintainer: (.+)$", (SOURCES / "control").read_text(), re.MULTILINE)
    assert maintainer
    return f"""\
{NAME} ({debian_version(__version__)}) unstable; urgency=medium

  * Release {__version__} of picluster; CHANGELOG.md there says what is new.

 -- {maintainer[1]}  {formatdate(_time_s())}
"""


def _write_control(tree: Path) -> None:
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    size_kib = sum(-(-path.stat().st_size // 1024) for path in files)
    control = (SOURCES / "control").read_text()
    control = control.replace("@VERSION@", debian_version(__version__)).replace("@SIZE_KIB@", str(size_kib))
    sums = "".join(
        f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(tree)}\n"
        for path in files
        if path != tree / CONFFILE  # people change it; dpkg keeps its own sum of it
    )
    _write(tree / "DEBIAN/control", control.encode())
    _write(tree / "DEBIAN/conffiles", f"/{CONFFILE}\n".encode())
    _write(tree / "DEBIAN/md5sums", sums.encode())
    for script in SCRIPTS:
        _write(tree / f"DEBIAN/{script}", (SOURCES / script).read_bytes(), 0o755)


def _compressed(text: str) -> bytes:
    return gzip.compress(text.encode(), 9, mtime=0)


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def _time_s() -> int:
    return int(os.environ.get("SOURCE_DATE_EPOCH", DEFAULT_TIME_S))


def possible() -> bool:
    """Whether this is a system that has dpkg."""
    return shutil.which("dpkg-deb") is not None
