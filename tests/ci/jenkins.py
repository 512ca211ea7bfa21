"""The shared step as Jenkins has it carried out: by Groovy 2.4, the version inside Jenkins, with stand-ins for Jenkins' steps."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

STAND_IN = Path(__file__).with_name("stand_in.groovy")

needs_groovy = pytest.mark.skipif(not shutil.which("groovy"), reason="needs the Debian package groovy")


def carried_out(
    template: Path,
    asked: Mapping[str, str],
    folder: Path,
    secrets: Mapping[str, str],
    here: Path | None = None,
) -> Any:
    """What the step asks of Jenkins, with the folder and the environment in which it does: when all goes well (`good`), and
    when somebody aborts the job (`cancelled`). `here` is the folder in which the step is used, unless the workspace."""
    request = {
        "asked": dict(asked),
        "here": str(here or folder),
        "env": {
            **{name: secrets[name] for name in ("PICLUSTER_URL", "PICLUSTER_PACKAGE")},
            "WORKSPACE": str(folder),
            "WORKSPACE_TMP": str(folder / "temp"),
            "BUILD_TAG": 'jenkins-the-"nightly"-17',
            "STAGE_NAME": "On a Pi 5",
        },
        "credentials": {"picluster-token": secrets["PICLUSTER_TOKEN"]},
    }
    return json.loads(_answer(template, json.dumps(request)))


@cache
def _answer(template: Path, request: str) -> str:
    """Kept, since a second of processor time is a lot for a question that is asked again."""
    java = Path(
        shutil.which("java") or ""
    ).resolve()  # Debian's groovy looks for another one than there may be
    environment = {**os.environ, "JAVA_HOME": str(java.parents[1])}
    command = ["groovy", str(STAND_IN), str(template)]
    done = subprocess.run(command, input=request, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
