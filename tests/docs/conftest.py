"""Where pages are followed: homes of their own, ports that are free, and a pool with boards for those that are about one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.terminal import PORTS
from tests.ports import free_port


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty folder, as a newcomer's."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def ports() -> dict[int, int]:
    """A free one for each that pages name."""
    return {port: free_port() for port in PORTS}
