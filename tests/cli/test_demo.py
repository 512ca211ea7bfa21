"""As whom one tries the demonstration."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest
from click.testing import CliRunner

from picluster.cli import main
from picluster.cli.demo import own_name
from picluster.demo.lab import EVERYWHERE, LOOPBACK, free_port
from picluster.errors import Unavailable
from tests.ports import free_port as a_port


@pytest.mark.parametrize(
    ("login", "called"),
    [
        ("grace", "grace"),
        ("root", "visitor"),
        ("admin", "visitor"),
        ("operator", "visitor"),
        ("ann", "visitor"),
        ("max", "visitor"),
        ("eve", "visitor"),
        ("a b/c", "visitor"),
    ],
)
def test_one_is_called_as_one_s_computer_calls_one(
    monkeypatch: pytest.MonkeyPatch, login: str, called: str
) -> None:
    """Unless that is somebody whom the demonstration has already, or reads like what one may do."""
    monkeypatch.setattr(getpass, "getuser", lambda: login)
    assert own_name() == called


def test_a_computer_that_knows_no_name_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 1000")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert own_name() == "visitor"


def test_others_are_let_in_only_where_that_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demonstration has its token on a screen, and the old protocol open. (It is told at which address it listens.)"""
    asked: list[list[str]] = []
    monkeypatch.setattr(
        "picluster.demo.lab.subprocess.Popen", lambda command, **how: asked.append(command) or 1 / 0
    )
    for where in ([], ["--host", EVERYWHERE[0]]):
        with pytest.raises(ZeroDivisionError):
            CliRunner().invoke(main, ["demo", *where], catch_exceptions=False)
    assert [command[command.index("--host") + 1] for command in asked] == [LOOPBACK, EVERYWHERE[0]]


def test_an_address_that_is_not_ours_is_said() -> None:
    with pytest.raises(Unavailable, match=r"No port of 192\.0\.2\.1 is free"):
        free_port(0, "192.0.2.1")


def test_without_the_extra_it_ends_as_the_service_would(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In the same words, once, and with the same code."""
    (tmp_path / "structlog.py").write_text("raise ModuleNotFoundError(name='structlog')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = CliRunner().invoke(main, ["demo", "--port", str(a_port())])
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "picluster: Serving needs structlog, which is not installed.",
        "           pip install 'pi-cluster-service[server]'",
    ]
