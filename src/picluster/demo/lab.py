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

START_S = 30.0
STOP_S = 5.0


@dataclass(frozen=True)
class Lab:
    """A running service, and the two keys to it."""

    url: str
    key: str
    admin_token: str
    process: subprocess.Popen[bytes]


@contextmanager
def service(port: int) -> Iterator[Lab]:
    """A service for the time of the block, stopped and forgotten after it. Raises `Unavailable` with what it said."""
    key, admin_token = secrets.token_hex(8), secrets.token_hex(16)
    settings = {"RPI_APIKEY": key, "PICLUSTER_ADMIN_TOKEN": admin_token, "PICLUSTER_BEAT_S": str(BEAT_S)}
    settings |= {f"PICLUSTER_POLICY__{name}": value for name, value in POLICY.items()}
    settings |= {"PICLUSTER_PULSE_S": "1", "PICLUSTER_LOG_LEVEL": "error"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PICLUSTER_", "RPI_"))}
    with tempfile.TemporaryDirectory(prefix="picluster-demo-") as folder, _said(folder) as said:
        command = [sys.executable, "-m", "picluster", "serve", "--port", str(port)]
        process = subprocess.Popen(
            [*command, "--data", f"{folder}/data"],
            env={**kept, **settings},
            stderr=said,
            start_new_session=True,
        )
        try:
            yield Lab(f"http://localhost:{port}", key, admin_token, process)
        except PiclusterError:
            if process.poll() is not None:
                raise Unavailable(Path(folder, "said").read_text().strip() or "The service ended.") from None
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def _said(folder: str) -> Iterator[int]:
    with open(Path(folder, "said"), "wb") as file:
        yield file.fileno()


def free_port(wanted: int) -> int:
    """The wanted port if nobody listens there, else any."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))  # noqa: S104  where the service will listen
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Unavailable("No port is free.")


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
