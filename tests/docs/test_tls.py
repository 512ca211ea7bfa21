"""The proxies of the page about HTTPS, as they stand there: what the service is called behind them; and they keep nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import trustme

from picluster import Client
from tests.docs.blocks import DOCS, blocks
from tests.ports import free_port
from tests.service import ADMIN, ServiceProcess, on_sqlite, service, until

CONFIGS = {block.kind: block.text for block in blocks(DOCS / "tls.md")}
PATH = "/usr/sbin:/usr/bin:/bin"
TEMPORARY = " ".join(f"{kind}_temp_path {kind};" for kind in "client_body proxy fastcgi uwsgi scgi".split())
AROUND = {
    "caddyfile": "{\n admin off\n auto_https disable_redirects\n}\n%s",
    "nginx": "daemon off; master_process off; pid pid; error_log stderr; events {} http { access_log off; "
    + TEMPORARY
    + " %s }",
}
"""What is elsewhere where these programs are installed, with nothing outside of a folder."""

COMMANDS = {
    "caddyfile": ["caddy", "run", "--adapter", "caddyfile", "--config", "config"],
    "nginx": ["nginx", "-p", ".", "-c", "config"],
}
SOON_S = 5.0
"""News come within milliseconds; a proxy that keeps them waits for more of them, for the whole of a minute."""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with service(
        *on_sqlite(tmp_path_factory.mktemp("pool")), PICLUSTER_TRUSTED_PROXIES="127.0.0.1"
    ) as process:
        yield process


@pytest.fixture
def papers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a certificate, whose authority is believed as the page says."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(tmp_path / "lab.key")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "lab.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return tmp_path


@contextmanager
def proxy(kind: str, papers: Path, pool: ServiceProcess) -> Iterator[str]:
    """Its address: as the page says, but for names and ports."""
    port = free_port()
    text = re.sub(r"/etc/\w+/", f"{papers}/", CONFIGS[kind]).replace(":1337", f":{pool.port}")
    text = text.replace("https://lab", f"https://localhost:{port}").replace(
        "listen 443", f"listen 127.0.0.1:{port}"
    )
    (papers / "config").write_text(AROUND[kind] % text)
    with open(papers / "said", "w") as said:
        process = subprocess.Popen(
            COMMANDS[kind], cwd=papers, stdout=said, stderr=said, env={"HOME": str(papers), "PATH": PATH}
        )
    try:
        yield f"https://localhost:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_proxy_of_the_page_passes_what_happens_when_it_does(
    kind: str, pool: ServiceProcess, papers: Path
) -> None:
    """And the service knows itself by the address that its clients know, over HTTPS."""
    if not shutil.which(COMMANDS[kind][0], path=PATH):
        pytest.skip(f"needs the Debian package {COMMANDS[kind][0]}")
    with proxy(kind, papers, pool) as address, Client(address, ADMIN) as cluster:
        until(lambda: cluster.whoami().name)
        assert address in httpx2.get(f"{address}/install.sh").text
        news = cluster.events()
        assert next(news)[0] == "hello"
        begun = time.monotonic()
        pool.old("update", f"10.0.0.{len(kind)}")
        assert next(news)[0] == "machine"
        assert time.monotonic() - begun < SOON_S
