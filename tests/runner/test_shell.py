"""What is said to a machine's shell, said to the shell of this one."""

from __future__ import annotations

import os
import signal
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from picluster.runner import shell
from tests.service import until


def said(script: str, give: bytes | None = b"", **more: str) -> subprocess.CompletedProcess[bytes]:
    """To its end, with what it is given on its input."""
    return subprocess.run(
        ["sh", "-c", script], input=give, capture_output=True, env={**os.environ, **more}, timeout=30
    )


def started(script: str, **more: str) -> subprocess.Popen[bytes]:
    """With somebody who could still say something."""
    return subprocess.Popen(
        ["sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **more},
    )


def run(command: str, **environment: str) -> tuple[int, bytes]:
    process = started(shell.ended_with_us(command, environment, ""))
    assert process.stdout
    out = process.stdout.read()  # to its end, while we could still say something
    process.communicate(timeout=30)
    return process.returncode, out


def alive(pid: int) -> bool:
    """Not gone, and not a zombie that waits for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_the_status_is_the_commands(status: int) -> None:
    assert run(f"exit {status}") == (status, b"")


def test_a_command_that_a_signal_ends_has_128_and_its_number() -> None:
    assert run("kill -SEGV $$")[0] == 128 + signal.SIGSEGV


def test_environment_and_folder_are_as_they_are(tmp_path: Path) -> None:
    """Blanks, quotes and line ends in them are nothing to a shell."""
    folder = tmp_path / "a 'b' \"c\" $d"
    folder.mkdir()
    script = shell.ended_with_us('printf "%s|%s" "$A" "$PWD"', {"A": "x'y\n$z`"}, str(folder))
    process = started(script)
    assert process.stdout
    out = process.stdout.read()
    process.communicate(timeout=30)
    assert out == f"x'y\n$z`|{folder}".encode()


def test_a_command_has_no_input_to_wait_for() -> None:
    assert run("cat; echo done") == (0, b"done\n")


def test_without_its_folder_nothing_is_run() -> None:
    done = said(shell.ended_with_us("echo ran", {}, "/nonexistent"), give=None)
    assert done.returncode and done.stdout == b""


def test_all_that_a_command_began_ends_with_our_voice() -> None:
    """Its children, too, and those that do not listen."""
    command = "trap '' TERM; sleep 4322 & echo $$ $!; wait; sleep 4322"
    process = started(shell.ended_with_us(command, {}, ""))
    assert process.stdout and process.stdin
    pids = [int(word) for word in process.stdout.readline().split()]
    assert all(map(alive, pids))
    process.communicate(timeout=30)  # which closes its input
    assert process.returncode in (128 + signal.SIGKILL, 128 + signal.SIGTERM)
    until(lambda: not any(map(alive, pids)))


def test_who_listens_has_time_to_say_goodbye() -> None:
    process = started(
        shell.ended_with_us("trap 'sleep 0.3; echo bye; exit 3' TERM; echo go; sleep 4322 & wait", {}, "")
    )
    assert process.stdout
    assert process.stdout.readline() == b"go\n"
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (3, b"bye\n")


def test_what_a_command_leaves_running_is_ended_when_it_ends() -> None:
    status, out = run("sleep 4322 >/dev/null 2>&1 & echo $!")
    assert status == 0
    until(lambda: not alive(int(out)))


def test_a_folder_is_there_as_long_as_somebody_is(tmp_path: Path) -> None:
    process = started(shell.holding(), HOME=str(tmp_path))
    assert process.stdout
    folder = Path(process.stdout.readline().decode().strip())
    assert folder.parent == tmp_path and folder.stat().st_mode & 0o777 == 0o700
    (folder / "a").mkdir()
    (folder / "a/b").write_text("")
    process.communicate(timeout=30)
    assert not folder.exists()


def test_a_folder_stays_if_that_is_said(tmp_path: Path) -> None:
    done = said(shell.holding(), b"keep\n", HOME=str(tmp_path))
    assert Path(done.stdout.decode().strip()).exists()


def test_a_folder_is_found_where_the_home_takes_none(tmp_path: Path) -> None:
    done = said(shell.holding(), b"", HOME="/nonexistent", TMPDIR=str(tmp_path))
    assert done.returncode == 0 and Path(done.stdout.decode().strip()).parent == tmp_path


def gathered(folder: Path, *patterns: str) -> tuple[list[str], list[str]]:
    """Names that came, and patterns that named nothing."""
    done = said(shell.gathering(patterns, str(folder)))
    assert done.returncode == 0, done.stderr
    names = []
    if done.stdout:
        with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
            names = archive.getnames()
    missing = [line.removeprefix(shell.MISSING) for line in done.stderr.decode().splitlines()]
    return sorted(names), missing


def test_patterns_are_the_shells_and_everything_else_in_them_is_letters(tmp_path: Path) -> None:
    for name in ("a1", "a2", "b 1", "c;d", "-e", "$f", "sub/g.xml", "h'i"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert gathered(tmp_path, "a*") == (["a1", "a2"], [])
    assert gathered(tmp_path, "a[2-9]", "b ?", "c;d", "-e", "$f", "*/*.xml", "h'i") == (
        ["$f", "-e", "a2", "b 1", "c;d", "h'i", "sub/g.xml"],
        [],
    )
    assert gathered(tmp_path, "x*", "a1", "no such; rm -rf .") == (["a1"], ["x*", "no such; rm -rf ."])
    assert gathered(tmp_path, "$(touch /tmp/never)", "`id`") == ([], ["$(touch /tmp/never)", "`id`"])


def test_one_word_is_a_line_and_several_are_a_command() -> None:
    assert shell.line(["make && ./test | tee log"]) == "make && ./test | tee log"
    assert shell.line(["./test", "a b", "*"]) == "./test 'a b' '*'"
