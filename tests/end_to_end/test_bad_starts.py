"""What the service does when it cannot run as it is told: it says so in a line or two, names the setting and the
way out, ends with a code that a service manager understands, and leaves everything as it was.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import sqlite3
import ssl
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import trustme
from click.testing import CliRunner

from picluster.cli import main
from picluster.server.settings import Settings
from tests.postgres import PostgresServer
from tests.service import ADMIN, KEY, PATIENCE_S, ServiceProcess, on_sqlite, service, until
from tests.warm import nursery

USAGE = 2
CONFIG = 78
"""EX_CONFIG of sysexits.h: only a person can help."""


def refused(
    *arguments: str | Path, port: int = 0, within: tuple[str, ...] = (), **environment: str
) -> tuple[int, str]:
    """Exit code and words of a service that must not start; none of the words may be a stack trace."""
    serve = ["serve", "--host", "127.0.0.1", "--port", str(port), *map(str, arguments)]
    env = {**os.environ, "RPI_APIKEY": KEY, "PICLUSTER_ADMIN_TOKEN": ADMIN, **environment}
    if within:
        command = [*within, sys.executable, "-m", "picluster", *serve]
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    else:
        done = nursery().run(serve, env, PATIENCE_S)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr and ".py" not in done.stderr
    said = done.stderr[done.stderr.index("Error: ") :] if "Usage: " in done.stderr else done.stderr
    assert 1 <= len(said.splitlines()) <= 2, done.stderr
    return done.returncode, said


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pool with a lock in it, not served at present."""
    folder = tmp_path_factory.mktemp("pool")
    with service(*on_sqlite(folder)) as pool:
        pool.old("update", "10.0.0.1", HostName="one")
        pool.old("lock", "10.0.0.1", "ann", CurrentTaskName="nightly")
        assert pool.stop() == 0
    return folder


@pytest.fixture
def data(once: Path, tmp_path: Path) -> Path:
    """A copy of it for each test."""
    shutil.copytree(once, tmp_path / "data")
    return tmp_path / "data"


def content(data: Path) -> bytes:
    return (data / "picluster.db").read_bytes()


# The address


def test_a_port_in_use_is_named(data: Path) -> None:
    before = content(data)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, said = refused("--data", data, port=port)
    assert code == 1
    assert f"127.0.0.1:{port}" in said and "in use" in said and "--port" in said
    assert content(data) == before


def test_an_address_of_another_machine_is_named(tmp_path: Path) -> None:
    code, said = refused("--host", "203.0.113.7", "--data", tmp_path / "data")
    assert code == 1
    assert "203.0.113.7" in said and "--host" in said
    assert not (tmp_path / "data").exists()


# The folder and the file in it


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    code, said = refused("--data", tmp_path / "file")
    assert code == 1
    assert str(tmp_path / "file") in said and "--data" in said
    assert (tmp_path / "file").read_text() == "mine"


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.needs_root
@pytest.mark.parametrize("below", ["", "data"])
def test_a_folder_that_cannot_be_written_is_named(read_only: Path, below: str) -> None:
    code, said = refused("--data", read_only / below)
    assert code == 1
    assert str(read_only / below) in said and "Read-only file system" in said and "--data" in said


@pytest.mark.needs_root
@pytest.mark.parametrize(
    ("mode", "ends_with", "words", "way_out"),
    [(0o755, 1, "it belongs to nobody", "sudo -u nobody"), (0o700, USAGE, "is not readable", "--data")],
)
def test_a_folder_of_another_user_is_named(
    data: Path, mode: int, ends_with: int, words: str, way_out: str
) -> None:
    """As when it was started once as root and then as the service's own user: here as a root that may no more."""
    before = content(data)
    for path in (data, *data.iterdir()):
        os.chown(path, 65_534, 65_534)
    data.chmod(mode)
    code, said = refused("--data", data, within=("setpriv", "--bounding-set=-all", "--inh-caps=-all"))
    assert code == ends_with
    assert str(data) in said and words in said and way_out in said
    assert content(data) == before


def test_a_second_service_on_one_file_is_told_of_the_first(tmp_path: Path) -> None:
    with service(*on_sqlite(tmp_path)) as first:
        code, said = refused("--data", tmp_path)
        assert code == 1
        assert f"pid {first.process.pid}" in said and "PostgreSQL" in said
        assert first.old("update", "10.0.0.1")["IpAddress"] == "10.0.0.1"


@pytest.mark.parametrize(
    "change",
    ["UPDATE pool SET rules_version = 999", "UPDATE alembic_version SET version_num = 'r9999'"],
)
def test_a_database_of_a_newer_version_is_left_to_it(data: Path, change: str) -> None:
    with sqlite3.connect(data / "picluster.db") as shell:
        shell.execute(change)
    before = list(shell.iterdump())
    code, said = refused("--data", data)
    assert code == 1
    assert "newer version" in said and "Upgrade" in said
    assert list(shell.iterdump()) == before
    shell.close()


@pytest.mark.parametrize("damage", ["the beginning", "the middle", "cut in two"])
def test_a_damaged_file_is_not_served_and_can_be_repaired(data: Path, damage: str) -> None:
    path = data / "picluster.db"
    content = path.read_bytes()
    middle = 4096 * (len(content) // 4096 // 2)
    spoilt = {
        "the beginning": b"\xa5" * 8192 + content[8192:],
        "the middle": content[:middle] + b"\xa5" * 8192 + content[middle + 8192 :],
        "cut in two": content[:middle],
    }[damage]
    path.write_bytes(spoilt)
    code, said = refused("--data", data)
    assert code == CONFIG
    assert f"{path} is damaged" in said
    assert "picluster restore" in said and f'sqlite3 {path} ".recover"' in said
    assert path.read_bytes() == spoilt


@pytest.mark.needs_root
def test_a_network_file_system_is_refused(tmp_path: Path) -> None:
    """The mount table that the service reads says that its folder comes from elsewhere."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"27 1 0:50 / {tmp_path} rw - nfs4 files:/export rw\n")
    pretend = f'mount --bind {mounts} /proc/$$/mountinfo && exec "$@"'
    code, said = refused(
        "--data", tmp_path / "data", within=("unshare", "--mount", "sh", "-c", pretend, "sh")
    )
    assert code == 1
    assert "nfs4" in said and "--data" in said and "--url" in said
    assert not (tmp_path / "data").exists()


# Settings


def test_settings_that_make_no_sense_are_all_named(data: Path) -> None:
    before = content(data)
    wrong = {
        "PICLUSTER_QUOTA": "-3",
        "PICLUSTER_BEAT_S": "inf",
        "PICLUSTER_PULSE_S": "0",
        "PICLUSTER_LEGACY_TTL_S": "5",
        "PICLUSTER_PUBLIC_LIST": "perhaps",
        "PICLUSTER_LOG_LEVEL": "loud",
        "PICLUSTER_POLICY__OFFLINE_S": "soon",
        "PICLUSTER_POLICY__CLEAN_FAILURES": "1.5",
    }
    code, said = refused("--data", data, **wrong)
    assert code == USAGE
    assert [name for name in wrong if f"{name}: " not in said] == []
    assert content(data) == before


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("PICLUSTER_POLICY", "{oops", "PICLUSTER_POLICY: is not JSON"),
        ("PICLUSTER_POLICY", "[1]", "PICLUSTER_POLICY: "),
        ("PICLUSTER_POLICY", '{"ofline_s": 9}', "has no ofline_s; it has .*offline_s"),
        ("PICLUSTER_POLICY__OFLINE_S", "9", "has no ofline_s; it has .*offline_s"),
        ("PICLUSTER_POLICY__OFFLINE_S", "-1", "offline_s must be a number, 0 or more"),
        ("PICLUSTER_POLICY__OFFLINE_S", "nan", "offline_s must be a number"),
        ("PICLUSTER_POLICY__DEAD_MACHINE_S", "inf", "dead_machine_s must be a number"),
        ("PICLUSTER_POLICY__SLACK_S", "0", "slack_s must be a number, above 0"),
        ("PICLUSTER_PUBLIC_LISTS", "false", "LISTS is not a setting; PICLUSTER_PUBLIC_LIST is"),
        ("PICLUSTER_APIKEY", "secret", "PICLUSTER_APIKEY is not a setting; PICLUSTER_API_KEY is"),
        ("PORT", "first", "Error: PORT: "),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    """As it was typed, since the operator will look for that."""
    monkeypatch.setenv(variable, value)
    done = CliRunner().invoke(main, ["serve", "--data", "/dev/null/nowhere"])
    assert done.exit_code == USAGE
    assert re.search(words, done.output), done.output


def test_a_policy_that_is_no_json_is_no_stack_trace() -> None:
    code, said = refused(PICLUSTER_POLICY="{oops")
    assert code == USAGE
    assert "PICLUSTER_POLICY" in said and "PICLUSTER_POLICY__OFFLINE_S=90" in said


def test_variables_of_the_command_line_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever serves and uses a pool from one shell has both kinds set."""
    for name in ("URL", "TOKEN", "USER", "TEST_PG_BIN"):
        monkeypatch.setenv(f"PICLUSTER_{name}", "http://elsewhere:1337")
    assert Settings.load({}).url == ""


@pytest.mark.parametrize(
    ("token", "way_out"), [("short", "openssl rand"), ("another-admin-token-0123456789", "unset it")]
)
def test_an_admin_token_that_cannot_be_is_refused(data: Path, token: str, way_out: str) -> None:
    code, said = refused("--data", data, PICLUSTER_ADMIN_TOKEN=token)
    assert code == USAGE
    assert "PICLUSTER_ADMIN_TOKEN" in said and way_out in said


def test_after_a_refused_start_everything_is_there(data: Path) -> None:
    """The last one came furthest: it had opened the database and taken a turn."""
    refused("--data", data, PICLUSTER_ADMIN_TOKEN="another-admin-token-0123456789")
    with service(*on_sqlite(data)) as pool:
        shown = pool.get("/api").json()
    assert [(one["CurrentUserName"], one["CurrentTaskName"]) for one in shown] == [("ann", "nightly")]


# PostgreSQL


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://ann:hidden@no-such-host.invalid/pool", "resolve"),
        ("postgresql://ann:hidden@127.0.0.1:1/pool", "refused"),
    ],
)
def test_a_database_server_that_is_not_there_is_said(url: str, words: str) -> None:
    code, said = refused("--url", url)
    assert code == 1
    assert words in said and "--url" in said and "PICLUSTER_DATABASE_URL" in said
    assert "hidden" not in said


def test_a_wrong_password_is_said_and_not_shown(postgres_server: PostgresServer) -> None:
    url = re.sub(r":[0-9a-f]+@", ":hidden@", postgres_server.url())
    code, said = refused("--url", url)
    assert code == 1
    assert "password" in said and "--url" in said
    assert "hidden" not in said


@pytest.mark.parametrize("url", ["mysql://ann:hidden@db/pool", "postgresql://ann:hidden%zz@db/pool", "pool"])
def test_an_url_that_makes_no_sense_is_not_repeated(url: str) -> None:
    """libpq would quote the part that it stumbles over, which may be the password."""
    code, said = refused(PICLUSTER_DATABASE_URL=url)
    assert code == 1
    assert "--url" in said and "postgresql://" in said
    assert "hidden" not in said


# TLS


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates `one.pem` and `other.pem` with their keys, the authority's `ca.pem`, and what is none of these."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("one", "other"):
        issued = authority.issue_cert("127.0.0.1", "localhost")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        for number, part in enumerate(issued.cert_chain_pems):
            part.write_to_path(folder / f"{name}.pem", append=number > 0)
    trustme.CA().cert_pem.write_to_path(folder / "stranger.pem")
    (folder / "garbage").write_text("-----BEGIN NONSENSE-----\n")
    lock = ["openssl", "pkey", "-aes256", "-passout", "pass:hidden"]
    subprocess.run([*lock, "-in", folder / "one.key", "-out", folder / "locked.key"], check=True)
    return folder


@pytest.mark.parametrize(
    ("cert", "key", "words"),
    [
        ("one.pem", None, "without a --tls-key"),
        (None, "one.key", "--tls-key is set, and --tls-cert is not"),
        ("one.pem", "other.key", "the key belongs to another certificate"),
        ("garbage", "one.key", "PEM"),
        ("one.pem", "garbage", "PEM"),
        ("one.pem", "locked.key", "passphrase"),
        ("nowhere.pem", "one.key", "No such file"),
    ],
)
def test_a_certificate_that_cannot_be_served_is_said(
    data: Path, papers: Path, cert: str | None, key: str | None, words: str
) -> None:
    """By the environment, where no flag's own check comes first."""
    set_to = {"PICLUSTER_TLS_CERT": cert, "PICLUSTER_TLS_KEY": key}
    before = content(data)
    code, said = refused(
        "--data", data, **{name: str(papers / file) for name, file in set_to.items() if file}
    )
    assert code == USAGE
    assert words in said and "--tls-cert" in said and "--tls-key" in said
    assert content(data) == before


class TlsProcess(ServiceProcess):
    """A service that is asked over TLS, and believed only if it shows a certificate of this authority."""

    def __init__(self, papers: Path, data: Path) -> None:
        self.trusted = ssl.create_default_context(cafile=papers / "ca.pem")
        keys = ("--tls-cert", papers / "one.pem", "--tls-key", papers / "one.key")
        super().__init__(*on_sqlite(data), *map(str, keys))

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def get(self, path: str, token: str = ADMIN) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx2.get(self.address + path, headers=headers, verify=self.trusted, timeout=PATIENCE_S)


def test_over_tls_it_is_who_it_says(tmp_path: Path, papers: Path) -> None:
    pool = TlsProcess(papers, tmp_path)
    try:
        assert f"picluster serves https://localhost:{pool.port}" in pool.said()
        assert pool.get("/api/v1/whoami").json()["name"] == "admin"
        strangers = ssl.create_default_context(cafile=papers / "stranger.pem")
        with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx2.get(f"{pool.address}/healthz", verify=strangers)
        with pytest.raises(httpx2.TransportError):
            httpx2.get(f"http://127.0.0.1:{pool.port}/healthz")
        assert pool.stop() == 0
    finally:
        pool.end()


# A full disk, while it serves


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MiB, of which the service keeps back 4."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> None:
    """Leave no room for another byte."""
    with path.open("ab", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            pass


def ask(pool: ServiceProcess, lease: str, selector: str, job: str = "") -> httpx2.Response:
    return pool.send("PUT", f"/api/v1/leases/{lease}", {"selector": selector, "job": job})


@pytest.mark.needs_root
@pytest.mark.parametrize("restarted", [False, True])
def test_on_a_full_disk_machines_come_back_and_none_is_given(small_disk: Path, restarted: bool) -> None:
    """Renewals, releases and beats go on from the space that was kept back; whoever asks is told to come again;
    and with room it all goes on, without a restart. A restart in between changes nothing of this."""
    mine, refused_one, ballast = str(uuid.uuid4()), str(uuid.uuid4()), small_disk / "somebody-else"
    with service(*on_sqlite(small_disk / "data"), PICLUSTER_PULSE_S="0.5") as pool:
        for number in range(1, 5):
            pool.old("update", f"10.0.0.{number}", HostName=f"board-{number}")
        pool.send("PATCH", "/api/v1/machines/board-4", {"service": "drained", "reason": "fan"})
        assert ask(pool, mine, "board-1").json()["state"] == "held"
        assert pool.old("lock", "10.0.0.2", "ann")["Command"] == "Lock"

        fill(ballast)
        if restarted:
            pool.kill()
            fill(ballast)
            pool.start()
        until(lambda: ask(pool, str(uuid.uuid4()), "board-4", "x" * 8000).status_code == 503)
        for answer in (ask(pool, refused_one, "board-3"), lock(pool, "10.0.0.3")):
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "disk_full"
            assert int(answer.headers["Retry-After"]) >= 1
        for _ in range(50):
            assert pool.send("POST", f"/api/v1/leases/{mine}/renew").json()["state"] == "held"
            assert pool.old("update", "10.0.0.3", HostName="board-3")["IsAlive"]
        assert pool.get("/readyz").status_code == 200
        assert pool.send("DELETE", f"/api/v1/leases/{mine}").json()["ended"] == "released"
        assert pool.old("free", "10.0.0.2", "ann")["Command"] == "Free"
        assert ask(pool, str(uuid.uuid4()), "board-3").status_code == 503

        ballast.unlink()
        until(lambda: ask(pool, refused_one, "board-3").status_code == 200)
        assert pool.old("lock", "10.0.0.1", "ben")["CurrentUserName"] == "ben"
        pool.kill()
        pool.start()
        shown = {one["IpAddress"]: one["CurrentUserName"] for one in pool.get("/api").json()}
        assert shown == {"10.0.0.1": "ben", "10.0.0.2": "", "10.0.0.3": "admin", "10.0.0.4": "drained"}


def lock(pool: ServiceProcess, address: str) -> httpx2.Response:
    body = {"ApiKey": KEY, "IpAddress": address, "CurrentUserName": "ann"}
    return httpx2.post(f"{pool.address}/api/lock", json=body, timeout=PATIENCE_S)
