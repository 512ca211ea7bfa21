"""The database server of the tests keeps what it acknowledged, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.postgres import PostgresServer, find_binaries


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


def test_a_fresh_database_answers_and_is_empty(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        ).fetchone() == (0,)
        assert connection.execute("SHOW fsync").fetchone() == ("on",)


def test_what_was_committed_survives_a_kill(server: PostgresServer) -> None:
    url = server.create_database("pool")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE seen (number int)")
        connection.execute("INSERT INTO seen VALUES (42)")
        connection.commit()
        connection.execute("INSERT INTO seen VALUES (43)")  # never committed
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert not server.running

    server.restart()

    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT number FROM seen").fetchall() == [(42,)]


def test_a_database_can_be_copied_from_a_template(server: PostgresServer) -> None:
    with psycopg.connect(server.create_database("mould")) as connection:
        connection.execute("CREATE TABLE seen AS SELECT 42 AS number")
    with psycopg.connect(server.create_database("cast", template="mould")) as connection:
        assert connection.execute("SELECT number FROM seen").fetchall() == [(42,)]


def test_a_stopped_server_keeps_its_data_and_a_closed_one_leaves_nothing(server: PostgresServer) -> None:
    server.create_database("kept")
    server.restart()
    with psycopg.connect(server.url("kept")) as connection:
        connection.execute("SELECT 1")
    server.close()
    assert not server.folder.exists()


def test_the_server_ends_with_a_test_process_that_was_killed() -> None:
    """No `finally` and no `atexit` runs then."""
    program = (
        "import time\n"
        "from tests.postgres import PostgresServer\n"
        "with PostgresServer() as server:\n"
        "    print(server._process.pid, server.folder, flush=True)\n"
        "    time.sleep(60)\n"
    )
    repository = Path(__file__).parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=repository
    ) as tests:
        assert tests.stdout
        pid, folder = tests.stdout.readline().split()
        os.kill(tests.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while Path(folder).exists() or _alive(int(pid)):
        assert time.monotonic() < deadline, "the server outlived its tests"
        time.sleep(0.02)


def test_binaries_that_are_not_where_they_were_said_to_be_are_an_error_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"make install.*apt install postgresql.*PICLUSTER_TEST_PG_BIN"
    ):
        find_binaries({"PICLUSTER_TEST_PG_BIN": str(tmp_path)})


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
