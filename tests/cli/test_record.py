"""What happened, and what happens."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from picluster import Client
from tests.cli.conftest import Shell, boards
from tests.service import ServiceProcess, until


def test_what_happened_to_a_machine(sh: Shell, pool: ServiceProcess) -> None:
    """Newest first, filtered, in every form."""
    (name,) = boards(pool)
    sh(f"lock {name} --job nightly")
    sh(f"unlock {name}")
    kinds = [event["kind"] for event in sh.json(f"history {name}")]
    assert kinds[:2] == ["lease.ended", "lease.held"]
    lines = sh(f"history {name} --kind lease.ended").stdout.splitlines()
    assert len(lines) == 2 and "why=released" in lines[1]
    rows = list(csv.DictReader(io.StringIO(sh(f"history {name} -o csv").stdout)))
    assert [row["what"] for row in rows] == kinds
    assert len(sh(f"history {name} --limit 1 -o jsonl").stdout.splitlines()) == 1
    assert len(sh(f"history {name} --since 1h -q").stdout.splitlines()) == len(kinds)
    assert len(sh.json(f"history {name} --holder admin")) >= 2


def test_nothing_happened(sh: Shell) -> None:
    for line in ("history nothing", "history --holder nobody", "history --kind no.such.thing"):
        result = sh(line)
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", "Nothing of this kind happened.\n")
        assert sh.json(line) == []


def test_history_is_for_those_who_are_known(sh: Shell) -> None:
    assert sh("history", token="").exit_code == 4
    assert sh("watch", token="").exit_code == 4


def test_what_happens_is_followed(sh: Shell, pool: ServiceProcess) -> None:
    """One line for each change, as it comes, also into a pipe; Ctrl-C ends it."""
    (name,) = boards(pool)
    with sh.start("exec picluster watch") as people, sh.start("exec picluster watch -o jsonl") as programs:
        try:
            until(lambda: "picluster_streams 2.0" in pool.get("/metrics").text)
            sh.run(["lock", name, "--job", "moves\nthe \x1b[2Jterminal"])
            assert people.stdout and programs.stdout
            line = next(line for line in people.stdout if name in line and "locked" in line)
            assert "by admin for moves the �[2Jterminal" in line
            event = next(found for found in map(json.loads, programs.stdout) if found.get("name") == name)
            assert (event["event"], event["state"]) == ("machine", "locked")
        finally:
            people.send_signal(2)
            programs.send_signal(15)
        assert (people.wait(30), programs.wait(30)) == (130, 130)
        assert people.stderr and people.stderr.read() == "Watching; Ctrl-C ends.\npicluster: stopped.\n"


def test_a_gap_is_told(sh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def events(self: Client) -> Iterator[tuple[str, dict[str, Any]]]:
        yield "hello", {}
        yield "resync", {}
        yield "machine", {"name": "pi-1", "deleted": True}
        yield "lease", {"holder": "ann", "state": "ended", "ended": "expired", "machines": [{"name": "pi-1"}]}
        yield "lease", {"holder": "bob", "state": "waiting", "why_waiting": "all busy", "machines": []}

    monkeypatch.setattr(Client, "events", events)
    result = sh("watch")
    assert result.stderr.splitlines()[1] == "Something may have been missed while the service was away."
    ends = [line.split(maxsplit=1)[1] for line in result.stdout.splitlines()]
    assert ends == [
        "pi-1             forgotten",
        "ann's lease ended (expired) on pi-1",
        "bob's lease waiting all busy",
    ]
