"""Real processes, where signals, pipes and terminals matter."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from picluster.cli.output import fitting
from tests.cli.conftest import Shell, boards
from tests.service import KEY, PATIENCE_S, ServiceProcess, until


@contextmanager
def held(pool: ServiceProcess, name: str) -> Iterator[str]:
    """Somebody has this machine; the path of the lease."""
    path = f"/api/v1/leases/{name.encode().hex():0>8.8}-0000-4000-8000-{os.getpid():012}"
    assert pool.send("PUT", path, {"selector": name, "job": "nightly", "ttl_s": None}).status_code == 200
    yield path
    pool.send("DELETE", path)


def waiting_for(pool: ServiceProcess, name: str) -> list[dict[str, Any]]:
    return [lease for lease in pool.get("/api/v1/queue").json() if lease["selector"] == f"name:{name}"]


def lease_on(pool: ServiceProcess, name: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = pool.get(f"/api/v1/machines/{name}").json()["lease"]
    return found


# Pipes


@pytest.fixture(scope="module")
def many(pool: ServiceProcess) -> str:
    """A glob for machines that say more than a pipe holds at once."""
    with httpx2.Client(base_url=pool.address, verify=False, timeout=PATIENCE_S) as asking:
        for number in range(150):
            body = {
                "ApiKey": KEY,
                "IpAddress": f"many-{number}",
                "HostName": f"many-{number}",
                "Comment": "x" * 500,
            }
            assert asking.post("/api/update", json=body).status_code == 200
    return "'many-*'"


@pytest.mark.parametrize("form", ["wide", "json", "jsonl", "csv"])
def test_who_has_seen_enough_may_close_the_pipe(sh: Shell, many: str, form: str) -> None:
    with sh.start(f"set -o pipefail; picluster list {many} -o {form} | head -1") as process:
        out, err = process.communicate(timeout=PATIENCE_S)
    assert (len(out.splitlines()), err) == (1, "")


@pytest.fixture
def closed() -> Iterator[int]:
    """The end of a pipe that nobody reads from."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize("command", ["list {}", "show {} -o json", "completion bash", "--help"])
def test_a_pipe_that_nobody_reads_is_no_accident(
    sh: Shell, pool: ServiceProcess, closed: int, command: str
) -> None:
    (name,) = boards(pool)
    with sh.start(f"picluster {command.format(name)}", stdout=closed) as process:
        assert process.communicate(timeout=PATIENCE_S)[1] == ""
    assert process.returncode == 1


@pytest.mark.parametrize("form", ["table", "json"])
def test_what_could_not_be_told_is_not_left_locked(
    sh: Shell, pool: ServiceProcess, closed: int, form: str
) -> None:
    """Into a pipe that nobody reads, and onto a disk that is full."""
    (name,) = boards(pool)
    with sh.start(f"picluster lock {name} -o {form}", stdout=closed) as process:
        assert "Traceback" not in process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 1
    assert lease_on(pool, name) is None
    with sh.start(f"picluster lock {name} -o {form} > /dev/full") as process:
        err = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 1
    assert err.splitlines()[-1] == "picluster: No space left on device"
    assert lease_on(pool, name) is None


# Signals


@pytest.mark.parametrize(
    ("number", "verb"),
    [
        (signal.SIGINT, "wait"),
        (signal.SIGTERM, "wait"),
        (signal.SIGHUP, "wait"),
        (signal.SIGTERM, "lock --wait"),
    ],
)
def test_whoever_is_stopped_while_waiting_leaves_the_queue(
    sh: Shell, pool: ServiceProcess, number: signal.Signals, verb: str
) -> None:
    """Ctrl-C, a job that is cancelled, a terminal that is closed."""
    (name,) = boards(pool)
    with held(pool, name), sh.start(f"exec picluster {verb} {name}") as process:
        until(lambda: waiting_for(pool, name))
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, out) == (130, "")
        assert err.splitlines()[-1] == "picluster: stopped. You have left the queue, and nothing was locked."
        assert waiting_for(pool, name) == []


def test_who_is_told_to_ignore_a_closed_terminal_waits_on(sh: Shell, pool: ServiceProcess) -> None:
    (name,) = boards(pool)
    with held(pool, name) as lease, sh.start(f"trap '' HUP; exec picluster wait {name} -q") as process:
        until(lambda: waiting_for(pool, name))
        process.send_signal(signal.SIGHUP)
        pool.send("DELETE", lease)
        assert process.communicate(timeout=PATIENCE_S)[0].strip() == name
        assert process.returncode == 0


def test_waiting_outlasts_a_pause_of_the_service(sh: Shell, pool: ServiceProcess) -> None:
    (name,) = boards(pool)
    with held(pool, name) as lease, sh.start(f"picluster wait {name} -q") as process:
        until(lambda: waiting_for(pool, name))
        pool.kill()
        pool.start()
        pool.send("DELETE", lease)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, out.strip()) == (0, name)
        assert "Trying on …" in err


# Terminals


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, sh: Shell, line: str, **settings: str) -> None:
        self._own, theirs = pty.openpty()
        settings = {"TERM": "xterm-256color", "COLUMNS": "100"} | settings
        self.process = sh.start(line, stdin=theirs, stdout=theirs, stderr=theirs, env=settings)
        os.close(theirs)
        self.shown = ""

    def until(self, text: str) -> None:
        """Read until this is shown; to the end, if it never is."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.shown:
            assert time.monotonic() < deadline, f"{text!r} was never shown: {self.shown!r}"
            if select.select([self._own], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self._own, 65_536).decode(errors="replace")
                except OSError:  # which is how a terminal says that it was closed
                    assert text in self.shown, self.shown
                    return

    def type(self, text: str) -> None:
        os.write(self._own, text.encode())

    def end(self) -> int:
        """Everything shown; the exit code."""
        try:
            while piece := os.read(self._own, 65_536):
                self.shown += piece.decode(errors="replace")
        except OSError:
            pass
        os.close(self._own)
        return self.process.wait(PATIENCE_S)


def test_a_terminal_is_asked_whether_to_wait(sh: Shell, pool: ServiceProcess) -> None:
    """It is told who has the machine, may wait with one key, and sees how waiting goes."""
    (name,) = boards(pool)
    with held(pool, name) as lease:
        terminal = Terminal(sh, f"picluster lock {name}")
        terminal.until("Wait for your turn? [Y/n]: ")
        assert re.search(
            f"{name} is held by admin for 'nightly': since \\d+ s, until unlocked.", terminal.shown
        )
        terminal.type("\n")
        terminal.until("Waiting: ")
        assert len(waiting_for(pool, name)) == 1
        pool.send("DELETE", lease)
        terminal.until("gives back.")
        assert terminal.end() == 0
    assert "Yours for 8 h 00 min." in terminal.shown
    assert waiting_for(pool, name) == []


@pytest.mark.parametrize(("typed", "code"), [("n\n", 5), ("\x04", 1)])
def test_who_does_not_want_to_wait_is_not_queued(
    sh: Shell, pool: ServiceProcess, typed: str, code: int
) -> None:
    (name,) = boards(pool)
    with held(pool, name):
        terminal = Terminal(sh, f"picluster lock {name}")
        terminal.until("[Y/n]: ")
        terminal.type(typed)
        assert terminal.end() == code
        assert waiting_for(pool, name) == []
        assert "Traceback" not in terminal.shown


def test_progress_is_one_line_that_goes_away(sh: Shell, pool: ServiceProcess) -> None:
    (name,) = boards(pool)
    with held(pool, name):
        terminal = Terminal(sh, f"exec picluster wait {name}")
        terminal.until("Waiting: ")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 130
    assert "\x1b[?25l" in terminal.shown  # the cursor is hidden while the line moves,
    assert terminal.shown.rindex("\x1b[?25h") > terminal.shown.rindex("\x1b[?25l")  # and is back afterwards


def test_colours_are_for_terminals_that_want_them(sh: Shell, pool: ServiceProcess) -> None:
    (name,) = boards(pool)
    terminal = Terminal(sh, f"picluster list {name}")
    assert terminal.end() == 0
    assert "\x1b[32mfree" in terminal.shown
    terminal = Terminal(sh, f"picluster list {name}", NO_COLOR="1")
    assert terminal.end() == 0
    assert name in terminal.shown and "\x1b[32m" not in terminal.shown


def test_a_narrow_terminal_gets_narrow_lines(sh: Shell, pool: ServiceProcess) -> None:
    (name,) = boards(pool)
    sh.run(["lock", name, "--job", "word " * 50])
    terminal = Terminal(sh, f"picluster list {name} | cat; picluster list {name}", COLUMNS="60", NO_COLOR="1")
    assert terminal.end() == 0
    piped, row = (line for line in terminal.shown.splitlines() if name in line)
    assert len(row) <= 60 < len(piped) and "…" in row
    assert all(word in row for word in ("locked", "admin"))


@pytest.mark.parametrize(
    ("natural", "room", "fits"),
    [
        ([5, 6, 60, 13], 200, [5, 6, 60, 13]),
        ([5, 6, 60, 13], 60, [5, 6, 36, 13]),
        ([30, 6, 60, 13], 40, [30, 6, 7, 7]),
        ([30], 10, [30]),
    ],
)
def test_the_widest_column_gives_way_and_the_name_never(
    natural: list[int], room: int, fits: list[int]
) -> None:
    assert fitting(natural, room) == fits


def test_a_token_is_typed_unseen(sh: Shell, pool: ServiceProcess, tmp_path: Path) -> None:
    terminal = Terminal(sh, f"picluster login {pool.address}")
    terminal.until("Name (empty to paste a token): ")
    terminal.type("\n")
    terminal.until("Token: ")
    terminal.type("not-the-right-token\n")
    assert terminal.end() == 4
    assert "not-the-right-token" not in terminal.shown
    assert not list(tmp_path.glob("login.*"))
    assert isinstance(terminal.process, subprocess.Popen)
