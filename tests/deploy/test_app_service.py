"""What is so in Azure App Service, as far as it can be had here: its variables, and no place for a database."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from picluster.server.v1.events import PING_S
from picluster.store import StoreProblem
from picluster.store.files import APP_SERVICE
from picluster.store.sqlite import SqliteStore
from picluster.wire import LONGEST_WAIT_S

FILL = Path(__file__).parents[2] / "deploy/azure/app-service/fill.sh"
UV = """\
#!/bin/sh
[ "$1" = export ] && echo click==8.1.7 || touch app/pool-1-py3-none-any.whl
"""
CUT_S = 230
"""Azure's front ends end a connection on which nobody has said anything for so long."""


def test_sqlite_is_refused_there_and_postgresql_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/home is a network share, and what lies elsewhere is gone with the next restart: neither keeps a lease."""
    monkeypatch.setenv(APP_SERVICE, "lab")
    with pytest.raises(StoreProblem, match=r"Azure App Service \(lab\)") as refused:
        SqliteStore(tmp_path / "home/picluster.db").open()
    assert "PICLUSTER_DATABASE_URL=postgresql://" in refused.value.hint
    assert list(tmp_path.iterdir()) == []


def test_no_call_is_silent_for_as_long_as_its_front_ends_cut() -> None:
    """Streams say something, and held-open calls end, several times as often."""
    assert PING_S * 5 < CUT_S
    assert LONGEST_WAIT_S < 50


def fill(root: Path) -> subprocess.CompletedProcess[str]:
    """In a checkout, on a machine that has nothing of its own but a shell."""
    script = root / FILL.relative_to(FILL.parents[3])
    (script.parent / "app").mkdir(parents=True, exist_ok=True)
    shutil.copy(FILL, script)
    return subprocess.run([script], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)


@pytest.mark.skipif(
    bool(shutil.which("uv", path="/usr/bin:/bin")), reason="this machine has an uv of its own"
)
def test_the_upload_is_filled_by_the_uv_of_make_install(tmp_path: Path) -> None:
    """Whoever has none is told where it comes from, before anything is thrown away."""
    app = tmp_path / "deploy/azure/app-service/app"
    app.mkdir(parents=True)
    (app / "before").touch()
    refused = fill(tmp_path)
    assert (refused.returncode, "make install" in refused.stderr, (app / "before").exists()) == (
        1,
        True,
        True,
    )
    (tmp_path / ".tools/bin").mkdir(parents=True)
    (tmp_path / ".tools/bin/uv").write_text(UV)
    (tmp_path / ".tools/bin/uv").chmod(0o755)
    assert fill(tmp_path).returncode == 0
    assert {file.name for file in app.iterdir()} == {"pool-1-py3-none-any.whl", "requirements.txt"}
    assert (app / "requirements.txt").read_text() == "click==8.1.7\n./pool-1-py3-none-any.whl\n"
