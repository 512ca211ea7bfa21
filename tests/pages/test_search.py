"""What is typed into the page's search."""

from __future__ import annotations

import pytest

from picluster.server.pages.search import widened


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("cam", "*cam*"),
        ("cam rack", "*cam* *rack*"),
        ("-cam", "-*cam*"),
        ("pi5-rack-a", "*pi5-rack-a*"),
        ("10.0.4", "*10.0.4*"),
        ("model:pi5 cam temp>70", "model:pi5 *cam* temp>70"),
        ('job:"two words" x', 'job:"two words" *x*'),
        ('"a cam"', '"a cam"'),
        ("pi-* (a|b) tag:(a|b)", "pi-* (a|b) tag:(a|b)"),
        ("-", "-"),
        ('"', '"'),
        ("", ""),
    ],
)
def test_a_plain_word_is_looked_for_anywhere_and_the_rest_stays(typed: str, asked: str) -> None:
    assert widened(typed) == asked
