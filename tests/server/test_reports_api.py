"""Reports over HTTP: who may ask, for how many days, and that one is not counted anew for each who asks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from picluster.server.reported import LONGEST_DAYS
from tests.server.conftest import Api, Board, fresh_lease


def test_what_was_used_and_waited_for(api: Api, board: Board) -> None:
    """A lease that is held now counts at once."""
    lease = fresh_lease()
    assert api.put(lease, {"selector": board.name, "job": "report"}).json()["state"] == "held"
    made = api.get("reports?days=2").json()
    assert [len(made["days"]), len(made["machines"][0]["used_s"])] == [2, 2]
    assert made["granted"] >= 1
    assert made["wait_p50_s"] < 60
    (mine,) = [one for one in made["machines"] if one["name"] == board.name]
    assert (mine["leases"], mine["deleted"]) == (1, False)
    assert sum(mine["there_s"]) >= sum(mine["used_s"]) >= 0
    api.delete(lease)


def test_a_report_is_kept_for_a_while(api: Api) -> None:
    """The same one is answered to everybody for a minute."""
    assert api.get("reports?days=3").json() == api.get("reports?days=3").json()


def test_many_who_ask_at_once_get_the_same(api: Api) -> None:
    with ThreadPoolExecutor(8) as people:
        made = list(people.map(lambda _: api.get("reports?days=5").json(), range(8)))
    assert all(one == made[0] for one in made)


@pytest.mark.parametrize("days", ["0", "-1", str(LONGEST_DAYS + 1), "x", "1.5"])
def test_a_number_of_days_that_makes_no_sense_is_refused(api: Api, days: str) -> None:
    refusal = api.get(f"reports?days={days}")
    assert refusal.status_code == 400
    assert "days" in refusal.json()["error"]["message"]


def test_a_report_needs_a_login(api: Api) -> None:
    assert api.get("reports", token="").status_code == 401
    assert api.get("reports", token=api.token("viewer")).status_code == 200
