"""`picluster run` against real boards: each way in which a run may end, its exit code, and that the board is free again."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.lab.boards import ACCOUNT, Board, Lab
from tests.lab.people import Holder
from tests.lab.runs import GIVEN_BACK_S, Run, free_within, run, running_on
from tests.service import PATIENCE_S, ServiceProcess, until

pytestmark = [pytest.mark.needs_root, pytest.mark.xdist_group("lab-run")]
TTL_S, SLACK_S = 3, 0.5
"""The shortest ttl that the service takes, and the hasty lab's slack."""
LEFT_BEHIND_S = TTL_S + 2 * SLACK_S + GIVEN_BACK_S
BUSY = "echo begun; sleep 4321 & sleep 4321; wait"
"""A command with a child that nobody waits for, and that does not end by itself."""
ALARM = "/sys/class/hwmon/hwmon2/in0_lcrit_alarm"
NOBODY = 65534
AS_NOBODY = (
    "/usr/bin/setpriv",
    *(f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    *("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"),
)
"""With the one right to read, since the Python that runs the tests may lie where only root can."""
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def board(lab: Lab, pool: ServiceProcess) -> Iterator[Board]:
    """One that enforces, for all stories that leave it as it was."""
    built = lab.board("enforced", pool)
    until(lambda: built.machine.get("state") == "free")
    yield built
    free_within(built, GIVEN_BACK_S)


@pytest.fixture(scope="module")
def ann(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of somebody with a key."""
    home = tmp_path_factory.mktemp("ann")
    (home / ".ssh").mkdir(mode=0o700)
    key = home / ".ssh/id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    return home


@pytest.fixture
def advisory(lab: Lab, pool: ServiceProcess, ann: Path) -> Board:
    """A fresh one that does not enforce, and knows Ann: nobody there but we end what we began."""
    built = lab.board(f"advisory-{next(numbers)}", pool, enforced=False)
    key = (ann / ".ssh/id_ed25519.pub").read_text()
    built.run(["sh", "-c", "mkdir -p ~/.ssh && cat > ~/.ssh/authorized_keys"], ACCOUNT, input=key)
    until(lambda: built.machine.get("state") == "free")
    return built


# It goes well


def test_a_command_gets_its_bits_and_gives_back_its_results(
    pool: ServiceProcess, board: Board, tmp_path: Path
) -> None:
    """Folders with modes and links go there; what it made comes back, with how it went and whether the board was honest."""
    build, out = tmp_path / "build", tmp_path / "out"
    (build / "deep/er").mkdir(parents=True)
    (build / "test.sh").write_text('#!/bin/sh\ncat deep/er/link\nmkdir results\necho "$1" > results/said\n')
    (build / "test.sh").chmod(0o755)
    (build / "deep/er/data").write_text("from here\n")
    (build / "deep/er/link").symlink_to("data")
    copies = ("--copy", f"{build}/", "--copy", f"{build}/deep/er/data:other/name")
    done = run(
        pool,
        board,
        *copies,
        "--fetch",
        "results",
        "--fetch",
        "other/*",
        "--out",
        out,
        "--",
        "./test.sh",
        "a  b",
    )
    assert (done.code, done.out) == (0, "from here\n"), done.err
    assert (out / "files/results/said").read_text() == "a  b\n"
    assert (out / "files/other/name").read_text() == "from here\n"
    assert (out / "output.txt").read_text() == "from here\n"
    result = json.loads((out / "result.json").read_text())
    [machine] = result["machines"]
    assert (result["ending"], result["exit_code"], result["verdict"]) == ("passed", 0, "clean")
    assert (machine["name"], machine["model"], machine["status"]) == (board.name, "pi5", 0)
    assert sorted(machine["files"]) == ["files/other/name", "files/results/said"]
    free_within(board, GIVEN_BACK_S)


def test_it_needs_neither_root_nor_an_ssh_client(pool: ServiceProcess, board: Board) -> None:
    """As of a job in a bare container: nobody's account, and no program to be found anywhere."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        home = Path(folder)
        os.chown(home, NOBODY, NOBODY)
        (home / "bits").write_text("from nobody\n")
        done = run(
            pool,
            board,
            *("--copy", home / "bits", "--fetch", "back", "--out", home / "out"),
            *("--", "cp bits back; id -un"),
            home=home,
            within=AS_NOBODY,
            settings={"PATH": "/nonexistent"},
        )
        assert (done.code, done.out) == (0, f"{ACCOUNT}\n"), done.err
        assert (home / "out/files/back").read_text() == "from nobody\n"
        assert (home / "out").stat().st_uid == NOBODY


def test_nothing_of_a_run_stays_on_a_board_that_does_not_enforce(
    pool: ServiceProcess, advisory: Board, ann: Path
) -> None:
    """Its folder goes, also when parts of it may not be written to, and so does what it left running."""
    messy = "mkdir -p a/b; chmod 500 a; sleep 4321 & echo done"
    done = run(pool, advisory, "--", messy, home=ann)
    assert (done.code, done.out) == (0, "done\n"), done.err
    until(lambda: not running_on(advisory, "sleep 4321"))
    until(lambda: not list(advisory.file(f"/home/{ACCOUNT}").glob("picluster-*")))
    free_within(advisory, GIVEN_BACK_S)


def test_a_password_opens_a_board_where_no_key_does_and_a_wrong_one_does_not(
    lab: Lab, pool: ServiceProcess, tmp_path: Path
) -> None:
    board = lab.board(f"password-{next(numbers)}", pool, enforced=False)
    config = board.file("/etc/ssh/sshd_config")
    config.write_text(config.read_text().replace("PasswordAuthentication no", "PasswordAuthentication yes"))
    board.run(["sh", "-c", f"echo {ACCOUNT}:raspberry | chpasswd -c SHA512"])
    board.run(["pkill", "-HUP", "-o", "sshd"])
    until(lambda: board.machine.get("state") == "free")
    right = run(pool, board, "--", "whoami", home=tmp_path, settings={"RPI_PASSWORD": "raspberry"})
    assert (right.code, right.out) == (0, f"{ACCOUNT}\n"), right.err
    free_within(board, GIVEN_BACK_S)
    wrong = run(pool, board, "--", "whoami", home=tmp_path, settings={"RPI_PASSWORD": "strawberry"})
    assert (wrong.code, wrong.out) == (125, "")
    assert (
        "lets picluster in with none of your keys and RPI_PASSWORD" in wrong.err
        and "strawberry" not in wrong.err
    )
    free_within(board, GIVEN_BACK_S)


# It does not


def test_a_failing_test_is_the_exit_code_and_in_junit(
    pool: ServiceProcess, board: Board, tmp_path: Path
) -> None:
    """Its own report is merged, marked with the board it ran on; that the command failed afterwards is not lost."""
    report = '<testsuite name="own" tests="1"><testcase name="one" classname="a"/></testsuite>'
    command = f"echo '{report}' > own.xml; echo it broke; exit 7"
    done = run(
        pool, board, "--fetch", "*.xml", "--out", tmp_path, "--junit", tmp_path / "all.xml", "--", command
    )
    assert done.code == 7
    suites = ElementTree.parse(tmp_path / "all.xml").getroot().findall("testsuite")
    assert [suite.get("name") for suite in suites] == ["own", f"name:{board.name}"]
    [failure] = suites[1].iter("failure")
    assert failure.get("message") == "The command ended with 7."
    marks = {one.get("name"): one.get("value") for one in suites[0].iter("property")}
    assert (marks["picluster.machine"], marks["picluster.model"]) == (board.name, "pi5")
    assert marks["picluster.verdict"] == "clean" and int(marks["picluster.fence"] or 0) > 0
    free_within(board, GIVEN_BACK_S)


def test_a_command_that_takes_too_long_is_ended_and_its_results_are_fetched(
    pool: ServiceProcess, advisory: Board, ann: Path, tmp_path: Path
) -> None:
    """All of it: it is told first, and what does not listen is killed."""
    command = f"trap 'echo late > said; exit' TERM; {BUSY}"
    done = run(
        pool, advisory, "--timeout", "1s", "--fetch", "said", "--out", tmp_path, "--", command, home=ann
    )
    assert done.code == 124 and "ran for more than 1 s" in done.err
    assert (tmp_path / "files/said").read_text() == "late\n"
    until(lambda: not running_on(advisory, "sleep 4321"))
    free_within(advisory, GIVEN_BACK_S)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_stopped_ends_its_command_and_gives_back(
    pool: ServiceProcess, advisory: Board, ann: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with Run(pool, advisory, "--out", tmp_path, "--", BUSY, home=ann) as running:
        running.says("begun")
        running.send(number)
        done = running.end()
    assert done.code == 128 + number and "ending the command" in done.err and "; given back." in done.err
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["ending"], result["exit_code"], result["signal"]) == ("stopped", done.code, number)
    until(lambda: not running_on(advisory, "sleep 4321"))
    free_within(advisory, GIVEN_BACK_S)


def test_a_second_signal_waits_for_nothing(pool: ServiceProcess, advisory: Board, ann: Path) -> None:
    """Not even for a command that does not listen; what is locked is free when its time is over, as after `kill -9`."""
    deaf = "trap '' TERM; echo begun; while :; do sleep 1; done"
    with Run(pool, advisory, "--ttl", f"{TTL_S}s", "--", deaf, home=ann) as running:
        running.says("begun")
        running.send(signal.SIGINT)
        assert running.process.stderr
        until(lambda: "SIGINT" in running.process.stderr.readline())  # type: ignore[union-attr]
        running.send(signal.SIGINT)
        assert running.process.wait(PATIENCE_S) == -signal.SIGINT
    until(lambda: not running_on(advisory, deaf))
    free_within(advisory, LEFT_BEHIND_S)


def test_a_run_whose_output_nobody_reads_any_more_stops(
    pool: ServiceProcess, advisory: Board, ann: Path
) -> None:
    """As every command before `| head` does."""
    with Run(pool, advisory, "--", "sleep 4321 & echo begun; yes", home=ann) as running:
        running.says("begun")
        assert running.process.stdout
        running.process.stdout.close()
        assert running.process.wait(PATIENCE_S) == 128 + signal.SIGPIPE
    until(lambda: not running_on(advisory, "sleep 4321"))
    free_within(advisory, GIVEN_BACK_S)


def test_a_run_that_is_killed_leaves_nothing_running_and_its_board_is_free_after_the_ttl(
    pool: ServiceProcess, advisory: Board, ann: Path
) -> None:
    """Nobody is there to end the command but the board, which hears that its connection is gone."""
    with Run(pool, advisory, "--ttl", f"{TTL_S}s", "--", BUSY, home=ann) as running:
        running.says("begun")
        running.send(signal.SIGKILL)
    until(lambda: not running_on(advisory, "sleep 4321"))
    until(lambda: not list(advisory.file(f"/home/{ACCOUNT}").glob("picluster-*")))
    free_within(advisory, LEFT_BEHIND_S)


def test_a_lease_that_an_operator_takes_back_ends_the_command(
    pool: ServiceProcess, advisory: Board, board: Board, ann: Path
) -> None:
    """On a board that enforces, whose agent closes the connection, and on one where the runner has to notice."""
    for taken in (advisory, board):
        with Run(pool, taken, "--ttl", f"{TTL_S}s", "--", BUSY, home=ann) as running:
            running.says("begun")
            lease = taken.machine["lease"]["id"]
            assert pool.send("DELETE", f"/api/v1/leases/{lease}?reason=needed").status_code == 200
            done = running.end()
        assert done.code == 75 and "The lease has ended" in done.err
        until(lambda taken=taken: not running_on(taken, "sleep 4321"))
        free_within(taken, GIVEN_BACK_S)


def test_a_board_that_loses_its_power_is_a_lost_lease(lab: Lab, pool: ServiceProcess) -> None:
    board = lab.board(f"dark-{next(numbers)}", pool)
    until(lambda: board.machine.get("state") == "free")
    with Run(pool, board, "--ttl", f"{TTL_S}s", "--", BUSY) as running:
        running.says("begun")
        board.power_cut()
        done = running.end()
    assert done.code == 75 and "picluster: The lease has ended" in done.err
    board.power_on()
    free_within(board, GIVEN_BACK_S)


def test_a_full_board_is_told_as_that(
    pool: ServiceProcess, advisory: Board, ann: Path, tmp_path: Path
) -> None:
    """Nothing is run with half of its bits."""
    big = tmp_path / "big"
    big.write_bytes(bytes(4_000_000))
    home = f"/home/{ACCOUNT}"
    key = advisory.file(f"{home}/.ssh/authorized_keys").read_text()
    advisory.run(["mount", "-t", "tmpfs", "-o", f"size=1m,mode=700,uid={ACCOUNT}", "tmpfs", home])
    advisory.run(["sh", "-c", "mkdir -p ~/.ssh && cat > ~/.ssh/authorized_keys"], ACCOUNT, input=key)
    done = run(pool, advisory, "--copy", big, "--", "echo ran", home=ann)
    assert (done.code, done.out) == (125, "") and f"{advisory.name}, which is full" in done.err
    free_within(advisory, GIVEN_BACK_S)


def test_a_full_disk_here_ends_the_command_too(
    pool: ServiceProcess, advisory: Board, ann: Path, tmp_path: Path
) -> None:
    """Where its output goes, and where its results go."""
    endless = "sleep 4321 & yes"
    within = ["prlimit", "--fsize=100000"]
    done = run(
        pool, advisory, "--out", tmp_path, "--", endless, home=ann, within=within, stdout=subprocess.DEVNULL
    )
    assert done.code == 125 and "output.txt" in done.err and "Make room here" in done.err
    until(lambda: not running_on(advisory, "sleep 4321"))
    free_within(advisory, GIVEN_BACK_S)
    with Path("/dev/full").open("w") as full:
        done = run(pool, advisory, "--", endless, home=ann, stdout=full)
    assert done.code == 125 and "No space left" in done.err
    until(lambda: not running_on(advisory, "sleep 4321"))
    free_within(advisory, GIVEN_BACK_S)


def test_whoever_shows_another_host_key_gets_nothing(lab: Lab, pool: ServiceProcess, tmp_path: Path) -> None:
    """Not the command, not the bits, and not the password."""
    board = lab.board(f"impostor-{next(numbers)}", pool, enforced=False)
    board.file("/etc/ssh/ssh_host_ed25519_key.pub").write_text(lab.key().public + "\n")
    board.kill_agent()
    board.start_agent()
    until(lambda: board.machine.get("host_keys") not in (None, [board.host_key]))
    until(lambda: board.machine.get("state") == "free")
    done = run(pool, board, "--", "echo ran", home=tmp_path, settings={"RPI_PASSWORD": "raspberry"})
    assert (done.code, done.out) == (125, "") and "another host key" in done.err
    free_within(board, GIVEN_BACK_S)


def test_a_dishonest_board_fails_a_run_that_requires_an_honest_one(
    lab: Lab, pool: ServiceProcess, tmp_path: Path
) -> None:
    """The command was content, and would not have known."""
    board = lab.board(f"weak-{next(numbers)}", pool)
    until(lambda: board.machine.get("state") == "free")
    report = tmp_path / "all.xml"
    patient = "echo begun; until [ -e ~/go ]; do sleep 0.05; done"
    with Run(pool, board, "--require-clean", "--junit", report, "--", patient) as running:
        running.says("begun")
        board.show({ALARM: "1\n"})
        until(lambda: (board.machine["telemetry"]["since_open"] or {}).get("under_voltage"))
        board.run(["touch", f"/home/{ACCOUNT}/go"], ACCOUNT)
        done = running.end()
    assert done.code == 1 and "--require-clean: The verdict on the boards is dirty: under-voltage" in done.err
    assert "The verdict on the boards is dirty" in report.read_text()


# Waiting, several, held


def test_who_waits_sees_why_and_leaves_the_queue_with_ctrl_c(
    lab: Lab, pool: ServiceProcess, board: Board
) -> None:
    holder = Holder(lab, pool)
    holder.take(board)
    refused = run(pool, board, "--no-queue", "--", "true")
    assert refused.code == 75 and "is held by admin" in refused.err
    assert run(pool, board, "--wait", "0.5s", "--", "true").code == 124
    with Run(pool, board, "--", "true") as waiting:
        until(lambda: pool.get("/api/v1/queue").json())
        waiting.send(signal.SIGINT)
        done = waiting.end()
    assert done.code == 130 and "Waiting: 1 of 1 matching needed: 1 locked" in done.err
    assert pool.get("/api/v1/queue").json() == []
    holder.release()
    free_within(board, GIVEN_BACK_S)


def test_several_boards_know_of_each_other_and_the_worst_counts(
    lab: Lab, pool: ServiceProcess, tmp_path: Path
) -> None:
    boards = lab.rack([f"pair-{next(numbers)}", f"pair-{next(numbers)}"], pool)
    for one in boards:
        until(lambda one=one: one.machine.get("state") == "free")  # type: ignore[misc]
    command = (
        'echo "$PICLUSTER_RANK of $PICLUSTER_MACHINES at $PICLUSTER_ADDRESSES"; exit $((PICLUSTER_RANK * 3))'
    )
    done = run(pool, "name:pair-*", "-n", "2", "--out", tmp_path, "--", command)
    assert done.code == 3
    said = dict(line.split("| ") for line in done.out.splitlines())
    assert set(said) == {one.name for one in boards}
    by_rank = sorted(said, key=said.__getitem__)
    addresses = {one.name: one.address for one in boards}
    at = " ".join(addresses[name] for name in by_rank)
    assert said == {name: f"{rank} of {' '.join(by_rank)} at {at}" for rank, name in enumerate(by_rank)}
    for name in by_rank:
        assert (tmp_path / name / "output.txt").read_text() == f"{said[name]}\n"
    for one in boards:
        free_within(one, GIVEN_BACK_S)


def test_a_failure_is_held_for_its_person_and_for_nobody_else(
    lab: Lab, pool: ServiceProcess, board: Board
) -> None:
    """Their key opens the board, the folder is as the command left it, and unlocking ends it early."""
    ann, bob = lab.key(), lab.key()
    hold = ("--hold-on-failure", "2h", "--ssh-key", f"{ann.file}.pub")
    done = run(pool, board, *hold, "--", "echo clue > trace; false")
    assert done.code == 1 and f"ssh {ACCOUNT}@{board.address}" in done.err
    assert board.machine["lease"]["expires_in_s"] > 7_000
    assert board.ssh(ann, "cat picluster-*/trace").stdout == "clue\n"
    assert board.ssh(bob, "true").returncode == 255
    pool.send("DELETE", f"/api/v1/leases/{board.machine['lease']['id']}")
    free_within(board, GIVEN_BACK_S)
    assert run(pool, board, *hold, "--", "true").code == 0, "what goes well is not held"
    free_within(board, GIVEN_BACK_S)


# At random


ENDINGS = ("true", "false", "time", signal.SIGINT, signal.SIGTERM, signal.SIGKILL, "taken")
LONGEST_LIFE_S = 3.0
"""By then a run has leased, copied, and is in the middle of its command."""


def one_ending(pool: ServiceProcess, board: Board, chance: random.Random, bits: Path) -> str:
    """A run that ends in some way at some moment; which, for whoever reads a failure."""
    ending = chance.choice(ENDINGS)
    words = ["--copy", bits, "--ttl", f"{TTL_S}s"]
    if ending in ("true", "false"):
        return f"{ending} {run(pool, board, *words, '--', ending).code}"
    if ending == "time":
        return f"time {run(pool, board, *words, '--timeout', '0.2s', '--', BUSY).code}"
    with Run(pool, board, *words, "--", BUSY) as running:
        try:
            running.process.wait(chance.uniform(0, LONGEST_LIFE_S))
        except subprocess.TimeoutExpired:
            pass  # in the middle of whatever it does
        lease = board.machine["lease"]
        if isinstance(ending, signal.Signals):
            running.send(ending)
        elif lease:
            pool.send("DELETE", f"/api/v1/leases/{lease['id']}?reason=chance")
        else:
            running.send(signal.SIGTERM)
        return f"{ending!s} {running.process.wait(30)}"


def random_endings(lab: Lab, pool: ServiceProcess, tmp_path: Path, count: int) -> None:
    names = [f"chance-{next(numbers)}" for _ in range(3)]
    boards = lab.rack(names, pool)
    (tmp_path / "bits").write_bytes(os.urandom(1 << 20))

    def endings(board: Board) -> None:
        chance = random.Random(board.name)
        until(lambda: board.machine.get("state") == "free")
        for _ in range(count // len(boards) + 1):
            told = one_ending(pool, board, chance, tmp_path / "bits")
            print(board.name, told)
            free_within(board, LEFT_BEHIND_S)
            until(lambda: not running_on(board, "sleep 4321"))

    with ThreadPoolExecutor(len(boards)) as threads:
        list(threads.map(endings, boards))


def test_no_board_stays_locked_in_twenty_random_endings(
    lab: Lab, pool: ServiceProcess, tmp_path: Path
) -> None:
    random_endings(lab, pool, tmp_path, 20)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_no_board_stays_locked_in_two_hundred_random_endings(
    lab: Lab, pool: ServiceProcess, tmp_path: Path
) -> None:
    random_endings(lab, pool, tmp_path, 200)


# A gigabyte


def fingerprint(folder: Path) -> dict[str, tuple[int, str]]:
    """Mode and content of everything in it."""
    found = {}
    for path in folder.rglob("*"):
        about = path.lstat()
        if stat.S_ISLNK(about.st_mode):
            found[str(path.relative_to(folder))] = (0, os.readlink(path))
        elif stat.S_ISREG(about.st_mode):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[str(path.relative_to(folder))] = (stat.S_IMODE(about.st_mode), digest)
    return found


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_gigabyte_of_large_and_small_files_comes_back_as_it_went(
    pool: ServiceProcess, board: Board, tmp_path: Path
) -> None:
    from benchmarks.run import plant_files

    there = tmp_path / "bits"
    plant_files(there, 1 << 30)
    with Run(
        pool, board, "--copy", there, "--fetch", "bits", "--out", tmp_path / "out", "--", "true"
    ) as running:
        assert running.process.wait(500) == 0
    assert fingerprint(tmp_path / "out/files/bits") == fingerprint(there)
    free_within(board, GIVEN_BACK_S)
