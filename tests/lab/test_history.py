"""A database that went back in time, boards that say impossible things, and boards that change their protocol."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from picluster.agent.state import line
from tests.lab.boards import Lab
from tests.lab.conftest import PATIENT
from tests.lab.people import Holder
from tests.service import ServiceProcess, until

pytestmark = [pytest.mark.needs_root, pytest.mark.xdist_group("lab-history")]
BOARDS = 10
HIGHEST = 2**63 - 1
FENCE_FILE = "/var/lib/picluster/fence"


def test_a_restored_backup_repeats_no_fence(lab: Lab, tmp_path: Path) -> None:
    """Ten boards know more than the service that came back: whoever lost a lease to the past has it at no board,
    nothing is granted on a board that was not heard, and each new fence is above all that were ever seen."""
    pool = lab.service(**PATIENT)
    boards = lab.rack([f"past-{number}" for number in range(BOARDS)], pool)
    early, late, fresh = ([Holder(lab, pool) for _ in boards] for _ in range(3))
    for holder, board in zip(early, boards, strict=True):
        holder.take(board)
    backup = tmp_path / "lab.picluster"
    backup.write_bytes(pool.get("/api/v1/backup").content)
    for before, holder, board in zip(early, late, boards, strict=True):
        before.release()
        holder.take(board)
        until(lambda board=board, holder=holder: f"fence {holder.fence} opens" in board.log)
    command = [sys.executable, "-m", "picluster", "restore", backup, "--data", tmp_path / "past"]
    subprocess.run(command, check=True, capture_output=True)
    assert pool.stop() == 0
    lab.service(tmp_path / "past", "--port", str(pool.port), **PATIENT)
    for holder in early:
        until(lambda holder=holder: holder.lease["ended"] == "history_went_back")
    for holder, board in zip(fresh, boards, strict=True):
        holder.take(board)
    seen = [holder.fence for holder in early + late]
    given = [holder.fence for holder in fresh]
    assert len(set(seen + given)) == 3 * BOARDS and min(given) > max(seen)
    assert {holder.lease.get("error", {}).get("code") for holder in late} == {"not_found"}
    for board in boards:
        board.power_cut()


def test_a_board_that_reports_an_impossible_fence_is_quarantined_alone(
    lab: Lab, pool: ServiceProcess, ann: Holder, bob: Holder
) -> None:
    """The pool's numbers stay as they are, and so does everybody else's lease."""
    sound, strange = lab.rack(["fence-sound", "fence-strange"], pool)
    ann.take(sound)
    until(lambda: strange.machine)
    strange.kill_agent()
    strange.file(FENCE_FILE).write_bytes(line(HIGHEST, closed=True))
    strange.start_agent()
    until(lambda: strange.machine["service"] == "quarantined")
    assert str(HIGHEST) in strange.machine["reason"]
    assert (sound.machine["service"], ann.renew()["state"]) == ("in_service", "held")
    ann.release()
    bob.take(sound)
    assert ann.fence < bob.fence < HIGHEST // 1000


def test_a_lock_of_the_old_protocol_outlives_the_agent_that_enrols_there(
    lab: Lab, pool: ServiceProcess, ann: Holder
) -> None:
    """Somebody has the board: they keep it until they free it, whatever program runs there by then."""
    board = lab.board("old-timer")
    pool.old("update", board.address, HostName="old-timer")
    assert pool.old("lock", board.address, "legacy-larry", CurrentTaskName="soak")
    board.join(pool)
    board.start_agent()
    until(lambda: board.machine["mode"] != "legacy")
    refused = ann.ask("name:old-timer", queue=False)["error"]
    assert refused["code"] == "held" and "legacy-larry" in refused["message"]
    assert ann.ask("name:old-timer")["state"] == "waiting"
    assert pool.old("free", board.address, "legacy-larry")
    assert ann.ready()["state"] == "held"
