"""What surrounds a database file: its folder, the kind of disk, one process only, and space kept back."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from picluster.store import StoreProblem

RESERVE_BYTES = 4 * 1024 * 1024
"""Enough, on a full disk, for the write-ahead log between two checkpoints and thousands of releases."""

NETWORK_FILE_SYSTEMS = frozenset(
    {
        *("nfs", "nfs3", "nfs4", "cifs", "smb2", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre"),
        *("beegfs", "gfs2", "gpfs", "ocfs2", "ncpfs", "coda", "davfs"),
        *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.rclone", "fuse.davfs2"),
    }
)
"""Where locks or shared memory between processes cannot be relied on, as a write-ahead log needs them."""

MOUNTINFO = Path("/proc/self/mountinfo")


def network_file_system(path: str, mountinfo: str) -> str | None:
    """The network file system on which this absolute path lies, or None.

    `mountinfo` is text as in `/proc/self/mountinfo` (proc(5)). The longest mount point wins; of equal ones
    the last, which is mounted on top.
    """
    longest, kind = -1, ""
    for line in mountinfo.splitlines():
        place, _, rest = line.partition(" - ")
        columns = place.split(" ")
        if len(columns) < 5 or not rest:
            continue
        point = _unescaped(columns[4]).rstrip("/")
        if (path == point or path.startswith(point + "/")) and len(point) >= longest:
            longest, kind = len(point), rest.split(" ")[0]
    return kind if kind in NETWORK_FILE_SYSTEMS else None


def _unescaped(text: str) -> str:
    """Blanks and the like are written as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def refuse_network(path: Path) -> None:
    """Raises `StoreProblem` if the file would lie on a network file system. Knows only about Linux."""
    try:
        mountinfo = MOUNTINFO.read_text(errors="surrogateescape")
    except OSError:
        return
    if kind := network_file_system(str(path.resolve()), mountinfo):
        raise StoreProblem(
            f"{path} is on a network file system ({kind}), where SQLite can lose or damage data",
            hint="Use a local disk with --data, or PostgreSQL: --url postgresql://…",
        )


APP_SERVICE = "WEBSITE_SITE_NAME"
"""The variable by which Azure App Service names the app."""


def refuse_app_service(path: Path, environ: Mapping[str, str] = os.environ) -> None:
    """Raises `StoreProblem` there, wherever the file would lie: what is outside /home is gone with the next restart."""
    if app := environ.get(APP_SERVICE):
        raise StoreProblem(
            f"{path} would not last: of Azure App Service ({app}) only /home outlives a restart, a network share where "
            "SQLite can lose or damage data.",
            hint="Use PostgreSQL: PICLUSTER_DATABASE_URL=postgresql://… among the app's settings.",
        )


def make_ready(path: Path) -> None:
    """The folder, and the file itself, which only its owner may read: it holds digests of tokens.

    Raises `StoreProblem` when that cannot be.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> StoreProblem:
    owned = _somebody_elses(path) if isinstance(error, PermissionError) else None
    if owned is None:
        return StoreProblem(f"{path} cannot be written: {error.strerror}", hint=_ANOTHER_FOLDER)
    place, owner, me = owned
    hint = f"Run this as {owner}, as in `sudo -u {owner} picluster …`; or use another folder, with --data."
    if owner == "root":
        files = f"{path}".removesuffix(".lock")
        left = f"If a command of root's left it there: `chown {me} {files}*`, and run such commands as {me}."
        hint = left if place == path else _ANOTHER_FOLDER
    what = "it" if place == path else place
    return StoreProblem(f"{path} cannot be written: {what} belongs to {owner}, and this is {me}", hint=hint)


_ANOTHER_FOLDER = "Give the service a folder that it may write to, with --data."


def _somebody_elses(path: Path) -> tuple[Path, str, str] | None:
    """(what of it is there and may be looked at, whose it is, who asks), where there are users and it is another's."""
    for place in (path, *path.parents):
        try:
            owner, me = place.owner(), _user()
        except (KeyError, NotImplementedError):
            return None
        except OSError:
            continue
        return (place, owner, me) if owner != me else None
    return None


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


class OneProcess:
    """A lock that the operating system gives back when the process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Raises `StoreProblem` naming the process that has it."""
        try:
            file = open(self._path, "a+", encoding="ascii", errors="replace")  # noqa: SIM115  held until given back
        except OSError as error:
            raise _unwritable(self._path, error) from error
        if not _locked(file):
            file.seek(0)
            owner = file.read(20).strip() or "unknown"
            file.close()
            raise StoreProblem(
                f"another process (pid {owner}) is using this database",
                hint="Stop it first. To run more than one server on one pool, use PostgreSQL.",
                pid=owner,
            )
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file

    def give_back(self) -> None:
        """The file stays: removing it would let two processes lock two files of one name."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _locked(file: IO[str]) -> bool:
    """Take the lock, without waiting for it."""
    try:
        import fcntl
    except ImportError:  # Windows, where SQLite's own locks must do
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Reserve:
    """Space kept back, so that on a full disk leases can still be renewed and released.

    There even removing a row needs room, for the log of it.
    """

    def __init__(self, path: Path, size: int = RESERVE_BYTES) -> None:
        self._path = path
        self._size = size

    def keep(self) -> bool:
        """Whether it is set aside. Not unless as much again is left: it should not fill the disk itself."""
        if self._path.exists() and self._path.stat().st_size >= self._size:
            return True
        if free_bytes(self._path.parent) < 2 * self._size:
            return False
        try:
            self._allocate()
        except OSError:
            self.free()
            return False
        return True

    def _allocate(self) -> None:
        """With random bytes: a file system that compresses would set nothing aside for zeros."""
        with open(self._path, "wb", opener=_private) as file:
            file.write(os.urandom(self._size))
            file.flush()
            os.fsync(file.fileno())

    def free(self) -> None:
        """Give it back to whoever writes next."""
        self._path.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def free_bytes(folder: Path) -> int:
    """What this user can still write there."""
    return shutil.disk_usage(folder).free
