"""The doctor finds what is usually wrong, and says how to mend it."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import picluster
from picluster.cli import doctor as module
from tests.cli.conftest import Shell, boards
from tests.client.stub import http, nowhere, stub
from tests.service import ADMIN, ServiceProcess, on_sqlite, service, until

READY = http(b"ok\n", kind="text/plain")


def found(sh: Shell, code: int, line: str = "doctor", **how: Any) -> dict[str, dict[str, str]]:
    """What was found, by what it is about; it ends with this code."""
    result = sh(f"{line} -o jsonl", **how)
    assert result.exit_code == code, result.output
    import json

    findings = [json.loads(one) for one in result.stdout.splitlines()]
    assert (code == 1) is any(one["state"] == "wrong" for one in findings)
    return {one["about"]: one for one in findings}


def test_all_is_well(sh: Shell, pool: ServiceProcess) -> None:
    boards(pool)
    newcomer = sh("token create newcomer").stdout.strip()  # who has nothing locked that could be out of reach
    result = sh("doctor", newcomer)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.count("✓") == 6
    assert set(found(sh, 0, token=newcomer)) == {
        "installation",
        "address",
        "token",
        "version",
        "clock",
        "machines",
    }
    assert sh("doctor -o csv").stdout.startswith("about,state,found,mend\n")
    assert sh("doctor -q").stdout.splitlines()[0] == "installation"


def test_no_address(sh: Shell) -> None:
    assert "No service is named" in found(sh, 1, PICLUSTER_URL="")["address"]["found"]
    assert "is no address" in found(sh, 1, PICLUSTER_URL="ftp://lab")["address"]["found"]


def test_refused(sh: Shell) -> None:
    assert "Nothing listens there" in found(sh, 1, PICLUSTER_URL=nowhere())["address"]["mend"]


@pytest.mark.parametrize("host", ["nobody.invalid", "a..b"])
def test_an_unknown_host(sh: Shell, host: str) -> None:
    assert "The name is unknown here" in found(sh, 1, PICLUSTER_URL=f"http://{host}")["address"]["mend"]


@pytest.mark.parametrize(
    "reply",
    [
        http(b"<html>nginx</html>", kind="text/html"),
        http(b"not found", "404 Not Found"),
        http(b"", "503 Service Unavailable"),
        b"220 ftp ready\r\n",
        b"",
    ],
)
def test_another_program(sh: Shell, reply: bytes) -> None:
    with stub(reply) as other:
        finding = found(sh, 1, PICLUSTER_URL=other.address)["address"]
    assert finding["state"] == "wrong" and other.address in finding["found"] and finding["mend"]


def test_tls_where_none_is_spoken(sh: Shell, pool: ServiceProcess) -> None:
    finding = found(sh, 1, PICLUSTER_URL=pool.address.replace("http:", "https:"))["address"]
    assert finding["state"] == "wrong" and "write http://" in finding["mend"]


@pytest.mark.parametrize(
    ("named", "why"), [("nowhere.pem", "No such file"), ("empty.pem", "no certificate or crl found")]
)
def test_authorities_that_cannot_be_read(sh: Shell, tmp_path: Path, named: str, why: str) -> None:
    (tmp_path / "empty.pem").touch()
    finding = found(sh, 1, PICLUSTER_URL="https://lab", SSL_CERT_FILE=str(tmp_path / named))["address"]
    assert f"{named} cannot be read" in finding["found"] and why in finding["found"]
    assert "SSL_CERT_FILE" in finding["mend"]


def test_one_of_two_addresses(sh: Shell, pool: ServiceProcess) -> None:
    """Each is looked at; what the other answers is told all the same."""
    result = sh("doctor", PICLUSTER_URL=f"{nowhere()},{pool.address}")
    assert result.exit_code == 1
    assert "Connection refused" in result.stdout and "you are admin" in result.stdout


def test_a_wrong_token(sh: Shell) -> None:
    assert found(sh, 1, token="wrong")["token"]["state"] == "wrong"
    assert "cannot be sent" in found(sh, 1, token="a\nb")["address"]["found"]


def test_no_token(sh: Shell) -> None:
    assert found(sh, 0, token="")["token"]["state"] == "hint"


def test_a_service_that_stops_answering_in_the_middle(sh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("picluster.cli.common.PATIENCE_S", 0.1)
    with stub(READY, b"") as other:
        findings = found(sh, 1, PICLUSTER_URL=other.address)
    assert findings["address"]["state"] == "ok"
    assert findings["service"]["state"] == "wrong"


@pytest.mark.parametrize(("off", "words"), [(3_600.0, "ahead of"), (-7_200.0, "behind")])
def test_a_clock_that_is_wrong(sh: Shell, monkeypatch: pytest.MonkeyPatch, off: float, words: str) -> None:
    wall = time.time
    monkeypatch.setattr("picluster.cli.doctor.time.time", lambda: wall() + off)
    finding = found(sh, 1)["clock"]
    assert finding["state"] == "wrong" and f"{words} the service" in finding["found"]


def test_another_version(sh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "__version__", "0.0.9")
    finding = found(sh, 0)["version"]
    assert finding["state"] == "hint"
    assert finding["mend"] == f"pip install pi-cluster-service=={picluster.__version__}"


def test_a_foreign_package(sh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """`picluster` on PyPI is somebody else's; installed beside ours, it overwrites files of ours."""
    both = {"picluster": ["pi-cluster-service", "picluster"]}
    monkeypatch.setattr("importlib.metadata.packages_distributions", lambda: both)
    finding = found(sh, 1)["installation"]
    assert "another package named picluster" in finding["found"]


def test_machines_that_need_somebody(
    sh: Shell, pool: ServiceProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = boards(pool)
    pool.send("PATCH", f"/api/v1/machines/{name}", {"service": "quarantined", "reason": "too hot\x1b[2J"})
    result = sh("doctor")
    assert result.exit_code == 0
    assert f"• {name}: quarantined: too hot�[2J" in result.stdout
    assert f"picluster undrain {name}" in result.stdout


def agent_beats(pool: ServiceProcess, name: str, address: str, port: int) -> None:
    token = pool.send("POST", "/api/v1/tokens", {"name": name, "kind": "agent"}).json()["token"]
    said = {"id": name, "address": address, "ssh_port": port}
    assert pool.send("POST", f"/api/v1/machines/{name}/beat", said, token).status_code == 200


def test_a_board_that_i_have_and_cannot_reach(sh: Shell, pool: ServiceProcess) -> None:
    """Locked and unreachable is worth knowing; locked and answering, too."""
    with socket.create_server(("127.0.0.2", 0)) as sshd:
        agent_beats(pool, "near", "127.0.0.2", sshd.getsockname()[1])
        agent_beats(pool, "far", "127.0.0.3", sshd.getsockname()[1])
        leases = [f"/api/v1/leases/{uuid.uuid4()}" for _ in range(2)]
        for lease, name in zip(leases, ("near", "far"), strict=True):
            assert pool.send("PUT", lease, {"selector": name}).json()["state"] == "held"
        findings = found(sh, 0)
    for lease in leases:
        pool.send("DELETE", lease)
    assert (findings["near"]["state"], findings["far"]["state"]) == ("ok", "hint")
    assert "cannot be reached" in findings["far"]["found"]


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[ServiceProcess]:
    with service(
        *on_sqlite(tmp_path),
        PICLUSTER_POLICY__LEGACY_OFFLINE_S="0.2",
        PICLUSTER_POLICY__SLACK_S="0.2",
        PICLUSTER_PULSE_S="0.1",
    ) as running:
        yield running


def test_a_pool_of_nothing_and_of_silence(empty: ServiceProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    sh = Shell(empty.address)
    assert "none has registered yet" in found(sh, 0)["machines"]["found"]
    empty.old("update", "10.0.0.1", HostName="pi-1")
    until(lambda: empty.get("/api/v1/machines/pi-1").json()["state"] == "offline")
    monkeypatch.setattr(module, "SILENT_S", 0.0)
    assert "picluster delete pi-1" in found(sh, 0)["pi-1"]["mend"]


def test_signs_that_cannot_be_shown_are_words(sh: Shell) -> None:
    with sh.start("picluster doctor", env={"PYTHONIOENCODING": "ascii", "PICLUSTER_TOKEN": ADMIN}) as process:
        out, err = process.communicate(timeout=60)
    assert out.startswith("ok installation: ")
    assert (process.returncode, err) == (0, "")
