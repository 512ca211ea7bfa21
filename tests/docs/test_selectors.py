"""The page about selectors is right: what each of its examples finds among its machines, and how each wrong one is refused."""

from __future__ import annotations

import re

import pytest

from picluster.errors import Malformed
from picluster.pool.selector import LEASE_KEYS, SEARCH_KEYS, Facts, facts_of, parse
from tests.docs.blocks import DOCS, blocks

PAGE = DOCS / "selectors.md"
TEXT = PAGE.read_text()
SIZE = {"G": 1024**3}
NUMBERS = ("mem", "temp", "seen")


def _rows(first: str) -> list[list[str]]:
    """Of the table whose first column is called so."""
    table = re.search(rf"^\| {first} \|.*\n\|[-|]+\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    assert table
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table[0].splitlines()]


def _number(text: str) -> float:
    return float(text.rstrip("G")) * SIZE.get(text[-1], 1)


def _facts(row: dict[str, str]) -> Facts:
    labels = dict(label.partition("=")[::2] for label in row.pop("labels").split(", ") if label)
    numbers = {key: _number(text) for key in NUMBERS if (text := row.pop(key))}
    return facts_of(texts=row, numbers=numbers, labels=labels)


def _pool() -> dict[str, Facts]:
    head, _, *rows = _rows("name")
    return {row[0]: _facts(dict(zip(head, row, strict=True))) for row in rows}


def _pairs(heading: str) -> list[tuple[str, str]]:
    """(selector, what the page says of it) of the blocks below it, up to the next heading."""
    start = TEXT.index(f"\n{heading}\n")
    lines = range(
        TEXT.count("\n", 0, start), TEXT.count("\n", 0, (TEXT + "\n## ").index("\n## ", start + 2)) + 1
    )
    told = [line for block in blocks(PAGE) if block.line in lines for line in block.text.splitlines()]
    return [(found[0], found[1]) for line in told if len(found := re.split(r"  +", line)) == 2]


POOL = _pool()
FOUND = [*_pairs("## Terms"), *_pairs("## Keys")]
REFUSED = _pairs("## What is refused")


@pytest.mark.parametrize(("text", "finds"), FOUND, ids=[text for text, _ in FOUND])
def test_a_selector_finds_what_the_page_says(text: str, finds: str) -> None:
    selector = parse(text, searching=True)
    assert " ".join(name for name, facts in POOL.items() if selector.matches(facts)) == finds.replace(
        "none", ""
    )


@pytest.mark.parametrize(("text", "why"), REFUSED, ids=[text for text, _ in REFUSED])
def test_what_is_no_selector_is_refused_as_the_page_says(text: str, why: str) -> None:
    with pytest.raises(Malformed) as refused:
        parse(text, label_keys={"rack", "camera"})
    assert refused.value.message.splitlines()[0] == why


def test_every_key_is_on_the_page() -> None:
    head, _, *rows = _rows("key")
    told = {key: row[head.index("for")] for row in rows for key in re.findall(r"`(\w+)`", row[0])}
    assert told == dict.fromkeys(LEASE_KEYS, "leases, searches") | dict.fromkeys(SEARCH_KEYS, "searches")


def test_the_page_has_examples_of_every_kind() -> None:
    """Or nothing might have been read of it."""
    assert len(POOL) == 4 and len(FOUND) > 25 and len(REFUSED) == 8
