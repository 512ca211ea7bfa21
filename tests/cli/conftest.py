"""One running service for all stories of the command line, and a shell for it without a terminal."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from picluster.cli import main
from tests.client.conftest import BRISK, alone, boards
from tests.service import ADMIN, KEY, ServiceProcess, on_sqlite, service

__all__ = ["alone", "boards"]


class Shell:
    """Commands as typed, without `picluster`, in this process; as the admin, unless another token is given."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, line: str, token: str = ADMIN, input: str | None = None, **settings: str) -> Result:
        return self.run(shlex.split(line), token, input, **settings)

    def run(self, words: list[str], token: str = ADMIN, input: str | None = None, **settings: str) -> Result:
        environment = {"PICLUSTER_URL": self.url, "PICLUSTER_TOKEN": token, **settings}
        result = CliRunner().invoke(main, words, input, environment, prog_name="picluster")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def json(self, line: str, **more: Any) -> Any:
        result = self(f"{line} -o json", **more)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    def old(self, line: str, user: str = "ann") -> Result:
        """With nothing but the old settings."""
        return self(
            line, "", PICLUSTER_URL="", RPI_CLUSTER=f"{self.url}/api/", RPI_APIKEY=KEY, PICLUSTER_USER=user
        )

    def start(self, line: str, **how: Any) -> subprocess.Popen[str]:
        """A real process; `picluster` in a pipe of bash is meant, too."""
        environment = {
            **os.environ,
            "PICLUSTER_URL": self.url,
            "PICLUSTER_TOKEN": ADMIN,
            **how.pop("env", {}),
        }
        command = line.replace("picluster ", f"{shlex.quote(sys.executable)} -m picluster ")
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | how
        return subprocess.Popen(["bash", "-c", command], env=environment, text=True, **how)


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Its webhooks may reach this machine."""
    folder = tmp_path_factory.mktemp("pool")
    with service(*on_sqlite(folder), **BRISK, PICLUSTER_WEBHOOK_NETWORKS="127.0.0.0/8") as running:
        yield running


@pytest.fixture
def sh(pool: ServiceProcess) -> Iterator[Shell]:
    """Commands catch SIGTERM; afterwards it is as it was."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield Shell(pool.address)
    for number, handler in before.items():
        signal.signal(number, handler)
