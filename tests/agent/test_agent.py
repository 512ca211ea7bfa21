"""What the agent does with what the service says: stories of one board, with a service made of a list."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from picluster.agent.agent import Agent, Clocks
from picluster.agent.courtesy import NOTE
from picluster.agent.gate import Gate, NoGate
from picluster.agent.http1 import Address
from picluster.agent.link import NoOrders
from picluster.agent.log import Log
from picluster.agent.orders import LeaseHere, Orders
from picluster.agent.settings import Settings, Unusable, find
from tests.agent.trees import BOOT_ID, PI5, plant

F1, F2, F3 = 1_795_000_000_000_001, 1_795_000_000_000_002, 1_795_000_000_000_003
ALARM = "sys/class/hwmon/hwmon2/in0_lcrit_alarm"


def lease(fence: int, expires_in_s: float | None = 120.0, *keys: str) -> LeaseHere:
    return LeaseHere(fence, "ann", "nightly", expires_in_s, "release", keys)


def orders(held: LeaseHere | None = None, fence: int = 0, cleaning: int = 0, **more: Any) -> Orders:
    said = {"machine": "pi5-a", "interval_s": 30.0, "service": "in_service", "orders": "o1", **more}
    return Orders(lease=held, fence=fence or (held.fence if held else 0), cleaning=cleaning, **said)


class Service:
    """Stands where the link is: what it will answer, and what it was told."""

    address = Address(False, "127.0.0.1", 9)
    connected = False

    def __init__(self, board: Board) -> None:
        self.board = board
        self.answers: list[Orders | NoOrders] = []
        self.told: list[dict[str, Any]] = []
        self.waits: list[float] = []
        self.takes_s = 0.0

    def beat(self, machine: str, report: dict[str, Any], wait_s: float) -> Orders:
        assert machine == "pi5-a"
        self.told.append(json.loads(json.dumps(report, allow_nan=False)))
        self.waits.append(wait_s)
        self.board.boot_s += self.takes_s or wait_s
        answer = self.answers.pop(0) if self.answers else orders()
        if isinstance(answer, NoOrders):
            raise answer
        return answer

    def close(self) -> None:
        pass


class Recorder(Gate):
    """An enforcing gate that writes down what it is asked for, and what the fence file says at that moment."""

    mode = "enforced"
    ssh_user = "picluster"

    def __init__(self, board: Board) -> None:
        self.board = board
        self.done: list[tuple[Any, ...]] = []
        self.clean = True
        self.broken = False

    def open(self, fence: int, keys: Sequence[str]) -> None:
        self.done.append(("open", fence, *keys, self.board.kept()))
        if self.broken:
            raise OSError(5, "Input/output error")

    def close(self, fence: int) -> bool:
        self.done.append(("close", fence, self.board.kept()))
        return self.clean


class Board:
    """A Pi 5 in a folder, with its agent."""

    def __init__(self, folder: Path, enforced: bool = False, **settings: Any) -> None:
        self.folder = folder
        self.tree = plant(folder / "root", PI5)
        self.boot_s, self.wall_s = 1000.0, 1_795_000_000.0
        self.log = io.StringIO()
        self.service = Service(self)
        self.gate: Any = Recorder(self) if enforced else NoGate()
        self.settings: Settings = find({"PICLUSTER_URL": "localhost"}, {}, self.tree)._replace(
            state=str(folder / "state"), **settings
        )
        self.start()

    def start(self) -> Agent:
        """The agent's process begins, for the first time or after it was killed."""
        if hasattr(self, "agent"):
            self.agent._stop_voltage()  # a thread dies with its process
        self.agent = Agent(
            self.settings,
            self.tree,
            self.service,  # type: ignore[arg-type]
            Log(self.log),
            gate=self.gate,
            clocks=Clocks(lambda: self.boot_s, lambda: self.wall_s + self.boot_s, lambda _: None),
            lot=lambda: 1.0,
            look_s=0.005,
        )
        return self.agent

    def reboot(self) -> None:
        self.agent.stop()
        plant(Path(self.tree.root), {"proc/sys/kernel/random/boot_id": "another\n"})
        self.boot_s = 20.0
        self.start()

    def kept(self) -> str:
        file = self.folder / "state/fence"
        return file.read_text().partition(" check")[0] if file.exists() else ""

    def turn(self, *answers: Orders | NoOrders) -> float:
        """One turn for each answer; the last one's pause."""
        pause_s = 0.0
        for answer in answers:
            self.service.answers = [answer]
            pause_s = self.agent.turn()
        return pause_s

    def told(self) -> dict[str, Any]:
        """What the next beat says."""
        self.turn(NoOrders(1.0, "it only listens"))
        return self.service.told[-1]

    @property
    def note(self) -> str:
        file = Path(self.tree.at(NOTE))
        return file.read_text() if file.exists() else ""


@pytest.fixture
def board(tmp_path: Path) -> Any:
    found = Board(tmp_path)
    yield found
    found.agent.stop()


@pytest.fixture
def enforced(tmp_path: Path) -> Any:
    found = Board(tmp_path, enforced=True)
    assert found.gate.done == [("close", 0, "")], "whatever is on it when it begins is not the next holder's"
    found.gate.done.clear()
    yield found
    found.agent.stop()


# Reports


def test_the_first_report(board: Board) -> None:
    board.turn(orders())
    [told] = board.service.told
    assert told["id"] == "serial:b03b5cbbaa3f0000"
    assert (told["address"], told["mode"], told["boot_id"]) == ("127.0.0.1", "advisory", BOOT_ID)
    assert (told["fence"], told["closed"], told["clean"], told["orders"]) == (0, True, True, "")
    assert told["facts"]["model"] == "pi5" and told["labels"]["camera"] == ""
    assert told["telemetry"]["temperature"] == 48.3
    assert told["telemetry"]["fence_file"] == "ok"
    assert told["telemetry"]["since_open"] is None


def test_the_first_beat_is_answered_at_once_and_the_next_are_held_open(board: Board) -> None:
    """The first has to learn what holds already; the others have only to learn what is new."""
    board.turn(orders(), orders(interval_s=10.0), orders())
    assert board.service.waits == [0.0, 25.0, 10.0]
    assert [told["orders"] for told in board.service.told] == ["", "o1", "o1"]


def test_after_an_outage_the_first_is_answered_at_once_again(board: Board) -> None:
    board.turn(orders(), orders(), NoOrders(1.0, "away"), orders(), orders())
    assert board.service.waits == [0.0, 25.0, 25.0, 0.0, 25.0]


def test_beats_follow_each_other_at_once(board: Board) -> None:
    assert board.turn(orders(), orders(), orders()) == 0.0


def test_a_service_that_never_holds_calls_open_is_not_stormed(board: Board) -> None:
    board.service.takes_s = 0.01
    pauses = [board.turn(orders()) for _ in range(20)]
    assert pauses[:5] == [0.0] * 5 and max(pauses) == 10.0
    board.service.takes_s = 0.0
    assert board.turn(orders()) == 0.0


def test_holders_that_follow_each_other_quickly_are_not_held_back(board: Board) -> None:
    """Each answer comes early, since each brings news: short jobs must not wait for a brake."""
    board.service.takes_s = 0.01
    pauses = [board.turn(orders(lease(F1 + number), orders=f"o{number}")) for number in range(20)]
    assert pauses == [0.0] * 20


def test_seq_is_milliseconds_since_the_boot_and_grows_over_a_restart(board: Board) -> None:
    board.service.takes_s = 1e-9
    board.turn(orders(), orders())
    board.boot_s += 2
    board.start()
    board.turn(orders())
    assert [told["seq"] for told in board.service.told] == [1_000_000, 1_000_001, 1_002_000]


def test_without_a_boot_id_beats_have_no_order(tmp_path: Path) -> None:
    """Else, after a reboot that nobody can see, all would count as late."""
    board = Board(tmp_path)
    os.unlink(tmp_path / "root/proc/sys/kernel/random/boot_id")
    board.start()
    board.turn(orders())
    assert (board.service.told[-1]["boot_id"], board.service.told[-1]["seq"]) == ("", 0)


def test_a_new_address_is_the_same_board(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    board.turn(orders())
    monkeypatch.setattr("picluster.agent.identity.own_address", lambda *_: "10.31.4.99")
    board.turn(orders())
    before, after = board.service.told
    assert (before["address"], after["address"]) == ("127.0.0.1", "10.31.4.99")
    assert before["id"] == after["id"]
    assert "is 10.31.4.99 now" in board.log.getvalue()


def test_what_is_plugged_in_while_it_runs_is_in_the_next_report(board: Board) -> None:
    board.turn(orders())
    plant(Path(board.tree.root), {"dev/spidev0.0": ""})
    board.turn(orders())
    assert "spi" in board.service.told[-1]["labels"]


def test_a_board_without_identity_says_what_to_do(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.tree = plant(tmp_path / "empty", {})
    with pytest.raises(Unusable, match="machine-id"):
        board.start()


def test_no_orders_is_a_pause(board: Board) -> None:
    assert board.turn(NoOrders(7.5, "away")) == 7.5


# Leases


def test_a_lease_opens_its_fence_and_ends(board: Board) -> None:
    board.turn(orders(), orders(lease(F1)))
    assert board.kept() == f"fence={F1} closed=0"
    assert (board.told()["fence"], board.told()["closed"]) == (F1, False)
    board.turn(orders(fence=F1))
    assert board.kept() == f"fence={F1} closed=1"
    assert (board.told()["fence"], board.told()["closed"], board.told()["clean"]) == (F1, True, True)
    assert f"fence {F1} opens: ann, nightly" in board.log.getvalue()


def test_an_old_answer_opens_nothing(board: Board) -> None:
    """Replayed by a proxy, or of a replica that is behind."""
    board.turn(orders(lease(F1)), orders(fence=F1), orders(lease(F1)))
    assert board.kept() == f"fence={F1} closed=1"
    board.turn(orders(lease(F2)), orders(lease(F1)), orders(fence=F1))
    assert board.kept() == f"fence={F2} closed=0"


def test_one_lease_after_the_other_without_a_beat_between(board: Board) -> None:
    board.turn(orders(lease(F1)), orders(lease(F2)))
    told = board.told()
    assert (told["fence"], told["closed"]) == (F2, False)
    assert told["telemetry"]["last_closed"]["fence"] == F1
    assert told["telemetry"]["since_open"]["fence"] == F2


def test_a_lease_that_came_and_went_between_two_beats_is_closed(enforced: Board) -> None:
    enforced.turn(orders(fence=F1, cleaning=F1))
    assert enforced.gate.done == [("close", F1, f"fence={F1} closed=1")]
    assert (enforced.told()["fence"], enforced.told()["closed"], enforced.told()["clean"]) == (F1, True, True)


def test_everything_is_kept_before_it_is_done(enforced: Board) -> None:
    enforced.turn(orders(lease(F1, 120.0, "key-a")), orders(fence=F1, cleaning=F1))
    assert enforced.gate.done == [
        ("open", F1, "key-a", f"fence={F1} closed=0"),
        ("close", F1, f"fence={F1} closed=1"),
    ]


def test_the_same_lease_again_does_nothing_and_other_keys_are_let_in(enforced: Board) -> None:
    enforced.turn(
        orders(lease(F1, 120.0, "a")), orders(lease(F1, 99.0, "a")), orders(lease(F1, 120.0, "a", "b"))
    )
    assert [done[:-1] for done in enforced.gate.done] == [("open", F1, "a"), ("open", F1, "a", "b")]


def test_after_a_restart_the_gate_opens_when_the_service_confirms(enforced: Board) -> None:
    enforced.turn(orders(lease(F1, 120.0, "a")))
    enforced.gate.done.clear()
    enforced.start()
    assert enforced.gate.done == []
    enforced.turn(orders(lease(F1, 120.0, "a")))
    assert [done[:2] for done in enforced.gate.done] == [("open", F1)]


def test_a_restart_in_the_middle_of_cleaning_cleans_again(enforced: Board) -> None:
    """It must not report clean what it never finished."""
    enforced.turn(orders(lease(F1)))
    enforced.gate.clean = False
    enforced.turn(orders(fence=F1, cleaning=F1))
    enforced.gate.done.clear()
    enforced.start()
    assert [done[:2] for done in enforced.gate.done] == [("close", F1)]
    assert enforced.told()["clean"] is False


def test_a_board_that_is_not_clean_lets_nobody_in_and_tries_again(enforced: Board) -> None:
    enforced.turn(orders(lease(F1)))
    enforced.gate.clean = False
    enforced.turn(orders(fence=F1, cleaning=F1), orders(lease(F2)))
    assert enforced.kept() == f"fence={F1} closed=1"
    assert enforced.service.told[-1]["clean"] is False
    enforced.gate.clean = True
    enforced.turn(orders(lease(F2)))
    assert enforced.kept() == f"fence={F2} closed=0"


def test_a_gate_that_does_not_open_is_closed(enforced: Board) -> None:
    """The service must not take the board for ready."""
    enforced.gate.broken = True
    enforced.turn(orders(lease(F1)))
    told = enforced.told()
    assert (told["fence"], told["closed"], told["telemetry"]["since_open"]) == (F1, True, None)


def test_a_board_does_not_close_by_itself_while_the_service_is_away(enforced: Board) -> None:
    """Service time stands still then, so the lease is not over, however long ago its time was. The board is the gate."""
    enforced.turn(orders(lease(F1, 5.0)))
    for _ in range(50):
        enforced.turn(NoOrders(600.0, "nobody answers"))
        enforced.boot_s += 600.0
    assert [done[0] for done in enforced.gate.done] == ["open"]
    assert enforced.told()["closed"] is False
    enforced.turn(orders(fence=F1))
    assert [done[0] for done in enforced.gate.done] == ["open", "close"]


def test_an_enforced_board_that_cannot_keep_the_fence_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    board = Board(tmp_path, enforced=True)
    board.settings = board.settings._replace(state=str(tmp_path / "file/under"))
    board.start()
    board.turn(orders(lease(F1)))
    assert "open" not in [done[0] for done in board.gate.done] and board.told()["closed"] is True
    assert "cannot be made" in board.log.getvalue()


def test_an_advisory_board_that_cannot_keep_it_goes_on_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    board = Board(tmp_path)
    board.settings = board.settings._replace(state=str(tmp_path / "file/under"))
    board.start()
    board.turn(orders(lease(F1)), orders(fence=F1))
    told = board.told()
    assert (told["fence"], told["closed"]) == (F1, True)
    assert board.log.getvalue().count("cannot be kept") == 1


def test_a_damaged_fence_file_is_reported_and_closed(board: Board) -> None:
    board.turn(orders(lease(F1)))
    (board.folder / "state/fence").write_text(f"fence={F1} closed=0 check=00000000\n")
    board.start()
    assert (board.told()["closed"], board.told()["telemetry"]["fence_file"]) == (True, "damaged")
    board.turn(orders(lease(F1)))
    assert board.told()["closed"] is True
    board.turn(orders(lease(F2)))
    assert (board.told()["fence"], board.told()["telemetry"]["fence_file"]) == (F2, "ok")


# What happened


def test_an_alarm_that_is_over_before_the_next_beat_is_told(board: Board) -> None:
    board.turn(orders(lease(F1)))
    alarm = Path(board.tree.at(ALARM))
    alarm.write_text("1\n")
    watch = board.agent._voltage
    deadline = time.monotonic() + 20
    while watch and watch.count == 0 and time.monotonic() < deadline:
        time.sleep(0.002)
    alarm.write_text("0\n")
    told = board.told()["telemetry"]
    assert (told["under_voltage"], told["since_open"]["under_voltage"]) == (False, 1)
    board.turn(orders(fence=F1))
    assert board.told()["telemetry"]["last_closed"]["under_voltage"] == 1
    assert board.agent._voltage is None


def test_no_watch_without_a_lease(board: Board) -> None:
    board.turn(orders(), orders())
    assert board.agent._voltage is None


def test_a_reboot_in_a_kept_lease_is_counted(board: Board) -> None:
    board.turn(orders(lease(F1)))
    board.reboot()
    assert board.told()["boot_id"] == "another"
    assert board.told()["telemetry"]["since_open"]["reboots"] == 1
    board.turn(orders(lease(F1)), orders(fence=F1))
    assert board.told()["telemetry"]["last_closed"]["reboots"] == 1


def test_a_step_of_the_clock_is_counted(board: Board) -> None:
    board.turn(orders(lease(F1)), orders(lease(F1)))
    board.wall_s += 3600
    assert board.told()["telemetry"]["since_open"]["clock_steps"] == 1
    assert "clock of this board was set" in board.log.getvalue()


def test_an_outage_is_counted_in_beats(board: Board) -> None:
    board.turn(orders(lease(F1)))
    for _ in range(5):
        pause_s = board.turn(NoOrders(30.0, "away"))
        board.boot_s += pause_s
    board.turn(orders(lease(F1)))
    since = board.told()["telemetry"]["since_open"]
    assert (since["beats_missed"], since["longest_silence_s"]) == (4, 175.0)


# Courtesy


def test_the_message_of_the_day_says_who_has_it(board: Board) -> None:
    board.turn(orders(lease(F1)))
    assert board.note.startswith("This board is leased by ann for nightly, until ")
    board.turn(orders(lease(F1, None)))
    assert "until it is given back" in board.note
    board.turn(orders(fence=F1))
    assert board.note == ""


def test_it_goes_when_the_agent_goes(board: Board) -> None:
    board.turn(orders(lease(F1)))
    board.agent.stop()
    assert board.note == ""


def test_a_holder_cannot_write_to_the_terminal_through_it(board: Board) -> None:
    rude = lease(F1)._replace(holder="x\x1b[2J\nroot", job="y" * 5000)
    board.turn(orders(rude))
    assert "\x1b" not in board.note and board.note.count("\n") == 1 and len(board.note) < 600


def terminal(board: Board, number: int) -> Path:
    path = Path(board.tree.at(f"/dev/pts/{number}"))
    plant(Path(board.tree.root), {f"dev/pts/{number}": ""})
    path.chmod(0o620)
    return path


def test_a_lease_that_nobody_renews_is_announced_to_end(board: Board) -> None:
    screen, silent = terminal(board, 0), terminal(board, 1)
    silent.chmod(0o600)  # mesg n
    for left_s in (7200.0, 3000.0, 299.0, 250.0, 59.0, 30.0):
        board.turn(orders(lease(F1, left_s)))
    assert screen.read_text().count("ends at") == 2
    assert silent.read_text() == ""


def test_a_lease_that_is_renewed_is_not(board: Board) -> None:
    screen = terminal(board, 0)
    for left_s in (120.0, 81.0, 119.0, 80.5, 120.0):
        board.turn(orders(lease(F1, left_s)))
    assert screen.read_text() == ""


def test_a_board_where_nothing_can_be_written_is_left_alone(board: Board) -> None:
    plant(Path(board.tree.root), {"run": ""})
    board.turn(orders(lease(F1)), orders(fence=F1))
    assert board.note == ""
