"""The installer before it does anything: what it refuses, what it says that it will do, and half a download of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from picluster import joining

SCRIPT = joining.install_script("https://lab.example", "d1")
TOKEN = ("--token", "pc_join_abc_def")
SHELLS = ("dash", "bash")


def run(
    *options: str, script: str = SCRIPT, shell: str = "sh", **environ: str
) -> subprocess.CompletedProcess[str]:
    """As in `curl … | sh -s -- OPTIONS`, which never gets as far as doing anything."""
    return subprocess.run(
        [shell, "-s", "--", "--dry-run", *options],
        input=script,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": "/nowhere", **environ},
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_it_says_what_it_will_do_before_it_does_it(shell: str) -> None:
    plan = run(*TOKEN, shell=shell)
    assert (plan.returncode, plan.stderr) == (0, "")
    first, *steps = plan.stdout.strip().splitlines()
    assert first == "This makes this board a machine of the pool at https://lab.example. It will"
    assert [step.split()[1] for step in steps[:3]] == ["download", "join", "keep"]


def test_the_plan_does_not_have_the_token() -> None:
    """Plans are pasted into chats and logs."""
    assert TOKEN[1] not in run(*TOKEN).stdout


def test_nothing_is_done_by_half_a_script() -> None:
    """Wherever the download broke, a shell that has only the beginning does nothing but say that it is no script."""
    lines = SCRIPT.splitlines(keepends=True)
    for end in range(0, len(lines) - 1, 7):
        half = subprocess.run(
            ["sh", "-s", "--", *TOKEN], input="".join(lines[:end]), capture_output=True, text=True
        )
        assert half.stdout == ""


@pytest.mark.parametrize("option", ["--token", "--url", "--name", "--labels", "--account", "--ca-file"])
def test_an_option_without_its_value(option: str) -> None:
    said = run(option)
    assert said.returncode == 2 and f"{option} needs a value" in said.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--token is needed"),
        (["--nonsense"], "--nonsense is not an option"),
        ([*TOKEN, "stray"], "stray is not an option"),
        ([*TOKEN, "--url", "lab"], "lab lacks http:// or https://"),
        ([*TOKEN, "--url", "https://a,b"], "b lacks http:// or https://"),
        ([*TOKEN, "--url", "https://a;reboot"], "that is no address"),
        ([*TOKEN, "--url", "https://a\nb"], "that is no address"),
        ([*TOKEN, "--ca-file", "/nowhere"], "/nowhere cannot be read"),
        ([*TOKEN, "--enforce", "--advisory"], "exclude each other"),
        ([*TOKEN, "--account", "root"], "no name for an account"),
        ([*TOKEN, "--account", "0day"], "no name for an account"),
        ([*TOKEN, "--account", "a:b"], "no name for an account"),
    ],
)
def test_what_is_misused_is_said_and_nothing_planned(options: list[str], said: str) -> None:
    answer = run(*options)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert said in answer.stderr


@pytest.mark.parametrize("url", ["http://lab", "https://lab,http://lab2"])
def test_plain_http_has_to_be_wanted(url: str) -> None:
    """A program that runs as root comes over TLS, or the person says that they trust the network."""
    refused = run(*TOKEN, "--url", url)
    assert refused.returncode == 2 and "is not encrypted" in refused.stderr
    assert run(*TOKEN, "--url", url, "--insecure").returncode == 0


def test_values_may_stand_behind_an_equals_sign() -> None:
    assert "join as pi 5 with" in run("--token=x", "--name=pi 5").stdout


def test_nothing_that_a_person_says_is_run(tmp_path: Path) -> None:
    """Blanks, quotes and what a shell would carry out arrive as they are."""
    trap = tmp_path / "trap"
    for odd in (
        f"$(touch {trap})",
        f"`touch {trap}`",
        f"'; touch {trap}; '",
        f'"; touch {trap}; "',
        "*",
        "-n",
        "%s",
    ):
        assert f"join as {odd} with" in run(*TOKEN, "--name", odd, "--labels", odd).stdout
    assert not trap.exists()


def test_the_token_may_come_from_the_environment() -> None:
    assert "with your join token" in run(PICLUSTER_JOIN_TOKEN="pc_join_x").stdout


def test_settings_of_the_person_are_not_the_boards() -> None:
    """Whoever has PICLUSTER_URL set talks to a pool as a user; that says nothing about this board."""
    assert "pool at https://lab.example." in run(*TOKEN, PICLUSTER_URL="https://elsewhere").stdout


@pytest.mark.parametrize(
    ("have", "said"),
    [
        ("import sys; sys.exit(1)", "Python 3.9 or later is needed"),
        ("import json9", "not all of its library"),
    ],
)
def test_a_python_that_is_too_old_or_too_small(tmp_path: Path, have: str, said: str) -> None:
    """A stand-in for the one on the path; where a good one is in /usr/bin that is taken instead."""
    old = tmp_path / "python3"
    too_small = "case $* in *3,\\ 9*import\\ json*|*json*) exit 1;; *) exit 0;; esac"
    too_old = "case $* in -V) echo Python 3.7.3;; *) exit 1;; esac"
    old.write_text(f"#!/bin/sh\n{too_old if 'exit' in have else too_small}\n")
    old.chmod(0o755)
    script = SCRIPT.replace("/usr/bin/python3 ", "/nowhere/python3 ", 1)
    answer = run(*TOKEN, script=script, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert answer.returncode == 1 and said in answer.stderr


# The old monitor


def test_the_old_monitors_service_is_taken_over_and_its_key_is_not(tmp_path: Path) -> None:
    """Without another address; and how to take the monitor out is said, not done."""
    (tmp_path / ".cluster").write_text("export RPI_APIKEY=secret\n export RPI_CLUSTER='lab.old:1337/api/'\n")
    (tmp_path / ".bashrc").write_text(". ~/.cluster\n# RPI_CLUSTER\nnohup python3 ~/monitor.py &\n")
    script = joining.install_script().replace("printf '%s\\n' /root /home/pi", f"printf '%s\\n' {tmp_path}")
    plan = run(*TOKEN, "--insecure", script=script)
    assert plan.returncode == 0, plan.stderr
    assert "pool at http://lab.old:1337/api/." in plan.stdout
    assert "from http://lab.old:1337/picluster-agent.pyz" in plan.stdout
    assert f"{tmp_path}/.bashrc:1:. ~/.cluster" in plan.stdout
    assert f"{tmp_path}/.bashrc:3:nohup python3 ~/monitor.py &" in plan.stdout
    assert "secret" not in plan.stdout and ":2:" not in plan.stdout


def test_where_it_was_served_from_counts_more_than_an_old_file(tmp_path: Path) -> None:
    (tmp_path / ".cluster").write_text("export RPI_CLUSTER=http://lab.old:1337\n")
    script = SCRIPT.replace("printf '%s\\n' /root /home/pi", f"printf '%s\\n' {tmp_path}")
    assert "pool at https://lab.example." in run(*TOKEN, script=script).stdout


def test_removal_is_said_first_too() -> None:
    plan = run("--uninstall")
    assert plan.returncode == 0
    assert (
        "remove /etc/picluster and /var/lib/picluster" in plan.stdout
        and "picluster delete NAME" in plan.stdout
    )
