"""What is installed is what is needed: each extra stands alone."""

from __future__ import annotations

import sys

import pytest

from picluster.server import serve
from picluster.server.settings import Settings
from picluster.store import StoreProblem


def test_a_pool_in_a_file_needs_no_driver_of_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra; who wants PostgreSQL without it is told which."""
    monkeypatch.setitem(sys.modules, "picluster.store.postgres", None)
    with pytest.raises(StoreProblem, match="PostgreSQL needs") as refused:
        serve.open_store(Settings.load({"url": "postgresql://db/picluster"}), [])
    assert "[server,postgres]" in refused.value.hint
    assert refused.value.exit_code == serve.WRONG_SETTING_EXIT
