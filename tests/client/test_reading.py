"""JSON as dataclasses: a newer service may say more, an older one less, and neither is an accident."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import pytest

from picluster.client.reading import Unreadable, read
from picluster.pool.model import Mode, Service
from picluster.wire import LeaseOnMachine, MachineAnswer


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Part:
    name: str
    size: float = 1.0


@dataclass(frozen=True)
class Whole:
    """One of each kind of field."""

    parts: tuple[Part, ...]
    colour: Colour = Colour.RED
    notes: dict[str, str] = field(default_factory=dict)
    first: Part | None = None
    anything: Any = None


def test_everything_is_read() -> None:
    said = {
        "parts": [{"name": "a", "size": 2}],
        "colour": "red",
        "notes": {"x": "y"},
        "first": {"name": "b"},
        "anything": [1, {"z": None}],
    }
    whole = read(Whole, said)
    assert whole == Whole((Part("a", 2.0),), Colour.RED, {"x": "y"}, Part("b"), [1, {"z": None}])
    assert isinstance(whole.parts[0].size, float)


def test_what_is_unknown_is_left_out_and_what_has_a_default_may_miss() -> None:
    assert read(Whole, {"parts": [], "of tomorrow": 1}) == Whole(())


def test_a_word_of_tomorrow_stays_text() -> None:
    colour: str = read(Whole, {"parts": [], "colour": "ultraviolet"}).colour
    assert colour == "ultraviolet"


def test_nothing_is_something_where_it_may_be() -> None:
    assert read(Whole, {"parts": [], "first": None}).first is None


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, "Whole without parts"),
        ([], "list where"),
        ({"parts": {}}, "dict where"),
        ({"parts": [{"size": 1}]}, "Part without name"),
        ({"parts": [{"name": 3}]}, "int where"),
        ({"parts": [{"name": "a", "size": "big"}]}, "str where"),
        ({"parts": [], "notes": ["x"]}, "list where"),
        ({"parts": [], "first": "b"}, "str where"),
    ],
)
def test_another_shape_is_named(said: Any, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read(Whole, said)


def test_an_answer_of_the_wire_comes_back_as_it_was() -> None:
    machine = MachineAnswer(
        name="pi-1",
        address="10.0.0.1",
        state="locked",
        mode=Mode.LEGACY,
        service=Service.IN_SERVICE,
        reason="",
        id="legacy:10.0.0.1",
        facts={"mem": 4096, "os": None},
        labels={"rack": "b"},
        comment="",
        presence="online",
        seen_s=0.5,
        telemetry={"temperature": 48.3},
        host_keys=("ssh-ed25519 AAAA",),
        ssh_user="pi",
        ssh_port=22,
        fence=7,
        registered_us=1,
        revision=2,
        lease=LeaseOnMachine("id", "ann", "job", 7, 1, None),
    )
    said = asdict(machine)
    said |= {"host_keys": list(machine.host_keys), "ailing": []}
    assert read(MachineAnswer, said) == machine
