"""What a job's output looks like: one machine's as it is, several line by line, and talk only where it is wanted."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace

import pytest

from picluster.cli.running import LONGEST_LINE, Moved, Terminal
from picluster.pool.model import Mode
from picluster.runner.job import Part, Result
from picluster.runner.plan import Job
from picluster.wire import LeaseAnswer, LeasedMachine
from tests.runner.test_report import LEASE

ONE, OTHER = (
    LeasedMachine(name, "10.0.0.1", "pi5", Mode.ENFORCED, True, (), "picluster", 22)
    for name in ("pi-a", "pi-b")
)


class Shown:
    """A terminal for one job, and what has come out of it."""

    def __init__(self, capfd: pytest.CaptureFixture[str], count: int = 1, quiet: bool = False) -> None:
        self.terminal = Terminal(Job("model:pi5", "true", count=count), quiet)
        self._capfd = capfd

    def says(self, machine: LeasedMachine, *pieces: bytes, stream: str = "stdout") -> str:
        """On the stream that is named."""

        async def one_after_the_other() -> None:
            for piece in pieces:
                told = self.terminal.says(machine, stream, piece)
                if told is not None:
                    await told

        asyncio.run(one_after_the_other())
        return str(getattr(self._capfd.readouterr(), "out" if stream == "stdout" else "err"))

    @property
    def talk(self) -> str:
        return self._capfd.readouterr().err


def test_one_machine_is_as_if_it_were_here(capfd: pytest.CaptureFixture[str]) -> None:
    """Half a line is shown at once: it may be a progress bar, or a question."""
    shown = Shown(capfd)
    assert shown.says(ONE, b"50 %\r", b"100 %") == "50 %\r100 %"
    assert shown.says(ONE, b"oh\n", stream="stderr") == "oh\n"


def test_of_several_machines_each_line_has_its_name_and_none_is_cut(
    capfd: pytest.CaptureFixture[str],
) -> None:
    shown = Shown(capfd, count=2)
    assert shown.says(ONE, b"one\ntw") == "pi-a| one\n"
    assert shown.says(OTHER, b"eins\n") == "pi-b| eins\n"
    assert shown.says(ONE, b"o\n") == "pi-a| two\n"
    assert shown.says(ONE, b"o", stream="stderr") == ""


def test_a_line_without_end_does_not_fill_the_memory(capfd: pytest.CaptureFixture[str]) -> None:
    shown = Shown(capfd, count=2)
    said = shown.says(ONE, *[b"x" * 10_000] * 20)
    assert len(said) > LONGEST_LINE
    assert all(line.startswith("pi-a| x") for line in said.splitlines())


def test_quiet_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    for quiet, said in ((False, "pi-a copies build …\n"), (True, "")):
        shown = Shown(capfd, quiet=quiet)
        shown.terminal.begins(ONE, "copies build")
        shown.terminal.moved(ONE, 1_000_000)
        shown.terminal.begins(ONE, "runs")
        assert shown.talk == said


def test_what_could_not_be_fetched_is_said_also_to_the_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    shown = Shown(capfd, quiet=True)
    shown.terminal.misses(ONE, ["a*", "b"])
    assert shown.talk == "pi-a has nothing to fetch as a* or as b.\n"


def test_on_a_terminal_a_copy_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    watching, shown = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with open(shown, "w") as stderr, open(watching, "rb", buffering=0) as person:
        monkeypatch.setattr("sys.stderr", stderr)
        moved = Moved()
        moved.begin("pi-a copies build")
        moved.more(12_000_000)
        moved.stop()
        seen = b""
        while b"pi-a copies build: 12 MB" not in seen:  # or this waits for ever, which pytest ends
            seen += person.read(10_000)


@pytest.mark.parametrize(
    ("lease", "words"),
    [
        (LEASE, "verdict clean."),
        (replace(LEASE, verdict=""), "given back."),
        (replace(LEASE, state="held", verdict=""), "could not be told; the lease runs out in 60 s."),
    ],
)
def test_the_last_words_of_a_job_that_was_stopped_say_what_became_of_it(
    capfd: pytest.CaptureFixture[str], lease: LeaseAnswer, words: str
) -> None:
    """Nothing of it reads as if it still ran, nor as if something were wrong with the board."""
    shown = Shown(capfd, count=2)
    ran = Part(ONE, None, began_us=1_000_000, ended_us=8_000_000)
    result = Result(Job("model:pi5", "sleep 60"), lease, [ran, Part(OTHER, None)], stopped_by=signal.SIGINT)
    shown.terminal.ended(result)
    said = shown.talk
    assert said.startswith("pi-a: stopped after 7 s; pi-b: not begun; ") and said.rstrip().endswith(words)
