"""The agent and a real service: one board's life, over restarts of either."""

from __future__ import annotations

import io
import itertools
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from picluster.agent.agent import Agent
from picluster.agent.link import Link
from picluster.agent.log import Log
from picluster.agent.settings import find
from tests.agent.trees import BOOT_ID, PI5, plant
from tests.service import ServiceProcess, on_sqlite, service, until

AT_ONCE_S = 5.0
"""Far above the milliseconds that news takes, and far below the 20 s and more that a beat is held open."""
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with service(*on_sqlite(tmp_path_factory.mktemp("pool"))) as running:
        yield running


class BoardProcess:
    """One board in a folder, and its agent as a process."""

    def __init__(self, pool: ServiceProcess, folder: Path, *arguments: str, url: str = "") -> None:
        self.pool, self.folder = pool, folder
        number = next(numbers)
        self.name = f"pi5-{number}"
        self.serial = f"b03b5cbbaa3f{number:04x}"
        serial = {"proc/device-tree/serial-number": self.serial + "\0"}
        plant(folder / "root", {**PI5, **serial, "proc/sys/kernel/hostname": f"{self.name}\n"})
        self.token = folder / "token"
        self.token.write_text(token_for(pool, self.name))
        self.said = folder / "said"
        self.url = url or pool.address
        self.start(*arguments)

    def start(self, *arguments: str) -> None:
        told = ["--url", self.url, "--root", str(self.folder / "root"), "--token-file", str(self.token)]
        with self.said.open("a") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "picluster.agent", *told, *arguments], stderr=said, env={**os.environ}
            )

    def log(self) -> str:
        return self.said.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def machine(self) -> dict[str, Any]:
        return dict(self.pool.get(f"/api/v1/machines/{self.name}").json())

    @property
    def counters(self) -> dict[str, Any]:
        """Of the lease that is open, as the service has heard them."""
        return self.machine["telemetry"]["since_open"] or {}

    def beats(self) -> bool:
        return self.pool.get(f"/api/v1/machines/{self.name}").status_code == 200

    def held_open(self) -> bool:
        """It has learnt what holds and waits for news."""
        return self.beats() and "beats" in self.log() and time.sleep(0.3) is None


@pytest.fixture
def board(pool: ServiceProcess, tmp_path: Path) -> Iterator[BoardProcess]:
    running = BoardProcess(pool, tmp_path / "board")
    until(running.held_open)
    yield running
    running.kill()


def token_for(pool: ServiceProcess, name: str) -> str:
    return str(pool.send("POST", "/api/v1/tokens", {"name": name, "kind": "agent"}).json()["token"])


def take(pool: ServiceProcess, machine: str, **more: Any) -> dict[str, Any]:
    """A lease on it, held; with its path under `path`."""
    path = f"/api/v1/leases/{uuid.uuid4()}"
    body = {"selector": f"name:{machine}", "job": "nightly", "ttl_s": None, "queue": False, **more}
    answer = pool.send("PUT", path, body)
    assert answer.json().get("state") == "held", answer.text
    return {**answer.json(), "path": path}


def test_a_board_appears_with_all_that_people_ask_for(pool: ServiceProcess, board: BoardProcess) -> None:
    query = "/api/v1/machines?q=model:pi5 mem>=8G tag:camera arch:* platform:*BCM2712 temp<50"
    [found] = [one for one in pool.get(query).json() if one["name"] == board.name]
    assert (found["id"], found["address"]) == (f"serial:{board.serial}", "127.0.0.1")
    assert found["host_keys"] and found["state"] == "free" and found["mode"] == "advisory"


def test_old_scripts_read_it_as_they_read_their_own(pool: ServiceProcess, board: BoardProcess) -> None:
    [old] = pool.get("/api/?id=127.0.0.1").json()
    assert old["Platform"] == "Cortex-A76 (4 cores) BCM2712"
    assert (old["Temperature"], old["SystemLoad"]) == ("48.3'C", "0.52 : 0.58 : 0.59")
    assert (old["HostName"], old["OsName"], old["IsAlive"]) == (board.name, "Debian GNU/Linux", True)


def test_a_lease_reaches_the_board_in_the_call_that_is_held_open(
    pool: ServiceProcess, tmp_path: Path
) -> None:
    tree = plant(tmp_path, PI5)
    token = token_for(pool, "pi5-a")
    settings = find({"PICLUSTER_URL": pool.address, "PICLUSTER_TOKEN": token}, {}, tree)
    log = Log(io.StringIO())
    link = Link(settings.addresses, settings.read_token, log, settings.trust)
    agent = Agent(settings, tree, link, log)
    agent.turn()
    took: list[float] = []

    def one_beat() -> None:
        began = time.monotonic()
        agent.turn()
        took.append(time.monotonic() - began)

    beat = threading.Thread(target=one_beat)
    beat.start()
    time.sleep(0.5)
    granted = time.monotonic()
    lease = take(pool, "pi5-a")
    beat.join(AT_ONCE_S)
    news_s = time.monotonic() - granted
    assert not beat.is_alive() and took[0] > 0.4
    assert (agent.fences.fence, agent.fences.closed) == (lease["fence"], False)
    agent.stop()
    print(f"news after {news_s * 1000:.0f} ms")


def test_a_lease_begins_and_ends_on_the_board(pool: ServiceProcess, board: BoardProcess) -> None:
    began = time.monotonic()
    lease = take(pool, board.name)
    until(lambda: f"fence {lease['fence']} opens: " in board.log())
    note = board.folder / "root/run/motd.d/picluster"
    until(note.exists)
    assert "for nightly, until it is given back" in note.read_text()
    until(lambda: board.counters.get("fence") == lease["fence"])
    pool.send("DELETE", lease["path"])
    until(lambda: f"fence {lease['fence']} is closed" in board.log())
    until(lambda: board.machine["telemetry"]["last_closed"])
    assert board.machine["telemetry"]["last_closed"]["closed"]
    assert not note.exists()
    assert time.monotonic() - began < 4 * AT_ONCE_S


def test_the_service_is_killed_and_comes_back(pool: ServiceProcess, board: BoardProcess) -> None:
    """The board comes back by itself, and the lease is as it was."""
    lease = take(pool, board.name)
    until(lambda: " opens: " in board.log())
    pool.kill()
    until(lambda: "refused" in board.log() or "closed the connection" in board.log())
    pool.start()
    until(lambda: "beats again" in board.log())
    assert board.machine["lease"]["fence"] == lease["fence"]
    assert board.log().count(" opens: ") == 1
    pool.send("DELETE", lease["path"])
    until(lambda: "is closed" in board.log())


def test_the_agent_is_killed_and_comes_back(pool: ServiceProcess, board: BoardProcess) -> None:
    """A lease goes on; what the agent may have missed meanwhile is told."""
    lease = take(pool, board.name)
    until(lambda: board.counters.get("fence") == lease["fence"])
    board.kill()
    board.start()
    until(lambda: board.counters["agent_restarts"] == 1)
    assert board.machine["lease"]["fence"] == lease["fence"]
    assert board.counters["reboots"] == 0


def test_a_lease_that_ended_while_the_agent_was_away_is_closed(
    pool: ServiceProcess, board: BoardProcess
) -> None:
    lease = take(pool, board.name)
    until(lambda: " opens: " in board.log())
    board.kill()
    pool.send("DELETE", lease["path"])
    board.start()
    until(lambda: f"fence {lease['fence']} is closed" in board.log())


def test_a_new_address_is_the_same_machine_with_its_lease(pool: ServiceProcess, board: BoardProcess) -> None:
    take(pool, board.name)
    before = board.machine
    board.kill()
    board.start("--address", "10.31.4.99")
    until(lambda: board.machine["address"] == "10.31.4.99")
    after = board.machine
    assert (after["id"], after["lease"]["fence"]) == (before["id"], before["lease"]["fence"])


@pytest.mark.parametrize(("policy", "kept"), [("release", False), ("keep", True)])
def test_a_reboot_ends_a_lease_or_not(
    pool: ServiceProcess, board: BoardProcess, policy: str, kept: bool
) -> None:
    lease = take(pool, board.name, on_reboot=policy)
    until(lambda: board.counters.get("fence") == lease["fence"])
    board.kill()
    plant(board.folder / "root", {"proc/sys/kernel/random/boot_id": BOOT_ID[::-1]})
    board.start()
    until(lambda: board.log().count("beats at") == 2)
    if kept:
        until(lambda: board.counters["reboots"] == 1)
        assert board.machine["lease"]["fence"] == lease["fence"]
    else:
        until(lambda: "is closed" in board.log())
        assert board.machine["lease"] is None
        until(lambda: board.machine["telemetry"]["last_closed"])
        assert board.machine["telemetry"]["last_closed"]["reboots"] == 1


def test_the_token_of_another_board_is_refused_with_what_to_do(pool: ServiceProcess, tmp_path: Path) -> None:
    board = BoardProcess(pool, tmp_path / "board")
    until(board.held_open)
    board.kill()
    board.token.write_text(token_for(pool, "pi-other"))
    board.start()
    until(lambda: "This token is for pi-other" in board.log())
    board.kill()
    board.token.write_text("pc_agent_1_wrong")
    board.start()
    until(lambda: "picluster token create" in board.log())
    board.kill()


def test_the_next_address_when_the_first_is_gone(pool: ServiceProcess, tmp_path: Path) -> None:
    board = BoardProcess(pool, tmp_path / "board", url=f"127.0.0.1:1,{pool.address}")
    until(board.held_open)
    board.kill()
    assert board.log().splitlines()[1:] == [
        "http://127.0.0.1:1: Connection refused",
        f"beats at {pool.address}",
    ]


def test_one_beat_and_no_more(pool: ServiceProcess, tmp_path: Path) -> None:
    board = BoardProcess(pool, tmp_path / "board", "--once")
    assert board.process.wait(20) == 0
    assert board.machine["facts"]["model"] == "pi5"
    pool.kill()
    board.start("--once")
    assert board.process.wait(20) == 1
    pool.start()


def test_a_board_says_how_much_it_costs(pool: ServiceProcess, board: BoardProcess) -> None:
    """Resident memory, and what one beat takes of the processor."""
    status = Path(f"/proc/{board.process.pid}/status").read_text()
    resident = int(status.partition("VmHWM:")[2].split()[0])
    beats = pool.get("/metrics").text.partition('picluster_beats_total{protocol="v1"} ')[2].split()[0]
    print(f"{resident} KiB resident after {beats} beats")
    assert resident < 20 * 1024
