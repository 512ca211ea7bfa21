"""How a board comes in, how it is known again, and what happens when two say that they are the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from picluster.errors import NotAllowed, NotAuthenticated
from picluster.pool.boards import plain
from picluster.pool.commands import Beat, Forget
from picluster.pool.enrolment import machine_name
from picluster.pool.model import Actor, Mode, Presence, Role, Service, Token
from tests.pool.day import Day, actor

KEYS, OTHER_KEYS = ("ssh-ed25519 AAAA",), ("ssh-ed25519 BBBB",)


def join_token(day: Day, name: str = "shelf", uses: int = 1, *, approve: bool = False) -> str:
    day.issue(Token(name, "join", name, Role.JOIN, "digest", uses_left=uses, approve=approve))
    return name


@pytest.fixture
def day() -> Day:
    day = Day()
    join_token(day, uses=2)
    return day


def agent_tokens(day: Day, machine: str) -> list[Token]:
    """Those that are worth something."""
    roster = day.pool.ledger.roster
    return [token for token in roster.tokens.values() if token.name == machine and not token.revoked]


# --- Joining ------------------------------------------------------------------------------------------------


def test_a_board_that_joins_is_listed_and_leased_once_it_has_beaten(day: Day) -> None:
    machine = day.joins("pi5-a", "shelf", keys=KEYS)
    assert (machine.name, machine.service, machine.presence) == (
        "pi5-a",
        Service.IN_SERVICE,
        Presence.OFFLINE,
    )
    day.ask("ann", "a", "pi5-a")
    assert day.state("a") == "waiting"
    day.beats("pi5-a")
    assert day.state("a") == "held"
    assert "machine.joined" in day.kinds()


def test_joining_again_is_the_same_machine_and_costs_nothing(day: Day) -> None:
    """The answer was lost: the board asks again, gets a fresh token, and the first one is worth nothing."""
    for _ in range(5):
        assert day.joins("pi5-a", "shelf", keys=KEYS).name == "pi5-a"
    assert day.token("shelf").uses_left == 1
    assert len(agent_tokens(day, "pi5-a")) == 1


def test_a_join_token_lets_in_so_many_boards(day: Day) -> None:
    day.joins("pi5-a", "shelf")
    day.joins("pi5-b", "shelf")
    before = day.everything()
    with pytest.raises(NotAllowed, match="as many boards as it may"):
        day.joins("pi5-c", "shelf")
    assert day.everything() == before
    assert day.joins("pi5-a", "shelf").name == "pi5-a", "who is in may ask again"


def test_two_boards_of_one_name_are_two_machines(day: Day) -> None:
    assert day.joins("raspberrypi", "shelf", serial="one").name == "raspberrypi"
    assert day.joins("raspberrypi ", "shelf", wanted="raspberrypi", serial="two").name == "raspberrypi-2"


@pytest.mark.parametrize(
    ("wanted", "name"),
    [("pi 5!", "pi-5-"), ("-pi", "pi"), ("..", "machine"), ("", "machine"), ("é" * 99, "machine")],
)
def test_a_name_is_made_of_whatever_a_board_calls_itself(wanted: str, name: str) -> None:
    assert machine_name(wanted) == name


def test_a_board_that_is_to_be_approved_waits_for_a_person(day: Day) -> None:
    join_token(day, "strict", approve=True)
    day.joins("pi5-a", "strict")
    day.beats("pi5-a")
    assert day.machine("pi5-a").service is Service.PENDING
    day.ask("ann", "a", "pi5-a")
    assert day.state("a") == "waiting"
    day.undrain("pi5-a")
    assert day.state("a") == "held"


def test_asking_again_does_not_undo_an_approval(day: Day) -> None:
    join_token(day, "strict", approve=True)
    day.joins("pi5-a", "strict")
    day.undrain("pi5-a")
    assert day.joins("pi5-a", "strict").service is Service.IN_SERVICE


def test_a_forgotten_board_needs_a_new_token(day: Day) -> None:
    """Or one that nobody approved would come back by itself, in service."""
    join_token(day, "strict", approve=True)
    day.joins("pi5-a", "strict")
    day.forget("pi5-a")
    assert agent_tokens(day, "pi5-a") == []


# --- Known again --------------------------------------------------------------------------------------------


def test_a_rewritten_card_waits_for_a_person_and_leases_keep_the_keys_they_pinned(day: Day) -> None:
    day.joins("pi5-a", "shelf", keys=KEYS)
    day.beats("pi5-a")
    day.ask("ann", "a", "pi5-a")
    day.joins("pi5-a", "shelf", keys=OTHER_KEYS)
    machine = day.beats("pi5-a")
    assert (machine.service, machine.host_keys) == (Service.ATTENTION, KEYS)
    assert "host keys" in machine.reason
    assert day.state("a") == "held"
    assert day.undrain("pi5-a").host_keys == OTHER_KEYS
    assert day.beats("pi5-a").service is Service.IN_SERVICE


def test_changed_host_keys_in_a_beat_are_not_believed(day: Day) -> None:
    day.board("pi")
    day.beats("pi", keys=KEYS)
    machine = day.beats("pi", keys=OTHER_KEYS)
    assert (machine.service, machine.host_keys) == (Service.ATTENTION, KEYS)
    revision = machine.revision
    assert day.beats("pi").revision == revision, "it is said once"


def test_a_key_beside_the_known_ones_is_not_believed_either(day: Day) -> None:
    """Host keys are public: who has stolen a board's token could report them, and one of its own."""
    day.board("pi")
    day.beats("pi", keys=KEYS)
    assert day.beats("pi", keys=KEYS + OTHER_KEYS).service is Service.ATTENTION


def test_a_board_that_cannot_read_its_keys_is_still_the_same(day: Day) -> None:
    """And what is pinned stays pinned, or the next key would be believed."""
    day.board("pi")
    day.beats("pi", keys=KEYS)
    machine = day.beats("pi", keys=())
    assert (machine.service, machine.host_keys) == (Service.IN_SERVICE, KEYS)


def test_a_card_in_another_board_waits_for_a_person(day: Day) -> None:
    day.board("pi")
    machine = day.beats("pi", serial="another")
    assert (machine.service, machine.id) == (Service.ATTENTION, "serial-pi")
    assert day.undrain("pi").id == "another"
    assert day.beats("pi").service is Service.IN_SERVICE


# --- Two that are one ---------------------------------------------------------------------------------------


def test_whoever_says_to_be_a_known_board_gets_nothing_before_a_person_agrees(day: Day) -> None:
    """Identity and host keys are no secrets. The one that is known keeps beating meanwhile."""
    day.joins("pi5-a", "shelf", serial="card", keys=KEYS)
    day.beats("pi5-a")
    (known,) = agent_tokens(day, "pi5-a")
    claimed = day.joins("twin", "shelf", wanted="pi5-a", serial="card", keys=KEYS, boot=9)
    assert (claimed.name, claimed.service) == ("pi5-a", Service.ATTENTION)
    assert known in agent_tokens(day, "pi5-a") and not known.approve
    (doubted,) = [token for token in agent_tokens(day, "pi5-a") if token != known]
    assert doubted.approve, "worth nothing yet"
    day.undrain("pi5-a")
    (now,) = agent_tokens(day, "pi5-a")
    assert (now.id, now.approve) == (doubted.id, False)


def test_a_board_that_is_set_up_anew_while_it_runs_is_simply_the_same(day: Day) -> None:
    """With whatever join token: nobody but the board knows which boot this is."""
    join_token(day, "another")
    day.joins("pi5-a", "shelf", keys=KEYS)
    day.beats("pi5-a")
    (old,) = agent_tokens(day, "pi5-a")
    assert day.joins("pi5-a", "another", keys=KEYS).service is Service.IN_SERVICE
    (new,) = agent_tokens(day, "pi5-a")
    assert (new.id != old.id, new.approve) == (True, False)
    assert day.token("another").uses_left == 0


def test_no_keys_at_all_are_no_way_in_either(day: Day) -> None:
    day.joins("pi5-a", "shelf", keys=KEYS)
    day.beats("pi5-a")
    day.falls_silent("pi5-a")
    day.passes(1_000)
    assert day.joins("thief", "shelf", serial="serial-pi5-a", keys=(), boot=5).service is Service.ATTENTION


def test_a_used_up_token_is_no_way_into_boards_that_joined_with_it(day: Day) -> None:
    join_token(day, "once")
    day.joins("pi5-a", "once", keys=KEYS)
    with pytest.raises(NotAllowed, match="as many boards"):
        day.joins("thief", "once", serial="serial-pi5-a", keys=KEYS, boot=7)


def test_a_revoked_join_token_lets_nobody_in(day: Day) -> None:
    """Also when the question was under way before."""
    day.revoke("shelf")
    with pytest.raises(NotAuthenticated, match="revoked"):
        day.joins("pi5-a", "shelf")


def test_an_expired_join_token_lets_nobody_in(day: Day) -> None:
    day.issue(Token("old", "join", "old", Role.JOIN, "digest", uses_left=1, expires_us=day.wall_us))
    with pytest.raises(NotAuthenticated, match="expired"):
        day.joins("pi5-a", "old")


def test_a_board_whose_token_is_revoked_in_the_same_batch_is_not_heard(day: Day) -> None:
    """Or a forgotten board would be back at once."""
    day.joins("pi5-a", "shelf", keys=KEYS)
    (token,) = agent_tokens(day, "pi5-a")
    by = Actor("agent:pi5-a", Role.AGENT, machine="pi5-a", token=token.id)
    beat = Beat(by, "pi5-a", day.boards["pi5-a"].report)
    _, answer = day.turn(Forget(actor("op"), "pi5-a"), beat)
    assert isinstance(answer, NotAuthenticated)
    assert "pi5-a" not in day.pool.ledger.roster.machines


def test_a_forgotten_board_that_joins_again_brings_its_past_and_no_doubt_about_the_pool(day: Day) -> None:
    """Its fence is later than any that the new row knows; that proves nothing, since it was this pool's."""
    day.joins("pi5-a", "shelf", keys=KEYS)
    day.beats("pi5-a", mode=Mode.ENFORCED)
    day.ask("ann", "a", "pi5-a")
    day.opens("pi5-a")
    fence = day.machine("pi5-a").fence
    day.release("a")
    day.forget("pi5-a")
    epoch = day.pool.ledger.state.epoch
    day.joins("pi5-a", "shelf", keys=KEYS)
    assert day.machine("pi5-a").cleaning == fence, "what is owed stays owed"
    day.beats("pi5-a", mode=Mode.ENFORCED, fence=fence, closed=False)
    assert day.pool.ledger.state.epoch == epoch
    day.ask("bob", "b", "pi5-a")
    assert day.state("b") == "waiting"
    day.beats("pi5-a", fence=fence, closed=True)
    assert day.state("b") == "held"


def test_a_board_long_forgotten_raises_no_epoch(day: Day) -> None:
    day.board("pi", Mode.ENFORCED)
    day.ask("ann", "a", "pi")
    day.opens("pi")
    fence = day.machine("pi").fence
    day.release("a")
    day.closes("pi")
    day.forget("pi")
    day.now += 100_000
    day.wait()
    epoch = day.pool.ledger.state.epoch
    assert day.beats("pi", fence=fence, closed=True).fence == fence
    assert day.pool.ledger.state.epoch == epoch


def test_a_name_that_somebody_made_a_token_for_is_taken(day: Day) -> None:
    day.issue(Token("by-hand", "agent", "pi5-a", Role.AGENT, "digest"))
    assert day.joins("pi5-a", "shelf").name == "pi5-a-2"
    assert day.token("by-hand").revoked is False


def test_host_keys_that_come_after_the_first_beat_are_taken_over(day: Day) -> None:
    """On a card's first boot sshd makes its keys when the agent runs already."""
    machine = day.board("pi")
    assert plain(machine, day.boards["pi"].report, 1, day.wall_us, day.policy)
    day.boards["pi"] = replace(day.boards["pi"], keys=KEYS)
    assert not plain(machine, day.boards["pi"].report, 1, day.wall_us, day.policy)
    assert day.beats("pi").host_keys == KEYS


def test_a_claim_that_was_taken_back_is_not_believed_later(day: Day) -> None:
    """The card is in its own board again: what it said in between is over."""
    day.board("pi")
    day.beats("pi", keys=KEYS)
    day.beats("pi", serial="other", keys=OTHER_KEYS)
    day.beats("pi", serial="serial-pi", keys=KEYS)
    machine = day.undrain("pi")
    assert (machine.id, machine.host_keys) == ("serial-pi", KEYS)


def test_a_pending_board_displaces_nobody(day: Day) -> None:
    """Else whoever has a join token could take over a locked board of the old protocol by its address."""
    join_token(day, "strict", approve=True)
    day.board("old", Mode.LEGACY)
    day.lock("ann", "old", "a")
    day.joins("new", "strict", address="10.7.7.7")
    day.beats("new", address=day.boards["old"].address)
    assert day.has("a") == "old"
    assert day.machine("old").address == day.boards["old"].address


def test_revoked_tokens_are_forgotten_after_a_day(day: Day) -> None:
    for _ in range(20):
        day.joins("pi5-a", "shelf", keys=KEYS)
    assert len(day.pool.ledger.roster.tokens) > 20
    day.now += 90_000
    day.wait()
    assert len(day.pool.ledger.roster.tokens) == 2


def test_an_empty_boot_id_says_nothing(day: Day) -> None:
    day.board("pi")
    report = day.boards["pi"].report
    by = Actor("pi", Role.AGENT, machine="pi")
    for boot_id in ("", report.boot_id):
        assert day.take(Beat(by, "pi", replace(report, boot_id=boot_id))).service is Service.IN_SERVICE


def test_two_boards_that_beat_in_turn_with_one_token_are_noticed(day: Day) -> None:
    """A boot that is over does not come back."""
    day.board("pi")
    day.beats("pi", boot=2)
    assert day.machine("pi").service is Service.IN_SERVICE
    assert day.beats("pi", boot=1).service is Service.ATTENTION
    assert "copied" in day.machine("pi").reason


def test_a_board_under_a_second_name_waits_for_a_person(day: Day) -> None:
    day.board("pi")
    day.board("renamed")
    machine = day.beats("renamed", serial="serial-pi")
    assert machine.service is Service.ATTENTION


# --- One board, both programs -------------------------------------------------------------------------------


def test_a_board_of_the_old_protocol_that_joins_keeps_its_name_lease_and_history(day: Day) -> None:
    day.board("old", Mode.LEGACY)
    day.lock("ann", "old", "a")
    address = day.boards["old"].address
    machine = day.joins("raspberrypi", "shelf", address=address, keys=KEYS)
    assert machine.name == "old"
    day.boards["old"] = day.boards.pop("raspberrypi")
    machine = day.beats("old")
    assert (machine.mode, machine.lease, machine.host_keys) == (Mode.ADVISORY, "a", KEYS)
    day.ask("bob", "b", "old")
    assert day.state("b") == "waiting"
    day.free("ann", "old")
    assert day.state("b") == "held"
