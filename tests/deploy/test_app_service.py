"""What is so in Azure App Service, as far as it can be had here: its variables, and no place for a database."""

from __future__ import annotations

from pathlib import Path

import pytest

from picluster.server.v1.events import PING_S
from picluster.store import StoreProblem
from picluster.store.files import APP_SERVICE
from picluster.store.sqlite import SqliteStore
from picluster.wire import LONGEST_WAIT_S

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
