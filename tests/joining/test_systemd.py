"""The installer on a board with real systemd, against a real service: what people do there, and what is left after."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from picluster import joining
from picluster.joining import Invitation
from tests.joining.conftest import join_token, needs
from tests.joining.container import TOOLS, Container
from tests.service import HTTP, ServiceProcess, on_sqlite

LISTING = (
    "find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /var/log -o -path /run/systemd"
    " -o -path /run/log -o -path /var/lib/systemd -o -path /run/user \\) -prune -o -print | sort"
)
"""Every file of the board, but for what systemd itself writes all the time."""
numbers = itertools.count(1)

pytestmark = [
    pytest.mark.needs_root,
    needs(*TOOLS),
    pytest.mark.timeout(300),  # the first time, the system is downloaded
]


class Board(Container):
    """A board and its pool."""

    def __init__(self, pool: ServiceProcess) -> None:
        super().__init__(f"pi5-{next(numbers)}")
        self.pool = pool
        self.url = f"http://{self.gateway}:{pool.port}"

    def install(self, *options: str, code: int = 0, fresh: bool = True, insecure: bool = True) -> str:
        """As people type it; all that it printed."""
        token = ["--token", join_token(self.pool)] if fresh else []
        words = [*token, *(["--insecure"] if insecure else []), *options]
        done = self.run(f"curl -fsSL {self.url}/install.sh | sh -s -- {' '.join(words)}")
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def machine(self) -> dict[str, Any]:
        return dict(self.pool.get(f"/api/v1/machines/{self.host_name}").json())

    @property
    def agent(self) -> int:
        return int(self("systemctl show -p MainPID --value picluster-agent"))

    def beats(self) -> bool:
        return self.machine.get("state") == "free"


@pytest.fixture
def board(pool: ServiceProcess) -> Iterator[Board]:
    with Board(pool) as plugged_in:
        yield plugged_in


# One line


def test_one_line_on_a_board_and_it_is_in_the_pool(board: Board) -> None:
    """It says what it will do, does it, and the board is there, free, under its name, with its labels."""
    said = board.install("--labels", "rack=b,camera")
    plan, _, done = said.partition("==> ")
    assert plan.count("\n  - ") == 4 and "Done." in done
    board.until(board.beats)
    machine = board.machine
    assert (machine["address"], machine["mode"]) == (board.address, "advisory")
    assert machine["labels"]["rack"] == "b" and "camera" in machine["labels"]
    assert {key.split()[0] for key in machine["host_keys"]} >= {"ssh-ed25519"}
    assert board("stat -c %a /etc/picluster/token /etc/picluster/agent.conf").split() == ["600", "644"]
    assert board("systemctl is-enabled picluster-agent") == "enabled"


def test_the_sandbox_hides_nothing_that_the_agent_reads(board: Board) -> None:
    """Facts and telemetry of the sandboxed agent are what one without walls reads as root."""
    board("touch /dev/i2c-1 /dev/spidev0.0 && mkdir -p /boot/firmware && touch /boot/firmware/nounlock")
    board.install()
    board.until(board.beats)
    script = (
        "import sys, json; sys.path.insert(0, '/usr/local/lib/picluster/picluster-agent.pyz');"
        "from picluster_agent import facts, labels, telemetry; from picluster_agent.tree import Tree; t = Tree();"
        "print(json.dumps([facts.read_facts(t), labels.found_labels(t), telemetry.read(t).as_json()]))"
    )
    board("systemctl restart picluster-agent")
    board.until(lambda: board.machine["facts"].get("nounlock"))
    facts, labels, telemetry = json.loads(board(f'python3 -c "{script}"'))
    machine = board.machine
    assert {key: value for key, value in facts.items() if key != "disk"} == {
        key: machine["facts"].get(key) for key in facts if key != "disk"
    }
    assert labels.keys() == {"i2c", "spi"} and labels.keys() <= machine["labels"].keys()
    blind = {key for key, value in telemetry.items() if value is None}
    assert {key for key in telemetry if machine["telemetry"].get(key) is None} == blind


def test_people_at_the_board_are_told_who_has_it(board: Board) -> None:
    board.install()
    board.until(board.beats)
    lease = f"/api/v1/leases/{uuid.uuid4()}"
    board.pool.send("PUT", lease, {"selector": f"name:{board.host_name}", "job": "nightly", "ttl_s": None})
    board.until(lambda: "for nightly" in board("cat /run/motd.d/* 2>/dev/null", check=False))
    board.pool.send("DELETE", lease)
    board.until(lambda: not board("cat /run/motd.d/* 2>/dev/null", check=False))
    board("systemctl stop picluster-agent")
    assert board("ls /run/motd.d") == ""


# Again


def test_run_again_nothing_changes(board: Board) -> None:
    """Not even the agent's process: a lease that is on the board notices nothing. And no join token is needed."""
    board.install("--labels", "rack=b")
    board.until(board.beats)
    before = (board.agent, board("cat /etc/picluster/token"), board(LISTING))
    said = board.install(fresh=False)
    assert "nothing has changed" in said and "go on with the token" in said
    assert (board.agent, board("cat /etc/picluster/token"), board(LISTING)) == before
    assert board.machine["labels"]["rack"] == "b"


def test_run_again_updates(board: Board) -> None:
    board.install()
    board.until(board.beats)
    before = board.agent
    board("echo >>/usr/local/lib/picluster/picluster-agent.pyz")
    board.install("--labels", "rack=c", fresh=False)
    assert board.agent != before
    board.until(lambda: board.machine["labels"].get("rack") == "c")


def test_a_board_that_was_deleted_needs_a_new_token(board: Board) -> None:
    """And gets in again with one. Until then it stays out, and says what to do."""
    board.install()
    board.until(board.beats)
    board("systemctl stop picluster-agent")
    board.pool.send("DELETE", f"/api/v1/machines/{board.host_name}")
    for token in board.pool.get("/api/v1/tokens").json():
        if token["kind"] == "agent" and token["name"] == board.host_name:
            board.pool.send("DELETE", f"/api/v1/tokens/{token['id']}")
    assert "join token is empty" in board.install(code=4, fresh=False)
    board.install()
    board.until(board.beats)


# systemd


def test_an_agent_that_is_killed_comes_back(board: Board) -> None:
    board.install()
    before = board.agent
    board(f"kill -KILL {before}")
    board.until(lambda: board.agent not in (0, before))
    board.until(board.beats)


def test_an_agent_that_hangs_is_started_anew(board: Board) -> None:
    """With a watchdog of 2 s, so that nobody waits; by itself it is 3 minutes."""
    board.install()
    board("mkdir -p /run/systemd/system/picluster-agent.service.d")
    haste = "/run/systemd/system/picluster-agent.service.d/haste.conf"
    board(f"printf '[Service]\\nWatchdogSec=4\\nRestartSec=0\\n' >{haste}; systemctl daemon-reload")
    board("systemctl restart picluster-agent")
    before = board.agent
    board(f"kill -STOP {before}")
    board.until(lambda: board.agent not in (0, before))
    assert "Watchdog timeout" in board("journalctl -u picluster-agent --no-pager")


def test_a_board_boots_without_its_service(board: Board, pool: ServiceProcess) -> None:
    """And is there when the service is."""
    board.install()
    board.until(board.beats)
    pool.kill()
    board("systemctl restart picluster-agent")
    assert board("systemctl is-active picluster-agent") == "active"
    pool.start()
    board.until(board.beats)


# What is refused


def test_a_token_that_is_refused_leaves_no_agent_running(board: Board) -> None:
    said = board.install("--token", "pc_join_1_wrong", code=4, fresh=False)
    assert "answers 401" in said
    assert board.run("systemctl cat picluster-agent").returncode != 0
    assert not board("ls /etc/picluster 2>/dev/null", check=False)


def test_a_service_that_is_away_is_said_so(board: Board) -> None:
    """With the exit code by which an SD card's script knows that it may try again."""
    assert "refused" in board.install("--url", f"http://{board.gateway}:1", code=6)
    assert board("find / -xdev -name '*picluster*' 2>/dev/null", check=False) == ""


def test_only_root_installs(board: Board) -> None:
    script = f"curl -fsSL {board.url}/install.sh | setpriv --reuid=65534 sh -s -- --insecure --token x"
    said = board.run(script)
    assert said.returncode == 1 and "put sudo before sh" in said.stderr


def test_an_own_authority_is_believed_when_it_is_named(board: Board, tmp_path: Path) -> None:
    """Over TLS nothing else has to be said; without the authority, nothing comes onto the board."""
    authority = trustme.CA()
    certificate = authority.issue_cert(board.gateway)
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "pem")
    tls = ("--tls-cert", str(tmp_path / "pem"), "--tls-key", str(tmp_path / "pem"))
    with TlsService(*on_sqlite(tmp_path), "--host", "0.0.0.0", *tls) as pool:
        board.pool, board.url = pool, f"https://{board.gateway}:{pool.port}"
        board("cat >/root/install.sh <<'X'\n" + HTTP.get(f"{pool.address}/install.sh").text + "\nX")
        board("cat >/root/ca.pem <<'X'\n" + authority.cert_pem.bytes().decode() + "\nX")
        install = f"sh /root/install.sh --url {board.url} --token {join_token(pool)}"
        refused = board.run(install)
        assert refused.returncode == 6 and "CERTIFICATE_VERIFY_FAILED" in refused.stderr
        assert board.run("test -e /usr/local/lib/picluster").returncode
        board(f"cd /root && {install} --ca-file ca.pem && rm ca.pem")
        board.until(board.beats)
        assert "nothing has changed" in board(f"sh /root/install.sh --url {board.url}")


class TlsService(ServiceProcess):
    """Over https."""

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def __enter__(self) -> TlsService:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


# Cards


@pytest.mark.parametrize("form", ["bookworm", "trixie"])
def test_a_card_joins_when_there_is_a_service_at_last(board: Board, pool: ServiceProcess, form: str) -> None:
    """The first boot tries until it works, and then nothing of it is left but a board in the pool."""
    to = Invitation(board.url, join_token(pool), labels="rack=b")
    card = joining.firstrun(to) if form == "bookworm" else _as_cloud_init_writes(to)
    pool.kill()
    board("mkdir -p /run/systemd/system/picluster-join.service.d")
    board("printf '[Service]\\nRestartSec=1\\n' >/run/systemd/system/picluster-join.service.d/haste.conf")
    board(f"cat >/root/card <<'CARD'\n{card}\nCARD\nbash /root/card 2>/dev/null; systemctl daemon-reload")
    board("systemctl start --no-block picluster-join")
    board.until(lambda: int(board("systemctl show -p NRestarts --value picluster-join")) >= 1)
    pool.start()
    board.until(board.beats)
    board.until(lambda: board.run("test -e /etc/picluster/first-boot.sh").returncode)
    assert board.machine["labels"]["rack"] == "b"
    assert board.run("systemctl is-enabled picluster-join").returncode
    assert (
        board(
            "find /etc /run -name '*picluster-join*' -not -path '*service.d*' -o -name 'picluster-install*'"
        )
        == ""
    )


def _as_cloud_init_writes(to: Invitation) -> str:
    """The same files by its `write_files`, of which the test of the texts knows that cloud-init takes them."""
    unit = joining.text("picluster-join.service")
    return (
        f"mkdir -p /etc/picluster\ncat >{joining.SCRIPT} <<'X'\n{joining.first_boot_script(to)}X\n"
        f"chmod 700 {joining.SCRIPT}\ncat >{joining.UNIT} <<'X'\n{unit}X\nsystemctl enable picluster-join.service"
    )


# Off again


def test_uninstall_leaves_nothing(board: Board) -> None:
    before = board(LISTING)
    board.install()
    board.until(board.beats)
    said = board.install("--uninstall", fresh=False, insecure=False)
    assert said.index("It will") < said.index("==> Stopping")
    assert f"picluster delete {board.host_name}" in said
    assert board(LISTING).splitlines() == before.splitlines()
    assert board.run("systemctl is-active picluster-agent").stdout == "inactive\n"
    assert board("systemctl --failed --no-legend") == ""


def test_uninstalling_what_is_not_there(board: Board) -> None:
    before = board(LISTING)
    board.install("--uninstall", fresh=False, insecure=False)
    assert board(LISTING) == before
