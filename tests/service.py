"""A real `picluster serve` as a child process, for tests that need the whole thing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.warm import WarmProcess, nursery

KEY = "secret"
ADMIN = "test-admin-token-0123456789"
GREETING = re.compile(r"^picluster serves .*:(\d+)$", re.MULTILINE)
PATIENCE_S = 30.0
"""How long a condition may take before the test says that it never came; far above what it needs."""

HTTP = httpx2.Client(verify=False, timeout=PATIENCE_S, limits=httpx2.Limits(max_keepalive_connections=0))
"""A connection for each call, since services come and go; but not a TLS context, which takes 28 ms to make."""


class ServiceProcess:
    """One service on a free port (or, restarted, on the port it had). `within` is a command that starts it."""

    def __init__(self, *arguments: str, within: Sequence[str] = (), **environment: str) -> None:
        self._arguments = arguments
        self._within = within
        self._environment = environment
        self.port = 0
        self._said = tempfile.NamedTemporaryFile(prefix="picluster-said-")  # noqa: SIM115  closed with the process
        self.start()

    def start(self) -> None:
        """Start, and wait until it is ready. Raises `AssertionError` with what it printed if it ends instead."""
        env = {**os.environ, "RPI_APIKEY": KEY, "PICLUSTER_ADMIN_TOKEN": ADMIN, **self._environment}
        arguments = ["serve", "--host", "127.0.0.1", "--port", str(self.port), *self._arguments]
        self._said.seek(0)
        self._said.truncate()
        self.process = self._started(arguments, env)
        try:
            until(lambda: GREETING.search(self.said()) or self.process.poll() is not None)
        except AssertionError:
            self.kill()
            raise
        found = GREETING.search(self.said())
        if not found:
            raise AssertionError(f"it ended with {self.process.returncode}: {self.said()}")
        self.port = int(found.group(1))
        until(lambda: self.get("/readyz").status_code == 200)

    def _started(self, arguments: list[str], env: dict[str, str]) -> subprocess.Popen[bytes] | WarmProcess:
        """Warm, unless it is to start within something else."""
        if not self._within:
            return nursery().start(arguments, env, self._said.name)
        command = [*self._within, sys.executable, "-m", "picluster", *arguments]
        return subprocess.Popen(command, env=env, stderr=self._said, start_new_session=True)

    def said(self) -> str:
        """What it has written to stderr since it started: a file, since a full pipe would stop it."""
        return Path(self._said.name).read_text(errors="replace")

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, token: str = ADMIN) -> httpx2.Response:
        return HTTP.get(self.address + path, headers={"Authorization": f"Bearer {token}"})

    def send(self, method: str, path: str, body: Any = None, token: str = ADMIN) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return HTTP.request(method, self.address + path, json=body, headers=headers)

    def old(self, call: str, address: str, user: str | None = "ann", **more: Any) -> Any:
        """One write of the old protocol; its answer."""
        body = {"ApiKey": KEY, "IpAddress": address, "CurrentUserName": user, **more}
        return HTTP.post(f"{self.address}/api/{call}", json=body).json()

    def kill(self) -> None:
        """SIGKILL, and nothing left of it."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Killed, and what it said thrown away."""
        self.kill()
        self._said.close()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@contextmanager
def service(*arguments: str, **environment: str) -> Iterator[ServiceProcess]:
    """A service for the time of the block."""
    running = ServiceProcess(*arguments, **environment)
    try:
        yield running
    finally:
        running.end()


def on_sqlite(folder: Path) -> tuple[str, str]:
    return ("--data", str(folder))


def until(condition: Any) -> None:
    """Wait for a condition; a service that is not there yet does not meet it."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            if condition():
                return
        except httpx2.TransportError:
            pass
        assert time.monotonic() < deadline, "the condition never came"
        time.sleep(0.01)
