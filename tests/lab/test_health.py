"""Honest boards: what a real agent sees of its hardware during a lease, and what the service makes of it."""

from __future__ import annotations

import itertools
import time

import pytest

from tests.lab.boards import Board, Lab
from tests.lab.conftest import HASTE
from tests.lab.people import Holder
from tests.service import ServiceProcess, until

pytestmark = [pytest.mark.needs_root, pytest.mark.xdist_group("lab-health")]
numbers = itertools.count(1)
ALARM = "/sys/class/hwmon/hwmon2/in0_lcrit_alarm"
HEAT = "/sys/class/thermal/thermal_zone0/temp"


@pytest.fixture(scope="module")
def pool(lab: Lab) -> ServiceProcess:
    """Where ten minutes of being well are two seconds."""
    return lab.service(**HASTE, PICLUSTER_POLICY__WELL_S="2", PICLUSTER_POLICY__AIL_S="1")


@pytest.fixture
def board(lab: Lab, pool: ServiceProcess) -> Board:
    return lab.board(f"health-{next(numbers)}", pool, enforced=True)


def over(pool: ServiceProcess, holder: Holder) -> dict[str, object]:
    """The lease given back, with its verdict."""
    return dict(pool.send("DELETE", f"{holder.path}?wait=25").json())


def test_a_quiet_lease_on_a_raspberry_pi_is_clean(pool: ServiceProcess, board: Board, ann: Holder) -> None:
    ann.take(board)
    until(lambda: board.machine["telemetry"]["since_open"]["reports"] > 1)
    lease = over(pool, ann)
    assert (lease["verdict"], lease["verdict_reasons"]) == ("clean", [])


def test_a_moment_of_low_voltage_is_in_the_verdict_and_keeps_the_board_back_until_it_is_well(
    pool: ServiceProcess, board: Board, ann: Holder
) -> None:
    """The alarm is over long before the lease is, and nobody looked at the board just then but its agent."""
    ann.take(board)
    board.show({ALARM: "1\n"})
    until(lambda: (board.machine["telemetry"]["since_open"] or {}).get("under_voltage"))
    board.show({ALARM: "0\n"})
    until(lambda: board.machine["service"] == "quarantined")
    assert board.machine["reason"] == "under-voltage"
    assert ann.lease["state"] == "held", "the one who has it keeps it"
    lease = over(pool, ann)
    assert lease["verdict"] == "dirty"
    assert [reason.split(",")[0] for reason in lease["verdict_reasons"]] == ["under-voltage"]  # type: ignore[attr-defined]
    assert board.machine["service"] == "quarantined"
    until(lambda: board.machine["state"] == "free")
    kinds = [event["kind"] for event in pool.get(f"/api/v1/history?machine={board.name}&limit=50").json()]
    assert kinds.index("machine.recovered") < kinds.index("machine.quarantined")


def test_heat_is_in_the_verdict_too(pool: ServiceProcess, board: Board, ann: Holder) -> None:
    board.show({HEAT: "85000\n"})
    ann.take(board)
    until(lambda: board.machine["telemetry"]["since_open"]["hot"])
    lease = over(pool, ann)
    assert lease["verdict"] == "dirty" and "too hot" in str(lease["verdict_reasons"])
    until(lambda: board.machine["state"] == "quarantined")
    board.show({HEAT: "50000\n"})
    until(lambda: board.machine["state"] == "free")


def test_a_verdict_comes_within_a_beat(pool: ServiceProcess, board: Board, ann: Holder) -> None:
    """The board is asked at once, so that a job may wait for it."""
    ann.take(board)
    began = time.monotonic()
    assert over(pool, ann)["verdict"] in ("clean", "unknown")
    print(f"verdict {1000 * (time.monotonic() - began):.0f} ms after the release")


def test_an_agent_that_was_killed_in_a_lease_was_not_looking(
    pool: ServiceProcess, board: Board, ann: Holder
) -> None:
    ann.take(board)
    until(lambda: board.machine["telemetry"]["since_open"])
    board.kill_agent()
    board.start_agent()
    until(lambda: (board.machine["telemetry"]["since_open"] or {}).get("agent_restarts"))
    assert over(pool, ann)["verdict"] == "unknown"


def test_samples_are_kept_of_a_real_board(pool: ServiceProcess, board: Board) -> None:
    until(lambda: board.machine.get("state") == "free")
    samples = pool.get(f"/api/v1/machines/{board.name}/samples").json()
    assert samples and samples[0]["temperature"] == 48.3 and samples[0]["mem_available"] > 0
