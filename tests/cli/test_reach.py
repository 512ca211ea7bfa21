"""`exec`, `cp` and `ssh` before any board is reached: what is asked for, what is refused, and what is given back.

What they do on a board is told in tests/lab/test_reach.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from collections.abc import Iterator

import httpx2
import pytest

from picluster.cli import cp, exec
from tests.cli.conftest import Shell, boards
from tests.service import ServiceProcess


@pytest.fixture(autouse=True)
def nothing_left(pool: ServiceProcess) -> Iterator[None]:
    """Whatever a story asked for, nothing of it stays locked."""
    yield
    asked = [one for one in pool.get("/api/v1/leases").json() if one["job"].startswith("reach")]
    assert [one for one in asked if one["state"] != "ended"] == []


def test_which_and_what(sh: Shell) -> None:
    """Nothing happens on machines that nobody named, nor without a command."""
    for line, said in {
        "exec -- true": "Which machines?",
        "exec --all": "What shall they do?",
        "exec '' -- true": "A name is empty",
        "exec --all --platform '(' -- true": "no regular expression",
    }.items():
        result = sh(line)
        assert (result.exit_code, said in result.stderr) == (2, True), line
    assert sh("exec name:nothing -- true").exit_code == 3


def test_what_cannot_be_reached(sh: Shell, pool: ServiceProcess) -> None:
    """A board that is only a name: 125, why in the table, the others not held up, and all of them given back."""
    one, two = boards(pool, 2)
    result = sh(f"exec {one} {two} --job reach -- true")
    assert (result.exit_code, result.stdout) == (125, "")
    assert result.stderr.count("could not be reached") == 2
    [row] = json.loads(sh(f"exec {one} --job reach -o json -- true").stdout)
    assert (row["machine"], row["exit"], row["stdout"]) == (one, 125, "")


def test_a_board_of_the_demonstration_takes_no_commands(sh: Shell, pool: ServiceProcess) -> None:
    """It says so, and how to get one that does, without an address being tried; and is given back."""
    name = f"demo-{uuid.uuid4().hex[:6]}"
    token = sh.json(f"token create {name} --kind agent")["token"]
    facts = {"simulated": True}
    body = {"id": name, "address": "10.31.4.99", "facts": facts, "boot_id": "b", "seq": 1, "mode": "advisory"}
    where, who = f"{pool.address}/api/v1/machines/{name}/beat", {"Authorization": f"Bearer {token}"}
    assert httpx2.post(where, json=body, headers=who).status_code == 200
    for line in (f"run --on {name} --job reach -- true", f"exec {name} --job reach -- true"):
        result = sh(line)
        assert (result.exit_code, f"{name} is simulated" in result.stderr) == (125, True), result.stderr
        assert "picluster join" in result.stderr
    assert "is simulated" in sh(f"cp {__file__} {name}: --job reach").stderr


def test_what_is_held(sh: Shell, pool: ServiceProcess) -> None:
    """By somebody else: 75, with who and what for; --skip-held makes it no failure. `cp` and `ssh`: 5."""
    (name,) = boards(pool)
    assert sh.old(f"lock {name} --job soak").exit_code == 0
    result = sh(f"exec {name} --job reach -- true")
    assert result.exit_code == 75 and "legacy:ann" in result.stderr and "soak" in result.stderr
    assert sh(f"exec {name} --skip-held -- true").exit_code == 0
    assert sh(f"cp {__file__} {name}:").exit_code == 5
    assert sh(f"ssh {name}").exit_code == 5
    assert sh.old(f"unlock {name}").exit_code == 0


def test_ssh_without_a_machine(sh: Shell) -> None:
    result = sh(f"ssh name:nothing-{uuid.uuid4()}")
    assert result.exit_code == 3


def test_ssh_where_there_is_none(sh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    result = sh("ssh anything")
    assert result.exit_code == 3 and "apt install openssh-client" in result.stderr


def test_without_the_extra(sh: Shell, pool: ServiceProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is leased."""
    (name,) = boards(pool)
    for module in ("many", "ssh"):
        monkeypatch.delitem(sys.modules, f"picluster.runner.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "asyncssh", None)
    for line in (f"exec {name} --job reach -- true", f"cp {name}:x . --job reach"):
        result = sh(line)
        assert (result.exit_code, "pip install 'pi-cluster-service[run]'" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("pi-1:", ("pi-1", "")),
        ("pi-1:~", ("pi-1", "")),
        ("pi-1:~/a b", ("pi-1", "a b")),
        ("10.0.0.7:/var/log", ("10.0.0.7", "/var/log")),
        ("[fe80::1]:x:y", ("fe80::1", "x:y")),
        ("here", None),
        ("./a:b", None),
        ("/a:b", None),
    ],
)
def test_where_a_path_is(text: str, place: tuple[str, str] | None) -> None:
    assert cp._place(text) == place


def test_lines_of_several_do_not_mix() -> None:
    """A line is shown when it is whole, whatever the pieces that it comes in."""
    shown = exec.Shown(streaming=True, prefixed=True)
    written: list[tuple[str, str, bytes]] = []
    shown._write = lambda *said: written.append(said)  # type: ignore[method-assign]
    for machine, piece in (("a", b"on"), ("b", b"two\nth"), ("a", b"e\n"), ("b", b"ree")):
        waiting = shown(machine, "stdout", piece)
        if waiting is not None:
            asyncio.run(waiting)  # type: ignore[arg-type]
    shown.end()
    assert written == [
        ("b", "stdout", b"two\n"),
        ("a", "stdout", b"one\n"),
        ("a", "stdout", b""),
        ("b", "stdout", b"three\n"),
    ]
