"""The agent as it is shipped: alone, as one file, for every Python from 3.9, and told what to do in three ways."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import trustme

import picluster
from picluster.agent import VERSION, bundle, cli, facts
from picluster.agent.counters import Counters
from picluster.agent.http1 import Address
from picluster.agent.notify import Manager
from picluster.agent.settings import Settings, Unusable, find, read_addresses, read_labels
from picluster.agent.telemetry import Reading
from picluster.agent.tree import Tree
from tests.agent.stub import ORDERS, Stub, answers, stalls
from tests.agent.trees import PI5, plant

SOURCES = sorted(Path(bundle.__file__).parent.glob("*.py"))
LEASE = {"fence": 7, "holder": "ann", "job": "", "expires_in_s": 600, "ssh_public_keys": []}
DEAR = {"picluster", "ssl", "email", "dataclasses", "pathlib", "argparse", "logging", "inspect"}
"""Modules that cost more memory than they are worth here; ssl only where it is needed."""
BARE = {"PATH": os.environ["PATH"]}


def pythons() -> list[str]:
    """Of the versions that boards have, those that are on this machine and start."""
    found = []
    for version in ("3.9", "3.10", "3.12", "3.13"):
        on_path = [shutil.which(f"python{version}")]
        others = Path.home().glob(f".pyenv/versions/{version}*/bin/python{version}")
        for one in filter(None, [*map(str, others), *on_path]):
            if subprocess.run([one, "-c", ""], capture_output=True).returncode == 0:
                found.append(one)
                break
    return [*found, sys.executable]


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("shipped") / "picluster-agent.pyz"
    file.write_bytes(bundle.archive())
    file.chmod(0o755)
    return file


# Python 3.9


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_every_file_is_python_3_9(source: Path) -> None:
    ast.parse(source.read_text(), feature_version=(3, 9))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_no_annotation_is_evaluated(source: Path) -> None:
    """Python 3.9 cannot evaluate `str | None`; postponed, it need not."""
    tree = ast.parse(source.read_text())
    annotated = any(isinstance(node, ast.arg | ast.AnnAssign | ast.FunctionDef) for node in ast.walk(tree))
    postponed = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    assert postponed or not annotated


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_nothing_that_came_with_a_later_python(source: Path) -> None:
    """What is easily written by habit; mypy and ruff know the rest for 3.10 and the syntax."""
    text = source.read_text()
    for later in (
        "slots=True",
        "kw_only=True",
        "strict=True)",
        "zip_longest(strict",
        "tomllib",
        "datetime.UTC",
    ):
        assert later not in text
    for node in ast.walk(ast.parse(text)):
        assert not isinstance(node, ast.Match)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
            assert not isinstance(node.args[1], ast.BinOp), f"{source.name}:{node.lineno}"


# The file


def test_it_has_the_version_of_the_rest() -> None:
    assert picluster.__version__ == VERSION


def test_the_same_sources_give_the_same_bytes() -> None:
    assert bundle.archive() == bundle.archive()


def test_it_has_all_of_the_agent_and_nothing_else(pyz: Path) -> None:
    names = {name.partition("/")[2] for name in zipfile.ZipFile(pyz).namelist() if "/" in name}
    assert names == {source.name for source in SOURCES} - {"bundle.py", "__main__.py"}


@pytest.mark.parametrize("python", pythons(), ids=os.path.basename)
def test_it_beats_alone(pyz: Path, tmp_path: Path, python: str) -> None:
    """With a bare Python, in an empty folder, and not one module of an installed picluster."""
    plant(tmp_path, PI5)
    with Stub(answers(body={**ORDERS, "fence": 7, "lease": LEASE})) as service:
        told = ["--url", str(service.address), "--root", str(tmp_path), "--once"]
        run = subprocess.run(
            [python, "-I", "-X", "importtime", str(pyz), *told],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**BARE, "PICLUSTER_TOKEN": "t"},
        )
        assert run.returncode == 0, run.stderr
        assert service.requests[0].body["facts"]["model"] == "pi5"
    assert "fence=7 closed=0" in (tmp_path / "var/lib/picluster/fence").read_text()
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines() if "|" in line}
    assert "picluster_agent.agent" in imported
    assert not {name.partition(".")[0] for name in imported} & DEAR


@pytest.mark.parametrize("gate", ["", "--enforce"], ids=["advisory", "enforcing"])
@pytest.mark.parametrize("python", pythons(), ids=os.path.basename)
def test_it_fits_into_twenty_megabytes_with_tls_and_a_lease(
    pyz: Path, tmp_path: Path, python: str, gate: str
) -> None:
    plant(tmp_path, PI5)
    authority = trustme.CA()
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(served)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with Stub(answers(body={**ORDERS, "fence": 7, "lease": LEASE}), stalls(), tls=served) as service:
        told = ["--url", str(service.address), "--root", str(tmp_path), "--ca-file", str(tmp_path / "ca.pem")]
        told += [gate] if gate else []
        agent = subprocess.Popen([python, str(pyz), *told], env={**BARE, "PICLUSTER_TOKEN": "t"}, stderr=-1)
        deadline = time.monotonic() + 20
        while len(service.requests) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        status = Path(f"/proc/{agent.pid}/status").read_text()
        agent.terminate()
        agent.communicate()
    assert len(service.requests) == 2 and agent.returncode == 0
    resident = int(status.partition("VmHWM:")[2].split()[0])
    print(f"{os.path.basename(python)} {gate}: {resident} KiB")
    assert resident < 20 * 1024


# Settings


def told(tmp_path: Path, config: str = "", flags: dict[str, str] | None = None, **environ: str) -> Settings:
    board = plant(tmp_path, {"etc/picluster/agent.conf": config})
    return find({"PICLUSTER_URL": "lab", **(flags or {})}, environ, board)


def test_flags_then_environment_then_the_file(tmp_path: Path) -> None:
    config = "# what install.sh wrote\nPICLUSTER_NAME='from file'\nPICLUSTER_LABELS=rack=a\nPICLUSTER_SSH_USER=pi\n"
    found = told(
        tmp_path, config, {"PICLUSTER_NAME": "flag"}, PICLUSTER_LABELS="rack=b,camera", PICLUSTER_NAME="env"
    )
    assert (found.name, found.labels, found.ssh_user) == ("flag", {"rack": "b", "camera": ""}, "pi")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("lab", ["http://lab:1337"]),
        ("lab:80/api/", ["http://lab:80"]),
        ("https://lab", ["https://lab:443"]),
        ("http://lab/pool/api/v1", ["http://lab:80/pool"]),
        (" a, https://[fd00::1]:8443 ,", ["http://a:1337", "https://[fd00::1]:8443"]),
    ],
)
def test_addresses_as_people_write_them(text: str, meant: list[str]) -> None:
    assert [str(address) for address in read_addresses(text)] == meant


def test_several_replicas() -> None:
    assert read_addresses("a,b:1") == (Address(False, "a", 1337), Address(False, "b", 1))


@pytest.mark.parametrize(
    "text", ["", ",", "ftp://x", "http://", "a b", "lab:port", "http://x\r\nHost: y", "lab:99999"]
)
def test_what_is_no_address_is_said_at_the_start(text: str) -> None:
    with pytest.raises(Unusable, match="PICLUSTER_URL"):
        read_addresses(text)


@pytest.mark.parametrize("text", ["7=x", "=x", "a b=c", ",".join(f"l{n}" for n in range(65))])
def test_what_is_no_label_is_said_at_the_start(text: str) -> None:
    with pytest.raises(Unusable, match="PICLUSTER_LABELS"):
        read_labels(text)


def test_where_the_token_is(tmp_path: Path) -> None:
    """A flag's file, the setting, its file, systemd's credential, the usual place."""
    (tmp_path / "token").write_text("credential\n")
    plant(tmp_path, {"etc/picluster/token": "usual", "own": "flag's"})
    assert told(tmp_path).read_token() == "usual"
    credentials = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert told(tmp_path, **credentials).read_token() == "credential"
    own = str(tmp_path / "own")
    assert told(tmp_path, PICLUSTER_TOKEN_FILE=own, **credentials).read_token() == "flag's"
    assert told(tmp_path, PICLUSTER_TOKEN="setting", PICLUSTER_TOKEN_FILE=own).read_token() == "setting"
    assert told(tmp_path, "", {"PICLUSTER_TOKEN_FILE": own}, PICLUSTER_TOKEN="x").read_token() == "flag's"
    (tmp_path / "own").write_bytes(b"two\r\nlines")
    assert told(tmp_path, PICLUSTER_TOKEN_FILE=own).read_token() == ""


def test_where_the_fence_is_kept(tmp_path: Path) -> None:
    assert told(tmp_path).state == str(tmp_path / "var/lib/picluster")
    assert told(tmp_path, STATE_DIRECTORY="/x").state == "/x"
    assert told(tmp_path, STATE_DIRECTORY="/x", PICLUSTER_STATE="/y").state == "/y"


def test_a_garbled_config_file_is_skipped_line_by_line(tmp_path: Path) -> None:
    found = find(
        {"PICLUSTER_URL": "lab"}, {}, plant(tmp_path, {"etc/picluster/agent.conf": b"\xff\0=\n=\nX\n"})
    )
    assert found.labels == {}


# The process


def test_unusable_settings_end_it_with_2(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["--root", str(tmp_path)], {}) == 2
    assert "PICLUSTER_URL" in capfd.readouterr().err
    assert cli.main(["--root", str(tmp_path), "--url", "x", "--ssh-port", "0"], {}) == 2


def test_help_says_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"], {}) == 0
    said = capsys.readouterr().out
    assert all(f"--{name} " in said for name in cli._SETTINGS)
    assert cli.main(["--version"], {}) == 0
    assert capsys.readouterr().out == f"{VERSION}\n"


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--url"], ["stray"]])
def test_a_wrong_command_line_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments, {}) == 2
    assert "--help" in capsys.readouterr().err


def test_systemd_hears_that_it_is_ready_and_alive_and_sigterm_ends_it(tmp_path: Path) -> None:
    """Also while a beat is held open."""
    plant(tmp_path, PI5)
    with (
        Stub(answers(body=ORDERS), lambda peer: not time.sleep(30)) as service,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        environ = {
            **BARE,
            "PICLUSTER_TOKEN": "t",
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "90000000",
            "PYTHONPATH": str(Path(picluster.__file__).parent.parent),
        }
        command = [
            sys.executable,
            "-m",
            "picluster.agent",
            "--url",
            str(service.address),
            "--root",
            str(tmp_path),
        ]
        agent = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)
        said = [manager.recv(100) for _ in range(2)]
        assert said == [b"READY=1", b"WATCHDOG=1"]
        while len(service.requests) < 2:
            time.sleep(0.01)
        began = time.monotonic()
        agent.send_signal(signal.SIGTERM)
        _, errors = agent.communicate(timeout=20)
        assert (agent.returncode, manager.recv(100)) == (0, b"STOPPING=1")
        assert time.monotonic() - began < 5
        assert errors.splitlines() == [
            f"picluster-agent {VERSION}: pi5-a, at {service.address}",
            f"beats at {service.address}",
        ]


def test_signs_of_life_go_on_through_a_long_pause(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0picluster-test-" + str(os.getpid()))
        manager.settimeout(5)
        environ = {"NOTIFY_SOCKET": f"@picluster-test-{os.getpid()}", "WATCHDOG_USEC": "20000000"}
        slept: list[float] = []
        Manager(environ).sleep(25.0, slept.append)
        assert slept == [10.0, 10.0, 5.0]
        assert [manager.recv(100) for _ in range(2)] == [b"WATCHDOG=1"] * 2


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"NOTIFY_SOCKET": "/nowhere"},
        {"NOTIFY_SOCKET": "x"},
        {"WATCHDOG_USEC": "junk"},
        {"WATCHDOG_PID": "1"},
    ],
    ids=str,
)
def test_without_a_manager_nothing_is_said(environ: dict[str, str]) -> None:
    manager = Manager(environ)
    manager.ready()
    manager.alive()
    slept: list[float] = []
    manager.sleep(300.0, slept.append)
    assert slept == [300.0]


def test_the_docs_name_every_setting_and_everything_that_is_told(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/agent.md").read_text()
    counters = Counters(tmp_path / "counters", "boot")
    counters.begin(1, 0.0, Reading())
    assert counters.open
    told = {*facts.read_facts(Tree()), *Reading().as_json(), *counters.open.as_json(), *counters.as_json()}
    settings = {f"--{name}" for name in cli._SETTINGS}
    settings |= {f"PICLUSTER_{name.upper().replace('-', '_')}" for name in cli._SETTINGS}
    assert {name for name in told | settings if f"`{name}`" not in page} == set()


def test_this_trees_root_is_the_default() -> None:
    assert Tree().root == "/"
