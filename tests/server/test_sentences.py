"""Every kind of event is a sentence, whoever did it and to whatever; and what others chose stands in it as text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import picluster.pool
from picluster.pool.model import Event, Service
from picluster.server.pages.icons import icon
from picluster.server.sentences import (
    ENDINGS,
    GROUPS,
    HIGHLIGHTS,
    NO_VERDICT,
    SENTENCES,
    STEPS,
    TAKEN_OUT,
    VERDICTS,
    tell,
    told,
)
from picluster.server.words import STATES
from tests.pool.day import Day

POOL = Path(picluster.pool.__file__).parent
KIND = re.compile(r'"((?:lease|machine|pool|queue|token|session|person|webhook)\.[a-z_]+)"')


def event(kind: str, *, actor: str = "ann", **more: Any) -> Event:
    detail = {
        key: more.pop(key) for key in list(more) if key not in ("machine", "holder", "lease", "address")
    }
    return Event(revision=7, epoch=1, at_us=0, kind=kind, actor=actor, detail=detail, **more)


def said(kind: str, **more: Any) -> str:
    one = tell(event(kind, **more))
    return f"{one.plain} ({one.more})" if one.more else one.plain


def kinds_of_the_pool() -> set[str]:
    """What the rules note: written out, or made of the kinds of service that a person can put a machine into."""
    written = {kind for file in POOL.glob("*.py") for kind in KIND.findall(file.read_text())}
    return written | {f"machine.{service.value}" for service in Service}


def test_no_kind_of_event_is_without_a_sentence() -> None:
    assert kinds_of_the_pool() == set(SENTENCES)


def test_the_kinds_are_found_where_they_are_noted() -> None:
    """Or the test above would hold for a pool that notes nothing."""
    assert {"lease.held", "machine.offline", "person.added", "pool.epoch"} <= kinds_of_the_pool()


def test_every_reason_that_a_lease_can_end_for_is_told() -> None:
    """Those that the rules write where they end a lease; and no sentence is for a reason that they do not know."""
    sources = "\n".join(file.read_text() for file in POOL.glob("*.py"))
    written = set(re.findall(r'\bend\(\s*ledger,[^"]*"([a-z_]+)"', sources))
    assert written and written <= set(ENDINGS)
    assert all(f'"{why}"' in sources for why in ENDINGS)


@pytest.mark.parametrize(
    "says", [*SENTENCES.values(), *ENDINGS.values(), *VERDICTS.values(), NO_VERDICT, TAKEN_OUT]
)
def test_each_has_an_icon_and_a_colour_that_there_are(says: Any) -> None:
    assert icon(says.icon)
    assert says.state in ("", "warn", *STATES)


def test_each_belongs_to_a_group_and_to_the_highlights_unless_it_is_a_step() -> None:
    assert {kind for _, kinds in GROUPS.values() for kind in kinds} == set(SENTENCES)
    assert set(HIGHLIGHTS) | set(STEPS) == set(SENTENCES)
    assert not set(HIGHLIGHTS) & set(STEPS)


@pytest.mark.parametrize(
    ("happened", "sentence"),
    [
        (
            event("lease.asked", holder="ann", selector="model:pi5", count=1, job="x"),
            "ann asked for model:pi5",
        ),
        (event("lease.asked", holder="ann", selector="", count=3), "ann asked for any machine, 3 at once"),
        (event("lease.asked", holder="ann", selector="name:pi-1", count=1), "ann asked for pi-1"),
        (event("lease.held", actor="picluster", holder="ann", machine="pi-1"), "ann locked pi-1"),
        (event("lease.ended", holder="ann", machine="pi-1", why="released"), "ann gave back pi-1"),
        (event("lease.ended", holder="ann", why="cancelled"), "ann left the queue"),
        (
            event("lease.ended", actor="picluster", holder="ann", machine="pi-1", why="expired"),
            "The lease of ann on pi-1 ran out",
        ),
        (
            event("lease.ended", actor="op", holder="ann", machine="pi-1", why="taken_back"),
            "op took pi-1 from ann",
        ),
        (event("lease.ended", actor="op", holder="ann", why="taken_back"), "op took ann out of the queue"),
        (
            event("lease.ended", holder="ann", machine="pi-1", why="something_new"),
            "The lease of ann on pi-1 ended: something_new",
        ),
        (
            event("lease.changed", holder="ann", machine="pi-1", changed=["ssh_public_keys", "ttl_s"]),
            "ann changed the SSH keys and the length of the lease on pi-1",
        ),
        (event("machine.drained", actor="op", machine="pi-1"), "op took pi-1 out of service"),
        (event("machine.quarantined", actor="op", machine="pi-1"), "op quarantined pi-1"),
        (event("machine.quarantined", actor="picluster", machine="pi-1"), "pi-1 was taken out of service"),
        (event("session.begun", name="ann"), "ann logged in"),
        (event("queue.long", actor="picluster", waiting=20), "The queue is long"),
        (event("webhook.tested", name="room", outcome="204"), "ann tried the webhook room"),
        (event("webhook.gave_up", actor="picluster", name="room"), "The webhook room did not take its news"),
        (event("kind.of.tomorrow", machine="pi-1"), "kind.of.tomorrow"),
        (event("{actor.__class__}"), "{actor.__class__}"),
    ],
)
def test_what_is_said(happened: Event, sentence: str) -> None:
    """A kind that only a newer service knows is at least named; and no name is taken for a place to fill in."""
    assert tell(happened).plain == sentence


def test_several_machines_are_spoken_of_as_several() -> None:
    judged = event("lease.judged", holder="ann", machine="pi-1", verdict="clean")
    assert tell(judged, ("pi-1", "pi-2")).plain == "pi-1 and -2 were clean all the time that ann had them"


def test_what_stands_behind_a_sentence() -> None:
    assert said("lease.held", holder="ann", machine="pi-1", job="camera").endswith("(camera)")
    assert said(
        "lease.judged", holder="ann", machine="pi-1", verdict="dirty", reasons=["hot", "throttled"]
    ) == ("pi-1 was dirty while ann had it (hot; throttled)")
    failed = said("machine.powered", machine="pi-1", action="cycle", outcome="exit 3")
    assert failed == ("The power of pi-1 was not switched for ann (cycle: exit 3)")
    assert said("machine.powered", machine="pi-1", action="cycle", outcome="exit 0") == (
        "The power of pi-1 was switched for ann (cycle)"
    )
    assert said(
        "machine.amended", machine="pi-1", labels={"rack": "b", "camera": "", "old": None}, comment="new"
    ) == ("ann changed the labels and the comment of pi-1 (rack:b camera -old · new)")
    assert said("machine.amended", machine="pi-1", comment="") == "ann changed the comment of pi-1"
    for ttl_s, until in ((7200.0, "2 h from then"), (None, "no end")):
        longer = said("lease.changed", holder="ann", machine="pi-1", changed=["ttl_s"], ttl_s=ttl_s)
        assert longer == f"ann changed the length of the lease on pi-1 ({until})"
    assert said("person.changed", name="bob", role="user", disabled=True, password="changed") == (
        "ann changed the account of bob (user, disabled, another password)"
    )


def test_several_machines_of_one_lease_are_one_sentence() -> None:
    day = Day()
    for name in ("rack-b-01", "rack-b-02", "rack-b-03"):
        day.board(name)
    day.ask("ann", "hers", count=3)
    (held,) = [one for one in told(day.record) if one.event.kind == "lease.held"]
    assert held.plain == "ann locked rack-b-01, -02 and -03"
    assert held.machines == ("rack-b-01", "rack-b-02", "rack-b-03")


def test_the_same_of_two_leases_is_two_sentences() -> None:
    day = Day()
    for name in ("pi-1", "pi-2"):
        day.board(name)
    day.turn(day.asking("ann", "hers", "pi-1"), day.asking("bob", "his", "pi-2"))
    held = [one.plain for one in told(day.record) if one.event.kind == "lease.held"]
    assert held == ["ann locked pi-1", "bob locked pi-2"]


def test_markup_in_a_name_stays_text() -> None:
    canary = "<img src=x onerror=alert(1)>"
    one = tell(event("lease.held", holder=canary, machine=canary, job=canary))
    assert "<img" not in one.words and "&lt;img" in one.words
    assert 'href="/m/%3Cimg' in one.words
    assert canary in one.plain


def test_marks_that_turn_the_direction_of_writing_are_shown() -> None:
    assert "\u202e" not in tell(event("lease.held", holder="ann\u202enna", machine="pi-1")).words
