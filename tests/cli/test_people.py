"""Accounts on the command line: logging in with a name and a password, logging out, and looking after others."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from tests.cli.conftest import Shell
from tests.service import ADMIN, KEY, ServiceProcess

PASSWORD = "correct horse battery"
_numbers = count(1)


@pytest.fixture
def file() -> Path:
    """Where the login is kept in this test."""
    return Path(os.environ["PICLUSTER_CONFIG"])


@pytest.fixture
def add(sh: Shell) -> Callable[..., str]:
    """A new account; its name."""

    def added(options: str = "", password: str = PASSWORD) -> str:
        name = f"member-{next(_numbers)}"
        made = sh(f"people add {name} --password-stdin {options}", input=f"{password}\n")
        assert made.exit_code == 0, made.stderr
        return name

    return added


def bare(sh: Shell, line: str, input: str | None = None) -> tuple[int, str, str]:
    """With nothing in the environment; exit code, stdout, stderr."""
    result = sh(line, "", input, PICLUSTER_URL="")
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def typing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What a person types at a terminal; what is unseen there, too."""

    def types(*lines: str) -> None:
        left = iter(lines)
        monkeypatch.setattr("picluster.cli.access.click.prompt", lambda *_, **__: next(left))
        monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: True, raising=False)

    return types


# Accounts


def test_an_account_has_a_life(sh: Shell, add: Callable[..., str]) -> None:
    """Made, listed, given another role, disabled, enabled, removed; each is confirmed."""
    name = add("--role operator")
    row = next(line for line in sh("people list").stdout.splitlines() if line.startswith(f"{name} "))
    assert row.split()[1:3] == ["operator", "enabled"]
    assert sh.json(f"people role {name} viewer")["role"] == "viewer"
    assert "disabled" in sh(f"people disable {name}").stdout
    assert next(one for one in sh.json("people list") if one["name"] == name)["disabled"] is True
    assert "enabled" in sh(f"people enable {name}").stdout
    assert name in sh("people list -q").stdout.splitlines()
    assert sh(f"people remove {name}").stderr == f"The account {name} is gone.\n"
    assert name not in sh("people list -q").stdout.splitlines()
    assert sh(f"people role {name} viewer").exit_code == 3


def test_an_account_without_a_password_says_so(sh: Shell) -> None:
    made = sh("people add waiting --no-password")
    assert "no password" in made.stdout
    assert sh("people password waiting --password-stdin", input=f"{PASSWORD}\n").exit_code == 0
    assert "enabled" in sh("people list -o csv").stdout


def test_a_weak_password_is_refused_with_the_reason(sh: Shell) -> None:
    refused = sh("people add weak --password-stdin", input="short\n")
    assert refused.exit_code == 2 and "at least 10 characters" in refused.stderr


def test_accounts_are_for_admins(sh: Shell, add: Callable[..., str]) -> None:
    token = sh("token create guest --role operator").stdout.strip()
    name = add()
    for line in (
        "people list",
        f"people role {name} admin",
        f"people disable {name}",
        f"people remove {name}",
    ):
        assert sh(line, token).exit_code == 4, line


# Logging in


def test_a_name_and_a_password_are_a_login(
    sh: Shell, pool: ServiceProcess, add: Callable[..., str], file: Path
) -> None:
    """What is kept is a token of one's own, never the password; commands need no settings then."""
    name = add("--role operator")
    code, out, err = bare(sh, f"login {pool.address} --user {name}", f"{PASSWORD}\n")
    assert (code, out) == (0, "")
    assert err == f"You are {name} (operator) at {pool.address}. Kept in {file}.\n"
    assert PASSWORD not in file.read_text()
    assert json.loads(file.read_text())["token"].startswith("pc_person_")
    assert bare(sh, "whoami -q")[1] == f"{name}\n"
    listed = bare(sh, "token list -o wide")[1]
    assert "login: " in listed and "configured-admin" not in listed


def test_a_login_at_a_terminal_asks_for_both(
    sh: Shell, pool: ServiceProcess, add: Callable[..., str], typing: Callable[..., None]
) -> None:
    name = add()
    typing(f" {name} ", PASSWORD)
    assert bare(sh, f"login {pool.address}")[0] == 0
    assert bare(sh, "whoami -q")[1] == f"{name}\n"


def test_who_has_only_a_token_pastes_it(sh: Shell, pool: ServiceProcess, typing: Callable[..., None]) -> None:
    typing("", f" {ADMIN} ")
    assert bare(sh, f"login {pool.address}")[0] == 0
    assert bare(sh, "whoami -q")[1] == "admin\n"


def test_a_wrong_password_is_not_kept(
    sh: Shell, pool: ServiceProcess, add: Callable[..., str], file: Path
) -> None:
    code, _, err = bare(sh, f"login {pool.address} --user {add()}", "wrong wrong wrong\n")
    assert code == 4 and "The name or the password is wrong." in err
    assert not file.exists()
    assert bare(sh, f"login {pool.address} --user ann --token x")[0] == 2


def test_people_set_their_own_password(sh: Shell, pool: ServiceProcess, add: Callable[..., str]) -> None:
    """Knowing the present one, which comes first on stdin."""
    name = add()
    bare(sh, f"login {pool.address} --user {name}", f"{PASSWORD}\n")
    changed = f"changed {PASSWORD}"
    change = f"people password {name} --password-stdin"
    assert bare(sh, change, f"wrong wrong wrong\n{changed}\n")[0] == 4
    code, _, err = bare(sh, change, f"{PASSWORD}\n{changed}\n")
    assert (code, err) == (0, f"{name} has a new password.\n")
    assert bare(sh, f"login {pool.address} --user {name}", f"{changed}\n")[0] == 0


# Logging out


def test_a_log_out_revokes_what_was_kept(
    sh: Shell, pool: ServiceProcess, add: Callable[..., str], file: Path
) -> None:
    """A copy of the file opens nothing any more; the address stays for the next login."""
    bare(sh, f"login {pool.address} --user {add()}", f"{PASSWORD}\n")
    token = json.loads(file.read_text())["token"]
    assert bare(sh, "logout") == (0, "", "The token is revoked and forgotten.\n")
    assert json.loads(file.read_text()) == {"url": pool.address, "token": ""}
    assert sh("whoami", token).exit_code == 4
    code, _, err = bare(sh, "whoami")
    assert code == 4 and "picluster login" in err
    assert bare(sh, "logout")[2].startswith("Nobody is logged in")


@pytest.mark.parametrize("token", [KEY, ADMIN])
def test_what_others_use_too_is_only_forgotten(
    sh: Shell, pool: ServiceProcess, file: Path, token: str
) -> None:
    bare(sh, f"login {pool.address} --token {token}")
    assert bare(sh, "logout")[2] == "The token is forgotten; it was not revoked.\n"
    assert json.loads(file.read_text())["token"] == ""
    assert pool.get("/api/v1/whoami", ADMIN).status_code == 200


def test_a_token_that_is_over_is_forgotten_all_the_same(
    sh: Shell, pool: ServiceProcess, add: Callable[..., str]
) -> None:
    name = add()
    bare(sh, f"login {pool.address} --user {name}", f"{PASSWORD}\n")
    sh(f"people remove {name}")
    assert bare(sh, "logout")[0] == 0
    assert bare(sh, "logout")[2].startswith("Nobody is logged in")
