"""What pages tell to type works, in their order, and answers what they show; and none tells anything that is not tried."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.generate import PAGES as GENERATED
from tests.docs.blocks import DOCS, Block, blocks, read
from tests.docs.given import GIVEN, ON_BOARDS
from tests.docs.terminal import DATABASE, Terminal

PAGES = sorted(set(DOCS.glob("*.md")) - set(GENERATED))
ELSEWHERE = ("not run", "on a board")
SHELL = ("sh", "bash", "shell")
INDENTED = re.compile(r"^    (?:[$] |sudo |curl |picluster )", re.MULTILINE)
"""A command as a block of another kind, which nobody would try."""


def typed_here(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.kind == "console" and block.word not in ELSEWHERE]


@pytest.mark.parametrize("page", GIVEN)
def test_a_page_can_be_followed(
    page: str, home: Path, ports: dict[int, int], request: pytest.FixtureRequest
) -> None:
    """The tutorial from nothing to a lease, the operation of a lab up to two replicas on PostgreSQL, and the how-tos."""
    shared = DATABASE in (DOCS / page).read_text()
    database = request.getfixturevalue("postgres_url") if shared else ""
    with Terminal(home, ports, database, DOCS=str(DOCS)) as terminal:
        for block in [*read(GIVEN[page], f"given for {page}"), *typed_here(DOCS / page)]:
            terminal.follow(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_tells_to_type_is_tried(page: Path) -> None:
    """Or the page says, for whoever reads its source, why not. What needs boards is typed in `tests/lab/test_examples.py`."""
    assert not typed_here(page) or page.name in GIVEN
    assert not any(block.word == "on a board" for block in blocks(page)) or page.name in ON_BOARDS
    assert [str(block) for block in blocks(page) if block.kind in SHELL] == []
    prose = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert INDENTED.findall(prose) == []
