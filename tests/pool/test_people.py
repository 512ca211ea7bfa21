"""Accounts cap what credentials are worth, end them when they should, and never leave a pool without an admin."""

from __future__ import annotations

from typing import Any

import pytest

from picluster.errors import Conflict, NotAuthenticated, NotFound, PiclusterError
from picluster.pool.commands import AddPerson, AmendPerson, ForgetPerson, IssueToken, Rehash
from picluster.pool.model import CONFIGURED_ADMIN, SESSION, Person, Role, Token
from picluster.pool.people import has_admin, standing
from tests.pool.day import SLACK_S, Day, actor

DAY_S = 86_400.0
ROOT = actor("root")


@pytest.fixture
def day() -> Day:
    """A pool whose admin has an account."""
    day = Day()
    add(day, "root", Role.ADMIN)
    return day


def add(day: Day, name: str, role: Role = Role.USER, password: str = "hash", **more: Any) -> Person:
    person: Person = day.take(AddPerson(ROOT, Person(name, role, password, created_by="root", **more)))
    return person


def amend(day: Day, name: str, **changes: Any) -> Person:
    person: Person = day.take(AmendPerson(ROOT, name, **changes))
    return person


def forget(day: Day, name: str) -> Person:
    person: Person = day.take(ForgetPerson(ROOT, name))
    return person


def known(day: Day, name: str) -> Person | None:
    return day.pool.ledger.roster.person(name)


def log_in(day: Day, name: str, number: int = 1, how: str = "password", **more: Any) -> Token:
    expires_us = day.wall_us + int(14 * DAY_S * 1e6)
    return day.issue(
        Token(f"s-{name}-{number}", SESSION, name, Role.USER, "x", how, expires_us=expires_us, **more)
    )


def personal(day: Day, name: str, role: Role = Role.USER, **more: Any) -> Token:
    return day.issue(Token(f"t-{name}", "person", name, role, "x", "root", **more))


# Coming, changing, going


def test_an_account_is_made_and_who_made_it_is_recorded(day: Day) -> None:
    ann = add(day, "ann", Role.OPERATOR)
    assert ann == known(day, "ann") and ann.revision == day.pool.revision
    (event,) = day.happened
    assert (event.kind, event.actor) == ("person.added", "root")
    assert event.detail == {"name": "ann", "role": "operator", "disabled": False}


def test_two_names_differ_by_more_than_case(day: Day) -> None:
    """`Ann` and `ann` would be taken for each other in every list."""
    add(day, "Ann")
    before = day.everything()
    with pytest.raises(Conflict, match="Ann already"):
        add(day, "aNN")
    assert day.everything() == before
    assert amend(day, "ANN", role=Role.VIEWER).name == "Ann"


def test_the_record_never_holds_a_hash(day: Day) -> None:
    add(day, "ann", password="$argon2id$first")
    amend(day, "ann", password="$argon2id$second")
    forget(day, "ann")
    assert "argon2" not in repr(day.record)
    changed = next(event for event in day.record if event.kind == "person.changed")
    assert changed.detail["password"] == "changed"


def test_a_deleted_account_leaves_a_tombstone_without_its_hash(day: Day) -> None:
    """Other replicas have to learn of it; the hash is of no use to anybody."""
    add(day, "ann")
    gone = forget(day, "ann")
    assert (gone.deleted, gone.deleted_s, gone.password) == (True, day.now, "")
    assert known(day, "ann") is None and day.kinds()[-1] == "person.deleted"
    assert day.newcomer().ledger.roster.person("ann") is None


def test_a_name_can_be_given_again(day: Day) -> None:
    """To another person, who gets nothing of the former one; and a replica that starts knows the last one."""
    add(day, "Ann")
    session = log_in(day, "Ann")
    forget(day, "Ann")
    add(day, "ann", Role.VIEWER)
    assert day.token(session.id).revoked
    assert day.newcomer().ledger.roster.person("ANN") == known(day, "ann")


def test_changing_nothing_is_nothing(day: Day) -> None:
    ann = add(day, "ann")
    before = day.everything()
    assert amend(day, "ann", role=Role.USER, disabled=False) == ann
    assert day.everything() == before


@pytest.mark.parametrize("ask", [AmendPerson(ROOT, "nemo", disabled=True), ForgetPerson(ROOT, "nemo")])
def test_who_is_not_there_cannot_be_changed(day: Day, ask: Any) -> None:
    with pytest.raises(NotFound, match="nemo") as caught:
        day.take(ask)
    assert "picluster people list" in caught.value.hint


# What an account is worth


@pytest.mark.parametrize(
    ("account", "disabled", "token", "left"),
    [
        (None, False, Role.ADMIN, Role.ADMIN),
        (Role.USER, False, Role.ADMIN, Role.USER),
        (Role.ADMIN, False, Role.VIEWER, Role.VIEWER),
        (Role.ADMIN, True, Role.ADMIN, Role.NOBODY),
    ],
)
def test_a_credential_is_worth_no_more_than_its_account(
    account: Role | None, disabled: bool, token: Role, left: Role
) -> None:
    person = None if account is None else Person("ann", account, disabled=disabled)
    assert standing(person, token) is left


# What ends with what


def test_another_password_ends_sessions_and_leaves_tokens(day: Day) -> None:
    """Whoever knew the old one is out, in the same turn; programs go on."""
    add(day, "ann"), add(day, "ben")
    first, second, bens = log_in(day, "ann"), log_in(day, "ann", 2), log_in(day, "ben")
    laptop = personal(day, "ann")
    amend(day, "ann", password="another")
    assert day.token(first.id).revoked and day.token(second.id).revoked
    assert not day.token(bens.id).revoked and not day.token(laptop.id).revoked
    assert [event.kind for event in day.happened] == ["person.changed", "session.ended", "session.ended"]


@pytest.mark.parametrize(
    "end", [lambda day: amend(day, "ann", disabled=True), lambda day: forget(day, "ann")]
)
def test_who_is_out_has_nothing_to_come_in_with(day: Day, end: Any) -> None:
    """Sessions and personal tokens, of however the name was written; not what programs and boards have."""
    add(day, "ann")
    mine = [log_in(day, "ann"), personal(day, "ann"), personal(day, "ANN")]
    others = [
        day.issue(Token("ci", "ci", "ann", Role.USER, "x")),
        log_in(day, "legacy:ann", how="legacy"),
        personal(day, "annette"),
    ]
    end(day)
    assert all(day.token(token.id).revoked for token in mine)
    assert not any(day.token(token.id).revoked for token in others)


def test_the_leases_of_who_is_out_stay(day: Day) -> None:
    """A board in the middle of a measurement is not the account's; an operator may take it back."""
    day.board("pi-1")
    add(day, "ann")
    day.ask("ann", "lease-1")
    forget(day, "ann")
    assert day.state("lease-1") == "held"


def test_a_role_that_sinks_leaves_the_session(day: Day) -> None:
    """It is worth less from then on; nobody has to log in again for that."""
    add(day, "ann", Role.OPERATOR)
    session = log_in(day, "ann")
    amend(day, "ann", role=Role.VIEWER)
    assert not day.token(session.id).revoked


def test_the_same_password_under_newer_parameters_ends_nothing(day: Day) -> None:
    add(day, "ann", password="old")
    session = log_in(day, "ann")
    assert day.take(Rehash("ann", "old", "new")).password == "new"
    assert not day.token(session.id).revoked and not day.happened


def test_a_password_changed_meanwhile_is_not_overwritten(day: Day) -> None:
    add(day, "ann", password="old")
    amend(day, "ann", password="changed")
    assert day.take(Rehash("ann", "old", "new")).password == "changed"


def test_who_logs_in_while_the_password_changes_is_asked_for_the_new_one(day: Day) -> None:
    """Comparing takes a while, outside of any turn: what was proven has to be still so in the turn that lets in."""
    add(day, "ann", password="old")
    token = Token("late", SESSION, "ann", Role.USER, "x", "password")
    changed, late = day.turn(AmendPerson(ROOT, "ann", password="new"), IssueToken(ROOT, token, proven="old"))
    assert isinstance(changed, Person) and isinstance(late, NotAuthenticated)
    forget(day, "ann")
    with pytest.raises(NotAuthenticated):
        day.take(IssueToken(ROOT, token, proven="new"))


@pytest.mark.parametrize("kind", ["person", SESSION])
def test_a_disabled_account_gets_no_credentials(day: Day, kind: str) -> None:
    add(day, "ann", disabled=True)
    with pytest.raises(Conflict, match="disabled") as caught:
        day.issue(Token("t", kind, "Ann", Role.USER, "x"))
    assert "picluster people enable ann" in caught.value.hint


# Somebody stays admin


@pytest.mark.parametrize(
    "ask",
    [
        AmendPerson(ROOT, "root", role=Role.OPERATOR),
        AmendPerson(ROOT, "root", disabled=True),
        ForgetPerson(ROOT, "root"),
    ],
)
def test_the_last_admin_stays(day: Day, ask: Any) -> None:
    """A pool that nobody can administer could only be mended with a restart; the refusal says who has to come first."""
    add(day, "ann", Role.ADMIN, password="")  # cannot log in
    add(day, "ben", Role.ADMIN, disabled=True)
    before = day.everything()
    with pytest.raises(Conflict, match="Nobody would be admin") as caught:
        day.take(ask)
    assert "picluster people role NAME admin" in caught.value.hint
    assert day.everything() == before
    add(day, "carl", Role.ADMIN)
    assert not isinstance(day.take(ask), PiclusterError)


def test_an_admin_with_a_token_alone_counts(day: Day) -> None:
    personal(day, "ann", Role.ADMIN)
    assert forget(day, "root").deleted


@pytest.mark.parametrize(
    "token",
    [
        Token("t", "ci", "ann", Role.ADMIN, "x"),
        Token("t", "person", "ann", Role.OPERATOR, "x"),
        Token("t", "person", "ann", Role.ADMIN, "x", revoked=True),
        Token("t", "person", "ann", Role.ADMIN, "x", expires_us=1),
        Token("t", "person", "Root", Role.ADMIN, "x"),
    ],
)
def test_a_token_that_opens_nothing_as_admin_does_not_count(day: Day, token: Token) -> None:
    """A program's, a weaker one, one that is over, and one that ends with the account."""
    day.issue(token)
    with pytest.raises(Conflict):
        forget(day, "root")


def test_an_account_may_not_weaken_the_only_admin_token(day: Day) -> None:
    """An account of the same name decides about a token from then on."""
    personal(day, "ann", Role.ADMIN)
    forget(day, "root")
    with pytest.raises(Conflict, match="Nobody would be admin"):
        add(day, "ann", Role.USER)
    assert add(day, "ann", Role.ADMIN).role is Role.ADMIN


def test_the_operators_token_is_above_accounts(day: Day) -> None:
    """Who runs the service gets in with `PICLUSTER_ADMIN_TOKEN`, whatever happens to an account called admin."""
    day.issue(Token(CONFIGURED_ADMIN, "person", "admin", Role.ADMIN, "x"))
    add(day, "admin", Role.USER)
    session = log_in(day, "admin", how=f"token:{CONFIGURED_ADMIN}")
    amend(day, "admin", disabled=True)
    forget(day, "root")
    assert not day.token(CONFIGURED_ADMIN).revoked and not day.token(session.id).revoked
    assert log_in(day, "admin", 2, how=f"token:{CONFIGURED_ADMIN}")
    assert has_admin(day.pool.ledger.roster, day.wall_us)


def test_a_pool_without_an_admin_may_be_changed() -> None:
    """Before the first one there is none to keep."""
    day = Day()
    add(day, "ann")
    assert forget(day, "ann").deleted


# The first admin


LINK = Token("setup", "setup", "setup", Role.NOBODY, "x")


def first(name: str, redeeming: str = LINK.id) -> AddPerson:
    return AddPerson(actor("setup"), Person(name, Role.ADMIN, "hash"), redeeming)


def test_the_link_makes_one_account() -> None:
    """The account and the end of the link are one turn; of two who press the button one is told who was faster."""
    day = Day()
    day.issue(LINK)
    won, lost = day.turn(first("ann"), first("mallory"))
    assert isinstance(won, Person) and isinstance(lost, NotFound)
    assert day.token(LINK.id).revoked and known(day, "mallory") is None


def test_a_failed_exchange_leaves_the_link() -> None:
    day = Day()
    day.issue(LINK)
    add(day, "ann")
    with pytest.raises(Conflict):
        day.take(first("Ann"))
    assert not day.token(LINK.id).revoked


# Nothing piles up


def test_sessions_that_are_over_are_forgotten(day: Day) -> None:
    """Log-outs and those that ran out, a day later; every copy does it by itself, also one that has just started."""
    add(day, "ann")
    out, stays = log_in(day, "ann"), log_in(day, "ann", 2)
    day.revoke(out.id)
    copies = [day.pool, day.newcomer()]
    assert all(out.id in copy.ledger.roster.tokens for copy in copies)
    for days, left in ((1, {stays.id}), (14, {stays.id}), (15, set())):
        now = day.now + days * DAY_S + SLACK_S
        for copy in copies:
            copy.turn([], now, day.wall_us + int((days * DAY_S + SLACK_S) * 1e6))
            assert set(copy.ledger.roster.tokens) == left, days


def test_a_session_is_not_forgotten_before_its_time_on_the_wall(day: Day) -> None:
    """Service time that ran ahead ends nobody's session."""
    add(day, "ann")
    session = log_in(day, "ann")
    day.pool.turn([], day.now + 100 * DAY_S, day.wall_us)
    assert session.id in day.pool.ledger.roster.tokens


def test_other_tokens_that_ran_out_stay_in_the_list(day: Day) -> None:
    """Whoever looks why one is refused finds out there."""
    old = personal(day, "ann", expires_us=day.wall_us + 1)
    day.pool.turn([], day.now + 100 * DAY_S, day.wall_us + int(100 * DAY_S * 1e6))
    assert old.id in day.pool.ledger.roster.tokens


def test_a_replica_knows_accounts_as_they_are_stored(day: Day) -> None:
    add(day, "ann"), add(day, "ben")
    amend(day, "ann", role=Role.OPERATOR)
    forget(day, "ben")
    assert day.newcomer().ledger.roster.people == day.pool.ledger.roster.people


def test_an_event_of_a_session_is_one_of_a_session(day: Day) -> None:
    add(day, "ann")
    session = log_in(day, "ann")
    day.revoke(session.id)
    assert day.kinds()[-2:] == ["session.begun", "session.ended"]
