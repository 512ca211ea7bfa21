"""What an admin prints to bring boards in, and the agent from the installed package."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from picluster.agent import VERSION
from picluster.agent.cli import HELP
from tests.agent.trees import PI5, plant
from tests.cli.conftest import Shell
from tests.service import ServiceProcess

AT = "--at https://lab.example"


@pytest.fixture
def admin(sh: Shell) -> Iterator[Shell]:
    """Afterwards no join token is left that would let anybody in."""
    yield sh
    for token in sh.json("token list"):
        if token["kind"] == "join" and not token["revoked"]:
            sh(f"token revoke {token['id']}")


def agent(*arguments: str) -> subprocess.CompletedProcess[str]:
    """As a process of its own, since it ends the process."""
    command = [sys.executable, "-m", "picluster", "agent", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_one_line_on_stdout_and_the_talk_beside_it(admin: Shell) -> None:
    """So that it can be piped to a board, or into a chat."""
    printed = admin(f"join {AT}")
    assert printed.exit_code == 0
    assert printed.stdout.startswith(
        "curl -fsSL https://lab.example/install.sh | sudo sh -s -- --token pc_join_"
    )
    assert printed.stdout.count("\n") == 1
    assert "Type this on the board" in printed.stderr


def test_the_token_in_it_joins_a_board_and_no_other(
    admin: Shell, pool: ServiceProcess, tmp_path: Path
) -> None:
    line = admin(
        f"join --name rig --labels bench=3 --at {pool.address.replace('127.0.0.1', '127.0.0.2')}"
    ).stdout
    words = shlex.split(line)
    token = words[words.index("--token") + 1]
    assert words[words.index("--name") + 1] == "rig" and "--insecure" in words

    def join(board: str, serial: str) -> subprocess.CompletedProcess[str]:
        plant(tmp_path / board, {**PI5, "proc/device-tree/serial-number": serial})
        where = ("--root", str(tmp_path / board), "--url", pool.address)
        return agent(*where, "--name", board, "--join", token)

    assert join("rig", "b0a1").returncode == 0
    assert join("other", "b0a2").returncode == 4
    assert admin.json("list rig")[0]["name"] == "rig"


def test_a_board_of_an_approving_token_waits_for_a_person(
    admin: Shell, pool: ServiceProcess, tmp_path: Path
) -> None:
    found = admin.json(f"join --approve --uses 2 {AT}")
    plant(tmp_path, {**PI5, "proc/device-tree/serial-number": "b0a3"})
    where = ("--root", str(tmp_path), "--url", pool.address, "--name", "newcomer")
    said = agent(*where, "--join", found["token"])
    assert said.returncode == 0 and "pending, until a person approves it" in said.stderr
    assert admin.json("show newcomer")["state"] == "pending"


@pytest.mark.parametrize(
    ("system", "begins", "talk"),
    [("trixie", "#cloud-config\n", "user-data"), ("bookworm", "#!/bin/bash\n", "firstrun.sh")],
)
def test_the_text_for_a_card(admin: Shell, system: str, begins: str, talk: str) -> None:
    printed = admin(f"join --os {system} --enforce {AT}")
    assert printed.stdout.startswith(begins)
    assert "--url https://lab.example --enforce" in printed.stdout
    assert talk in printed.stderr and begins not in printed.stderr


def test_for_programs(admin: Shell) -> None:
    found = admin.json(f"join {AT}")
    assert found["token"] in found["text"] and found["url"] == "https://lab.example"
    [listed] = [token for token in admin.json("token list") if token["id"] == found["id"]]
    assert (listed["kind"], listed["expires_us"]) == ("join", found["expires_us"])


def test_this_machine_is_not_where_boards_find_the_service(admin: Shell) -> None:
    """A text with `localhost` in it would be tried on each board, and be nobody's fault."""
    before = len(admin.json("token list"))
    refused = admin("join")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--at" in refused.stderr
    assert len(admin.json("token list")) == before


def test_plain_http_is_said(admin: Shell) -> None:
    printed = admin("join --at lab")
    assert "http://lab:1337/install.sh" in printed.stdout and "--insecure" in printed.stdout
    assert "Plain http" in printed.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--name a --uses 2", "--name names one machine"),
        ("--uses 0", "--uses"),
        ("--expires never", "no duration"),
        ("--labels 'a\nb'", "one line each"),
        ("--os windows", "windows"),
    ],
)
def test_what_is_refused_makes_no_token(admin: Shell, options: str, said: str) -> None:
    before = len(admin.json("token list"))
    refused = admin(f"join {AT} {options}")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert said in refused.stderr
    assert len(admin.json("token list")) == before


def test_a_plain_user_invites_nobody(admin: Shell) -> None:
    person = admin("token create ann --role user -q").stdout.strip()
    assert admin(f"join {AT}", token=person).exit_code == 4


# The agent


def test_the_installed_agent_is_the_agent() -> None:
    """Its own options, its own help, its own exit codes."""
    assert agent("--help").stdout == HELP.rstrip() + "\n"
    assert agent("--version").stdout == f"{VERSION}\n"
    assert agent("--nonsense").returncode == 2
    assert agent("-h").stdout == agent("--help").stdout
