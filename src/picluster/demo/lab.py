"""The demonstration as a whole: a service of its own in a throw-away folder, and everybody in it."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from picluster.client.aio import AsyncClient
from picluster.demo.boards import BOARDS, OLD_BOARDS, live, live_as_of_old
from picluster.demo.people import PATIENT, PEOPLE, wait_in_vain, work
from picluster.errors import PiclusterError, Unavailable

BEAT_S = 2.0
"""Faster than in life, so that a demonstration of minutes shows what takes a lab an hour."""

POLICY = {
    "OFFLINE_S": "6",
    "SLACK_S": "2",
    "LOCK_DELAY_S": "3",
    "AIL_S": "5",
    "WELL_S": "15",
    "SETBACKS": "1000",
}

LOOPBACK = "127.0.0.1"
"""Where a demonstration listens: its token is on a screen, and its old protocol trusts whoever has one short key."""
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  only where that was said

START_S = 30.0
STOP_S = 5.0


@dataclass(frozen=True)
class Lab:
    """A running service, and the two keys to it."""

    url: str
    key: str
    admin_token: str
    process: subprocess.Popen[bytes]


class ServiceEnded(Unavailable):
    """The service of the demonstration has ended by itself."""

    def __init__(self, said: str, exit_code: int) -> None:
        message, _, rest = said.strip().removeprefix("picluster: ").partition("\n")
        super().__init__(message, " ".join(rest.split()))
        self.exit_code = max(exit_code, 1)  # a signal that ended it is below zero
        """The service's own: what keeps it from starting is the same with a demonstration around it."""


@contextmanager
def service(port: int, host: str = LOOPBACK) -> Iterator[Lab]:
    """A service for the time of the block, stopped and forgotten after it. Raises `ServiceEnded` with what it said."""
    key, admin_token = secrets.token_hex(8), secrets.token_hex(16)
    settings = {"RPI_APIKEY": key, "PICLUSTER_ADMIN_TOKEN": admin_token, "PICLUSTER_BEAT_S": str(BEAT_S)}
    settings |= {f"PICLUSTER_POLICY__{name}": value for name, value in POLICY.items()}
    settings |= {"PICLUSTER_PULSE_S": "1", "PICLUSTER_LOG_LEVEL": "error"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PICLUSTER_", "RPI_"))}
    with tempfile.TemporaryDirectory(prefix="picluster-demo-") as folder, _said(folder) as said:
        command = [sys.executable, "-m", "picluster", "serve", "--host", host, "--port", str(port)]
        process = subprocess.Popen(
            [*command, "--data", f"{folder}/data"],
            env={**kept, **settings},
            stderr=said,
            start_new_session=True,
        )
        try:
            yield Lab(_address(host, port), key, admin_token, process)
        except PiclusterError:
            if process.poll() is not None:
                raise ServiceEnded(Path(folder, "said").read_text(), process.returncode) from None
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(host: str, port: int) -> str:
    """As this computer reaches it."""
    if host in (LOOPBACK, *EVERYWHERE):
        return f"http://localhost:{port}"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _said(folder: str) -> Iterator[int]:
    with open(Path(folder, "said"), "wb") as file:
        yield file.fileno()


def free_port(wanted: int, host: str = LOOPBACK) -> int:
    """The wanted port if nobody listens there, else any. Raises `Unavailable` for an address that is not ours."""
    for port in (wanted, 0):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Unavailable(f"No port of {host} is free.", "Is that an address of this computer?")


async def ready(lab: Lab) -> None:
    """Until the service answers. Raises `Unavailable` when it ends instead."""
    async with AsyncClient(lab.url, lab.admin_token, patience_s=0.0) as pool:
        clock = asyncio.get_running_loop().time
        end = clock() + START_S
        while True:
            try:
                await pool.whoami()
            except Unavailable:
                if lab.process.poll() is not None or clock() > end:
                    raise
                await asyncio.sleep(0.05)
            else:
                return


async def token_for(lab: Lab, name: str, **more: str) -> str:
    """A new token of this name, made by the admin."""
    async with AsyncClient(lab.url, lab.admin_token) as admin:
        made = await admin.make_token(name, **more)
        assert made.token
        return made.token


async def inhabit(lab: Lab) -> None:
    """Boards beat and people work, until cancelled."""
    async with AsyncExitStack() as clients, asyncio.TaskGroup() as everybody:

        async def client(token: str, user: str = "") -> AsyncClient:
            return await clients.enter_async_context(AsyncClient(lab.url, token, user))

        for board in BOARDS:
            agent = await client(await token_for(lab, board.name, kind="agent"))
            everybody.create_task(live(board, agent, BEAT_S))
        for board in OLD_BOARDS:
            everybody.create_task(live_as_of_old(board, await client(lab.key, "monitor"), BEAT_S))
        for person in PEOPLE:
            token = await token_for(lab, person.name, kind="ci")
            everybody.create_task(work(person, await client(token)))
        patient = await client(await token_for(lab, PATIENT.name))
        everybody.create_task(wait_in_vain(PATIENT, patient))
