"""The agent as one file, `picluster-agent.pyz`, that any Python from 3.9 runs: what the service hands to boards.

In it the package is called `picluster_agent`, so that it neither needs nor meets a `picluster` that is
installed on the board. The same sources give the same bytes.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

FOLDER = Path(__file__).parent
NAME = "picluster_agent"
_NOT_SHIPPED = ("bundle.py", "__main__.py")
_SHEBANG = b"#!/usr/bin/env python3\n"
_BEGINNING_OF_TIME = (1980, 1, 1, 0, 0, 0)
_MAIN = f"""\
import sys

if sys.version_info < (3, 9):
    sys.exit("picluster-agent needs Python 3.9 or later; this is %d.%d" % sys.version_info[:2])

from {NAME}.cli import main

sys.exit(main())
"""


def archive() -> bytes:
    """The whole file, to be written down and run."""
    out = io.BytesIO()
    out.write(_SHEBANG)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bundle:
        _add(bundle, "__main__.py", _MAIN)
        for source in sorted(FOLDER.glob("*.py")):
            if source.name not in _NOT_SHIPPED:
                _add(bundle, f"{NAME}/{source.name}", source.read_text(encoding="utf-8"))
    return out.getvalue()


def _add(bundle: zipfile.ZipFile, name: str, text: str) -> None:
    entry = zipfile.ZipInfo(name, _BEGINNING_OF_TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    bundle.writestr(entry, text)
