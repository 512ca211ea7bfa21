"""The fence on the board: kept before anything happens, over kills and full cards, and never opened twice."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from picluster.agent import state
from picluster.agent.state import Fences, Stale, line

FENCE = 1_795_000_000_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "fence"


def test_a_new_board_has_seen_nothing(file: Path) -> None:
    fences = Fences(file)
    assert (fences.fence, fences.closed, fences.damaged) == (0, True, False)
    assert not file.exists()


def test_what_was_open_is_open_after_a_restart(file: Path) -> None:
    Fences(file).open(FENCE)
    assert (Fences(file).fence, Fences(file).closed) == (FENCE, False)


def test_a_closed_fence_is_never_opened_again(file: Path) -> None:
    """Also not after a restart, by an old answer that is replayed."""
    fences = Fences(file)
    fences.open(FENCE)
    fences.close(FENCE)
    for known in (fences, Fences(file)):
        assert not known.may_open(FENCE)
        with pytest.raises(Stale, match="closed"):
            known.open(FENCE)
        assert known.closed


def test_a_lower_fence_is_refused(file: Path) -> None:
    fences = Fences(file)
    fences.open(FENCE)
    with pytest.raises(Stale):
        fences.open(FENCE - 1)
    with pytest.raises(Stale):
        fences.close(FENCE - 1)
    assert (fences.fence, fences.closed) == (FENCE, False)


def test_a_fence_that_this_board_never_opened_can_be_closed(file: Path) -> None:
    """It was granted and given back between two beats."""
    fences = Fences(file)
    fences.close(FENCE)
    assert (Fences(file).fence, Fences(file).closed) == (FENCE, True)
    assert not Fences(file).may_open(FENCE)
    assert Fences(file).may_open(FENCE + 1)


@pytest.mark.parametrize("fence", [0, -1, 2**63])
def test_what_is_no_fence_changes_nothing(file: Path, fence: int) -> None:
    fences = Fences(file)
    for change in (fences.open, fences.close):
        with pytest.raises(Stale):
            change(fence)
    assert (fences.fence, fences.closed, file.exists()) == (0, True, False)


def test_the_same_again_writes_nothing(file: Path) -> None:
    """A card is not written once for each beat."""
    fences = Fences(file)
    fences.open(FENCE)
    before = file.stat().st_ino
    fences.open(FENCE)
    assert file.stat().st_ino == before


def test_a_write_is_on_the_card_before_it_counts(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the old one, fsynced, renamed, and the folder fsynced: in this order."""
    steps: list[str] = []
    for name in ("write", "fsync", "replace"):
        really = getattr(os, name)
        monkeypatch.setattr(
            state.os, name, lambda *a, really=really, name=name: (steps.append(name), really(*a))[1]
        )
    Fences(file).open(FENCE)
    assert steps == ["write", "fsync", "replace", "fsync"]


@pytest.mark.parametrize("step", ["open", "write", "fsync", "replace"])
def test_a_card_that_takes_nothing_opens_nothing(
    file: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    fences = Fences(file)
    fences.open(FENCE)
    fences.close(FENCE)

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(state.os, step, fails)
        with pytest.raises(OSError, match="No space"):
            fences.open(FENCE + 1)
        assert (fences.fence, fences.closed) == (FENCE, True)
        with pytest.raises(OSError, match="No space"):
            fences.close(FENCE + 2)
        assert (fences.fence, fences.closed) == (FENCE + 2, True)  # out it is, even if that cannot be kept
    assert Fences(file).fence == FENCE
    fences.close(FENCE + 2)  # tried again with the next beat
    assert Fences(file).fence == FENCE + 2


def test_writes_that_take_one_byte_at_a_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = os.write
    monkeypatch.setattr(state.os, "write", lambda handle, data: really(handle, bytes(data[:1])))
    Fences(file).open(FENCE)
    assert not Fences(file).damaged and Fences(file).fence == FENCE


@given(cut=st.integers(0, 60))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_cut_file_is_closed(file: Path, cut: int) -> None:
    whole = line(FENCE, closed=False)
    file.write_bytes(whole[:cut])
    fences = Fences(file)
    if cut >= len(whole):
        assert (fences.closed, fences.damaged) == (False, False)
    else:
        assert (fences.closed, fences.damaged) == (True, True)
        assert fences.fence <= FENCE


@given(place=st.integers(0, 45), byte=st.integers(0, 255))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_wrong_byte_never_opens(file: Path, place: int, byte: int) -> None:
    whole = bytearray(line(FENCE, closed=True))
    whole[min(place, len(whole) - 1)] = byte
    file.write_bytes(bytes(whole))
    assert Fences(file).closed


@given(garbage=st.binary(max_size=200))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_is_closed(file: Path, garbage: bytes) -> None:
    file.write_bytes(garbage)
    fences = Fences(file)
    assert fences.closed and 0 <= fences.fence < 2**63


def test_a_damaged_file_closes_the_highest_fence_that_can_be_read(file: Path) -> None:
    file.write_bytes(b"\0\0\0" + str(FENCE).encode() + b" clos\xff check=99999999")
    file.with_name("fence.new").write_bytes(line(FENCE + 5, closed=False))
    fences = Fences(file)
    assert (fences.fence, fences.closed, fences.damaged) == (FENCE + 5, True, True)
    fences.close(FENCE + 5)
    assert not fences.damaged and not Fences(file).damaged


def test_a_file_that_cannot_be_read_is_damaged_not_missing(file: Path) -> None:
    file.mkdir()
    assert Fences(file).damaged and Fences(file).closed


WRITER = """
import sys
from pathlib import Path
from picluster.agent.state import Fences
fences = Fences(Path(sys.argv[1]))
assert not fences.damaged
fence = fences.fence
while True:
    fence += 1
    fences.open(fence)
    print("open", fence, flush=True)
    fences.close(fence)
    print("closed", fence, flush=True)
"""


def test_kills_at_any_moment_lose_nothing_that_was_kept(file: Path) -> None:
    """What the process said it had kept is there, and nothing that it had closed is open."""
    chance = random.Random(7)
    for _ in range(12):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout and writer.stdout.readline()
        time.sleep(chance.uniform(0, 0.03))
        writer.kill()
        said, complaint = writer.communicate()
        assert not complaint
        fences = Fences(file)
        assert not fences.damaged
        lines = [one.split() for one in said.splitlines(keepends=True) if one.endswith("\n")]
        if lines:
            what, fence = lines[-1]
            assert fences.fence >= int(fence)
            assert not (what == "closed" and fences.fence == int(fence) and not fences.closed)
