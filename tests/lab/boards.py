"""Boards as namespaces: each with its own root, accounts, network, clock, real sshd and the real agent.

A board's disk is a layer over the host's root, so it may be wrecked at will. Its hardware is a folder with the files
that a kernel shows, mounted over the board's own /proc and /sys; `show` changes them while it runs. `power_cut` and
`power_on` take the processes and what is in memory; the disk and the hardware stay.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from picluster.agent import sshd
from picluster.agent.bundle import archive
from tests.agent.trees import PI5, plant
from tests.lab.wire import BITS, GATEWAY, Wire
from tests.service import PATIENCE_S, ServiceProcess, on_sqlite, until

MEMORY = Path("/dev/shm")
"""Disks are in memory: what counts is that they outlive a power cut of the board, not of the host."""
PREFIX = "picluster-lab-"
INIT = Path(__file__).with_name("init.sh")
AGENT = "/usr/lib/picluster/picluster-agent.pyz"
PYTHON = "/usr/bin/python3"
"""The board's. The one that runs the tests may lie where only root can read."""
ACCOUNT = "picluster"
"""That holders use."""
ACCOUNTS = {ACCOUNT: 2000, "pi": 2001}
"""With what ids. `pi` is whom the board belongs to."""
EMPTY = ("home", "var/tmp", "etc/ssh", "var/lib/picluster", "var/spool/cron/crontabs", "var/mail")
"""Folders of the host's system that a board begins with empty."""
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}
SSHD_CONFIG = """\
Include /etc/ssh/sshd_config.d/*.conf
HostKey /etc/ssh/ssh_host_ed25519_key
UsePAM no
UseDNS no
PasswordAuthentication no
KbdInteractiveAuthentication no
"""
TESTED_BY_ITSELF = (
    "proc/self/",
    "proc/sys/kernel/hostname",
    "proc/sys/kernel/osrelease",
    "proc/loadavg",
    "proc/uptime",
)
"""Parts of a planted tree that a running board has of its own."""
_NOT_ON_A_PC = "proc/device-tree/"
"""A folder that procfs has on ARM alone, so its other name in sysfs is used."""


PROGRAMS = {
    "ip": "iproute2",
    "nft": "nftables",
    "ps": "procps",
    "ssh": "openssh-client",
    "sshd": "openssh-server",
}
"""That the lab needs, and the Debian packages that bring them; `make test` installs them for root."""


class Key(NamedTuple):
    """Somebody's SSH key: the file, and the line that goes into a lease."""

    file: Path
    public: str


class Lab:
    """Boards, keys and services of one test process. Leaving it ends all of them."""

    def __init__(self) -> None:
        _remove_what_the_dead_left()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=MEMORY))
        self.wire = Wire()
        self.boards: list[Board] = []
        self._services: list[ServiceProcess] = []
        self._keys = 0

    def __enter__(self) -> Self:
        self.wire.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for board in self.boards:
            board.cut()
        for running in self._services:
            running.end()
        self.wire.__exit__(kind, error, trace)
        shutil.rmtree(self.folder)

    def service(self, data: Path | None = None, *arguments: str, **environment: str) -> ServiceProcess:
        """A pool that boards find at the bridge. It dies with the tests."""
        data = data or Path(tempfile.mkdtemp(prefix="pool-", dir=self.folder))
        running = ServiceProcess(
            "--host",
            "0.0.0.0",
            *on_sqlite(data),
            *arguments,
            within=("setpriv", "--pdeathsig", "KILL"),
            **environment,
        )
        self._services.append(running)
        return running

    def key(self) -> Key:
        """A fresh one."""
        self._keys += 1
        file = self.folder / f"key-{self._keys}"
        return Key(file, make_key(file))

    def board(self, name: str, pool: ServiceProcess | None = None, **more: Any) -> Board:
        """One board, booted; with its agent, if it belongs to a pool. `more` is what `Board` takes."""
        [board] = self.rack([name], pool, **more)
        return board

    def rack(self, names: Iterable[str], pool: ServiceProcess | None = None, **more: Any) -> list[Board]:
        """Several boards, booted at once."""
        boards = self.shelf(names, pool, **more)
        power_on(boards)
        return boards

    def shelf(self, names: Iterable[str], pool: ServiceProcess | None = None, **more: Any) -> list[Board]:
        """Several boards, installed and off."""
        first = len(self.boards) + 2
        boards = [Board(self, name, number, pool, **more) for number, name in enumerate(names, first)]
        self.boards += boards
        return boards


class Board:
    """One board, off. Unless told otherwise it is set up to enforce, which begins with its agent."""

    def __init__(
        self,
        lab: Lab,
        name: str,
        number: int,
        pool: ServiceProcess | None = None,
        *,
        enforced: bool = True,
        model: Mapping[str, str] = PI5,
        daemons: Sequence[str] = (),
    ) -> None:
        self.name, self.pool, self.enforced = name, pool, enforced
        self.address = f"10.77.0.{number}"
        self.daemons = daemons
        """Commands that the board runs from its boot on, such as `cron -f`."""
        self.serial = f"b03b5cbbaa3f{number:04x}"
        self._lab = lab
        self._folder = lab.folder / name
        for part in ("disk", "work", "root"):
            (self._folder / part).mkdir(parents=True)
        self._disk = self._folder / "disk"
        self._hardware = self._folder / "hardware"
        plant(self._hardware, _hardware(model, self.serial))
        self._unshare: subprocess.Popen[str] | None = None
        self._agent: subprocess.Popen[bytes] | None = None
        self._write_disk()

    def _write_disk(self) -> None:
        """What was installed on it before it came to the lab."""
        for folder in EMPTY:
            _make_empty(self._disk / folder, as_here=Path("/") / folder)
        self.host_key = make_key(self._disk / "etc/ssh/ssh_host_ed25519_key")
        hosts = (
            f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n"  # there is no DNS, and sudo would wait for one
        )
        plant(self._disk, {"etc/hostname": f"{self.name}\n", "etc/hosts": hosts, "etc/resolv.conf": ""})
        drop_in = {sshd.DROP_IN.lstrip("/"): sshd.config(ACCOUNT)} if self.enforced else {}
        plant(self._disk, {"etc/ssh/sshd_config": SSHD_CONFIG, **drop_in})
        _add_accounts(self._disk)
        plant(self._disk, {AGENT.lstrip("/"): archive()})
        if self.pool:
            self.join(self.pool)

    def join(self, pool: ServiceProcess, port: int = 0) -> None:
        """As the installer does: where the pool is (or what stands before it, at `port`), and a token for this board."""
        self.pool = pool
        conf = (
            f"PICLUSTER_URL=http://{GATEWAY}:{port or pool.port}\n"
            f"PICLUSTER_SSH_USER={ACCOUNT}\nPICLUSTER_ENFORCE={int(self.enforced)}\n"
        )
        token = token_for(pool, self.name)
        root = self.file("/") if self.on else self._disk
        plant(root, {"etc/picluster/agent.conf": conf, "etc/picluster/token": token})
        (root / "etc/picluster/token").chmod(0o600)

    # Power

    @property
    def on(self) -> bool:
        return self._unshare is not None

    def boot(self) -> None:
        """The first half of it, up to where the cable is needed."""
        assert not self.on, f"{self.name} is on"
        plant(self._hardware, {"proc/sys/kernel/random/boot_id": f"{uuid.uuid4()}\n"})
        told = {
            "BOARD_NAME": self.name,
            "BOARD_FOLDER": str(self._folder),
            "BOARD_ADDRESS": f"{self.address}/{BITS}",
            "BOARD_GATEWAY": GATEWAY,
            "BOARD_DAEMONS": ",".join(self.daemons),
        }
        since_boot = f"--boottime=-{int(time.clock_gettime(time.CLOCK_BOOTTIME))}"
        namespaces = ["--net", "--uts", "--ipc", "--pid", "--mount", "--time", since_boot]
        with (self._folder / "console").open("a") as console:
            self._unshare = subprocess.Popen(
                ["unshare", *namespaces, "--fork", "--kill-child", "/bin/sh", str(INIT)],
                env=told,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=console,
                text=True,
            )

    def built(self) -> int:
        """Wait for that; the board's PID 1, as the host knows it, which is `init` from now on."""
        assert self._unshare and self._unshare.stdout
        said = self._unshare.stdout.readline()
        assert said == "built\n", f"{self.name} did not boot: {(self._folder / 'console').read_text()}"
        self.init = child_of(self._unshare.pid)
        return self.init

    def plugged(self) -> None:
        assert self._unshare and self._unshare.stdin
        self._unshare.stdin.write("plugged\n")
        self._unshare.stdin.flush()

    def listens(self) -> bool:
        """Its sshd is up: the end of a boot."""
        log = self.file("/run/sshd.log")
        return log.exists() and "Server listening" in log.read_text()

    def cut(self) -> None:
        """Everything dies at once. Said of a board that is off, nothing."""
        if self._unshare:
            with suppress(ProcessLookupError):
                os.kill(self.init, signal.SIGKILL)
            self._unshare.communicate()  # it ends when the last process of the board is gone
            self._unshare = None
        if self._agent:
            self._agent.wait()
            self._agent = None

    def power_cut(self) -> None:
        """The link goes first, or the kernel would still say goodbye for each connection."""
        self._lab.wire.pull(self.name)
        self.cut()
        self._lab.wire.unplug(self.name)

    def power_on(self) -> None:
        """A new boot, with its agent if it has a pool."""
        power_on([self])

    def reboot(self) -> None:
        """In order: connections are closed, and not cut."""
        self.kill_agent(signal.SIGTERM)
        self.run(["sh", "-c", "kill -TERM -1"], check=False)  # which ends the command itself
        self.cut()
        self._lab.wire.unplug(self.name)
        self.power_on()

    # What happens on it

    def show(self, files: Mapping[str, str]) -> None:
        """What the kernel shows from now on, in /sys and the planted part of /proc, also after power cuts."""
        plant(self._hardware, {name.lstrip("/"): content for name, content in files.items()})

    def move(self, address: str) -> None:
        """Another address from DHCP, as it comes while the board runs."""
        lines = f"addr flush dev eth0\naddr add {address}/{BITS} dev eth0\nroute add default via {GATEWAY}\n"
        self.run(["ip", "-batch", "-"], input=lines)
        self.address = address

    def file(self, path: str) -> Path:
        """A file of the running board, as the tests can reach it."""
        return Path(f"/proc/{self.init}/root", path.lstrip("/"))

    def command(self, argv: Sequence[str], user: str | None = None) -> list[str]:
        """What runs this inside, as root or as another of the board's users."""
        as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        return ["nsenter", "--all", f"--target={self.init}", *as_user, *argv]

    def run(
        self, argv: Sequence[str], user: str | None = None, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """To its end. Raises `CalledProcessError` unless told `check=False`."""
        told: dict[str, Any] = {
            "check": True,
            "text": True,
            "capture_output": True,
            "timeout": PATIENCE_S,
            **more,
        }
        home = f"/home/{user}" if user else "/root"
        return subprocess.run(self.command(argv, user), env={**ENVIRONMENT, "HOME": home}, **told)

    # Its agent

    @property
    def log(self) -> str:
        """What its agents have said, all of them."""
        return (self._folder / "said").read_text()

    def start_agent(self, *arguments: str) -> None:
        with (self._folder / "said").open("a") as said:
            command = self.command([PYTHON, AGENT, *arguments])
            self._agent = subprocess.Popen(command, stderr=said, stdin=subprocess.DEVNULL, env=ENVIRONMENT)

    def kill_agent(self, number: int = signal.SIGKILL) -> None:
        """The agent, and not what runs it here."""
        if self._agent:
            os.kill(self.agent_pid, number)
            self._agent.wait()
            self._agent = None

    @property
    def agent_pid(self) -> int:
        """As the host knows it."""
        assert self._agent, f"no agent runs on {self.name}"
        return child_of(self._agent.pid)

    @property
    def machine(self) -> dict[str, Any]:
        """As the pool shows it; empty before it appears there."""
        assert self.pool
        answer = self.pool.get(f"/api/v1/machines/{self.name}")
        return dict(answer.json()) if answer.status_code == 200 else {}

    # People

    def welcome(self, key: Key, user: str) -> None:
        """As `ssh-copy-id` does: a key in the account's own home. On an enforced board it opens no holder's account."""
        self.run(
            ["sh", "-c", "mkdir -p ~/.ssh && cat >> ~/.ssh/authorized_keys"], user, input=f"{key.public}\n"
        )

    def ssh_command(self, key: Key, *command: str, user: str = ACCOUNT) -> list[str]:
        """The client's, which knows the board's host key and believes no other."""
        known = self._folder / "known_hosts"
        known.write_text(f"{self.address} {self.host_key}\n")
        options = {
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(known),
            "GlobalKnownHostsFile": "/dev/null",
            "ConnectTimeout": "5",
            "LogLevel": "ERROR",
        }
        told = [f"-o{name}={value}" for name, value in options.items()]
        return ["ssh", "-F", "none", *told, "-i", str(key.file), f"{user}@{self.address}", *command]

    def ssh(
        self, key: Key, *command: str, user: str = ACCOUNT, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """One command, to its end; 255 if ssh was not let in."""
        told: dict[str, Any] = {"text": True, "capture_output": True, "timeout": PATIENCE_S, **more}
        return subprocess.run(self.ssh_command(key, *command, user=user), **told)

    def session(self, key: Key, *command: str, user: str = ACCOUNT) -> subprocess.Popen[str]:
        """One that goes on: a shell that reads commands, unless told otherwise."""
        return subprocess.Popen(
            self.ssh_command(key, *(command or ("sh",)), user=user),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )


def what_is_lacking() -> str:
    """Why there can be no lab here; empty if there can."""
    path = ENVIRONMENT["PATH"]
    missing = [package for program, package in PROGRAMS.items() if not shutil.which(program, path=path)]
    if missing:
        return f"needs Debian packages: apt install {' '.join(missing)}"
    tried = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True)
    return (
        "needs a root that may make namespaces: a container without privileges?" if tried.returncode else ""
    )


def power_on(boards: Sequence[Board]) -> None:
    """All at once: they boot side by side, and one `ip` plugs in every cable."""
    for board in boards:
        board.boot()
    if not boards:
        return
    boards[0]._lab.wire.plug({board.name: board.built() for board in boards})
    for board in boards:
        board.plugged()
        if board.pool:
            board.start_agent()
    for board in boards:
        until(board.listens)


def make_key(file: Path) -> str:
    """A key pair; `TYPE KEY` of its public half."""
    file.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", file], check=True)
    return Path(f"{file}.pub").read_text().strip()


def child_of(pid: int) -> int:
    """The one process that it started; it has to appear first."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    until(lambda: children.read_text().split())
    return int(children.read_text().split()[0])


def token_for(pool: ServiceProcess, name: str) -> str:
    return str(pool.send("POST", "/api/v1/tokens", {"name": name, "kind": "agent"}).json()["token"])


def _hardware(model: Mapping[str, str], serial: str) -> dict[str, str]:
    """Of a model's tree what the kernel shows, with a serial of its own."""
    found = {"proc/sys/kernel/random/boot_id": "", "sys/class/x": ""}
    own = model["proc/device-tree/serial-number"].rstrip("\0")
    for name, content in model.items():
        if name.startswith(TESTED_BY_ITSELF) or not name.startswith(("proc/", "sys/")):
            continue
        found[name.replace(_NOT_ON_A_PC, "sys/firmware/devicetree/base/")] = content.replace(own, serial)
    return found


def _make_empty(folder: Path, as_here: Path) -> None:
    """A folder of a disk that hides what the host has there, with the owner and mode of the host's."""
    folder.mkdir(parents=True)
    there = as_here.stat() if as_here.exists() else Path("/").stat()
    os.chown(folder, there.st_uid, there.st_gid)
    folder.chmod(stat.S_IMODE(there.st_mode))
    os.setxattr(folder, "trusted.overlay.opaque", b"y")


def _add_accounts(disk: Path) -> None:
    """As `useradd -m -p '*'` does, in a tenth of its time. (Without PAM, sshd takes `!` for a locked account.)"""
    users, groups = Path("/etc/passwd").read_text(), Path("/etc/group").read_text()
    for name, number in ACCOUNTS.items():
        users += f"{name}:x:{number}:{number}::/home/{name}:/bin/sh\n"
        groups += f"{name}:x:{number}:\n"
        home = disk / "home" / name
        home.mkdir(mode=0o700)
        os.chown(home, number, number)
    names = [line.partition(":")[0] for line in users.splitlines()]
    shadow = "".join(f"{name}:*:19000:0:99999:7:::\n" for name in names)
    plant(disk, {"etc/passwd": users, "etc/group": groups, "etc/shadow": shadow})
    (disk / "etc/shadow").chmod(0o600)


def _remove_what_the_dead_left() -> None:
    """Folders of test processes that were killed; the processes on the boards died with them."""
    for folder in MEMORY.glob(f"{PREFIX}*"):
        found = re.match(rf"{PREFIX}(\d+)-", folder.name)
        if found and not Path(f"/proc/{found[1]}").exists():
            shutil.rmtree(folder, ignore_errors=True)
