"""Who one is, what `login` keeps, and tokens for others."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from tests.cli.conftest import Shell, boards
from tests.client.stub import nowhere
from tests.service import ADMIN, KEY, ServiceProcess


@pytest.fixture
def file() -> Path:
    """Where the login is kept in this test."""
    return Path(os.environ["PICLUSTER_CONFIG"])


def bare(sh: Shell, line: str, input: str | None = None) -> tuple[int, str, str]:
    """With nothing in the environment; exit code, stdout, stderr."""
    result = sh(line, "", input, PICLUSTER_URL="")
    return result.exit_code, result.stdout, result.stderr


def test_who_one_is(sh: Shell) -> None:
    lines = sh("whoami").stdout.splitlines()
    assert lines[:2] == ["name          admin", "role          admin"]
    assert sh.json("whoami")["role"] == "admin"
    assert sh("whoami -q").stdout == "admin\n"
    assert sh.old("whoami -q").stdout == "legacy:ann\n"


@pytest.mark.parametrize(("token", "hint"), [("", "picluster login"), ("wrong", "Ask an admin")])
def test_nobody_is_told_what_to_do(sh: Shell, token: str, hint: str) -> None:
    result = sh("whoami", token)
    assert (result.exit_code, result.stdout) == (4, "")
    assert hint in result.stderr


@pytest.mark.parametrize("token", ["two\nlines", "ключ"])
def test_a_token_that_cannot_be_sent_is_not_repeated(sh: Shell, token: str) -> None:
    result = sh("whoami", token)
    assert result.exit_code == 2
    assert "token: it has characters that cannot be sent." in result.stderr
    assert token not in result.stderr


def test_a_login_is_remembered(sh: Shell, pool: ServiceProcess, file: Path) -> None:
    """The token is read from a pipe, checked, and kept for this user alone; commands need no settings then."""
    (name,) = boards(pool)
    code, out, err = bare(sh, f"login {pool.address}/api/", f"{ADMIN}\n")
    assert (code, out) == (0, "")
    assert err == f"You are admin (admin) at {pool.address}. Kept in {file}.\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text()) == {"url": pool.address, "token": ADMIN}
    assert bare(sh, f"list {name} -q")[1].strip() == name
    assert sh("whoami -q", "wrong", PICLUSTER_URL="").exit_code == 4  # what is set wins over what is kept


def test_a_login_to_several_replicas(sh: Shell, pool: ServiceProcess, file: Path) -> None:
    dead = nowhere()
    assert bare(sh, f"login {dead},{pool.address} --token {ADMIN}")[0] == 0
    assert json.loads(file.read_text())["url"] == f"{dead},{pool.address}"
    assert bare(sh, "whoami -q")[1] == "admin\n"


def test_a_login_with_the_shared_key(sh: Shell, pool: ServiceProcess) -> None:
    assert bare(sh, f"login {pool.address}", KEY)[0] == 0
    assert sh("whoami -q", "", PICLUSTER_URL="", PICLUSTER_USER="bob").stdout == "legacy:bob\n"


@pytest.mark.parametrize("said", ["wrong\n", "\n", "", "two words\x00\n"])
def test_a_login_that_does_not_work_is_not_kept(
    sh: Shell, pool: ServiceProcess, file: Path, said: str
) -> None:
    code, out, err = bare(sh, f"login {pool.address}", said)
    assert code in (2, 4) and not out and err
    assert not file.exists()


def test_a_login_that_cannot_be_kept_says_why(sh: Shell, pool: ServiceProcess, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, where a folder should be")
    result = sh(
        f"login {pool.address} --token {ADMIN}", "", PICLUSTER_CONFIG=str(tmp_path / "taken" / "login.json")
    )
    assert result.exit_code == 1
    assert result.stderr.startswith("picluster: ") and "taken" in result.stderr


def test_a_damaged_login_is_mended_by_another(sh: Shell, pool: ServiceProcess, file: Path) -> None:
    file.write_text("{")
    code, _, err = bare(sh, "list")
    assert code == 2 and "Run `picluster login` again." in err
    assert bare(sh, f"login {pool.address} --token {ADMIN}")[0] == 0
    assert bare(sh, "whoami -q")[1] == "admin\n"


def test_a_token_has_a_life(sh: Shell) -> None:
    """Made and printed alone; it works, is listed without its text, and works no more."""
    made = sh("token create eve --role viewer --expires 90d")
    token = made.stdout.strip()
    assert len(made.stdout.splitlines()) == 1
    assert "person token" in made.stderr and "for eve (viewer), shown this once" in made.stderr
    assert sh("whoami -q", token).stdout == "eve\n"
    assert sh("token create mallory", token).exit_code == 4
    (row,) = (line.split() for line in sh("token list").stdout.splitlines() if " eve " in line)
    assert row[1:4] == ["eve", "person", "viewer"] and row[-1] == "valid"
    assert token not in sh("token list -o json").stdout
    assert sh(f"token revoke {row[0]}").stderr == f"The token {row[0]} of eve is revoked.\n"
    assert sh("whoami", token).exit_code == 4
    assert sh("token revoke nothing").exit_code == 3


def test_a_token_for_a_program(sh: Shell) -> None:
    made = sh.json("token create nightly --kind ci")
    assert (made["name"], made["kind"]) == ("nightly", "ci") and made["token"].startswith("pc_ci_")
    assert sh("token list -q").exit_code == 0
    assert "," in sh("token list -o csv").stdout
    refused = sh("token create 'legacy:x'")
    assert refused.exit_code == 2 and "must not" in refused.stderr
