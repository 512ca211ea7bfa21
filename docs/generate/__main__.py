"""`python -m docs.generate`: all pages, anew."""

from __future__ import annotations

from docs.generate import PAGES

for path, page in PAGES.items():
    path.parent.mkdir(exist_ok=True)
    path.write_text(page())
