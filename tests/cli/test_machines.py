"""What there is, in every form; and what people say of machines."""

from __future__ import annotations

import csv
import io
import json

import pytest

from tests.cli.conftest import Shell, boards
from tests.service import ServiceProcess


def lab(sh: Shell, pool: ServiceProcess) -> str:
    """A glob for three machines: one free, one locked, one out of service."""
    names = boards(pool, 3)
    assert sh.run(["lock", names[1], "--job", 'nightly, "quoted" 🍓']).exit_code == 0
    assert sh(f"drain {names[2]} --reason 'new fan'").exit_code == 0
    return f"{names[0][:-1]}*"


def test_a_table_for_people(sh: Shell, pool: ServiceProcess) -> None:
    glob = lab(sh, pool)
    lines = sh(f"list '{glob}'").stdout.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "MODEL", "HOLDER", "JOB", "TIME", "LABELS"]
    assert [line.split()[1] for line in lines[1:]] == ["free", "locked", "drained"]
    assert "new fan" in lines[3]
    wide = sh(f"list '{glob}' -o wide").stdout.splitlines()
    assert "ADDRESS" in wide[0] and f"{glob[:-1]}0.lab" in wide[1]
    assert not any(one in sh(f"list '{glob}'").stdout for one in "\x1b\x9b")


def test_forms_for_programs(sh: Shell, pool: ServiceProcess) -> None:
    glob = lab(sh, pool)
    names = [f"{glob[:-1]}{number}" for number in range(3)]
    whole = sh.json(f"list '{glob}'")
    assert [machine["name"] for machine in whole] == names
    assert whole[1]["lease"]["job"] == 'nightly, "quoted" 🍓'
    lines = [json.loads(line) for line in sh(f"list '{glob}' -o jsonl").stdout.splitlines()]
    assert [machine | {"seen_s": 0, "lease": 0} for machine in lines] == [
        machine | {"seen_s": 0, "lease": 0} for machine in whole
    ]
    rows = list(csv.DictReader(io.StringIO(sh(f"list '{glob}' -o csv").stdout)))
    assert [row["name"] for row in rows] == names
    assert rows[1]["job"] == 'nightly, "quoted" 🍓'
    assert sh(f"list '{glob}' -o name").stdout.split() == names
    assert sh(f"list '{glob}' -q").stdout.split() == names


def test_terms_hold_together_and_may_be_negated(sh: Shell, pool: ServiceProcess) -> None:
    """A term that begins with a dash is no option, wherever it stands."""
    glob = lab(sh, pool)
    stem = glob[:-1]
    assert sh(f"list '{glob}' -state:drained -q").stdout.split() == [f"{stem}0", f"{stem}1"]
    assert sh(
        f"list -q -state:(drained|locked) '{glob}'".replace("(", "'(").replace(")", ")'")
    ).stdout.split() == [f"{stem}0"]
    assert sh(f"list -q -- -state:drained '{glob}' -user:admin").stdout.split() == [f"{stem}0"]
    assert sh(f"list '{glob} -state:free' -q").stdout.split() == [f"{stem}1", f"{stem}2"]


def test_mine(sh: Shell, pool: ServiceProcess) -> None:
    glob = lab(sh, pool)
    assert sh(f"list --me '{glob}' -q").stdout.split() == [f"{glob[:-1]}1"]
    assert sh.old("list --me -q", "nobody-here").stdout == ""


def test_nothing_matches(sh: Shell) -> None:
    result = sh("list name:nothing")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "No machine matches 'name:nothing'" in result.stderr
    result = sh("list name:nothing -o json")
    assert (result.exit_code, json.loads(result.stdout)) == (3, [])


def test_one_machine(sh: Shell, pool: ServiceProcess) -> None:
    glob = lab(sh, pool)
    name = f"{glob[:-1]}1"
    facts = dict(line.split("  ", 1) for line in sh(f"show {name}").stdout.splitlines())
    assert facts["state"].strip() == "locked"
    assert facts["held by"].strip() == "admin"
    assert sh.json(f"show {name}")["name"] == name
    assert json.loads(sh(f"show {name} -o jsonl").stdout)["name"] == name
    assert sh(f"show {name}.lab -q").stdout.strip() == name  # by its address
    assert next(csv.DictReader(io.StringIO(sh(f"show {name} -o csv").stdout)))["held_by"] == "admin"
    assert sh("show nothing").exit_code == 3
    assert sh(f"show '{glob}'").exit_code == 3
    assert sh.run(["show", "\udcff"]).exit_code == 3


def test_labels(sh: Shell, pool: ServiceProcess) -> None:
    one, two = boards(pool, 2)
    assert sh(f"label {one} rack=b camera").exit_code == 0
    assert sh(f"list rack:b {one} -q").stdout.split() == [one]
    assert sh.json(f"show {one}")["labels"] == {"rack": "b", "camera": ""}
    assert sh(f"label {one[:-1]}* camera- rack=c").exit_code == 0
    assert sh.json(f"show {two}")["labels"] == {"rack": "c"}
    assert "rack:c" in sh(f"list {one}").stdout
    result = sh(f"label {one} 9=x")
    assert result.exit_code == 2 and "a key is a letter" in result.stderr
    assert sh(f"label {one} =x").exit_code == 2
    assert sh("label nothing a=b").exit_code == 3


def test_comments(sh: Shell, pool: ServiceProcess) -> None:
    (name,) = boards(pool)
    assert sh(f"comment {name} 'new SD card'").exit_code == 0
    assert "new SD card" in sh(f"list {name} -o wide").stdout
    assert sh.run(["comment", name, ""]).exit_code == 0
    assert sh.json(f"show {name}")["comment"] == ""
    assert sh.run(["comment", name, "x" * 600]).exit_code == 2


def test_out_of_service_and_back(sh: Shell, pool: ServiceProcess) -> None:
    one, two = boards(pool, 2)
    sh(f"lock {one}")
    drained = sh(f"drain {one} {two} --reason fan")
    assert (drained.exit_code, drained.stdout) == (0, "")
    assert drained.stderr.splitlines() == [f"{one} is out of service.", f"{two} is out of service."]
    assert sh.json(f"show {one}")["lease"] is not None
    assert sh(f"drain {one} --reason fan --evict").exit_code == 0
    assert sh.json(f"show {one}")["lease"] is None
    assert sh(f"lock {two}").exit_code == 5
    assert sh(f"undrain '{one[:-1]}*'").exit_code == 0
    assert sh(f"lock {two} -q").stdout.strip() == two


def test_who_may_not_is_told_once(sh: Shell, pool: ServiceProcess) -> None:
    one, two = boards(pool, 2)
    refused = sh.old(f"drain {one} {two} --reason fan")
    assert refused.exit_code == 4
    assert refused.stderr.count("changed by operators") == 1
    assert sh(f"label {one} a=b", token="").exit_code == 4
    assert sh(f"list {one}", token="wrong").exit_code == 4


def test_deleting(sh: Shell, pool: ServiceProcess) -> None:
    """One that is locked stays, and is told; the others go."""
    one, two, three = boards(pool, 3)
    sh(f"lock {one}")
    sh(f"lock {three}")
    result = sh(f"delete '{one[:-1]}*'")
    assert result.exit_code == 1
    assert f"{two} is forgotten." in result.stderr
    assert f"{one} is held by admin" in result.stderr and f"{three} is held by admin" in result.stderr
    assert sh(f"delete {two}").exit_code == 3
    assert sh(f"list {one} -q").stdout.strip() == one


@pytest.mark.parametrize("form", ["table", "wide", "json", "jsonl", "csv", "name"])
def test_no_job_or_comment_moves_a_terminal(sh: Shell, pool: ServiceProcess, form: str) -> None:
    """Jobs and comments come from anybody: neither the old control characters nor the newer ones get through."""
    (name,) = boards(pool)
    evil = "\x1b[2J\x9bH\x07\r\u202e\nx"
    assert sh.run(["lock", name, "--job", evil]).exit_code == 0
    assert sh.run(["comment", name, evil]).exit_code == 0
    for line in (
        f"list {name} -o {form}",
        f"show {name} -o {form}",
        f"history {name} -o {form}",
        f"lock {name}",
    ):
        result = sh(line)
        assert not set("\x1b\x9b\x07\r\u202e") & set(result.output)
    assert sh.json(f"show {name}")["lease"]["job"] == evil  # and yet nothing of it is lost
