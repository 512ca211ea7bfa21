"""What is left of a job: `result.json`, and JUnit out of its own reports or out of its exit status."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from picluster.errors import LeaseLost, NotReached, WaitedTooLong
from picluster.pool.model import Mode, OnReboot
from picluster.runner import report
from picluster.runner.job import Part, Result
from picluster.runner.plan import Job
from picluster.wire import LeaseAnswer, LeasedMachine

MACHINE = LeasedMachine("pi-a", "10.0.0.1", "pi5", Mode.ENFORCED, True, (), "picluster", 22)
OWN = """<?xml version="1.0"?>
<testsuites><testsuite name="pytest" tests="2" failures="{failures}" errors="0">
  <testcase classname="test_a" name="test_one" time="0.5"/>
  <testcase classname="test_a" name="test_two">{failure}</testcase>
</testsuite></testsuites>"""
PASSED = OWN.format(failures=0, failure="")
FAILED = OWN.format(failures=1, failure='<failure message="it broke"/>')
LEASE = LeaseAnswer(
    id="2f1c9d5e-0000-4000-8000-000000000001",
    state="ended",
    holder="ann",
    job="nightly",
    selector="model:pi5",
    count=1,
    priority=1,
    ttl_s=60.0,
    on_reboot=OnReboot.RELEASE,
    place=1,
    ahead=0,
    why_waiting="",
    set_aside=(),
    machines=(MACHINE,),
    fence=1_795_542_617_186_511,
    ready=True,
    expires_in_s=None,
    joined_us=1_795_542_617_000_000,
    granted_us=1_795_542_617_186_511,
    ended_us=1_795_542_627_000_000,
    ended="released",
    ended_by="ann",
    verdict="clean",
    verdict_reasons=(),
    revision=7,
)


class Written:
    """A job that has come to its end in a folder, and its report."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.folder = folder
        job = Job("model:pi5", "./test.sh", job="nightly", out=folder, junit=folder / "all.xml", **more)
        self.part = Part(MACHINE, folder, status=0, began_us=LEASE.granted_us, ended_us=LEASE.ended_us)
        self.result = Result(job, LEASE, [self.part])

    def fetched(self, name: str, content: str) -> None:
        (self.folder / "files").mkdir(exist_ok=True)
        (self.folder / "files" / name).write_text(content)
        self.part.fetched.append(name)

    def json(self) -> dict[str, Any]:
        report.write(self.result)
        return dict(json.loads((self.folder / "result.json").read_text()))

    def suites(self) -> list[ElementTree.Element]:
        report.write(self.result)
        return ElementTree.parse(self.folder / "all.xml").getroot().findall("testsuite")


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path)


def test_a_result_says_what_happened_on_what(written: Written) -> None:
    (written.folder / "output.txt").write_text("said\n")
    written.fetched("a.txt", "x")
    result = written.json()
    assert (result["ending"], result["exit_code"], result["problem"]) == ("passed", 0, None)
    assert (result["lease"], result["fence"], result["holder"]) == (LEASE.id, LEASE.fence, "ann")
    assert result["granted"] == "2026-11-24T17:50:17.186+00:00"
    [machine] = result["machines"]
    assert (machine["name"], machine["status"]) == ("pi-a", 0)
    assert (machine["output"], machine["files"]) == ("output.txt", ["files/a.txt"])


def test_a_result_is_there_for_whatever_came_between(written: Written) -> None:
    """Also where there never was a lease: a program that reads it finds the same words."""
    usual = written.json().keys()
    written.result = Result(written.result.job, problem=WaitedTooLong("Waited 5 s.", "Wait longer."))
    result = written.json()
    assert result.keys() == usual
    assert (result["ending"], result["exit_code"], result["lease"]) == ("waited too long", 124, None)
    assert result["problem"]["hint"] == "Wait longer."


def test_without_reports_the_command_is_the_test(written: Written) -> None:
    (written.folder / "output.txt").write_text("all \x1b[32mgreen\x1b[0m\x00\n")
    [suite] = written.suites()
    [case] = suite.findall("testcase")
    assert (suite.get("name"), case.get("name"), case.get("classname")) == ("nightly", "./test.sh", "pi-a")
    assert case.find("failure") is None and case.find("error") is None
    assert case.findtext("system-out") == "all �[32mgreen�[0m�\n"
    assert float(case.get("time") or 0) == pytest.approx(9.813, abs=0.01)


def test_every_suite_says_on_what_it_ran_where_the_schema_wants_it(written: Written) -> None:
    written.fetched("a.xml", PASSED)
    [suite] = written.suites()
    assert next(iter(suite)).tag == "properties"
    marks = {one.get("name"): one.get("value") for one in suite.iter("property")}
    assert marks == {
        "picluster.machine": "pi-a",
        "picluster.model": "pi5",
        "picluster.lease": LEASE.id,
        "picluster.fence": str(LEASE.fence),
        "picluster.began": "2026-11-24T17:50:17.186+00:00",
        "picluster.ended": "2026-11-24T17:50:27.000+00:00",
        "picluster.verdict": "clean",
    }


def test_own_reports_are_merged(written: Written) -> None:
    written.fetched("a.xml", PASSED)
    written.fetched("b.xml", FAILED.replace("pytest", "other"))
    written.part.status = 1
    assert [suite.get("name") for suite in written.suites()] == ["pytest", "other"]


def test_a_command_that_fails_after_its_tests_have_passed_is_a_failure(written: Written) -> None:
    written.fetched("a.xml", PASSED)
    written.part.status = 139
    own, made = written.suites()
    assert own.get("failures") == "0"
    assert [one.get("message") for one in made.iter("failure")] == ["The command ended with 139."]


@pytest.mark.parametrize(
    "content",
    [
        "<html></html>",
        "no xml at all",
        "<testsuite",
        "",
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><testsuite name="&b;"/>',
        '<!doctype a><testsuite name="x"/>',
    ],
)
def test_what_is_no_plain_report_is_a_file_like_any_other(written: Written, content: str) -> None:
    """A machine may send anything; none of it is looked up, and none of it stops the report."""
    written.fetched("a.xml", content)
    assert [suite.get("name") for suite in written.suites()] == ["nightly"]


def test_a_report_that_is_a_link_is_not_read(written: Written, tmp_path: Path) -> None:
    (tmp_path / "mine.xml").write_text(PASSED)
    written.fetched("a.xml", "")
    (written.folder / "files/a.xml").unlink()
    (written.folder / "files/a.xml").symlink_to(tmp_path / "mine.xml")
    assert [suite.get("name") for suite in written.suites()] == ["nightly"]


def test_a_dishonest_board_is_a_failure_of_its_own_if_honesty_is_required(tmp_path: Path) -> None:
    for verdict, reasons in (("dirty", ("under-voltage",)), ("", ())):
        written = Written(tmp_path, require_clean=True)
        written.result.lease = replace(LEASE, verdict=verdict, verdict_reasons=reasons)
        assert (written.result.ending, written.result.exit_code) == ("not clean", 1)
        made, honest = written.suites()
        assert made.find(".//failure") is None
        [failure] = honest.iter("failure")
        assert (failure.get("message") or "").startswith(
            f"The verdict on the boards is {verdict or 'unknown'}"
        )


def test_a_failing_command_is_not_hidden_by_a_dishonest_board(tmp_path: Path) -> None:
    written = Written(tmp_path, require_clean=True)
    written.result.lease = replace(LEASE, verdict="dirty")
    written.part.status = 3
    assert written.result.exit_code == 3


def test_what_was_not_the_commands_fault_is_an_error_and_no_failure(written: Written) -> None:
    written.part.status = None
    for problem in (LeaseLost("It has ended: reboot."), NotReached("pi-a did not answer.")):
        written.result.problem = problem
        [suite] = written.suites()
        assert [one.get("message") for one in suite.iter("error")] == [problem.message]
    written.result = Result(written.result.job, problem=WaitedTooLong("Waited 5 s."))
    [suite] = written.suites()
    assert [one.get("message") for one in suite.iter("error")] == ["Waited 5 s."]


def test_a_report_is_whole_or_not_there(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    report.write(written.result)
    before = (written.folder / "result.json").read_text()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        report.write(written.result)
    assert (written.folder / "result.json").read_text() == before
