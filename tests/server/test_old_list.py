"""The old protocol's list is kept in pieces; none of them may outlive what it shows."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from picluster.pool.model import Machine, Mode, PoolState
from picluster.pool.policy import Policy
from picluster.server.legacy import MachineList
from picluster.server.view import View


def machine(number: int, **more: Any) -> Machine:
    return Machine(
        f"pi-{number}", f"legacy:10.0.0.{number}", f"10.0.0.{number}", Mode.LEGACY, revision=number, **more
    )


def listed(machines: MachineList) -> list[str]:
    return [board["IpAddress"] for board in json.loads(machines.all()[1])]


def test_a_machine_that_a_reload_does_not_know_is_gone() -> None:
    """A fail-over to an older history knows nothing of it, nor of its end."""
    view = View(cap_s=Policy().slack_s)
    machines = MachineList(SimpleNamespace(view=view))  # type: ignore[arg-type]
    view.publish([machine(1), machine(2)], PoolState(revision=2), ())
    assert listed(machines) == ["10.0.0.1", "10.0.0.2"]
    view.publish([machine(1)], PoolState(revision=3), (), reloaded=True)
    assert listed(machines) == ["10.0.0.1"]


def test_a_machine_that_moves_is_listed_where_it_is() -> None:
    view = View(cap_s=Policy().slack_s)
    machines = MachineList(SimpleNamespace(view=view))  # type: ignore[arg-type]
    view.publish([machine(1), machine(2)], PoolState(revision=2), ())
    listed(machines)
    moved = Machine("pi-1", "legacy:10.0.0.1", "10.0.0.9", Mode.LEGACY, revision=3)
    view.publish([moved], PoolState(revision=3), ())
    assert listed(machines) == ["10.0.0.2", "10.0.0.9"]
