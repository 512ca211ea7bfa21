"""A lab for each file of stories."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.boards import Lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The file's thread is in the lab's network until its last story is told."""
    with Lab() as built:
        yield built
