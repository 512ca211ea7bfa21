"""`picluster run` before it has a board: what is asked for wrongly, and what the pool refuses. The rest is in tests/lab."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Shell


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("run -- true", "Missing option '--on'"),
        ("run --on pi-1", "Missing argument 'COMMAND...'"),
        ("run --on '' -- true", "would mean every machine"),
        ("run --on pi-1 --copy nowhere -- true", "there is no 'nowhere' here"),
        ("run --on pi-1 --timeout soon -- true", "is no duration"),
        ("run --on pi-1 --ttl 1s -- true", "ttl_s: must be from 3"),
        ("run --on pi-1 -n 65 -- true", "65 is not in the range"),
        ("run --on pi-1 --ssh-key nowhere.pub -- true", "nowhere.pub: No such file"),
        ("run --on pi-1 --hold-on-failure 2h -- true", "Say whom to let in: --ssh-key"),
    ],
)
def test_what_is_asked_for_wrongly_is_said_before_anybody_waits(
    sh: Shell, tmp_path: Path, line: str, why: str
) -> None:
    result = sh(line, HOME=str(tmp_path))
    assert result.exit_code == 2
    assert why in result.stderr


def test_a_hold_that_could_not_be_had_is_said_before_the_job_has_failed(sh: Shell, tmp_path: Path) -> None:
    (tmp_path / "id.pub").write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample ann\n")
    result = sh(f"run --on pi-1 --hold-on-failure 90d --ssh-key {tmp_path}/id.pub -- true")
    assert result.exit_code == 2 and "--hold-on-failure: must be from 3 s to 30 d" in result.stderr


def test_a_private_key_is_never_sent(sh: Shell, tmp_path: Path) -> None:
    (tmp_path / "id").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    result = sh(f"run --on pi-1 --ssh-key {tmp_path}/id -- true")
    assert result.exit_code == 2 and "private key, which nobody else must see" in result.stderr


def test_a_selector_that_nothing_matches_is_refused(sh: Shell, tmp_path: Path) -> None:
    """With a code that no command has, and a result for whoever reads it."""
    result = sh(f"run --on model:pi9 --out {tmp_path}/out --junit {tmp_path}/all.xml -- true")
    assert result.exit_code == 75 and "matches 0 registered machines" in result.stderr
    assert json.loads((tmp_path / "out/result.json").read_text())["ending"] == "refused"
    assert "matches 0 registered machines" in (tmp_path / "all.xml").read_text()


def test_a_selector_that_is_none_is_no_outage(sh: Shell, tmp_path: Path) -> None:
    """Whoever wrote it has to mend it: 2, with the place, and a result that says so. The same for whatever takes one."""
    result = sh(f"run --on 'bad((' --out {tmp_path} -- true")
    assert result.exit_code == 2 and "bad((" in result.stderr
    assert json.loads((tmp_path / "result.json").read_text())["ending"] == "asked for wrongly"
    for line in ("exec 'bad((' -- true", "cp 'bad((:x' .", "ssh 'bad(('", "lock 'bad(('", "wait 'bad(('"):
        assert sh(line).exit_code == 2, line


def test_a_service_that_is_away_is_our_fault_and_not_the_commands(
    sh: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("picluster.cli.run.PATIENCE_S", 0.1)
    result = sh("run --on pi-1 -- true", PICLUSTER_URL="http://127.0.0.1:9", PICLUSTER_TOKEN="x")
    assert result.exit_code == 125 and "No answer from http://127.0.0.1:9" in result.stderr


def test_a_token_that_is_not_known_is_our_fault_too(sh: Shell) -> None:
    result = sh("run --on pi-1 -- true", token="pc_person_none_none")
    assert result.exit_code == 125 and result.stdout == ""


def test_without_the_extra_it_says_what_to_install(sh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("picluster.cli.running", "picluster.runner.job", "picluster.runner.ssh"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "asyncssh", None)
    result = sh("run --on pi-1 -- true")
    assert result.exit_code == 2
    assert "needs asyncssh" in result.stderr and "pip install 'pi-cluster-service[run]'" in result.stderr


def test_options_end_where_the_command_begins(sh: Shell) -> None:
    """What looks like an option of ours after it belongs to the command."""
    result = sh("run --on model:pi9 ls --on -n 99999 --help")
    assert result.exit_code == 75
