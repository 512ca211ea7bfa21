"""A lab and a hasty pool for each file of stories."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.boards import Lab, what_is_lacking
from tests.lab.people import Holder
from tests.service import ServiceProcess

HASTE = {
    "PICLUSTER_BEAT_S": "1",
    "PICLUSTER_PULSE_S": "0.2",
    "PICLUSTER_POLICY__SLACK_S": "0.5",
    "PICLUSTER_POLICY__OFFLINE_S": "2",
    "PICLUSTER_POLICY__DEAD_MACHINE_S": "3",
    "PICLUSTER_POLICY__LOCK_DELAY_S": "0.5",
}
"""Minutes become seconds; what stands in what proportion stays: a board is offline after two to three beats."""

PATIENT = {**HASTE, "PICLUSTER_POLICY__DEAD_MACHINE_S": "60"}
"""For stories in which boards are away and no lease may end as that of a dead machine, however busy this computer is."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The file's thread is in the lab's network until its last story is told."""
    lacking = what_is_lacking()
    if lacking:
        pytest.skip(lacking)
    with Lab() as built:
        yield built


@pytest.fixture(scope="module")
def pool(lab: Lab) -> ServiceProcess:
    return lab.service(**HASTE)


@pytest.fixture
def ann(lab: Lab, pool: ServiceProcess) -> Holder:
    """Somebody with a key."""
    return Holder(lab, pool)


@pytest.fixture
def bob(lab: Lab, pool: ServiceProcess) -> Holder:
    """Somebody else."""
    return Holder(lab, pool)
