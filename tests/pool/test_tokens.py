"""Credentials come, are used up, and end; and all of it is on record."""

from __future__ import annotations

import pytest

from picluster.errors import Conflict, NotFound, PiclusterError
from picluster.pool.commands import IssueToken
from picluster.pool.model import Role, Token
from tests.pool.day import Day, actor


@pytest.fixture
def day() -> Day:
    return Day()


def token(name: str, kind: str = "person", role: Role = Role.USER) -> Token:
    return Token(f"t-{name}", kind, name, role, digest=f"sha256-of-{name}")


LINK = token("setup", "setup", Role.ADMIN)


def test_a_token_is_issued_and_who_issued_it_is_recorded(day: Day) -> None:
    issued = day.issue(token("ann"))
    assert issued == day.token("t-ann")
    assert issued.revision == day.pool.revision
    (event,) = day.happened
    assert (event.kind, event.actor) == ("token.issued", "root")
    assert event.detail == {"token": "t-ann", "kind": "person", "name": "ann", "role": "user"}


def test_the_record_never_holds_what_opens_a_door(day: Day) -> None:
    """Not even its digest, for the record is read by more people than the token table."""
    day.issue(token("ann"))
    day.revoke("t-ann")
    assert "sha256-of-ann" not in repr(day.record)


def test_an_id_is_issued_once(day: Day) -> None:
    """A second token under the same id would replace the first one unseen; a revoked one stays revoked."""
    day.issue(token("ann"))
    day.revoke("t-ann")
    with pytest.raises(Conflict):
        day.issue(token("ann"))
    assert day.token("t-ann").revoked


def test_a_one_time_link_is_exchanged_once(day: Day) -> None:
    day.issue(LINK)
    day.issue(token("root", role=Role.ADMIN), redeeming=LINK.id)
    assert day.token(LINK.id).revoked
    with pytest.raises(NotFound):
        day.issue(token("thief", role=Role.ADMIN), redeeming=LINK.id)
    assert "t-thief" not in day.pool.ledger.roster.tokens


def test_of_two_who_redeem_in_one_batch_one_gets_the_token(day: Day) -> None:
    """Whoever comes second is told, in the same commit, that somebody was faster."""
    day.issue(LINK)
    first, second = day.turn(
        IssueToken(actor("root"), token("one", role=Role.ADMIN), redeeming=LINK.id),
        IssueToken(actor("root"), token("two", role=Role.ADMIN), redeeming=LINK.id),
    )
    assert isinstance(first, Token) and isinstance(second, NotFound)
    assert set(day.pool.ledger.roster.tokens) == {LINK.id, "t-one"}


def test_a_failed_exchange_does_not_use_up_the_link(day: Day) -> None:
    """The link is there for the next try."""
    day.issue(LINK)
    day.issue(token("ann"))
    with pytest.raises(Conflict):
        day.issue(token("ann"), redeeming=LINK.id)
    assert not day.token(LINK.id).revoked


def test_a_revoked_link_opens_nothing(day: Day) -> None:
    """A newer one was printed."""
    day.issue(LINK)
    day.revoke(LINK.id)
    with pytest.raises(NotFound, match="used already"):
        day.issue(token("root", role=Role.ADMIN), redeeming=LINK.id)


def test_revoking_twice_is_the_same_answer(day: Day) -> None:
    day.issue(token("ann"))
    first = day.revoke("t-ann")
    assert first.revoked and first.revoked_s == day.now
    day.passes(10)
    assert day.revoke("t-ann") == first
    assert day.kinds().count("token.revoked") == 1


def test_a_revoked_token_has_a_newer_revision(day: Day) -> None:
    """That is how every replica learns of it."""
    issued = day.issue(token("ann"))
    assert day.revoke("t-ann").revision > issued.revision
    assert list(day.changed) == [day.token("t-ann")]


def test_revoking_what_is_not_there_says_where_to_look(day: Day) -> None:
    with pytest.raises(PiclusterError) as caught:
        day.revoke("t-ann")
    assert "picluster token list" in caught.value.hint


def test_revoking_a_persons_token_leaves_their_leases(day: Day) -> None:
    """A lost laptop is no reason to stop the work on the boards; an operator may do that on purpose."""
    day.board("pi-1")
    day.issue(token("ann"))
    day.ask("ann", "lease-1")
    day.revoke("t-ann")
    assert day.state("lease-1") == "held"
