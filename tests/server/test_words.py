"""Times and texts as people read them, and as nobody can misuse them."""

from __future__ import annotations

from pathlib import Path

import pytest

from picluster.server import words

STATIC = Path(words.__file__).parent / "pages/static"

SPANS = [
    (-5, "0 s"),
    (0, "0 s"),
    (59.9, "59 s"),
    (60, "1 m"),
    (3599, "59 m"),
    (3600, "1 h"),
    (4320, "1 h 12 m"),
    (36_060, "10 h"),
    (86_399, "23 h"),
    (86_400, "1 d"),
    (300_000, "3 d"),
]


@pytest.mark.parametrize(("seconds", "text"), SPANS)
def test_a_span_has_two_units_at_most(seconds: float, text: str) -> None:
    assert words.span(seconds) == text


def test_a_ticking_time_says_now_what_the_script_will_say_later() -> None:
    said = words.ticking(1_000_000_000, 13_000_000_000, "ago", "free for {}")
    assert (
        str(said)
        == '<time data-at="1000000" data-form="ago" data-words="free for {}">free for 3 h 20 m</time>'
    )


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("pi-1", "pi-1"),
        ("a\nb\tc", "a b c"),
        ("abc\u202edcba", "abc�dcba"),
        ("\u200bzero\u2066", "�zero�"),
        ("👩\u200d🔬 ok", "👩\u200d🔬 ok"),
        ("\x00\x1b[31m", "��[31m"),
        ("\ud800", "�"),
    ],
)
def test_nothing_that_turns_or_hides_text_gets_onto_a_page(text: str, kept: str) -> None:
    """A name that is shown backwards could pass for another one."""
    assert words.shown(text) == kept


def test_a_text_is_cut_with_a_sign_that_it_was() -> None:
    assert words.shown("x" * 10_000, 20) == "x" * 19 + "…"
    assert words.shown("x" * 20, 20) == "x" * 20


def test_every_state_has_a_word_and_an_icon_that_exists() -> None:
    icons = STATIC / "vendor" / "icons"
    assert all(state.word and (icons / f"{state.icon}.svg").exists() for state in words.STATES.values())
