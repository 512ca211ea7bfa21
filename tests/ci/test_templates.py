"""Each template is what its system takes and says the same as the others; each check is shown to fail."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from picluster import __version__
from picluster.pool.model import Machine
from picluster.server.pages.ways import ways
from tests.ci.jenkins import carried_out, needs_groovy
from tests.ci.systems import (
    ACTION,
    ALL,
    BY_NAME,
    CANCELLED,
    GOOD,
    ROOT,
    SYSTEMS,
    Step,
    System,
    documents,
    filled,
)

SECRETS = {
    "PICLUSTER_URL": "https://lab",
    "PICLUSTER_TOKEN": "pc_ci_secret",
    "PICLUSTER_PACKAGE": "/srv/client.whl[run]",
}
SCHEMAS = [
    ("azure", "template", "vendor.azure-pipelines", ("bash:", "bahs:")),
    ("azure", "example", "vendor.azure-pipelines", ("resources:", "sources:")),
    ("github", "template", "vendor.github-actions", ("using: composite", "using: compost")),
    ("github", "example", "vendor.github-workflows", ("runs-on:", "run-on:")),
    ("gitlab", "template", "vendor.gitlab-ci", ("when: always", "when: ever")),
    ("gitlab", "example", "vendor.gitlab-ci", ("component:", "compound:")),
]
"""Which of the schemas that check-jsonschema brings is whose, and a mistake that it has to find."""


def tool(name: str, *arguments: str | Path, input: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name(name), *map(str, arguments)]
    return subprocess.run(command, input=input, capture_output=True, text=True)


def steps(system: System) -> list[Step]:
    asked = {"machines": "model:pi5", "command": "./test"}
    return system.steps(system.template, asked, Path("/job"), SECRETS)


def in_jenkins(folder: Path, here: Path | None = None) -> Any:
    asked = {"machines": "model:pi5", "command": "./test"}
    return carried_out(BY_NAME["jenkins"].template, asked, folder, SECRETS, here)


def as_one(path: Path, folder: Path) -> Path:
    """A file that is checked: of several documents, as a component of GitLab has them, the last."""
    copy = folder / path.name.lstrip(".")
    if len(found := documents(path)) == 1:
        copy.write_text(path.read_text())
    else:
        YAML().dump(found[-1], copy)
    return copy


@pytest.mark.parametrize(
    ("name", "which", "schema", "mistake"), SCHEMAS, ids=[f"{one[0]}-{one[1]}" for one in SCHEMAS]
)
def test_the_system_would_take_it(
    name: str, which: str, schema: str, mistake: tuple[str, str], tmp_path: Path
) -> None:
    ours = as_one(getattr(BY_NAME[name], which), tmp_path)
    worse = tmp_path / f"worse-{ours.name}"
    worse.write_text(ours.read_text().replace(*mistake))
    found = tool("check-jsonschema", "--builtin-schema", schema, "--regex-variant", "nonunicode", ours, worse)
    assert f"{ours}::" not in found.stdout and f"{worse}::" in found.stdout, found.stdout + found.stderr


def test_nobody_gets_in_by_an_input_of_the_action(tmp_path: Path) -> None:
    """What comes from outside is read from the environment, not written into a script; actions are pinned by commit."""
    github = BY_NAME["github"]
    found = tool("zizmor", "--offline", "--no-progress", github.template.parent, github.example)
    assert found.returncode == 0, found.stdout
    worse = tmp_path / "action.yml"
    worse.write_text(github.template.read_text().replace('-- "$COMMAND"', "-- ${{ inputs.command }}"))
    found = tool("zizmor", "--offline", "--no-progress", worse)
    assert found.returncode != 0 and "template-injection" in found.stdout


@ALL
def test_nothing_is_written_into_a_script_by_the_system(system: System) -> None:
    """A template's scripts are the same whatever is asked for; so no word of a request is ever carried out here."""
    other = {
        "machines": "$(id)",
        "command": "'; id",
        "copy": "a",
        "fetch": "b",
        "options": "c",
        "package": "d",
    }
    theirs = system.steps(system.template, other, Path("/elsewhere"), SECRETS)
    assert [step.script for step in steps(system)] == [step.script for step in theirs]
    assert not any(mark in step.script for step in theirs for mark in ("${{", "$[[", "$(A", "$(P"))


@ALL
def test_the_scripts_are_clean(system: System) -> None:
    shell = "bash" if system.shell[0] == "bash" else "sh"
    for step in steps(system):
        found = tool("shellcheck", "--shell", shell, "-", input=step.script)
        assert found.stdout == ""
    [run] = [step for step in steps(system) if step.runs]
    worse = run.script.replace('"$MACHINES"', "$MACHINES").replace("# shellcheck", "#")
    assert "SC2086" in tool("shellcheck", "--shell", shell, "-", input=worse).stdout


def lines(system: System, when: str) -> list[str]:
    """Of its scripts, without what some systems do for every script."""
    scripts = "\n".join(step.script for step in steps(system) if step.when == when).splitlines()
    return [
        line.strip().removeprefix('[ "$CI_JOB_STATUS" != canceled ] || ') for line in scripts if line.strip()
    ]


@ALL
@pytest.mark.parametrize("when", [GOOD, CANCELLED])
def test_they_say_the_same_in_four_languages(system: System, when: str) -> None:
    """Only what is around it differs."""
    ours, theirs = ([line for line in lines(one, when) if line != "set -eu"] for one in (system, SYSTEMS[0]))
    assert ours == theirs and ours


@ALL
def test_the_client_is_what_the_lab_says_and_nothing_by_its_name_alone(system: System) -> None:
    """The name in a public index is nobody's yet, and whoever took it would be run beside the token. The action of GitHub
    brings the client that it came with; elsewhere a template comes alone."""
    install = steps(system)[0]
    if system.name == "github":
        assert install.environment["PACKAGE"] == ACTION
        assert (Path(ACTION.removesuffix("[run]")) / "pyproject.toml").samefile(ROOT / "pyproject.toml")
    else:
        assert install.environment["PACKAGE"] == SECRETS["PICLUSTER_PACKAGE"]
    asked = {"machines": "model:pi5", "command": "./test", "package": "other.whl[run]"}
    other = system.steps(system.template, asked, Path("/job"), SECRETS)[0]
    assert other.environment["PACKAGE"] == "other.whl[run]"
    for name in (system.template, system.example):
        assert "pi-cluster-service" not in name.read_text()
    forgotten = {name: value for name, value in other.environment.items() if name != "PACKAGE"}
    [line] = [line for line in install.script.splitlines() if "PACKAGE" in line]
    done = subprocess.run(["bash", "-c", line], env=forgotten, capture_output=True, text=True)
    assert "PACKAGE: names the client" in done.stderr


@ALL
def test_pages_and_examples_name_the_templates_of_this_version(system: System) -> None:
    for text in (system.example.read_text(), page(system).read_text()):
        named = re.findall(r"(?:picluster@|run@|github@|tags/|commit of )v?(\d+\.\d+\S*?)[\s,')]", text)
        assert named and set(named) == {__version__}
    wheels = re.findall(r"pi_cluster_service-(.+?)-py3", (ROOT / "docs/ci.md").read_text())
    assert wheels and set(wheels) == {__version__}


@ALL
def test_only_who_talks_to_the_pool_has_the_token(system: System) -> None:
    """Steps are told of it by name, where the system can; and what a step is told is not in its script."""
    for step in steps(system):
        assert SECRETS["PICLUSTER_TOKEN"] not in step.script
    if system.name in ("azure", "github"):
        told = ["PICLUSTER_TOKEN" in step.environment for step in steps(system)]
        assert told == [False, True, True]


@ALL
def test_two_jobs_at_once_are_two(system: System) -> None:
    """What is given back on cancel is found by the job's words, so they name this job and no other leg of it."""
    told = {
        "azure": ["System.JobId"],
        "github": [
            "github.run_number",
            "github.run_attempt",
            "github.job ",
            "strategy.job-index",
            "runner.name",
        ],
        "gitlab": ["CI_JOB_ID"],
        "jenkins": ["BUILD_TAG", "randomUUID"],
    }
    lines = [line for line in system.template.read_text().splitlines() if re.search(r"\bJOB[:=]", line)]
    assert lines and all(word in line for line in lines for word in told[system.name])
    jobs = {step.environment["JOB"] for step in steps(system) if "$JOB" in step.script}
    assert len(jobs) == 1, "the step that gives back looks for what the run said"


@needs_groovy
def test_two_cells_of_a_matrix_of_jenkins_are_two() -> None:
    """They have the build and the name of the stage in common, so the step says of each use that it is another one."""
    told = in_jenkins(Path("/job"))
    jobs = [{one["environment"]["JOB"] for one in told[how] if one["step"] == "sh"} for how in told]
    assert [len(job) for job in jobs] == [1, 1] and jobs[0] != jobs[1]


@needs_groovy
def test_jenkins_keeps_the_results_from_wherever_the_step_is_used() -> None:
    """Inside `dir('robot') { … }` too, where what is published is looked for: nothing found there is no error."""
    for how, told in in_jenkins(Path("/job"), here=Path("/job/robot")).items():
        kept = [
            Path(one["here"]) / one["files"] for one in told if one["step"] in ("junit", "archiveArtifacts")
        ]
        assert kept == [Path("/job/picluster-out/junit.xml"), Path("/job/picluster-out/**")], how
        ran = [one for one in told if one["step"] == "sh"]
        assert {(one["here"], one["environment"]["OUT"]) for one in ran} == {
            ("/job/robot", "/job/picluster-out")
        }
    assert told[-1]["step"] == "interrupted", "the build is told that it was aborted"


def test_what_jobs_of_one_run_keep_in_azure_has_a_name_each() -> None:
    """Else the second one's results are refused. A job is called `__default` unless it is a leg of a matrix; which of them it
    is, and in which stage, is in its identifier. Azure takes no name that could not be a file's."""
    [document] = documents(BY_NAME["azure"].template)
    [default] = [one["default"] for one in document["parameters"] if one["name"] == "artifact"]
    jobs = ["one.__default", "two.__default", "boards.pi4", "boards.pi5", "Nightly.one.__default"]
    worlds = [
        {"System.JobIdentifier": job, "System.JobName": job.rpartition(".")[2], "System.JobAttempt": attempt}
        for job in jobs
        for attempt in ("1", "2")
    ]
    names = {filled(default, r"\$\(([\w.]+)\)", world) for world in worlds}
    assert len(names) == len(worlds)
    assert not any(re.search(r'["/:<>\\|?*\x00-\x1f]', name) for name in names)


def test_gitlab_gives_nothing_back_after_a_job_that_ended_by_itself() -> None:
    """A board that is held for somebody to look stays held; and there is nothing to be found, where nothing was installed."""
    [after] = [step for step in steps(BY_NAME["gitlab"]) if step.when == CANCELLED]
    for status, code in (("success", 0), ("failed", 0), ("canceled", 127)):
        environment = {**after.environment, "CI_JOB_STATUS": status}
        done = subprocess.run(["/bin/bash", "-c", after.script], env=environment, capture_output=True)
        assert done.returncode == code


def test_report_and_results_are_kept_whatever_happens() -> None:
    def found(system: str, *keys: str) -> list[Any]:
        node = documents(BY_NAME[system].template)[-1]
        for key in keys:
            node = node[key]
        return list(node)

    publishing = [one for one in found("azure", "steps") if "bash" not in one]
    assert [one["condition"] for one in publishing] == ["always()"] * 2
    assert publishing[0]["task"] == "PublishTestResults@2"
    [keeping] = [one for one in found("github", "runs", "steps") if "uses" in one]
    assert keeping["if"] == "always()"
    [job] = documents(BY_NAME["gitlab"].template)[-1].values()
    assert job["artifacts"]["when"] == "always" and job["artifacts"]["reports"]["junit"]


@pytest.mark.parametrize(("step", "name"), [(0, "azure"), (1, "github")])
def test_the_dashboard_shows_lines_that_work(step: int, name: str) -> None:
    """What is copied from a machine's page is YAML, whatever the machine is called, and asks for what there is."""
    odd = 'pi "5": #1'
    [ci] = [way for way in ways(Machine(odd, "id", "10.0.0.1"), mine=False) if way.key == "ci"]
    [shown] = YAML(typ="safe").load(ci.steps[step].lines)
    asked = shown["parameters" if name == "azure" else "with"]
    [document] = documents(BY_NAME[name].template)
    known = document["inputs"] if name == "github" else {one["name"]: one for one in document["parameters"]}
    required = {key for key, one in known.items() if "default" not in one}
    assert required <= set(asked) <= set(known) and asked["machines"] == odd
    place = shown.get("template") or shown["uses"]
    assert place.partition("@")[0].removeprefix("OWNER/picluster/") in (
        "ci/azure-pipelines/run.yml",
        "ci/github",
    )
    if name == "github":
        assert place.endswith(f"@v{__version__}")


def page(system: System) -> Path:
    return ROOT / f"docs/ci-{system.name}.md"


def known_words(system: System) -> set[str]:
    """What one can ask the template for."""
    if system.name == "jenkins":
        return set(re.findall(r"\bgiven\.(\w+)", system.template.read_text()))
    document = documents(system.template)[0]
    if system.name == "azure":
        return {one["name"] for one in document["parameters"]}
    return set(document["inputs"] if system.name == "github" else document["spec"]["inputs"])


@ALL
def test_the_pages_name_all_that_one_can_ask_for(system: System) -> None:
    """What all have is in the common table; what only one has is on its page; and no example asks for anything else."""
    words = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/ci.md").read_text(), re.MULTILINE))
    assert words == {"machines", "command", "copy", "fetch", "options", "package"}
    known = known_words(system)
    assert words <= known
    assert all(f"`{word}`" in page(system).read_text() for word in known - words)
    assert set(system.asked(system.example)) <= known


@pytest.mark.parametrize("name", ["azure", "github", "gitlab"])
def test_what_the_pages_show_can_be_used(name: str) -> None:
    """Each block is YAML, and what it asks the template for is there to be asked for."""

    def asked(node: Any) -> Iterator[str]:
        for key, value in node.items() if isinstance(node, dict) else ():
            if key in ("parameters", "with", "inputs"):
                yield from value
            yield from asked(value)
        for one in node if isinstance(node, list) else ():
            yield from asked(one)

    blocks = re.findall(r"^```yaml\n(.+?)^```", page(BY_NAME[name]).read_text(), re.MULTILINE | re.DOTALL)
    words = [word for block in blocks for word in asked(YAML(typ="safe").load(block))]
    assert words and set(words) <= known_words(BY_NAME[name])
