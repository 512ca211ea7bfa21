"""Four CI systems, as far as a template can tell: which scripts they run, with what in the environment, and how they cancel.

A template is read from its own file and an example's request from the example, as the system would; what has no script
(publishing a report, keeping files) is left to the checks of the files themselves. Nothing is added that the system does not
give, so a variable that the template forgets is missing here, too.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.ci import jenkins

ROOT = Path(__file__).parents[2]
CI = ROOT / "ci"
EXAMPLES = ROOT / "examples"
GOOD, CANCELLED = "good", "cancelled"
"""When a step is run: while all went well, or when somebody has cancelled."""


@dataclass(frozen=True)
class Step:
    """A script and its environment."""

    script: str
    environment: Mapping[str, str]
    when: str = GOOD

    @property
    def runs(self) -> bool:
        """Is it the one that is on boards?"""
        return 'picluster" run ' in self.script


@dataclass(frozen=True)
class System:
    """`asked` reads the request of the example; `steps` what the template makes of a request, in a job's folder."""

    name: str
    template: Path
    example: Path
    shell: Sequence[str]
    asked: Callable[[Path], dict[str, str]]
    steps: Callable[[Path, Mapping[str, str], Path, Mapping[str, str]], list[Step]]
    cancel: Callable[[subprocess.Popen[str]], object]


def documents(path: Path) -> list[Any]:
    return list(YAML(typ="safe").load_all(path.read_text()))


def to_its_process(number: signal.Signals) -> Callable[[subprocess.Popen[str]], object]:
    return lambda process: process.send_signal(number)


def to_all_of_it(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGTERM)


def filled(text: str, pattern: str, known: Mapping[str, str]) -> str:
    """Each mark of the system's language, by what it stands for. Raises `KeyError` for what it does not know."""
    return re.sub(pattern, lambda mark: known[mark[1].strip()], text)


# Azure Pipelines


def azure_asked(example: Path) -> dict[str, str]:
    [document] = documents(example)
    return dict(next(step["parameters"] for step in document["steps"] if "template" in step))


def azure_steps(
    template: Path, asked: Mapping[str, str], folder: Path, secrets: Mapping[str, str]
) -> list[Step]:
    [document] = documents(template)
    given = {one["name"]: one["default"] for one in document["parameters"] if "default" in one} | dict(asked)
    known = secrets | {
        "Agent.TempDirectory": str(folder / "temp"),
        "System.TeamProject": "Robots",
        "Build.DefinitionName": 'the "nightly"',
        "Build.BuildNumber": "20261125.3",
        "System.JobDisplayName": "On a Pi 5",
        "System.JobId": "12f1170f-54f2-53f3-20dd-22fc7dff55f9",
    }

    def fill(text: str) -> str:
        text = filled(text, r"\$\{\{ parameters\.(\w+) \}\}", given)
        return filled(text, r"\$\(([A-Z][\w.]+)\)", known)

    whens = {None: GOOD, "canceled()": CANCELLED}
    return [
        Step(fill(one["bash"]), {k: fill(v) for k, v in one["env"].items()}, whens[one.get("condition")])
        for one in document["steps"]
        if "bash" in one
    ]


# GitHub Actions

ACTION = f"{CI}/github/../..[run]"
"""The repository that has the action, where GitHub puts all of it."""


def github_asked(example: Path) -> dict[str, str]:
    [document] = documents(example)
    [job] = document["jobs"].values()
    return dict(next(step["with"] for step in job["steps"] if "ci/github@" in step.get("uses", "")))


def github_steps(
    template: Path, asked: Mapping[str, str], folder: Path, secrets: Mapping[str, str]
) -> list[Step]:
    [document] = documents(template)
    given = {name: one["default"] for name, one in document["inputs"].items() if "default" in one} | dict(
        asked
    )
    given |= {"url": secrets["PICLUSTER_URL"], "token": secrets["PICLUSTER_TOKEN"]}
    known = {f"inputs.{name}": value for name, value in given.items()} | {
        "runner.temp": str(folder / "temp"),
        "runner.name": "runner-7",
        "github.repository": "acme/robot",
        "github.workflow": 'the "nightly"',
        "github.run_number": "17",
        "github.run_attempt": "1",
        "github.job": "pi5",
        "inputs.package || format('{0}/../..[run]', github.action_path)": given["package"] or ACTION,
        "strategy.job-index": "0",
    }

    def fill(text: str) -> str:
        return filled(text, r"\$\{\{ (.+?) \}\}", known)

    whens = {None: GOOD, "cancelled()": CANCELLED}
    return [
        Step(one["run"], {k: fill(v) for k, v in one["env"].items()}, whens[one.get("if")])
        for one in document["runs"]["steps"]
        if "run" in one
    ]


# GitLab


def gitlab_asked(example: Path) -> dict[str, str]:
    [document] = documents(example)
    [included] = document["include"]
    return dict(included["inputs"])


def gitlab_steps(
    template: Path, asked: Mapping[str, str], folder: Path, secrets: Mapping[str, str]
) -> list[Step]:
    spec, document = documents(template)
    inputs = spec["spec"]["inputs"]
    given = {name: one["default"] for name, one in inputs.items() if "default" in one} | dict(asked)
    [job] = document.values()
    known = {
        "CI_PROJECT_DIR": str(folder),
        "CI_PROJECT_PATH": "acme/robot",
        "CI_JOB_NAME": 'on "boards"',
        "CI_JOB_ID": "4711",
    }

    def fill(value: Any) -> str:
        text = value if isinstance(value, str) else value["value"]
        text = filled(text, r"\$\[\[ inputs\.(\w+) \]\]", given)
        return filled(text, r"\$([A-Z_]+)", secrets | known) if isinstance(value, str) else text

    environment = {**secrets, **known, **{name: fill(value) for name, value in job["variables"].items()}}
    after = environment | {"CI_JOB_STATUS": "canceled"}
    return [  # all parts of a script are one, for one shell
        Step("\n".join(job["script"]), environment),
        Step("\n".join(job["after_script"]), after, CANCELLED),
    ]


# Jenkins


def jenkins_asked(example: Path) -> dict[str, str]:
    [call] = re.findall(r"^\s*picluster (\w+: .+)$", example.read_text(), re.MULTILINE)
    return dict(re.findall(r"(\w+): '([^']*)'", call))


def jenkins_steps(
    template: Path, asked: Mapping[str, str], folder: Path, secrets: Mapping[str, str]
) -> list[Step]:
    told = jenkins.carried_out(template, asked, folder, secrets)
    good, cancelled = ([one for one in told[how] if one["step"] == "sh"] for how in ("good", "cancelled"))
    whens = [GOOD] * len(good) + [CANCELLED] * (len(cancelled) - len(good))
    return [Step(one["script"], one["environment"], when) for one, when in zip(cancelled, whens, strict=True)]


SYSTEMS = (
    System(
        "azure",
        CI / "azure-pipelines/run.yml",
        EXAMPLES / "azure-pipelines.yml",
        ("bash",),
        azure_asked,
        azure_steps,
        to_its_process(signal.SIGTERM),  # the task passes the agent's SIGINT on as this, to the shell alone
    ),
    System(
        "github",
        CI / "github/action.yml",
        EXAMPLES / ".github/workflows/boards.yml",
        ("bash", "--noprofile", "--norc", "-eo", "pipefail"),
        github_asked,
        github_steps,
        to_its_process(signal.SIGINT),  # to the shell alone; SIGTERM 7.5 s later
    ),
    System(
        "gitlab",
        CI / "gitlab/templates/run.yml",
        EXAMPLES / ".gitlab-ci.yml",
        ("bash", "-eo", "pipefail"),
        gitlab_asked,
        gitlab_steps,
        to_all_of_it,
    ),
    System(
        "jenkins",
        CI / "jenkins/vars/picluster.groovy",
        EXAMPLES / "Jenkinsfile",
        ("sh", "-xe"),
        jenkins_asked,
        jenkins_steps,
        to_all_of_it,
    ),
)
BY_NAME = {system.name: system for system in SYSTEMS}


def on(*names: str) -> pytest.MarkDecorator:
    """For a test of some systems, or of all."""
    chosen = names or tuple(BY_NAME)
    marks = {"jenkins": jenkins.needs_groovy}
    systems = [pytest.param(BY_NAME[name], marks=marks.get(name, ()), id=name) for name in chosen]
    return pytest.mark.parametrize("system", systems)


ALL = on()
