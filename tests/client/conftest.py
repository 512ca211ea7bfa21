"""A service whose times are short, boards of the old kind on it, and nothing from this computer's settings."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.service import KEY, PATIENCE_S, ServiceProcess, on_sqlite, service

BRISK = {
    "PICLUSTER_PULSE_S": "0.2",
    "PICLUSTER_POLICY__SLACK_S": "0.5",
    "PICLUSTER_POLICY__LOCK_DELAY_S": "0.2",
}
"""Scaled down together: what ends, ends soon."""

_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may be logged in somewhere."""
    for name in os.environ:
        if name.startswith(("PICLUSTER_", "RPI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PICLUSTER_CONFIG", str(tmp_path / "login.json"))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with service(*on_sqlite(tmp_path_factory.mktemp("pool")), **BRISK) as running:
        yield running


def boards(pool: ServiceProcess, count: int = 1, key: str = KEY) -> list[str]:
    """Names of so many new boards, which `name:PREFIX-*` finds; their addresses are NAME.lab."""
    prefix = f"b{next(_numbers)}"
    names = [f"{prefix}-{number}" for number in range(count)]
    with httpx2.Client(base_url=pool.address, verify=False, timeout=PATIENCE_S) as asking:
        for name in names:
            said = {"IpAddress": f"{name}.lab", "HostName": name, "Platform": f"Cortex-A72 {prefix}"}
            assert asking.post("/api/update", json={"ApiKey": key, **said}).status_code == 200
    return names
