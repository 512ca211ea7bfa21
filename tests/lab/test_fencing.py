"""An enforced board lets in the holder alone, and whatever a holder leaves behind, nothing of it is there for the next.

Most stories ask the gate itself, with a real sshd and real accounts; the last ones ask the whole agent.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

import pytest

from picluster.agent import sshd
from picluster.agent.settings import CLEANUP
from tests.lab.boards import ACCOUNT, ACCOUNTS, Board, Key, Lab
from tests.lab.gates import GateOn
from tests.service import until

pytestmark = pytest.mark.needs_root

FENCES = count(1_795_000_000_000_001)
KEYS = f"{sshd.KEYS}/{ACCOUNT}"
LET_IN = "in\n"


@pytest.fixture(scope="module")
def board(lab: Lab) -> Board:
    """With a place of its own where everybody may write, and a neighbour who has work there."""
    built = lab.board("pi5-a", enforced=True, daemons=("cron -f", "atd -f"))
    built.run(["sh", "-c", "mkdir -p /srv/lab/shared && chmod 1777 /srv/lab/shared"])
    return built


@pytest.fixture
def gate(board: Board) -> Iterator[GateOn]:
    with GateOn(board) as started:
        yield started
    with GateOn(board) as started:
        assert started.close(next(FENCES)).value is True


@pytest.fixture(scope="module")
def key(lab: Lab) -> Key:
    return lab.key()


@pytest.fixture(scope="module")
def other_key(lab: Lab) -> Key:
    return lab.key()


def may_log_in(board: Board, key: Key) -> bool:
    return board.ssh(key, "echo in").stdout == LET_IN


def let_in(board: Board, key: Key, user: str = ACCOUNT) -> subprocess.Popen[str]:
    """A session that has begun, and says what it is told."""
    session = board.session(key, "echo in; cat", user=user)
    assert session.stdout and session.stdout.readline() == LET_IN
    return session


def found(board: Board, command: str) -> str:
    """What it prints; names may be any bytes."""
    return board.run(["sh", "-c", command], check=False, errors="surrogateescape").stdout


def processes(board: Board, user: str = ACCOUNT) -> str:
    return board.run(["ps", "-o", "pid,args", "-u", user, "--no-headers"], check=False).stdout


# Who is let in


def test_a_key_works_for_its_lease_and_no_longer(board: Board, gate: GateOn, key: Key) -> None:
    fence = next(FENCES)
    assert not may_log_in(board, key)
    gate.open(fence, key)
    assert board.ssh(key, "echo $PICLUSTER_FENCE").stdout == f"{fence}\n"
    assert gate.close(fence).value is True
    assert not may_log_in(board, key)


def test_nobody_else_s_key_works(board: Board, gate: GateOn, key: Key, other_key: Key) -> None:
    gate.open(next(FENCES), key)
    assert not may_log_in(board, other_key)


def test_the_session_ends_with_the_lease(board: Board, gate: GateOn, key: Key) -> None:
    fence = next(FENCES)
    gate.open(fence, key)
    session = let_in(board, key)
    answer = gate.close(fence)
    assert answer.value is True and answer.took_s < 2
    session.communicate(timeout=2)
    assert session.returncode == 255


def test_the_key_that_takes_the_place_of_another_ends_no_session(
    board: Board, gate: GateOn, key: Key, other_key: Key
) -> None:
    fence = next(FENCES)
    gate.open(fence, key)
    session = let_in(board, key)
    gate.open(fence, other_key)
    assert session.communicate("still here\n")[0] == "still here\n"
    assert may_log_in(board, other_key) and not may_log_in(board, key)


def test_what_is_no_key_lets_nobody_in_and_keeps_nobody_out(
    board: Board, gate: GateOn, key: Key, other_key: Key
) -> None:
    """Each of these would let in another key, if it were copied as it is."""
    planted = other_key.public
    wrong = [
        f'environment="X=1" {planted}',
        f"ssh-ed25519 AAAA {planted}",
        f"# {planted}",
        f"cert-authority {planted}",
        f"{key.public} x\n{planted}",
        f"{key.public} x\r{planted}",
        planted.replace("ssh-ed25519", "ssh-rsa"),
        planted.replace(" ", "\t"),
        "",
    ]
    gate.open(next(FENCES), *wrong, key)
    assert may_log_in(board, key) and not may_log_in(board, other_key)
    assert len(board.file(KEYS).read_text().splitlines()) == 1


def test_a_connection_that_passed_the_check_of_its_key_before_the_end_becomes_no_session(
    board: Board, gate: GateOn, lab: Lab
) -> None:
    """The client was told that its key would do, and takes its time to sign."""
    slow = lab.key()
    secret = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(slow.file)]
    subprocess.run(secret, check=True, capture_output=True)
    asked, answer = slow.file.with_name("asked"), slow.file.with_name("answer")
    os.mkfifo(answer)
    slow.file.with_name("askpass").write_text(f"#!/bin/sh\ntouch {asked}\ncat {answer}\n")
    slow.file.with_name("askpass").chmod(0o755)
    told = {"SSH_ASKPASS": str(slow.file.with_name("askpass")), "SSH_ASKPASS_REQUIRE": "force"}
    command = [word for word in board.ssh_command(slow, "echo in") if word != "-oBatchMode=yes"]

    fence = next(FENCES)
    gate.open(fence, slow)
    client = subprocess.Popen(
        command, env={**os.environ, **told}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until(asked.exists)
    assert re.search(rf"sshd(-session)?: {ACCOUNT}", board.run(["ps", "ax", "-o", "args"]).stdout)
    assert gate.close(fence).value is True
    gate.open(next(FENCES), slow)  # even if the very same key is let in again
    answer.write_text("secret\n")
    assert client.communicate(timeout=30)[0] == "" and client.returncode == 255


# What a holder plants


class Plant(NamedTuple):
    """What the holder does, and what then finds something of it on the board."""

    does: str
    finds: str
    of_all_boards: bool = False
    """The boards of the lab share a kernel, and a board of another test may have emptied this one's keyring meanwhile."""


DEEP = "import os\nfor n in range(200): os.mkdir('d' * 99); os.chdir('d' * 99)\nopen('treasure', 'w')"
HOPS = "import os\nwhile True:\n if os.fork(): os._exit(0)"
HEADLESS = (
    "import ctypes, threading, time\nif __import__('os').fork(): raise SystemExit\n"
    "threading.Thread(target=time.sleep, args=(1000,)).start()\nctypes.CDLL(None).pthread_exit(None)"
)
KILLER = "import os\nif os.fork(): os._exit(0)\nos.setsid()\nwhile True:\n try: os.kill(-1, 9)\n except OSError: pass"
AS_THE_ACCOUNT = f"setpriv --reuid={ACCOUNT} --regid={ACCOUNT} --clear-groups /usr/bin/python3"
STOPPED = (
    f"{AS_THE_ACCOUNT} -c 'import os; os.kill(-1, 19)'; ps -o stat= -u {ACCOUNT} | grep -v Z;"
    f"{AS_THE_ACCOUNT} -c 'import os; os.kill(-1, 18)'"
)
"""A process that forks on is too quick for a list of processes, unless all of the account are stopped meanwhile."""
BOMB = "f() { f | f & }; f; wait"
"""Not more than the hundred that it is allowed: the machine is shared."""
QUEUE = "import ctypes\nassert ctypes.CDLL('librt.so.1').mq_open(b'/planted', 0o102, 0o600, None) >= 0"
KERNEL = "import ctypes, platform; call, arm = ctypes.CDLL(None).syscall, platform.machine() == 'aarch64'; "
SECRET = KERNEL + "assert call(217 if arm else 248, b'user', b'planted', b'x', 1, -4) > 0"
FIND_SECRET = (
    KERNEL + "print('there' if call(219 if arm else 250, 10, -4, b'user', b'planted', 0) > 0 else '', end='')"
)
"""The first puts a key into the keyring that the kernel keeps for the account, the other searches it."""
OWNED = f"find /tmp /var/tmp /dev/shm /dev/mqueue /run/lock /srv /var/spool -xdev -user {ACCOUNT} ! -path '*/home/*'"
PLANTS = {
    "a key in the home": Plant(
        "mkdir .ssh && cp /etc/hostname .ssh/authorized_keys", f"ls /home/{ACCOUNT}/.ssh"
    ),
    "a line in .bashrc": Plant("echo evil >> .bashrc", f"grep evil /home/{ACCOUNT}/.bashrc"),
    "a home for everybody": Plant("chmod 777 .", f"find /home/{ACCOUNT} -maxdepth 0 ! -perm 700"),
    "a crontab": Plant("echo '* * * * * touch /tmp/planted' | crontab -", f"crontab -l -u {ACCOUNT}"),
    "an at job": Plant("echo touch /tmp/planted | at now + 1 hour", "atq"),
    "a daemon": Plant(
        "setsid sh -c 'sleep 1000 & sleep 1000 &' </dev/null >/dev/null 2>&1", f"pgrep -u {ACCOUNT}"
    ),
    "a process that forks on": Plant(f'nohup python3 -c "{HOPS}" >/dev/null 2>&1 &', STOPPED),
    "a process without its first thread": Plant(
        f'nohup /usr/bin/python3 -c "{HEADLESS}" >/dev/null 2>&1 </dev/null', f"pgrep -u {ACCOUNT}"
    ),
    "a process that kills what it can": Plant(
        f'nohup /usr/bin/python3 -c "{KILLER}" >/dev/null 2>&1 </dev/null', f"pgrep -u {ACCOUNT}"
    ),
    "a process that is root in a namespace": Plant(
        "nohup unshare -Ur sleep 1000 >/dev/null 2>&1 & sleep 0.2", "pgrep -x sleep"
    ),
    "a process that starts two, and so on": Plant(
        f"nohup bash -c 'ulimit -u 100 && eval \"$0\"' '{BOMB}' >/dev/null 2>&1 &", f"pgrep -u {ACCOUNT}"
    ),
    "a stopped process": Plant("nohup sh -c 'kill -STOP $$' >/dev/null 2>&1 &", f"pgrep -u {ACCOUNT}"),
    "files everywhere": Plant(
        "for d in /tmp /var/tmp /dev/shm /run/lock /srv/lab/shared; do echo x > $d/planted; done", OWNED
    ),
    "a shell that is the account": Plant("cp /bin/sh /tmp/sh && chmod 4755 /tmp/sh", "ls /tmp/sh"),
    "a tree deeper than a path can be": Plant(f'cd /tmp && /usr/bin/python3 -c "{DEEP}"', OWNED),
    "a deep tree at home": Plant(f'/usr/bin/python3 -c "{DEEP}"', f"ls /home/{ACCOUNT}"),
    "a folder that nobody may enter": Plant("mkdir -p /tmp/no/way && chmod 0 /tmp/no/way /tmp/no", OWNED),
    "strange names": Plant("cd /tmp && touch -- '-rf' 'a\nb' \"$(printf '\\377')\" '*' && mkdir ' '", OWNED),
    "a pipe that nobody reads": Plant("mkfifo /tmp/pipe pipe", OWNED),
    "a link to what others have": Plant("ln -s /etc /tmp/link && ln -s / root", OWNED),
    "a file in a folder of somebody else": Plant(
        "echo x > /tmp/neighbour/planted", "ls /tmp/neighbour/planted"
    ),
    "shared memory, a queue and semaphores": Plant(
        "ipcmk -M 4096 && ipcmk -Q && ipcmk -S 1", "ipcs | grep 0x"
    ),
    "a POSIX queue": Plant(f'/usr/bin/python3 -c "{QUEUE}"', "ls /dev/mqueue | grep ."),
    "a secret in the kernel": Plant(
        f'/usr/bin/python3 -c "{SECRET}"',
        f'{AS_THE_ACCOUNT} -c "{FIND_SECRET}"',
        of_all_boards=True,
    ),
    "mail": Plant("true", f"ls /var/mail/{ACCOUNT}"),
    "a wish to linger": Plant("true", f"ls /var/lib/systemd/linger/{ACCOUNT}"),
    "a folder for the time of its login": Plant("true", f"ls /run/user/{ACCOUNTS[ACCOUNT]}"),
}
BY_OTHERS = f"""
mkdir -p /var/lib/systemd/linger /run/user/{ACCOUNTS[ACCOUNT]} /tmp/neighbour
mount -t tmpfs -o uid={ACCOUNTS[ACCOUNT]} tmpfs /run/user/{ACCOUNTS[ACCOUNT]}
touch /var/lib/systemd/linger/{ACCOUNT} /var/mail/{ACCOUNT} /run/user/{ACCOUNTS[ACCOUNT]}/bus
chown {ACCOUNT} /var/mail/{ACCOUNT}
chmod 777 /tmp/neighbour
"""
"""What the system does when somebody logs in, or gets mail, or asks to linger; and a careless neighbour."""


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS.keys())
def test_nothing_that_a_holder_plants_is_there_for_the_next(
    board: Board, gate: GateOn, key: Key, plant: Plant
) -> None:
    fence = next(FENCES)
    gate.open(fence, key)
    board.run(["sh", "-c", BY_OTHERS])
    board.ssh(key, plant.does)

    def is_there() -> bool:
        """In the first place, at the latest after a moment."""
        if plant.of_all_boards:
            board.ssh(key, plant.does)
        return bool(found(board, plant.finds))

    until(is_there)
    answer = gate.close(fence)
    assert answer.value is True, gate.end()
    assert found(board, plant.finds) == "" == found(board, OWNED) == processes(board)


def test_the_home_begins_as_the_skeleton_is(board: Board, gate: GateOn, key: Key) -> None:
    board.run(["sh", "-c", "mkdir -p /etc/picluster/skel/bin && cd /etc/picluster/skel && ln -s bin tools"])
    board.run(["sh", "-c", "echo hello > /etc/picluster/skel/README; chmod 640 /etc/picluster/skel/README"])
    try:
        assert gate.close(next(FENCES)).value is True
        gate.open(next(FENCES), key)
        seen = board.ssh(key, "find . -printf '%P %y %m %u %g\\n' | sort; cat README").stdout
    finally:
        board.run(["rm", "-r", "/etc/picluster/skel"])
    assert seen.splitlines() == [
        f" d 700 {ACCOUNT} {ACCOUNT}",
        f"README f 640 {ACCOUNT} {ACCOUNT}",
        f"bin d 755 {ACCOUNT} {ACCOUNT}",
        f"tools l 777 {ACCOUNT} {ACCOUNT}",
        "hello",
    ]


def test_the_home_may_be_a_disk_of_its_own_and_full(board: Board, gate: GateOn, key: Key) -> None:
    fence = next(FENCES)
    home = f"/home/{ACCOUNT}"
    board.run(["mount", "-t", "tmpfs", "-o", f"size=64k,uid={ACCOUNTS[ACCOUNT]},mode=700", "tmpfs", home])
    try:
        gate.open(fence, key)
        board.ssh(key, "mkdir in; chmod 777 .; cat /dev/zero > in/full")
        assert gate.close(fence).value is True
        assert sorted(board.run(["ls", "-A", home]).stdout.split()) == sorted(os.listdir("/etc/skel"))
        assert board.run(["stat", "-c", "%a", home]).stdout == "700\n"
        too_large = "mkdir -p /etc/picluster/skel; head -c 80k /dev/zero > /etc/picluster/skel/large"
        board.run(["sh", "-c", too_large])
        assert gate.close(fence).value is False, (
            "a home without its skeleton is not what the next was promised"
        )
        assert "No space left on device" in gate.end()
    finally:
        board.run(["umount", home])
        board.run(["rm", "-r", "/etc/picluster/skel"])


# What others have


def test_nothing_of_others_is_touched(board: Board, gate: GateOn, key: Key) -> None:
    """Neither files nor processes, also where the holder made it look like their own."""
    fence = next(FENCES)
    board.run(
        [
            "sh",
            "-c",
            "echo x > /tmp/of-root; ipcmk -M 4096; mkdir -p /tmp/neighbour; chmod 777 /tmp/neighbour",
        ]
    )
    board.run(["sh", "-c", "echo x > /tmp/of-pi; echo '@daily true' | crontab -"], user="pi")
    sleeper = subprocess.Popen(board.command(["sleep", "1000"], user="pi"))
    try:
        gate.open(fence, key)
        board.ssh(key, "mkdir /tmp/mine && chmod 777 /tmp/mine && ln -s /tmp/of-pi /tmp/mine/link")
        board.ssh(key, "echo x > /tmp/mine/gone; ln -s /tmp/neighbour /tmp/mine/there")
        board.run(["sh", "-c", "echo x > /tmp/mine/of-pi; mkdir -p /tmp/neighbour/deep"], user="pi")
        assert gate.close(fence).value is True
        assert sleeper.poll() is None
        assert board.run(["cat", "/tmp/of-root", "/tmp/of-pi", "/tmp/mine/of-pi"]).stdout == "x\n" * 3
        assert board.run(["ls", "/tmp/mine", "/tmp/neighbour"]).stdout.split() == [
            "/tmp/mine:",
            "of-pi",
            "/tmp/neighbour:",
            "deep",
        ]
        assert board.run(["stat", "-c", "%U %a", "/tmp/mine"]).stdout == "root 755\n"
        assert board.run(["crontab", "-l", "-u", "pi"]).stdout == "@daily true\n"
        assert "0x" in board.run(["ipcs", "-m"]).stdout
    finally:
        sleeper.kill()
        sleeper.wait()
        board.run(["sh", "-c", "rm -r /tmp/mine /tmp/of-*; ipcrm --all=shm; crontab -r -u pi"])


def test_a_session_of_somebody_else_goes_on(board: Board, gate: GateOn, key: Key, other_key: Key) -> None:
    """sshd's processes are known by their titles, and `pi` is not `picluster`."""
    board.run(
        ["sh", "-c", f"mkdir -p ~/.ssh && echo '{other_key.public}' > ~/.ssh/authorized_keys"], user="pi"
    )
    session = let_in(board, other_key, user="pi")
    fence = next(FENCES)
    gate.open(fence, key)
    assert may_log_in(board, key)
    assert gate.close(fence).value is True
    assert session.communicate("still here\n")[0] == "still here\n"


# The owner's program


def cleanup(board: Board, text: str) -> None:
    write = f"mkdir -p /etc/picluster && cat > {CLEANUP} && chmod 755 {CLEANUP}"
    board.run(["sh", "-c", write], input=text)


@pytest.fixture
def no_cleanup_after(board: Board) -> Iterator[None]:
    yield
    board.run(["rm", "-f", CLEANUP])


@pytest.mark.usefixtures("no_cleanup_after")
def test_the_owner_s_program_is_told_whose_lease_is_over(board: Board, key: Key) -> None:
    cleanup(board, "#!/bin/sh\nprintenv PICLUSTER_FENCE PICLUSTER_SSH_USER PICLUSTER_HOME > /run/told\n")
    fence = next(FENCES)
    with GateOn(board) as gate:
        assert gate.close(fence).value is True
    assert board.file("/run/told").read_text() == f"{fence}\n{ACCOUNT}\n/home/{ACCOUNT}\n"


@pytest.mark.usefixtures("no_cleanup_after")
def test_a_board_whose_owner_s_program_fails_is_not_clean(board: Board) -> None:
    cleanup(board, "#!/bin/sh\nexit 3\n")
    with GateOn(board) as gate:
        assert gate.close(next(FENCES)).value is False
        assert "/etc/picluster/cleanup ended with 3" in gate.end()


@pytest.mark.usefixtures("no_cleanup_after")
def test_a_program_that_hangs_is_killed_with_all_that_it_started(board: Board) -> None:
    cleanup(board, "#!/bin/bash\nset -m\nsleep 4242 &\n(trap '' TERM; sleep 4242)\n")
    with GateOn(board, PICLUSTER_CLEANUP_S="0.3") as gate:
        answer = gate.close(next(FENCES))
        assert answer.value is False and 0.3 <= answer.took_s < 10
    assert "4242" not in board.run(["ps", "ax", "-o", "args"]).stdout


@pytest.mark.usefixtures("no_cleanup_after")
def test_a_program_that_others_may_write_is_not_run(board: Board) -> None:
    """It would be root's rights for whoever can."""
    cleanup(board, "#!/bin/sh\ntouch /run/was-run\n")
    board.run(["chmod", "775", CLEANUP])
    with GateOn(board) as gate:
        answer = gate.close(next(FENCES))
    assert answer.value is False and answer.mode == "advisory"
    assert "is not a program that root alone can change" in answer.trouble
    assert not board.file("/run/was-run").exists()


# A gate with a bug


NO_FORK = """
import os, types
failures = [OSError(11, "Resource temporarily unavailable")] * 3
def sometimes():
    if failures:
        raise failures.pop()
    return os.fork()
processes.os = types.SimpleNamespace(**{**vars(os), "fork": sometimes})
"""
BUGS = {
    "forgets to kill": ("enforce.end_all = lambda *_: True", "sleep 1000 >/dev/null 2>&1 &"),
    "forgets the crontab": (
        "sweep._spools = lambda *_: None; places = sys.modules['picluster_agent.places']; places.SPOOLS = ()",
        "echo '@daily true' | crontab -",
    ),
    "forgets the files": ("sweep._files = lambda *_: None", "touch /dev/shm/planted"),
    "forgets the memory": ("sweep._memory = lambda *_: None", "ipcmk -M 4096"),
}


@pytest.mark.parametrize(("bug", "plants"), BUGS.values(), ids=BUGS.keys())
def test_a_gate_that_forgets_something_does_not_say_clean(
    board: Board, gate: GateOn, key: Key, bug: str, plants: str
) -> None:
    """What looks at the end does not trust what was done before."""
    fence = next(FENCES)
    gate.open(fence, key)
    board.ssh(key, plants)
    with GateOn(board, bug) as forgetful:
        assert forgetful.close(fence).value is False
        assert "is not clean" in forgetful.end()
    assert gate.close(fence).value is True


def test_a_board_that_can_start_no_process_for_a_while_is_cleaned_even_so(
    board: Board, gate: GateOn, key: Key
) -> None:
    """A holder may have used up all that there can be."""
    fence = next(FENCES)
    gate.open(fence, key)
    begun = let_in(board, key)
    with GateOn(board, NO_FORK) as short:
        assert short.close(fence).value is True
    begun.communicate(timeout=30)


def test_a_gate_that_forgets_the_keys_lets_the_old_holder_in(board: Board, gate: GateOn, key: Key) -> None:
    """The story of the key that stops working would notice."""
    fence = next(FENCES)
    gate.open(fence, key)
    with GateOn(
        board, "from picluster_agent import keys; keys.KeysFile.remove = lambda self: None"
    ) as forgetful:
        forgetful.close(fence)
    assert may_log_in(board, key)


# How long it takes


def test_a_hand_over_is_quick(board: Board, gate: GateOn, key: Key) -> None:
    """Where nothing was planted, and where somebody still had a session."""
    took: dict[str, list[float]] = {"nobody there": [], "a session open": []}
    for _ in range(5):
        fence = next(FENCES)
        gate.open(fence, key)
        took["nobody there"].append(gate.close(fence).took_s)
        fence = next(FENCES)
        gate.open(fence, key)
        session = let_in(board, key)
        took["a session open"].append(gate.close(fence).took_s)
        session.communicate()
    for what, seconds in took.items():
        print(
            f"closing, {what}: median {statistics.median(seconds) * 1000:.0f} ms, most {max(seconds) * 1000:.0f} ms"
        )
    assert max(map(max, took.values())) < 2
