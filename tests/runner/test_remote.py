"""What the old runner refuses before it goes anywhere. What it does on boards is told in tests/lab/test_python.py."""

from __future__ import annotations

import inspect

import pytest

from picluster import Malformed, RemoteRunner
from picluster.runner import remote

WORDS = """cluster ipaddress username password source_dir target_dir copyback_files copyback_dir command logfile
start_clean cleanup timeout all source_files apikey""".split()


def test_the_words_are_the_old_ones_in_their_order() -> None:
    assert list(inspect.signature(RemoteRunner).parameters) == WORDS


@pytest.mark.parametrize("more", [{}, {"all": True, "ipaddress": "10.0.0.7"}])
def test_somebody_has_to_say_which_board(more: dict[str, object]) -> None:
    with pytest.raises(Malformed, match="Which board"):
        RemoteRunner(command="true", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "folder", ["/", "//", "~", "~/", ".", "..", "/home/", "//home/pi/", "../pi", "/root", "a/../.."]
)
def test_what_would_be_emptied_is_a_folder_of_its_own(folder: str) -> None:
    with pytest.raises(Malformed, match="target_dir"):
        RemoteRunner("pool", target_dir=folder, command="true")


def test_a_folder_of_its_own() -> None:
    assert remote._target("~/work/", True, True) == "work"
    assert remote._target("/home/pi/work", False, True) == "/home/pi/work"
    assert remote._target("/home/pi", True, False) == "/home/pi", "nothing is emptied"
    assert remote._target(None, True, True) == remote.TARGET
    assert remote._target(None, False, True) == "", "nothing is copied, so nothing is emptied"


def test_lists_with_commas() -> None:
    assert remote._names("a, b,,c") == remote._names(["a", "b", " c"]) == ["a", "b", "c"]
    assert remote._names(None) == []
