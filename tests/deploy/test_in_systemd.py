"""The unit for real: in a booted Debian, as its user, inside its walls, with the extra `server` and nothing more."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, files
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from tests.deploy.locked import locked
from tests.docs.blocks import DOCS, blocks
from tests.joining.container import Container, missing_tools
from tests.service import HTTP, KEY, until

ROOT = Path(__file__).parents[2]
SYSTEMD = ROOT / "deploy/systemd"
THERE = (3, 11)
"""Of the container's Debian: its Python runs what this environment has."""

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.xdist_group("in systemd"),
    pytest.mark.skipif(
        bool(missing_tools()), reason=f"needs Debian packages for: {', '.join(missing_tools())}"
    ),
    pytest.mark.skipif(
        sys.version_info[:2] != THERE, reason="wheels of this environment are for another Python"
    ),
]


class Debian(Container):
    """A machine on which the service is installed as docs/hosting.md says."""

    @property
    def root(self) -> Path:
        return Path(f"/proc/{self._leader}/root")

    @property
    def url(self) -> str:
        return f"http://{self.address}:1337"

    def has_its_machine(self) -> bool:
        return b'"pi5-a"' in HTTP.get(f"{self.url}/api").content

    def install(self) -> None:
        self("python3 -m venv --without-pip /opt/picluster && mkdir -m 700 /etc/picluster")
        site = self.root / "opt/picluster/lib/python{}.{}/site-packages".format(*THERE)
        for name in locked("server"):
            _copy(name, site)
        shutil.copytree(ROOT / "src/picluster", site / "picluster")
        program = self.root / "opt/picluster/bin/picluster"
        program.write_text("#!/opt/picluster/bin/python\nfrom picluster.cli import main\n\nmain()\n")
        program.chmod(0o755)
        (self.root / "etc/picluster/environment").write_text(f"RPI_APIKEY={KEY}\n")
        shutil.copy(SYSTEMD / "picluster.sysusers", self.root / "usr/lib/sysusers.d/picluster.conf")
        shutil.copy(SYSTEMD / "picluster.service", self.root / "etc/systemd/system")
        self("systemd-sysusers && systemctl daemon-reload && systemctl start picluster")


def _copy(distribution: str, site: Path) -> None:
    """A distribution of this environment, with what is compiled of it; not those of other systems."""
    try:
        found = files(distribution) or ()
    except PackageNotFoundError:
        return
    for file in found:
        source = Path(str(file.locate()))
        if ".." in file.parts or not source.exists():
            continue
        compiled = Path(cache_from_source(str(source))) if source.suffix == ".py" else source
        for one in {source, compiled}:
            to = site / one.relative_to(source.parents[len(file.parts) - 1])
            if one.exists():
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(one, to)


@pytest.fixture(scope="module")
def debian() -> Iterator[Debian]:
    with Debian("pool") as machine:
        machine.install()
        until(lambda: HTTP.get(f"{machine.url}/readyz").status_code == 200)
        yield machine


def test_it_serves_within_its_walls(debian: Debian) -> None:
    """As a user of its own, whose file it is; passwords are hashed, locks are kept, its own processor time is known;
    restarted when it dies, and gone when it is told to stop, before systemd would kill it."""
    body = {"ApiKey": KEY, "IpAddress": "10.0.0.1", "CurrentUserName": "ann", "CurrentTaskName": "x"}
    for call in ("update", "lock"):
        HTTP.post(f"{debian.url}/api/{call}", json=body)
    code = debian("journalctl -u picluster -o cat | grep -o 'code=[^ ]*'").removeprefix("code=")
    password = "correct horse battery"
    first = {"code": code, "name": "ann", "password": password, "again": password}
    headers = {"Sec-Fetch-Site": "same-origin"}
    assert HTTP.post(f"{debian.url}/setup", data=first, headers=headers).status_code == 303
    assert debian("stat -c %U /var/lib/picluster/picluster.db") == "picluster"
    assert "\nprocess_cpu_seconds_total " in HTTP.get(f"{debian.url}/metrics").text
    debian("systemctl kill -s KILL --kill-whom=main picluster")
    until(lambda: json.loads(HTTP.get(f"{debian.url}/api").content)[0]["CurrentUserName"] == "ann")
    debian("systemctl stop picluster")
    assert debian("systemctl show -P Result picluster") == "success"


def test_the_first_service_moves_in_as_its_user(debian: Debian) -> None:
    """As docs/move-in.md says. Had root typed it, the log would say whose the files are and what gives them back."""
    (debian.root / "root/machines.json").write_text(
        json.dumps([{"IpAddress": "10.0.0.7", "HostName": "pi5-a"}])
    )
    (moving,) = (block for block in blocks(DOCS / "move-in.md") if "systemctl stop" in block.text)
    typed = " && ".join(one.command for one in moving.typed).replace("the-key-that-boards-have", KEY)
    debian(f"systemctl stop picluster && rm -rf /var/lib/picluster && cd /root && {typed}")
    until(debian.has_its_machine)
    debian("chown root /var/lib/picluster/picluster.db* && systemctl restart picluster")
    until(lambda: "belongs to root" in debian("journalctl -u picluster -o cat"))
    debian(debian("journalctl -u picluster -o cat | grep -o '`chown [^`]*`' | tail -1").strip("`"))
    until(debian.has_its_machine)
