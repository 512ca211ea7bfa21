"""A real service, and how boards come to it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.service import ServiceProcess, on_sqlite, service


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """On every address of this machine, since boards reach it over their own cable."""
    folder = tmp_path_factory.mktemp("pool")
    with service(*on_sqlite(folder), "--host", "0.0.0.0", PICLUSTER_BEAT_S="2") as running:
        yield running


def join_token(pool: ServiceProcess, name: str = "boards", **more: Any) -> str:
    made = pool.send("POST", "/api/v1/tokens", {"name": name, "kind": "join", **more})
    assert made.status_code == 201, made.text
    return str(made.json()["token"])


def needs(*tools: str) -> pytest.MarkDecorator:
    missing = [tool for tool in tools if not shutil.which(tool)]
    return pytest.mark.skipif(bool(missing), reason=f"needs Debian packages for {', '.join(missing)}")
