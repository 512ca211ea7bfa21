"""The proxy of `deploy/compose.yaml`, with the same file, before replicas on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.ports import free_port
from tests.service import ADMIN, HTTP, ServiceProcess, until

CADDYFILE = Path(__file__).parents[2] / "deploy/Caddyfile"

needs_caddy = pytest.mark.skipif(not shutil.which("caddy"), reason="needs the Debian package caddy")


class Proxy:
    """One address for all replicas; for the helpers of other tests, as good as a service."""

    def __init__(self, replicas: list[ServiceProcess], home: Path) -> None:
        self.address = f"http://127.0.0.1:{free_port()}"
        environment = {
            **os.environ,
            "HOME": str(home),
            "PICLUSTER_SITE": self.address,
            "PICLUSTER_REPLICAS": " ".join(replica.address for replica in replicas),
        }
        command = ["caddy", "run", "--config", str(CADDYFILE), "--adapter", "caddyfile"]
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            until(lambda: self.get("/readyz").status_code == 200)
        except AssertionError:
            self.end()
            raise

    def get(self, path: str) -> httpx2.Response:
        return self.send("GET", path)

    def send(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {ADMIN}"}
        return HTTP.request(method, self.address + path, json=body, headers=headers)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def proxy(*replicas: ServiceProcess) -> Iterator[Proxy]:
    """A proxy for the time of the block."""
    with tempfile.TemporaryDirectory() as home:
        running = Proxy(list(replicas), Path(home))
        try:
            yield running
        finally:
            running.end()
