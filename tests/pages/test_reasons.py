"""Why a job waits, as its owner reads it: one sentence for what is in the way, one for what comes first."""

from __future__ import annotations

import re

import pytest

from picluster.pool.model import Service
from picluster.server.pages.reasons import Now, why
from picluster.server.words import listed
from tests.pool.day import Day

HOUR_S = 3_600.0


def told(day: Day, lease: str, me: str = "ann") -> str:
    """The sentence as text, without its tags."""
    now = Now(me, day.now, day.wall_us)
    html = why(day.pool.ledger.roster, day.lease(lease), now, day.policy.aside_s)
    return re.sub(r"<[^>]+>", "", html)


def held(*boards: tuple[str, str]) -> Day:
    """Boards, each held for an hour more than the one before."""
    day = Day()
    for hours, (name, who) in enumerate(boards, 1):
        day.board(name)
        day.ask(who, f"of-{name}", name, ttl_s=hours * HOUR_S)
    return day


def test_somebody_holds_the_only_one() -> None:
    day = held(("pi-1", "bob"))
    day.ask("ann", "hers")
    assert told(day, "hers") == "bob holds the only one that matches. It ends in 1 h."


def test_what_is_mine_is_called_mine() -> None:
    """Who waits for a board that they hold themselves sees what to do."""
    day = held(("pi-1", "ann"))
    day.ask("ann", "hers")
    assert told(day, "hers") == "You hold the only one that matches. It ends in 1 h."
    day = held(("pi-1", "ann"), ("pi-2", "bob"))
    day.ask("ann", "hers")
    assert told(day, "hers") == "Both are held. pi-1 is yours, it ends in 1 h."
    assert told(day, "hers", me="bob") == "Both are held. pi-1 ends first, in 1 h."


def test_all_are_held() -> None:
    day = held(("pi-1", "bob"), ("pi-2", "bob"), ("pi-3", "eve"))
    day.ask("ann", "hers")
    assert told(day, "hers") == "All 3 are held. pi-1 ends first, in 1 h."


def test_some_are_out_of_service() -> None:
    day = held(("pi-1", "bob"), ("pi-2", "bob"), ("pi-3", "eve"))
    day.board("pi-4")
    day.amend("pi-4", service=Service.DRAINED)
    day.ask("ann", "hers")
    assert told(day, "hers") == "Of 4, 3 held and 1 drained. pi-1 ends first, in 1 h."


def test_the_only_one_is_out_of_service() -> None:
    day = Day()
    day.board("pi-1")
    day.drain("pi-1")
    day.ask("ann", "hers")
    assert told(day, "hers") == "The only one that matches is drained."


def test_several_at_once_and_what_is_set_aside() -> None:
    day = held(("rack-b-01", "bob"), ("rack-b-02", "bob"))
    day.board("rack-b-03")
    day.ask("ann", "hers", count=3)
    assert told(day, "hers") == "Needs three. rack-b-03 is set aside for it, 30 m at most."


def test_others_come_before() -> None:
    day = held(("pi-1", "bob"))
    day.ask("eve", "evas")
    day.ask("kim", "kims")
    day.ask("ann", "hers")
    assert told(day, "hers").endswith("2 jobs come before it.")
    assert told(day, "kims").endswith("1 job comes before it.")


def test_what_renews_itself_is_told_with_its_limit() -> None:
    day = Day()
    day.board("pi-1")
    day.ask("ci:nightly", "nightly", ttl_s=120.0, not_after_s=HOUR_S)
    day.ask("ann", "hers")
    assert re.fullmatch(
        r"ci:nightly holds the only one that matches. It ends \d\d:\d\d UTC at the latest.", told(day, "hers")
    )


def test_too_few_are_registered() -> None:
    day = held(("pi-1", "bob"))
    day.ask("ann", "hers", "model:pi6", wait_for_machines=True)
    assert told(day, "hers") == "No machine of the pool matches yet."
    day.ask("ann", "more", count=2, wait_for_machines=True)
    assert told(day, "more") == "Only 1 machine matches and 2 are needed: it waits for more to join."


def test_names_from_boards_and_people_are_text() -> None:
    """Markup in the name of a holder stays text."""
    day = Day()
    day.board("pi-1")
    day.ask("<b>bob</b>", "his", ttl_s=HOUR_S)
    day.ask("ann", "hers")
    html = why(day.pool.ledger.roster, day.lease("hers"), Now("ann", day.now, day.wall_us), 0.0)
    assert "&lt;b&gt;bob&lt;/b&gt; holds" in html


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((), ""),
        (("pi-1",), "pi-1"),
        (("pi4-rack-b-01", "pi4-rack-b-02"), "pi4-rack-b-01 and -02"),
        (("pi4-b-01", "pi4-b-02", "pi4-b-03"), "pi4-b-01, -02 and -03"),
        (("pi4-b-01", "pi4-b-02", "pi4-b-03", "pi4-b-04"), "pi4-b-01, -02, -03 and 1 more"),
        (("pi4-b-01", "cm4-bench"), "pi4-b-01 and cm4-bench"),
        (("one", "oneself"), "one and oneself"),
    ],
)
def test_many_names_say_once_what_they_have_in_common(names: tuple[str, ...], said: str) -> None:
    assert listed(names) == said
