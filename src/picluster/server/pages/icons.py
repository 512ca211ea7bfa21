"""Icons are drawn into the page: no requests, no font, and the colour of the word that they stand beside.

Only those in `static/vendor/icons` exist, as they came; what all have in common is written here once.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from markupsafe import Markup

STROKE = 1.75
"""Of 24. Tabler draws with 2, which is too heavy beside text of 13 pixels."""

_SVG = (
    '<svg class="icon{}" width="16" height="16" viewBox="0 0 24 24" fill="none" stroke="currentColor" '
    f'stroke-width="{STROKE}" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">{{}}</svg>'
)
_INSIDE = re.compile(r"<svg[^>]*>(.*)</svg>", re.DOTALL)
_BOX = re.compile(r'<path stroke="none" d="M0 0h24v24H0z" fill="none" ?/>')
"""Tabler's invisible frame, for drawing programs."""


@cache
def icon(name: str, more: str = "") -> Markup:
    """One icon, for templates, with more classes if it needs some. Hidden from readers: a word says the same.

    Raises `LookupError` for a name that is not among the vendored ones.
    """
    if name not in drawn():
        raise LookupError(f"there is no icon {name!r} in static/vendor/icons")
    return Markup(_SVG).format(f" {more}" if more else "", drawn()[name])  # noqa: S704  our own text


SHARED = (
    *(
        "lock-open",
        "key",
        "lock",
        "hourglass",
        "plug-connected-x",
        "alert-triangle",
        "refresh",
        "player-pause",
    ),
    *("user-question", "copy", "dots"),
)
"""Icons that stand in every row: drawn once in a page, and referred to."""


@cache
def use(name: str) -> Markup:
    """One of the shared icons, by reference. Raises `LookupError` for any other."""
    if name not in SHARED:
        raise LookupError(f"{name!r} is not one of the shared icons")
    return Markup(
        '<svg class="icon" width="16" height="16" aria-hidden="true"><use href="#i-{}"/></svg>'
    ).format(name)


@cache
def symbols() -> Markup:
    """What `use` refers to; once in a page."""
    one = Markup(
        '<symbol id="i-{}" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="{}" '
        'stroke-linecap="round" stroke-linejoin="round">{}</symbol>'
    )
    return Markup("").join(one.format(name, STROKE, drawn()[name]) for name in SHARED)


@cache
def drawn() -> dict[str, Markup]:
    """What each icon is made of, read once."""
    folder = files(__package__) / "static" / "vendor" / "icons"
    found = (entry for entry in folder.iterdir() if entry.name.endswith(".svg"))
    return {entry.name.removesuffix(".svg"): _inside(entry.read_text()) for entry in found}


def _inside(svg: str) -> Markup:
    """The shapes of one file, on one line. The files are vendored and checked, so they are markup."""
    shapes = _INSIDE.search(svg)
    assert shapes, svg
    return Markup(re.sub(r"\s*\n\s*", "", _BOX.sub("", shapes.group(1))))  # noqa: S704
