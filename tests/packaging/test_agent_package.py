"""The agent's package for Debian: what is in it, and a board that is installed, joined, upgraded and purged with it."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from picluster import __version__, joining
from picluster.agent import bundle
from tests.joining.conftest import join_token, needs, pool
from tests.joining.container import TOOLS, Container
from tests.service import ServiceProcess
from tools import deb

__all__ = ["pool"]

pytestmark = [pytest.mark.xdist_group("packaging"), needs("dpkg-deb")]
UNIT = "picluster-agent.service"


@pytest.fixture(scope="session")
def package(release: Path) -> Path:
    [found] = release.glob("*.deb")
    return found


@pytest.fixture(scope="module")
def tree(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is in it, and its control files in DEBIAN."""
    folder = tmp_path_factory.mktemp("tree") / "unpacked"
    subprocess.run(["dpkg-deb", "--raw-extract", package, folder], check=True)
    return folder


# What is in it


def test_it_says_what_it_is(package: Path) -> None:
    shown = subprocess.check_output(["dpkg-deb", "--field", package], text=True)
    assert f"Version: {__version__}\n" in shown and "Architecture: all\n" in shown
    assert "python3 (>= 3.9)" in shown
    owners = subprocess.check_output(["dpkg-deb", "--contents", package], text=True).splitlines()
    assert {line.split()[1] for line in owners} == {"root/root"}


@pytest.mark.parametrize(
    ("ours", "debians"), [("1.2.3", "1.2.3"), ("1.2.3rc1", "1.2.3~rc1"), ("1.2.3.dev4", "1.2.3~dev4")]
)
def test_what_comes_before_a_release_sorts_before_it(ours: str, debians: str) -> None:
    assert deb.debian_version(ours) == debians
    later = subprocess.run(["dpkg", "--compare-versions", debians, "le", "1.2.3"])
    assert later.returncode == 0


def test_the_agent_and_its_unit_are_those_that_the_service_hands_out(tree: Path) -> None:
    """But for where they lie."""
    assert (tree / deb.PYZ).read_bytes() == bundle.archive()
    unit = (tree / "usr/lib/systemd/system" / UNIT).read_text()
    assert unit.replace(f"/{deb.PYZ}", "/usr/local/lib/picluster/picluster-agent.pyz") == joining.text(UNIT)


def test_people_keep_what_they_wrote_into_the_settings(tree: Path) -> None:
    """It is a configuration file to dpkg, and says nothing until somebody does."""
    assert (tree / "DEBIAN/conffiles").read_text() == f"/{deb.CONFFILE}\n"
    assert all(line.startswith("#") for line in (tree / deb.CONFFILE).read_text().splitlines())


def test_its_sums_are_right(tree: Path) -> None:
    checked = subprocess.run(
        ["md5sum", "--check", "--quiet", "DEBIAN/md5sums"], cwd=tree, capture_output=True, text=True
    )
    assert (checked.returncode, checked.stdout) == (0, "")
    summed = set(re.findall(r"^\w+  (.+)$", (tree / "DEBIAN/md5sums").read_text(), re.MULTILINE))
    files = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
    assert summed == {name for name in files if not name.startswith("DEBIAN/")} - {deb.CONFFILE}


@pytest.mark.parametrize(
    "script", ["DEBIAN/postinst", "DEBIAN/prerm", "DEBIAN/postrm", "usr/bin/picluster-agent"]
)
def test_its_scripts_are_clean(tree: Path, script: str) -> None:
    found = subprocess.run(
        [Path(sys.executable).with_name("shellcheck"), tree / script], capture_output=True, text=True
    )
    assert found.stdout == "" and (tree / script).stat().st_mode & 0o777 == 0o755


# On a board


class Board(Container):
    """One that has the package's file, and nothing of it installed."""

    def __init__(self, pool: ServiceProcess, package: Path) -> None:
        super().__init__("pi5-deb")
        self.pool, self.package = pool, package

    def install(self) -> str:
        """As people do; what it said."""
        content = base64.b64encode(self.package.read_bytes()).decode()
        self(f"echo {content} | base64 -d >/root/agent.deb")
        return self("DEBIAN_FRONTEND=noninteractive dpkg -i /root/agent.deb 2>&1")

    def is_free(self) -> bool:
        machine: dict[str, Any] = self.pool.get(f"/api/v1/machines/{self.host_name}").json()
        return machine.get("state") == "free"

    @property
    def agent(self) -> str:
        """Its process; 0 for none."""
        return self(f"systemctl show -p MainPID --value {UNIT}")

    def left(self) -> str:
        """What there is of picluster, but for the logs of the system."""
        return self("find /etc /usr /var/lib /run -xdev -iname '*picluster*' ! -path '/run/systemd/*' | sort")


@pytest.mark.needs_root
@needs(*TOOLS)
def test_a_board_is_installed_joined_upgraded_and_purged(pool: ServiceProcess, package: Path) -> None:
    """It says how it joins; what the board is in the pool outlives an upgrade and a removal, and a purge leaves nothing.

    One story, since a system has to boot for it.
    """
    with Board(pool, package) as board:
        said = board.install()
        assert "sudo picluster-agent --url https://lab --join pc_join_" in said
        assert (board.agent, board(f"systemctl is-enabled {UNIT}")) == ("0", "enabled")

        board(f"picluster-agent --url http://{board.gateway}:{pool.port} --join {join_token(pool)}")
        board(f"systemctl start {UNIT}")
        board.until(board.is_free)
        before, settings = board.agent, board("cat /etc/picluster/agent.conf")
        assert "PICLUSTER_URL=http://" in settings and settings.startswith("# What the agent")

        assert "join" not in board.install()
        assert board.agent not in ("0", before)
        assert board("cat /etc/picluster/agent.conf") == settings

        board("dpkg -r picluster-agent")
        assert board.agent == "0" and "/etc/picluster\n" in board.left() and "/usr" not in board.left()
        board("dpkg -P picluster-agent")
        assert board.left() == ""
