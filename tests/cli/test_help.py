"""What everybody sees first: help, examples, and mistakes in typing."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

import picluster
from picluster.cli import ALIASES, COMMANDS, main
from tests.cli.conftest import Shell
from tests.service import PATIENCE_S

OURS = sorted(name for name, (module, _) in COMMANDS.items() if module != "backups")


@pytest.mark.parametrize("name", OURS)
def test_every_command_explains_itself_with_an_example(sh: Shell, name: str) -> None:
    for flag in ("--help", "-h"):
        shown = sh(f"{name} {flag}")
        assert shown.exit_code == 0
    if name not in ("whoami", "agent"):  # the agent's own help, which is the board's
        assert f"picluster {name}" in shown.stdout.split("Options:")[0].partition("\n")[2]


@pytest.mark.parametrize("name", ["create", "list", "revoke"])
def test_the_commands_of_token_explain_themselves(sh: Shell, name: str) -> None:
    assert sh(f"token {name} --help").exit_code == 0


def test_the_list_of_commands_is_whole_and_says_what_they_say(sh: Shell) -> None:
    shown = sh("--help").stdout
    for name, (_, line) in COMMANDS.items():
        assert f"  {name} " in shown
        assert line.split()[0] in shown
    assert not any(f"  {alias} " in shown for alias in ALIASES)
    assert "picluster lock model:pi5" in shown


def test_aliases_are_the_words_of_the_api(sh: Shell) -> None:
    assert "wait" in sh("acquire --help").stdout
    assert "Give machines back." in sh("release --help").stdout


def test_the_version(sh: Shell) -> None:
    assert picluster.__version__ in sh("--version").stdout


@pytest.mark.parametrize(("typed", "meant"), [("lok", "lock"), ("lists", "list"), ("xyzzy", "")])
def test_a_command_typed_wrong(sh: Shell, typed: str, meant: str) -> None:
    result = sh(typed)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"No such command: '{typed}'" in result.stderr
    assert (f"Did you mean '{meant}'?" in result.stderr) is bool(meant)


def test_nothing_typed_is_help(sh: Shell) -> None:
    assert "Commands:" in sh("").output


@pytest.mark.parametrize(
    "line",
    [
        "list -o yaml",
        "list --nonsense",
        "list a:b",
        "list '\"open'",
        "list -",
        "list 'mem>=big'",
        "show",
        "show a b",
        "lock --for soon",
        "lock --for -5m",
        "lock --for nan",
        "lock --for 1s",
        "lock --for 31d",
        "lock --count 0",
        "lock --count 65",
        "lock --priority 4",
        "lock --timeout ever",
        "lock ''",
        "lock a:b",
        "wait ''",
        "unlock",
        "unlock ''",
        "unlock pi-1 --force",
        "extend pi-1",
        "extend --for 2h",
        "extend --me --for 0",
        "drain pi-1",
        "drain '' --reason fan",
        "delete",
        "delete ' '",
        "label pi-1",
        "comment pi-1",
        "history --since yesterday",
        "history --limit 0",
        "watch -o csv",
        "token create",
        "token create x --role king",
        "token create x --expires soon",
        "login",
        "login ftp://lab --token x",
        "login lab --token ''",
        "completion tcsh",
        "doctor extra",
    ],
)
def test_a_wrong_argument_is_usage(sh: Shell, line: str) -> None:
    result = sh(line)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr


@pytest.mark.parametrize("line", ["list", "show x", "lock", "unlock --me", "whoami", "history", "watch"])
def test_nothing_set_says_what_to_set(sh: Shell, line: str) -> None:
    result = sh(line, "", PICLUSTER_URL="")
    assert result.exit_code == 2
    assert "PICLUSTER_URL" in result.stderr


@pytest.mark.parametrize("url", [",", "ftp://lab", "lab:port", "http://"])
def test_an_address_that_is_none(sh: Shell, url: str) -> None:
    result = sh("list", PICLUSTER_URL=url)
    assert result.exit_code == 2
    assert "is no address of a service" in result.stderr
    assert sh.run(["list", "--url", url]).exit_code == 2


def test_help_loads_nothing_that_it_does_not_need() -> None:
    """It is there in an instant: no HTTP, no tables."""
    script = """
import sys
from picluster.cli import main
try:
    main(["--help"])
finally:
    heavy = {"httpx2", "rich", "asyncio", "ssl", "fastapi", "sqlalchemy"} & set(sys.modules)
    assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE_S)


def test_every_command_is_where_the_table_says() -> None:
    context = click.Context(main)
    for name in OURS:
        command = main.get_command(context, name)
        assert command is not None and command.name == name
