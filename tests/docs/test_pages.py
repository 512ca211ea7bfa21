"""What pages tell to type works, in their order, and answers what they show."""

from __future__ import annotations

from pathlib import Path

from tests.docs.blocks import DOCS, blocks
from tests.docs.terminal import Terminal


def follow(page: str, terminal: Terminal) -> None:
    """Type all of a page."""
    for block in blocks(DOCS / page):
        if block.kind == "console" and block.word not in ("not run", "on a board"):
            terminal.follow(block)


def test_the_tutorial_leads_from_nothing_to_a_lease(
    programs: Path, home: Path, ports: dict[int, int]
) -> None:
    with Terminal(programs, home, ports) as terminal:
        follow("tutorial.md", terminal)


def test_a_lab_is_operated_as_the_page_says(
    programs: Path, home: Path, ports: dict[int, int], postgres_url: str
) -> None:
    """From the first start to two replicas on PostgreSQL that know what the file knew."""
    with Terminal(programs, home, ports, postgres_url) as terminal:
        follow("operate.md", terminal)
