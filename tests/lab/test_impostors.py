"""A stolen token, and answers from the past: neither opens a board."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.boards import Board, Lab
from tests.lab.faults import Gateway
from tests.lab.people import Holder
from tests.service import HTTP, ServiceProcess, until

pytestmark = [pytest.mark.needs_root, pytest.mark.xdist_group("lab-impostors")]
FENCES = "/var/lib/picluster"
LOGIN = "/api/v1/login"
"""The one call that changes something and is for strangers: they bring a name and a password."""


# A stolen token


def calls(pool: ServiceProcess, machine: str, lease: str) -> Iterator[tuple[str, str]]:
    """Every call that the service describes, at this machine and this lease."""
    filled = {"name": machine, "lease_id": lease}
    for path, methods in pool.get("/openapi.json").json()["paths"].items():
        where = re.sub(r"{(\w+)}", lambda found: filled.get(found[1], "1"), path)
        for method in methods:
            yield method.upper(), where


def test_a_stolen_token_beats_for_its_own_machine_and_does_nothing_else(
    lab: Lab, pool: ServiceProcess, ann: Holder
) -> None:
    """Every endpoint is tried at another board: nothing that a stranger could not do, too."""
    robbed, other = lab.rack(["robbed", "other"], pool)
    until(lambda: robbed.machine)
    ann.take(other)
    stolen = robbed.file("/etc/picluster/token").read_text().strip()
    revision = other.machine["revision"]
    tried: list[tuple[str, str]] = []
    for method, path in calls(pool, other.name, ann.path.rpartition("/")[2]):
        body: dict[str, Any] | None = {} if method in ("POST", "PUT", "PATCH") else None
        answer = pool.send(method, path, body, token=stolen)
        if answer.status_code not in (401, 403):
            assert method == "GET" or path == LOGIN, f"{method} {path}: {answer.status_code} {answer.text}"
            stranger = HTTP.request(method, pool.address + path, json=body)
            assert answer.status_code == stranger.status_code, path
        tried.append((method, path))
    assert ("PATCH", f"/api/v1/machines/{other.name}") in tried and ("DELETE", ann.path) in tried
    robbed.kill_agent()
    robbed.start_agent("--name", other.name)
    until(lambda: "This token is for robbed, not for other" in robbed.log)
    assert other.machine["revision"] == revision
    assert ann.renew()["state"] == "held"
    robbed.kill_agent()
    robbed.start_agent()
    until(lambda: robbed.log.count("beats at") == 2)


# Answers from the past


def opening(gateway: Gateway, fence: int) -> bytes:
    """The answer that told the board to let this fence in."""
    found: list[bytes] = []

    def told() -> bool:
        found[:] = [
            answer for answer in gateway.answers if b'"lease":{' in answer and b"%d" % fence in answer
        ]
        return bool(found)

    until(told)
    return found[0]


def replay(gateway: Gateway, answer: bytes) -> None:
    """The board hears it three times, and nothing else; then the service again."""
    before = gateway.replayed
    gateway.replay = answer
    until(lambda: gateway.replayed >= before + 3)
    gateway.replay = None


def behind(lab: Lab, pool: ServiceProcess, gateway: Gateway, name: str) -> Board:
    """A board whose beats go through the gateway."""
    board = lab.board(name)
    board.join(pool, gateway.port)
    board.start_agent()
    return board


def test_an_old_answer_reopens_nothing(lab: Lab, pool: ServiceProcess, ann: Holder, bob: Holder) -> None:
    """Neither while nobody has the board, nor while somebody else has it, nor after a restart of the agent."""
    with Gateway(pool) as gateway:
        board = behind(lab, pool, gateway, "replayed")
        ann.take(board)
        old = opening(gateway, ann.fence)
        ann.release()
        until(lambda: f"fence {ann.fence} is closed" in board.log)
        replay(gateway, old)
        board.kill_agent()
        board.start_agent()
        replay(gateway, old)
        assert not ann.can_use(board)
        bob.take(board)
        until(lambda: f"fence {bob.fence} opens" in board.log)
        replay(gateway, old)
        assert bob.can_use(board) and not ann.can_use(board)
        until(lambda: board.machine["telemetry"]["since_open"]["fence"] == bob.fence)
        assert board.log.count(f"fence {ann.fence} opens") == 1
        assert board.log.count(f"fence {bob.fence} opens") == 1
        assert f"fence {bob.fence} is closed" not in board.log


def test_the_same_answer_opens_a_board_that_has_forgotten(
    lab: Lab, pool: ServiceProcess, ann: Holder
) -> None:
    """So the old answer is a dangerous one, and it is what the board keeps on its disk that stops it."""
    with Gateway(pool) as gateway:
        board = behind(lab, pool, gateway, "forgetful")
        ann.take(board)
        old = opening(gateway, ann.fence)
        ann.release()
        until(lambda: f"fence {ann.fence} is closed" in board.log)
        board.kill_agent()
        board.run(["rm", "-r", FENCES])
        gateway.replay = old
        board.start_agent()
        until(lambda: board.log.count(f"fence {ann.fence} opens") == 2)
        assert ann.can_use(board)
        gateway.replay = None
