"""As whom one tries the demonstration."""

from __future__ import annotations

import getpass

import pytest

from picluster.cli.demo import own_name


@pytest.mark.parametrize(
    ("login", "called"),
    [
        ("grace", "grace"),
        ("root", "admin"),
        ("ann", "admin"),
        ("max", "admin"),
        ("eve", "admin"),
        ("a b/c", "admin"),
    ],
)
def test_one_is_called_as_one_s_computer_calls_one(
    monkeypatch: pytest.MonkeyPatch, login: str, called: str
) -> None:
    """Unless that is somebody whom the demonstration has already."""
    monkeypatch.setattr(getpass, "getuser", lambda: login)
    assert own_name() == called


def test_a_computer_that_knows_no_name_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 1000")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert own_name() == "admin"
