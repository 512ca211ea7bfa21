"""The reference, written from the code: one module a page, one function each, `page()`, and tests that hold the pages to it.

`make docs` writes them anew. What a page says of a thing is what stands beside that thing in the code, so whoever
adds a setting, a call, an error or a kind of event writes one sentence, there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from docs.generate import commands, errors, events, http, metrics, settings

FOLDER = Path(__file__).parent.parent

PAGES: dict[Path, Callable[[], str]] = {
    FOLDER / "commands.md": commands.page,
    FOLDER / "reference/settings.md": settings.page,
    FOLDER / "reference/http.md": http.page,
    FOLDER / "reference/errors.md": errors.page,
    FOLDER / "reference/events.md": events.page,
    FOLDER / "reference/metrics.md": metrics.page,
}
"""Where each is, and what it is to be."""
