"""What pages tell to type: fenced blocks of the kind `console`, with what the terminal answers.

A line with `$ ` is typed, one with `> ` goes on with it, and what follows is shown. Before a block there may be a word
for whoever runs it, with a reason, as a comment that no reader sees:

    <!-- stays open: the demonstration goes on until Ctrl-C -->      started, and left running until the page ends
    <!-- after Ctrl-C: nobody else may have the pool -->             run when what stayed open has ended
    <!-- on a board: picluster run needs SSH -->                     run by the tests that have boards with SSH
    <!-- not run: it installs this project -->                       run by nobody
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"

FENCE = re.compile(
    r"^(?P<indent> *)```(?P<kind>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL
)
WORD = re.compile(
    r"<!-- (?P<word>stays open|after Ctrl-C|on a board|not run): (?P<reason>[^>]+?) -->\s*\Z", re.DOTALL
)

ANYTHING = "…"
"""In what is shown: something that differs from time to time; alone on a line, any lines."""


@dataclass(frozen=True)
class Typed:
    """One command, and what the terminal shows then; nothing shown means that it does not matter."""

    command: str
    shown: str = ""

    @property
    def refused(self) -> bool:
        """Whether the page shows that it fails, in the words that every failure begins with."""
        return self.shown.startswith("picluster: ")


@dataclass(frozen=True)
class Block:
    """One fenced block, where it is, and the word before it."""

    page: str
    line: int
    kind: str
    text: str
    word: str = ""
    reason: str = ""
    typed: tuple[Typed, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    return list(read(page.read_text(), page.name))


def read(text: str, page: str) -> Iterator[Block]:
    for found in FENCE.finditer(text):
        indent = len(found["indent"])
        inside = "".join(line[indent:] for line in found["text"].splitlines(keepends=True))
        word = WORD.search(text, 0, found.start())
        yield Block(
            page,
            text.count("\n", 0, found.start()) + 1,
            found["kind"],
            inside,
            word["word"] if word else "",
            word["reason"] if word else "",
            tuple(_typed(inside)) if found["kind"] == "console" else (),
        )


def _typed(text: str) -> Iterator[Typed]:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        first, *rest = part.splitlines()
        more = 0
        while more < len(rest) and rest[more].startswith("> "):
            more += 1
        yield Typed(
            "\n".join([first, *(line[2:] for line in rest[:more])]), "\n".join(rest[more:]).strip("\n")
        )


def is_shown(shown: str, output: str) -> bool:
    """Whether what a command printed is what the page shows, but for blanks and what is left open."""
    return re.fullmatch(_pattern(shown), _plain(output)) is not None


def _pattern(shown: str) -> str:
    lines = []
    for line in _plain(shown).splitlines():
        between = re.escape(line).replace(rf"\ {ANYTHING}\ ", r"\ (?:.*\ )?")
        lines.append(r"(?:.*\n)*?" if line == ANYTHING else between.replace(ANYTHING, ".*") + r"\n")
    return "".join(lines)


def _plain(text: str) -> str:
    """Blanks at the ends of lines, and how wide a column is, are not what a page is about; nor are empty lines."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines if line)
