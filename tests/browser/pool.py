"""A pool of boards in given states, brought there as boards and people would: beats, locks, drains, silence.

In two acts. First a hasty service, where boards that should be offline beat once and fall silent. Then, on the same
data, a patient one, where nobody falls silent and no cleaning is given up while tests look at it. Between the two
the past is written: an hour of samples, which no test can wait for.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.browser.boards import Board, Lock, past
from tests.service import ADMIN, PATIENCE_S, ServiceProcess, on_sqlite, service, until

HASTE = {
    "PICLUSTER_PULSE_S": "0.1",
    "PICLUSTER_POLICY__SLACK_S": "0.2",
    "PICLUSTER_POLICY__OFFLINE_S": "0.2",
}
PATIENCE = dict.fromkeys(
    (
        "PICLUSTER_POLICY__OFFLINE_S",
        "PICLUSTER_POLICY__LEGACY_OFFLINE_S",
        "PICLUSTER_POLICY__DEAD_MACHINE_S",
        "PICLUSTER_POLICY__WAITING_S",
        "PICLUSTER_POLICY__CLEAN_S",
    ),
    "14400",
)
"""Four hours: longer than anybody looks."""

_FELL_SILENT = "UPDATE presence SET heard_us = heard_us - :us, heard_s = heard_s - :s WHERE name = :name"

ROLES = {"ann": "operator", "bob": "user", "dana": "operator", "vic": "viewer", "root": "admin"}
"""Who is not here is a user."""


class Pool:
    """A running service with some boards, and everybody's credentials."""

    def __init__(self, running: ServiceProcess, folder: Path) -> None:
        self.service = running
        self.folder = folder
        """Where its database is."""
        self.boards: dict[str, Board] = {}
        self._tokens: dict[tuple[str, str], str] = {}
        self._http = httpx2.Client(base_url=running.address, timeout=PATIENCE_S)

    @property
    def address(self) -> str:
        return self.service.address

    def call(self, method: str, path: str, body: Any = None, token: str = ADMIN) -> Any:
        """One call of `/api/v1`; its answer. Raises `AssertionError` with what it said if it is a refusal."""
        headers = {"Authorization": f"Bearer {token}"}
        answer = self._http.request(method, f"/api/v1/{path}", json=body, headers=headers)
        assert answer.is_success, f"{method} {path}: {answer.text}"
        return answer.json() if answer.content else None

    def person(self, name: str) -> str:
        """A token for somebody, with the role that they have in these stories."""
        kind = "ci" if name.startswith("ci:") else "person"
        return self._token(kind, name, role=ROLES.get(name, "user"))

    def machine(self, name: str) -> dict[str, Any]:
        return dict(self.call("GET", f"machines/{name}"))

    def state(self, name: str) -> str:
        return str(self.machine(name)["state"])

    def add(self, board: Board) -> None:
        """A board comes to the pool and gets into its state, but for falling silent."""
        self.boards[board.name] = board
        self._register(board)
        if board.comment:
            self.call("PATCH", f"machines/{board.name}", {"comment": board.comment}, self.person("dana"))
        if board.lock:
            lease = self.lock(board.name, board.lock)
            if board.cleaning:
                self.unlock(lease, board.lock.by)
        if board.drained:
            what = {"service": "drained", "reason": board.drained}
            self.call("PATCH", f"machines/{board.name}", what, self.person("dana"))

    def join(self, board: Board, token: str) -> None:
        """A board is let in with a join token; it beats with its own from then on."""
        self.boards[board.name] = board
        ask = {"name": board.name, "id": f"serial-{board.name}", "address": board.address}
        joined = self.call("POST", "join", {**ask, "host_keys": [board.host_key]}, token)
        self._tokens["agent", board.name] = joined["token"]

    def beat(self, name: str, **said: Any) -> None:
        """The board reports as it is, but for what is said here."""
        board = self.boards[name]
        report = {
            "id": f"serial-{name}",
            "address": board.address,
            "mode": "enforced" if board.cleaning else "advisory",
            "boot_id": f"boot-of-{name}",
            "facts": board.facts,
            "labels": board.labels,
            "host_keys": [board.host_key],
            "ssh_user": "pi",
            "telemetry": board.telemetry(),
        }
        self.call("POST", f"machines/{name}/beat", {**report, **said}, self._agent(board))

    def lock(self, name: str, lock: Lock) -> str:
        """Somebody locks a board; the lease's id."""
        if lock.by.startswith("legacy:"):
            user = lock.by.removeprefix("legacy:")
            self.service.old("lock", self.boards[name].address, user, CurrentTaskName=lock.job)
            return ""
        ask = {
            "selector": name,
            "queue": False,
            "job": lock.job,
            "ttl_s": lock.ttl_s,
            "not_after_s": lock.most_s,
        }
        return self.lease(lock.by, **ask)

    def lease(self, by: str, **ask: Any) -> str:
        """Somebody asks for machines, and perhaps waits; the lease's id."""
        lease = str(uuid.uuid4())
        self.call("PUT", f"leases/{lease}", ask, self.person(by))
        return lease

    def unlock(self, lease: str, by: str) -> None:
        self.call("DELETE", f"leases/{lease}", token=self.person(by))

    def close(self) -> None:
        self._http.close()

    def _register(self, board: Board) -> None:
        if board.old:
            self._update(board)
            return
        if board.pending:
            self._join(board)
        self.beat(board.name)

    def _join(self, board: Board) -> None:
        """With a token whose boards wait until a person has looked at them."""
        made = self.call("POST", "tokens", {"name": "rack a", "kind": "join", "approve": True})
        self.join(board, made["token"])

    def _update(self, board: Board) -> None:
        """As the first service's monitor reports."""
        loads = " : ".join(f"{load:.2f}" for load in board.telemetry()["load"])
        more = {
            "Platform": board.model.cpu,
            "OsName": "Linux",
            "OsVersion": "6.1.21-v7+",
            "SystemLoad": loads,
        }
        more |= {"HostName": board.name, "Temperature": f"{board.temperature:.1f}'C"}
        self.service.old("update", board.address, None, **more)
        self.call("PATCH", f"machines/{board.name}", {"labels": board.labels}, self.person("dana"))

    def _agent(self, board: Board) -> str:
        return self._token("agent", board.name)

    def _token(self, kind: str, name: str, **more: str) -> str:
        if (kind, name) not in self._tokens:
            made = self.call("POST", "tokens", {"name": name, "kind": kind, **more})
            self._tokens[kind, name] = made["token"]
        return self._tokens[kind, name]


@contextmanager
def pool_of(boards: Sequence[Board], folder: Path, **settings: str) -> Iterator[Pool]:
    """A service on a free port with these boards in their states, for the time of the block."""
    gone = [board for board in boards if board.gone_s]
    with service(*on_sqlite(folder), **HASTE) as running, closing(Pool(running, folder)) as hasty:
        for board in gone:
            hasty.add(board)
        until(lambda: all(hasty.machine(board.name)["presence"] == "offline" for board in gone))
        running.stop()
    _write_past(folder / "picluster.db", boards)
    with (
        service(*on_sqlite(folder), **{**PATIENCE, **settings}) as running,
        closing(Pool(running, folder)) as pool,
    ):
        pool.boards = {board.name: board for board in gone}
        for board in boards:
            if not board.gone_s:
                pool.add(board)
        yield pool


def with_a_queue(pool: Pool) -> None:
    """Three wait, as in the picture of the queue: one of them for three boards, so that one is set aside."""
    pool.lease("ann", selector="model:pi5 tag:camera tag:fan", job="vision-perf, second baseline", ttl_s=7200)
    pool.lease("ci:pipelines/net", selector="model:pi4 rack:b", count=3, job="pr-2294 mesh of three nodes")
    selector = "model:cm4 tag:emmc -cm4-bench-02"
    pool.lease("bob", selector=selector, job="emmc wear, second sample", ttl_s=7200, priority=0)


def _write_past(database: Path, boards: Sequence[Board]) -> None:
    now_us = time.time_ns() // 1000
    rows = [row for board in boards for row in past(board, now_us)]
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DELETE FROM samples")  # of the first act, when who is long gone was there
        for board in boards:
            silence = {"name": board.name, "us": int(board.gone_s * 1e6), "s": board.gone_s}
            connection.execute(_FELL_SILENT, silence)
        if rows:
            columns = ", ".join(rows[0])
            values = ", ".join(f":{name}" for name in rows[0])
            connection.executemany(f"INSERT INTO samples ({columns}) VALUES ({values})", rows)
