"""What enforcing is made of, part by part: keys, sshd's settings, what is required of a board, programs with a limit, and
what belongs to an account. What it comes to on a board is told in tests/lab/test_fencing.py."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from picluster.agent import accounts, cli, keys, sshd, sweep
from picluster.agent.accounts import Account
from picluster.agent.enforce import Enforcer
from picluster.agent.kernel_keys import machine
from picluster.agent.log import Log
from picluster.agent.notify import Manager
from picluster.agent.programs import Budget, run, run_aloud
from picluster.agent.ready_to_enforce import Readiness, findings
from picluster.agent.settings import CLEANUP, CLEANUP_S, Enforcing, Unusable, find, find_enforcing
from picluster.agent.tree import Tree
from tests.agent.trees import plant

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBd6nqG2MYSFKTase06Ddg0Z1OdoEO+iJDcar/0bDH7d"
TOLD = Enforcing("picluster", None, CLEANUP_S, 22)
GOOD: dict[str, str | bytes] = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\npi:x:1000:1000::/home/pi:/bin/sh\n"
    "picluster:x:1001:1001::/home/picluster:/bin/sh\n",
    "etc/shadow": "root:$6$x:1::::::\npicluster:*:19000:0:99999:7:::\n",
    "etc/group": "root:x:0:\nsudo:x:27:pi\nvideo:x:44:pi,picluster\npicluster:x:1001:\n",
    "etc/subuid": "pi:100000:65536\n",
    "etc/subgid": "pi:100000:65536\n",
    "home/pi/x": "",
    "bin/sh": "",
}


def good_board(folder: Path, **instead: str) -> Tree:
    """One where all is right that is written in files. `etc_group="…"` is another /etc/group."""
    tree = plant(folder, {**GOOD, **{name.replace("_", "/"): text for name, text in instead.items()}})
    Path(tree.at("/bin/sh")).chmod(0o755)
    return tree


def what_is_wrong(tree: Tree, told: Enforcing = TOLD) -> list[str]:
    """But for what is asked of this machine itself."""
    found = findings(tree, told, Budget(20))
    ours = ("the agent", "sudo", "sshd", "there is no")
    return [one.wrong for one in found if one.wrong and not one.wrong.startswith(ours)]


# Keys


@pytest.mark.parametrize(
    "line",
    [
        ED25519,
        f"{ED25519} ann@desk",
        f"{ED25519} a comment of three words",
        "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTY=",
        "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t",
    ],
)
def test_a_key_is_its_type_and_its_base64(line: str) -> None:
    """The comment stays with whoever wrote it."""
    assert keys.read(line) == " ".join(line.split()[:2])


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-dss AAAAB3NzaC1kc3M=",
        "ssh-ed25519-cert-v01@openssh.com AAAA",
        f"no-pty {ED25519}",
        f'command="sh" {ED25519}',
        f" {ED25519}",
        ED25519.replace(" ", "  "),
        ED25519.replace(" ", "\t"),
        f"{ED25519}\n{ED25519}",
        f"{ED25519} x\r{ED25519}",
        f"{ED25519} x\u2028{ED25519}",
        ED25519.replace("ssh-ed25519 ", "ssh-rsa "),
        f"{ED25519}!",
        "ssh-ed25519 AAAA",
        "ssh-ed25519 =AAA",
    ],
)
def test_whatever_else_a_line_may_be_it_is_refused(line: str) -> None:
    with pytest.raises(keys.NotAKey, match="ssh-keygen"):
        keys.read(line)


def test_each_line_of_the_file_carries_the_fence() -> None:
    assert keys.text(7, [ED25519, ED25519]).decode() == f'environment="PICLUSTER_FENCE=7" {ED25519}\n' * 2


@pytest.mark.needs_root
def test_the_account_may_read_the_file_and_root_alone_may_change_it(tmp_path: Path) -> None:
    """Whatever the umask was: sshd reads as the account."""
    file = keys.KeysFile(Tree(tmp_path), "picluster")
    before = os.umask(0o077)
    try:
        os.mkdir(tmp_path / "run")
        file.write(Account("picluster", 1001, 1002, "/home/picluster", "", {}), b"one")
        file.write(Account("picluster", 1001, 1002, "/home/picluster", "", {}), b"two")
    finally:
        os.umask(before)
    there = (tmp_path / "run/picluster/keys/picluster").stat()
    assert (there.st_uid, there.st_gid, stat.S_IMODE(there.st_mode)) == (0, 1002, 0o640)
    assert stat.S_IMODE((tmp_path / "run/picluster/keys").stat().st_mode) == 0o755
    assert os.listdir(tmp_path / "run/picluster/keys") == ["picluster"] and file.read() == b"two"
    file.remove()
    file.remove()
    assert file.read() is None


def test_with_the_keys_of_this_account_go_those_of_the_one_before(tmp_path: Path) -> None:
    """Somebody changed the setting while a lease was open."""
    tree = plant(tmp_path, {"run/picluster/keys/former": "key", "run/picluster/keys/.new": "half a key"})
    keys.KeysFile(tree, "picluster").remove()
    assert tree.names("/run/picluster/keys") == []


# sshd


@pytest.fixture
def ask_sshd(tmp_path: Path) -> Callable[[str], str]:
    """What a real one says that it would do, given such settings."""
    if not shutil.which("sshd", path="/usr/sbin:/usr/bin"):
        pytest.skip("needs openssh-server")
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)

    def ask(text: str) -> str:
        (tmp_path / "config").write_text(f"HostKey {tmp_path}/key\n{text}")
        connection = "user=picluster,host=x,addr=192.0.2.1,laddr=192.0.2.2,lport=22"
        command = ["/usr/sbin/sshd", "-T", "-f", str(tmp_path / "config"), "-C", connection]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    return ask


@pytest.mark.needs_root
def test_a_real_sshd_takes_the_settings_and_then_nothing_is_wrong(ask_sshd: Callable[[str], str]) -> None:
    assert sshd.wrong(ask_sshd(sshd.config("picluster"))) == []


@pytest.mark.needs_root
@pytest.mark.parametrize(
    ("before", "wrong"),
    [
        ("PermitUserEnvironment no\n", "PermitUserEnvironment does not let PICLUSTER_* through"),
        (
            "Match User picluster\n AuthorizedKeysFile .ssh/authorized_keys\nMatch all\n",
            "AuthorizedKeysFile is .ssh",
        ),
        (
            "Match Address 192.0.2.0/24\n TrustedUserCAKeys /etc/ca\nMatch all\n",
            "TrustedUserCAKeys is /etc/ca",
        ),
        ("Match User picluster\n AuthenticationMethods any\nMatch all\n", "AuthenticationMethods is any"),
    ],
)
def test_what_was_said_before_is_noticed(ask_sshd: Callable[[str], str], before: str, wrong: str) -> None:
    """sshd obeys what it reads first."""
    [found] = sshd.wrong(ask_sshd(before + sshd.config("picluster")))
    assert found.startswith(wrong)


@pytest.mark.needs_root
def test_an_sshd_that_was_told_nothing_is_wrong_in_what_matters(ask_sshd: Callable[[str], str]) -> None:
    found = " ".join(sshd.wrong(ask_sshd("")))
    for word in ("AuthorizedKeysFile", "AuthenticationMethods", "PermitUserEnvironment"):
        assert word in found


def test_an_sshd_that_says_nothing_is_not_trusted() -> None:
    assert "AuthorizedKeysFile is unset" in sshd.wrong("")


# What is required


@pytest.mark.needs_root
def test_a_good_board(tmp_path: Path) -> None:
    assert what_is_wrong(good_board(tmp_path)) == []


PICLUSTER = "picluster:x:1001:1001::/home/picluster:/bin/sh\n"


@pytest.mark.parametrize(
    ("instead", "wrong"),
    [
        ({"etc_passwd": PICLUSTER.replace("1001:1001", "0:0")}, "has the uid 0"),
        ({"etc_passwd": PICLUSTER.replace("1001:1001", "33:33")}, "has the uid 33"),
        ({"etc_passwd": PICLUSTER.replace("1001:1001", "65534:65534")}, "has the uid 65534"),
        (
            {"etc_passwd": PICLUSTER + PICLUSTER.replace("picluster:", "ann:", 1)},
            "shared by picluster and ann",
        ),
        ({"etc_passwd": PICLUSTER.replace("/home/picluster", "/")}, "cannot be a home"),
        ({"etc_passwd": PICLUSTER.replace("/home/picluster", "/home")}, "cannot be a home"),
        ({"etc_passwd": PICLUSTER.replace("/home/picluster", "/home/../etc")}, "cannot be a home"),
        ({"etc_passwd": PICLUSTER.replace("/home/picluster", "home/x")}, "cannot be a home"),
        ({"etc_passwd": PICLUSTER + "ann:x:1002:1002::/home/picluster/ann:\n"}, "also the home of ann"),
        ({"etc_passwd": PICLUSTER.replace("/home/picluster", "/nowhere/x")}, "others than root can write"),
        ({"etc_passwd": PICLUSTER.replace("/home/picluster", "/home/pi")}, "does not belong to picluster"),
        ({"etc_passwd": PICLUSTER.replace("/bin/sh", "/usr/sbin/nologin")}, "nobody can work with the shell"),
        ({"etc_passwd": PICLUSTER.replace("/bin/sh", "/bin/missing")}, "nobody can work with the shell"),
        ({"etc_shadow": "picluster:$6$salt$hash:1::::::\n"}, "has a password"),
        ({"etc_shadow": "picluster::1::::::\n"}, "has a password"),
        ({"etc_shadow": ""}, "has a password"),
        ({"etc_group": "sudo:x:27:pi,picluster\n"}, "is in the group sudo"),
        ({"etc_group": "docker:x:999:picluster\nadm:x:4:picluster\n"}, "is in the group adm, docker"),
        ({"etc_group": "wheel:x:1001:\n"}, "is in the group wheel"),
        ({"etc_group": "toor:x:0:picluster\n"}, "is in the group toor"),
        ({"etc_subuid": "picluster:100000:65536\n"}, "has ids in /etc/subuid"),
        ({"etc_subgid": "1001:100000:65536\n"}, "has ids in /etc/subgid"),
    ],
)
@pytest.mark.needs_root
def test_what_keeps_a_board_from_enforcing(tmp_path: Path, instead: dict[str, str], wrong: str) -> None:
    """Any of it would let somebody stay, or hit somebody who is no holder."""
    [found] = [one for one in what_is_wrong(good_board(tmp_path, **instead)) if wrong in one]
    assert found


def test_without_the_account_the_command_that_makes_it_is_named(tmp_path: Path) -> None:
    found = findings(good_board(tmp_path, etc_passwd=""), TOLD, Budget(20))
    assert found[-1].wrong == "there is no account picluster in /etc/passwd"
    assert "useradd" in found[-1].do


@pytest.mark.needs_root
def test_whoever_can_write_the_way_to_the_home_could_put_something_else_there(tmp_path: Path) -> None:
    tree = good_board(tmp_path)
    os.chmod(tree.at("/home"), 0o777)
    assert what_is_wrong(tree) == ["others than root can write where /home/picluster is"]


@pytest.mark.needs_root
@pytest.mark.parametrize("mode", [0o775, 0o757, 0o644])
def test_the_owner_s_program_must_be_root_s_alone(tmp_path: Path, mode: int) -> None:
    tree = good_board(tmp_path, etc_picluster_cleanup="#!/bin/sh\n")
    hook = Path(tree.at(CLEANUP))
    hook.chmod(0o755)
    told = TOLD._replace(cleanup=CLEANUP)
    assert what_is_wrong(tree, told) == []
    hook.chmod(mode)
    assert what_is_wrong(tree, told) == [f"{CLEANUP} is not a program that root alone can change"]
    hook.chmod(0o755)
    os.chown(hook, 1000, 0)
    assert what_is_wrong(tree, told) == [f"{CLEANUP} is not a program that root alone can change"]


def test_a_dead_board_s_card_is_not_enforced_and_nothing_is_changed(tmp_path: Path) -> None:
    """With --root the account is another system's, and the processes would be this one's."""
    tree = good_board(tmp_path)
    log = io.StringIO()
    gate = Enforcer(tree, TOLD, Log(log))
    assert gate.mode == "advisory" and gate.trouble in log.getvalue()
    with pytest.raises(OSError, match="the agent"):
        gate.open(7, [ED25519])
    assert gate.close(7) is False
    assert not tree.exists("/run/picluster/keys/picluster") and tree.exists("/home/pi/x")


def test_what_was_right_is_asked_again_when_a_file_was_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was wrong each time: it may be put right where no file shows it."""
    tree, asked = good_board(tmp_path), 0
    no_process_left = False

    def ask(*_: Any) -> list[Any]:
        nonlocal asked
        asked += 1
        if no_process_left:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return []

    monkeypatch.setattr("picluster.agent.ready_to_enforce.findings", ask)
    ready = Readiness(tree, TOLD)
    assert ready.look() and ready.look() and asked == 1
    plant(tmp_path, {"etc/sudoers.d/more": "picluster ALL=(ALL) ALL\n"})
    assert ready.look() and asked == 2
    os.chmod(tree.at("/etc/sudoers.d/more"), 0o600)
    assert ready.look() and asked == 3
    no_process_left = True
    plant(tmp_path, {"etc/sudoers.d/more": ""})
    assert ready.look() is None and "cannot be checked now" in ready.trouble
    assert ready.look() is None and asked == 5


# The command


def test_check_prints_what_is_required_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It needs no service."""
    good_board(tmp_path, etc_group="sudo:x:27:picluster\n")
    assert cli.main(["--check", "--root", str(tmp_path)], {}) == 1
    said = capsys.readouterr().out
    assert "ok      picluster has no password" in said
    assert "not ok  picluster is in the group sudo\n        gpasswd -d picluster sudo" in said
    assert said.splitlines()[-1].endswith("not ok: the board would be advisory")


def test_what_sshd_has_to_be_told_is_printed_for_the_account(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--print-sshd-config", "--ssh-user", "holder"], {}) == 0
    assert capsys.readouterr().out == sshd.config("holder")


@pytest.mark.parametrize("name", ["root;x", "../x", "Ann", "", "-x", "a" * 33])
def test_the_account_s_name_is_a_plain_one(tmp_path: Path, name: str) -> None:
    with pytest.raises(Unusable, match="PICLUSTER_SSH_USER"):
        find_enforcing({"PICLUSTER_SSH_USER": name}, Tree(tmp_path))


def test_enforcing_is_asked_for_by_a_flag_or_a_setting(tmp_path: Path) -> None:
    tree = plant(tmp_path, {"etc/picluster/agent.conf": "PICLUSTER_URL=lab\n", "etc/picluster/cleanup": ""})
    assert find({}, {}, tree).enforcing is None
    settings = find({}, {"PICLUSTER_ENFORCE": "1"}, tree)
    assert settings.ssh_user == "picluster"
    assert settings.enforcing == Enforcing("picluster", CLEANUP, CLEANUP_S, 22)
    told = {"PICLUSTER_ENFORCE": "1", "PICLUSTER_SSH_USER": "holder", "PICLUSTER_CLEANUP_S": "5"}
    assert find(told, {}, tree).enforcing == Enforcing("holder", CLEANUP, 5.0, 22)


@pytest.mark.parametrize("limit", ["0", "-1", "61", "nan", "soon"])
def test_the_owner_s_program_has_a_limit_that_fits(tmp_path: Path, limit: str) -> None:
    with pytest.raises(Unusable, match="up to 60"):
        find_enforcing({"PICLUSTER_CLEANUP_S": limit}, Tree(tmp_path))


# Programs


def test_a_program_says_what_it_has_to_say() -> None:
    assert run(("sh", "-c", "echo out; echo err >&2; exit 3"), Budget(20)) == (3, b"out\nerr\n")
    assert run(("sh", "-c", "echo out; echo err >&2"), Budget(20), errors=False) == (0, b"out\n")


def test_much_is_read_to_its_end() -> None:
    assert len(run(("head", "-c", "1000000", "/dev/zero"), Budget(20)).said) == 1_000_000


def test_a_program_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError, match="there is no picluster-nothing"):
        run(("picluster-nothing",), Budget(20))


@pytest.mark.parametrize(
    "script", ["sleep 60", "trap '' TERM INT; sleep 60 & sleep 60", "exec >&- 2>&-; sleep 60"]
)
def test_a_program_that_does_not_end_is_killed_and_the_agent_shows_meanwhile_that_it_lives(
    script: str,
) -> None:
    signs: list[float] = []
    began = time.monotonic()
    ran = run(("sh", "-c", script), Budget(0.2, lambda: signs.append(time.monotonic())))
    assert ran.code == -9 and time.monotonic() - began < 10
    assert signs


def test_what_a_program_leaves_behind_is_killed_too(tmp_path: Path) -> None:
    """Also where it made a group of its own."""
    pid = tmp_path / "pid"
    script = f"set -m; sleep 60 >/dev/null 2>&1 & echo $! > {pid}"
    assert run_aloud(["/bin/bash", "-c", script], {}, Budget(20)) == 0
    status = Path(f"/proc/{pid.read_text().strip()}/status")
    deadline = time.monotonic() + 20
    while status.exists() and "State:\tZ" not in status.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not status.exists() or "State:\tZ" in status.read_text()


def test_part_of_a_budget_is_no_more_than_is_left() -> None:
    now = [0.0]
    budget = Budget(10, clock=lambda: now[0])
    assert budget.part(3).left_s == 3 and budget.part(30).left_s == 10
    now[0] = 11
    assert budget.left_s == 0 == budget.part(3).left_s


def test_long_work_asks_systemd_for_more_time(tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        Manager({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "180000000"}).busy()
        assert [listener.recv(99), listener.recv(99)] == [b"WATCHDOG=1", b"EXTEND_TIMEOUT_USEC=30000000"]


# What belongs to an account

MOUNTS = r"""
25 1 179:2 / / rw,noatime shared:1 - ext4 /dev/root rw
40 25 0:40 / /home/picluster/a\040b\134c rw,nosuid,nodev - fuse.sshfs far:/ rw,user_id=1001,group_id=1001
41 25 0:41 / /home/pi/x rw - fuse.sshfs far:/ rw,user_id=10011,group_id=1001
42 25 0:42 / /mnt rw - nfs4 far:/ rw,user_id=1001
43 25 0:43 / /tmp/new\012line rw - fuse far rw,user_id=1001
"""


def test_fuse_mounts_say_whose_they_are(tmp_path: Path) -> None:
    tree = plant(tmp_path, {"proc/self/mountinfo": MOUNTS.lstrip()})
    assert sweep.fuse_mounts(tree, 1001) == ["/home/picluster/a b\\c", "/tmp/new\nline"]
    assert sweep.fuse_mounts(tree, 2000) == []


def test_memory_says_whose_it_is(tmp_path: Path) -> None:
    """Who made it counts as well as who owns it."""
    tree = plant(
        tmp_path,
        {
            "proc/sysvipc/shm": "key shmid perms size uid gid cuid cgid\n0 5 1600 4 1001 1 1001 1\n0 6 1600 4 0 1 0 1\n",
            "proc/sysvipc/sem": "key semid perms nsems uid gid cuid cgid\n0 7 600 1 0 1 1001 1\n",
        },
    )
    assert sweep.segments(tree, 1001) == [("shmem", 5), ("semaphore", 7)]


def test_where_everybody_may_write_is_found_by_looking(tmp_path: Path) -> None:
    """By a group, too; and not where the account cannot go, nor inside of a place that is found already, nor on
    somebody else's server."""
    tree = plant(
        tmp_path,
        {
            **GOOD,
            "srv/lab/shared/x/y": "",
            "srv/video/x": "",
            "srv/private/open/x": "",
            "tmp/x": "",
            "srv/nas/x": "",
        },
    )
    for path, mode in {
        "srv/lab/shared": 0o1777,
        "srv/lab/shared/x": 0o777,
        "srv/video": 0o775,
        "srv/private": 0o700,
        "srv/private/open": 0o777,
        "srv/nas": 0o777,
        "tmp": 0o1777,
    }.items():
        (tmp_path / path).chmod(mode)
    mine = Account(
        "picluster", 60_001, 60_001, "/home/picluster", "", {"video": (tmp_path / "srv/video").stat().st_gid}
    )
    plant(tmp_path, {"proc/self/mountinfo": "42 25 0:42 / /srv/nas rw - nfs4 far:/ rw\n"})
    ground = sweep.Ground(tree, mine)
    sweep._survey(ground, Budget(20))
    assert [os.path.relpath(place, tmp_path) for place in ground.places] == [
        "srv/lab/shared",
        "srv/video",
        "tmp",
    ]


def test_without_a_place_to_look_in_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`find` without a place would take the folder that it was started in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept").write_text("")
    ground = sweep.Ground(Tree(tmp_path), Account("me", os.getuid(), os.getgid(), "/home/me", "", {}))
    sweep._files(ground, Budget(20))
    assert (tmp_path / "kept").exists()


def test_an_account_is_read_from_the_board_s_own_files(tmp_path: Path) -> None:
    tree = good_board(tmp_path)
    found = accounts.find(tree, "picluster")
    assert found == Account(
        "picluster", 1001, 1001, "/home/picluster", "/bin/sh", {"video": 44, "picluster": 1001}
    )
    assert accounts.find(tree, "nobody-here") is None


def test_this_machine_has_a_number_for_the_kernel_s_keyrings() -> None:
    assert machine() in ("x86_64", "i686", "aarch64", "arm", "riscv64")
