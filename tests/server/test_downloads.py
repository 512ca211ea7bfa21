"""What boards download to join. It runs there as root, so nothing that a stranger says may come into it."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from picluster import joining
from picluster.agent import bundle
from tests.service import HTTP, ServiceProcess, on_sqlite, service


@pytest.fixture(scope="module")
def digest() -> str:
    return hashlib.sha256(bundle.archive()).hexdigest()


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, digest: str) -> Iterator[ServiceProcess]:
    """Behind a proxy on this machine, whose word about the scheme is believed."""
    folder = tmp_path_factory.mktemp("pool")
    with service(*on_sqlite(folder), PICLUSTER_TRUSTED_PROXIES="127.0.0.1") as running:
        yield running


def script(pool: ServiceProcess, **headers: str) -> str:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = HTTP.get(f"{pool.address}/install.sh", headers=sent)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/x-shellscript")
    return answer.text


def test_the_script_knows_where_it_is_from(pool: ServiceProcess, digest: str) -> None:
    """Nobody has to log in for it: it has no secret, and a new board could not."""
    assert script(pool) == joining.install_script(pool.address, digest)
    assert f"served_url='{pool.address}'" in script(pool)


def test_behind_a_proxy_it_is_from_where_people_see_the_proxy(pool: ServiceProcess) -> None:
    told = script(pool, Host="lab.example", X_Forwarded_Proto="https", X_Forwarded_For="10.0.0.9")
    assert "served_url='https://lab.example'" in told


def test_a_stranger_does_not_say_what_the_scheme_is(tmp_path: Path) -> None:
    with service(*on_sqlite(tmp_path)) as alone:
        told = script(alone, Host="lab.example", X_Forwarded_Proto="https")
        assert "served_url='http://lab.example'" in told


@pytest.mark.parametrize(
    "host",
    [
        "lab';reboot;'",
        "lab$(reboot)",
        "`reboot`",
        "lab/x",
        "lab x",
        "a@lab",
        "lab:x",
        "[::1",
        "-lab",
        "",
        "lab:123456",
    ],
)
def test_no_name_of_this_service_becomes_a_command(pool: ServiceProcess, host: str) -> None:
    """What is not plainly a host is left out, and the script asks for --url."""
    assert script(pool, Host=host) == joining.install_script()


@pytest.mark.parametrize("host", ["lab", "lab.example:8443", "10.0.0.1", "[fd00::1]:1337", "LAB", "my_lab-2"])
def test_whatever_is_plainly_a_host_is_kept(pool: ServiceProcess, host: str) -> None:
    assert f"served_url='http://{host}'" in script(pool, Host=host)


def test_the_agent_is_what_the_script_expects(pool: ServiceProcess, digest: str) -> None:
    """The same bytes from each replica of a version, and a digest in the script that fits them."""
    answer = HTTP.get(f"{pool.address}/picluster-agent.pyz")
    assert hashlib.sha256(answer.content).hexdigest() == digest
    assert f"served_sha256='{digest}'" in script(pool)
    assert "picluster_agent/join.py" in zipfile.ZipFile(io.BytesIO(answer.content)).namelist()


def test_the_agent_is_not_sent_twice(pool: ServiceProcess) -> None:
    known = HTTP.get(f"{pool.address}/picluster-agent.pyz").headers["etag"]
    again = HTTP.get(f"{pool.address}/picluster-agent.pyz", headers={"If-None-Match": known})
    assert (again.status_code, again.content) == (304, b"")


def test_neither_is_part_of_the_api(pool: ServiceProcess) -> None:
    paths = pool.get("/openapi.json").json()["paths"]
    assert not {"/install.sh", "/picluster-agent.pyz"} & set(paths)
