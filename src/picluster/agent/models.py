"""What a board is called in a word, and how much memory it was sold with."""

from __future__ import annotations

import re

_RASPBERRY = re.compile(
    r"Raspberry Pi\s+(?:(?P<kind>Compute Module|Zero)\s*)?(?P<number>\d*)(?P<slim>S\b)?\s*(?P<wireless>W\b)?"
    r"\s*(?:Model (?P<letter>[AB])\b)?\s*(?P<plus>Plus\b|\+)?"
)
_NOT_IN_WORDS = re.compile(r"[^a-z0-9]+")
_LETTER_UNTIL = 3
"""From the Pi 4 on there is one form of each, so its letter says nothing."""

_NEW_STYLE = 1 << 23
_SMALLEST = 256 << 20


def short_model(text: str | None) -> str | None:
    """`pi5`, `pi3bplus`, `cm4`, `zero2w` for the device tree's text; of others the words with hyphens."""
    if not text:
        return None
    found = _RASPBERRY.match(text)
    if not found:
        return _NOT_IN_WORDS.sub("-", text.lower()).strip("-")[:63] or None
    number, plus = found["number"], "plus" if found["plus"] else ""
    if found["kind"] == "Zero":
        return f"zero{number}{'w' if found['wireless'] else ''}"
    if found["kind"]:
        return f"cm{number or '1'}{'s' if found['slim'] else ''}{plus}"
    if not number and not found["letter"]:
        return "raspberry-pi"
    number = number or "1"
    letter = (found["letter"] or "").lower() if int(number[:4]) <= _LETTER_UNTIL else ""
    return f"pi{number}{letter}{plus}"


def memory_of_revision(revision: str | None) -> int | None:
    """Bytes, from a Raspberry Pi's revision code (bits 20 to 22 of the new style)."""
    try:
        code = int(revision or "", 16)
    except ValueError:
        return None
    if not 0 < code < 1 << 32 or not code & _NEW_STYLE:
        return None
    return _SMALLEST << (code >> 20 & 7)


def memory_sold(usable: int | None) -> int | None:
    """What was put in, of what the kernel has left of it: `mem>=4G` should find a board of 4 GiB.

    The kernel and the graphics take a few per cent off; the next step of a quarter of the power of two is
    what modules are sold in.
    """
    if not usable or usable < 1:
        return None
    step = max(1 << usable.bit_length() - 1 >> 2, 1)
    return -(-usable // step) * step
