"""A pool in a file: one process, on a local disk that may be full, in a file that may be damaged."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from picluster.errors import Unavailable
from picluster.store import CommitUnknown, DiskFull, HistoryQuery, StoreProblem, files
from picluster.store.files import MOUNTINFO, Reserve, network_file_system
from picluster.store.sqlite import SqliteStore
from tests.store.pools import FakeClock, ended, event, held, machine, now, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "pool.db"


@pytest.fixture
def store(path: Path, clock: FakeClock) -> Iterator[SqliteStore]:
    store = SqliteStore(path, clock)
    store.open()
    yield store
    store.close()


def open_at(path: Path | str) -> SqliteStore:
    store = SqliteStore(path, FakeClock())
    store.open()
    return store


# The file


def test_a_restart_finds_everything_and_starts_anew(store: SqliteStore, path: Path, clock: FakeClock) -> None:
    """Time during which nothing ran does not count."""
    write(store, machine("pi-1", 1), held("lease", "pi-1", revision=2))
    clock.pass_s(3)
    write(store)
    store.close()
    clock.pass_s(1000)
    again = SqliteStore(path, clock)
    again.open()
    with again.turn() as turn:
        assert turn.fresh
        assert turn.now == 3.0
        assert turn.timeline == ""
        assert turn.rows_after(0) == [machine("pi-1", 1), held("lease", "pi-1", revision=2)]
    again.close()


def test_every_commit_is_on_the_disk(store: SqliteStore) -> None:
    """FULL, not NORMAL: without it a power cut takes acknowledged leases back."""
    settings = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    for name, value in settings.items():
        assert store._writing().execute(text(f"PRAGMA {name}")).scalar_one() == value, name
        store._writing().rollback()


def test_only_its_owner_can_read_it(store: SqliteStore, path: Path) -> None:
    """It holds digests of tokens."""
    write(store)
    store.keep_reserve()
    for file in path.parent.iterdir():
        if file.suffix != ".lock":
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_readers_neither_write_nor_wait(store: SqliteStore) -> None:
    """A read in the middle of a turn sees what was committed before it."""
    write(store, machine("pi-1", 1), happened=[event(1)])
    with store.turn() as turn:
        turn.write(replace(turn.state, revision=2), [machine("pi-1", 2)], [event(2)], [])
        assert store.catch_up(0).rows == [machine("pi-1", 1)]
        assert store.history(HistoryQuery()) == [event(1)]
    with store._reading() as connection, pytest.raises(DBAPIError, match="readonly"):
        connection.execute(text("DELETE FROM events"))


def test_reads_come_from_many_threads(store: SqliteStore) -> None:
    write(store, happened=[event(1)])
    seen: list[int] = []

    def read() -> None:
        seen.extend(len(store.history(HistoryQuery())) for _ in range(20))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 160


def test_a_person_in_the_way_makes_it_unavailable(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only until that person is done."""
    monkeypatch.setattr("picluster.store.sqlite.BUSY_S", 0.01)
    store = SqliteStore(path, clock)
    store.open()
    shell = sqlite3.connect(path, isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked"):
        write(store)
    shell.close()
    write(store)
    store.close()


def test_the_lock_is_taken_before_anything_is_read(store: SqliteStore, path: Path) -> None:
    """Else two that had read the same would both decide, and one of them would fail at its first write."""
    shell = sqlite3.connect(path, isolation_level=None, timeout=0)
    with store.turn(), pytest.raises(sqlite3.OperationalError, match="locked"):
        shell.execute("BEGIN IMMEDIATE")
    shell.execute("BEGIN IMMEDIATE")
    shell.close()


# One process


HOLD = """
import sys
from picluster.store.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
store.open()
print("open", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_refused_and_told_who_is_first(path: Path) -> None:
    """Until the first one ends, however it ends."""
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdin
    assert first.stdout
    with first:
        assert first.stdout.readline() == "open\n"
        with pytest.raises(StoreProblem, match=rf"\(pid {first.pid}\)") as raised:
            open_at(path)
        assert "PostgreSQL" in raised.value.hint
        first.kill()
    open_at(path).close()


def test_a_second_store_in_this_process_is_refused(store: SqliteStore, path: Path) -> None:
    with pytest.raises(StoreProblem, match=f"pid {os.getpid()}"):
        open_at(path)
    write(store)


def test_a_store_that_cannot_open_lets_go_of_the_file(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1000)
    for _ in range(2):
        with pytest.raises(StoreProblem, match="damaged"):
            open_at(path)


# Damage


def test_what_is_no_database_is_not_served(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"hello, this is not a database" * 100)
    with pytest.raises(StoreProblem, match="damaged") as raised:
        open_at(path)
    assert raised.value.exit_code == 78
    assert "picluster restore" in raised.value.hint
    assert f'sqlite3 {path} ".recover"' in raised.value.hint


def test_a_damaged_database_is_not_served(path: Path) -> None:
    """A page in the middle was overwritten: nobody would notice before that row is asked for."""
    store = open_at(path)
    write(store, *(machine(f"pi-{i}", i) for i in range(1, 500)))
    store.close()
    with path.open("r+b") as file:
        file.seek(4096 * (path.stat().st_size // 4096 // 2))
        file.write(b"\xa5" * 8192)
    with pytest.raises(StoreProblem, match="damaged") as raised:
        open_at(path)
    assert raised.value.exit_code == 78


def test_damage_while_serving_ends_the_serving(store: SqliteStore) -> None:
    write(store)
    broken = sqlite3.DatabaseError("database disk image is malformed")
    broken.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    with pytest.raises(StoreProblem, match="malformed") as raised, store.turn():
        raise DBAPIError("", {}, broken)
    assert raised.value.exit_code == 78


def test_a_disk_that_fails_in_a_commit_leaves_it_unknown(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit may be in the log or not; the next turn reads what is true."""
    write(store)
    failed = sqlite3.OperationalError("disk I/O error")
    failed.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC

    def commit() -> None:
        raise DBAPIError("", {}, failed)

    monkeypatch.setattr(store._writing(), "commit", commit)
    with pytest.raises(CommitUnknown):
        write(store, machine("pi-1", 1))
    with store.turn() as turn:
        assert turn.fresh


# The disk


MOUNTS = r"""22 27 0:21 / /proc rw - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 27 0:50 / /srv/shared rw,relatime shared:7 master:2 - nfs4 files:/export rw
41 27 254:1 / /srv/shared/local rw - xfs /dev/vdb rw
42 27 0:51 / /mnt/my\040share rw - cifs //files/share rw
43 27 0:52 / /srv/twice rw - ext4 /dev/vdc rw
44 43 0:53 / /srv/twice rw - fuse.sshfs ann@files: rw
a line of the future
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/picluster/pool.db", None),
        ("/srv/shared/pool.db", "nfs4"),
        ("/srv/shared2/pool.db", None),
        ("/srv/shared/local/pool.db", None),
        ("/mnt/my share/pool.db", "cifs"),
        ("/srv/twice/pool.db", "fuse.sshfs"),
    ],
)
def test_the_longest_mount_point_says_where_a_file_is(path: str, kind: str | None) -> None:
    assert network_file_system(path, MOUNTS) == kind


def test_a_root_from_the_network_is_one_too() -> None:
    assert network_file_system("/pool.db", "27 1 0:50 / / rw - nfs boot:/ rw") == "nfs"


def test_a_network_file_system_is_refused_by_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = path.parents[1] / "mountinfo"
    mounts.write_text(f"27 1 0:50 / {path.parents[1].resolve()} rw - nfs4 files:/export rw")
    monkeypatch.setattr(files, "MOUNTINFO", mounts)
    with pytest.raises(StoreProblem, match=r"network file system \(nfs4\)") as raised:
        open_at(path)
    assert "PostgreSQL" in raised.value.hint
    assert not path.parent.exists()


def test_without_proc_every_disk_is_believed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOUNTINFO", MOUNTINFO / "nowhere")
    open_at(path).close()


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreProblem, match="cannot be written: Not a directory") as raised:
        open_at(tmp_path / "file" / "data" / "pool.db")
    assert "folder" in raised.value.hint


@pytest.mark.parametrize(
    ("owner", "there", "hint"),
    [
        ("root", True, "`chown picluster {path}*`"),
        ("root", False, "--data"),
        ("ann", True, "`sudo -u ann picluster …`"),
        ("ann", False, "`sudo -u ann picluster …`"),
    ],
)
def test_whose_it_is_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: str, there: bool, hint: str
) -> None:
    """A command that root typed leaves a file that the service cannot write: another folder would be an empty pool."""
    path = tmp_path / "pool.db"
    if there:
        path.touch()
    monkeypatch.setattr(Path, "owner", lambda self: owner if self.exists() else self.stat())
    monkeypatch.setattr(files, "_user", lambda: "picluster")
    monkeypatch.setattr(files.os, "open", _denied)
    with pytest.raises(StoreProblem, match=f"{'it' if there else tmp_path} belongs to {owner}") as raised:
        files.make_ready(path)
    assert hint.format(path=path) in raised.value.hint


def _denied(path: Path, *_: object) -> NoReturn:
    raise PermissionError(errno.EACCES, "Permission denied", str(path))


def test_a_reserve_is_kept_only_where_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reserve = Reserve(tmp_path / "reserve", 5000)
    monkeypatch.setattr(files, "free_bytes", lambda folder: 9_999)
    assert not reserve.keep()
    assert not (tmp_path / "reserve").exists()
    monkeypatch.setattr(files, "free_bytes", lambda folder: 10_000)
    assert reserve.keep()
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 5000
    monkeypatch.setattr(files, "free_bytes", lambda folder: 0)
    assert reserve.keep(), "it is there already"
    reserve.free()
    reserve.free()
    assert not reserve.keep()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.needs_root
def test_a_full_disk_still_lets_go_of_leases_and_heals(small_disk: Path, clock: FakeClock) -> None:
    """What is acknowledged stays; the reserve pays for releases; with room again all goes on, unopened."""
    store = SqliteStore(small_disk / "pool.db", clock, reserve_bytes=200 * 1024)
    store.open()
    assert store.keep_reserve()
    lease = held("lease", "pi-1", revision=2)
    write(store, machine("pi-1", 1), lease)
    ballast = small_disk / "somebody-else"
    fill(ballast)
    with pytest.raises(DiskFull):
        fill_pool(store)
    kept = store.catch_up(0)
    assert lease in kept.rows

    store.free_reserve()
    assert not store.keep_reserve(), "there is not enough room to keep any back"
    revision = kept.state.revision + 1
    write(store, ended(lease, revision))
    assert store.catch_up(revision - 1).rows == [ended(lease, revision)]

    store.close()
    store.open()
    assert store.catch_up(revision - 1).rows == [ended(lease, revision)], "a restart is possible, too"

    ballast.unlink()
    assert store.keep_reserve()
    write(store, *(machine(f"new-{i}", revision + 1 + i) for i in range(20)))
    store.close()
    again = open_at(small_disk / "pool.db")
    assert now(again) == 0.0
    again.close()


def fill(path: Path) -> None:
    """Leave no room for another byte."""
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            pass


def fill_pool(store: SqliteStore) -> None:
    for _ in range(1000):
        revision = store.catch_up(0).state.revision + 1
        write(store, machine(f"more-{revision}", revision, comment="x" * 500))
