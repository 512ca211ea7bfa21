"""Power: commands of the configuration file, carried out without a shell, recorded, and never twice for one question."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from picluster.errors import Malformed
from picluster.server.power import load
from tests.server.conftest import Api, Board
from tests.service import ServiceProcess, on_sqlite, service, until

TOOL = """
import pathlib, sys, time
done = pathlib.Path(sys.argv[1])
with done.open("a") as file:
    file.write(" ".join(sys.argv[2:]) + "\\n")
print("switched", *sys.argv[2:])
while pathlib.Path(sys.argv[1] + ".hold").exists():
    time.sleep(0.01)
sys.exit(3 if "off" in sys.argv else 0)
"""
"""A power strip: it notes what it is told, works while somebody holds it, and fails to switch off."""


@pytest.fixture(scope="module")
def strip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("strip") / "done"


@pytest.fixture(scope="module")
def pool(strip: Path) -> Iterator[ServiceProcess]:
    folder = strip.parent
    (folder / "strip.py").write_text(TOOL)
    command = f'"{sys.executable}", "{folder / "strip.py"}", "{strip}"'
    (folder / "picluster.toml").write_text(
        f"""
        [[power]]
        machines = "power:none"
        on = ["/nonexistent/pdu"]

        [[power]]
        machines = "power:daemon"
        on = ["/bin/sh", "-c", "echo left; setsid sleep 30 & exit 0"]

        [[power]]
        machines = "power:strip"
        on = [{command}, "on", "{{name}}"]
        off = [{command}, "off", "{{address}}"]
        cycle = [{command}, "cycle", "{{name}}; reboot"]
        timeout_s = 5
        """
    )
    with service(*on_sqlite(folder), "--config", str(folder / "picluster.toml")) as running:
        yield running


@pytest.fixture
def strip_board(api: Api, strip: Path) -> Board:
    strip.unlink(missing_ok=True)
    return api.board(labels={"power": "strip"})


def power(api: Api, board: Board, action: str, wait: float = 25, token: str = "") -> dict[str, object]:
    token = token or api.token("operator")
    answer = api.post(f"machines/{board.name}/power?wait={wait}", {"action": action}, token)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_an_operator_switches_a_board_and_the_record_says_so(
    api: Api, strip_board: Board, strip: Path
) -> None:
    answer = power(api, strip_board, "on")
    assert (answer["ok"], answer["outcome"], answer["running"]) == (True, "exit 0", False)
    assert answer["output"] == f"switched on {strip_board.name}\n"
    assert strip.read_text() == f"on {strip_board.name}\n"
    events = api.get(f"history?machine={strip_board.name}&limit=2").json()
    assert [event["kind"] for event in events] == ["machine.powered", "machine.power"]
    assert events[0]["detail"] == {"action": "on", "outcome": "exit 0"}
    assert events[0]["actor"].startswith("operator-")


def test_a_command_that_fails_says_how(api: Api, strip_board: Board, strip: Path) -> None:
    answer = power(api, strip_board, "off")
    assert (answer["ok"], answer["outcome"]) == (False, "exit 3")
    assert strip.read_text() == f"off {strip_board.name}.lab\n"


def test_no_shell_reads_what_is_filled_in(api: Api, strip_board: Board, strip: Path) -> None:
    """Name and address are arguments, whatever stands in them or beside them."""
    power(api, strip_board, "cycle")
    assert strip.read_text() == f"cycle {strip_board.name}; reboot\n"


@pytest.mark.parametrize(
    "address", ["-oProxyCommand=touch /tmp/x", "a; reboot", "a b", "$(reboot)", "`x`", "'", ""]
)
def test_what_could_be_an_option_or_a_command_is_no_address(
    api: Api, strip_board: Board, address: str
) -> None:
    """A board says what its address is; `ssh` and shells at the other end read it."""
    said = {"id": "x", "address": address}
    assert api.post(f"machines/{strip_board.name}/beat", said, strip_board.token).status_code == 400
    assert api.post("join", {"name": "x", **said}, api.token("join")).status_code == 400
    if address:
        account = {"id": "x", "address": "a.lab", "ssh_user": address}
        refused = api.post(f"machines/{strip_board.name}/beat", account, strip_board.token)
        assert (refused.status_code, list(refused.json()["error"]["fields"])) == (400, ["ssh_user"])


def test_an_address_of_the_old_protocol_is_looked_at_before_it_is_used(
    api: Api, pool: ServiceProcess, strip: Path
) -> None:
    """There it is any text; a command that wants it is refused, one that wants the name is not."""
    strip.unlink(missing_ok=True)
    name = pool.old("update", "-oProxyCommand=x", HostName="oldie")["HostName"]
    api.patch(f"machines/{name}", {"labels": {"power": "strip"}})
    refused = api.post(f"machines/{name}/power", {"action": "off"}, api.token("operator"))
    assert (refused.status_code, refused.json()["error"]["field"]) == (400, "address")
    assert api.post(f"machines/{name}/power", {"action": "on"}, api.token("operator")).json()["ok"]
    assert strip.read_text() == "on oldie\n"


def test_a_daemon_that_a_command_leaves_behind_is_not_waited_for(api: Api) -> None:
    began = time.monotonic()
    answer = power(api, api.board(labels={"power": "daemon"}), "on")
    assert (answer["outcome"], answer["output"]) == ("exit 0", "left\n")
    assert time.monotonic() - began < 20, "it would have gone on for half a minute"


def test_asking_again_is_the_same_command(api: Api, strip_board: Board, strip: Path) -> None:
    """While it runs, and just after: a lost answer must not cycle a board twice."""
    hold = Path(f"{strip}.hold")
    hold.touch()
    assert power(api, strip_board, "cycle", wait=0)["running"] is True
    until(strip.exists)
    refused = api.post(f"machines/{strip_board.name}/power", {"action": "on"}, api.token("operator"))
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(power, api, strip_board, "cycle") for _ in range(4)]
        hold.unlink()
        assert {answer.result()["outcome"] for answer in asked} == {"exit 0"}
    assert power(api, strip_board, "cycle")["ok"] is True
    assert strip.read_text().count("cycle") == 1


def test_a_command_that_hangs_is_killed(api: Api, strip_board: Board, strip: Path) -> None:
    hold = Path(f"{strip}.hold")
    hold.touch()
    try:
        answer = power(api, strip_board, "on")
    finally:
        hold.unlink()
    assert answer["outcome"] == "took longer than 5 s, and was killed"
    assert "switched on" in str(answer["output"])


def test_a_program_that_is_not_there_is_said(api: Api) -> None:
    answer = power(api, api.board(labels={"power": "none"}), "on")
    assert answer["outcome"] == "could not be started: No such file or directory"


def test_who_may_and_what_is_known(api: Api, board: Board, strip_board: Board) -> None:
    def asked(name: str, body: object, token: str) -> tuple[int, str]:
        answer = api.post(f"machines/{name}/power", body, token)
        return answer.status_code, answer.json()["error"]["message"]

    operator = api.token("operator")
    assert asked(strip_board.name, {"action": "on"}, api.token("user"))[0] == 403
    assert asked(board.name, {"action": "on"}, operator)[0] == 404
    assert asked("nowhere", {"action": "on"}, operator)[0] == 404
    status, message = asked(strip_board.name, {"action": "explode"}, operator)
    assert status == 400 and message == "action: must be one of on, off, cycle"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("power", "is not TOML"),
        ("[lights]", "has no place for lights"),
        ("power = 3", r"must be `\[\[power\]\]` tables"),
        ('[[power]]\nmachines = "a"', "number 1: needs on, off or cycle"),
        ('[[power]]\non = "pdu on"', "number 1: needs on, off or cycle"),
        ('[[power]]\non = ["x"]\nboom = ["x"]', "has no boom"),
        ('[[power]]\non = ["x"]\ntimeout_s = 0', "timeout_s must be above 0"),
        ('[[power]]\non = ["x"]\nmachines = 3', "must be a selector"),
        ('[[power]]\non = ["x"]\nmachines = "a:(b"', "power.toml"),
    ],
)
def test_a_bad_configuration_says_what_is_wrong_and_where(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "power.toml"
    file.write_text(text)
    with pytest.raises(Malformed, match=said) as raised:
        load(file)
    assert str(file) in raised.value.message


def test_without_a_configuration_nothing_is_switched() -> None:
    assert load(None) == ()
