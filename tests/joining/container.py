"""A board with real systemd: Debian in a container with a network of its own, thrown away after each use.

The root file system is made once, from the package sources that this machine uses itself, and kept in `.lab`, which
git ignores. What a container changes is in memory.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import re
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

LAB = Path(__file__).parents[2] / ".lab"
RELEASE = "bookworm"
PACKAGES = (
    "at",
    "ca-certificates",
    "cron",
    "curl",
    "dbus",
    "iproute2",
    "libpam-systemd",
    "openssh-server",
    "procps",
    "python3",
    "sudo",
    "systemd",
    "systemd-sysv",
)
TOOLS = ("mmdebstrap", "systemd-nspawn", "ip")
NAMELESS = '--customize-hook=rm -f "$1/etc/hostname"'
"""Else it would be called as this machine is."""
DISKLESS = '--customize-hook=ln -s /dev/null "$1/etc/systemd/system/systemd-remount-fs.service"'
"""The root of a container is no disk; at a busy moment the attempt to mount it anew fails."""
PATIENCE_S = 60.0
"""For a boot, or whatever a test waits for inside; far above what it takes."""

_NETWORK = "10.211"
"""Addresses that exist between one container and this machine alone."""
_numbers = itertools.count(1)


def missing_tools() -> list[str]:
    return [tool for tool in TOOLS if not shutil.which(tool)]


def package_sources(folder: Path) -> list[Path]:
    """Where apt on this machine gets the release itself; neither its updates nor other vendors' packages."""
    known = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    kept = []
    for file in known:
        if file.suffix not in (".list", ".sources") or not file.is_file():
            continue
        parts = re.split(r"\n\s*\n" if file.suffix == ".sources" else r"\n", file.read_text())
        parts = [part for part in parts if _names_release(part)]
        if parts:
            kept.append(folder / file.name)
            kept[-1].write_text("\n\n".join(parts) + "\n")
    return kept


def _names_release(part: str) -> bool:
    """As a suite of its own, with the component main."""
    words = re.sub(r"^\s*#.*", "", part, flags=re.MULTILINE).split()
    return RELEASE in words and "main" in words


def root(name: str, *options: str, packages: tuple[str, ...] = PACKAGES) -> Path:
    """A Debian root, made when it is not there yet; two who want it at once wait for one of them to make it."""
    LAB.mkdir(exist_ok=True)
    key = hashlib.sha256(repr((options, packages, RELEASE)).encode()).hexdigest()[:8]
    folder = LAB / f"{name}-{key}"
    with (LAB / f"{name}.lock").open("w") as lock, tempfile.TemporaryDirectory(dir=LAB) as temporary:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            fresh = Path(temporary) / "root"
            command = ["mmdebstrap", *options, f"--include={','.join(packages)}", RELEASE, str(fresh)]
            sources = package_sources(Path(temporary))
            made = subprocess.run([*command, *sources], capture_output=True, text=True)
            assert made.returncode == 0, made.stderr[-4000:]
            fresh.rename(folder)
    return folder


class Container:
    """One board, booted. `run` is a shell on it."""

    def __init__(self, host_name: str) -> None:
        self.host_name = host_name
        number = next(_numbers)
        self._tag = f"pcj{os.getpid()}-{number}"
        net = f"{_NETWORK}.{os.getpid() % 250}.{4 * number}"
        subnet, _, last = net.rpartition(".")
        self.gateway, self.address = (f"{subnet}.{int(last) + n}" for n in (1, 2))
        self._machine_id = uuid.uuid4().hex
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0
        self._said = tempfile.NamedTemporaryFile(prefix="picluster-console-")  # noqa: SIM115

    def __enter__(self) -> Container:
        self._plug_in()
        try:
            self.boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.power_off()
        subprocess.run(["ip", "link", "del", self._tag], capture_output=True)
        subprocess.run(["ip", "netns", "del", self._tag], capture_output=True)
        self._said.close()

    def boot(self) -> None:
        options = ["-q", "--volatile=overlay", "--boot", "--register=no", "--keep-unit", "--link-journal=no"]
        options += ["--system-call-filter=@keyring"]  # else refused in containers; on a board it is not
        options += [f"--network-namespace-path=/run/netns/{self._tag}", f"--machine={self.host_name}"]
        options += [f"--hostname={self.host_name}", f"--uuid={self._machine_id}", "--console=read-only"]
        self._nspawn = subprocess.Popen(
            ["systemd-nspawn", "-D", str(root("board", "--variant=minbase", NAMELESS, DISKLESS)), *options],
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
        )
        self.until(lambda: bool(self._find_leader()))
        self.until(lambda: self("systemctl is-system-running --wait", check=False) in ("running", "degraded"))
        # A boot of its own, which a sandboxed unit with a /proc of its own would not see: it would be another board.
        self("umount /proc/sys/kernel/random/boot_id")

    def power_off(self) -> None:
        """At once, as when somebody pulls the plug."""
        if self._leader:
            subprocess.run(["kill", "-KILL", str(self._leader)], capture_output=True)
        if self._nspawn:
            try:
                self._nspawn.wait(10)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()
        self._leader, self._nspawn = 0, None

    def run(self, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """As root, in a shell on the board."""
        enter = ["nsenter", "-t", str(self._leader), "-m", "-u", "-i", "-n", "-p", "-r", "-w"]
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        env: Mapping[str, str] = {"PATH": path, "HOME": "/root", **environment}
        return subprocess.run(
            [*enter, "/bin/sh", "-c", script],
            capture_output=True,
            text=True,
            env=env,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE_S,
        )

    def __call__(self, script: str, *, check: bool = True) -> str:
        """What it prints. Raises `AssertionError` with what it said if it fails."""
        done = self.run(script)
        assert done.returncode == 0 or not check, f"{done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def until(self, condition: object) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():  # type: ignore[operator]
            assert self._nspawn and self._nspawn.poll() is None, Path(self._said.name).read_text()
            assert time.monotonic() < deadline, f"it never came; {Path(self._said.name).read_text()[-2000:]}"
            time.sleep(0.05)

    def _plug_in(self) -> None:
        """A cable to this machine and nowhere else."""
        lines = [
            f"netns add {self._tag}",
            f"link add {self._tag} type veth peer name eth0 netns {self._tag}",
            f"address add {self.gateway}/30 dev {self._tag}",
            f"link set {self._tag} up",
        ]
        for line in lines:
            subprocess.run(["ip", *line.split()], check=True)
        for line in (f"address add {self.address}/30 dev eth0", "link set eth0 up", "link set lo up"):
            subprocess.run(["ip", "-n", self._tag, *line.split()], check=True)

    def _find_leader(self) -> int:
        """The container's first process: the child of nspawn's child."""
        assert self._nspawn
        for child in _children(self._nspawn.pid):
            status = Path(f"/proc/{child}/status").read_text()
            if re.search(r"^NSpid:\s+\d+\s+1$", status, re.MULTILINE):
                self._leader = child
        return self._leader


def _children(process: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []
