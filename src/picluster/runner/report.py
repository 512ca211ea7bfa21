"""What is left of a job: `result.json` for programs, JUnit for whoever collects tests.

    OUT/result.json         how it went, on what, with which verdict
    OUT/output.txt          what the command said
    OUT/files/…             what was fetched
    OUT/NAME/output.txt …   the same for each machine, where there are several

What a machine sent is read with care: a report with a DTD, or one that is no report, is a file like any other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from picluster.runner.plan import Ending

if TYPE_CHECKING:
    from junitparser import TestCase, TestSuite

    from picluster.runner.job import Part, Result

LARGEST_REPORT = 64 * 1024 * 1024
"""Bytes; beyond that it is not read, but it is among the files."""
LAST_OUTPUT = 16 * 1024
"""Bytes of the command's output that a failure shows."""
NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML may have, such as the colours of a terminal."""


def write(result: Result) -> None:
    """Write what the job asked for. Raises `OSError`."""
    if result.job.out is not None:
        result.job.out.mkdir(parents=True, exist_ok=True)
        _replace(result.job.out / "result.json", json.dumps(as_json(result), indent=2) + "\n")
    if result.job.junit is not None:
        result.job.junit.parent.mkdir(parents=True, exist_ok=True)
        _replace(result.job.junit, _junit(result))


def _replace(file: Path, text: str) -> None:
    """Whole or not at all: nobody reads half a report."""
    beside = file.with_name(f"{file.name}.part")
    beside.write_text(text)
    beside.replace(file)


# result.json


def as_json(result: Result) -> dict[str, Any]:
    """The same whatever happened, with null for what did not."""
    lease, job = result.lease, result.job
    return {
        "ending": result.ending,
        "exit_code": result.exit_code,
        "problem": result.problem.as_json() if result.problem else None,
        "signal": result.stopped_by or None,
        "command": job.command,
        "selector": job.selector,
        "job": job.job,
        "lease": lease.id if lease else None,
        "holder": lease.holder if lease else None,
        "fence": lease.fence if lease else None,
        "asked": _time(lease.joined_us) if lease else None,
        "granted": _time(lease.granted_us) if lease else None,
        "ended": _time(lease.ended_us) if lease else None,
        "verdict": result.verdict,
        "verdict_reasons": list(lease.verdict_reasons) if lease else [],
        "held_s": result.held_s,
        "machines": [_machine(result, part) for part in result.parts],
    }


def _machine(result: Result, part: Part) -> dict[str, Any]:
    out = result.job.out
    return {
        "name": part.machine.name,
        "address": part.machine.address,
        "model": part.machine.model,
        "mode": str(part.machine.mode),
        "status": part.status,
        "time_over": part.time_over,
        "began": _time(part.began_us),
        "ended": _time(part.ended_us),
        "output": _below(out, part.output),
        "files": [_below(out, part.files and part.files / name) for name in part.fetched],
        "missing": part.missing,
    }


def _below(out: Path | None, file: Path | None) -> str | None:
    """As it is called from the folder of results, which may be moved."""
    return file.relative_to(out).as_posix() if out and file and file.exists() else None


def _time(us: int) -> str | None:
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="milliseconds") if us else None


# JUnit


def _junit(result: Result) -> str:
    from junitparser import JUnitXml

    report: Any = JUnitXml("picluster")
    for part in result.parts:
        suites = list(_own(part))
        said = any(suite.failures or suite.errors for suite in suites)
        if not suites or (_failure(result, part) and not said):
            suites.append(_made(result, part))
        for suite in suites:
            _mark(suite, result, part)
            report.add_testsuite(suite)
    if not result.parts:
        report.add_testsuite(_made(result, None))
    elif result.ending is Ending.NOT_CLEAN:
        report.add_testsuite(_verdict(result))
    report.update_statistics()
    return str(report.tostring().decode())


def _own(part: Part) -> Iterator[TestSuite]:
    """The suites of the reports that the job itself wrote and that were fetched."""
    from junitparser import JUnitXml, JUnitXmlError, TestSuite

    for name in part.fetched:
        file = part.files and part.files / name
        if file is None or file.suffix != ".xml" or not _is_plain(file):
            continue
        try:
            found: Any = JUnitXml.fromfile(str(file))
        except (JUnitXmlError, SyntaxError, ValueError):
            continue
        yield from [found] if isinstance(found, TestSuite) else found


def _is_plain(file: Path) -> bool:
    """A file, not a link; of a size that can be read; and without a DTD, which no report needs and which can name files."""
    if file.is_symlink() or file.stat().st_size > LARGEST_REPORT:
        return False
    return re.search(rb"<!\s*(DOCTYPE|ENTITY)", file.read_bytes(), re.IGNORECASE) is None


def _made(result: Result, part: Part | None) -> TestSuite:
    """One case for the command, as if it were a test."""
    from junitparser import Error, Failure, TestCase, TestSuite

    suite = TestSuite(_text(result.job.job or result.job.selector or "picluster run"))
    case = TestCase(_text(result.job.command), part.machine.name if part else "picluster", _seconds(part))
    if why := _failure(result, part):
        kind = Failure if result.ending in (Ending.FAILED, Ending.TIME_OVER) else Error
        case.result = [kind(_text(why), result.ending)]
    if part is not None and (said := _last_output(part)):
        case.system_out = said
    suite.add_testcase(case)
    return suite


def _verdict(result: Result) -> TestSuite:
    from junitparser import Failure, TestCase, TestSuite

    suite = TestSuite("picluster: honest boards")
    case: TestCase = TestCase("the boards were honest", "picluster", 0)
    case.result = [Failure(_text(why_not_clean(result)), Ending.NOT_CLEAN)]
    suite.add_testcase(case)
    return suite


def why_not_clean(result: Result) -> str:
    """In a sentence."""
    reasons = ", ".join(result.lease.verdict_reasons) if result.lease else ""
    return f"The verdict on the boards is {result.verdict}{f': {reasons}' if reasons else ''}."


def _failure(result: Result, part: Part | None) -> str:
    """Why it is no success on this machine; empty if it is one."""
    if result.problem is not None:
        return result.problem.message
    if result.stopped_by:
        return f"Stopped by signal {result.stopped_by}."
    if part is not None and part.time_over:
        return f"The command ran for longer than {result.job.timeout_s:g} s, and was ended."
    if part is None or part.status is None:
        return "The command did not come to its end."
    return f"The command ended with {part.status}." if part.status else ""


def _mark(suite: TestSuite, result: Result, part: Part) -> None:
    """On what it ran, when, and whether that can be believed."""
    lease = result.lease
    assert lease is not None
    for name, value in {
        "machine": part.machine.name,
        "model": part.machine.model,
        "lease": lease.id,
        "fence": lease.fence,
        "began": _time(part.began_us),
        "ended": _time(part.ended_us),
        "verdict": result.verdict,
        "verdict_reasons": ", ".join(lease.verdict_reasons),
    }.items():
        if value:
            suite.add_property(f"picluster.{name}", _text(str(value)))
    element: Any = suite._elem
    properties = element.find("properties")
    element.remove(properties)
    element.insert(0, properties)  # where the schema of JUnit wants them


def _seconds(part: Part | None) -> float:
    return round((part.ended_us - part.began_us) / 1e6, 3) if part else 0.0


def _last_output(part: Part) -> str:
    if part.output is None or not part.output.exists():
        return ""
    with part.output.open("rb") as file:
        file.seek(max(0, part.output.stat().st_size - LAST_OUTPUT))
        return _text(file.read().decode(errors="replace"))


def _text(text: str) -> str:
    return NO_XML.sub("�", text)
