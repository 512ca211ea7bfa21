"""One process at a time tells a webhook; how far it has got outlives it; and a long queue is told once."""

from __future__ import annotations

from typing import Any

import pytest

from picluster.errors import Conflict, NotFound
from picluster.pool.commands import AddWebhook, AmendWebhook, ForgetWebhook, NoteTest, TakeUp, Tell
from picluster.pool.model import Attempt, Webhook
from picluster.pool.policy import Policy
from picluster.pool.webhooks import ATTEMPTS_KEPT, MOST, is_due
from tests.pool.day import Day, actor

ROOT = actor("root")
URL = "https://chat.example/services/hidden"


@pytest.fixture
def day() -> Day:
    """A pool with a board and one webhook, `room`."""
    day = Day()
    day.board("pi-1")
    day.take(AddWebhook(ROOT, Webhook("room", "slack", URL)))
    return day


def room(day: Day) -> Webhook:
    return day.pool.ledger.roster.webhooks["room"]


def take_up(day: Day, courier: str, for_s: float = 30.0) -> Webhook:
    webhook: Webhook = day.take(TakeUp("room", courier, for_s))
    return webhook


def tell(day: Day, courier: str, *states: str, cursor: int = 0, **more: Any) -> Webhook:
    """What came of so many messages, a second apart."""
    attempts = tuple(
        Attempt(day.wall_us + number, state, f"news {number}", 1, "said so")
        for number, state in enumerate(states)
    )
    webhook: Webhook = day.take(Tell("room", courier, cursor, attempts, **more))
    return webhook


# What admins do


def test_a_new_webhook_is_told_what_happens_from_now_on(day: Day) -> None:
    """Not what happened before, nor that it was made."""
    before = day.machine("pi-1").revision
    assert before <= room(day).cursor < room(day).revision
    day.take(AddWebhook(ROOT, Webhook("later", "generic", URL)))
    assert day.pool.ledger.roster.webhooks["later"].cursor > room(day).cursor


def test_a_name_is_taken_once_whatever_its_case(day: Day) -> None:
    with pytest.raises(Conflict, match="room already"):
        day.take(AddWebhook(ROOT, Webhook("ROOM", "slack", URL)))


def test_there_is_an_end_to_how_many(day: Day) -> None:
    for number in range(MOST - 1):
        day.take(AddWebhook(ROOT, Webhook(f"w{number}", "slack", URL)))
    with pytest.raises(Conflict, match=str(MOST)):
        day.take(AddWebhook(ROOT, Webhook("one-more", "slack", URL)))


def test_what_happens_during_a_pause_is_never_told(day: Day) -> None:
    day.take(AmendWebhook(ROOT, "room", paused=True))
    day.drain("pi-1")
    drained = day.machine("pi-1").revision
    day.take(AmendWebhook(ROOT, "room", paused=False))
    assert not is_due(room(day), drained)


def test_what_waited_before_a_pause_is_due_after_it(day: Day) -> None:
    """Told at least once: a pause keeps back what happens meanwhile, and nothing else."""
    day.drain("pi-1")
    waiting = day.machine("pi-1").revision
    day.take(AmendWebhook(ROOT, "room", paused=True))
    day.undrain("pi-1")
    meanwhile = day.machine("pi-1").revision
    day.take(AmendWebhook(ROOT, "room", paused=False))
    day.drain("pi-1")
    later = day.machine("pi-1").revision
    assert [is_due(room(day), one) for one in (waiting, meanwhile, later)] == [True, False, True]


def test_several_pauses_are_forgotten_when_all_before_them_is_told(day: Day) -> None:
    for paused in (True, False, True, False, True):
        day.take(AmendWebhook(ROOT, "room", paused=paused))
    first, second, now = room(day).pauses
    assert not is_due(room(day), first.until) and not is_due(room(day), second.until) and not now.until
    take_up(day, "a")
    assert tell(day, "a", cursor=first.until).pauses == (second, now)


def test_what_was_mended_is_tried_at_once(day: Day) -> None:
    take_up(day, "a")
    tell(day, "a", "failed", failures=1, pause_s=300.0)
    assert room(day).retry_s == day.now + 300.0
    day.take(AmendWebhook(ROOT, "room", url="https://chat.example/other"))
    assert (room(day).retry_s, room(day).failures, room(day).failing_since_us) == (0.0, 0, 0)


def test_a_test_that_arrives_shows_that_the_receiver_is_mended(day: Day) -> None:
    """Nobody is woken for it any more, and what waits is tried at once; one that does not arrive changes nothing."""
    take_up(day, "a")
    failing = tell(day, "a", "failed", failures=1, pause_s=300.0)
    assert day.take(NoteTest(ROOT, "room", "404")) == failing
    day.take(NoteTest(ROOT, "room", "204", arrived=True))
    assert (room(day).retry_s, room(day).failures, room(day).failing_since_us) == (0.0, 0, 0)
    assert room(day).courier == failing.courier


def test_a_test_of_what_goes_well_changes_nothing(day: Day) -> None:
    """Each change of a webhook goes to every process; a test is worth none."""
    before = room(day)
    assert day.take(NoteTest(ROOT, "room", "204", arrived=True)) == before


def test_who_has_refused_the_last_message_is_not_well(day: Day) -> None:
    """An address that was revoked is given up within seconds, and would look well again for ever."""
    take_up(day, "a")
    tell(day, "a", *["failed"] * 3, "given_up")
    assert room(day).failing_since_us


def test_what_was_changed_is_recorded_and_not_to_what(day: Day) -> None:
    day.take(AmendWebhook(ROOT, "room", url="https://chat.example/other-hidden", secret="whsec_hidden"))
    changed = day.record[-1]
    assert changed.detail["changed"] == ["url", "secret"] and "hidden" not in str(changed.detail)


def test_what_is_done_is_recorded_without_the_address(day: Day) -> None:
    """It may be a secret; its host is not."""
    day.take(AmendWebhook(ROOT, "room", paused=True))
    day.take(NoteTest(ROOT, "room", "200"))
    day.take(ForgetWebhook(ROOT, "room"))
    told = [event for event in day.record if event.kind.startswith("webhook.")]
    assert [event.kind.split(".")[1] for event in told] == ["added", "changed", "tested", "deleted"]
    assert all(event.actor == "root" and "hidden" not in str(event.detail) for event in told)
    assert told[0].detail["host"] == told[-1].detail["host"] == "chat.example"


@pytest.mark.parametrize("rest", ["?token=hidden", "#hidden", "/hidden", "/?a=/hidden", "?mail=a@hidden"])
def test_a_host_is_all_that_is_recorded_wherever_it_ends(day: Day, rest: str) -> None:
    """And whoever signs in with the address is not part of it."""
    day.take(AddWebhook(ROOT, Webhook("ci", "generic", f"https://ann:hidden@ci.example:8443{rest}")))
    assert day.record[-1].detail["host"] == "ci.example:8443"


def test_of_a_webhook_that_is_gone_no_secret_is_left(day: Day) -> None:
    day.take(ForgetWebhook(ROOT, "room"))
    tombstone = day.stored["Webhook", "room"]
    assert isinstance(tombstone, Webhook) and tombstone.deleted
    assert (tombstone.url, tombstone.secret) == ("", "")
    with pytest.raises(NotFound):
        day.take(ForgetWebhook(ROOT, "room"))


# Who tells it


def test_one_tells_it_and_another_takes_over_when_it_is_gone(day: Day) -> None:
    """As any lease: in service time, and only after its end."""
    take_up(day, "a")
    with pytest.raises(Conflict):
        take_up(day, "b")
    day.passes(29)
    with pytest.raises(Conflict):
        take_up(day, "b")
    day.passes(2)
    assert take_up(day, "b").courier == "b"


def test_whose_time_is_over_says_nothing_any_more(day: Day) -> None:
    """A process that was paused must not move the cursor back, nor forward, for the one that took over."""
    take_up(day, "a")
    day.passes(31)
    take_up(day, "b")
    tell(day, "b", "delivered", cursor=room(day).cursor + 5, for_s=30.0)
    before = room(day)
    with pytest.raises(Conflict):
        tell(day, "a", "failed", cursor=before.cursor + 9, failures=1)
    assert room(day) == before


def test_whoever_says_how_it_goes_stays_the_one(day: Day) -> None:
    take_up(day, "a")
    day.passes(25)
    tell(day, "a", "delivered", for_s=30.0)
    day.passes(25)
    with pytest.raises(Conflict):
        take_up(day, "b")


def test_when_nothing_is_left_anybody_may_be_next(day: Day) -> None:
    take_up(day, "a")
    tell(day, "a", "delivered", delivered=1)
    assert take_up(day, "b").courier == "b"


def test_of_a_webhook_of_the_same_name_nobody_is_the_courier(day: Day) -> None:
    take_up(day, "a")
    day.take(ForgetWebhook(ROOT, "room"))
    day.take(AddWebhook(ROOT, Webhook("room", "slack", URL)))
    with pytest.raises(Conflict):
        tell(day, "a", "delivered")
    assert take_up(day, "b").courier == "b"


# How it goes


def test_a_cursor_never_goes_back(day: Day) -> None:
    take_up(day, "a")
    start = room(day).cursor
    assert tell(day, "a", "delivered", cursor=start + 7, for_s=30.0).cursor == start + 7
    assert tell(day, "a", "failed", cursor=start, for_s=30.0).cursor == start + 7


def test_since_when_it_fails_is_known_until_it_does_not(day: Day) -> None:
    take_up(day, "a")
    first_us = day.wall_us
    assert tell(day, "a", "failed", failures=1, for_s=30.0).failing_since_us == first_us
    day.passes(5)
    assert tell(day, "a", "failed", failures=2, for_s=30.0).failing_since_us == first_us
    assert tell(day, "a", "delivered", "failed", failures=1, for_s=30.0).failing_since_us == day.wall_us + 1
    assert tell(day, "a", "delivered", for_s=30.0).failing_since_us == 0


def test_the_last_attempts_are_kept_newest_first(day: Day) -> None:
    take_up(day, "a")
    tell(day, "a", *["failed"] * ATTEMPTS_KEPT, for_s=30.0)
    webhook = tell(day, "a", "failed", "delivered", for_s=30.0)
    assert len(webhook.attempts) == ATTEMPTS_KEPT
    assert [one.state for one in webhook.attempts[:3]] == ["delivered", "failed", "failed"]


def test_what_is_given_up_is_an_event_and_counted(day: Day) -> None:
    """So that it can be found when nobody looked at the list in time."""
    take_up(day, "a")
    tell(day, "a", "given_up", "delivered", delivered=1)
    (lost,) = [event for event in day.record if event.kind == "webhook.gave_up"]
    assert lost.detail == {"name": "room", "about": "news 0", "count": 1, "outcome": "said so"}
    assert (room(day).given_up, room(day).delivered) == (1, 1)


# A long queue


def crowd(day: Day, *numbers: int) -> None:
    for number in numbers:
        day.ask(f"p{number}", f"l{number}")


def test_a_long_queue_is_told_when_it_begins_and_when_it_is_over() -> None:
    """And not at each who comes or goes meanwhile."""
    day = Day(Policy(crowded=4))
    day.board("pi-1")
    crowd(day, 0, 1, 2, 3)  # one of them has the board
    assert "queue.long" not in day.kinds()
    crowd(day, 4)
    for number in (4, 3):  # comes and goes around the limit
        day.release(f"l{number}")
        crowd(day, number + 10)
    (told,) = [event for event in day.record if event.kind == "queue.long"]
    assert told.detail == {"waiting": 4}
    day.release("l13")
    assert "queue.short" not in day.kinds()
    day.release("l14")
    assert day.record[-1].kind == "queue.short" and day.record[-1].detail == {"waiting": 2}


def test_a_queue_that_is_told_of_has_a_revision_of_its_own() -> None:
    """The record is read by revision: one that a reader has passed already would never be told."""
    day = Day(Policy(crowded=1))
    day.board("pi-1")
    day.turn(day.asking("ann", "a"), day.asking("ben", "b"))
    (told,) = [event for event in day.record if event.kind == "queue.long"]
    assert told.revision > max(row.revision for row in day.changed)
    assert day.pool.revision == told.revision


def test_a_limit_of_nothing_is_no_limit() -> None:
    day = Day(Policy(crowded=0))
    day.board("pi-1")
    crowd(day, *range(5))
    assert "queue.long" not in day.kinds()
