"""Folders as tar: written for any `tar`, and read as if a machine had been taken over by whoever hates us most."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from picluster.errors import TransferFailed
from picluster.runner.archive import pack, unpack


def packed(source: Path, name: str = "") -> bytes:
    return b"".join(pack(source, name))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A bit of everything."""
    top = tmp_path / "tree"
    (top / "sub/empty").mkdir(parents=True)
    (top / "sub/tool").write_bytes(os.urandom(700_001))
    (top / "sub/tool").chmod(0o755)
    (top / "sub/secret").write_text("x")
    (top / "sub/secret").chmod(0o600)
    (top / "nothing").write_bytes(b"")
    (top / f"{'long-' * 45}name").write_text("long")
    (top / "ümläut \udcff").write_text("no text")
    (top / "link").symlink_to("sub/tool")
    (top / "sub/up").symlink_to("../nothing")
    return top


def looks(folder: Path) -> dict[str, object]:
    """Everything in it, with what counts of it."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = os.fsencode(path.relative_to(folder)).decode("utf-8", "backslashreplace")
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = (path.stat().st_mode, b"" if path.is_dir() else path.read_bytes())
    return found


def test_any_tar_reads_it(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    subprocess.run(["tar", "-xpof", "-"], input=packed(tree), cwd=tmp_path / "there", check=True)
    assert looks(tmp_path / "there/tree") == looks(tree)


def test_it_reads_what_any_tar_writes(tree: Path, tmp_path: Path) -> None:
    written = subprocess.run(
        ["tar", "-cf", "-", "tree"], cwd=tmp_path, stdout=subprocess.PIPE, check=True
    ).stdout
    files = unpack(BytesIO(written), tmp_path / "back")
    assert looks(tmp_path / "back/tree") == looks(tree)
    assert len(files) == 5 and "tree/sub/tool" in files


def test_the_content_alone_and_another_name(tree: Path, tmp_path: Path) -> None:
    unpack(BytesIO(packed(tree, ".")), tmp_path / "content")
    assert looks(tmp_path / "content") == looks(tree)
    unpack(BytesIO(packed(tree / "sub/tool", "renamed")), tmp_path / "one")
    assert list(looks(tmp_path / "one")) == ["renamed"]


def test_a_link_that_is_named_is_what_it_leads_to_and_a_socket_is_left_out(
    tree: Path, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tree / "socket"))
        unpack(BytesIO(packed(tree / "link")), tmp_path / "one")
        assert (tmp_path / "one/link").read_bytes() == (tree / "sub/tool").read_bytes()
        assert b"socket" not in packed(tree)


def test_a_file_that_shrinks_meanwhile_does_not_shift_what_follows(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_bytes(b"a" * 2_000_000)
    (tree / "b").write_bytes(b"b")
    pieces = pack(tree)
    first = next(pieces)
    os.truncate(tree / "a", 600_000)
    unpack(BytesIO(first + b"".join(pieces)), tmp_path / "back")
    assert (tmp_path / "back/tree/a").stat().st_size == 2_000_000
    assert (tmp_path / "back/tree/b").read_bytes() == b"b"


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(TransferFailed, match="missing"):
        packed(tmp_path / "missing")


def test_a_second_name_of_a_file_is_a_second_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("same")
    os.link(tmp_path / "a", tmp_path / "b")
    written = subprocess.run(
        ["tar", "-cf", "-", "a", "b"], cwd=tmp_path, stdout=subprocess.PIPE, check=True
    ).stdout
    assert unpack(BytesIO(written), tmp_path / "back") == ["a", "b"]
    assert (tmp_path / "back/b").read_text() == "same"
    assert (tmp_path / "back/b").stat().st_nlink == 1


def test_nothing_comes_of_nothing(tmp_path: Path) -> None:
    assert unpack(BytesIO(b""), tmp_path / "back") == []


@pytest.mark.parametrize("cut", [100, 512, 1_000, 300_000])
def test_half_a_stream_is_an_error_in_words(tree: Path, tmp_path: Path, cut: int) -> None:
    with pytest.raises(TransferFailed, match="tar stream"):
        unpack(BytesIO(packed(tree / "sub/tool")[:cut]), tmp_path / "back")


# What an enemy sends

Entries = list[tuple[str, str, str]]
"""Kind, name, and content or target."""
KINDS = {
    "file": tarfile.REGTYPE,
    "folder": tarfile.DIRTYPE,
    "link": tarfile.SYMTYPE,
    "twin": tarfile.LNKTYPE,
    "device": tarfile.CHRTYPE,
    "fifo": tarfile.FIFOTYPE,
}


def sent(entries: Entries) -> BytesIO:
    stream = BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for kind, name, what in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = KINDS[kind], 0o7777
            if kind == "file":
                entry.size = len(what)
            else:
                entry.linkname = what
            archive.addfile(entry, BytesIO(what.encode()) if kind == "file" else None)
    stream.seek(0)
    return stream


@pytest.mark.parametrize(
    "entries",
    [
        [("file", "../evil", "x")],
        [("file", "/evil", "x")],
        [("file", "a/../../evil", "x")],
        [("file", "a/../b", "x")],
        [("folder", "../evil", "")],
        [("link", "out", "..")],
        [("link", "out", ".."), ("file", "out/evil", "x")],
        [("link", "out", "/etc")],
        [("link", "a/out", "../../evil")],
        [("link", "a/x", "."), ("link", "out", "a/x/../..")],
        [("link", "out", "a/.."), ("file", "out/evil", "x")],
        [("twin", "stolen", "/etc/hostname")],
        [("twin", "stolen", "../outside")],
        [("twin", "stolen", "before")],
        [("file", ".", "x")],
        [("file", "", "x")],
    ],
)
def test_what_would_lie_or_lead_outside_is_refused(tmp_path: Path, entries: Entries) -> None:
    """And nothing is there afterwards that was not there before, but below the folder."""
    (tmp_path / "outside").write_text("untouched")
    into = tmp_path / "into"
    into.mkdir()
    (into / "before").write_text("mine")
    with pytest.raises(TransferFailed):
        unpack(sent(entries), into)
    assert {path.name for path in tmp_path.iterdir()} == {"outside", "into"}
    assert (tmp_path / "outside").read_text() == "untouched"
    assert not any(path.is_symlink() and not path.resolve().is_relative_to(into) for path in into.rglob("*"))


@pytest.mark.parametrize(
    "entries", [[("file", "../evil", "x")], [("link", "out", ".."), ("file", "out/evil", "x")]]
)
def test_these_streams_are_as_bad_as_they_look(tmp_path: Path, entries: Entries) -> None:
    """Whoever believes them writes outside."""
    (tmp_path / "into").mkdir()
    with tarfile.open(fileobj=sent(entries)) as archive:
        archive.extractall(tmp_path / "into", **believing())
    assert (tmp_path / "evil").read_text() == "x"


def believing() -> dict[str, str]:
    """What Pythons that could be careful are to be told."""
    return {"filter": "fully_trusted"} if hasattr(tarfile, "data_filter") else {}


@pytest.mark.parametrize(
    "plant",
    [
        lambda into, outside: (into / "sub").symlink_to(outside),
        lambda into, outside: ((into / "sub").mkdir(), (into / "sub/file").symlink_to(outside / "file")),
    ],
    ids=["a folder that is a link", "a file that is a link"],
)
def test_nothing_is_written_through_a_link_from_the_last_time(
    tmp_path: Path, plant: Callable[[Path, Path], object]
) -> None:
    into, outside = tmp_path / "into", tmp_path / "outside"
    into.mkdir()
    outside.mkdir()
    (outside / "file").write_text("untouched")
    plant(into, outside)
    unpack(sent([("file", "sub/file", "new")]), into)
    assert (into / "sub/file").read_text() == "new"
    assert (outside / "file").read_text() == "untouched"


def test_a_file_is_not_written_through_a_link_of_the_same_stream(tmp_path: Path) -> None:
    """Links are made when all files are there; one whose place is taken by then is refused."""
    entries = [("folder", "real", ""), ("link", "a", "real"), ("file", "a/file", "x")]
    with pytest.raises(TransferFailed):
        unpack(sent(entries), tmp_path / "into")
    assert not (tmp_path / "into/real/file").exists()


def test_devices_are_left_out_and_nobody_becomes_somebody_else(tmp_path: Path) -> None:
    files = unpack(
        sent([("device", "null", ""), ("fifo", "pipe", ""), ("file", "tool", "x")]), tmp_path / "into"
    )
    assert files == ["tool"]
    assert [path.name for path in (tmp_path / "into").iterdir()] == ["tool"]
    assert (tmp_path / "into/tool").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize(
    "headers", [{"mtime": "1e300"}, {"mtime": "nan"}, {"linkpath": "a\0b"}, {"GNU.sparse.map": "x"}]
)
def test_headers_that_make_no_sense_are_told_as_that(tmp_path: Path, headers: dict[str, str]) -> None:
    """They are of the board's making: no stack of ours, and no exit code that a command could have."""
    stream = BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo("x")
        entry.pax_headers = headers
        if "linkpath" in headers:
            entry.type = tarfile.SYMTYPE
        archive.addfile(entry)
    stream.seek(0)
    try:
        unpack(stream, tmp_path / "there")
    except TransferFailed as problem:
        assert problem.message


def test_a_file_that_does_not_fit_is_an_error_and_not_a_shorter_file(tmp_path: Path) -> None:
    """The system writes a part and raises nothing, if it is the last piece; so somebody has to look."""
    (tmp_path / "big").write_bytes(os.urandom(150_000))
    program = """
import resource, signal, sys
from io import BytesIO
from pathlib import Path
from picluster.errors import TransferFailed
from picluster.runner.archive import pack, unpack
stream = BytesIO(b"".join(pack(Path("big"), "")))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    unpack(stream, Path("there"))
except TransferFailed as problem:
    sys.exit(0 if "File too large" in problem.message else 2)
sys.exit(1)
"""
    assert subprocess.run([sys.executable, "-c", program], cwd=tmp_path).returncode == 0
