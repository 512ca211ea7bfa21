"""What is released is all that is needed and nothing else, and it works where nothing but itself was installed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_string
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft7Validator
from referencing import Registry

from picluster import __version__
from tests.packaging.conftest import install, needs
from tests.service import GREETING, HTTP, KEY, PATIENCE_S, until
from tools import dist
from tools.sbom import SHIPPED, component
from tools.vendor import read

pytestmark = pytest.mark.xdist_group("packaging")
ROOT = dist.ROOT
HELP_MS = 200.0
"""Of CPU, as promised for `picluster --help`."""


def run(program: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """With nothing of the tests' own environment."""
    told = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environment}
    return subprocess.run([program, *words], env=told, capture_output=True, text=True, cwd="/")


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pip install pi-cluster-service` into an empty environment."""
    return install(wheel, tmp_path_factory.mktemp("base") / "venv")


def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    """Templates, vendored web files with their licences, migrations, the board's scripts, the typed marker; and no test."""
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    known = subprocess.check_output(
        ["git", "ls-files", "-co", "--exclude-standard", "src"], cwd=ROOT, text=True
    )
    assert inside == {name.removeprefix("src/") for name in known.splitlines() if (ROOT / name).exists()}
    assert "picluster/py.typed" in inside


def test_its_metadata_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = message_from_string(archive.read(f"{dist.STEM}.dist-info/METADATA").decode())
        licences = [name for name in archive.namelist() if "/licenses/" in name]
        assert "Root-Is-Purelib: true" in archive.read(f"{dist.STEM}.dist-info/WHEEL").decode()
    assert metadata["Version"] == __version__
    named = set(re.split(r" AND ", metadata["License-Expression"]))
    assert {package.licence for package in read(SHIPPED)} <= named
    assert len(licences) == 1 + len({package.folder for package in read(SHIPPED)})


def test_the_sources_are_enough_to_build_it(release: Path, wheel: Path, tmp_path: Path) -> None:
    """The wheel that comes of them is the same, to the byte."""
    with tarfile.open(release / f"{dist.STEM}.tar.gz") as sources:
        sources.extractall(tmp_path, filter="data")
    again, _ = dist.python_packages(tmp_path, tmp_path / dist.STEM)
    assert again.read_bytes() == wheel.read_bytes()


def test_the_sums_are_those_of_the_files(release: Path) -> None:
    lines = dict(reversed(line.split("  ")) for line in (release / dist.SUMS).read_text().splitlines())
    assert set(lines) == {file.name for file in release.iterdir()} - {dist.SUMS}
    for name, digest in lines.items():
        assert hashlib.sha256((release / name).read_bytes()).hexdigest() == digest


# Installed


def test_the_base_is_pure_python_and_small(wheel: Path) -> None:
    """Nothing is compiled for it, on any board or in any CI image; what it brings is known by name."""
    base = needs(wheel)
    impure = [name for name, it in base.items() if "Root-Is-Purelib: false" in (it.read_text("WHEEL") or "")]
    assert impure == []
    assert {"click", "httpx2", "platformdirs", "rich"} <= set(base) and len(base) <= 16
    assert not {"fastapi", "sqlalchemy", "asyncssh"} & set(base)


def test_the_base_installs_into_an_empty_environment_and_starts(base: Path) -> None:
    help_ = run(base / "picluster", "--help")
    assert help_.returncode == 0 and "picluster unlock" in help_.stdout
    assert run(base / "picluster", "--version").stdout.split()[-1] == __version__
    for line in ("import picluster", "from picluster import Client; Client('http://lab', 'token').close()"):
        done = run(base / "python", "-c", line)
        assert (done.returncode, done.stderr) == (0, "")
    assert run(base / "python", "-m", "picluster.agent", "--version").stdout == f"{__version__}\n"


def test_help_is_quick(base: Path) -> None:
    """The best of a few, since others are at work here."""
    run(base / "picluster", "--help")
    spent_ms = []
    for _ in range(5):
        before = os.times()
        run(base / "picluster", "--help")
        after = os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        spent_ms.append(spent * 1000)
    assert min(spent_ms) < HELP_MS


@pytest.mark.parametrize(("command", "extra"), [("serve", "server"), ("run --on pi -- true", "run")])
def test_who_needs_an_extra_is_told_which(base: Path, command: str, extra: str) -> None:
    done = run(base / "picluster", *command.split(), PICLUSTER_URL="http://127.0.0.1:9", PICLUSTER_TOKEN="x")
    assert done.returncode != 0 and f"[{extra}]" in done.stderr and "Traceback" not in done.stderr


@contextmanager
def serving(program: Path, folder: Path) -> Iterator[str]:
    """The address of a service that is started by this program; it is told to end, and ends well."""
    said = folder / "said"
    environment = {"PATH": "/usr/bin:/bin", "PICLUSTER_DATA": str(folder / "data"), "RPI_APIKEY": KEY}
    command = [program, "serve", "--host", "127.0.0.1", "--port", "0"]
    with said.open("w") as stderr:
        process = subprocess.Popen(command, env=environment, stderr=stderr, cwd="/")
    try:
        until(lambda: GREETING.search(said.read_text()) or process.poll() is not None)
        greeting = GREETING.search(said.read_text())
        assert greeting, said.read_text()
        until(lambda: HTTP.get(f"http://127.0.0.1:{greeting[1]}/readyz").status_code == 200)
        yield f"http://127.0.0.1:{greeting[1]}"
    finally:
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def test_with_the_server_extra_it_serves_pages_and_boards(wheel: Path, tmp_path: Path) -> None:
    """From the wheel alone: templates, styles, fonts, the installer, the agent, a database. (Seconds: all is compiled anew.)"""
    program = install(wheel, tmp_path / "venv", "server") / "picluster"
    with serving(program, tmp_path) as address:
        page = HTTP.get(f"{address}/", headers={"Accept": "text/html"})
        assert page.status_code == 200 and "<html" in page.text
        parts = re.findall(r'(?:href|src)="(/[^"]+\.(?:css|js|svg)[^"]*)"', page.text)
        assert len(parts) >= 3
        for path in [*parts, "/install.sh", "/api/v1/machines"]:
            assert HTTP.get(f"{address}{path}").status_code == 200, path
        assert HTTP.get(f"{address}/picluster-agent.pyz").content.startswith(b"#!")


# What it is made of


def cyclonedx() -> Draft7Validator:
    """Of version 1.5. (The library's own validator takes minutes for a document of this size.)"""
    names = [f"{name}.SNAPSHOT.schema.json" for name in ("bom-1.5", "spdx", "jsf-0.82")]
    schemas = [json.loads((files("cyclonedx") / "schema/_res" / name).read_text()) for name in names]
    addresses = [f"http://cyclonedx.org/schema/{name}" for name in names]
    return Draft7Validator(
        schemas[0], registry=Registry().with_contents(zip(addresses, schemas, strict=True))
    )


def test_the_bill_of_materials_is_one_and_complete(release: Path, wheel: Path) -> None:
    """Every distribution that an install with all extras brings here, and every package of which web files are vendored."""
    [file] = release.glob("*.cdx.json")
    bill = json.loads(file.read_text())
    assert [error.message for error in cyclonedx().iter_errors(bill)] == []
    assert list(cyclonedx().iter_errors({**bill, "components": [{"type": "book", "name": "x"}]}))
    listed = {one["purl"].partition("?")[0] for one in bill["components"]}
    needed = {f"pkg:pypi/{name}@{it.version}" for name, it in needs(wheel, "all").items()}
    web = {component(package)["purl"] for package in read(SHIPPED)}
    assert needed | web <= listed and len(web) == 6
    ours = bill["metadata"]["component"]
    assert (ours["purl"], ours["version"]) == (f"pkg:pypi/pi-cluster-service@{__version__}", __version__)
