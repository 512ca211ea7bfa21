"""Small pictures in a row: the last beats, the temperature of an hour, what is left of a lease. Drawn here, as SVG.

Style attributes are closed by the pages' own policy, so sizes are attributes of shapes and colours are classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from urllib.parse import quote

from markupsafe import Markup

from picluster.server.words import STATES, many, shown

BEATS = 30
"""Ticks in a strip: a quarter of an hour at the usual beat."""

STEP, WIDTH, HEIGHT = 4.5, 3, 18
"""Of the strip, in pixels: from tick to tick, of one tick, of all."""

KINDS = {
    "o": ("on", 8, "on time"),
    "l": ("late", 13, "late"),
    "w": ("warn", 16, "throttled or low voltage"),
    "M": ("first", 16, "missed"),
    "m": ("missed", 16, "missed"),
    "u": ("unknown", 3, "not known"),
}
"""A letter of a strip: class, height, word. Height tells without colour what it is."""

ALL_ON_TIME = "o" * BEATS

LEAST_RANGE_C = 12.0
"""A sparkline shows at least so much: a board that idles does not look like a mountain range."""

SPARK_HEIGHT = 20


def strip(ticks: str) -> Markup:
    """The last beats, oldest first, a letter of `KINDS` for each."""
    counts = Counter(KINDS[tick][2] for tick in ticks)
    told = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    return Markup('<svg class="strip" viewBox="0 0 134 18" role="img" aria-label="{}">{}</svg>').format(
        f"Last {BEATS} beats: {told}", ticks_of(ticks)
    )


def ticks_of(ticks: str) -> Markup:
    """The inside of a strip. Nearly all boards are well, and share one drawing."""
    if ticks == ALL_ON_TIME:
        return Markup('<use href="#on-time"/>')
    return Markup("").join(_ticks(ticks, kind) for kind in KINDS if kind in ticks)


def on_time() -> Markup:
    """The drawing that the strips of well boards share; once in a page."""
    return Markup('<symbol id="on-time" viewBox="0 0 134 18">{}</symbol>').format(_ticks(ALL_ON_TIME, "o"))


def _ticks(ticks: str, kind: str) -> Markup:
    name, height, _ = KINDS[kind]
    top = (HEIGHT - height) / 2
    marks = [
        f"M{index * STEP + WIDTH / 2:g} {top:g}v{height}" for index, tick in enumerate(ticks) if tick == kind
    ]
    return Markup('<path class="t-{}" d="{}"/>').format(name, "".join(marks))


def spark(points: Sequence[float | None], warm: bool = False) -> Markup:
    """Degrees of an hour, oldest first; None where nothing is known, and nothing at all where that is everywhere.

    In whole steps from point to point: a page has hundreds of these, and nothing else in it compresses so badly.
    """
    known = [(index, value) for index, value in enumerate(points) if value is not None]
    if len(known) < 2:
        return Markup("")
    low, high = min(value for _, value in known), max(value for _, value in known)
    room = max(LEAST_RANGE_C, high - low)
    floor = (low + high - room) / 2
    places = [
        (index, round(SPARK_HEIGHT - 2 - (value - floor) / room * (SPARK_HEIGHT - 4)))
        for index, value in known
    ]
    (first, top), (last, end) = places[0], places[-1]
    steps = "".join(f"l{x - before} {y - above}" for (before, above), (x, y) in pairwise(places))
    return Markup(
        '<svg class="spark{}" viewBox="0 0 {} 20" preserveAspectRatio="none" aria-hidden="true">'
        '<path class="fill" d="M{} {}{}V20H{}z"/><path class="line" d="M{} {}{}"/><path class="end" d="M{} {}h0"/></svg>'
    ).format(" warm" if warm else "", len(points) - 1, first, top, steps, first, first, top, steps, last, end)


def bar(shape: str, left: float = 1.0) -> Markup:
    """What is left of a lease: `fixed` from the left, `renews` with a solid end, `open` as dashes."""
    return Markup('<svg class="bar bar-{}" aria-hidden="true" height="4">{}</svg>').format(
        shape, _inside(shape, left)
    )


def _inside(shape: str, left: float) -> Markup:
    if shape == "open":
        return Markup('<line class="dashes" x1="2" x2="100%" y1="2" y2="2"/>')
    start, share = (80.5, 19.5) if shape == "renews" else (0.0, 100 * min(1.0, max(0.0, left)))
    return Markup(
        '<rect class="all" width="100%" height="4" rx="2"/>'
        '<rect class="left" x="{:.1f}%" width="{:.1f}%" height="4" rx="2"/>'
    ).format(start, share)


def pool_cell(name: str, state: str) -> Markup:
    """One machine in the strip of the pool, as a link to it."""
    look = STATES[state]
    said = f"{shown(name, 64)}, {look.word.lower()}"
    return Markup('<a class="cell st-{}" href="/m/{}" title="{}" aria-label="{}"></a>').format(
        look.key, quote(name), said, said
    )


def cells(states: Sequence[str]) -> Markup:
    """Some machines as small cells in their colours, as in the strip of the pool."""
    marks = [Markup('<i class="cell st-{}"></i>').format(state) for state in states]
    return Markup('<span class="cells" role="img" aria-label="{}">{}</span>').format(
        ", ".join(
            many(count, state.replace("_", " "), state.replace("_", " "))
            for state, count in Counter(states).items()
        ),
        Markup("").join(marks),
    )
