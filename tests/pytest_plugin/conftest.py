"""One running service for all stories of the plugin, and a project with tests of its own for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.client.conftest import alone, boards, pool
from tests.pytest_plugin.sessions import Project
from tests.service import ServiceProcess

__all__ = ["alone", "pool"]


@pytest.fixture
def project(tmp_path: Path, pool: ServiceProcess) -> Iterator[Callable[[int], Project]]:
    """With so many boards."""
    with ExitStack() as stack:

        def made(count: int) -> Project:
            ours = Project(tmp_path, pool, boards(pool, count))
            stack.callback(ours.end)
            return ours

        yield made
