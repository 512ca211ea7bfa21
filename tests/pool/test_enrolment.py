"""How a board comes in, how it is known again, and what happens when two say that they are the same."""

from __future__ import annotations

import pytest

from picluster.errors import NotAllowed
from picluster.pool.enrolment import machine_name
from picluster.pool.model import Mode, Presence, Role, Service, Token
from tests.pool.day import Day

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


def test_a_copied_card_that_joins_puts_both_on_hold(day: Day) -> None:
    """Boards without a serial share what is on their cards. Nobody can tell which is which, but a person."""
    day.joins("pi5-a", "shelf", serial="card", keys=KEYS)
    day.beats("pi5-a")
    twin = day.joins("twin", "shelf", wanted="pi5-a", serial="card", keys=KEYS, boot=9)
    assert (twin.name, twin.service) == ("pi5-a-2", Service.ATTENTION)
    assert day.machine("pi5-a").service is Service.ATTENTION
    assert agent_tokens(day, "pi5-a"), "the first keeps beating"


def test_a_board_that_comes_back_after_a_while_is_no_copy(day: Day) -> None:
    day.joins("pi5-a", "shelf", keys=KEYS)
    day.beats("pi5-a")
    day.falls_silent("pi5-a")
    day.passes(100)
    assert day.joins("pi5-a", "shelf", keys=KEYS, boot=2).service is Service.IN_SERVICE


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
