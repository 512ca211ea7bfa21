"""What Sphinx has made of the pages: text that was to be a link, and leads nowhere."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path


def dead_text(page: Path) -> list[str]:
    """Sphinx marks what refers to something as `xref`; where it is within no `<a>`, nobody can follow it."""
    reader = _Reader()
    reader.feed(page.read_text())
    return [f"{page.name}:{line}" for line in reader.dead]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links = 0
        self.dead: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += tag == "a"
        if not self.links and "xref" in (dict(attrs).get("class") or "").split():
            self.dead.append(self.getpos()[0])

    def handle_endtag(self, tag: str) -> None:
        self.links -= tag == "a"
