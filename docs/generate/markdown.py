"""What the pages are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

TAGS = re.compile(r"<([^<>]*)>")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; nothing where there are no rows."""
    lines = [_line(row) for row in rows]
    return "\n".join([_line(head), _line(["---"] * len(head)), *lines]) + "\n" if lines else ""


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def code(text: object) -> str:
    """As it is typed; nothing where there is nothing."""
    return f"`{text}`" if str(text) else ""


def sentence(text: str | None) -> str:
    """A docstring as one line."""
    return " ".join((text or "").split())
