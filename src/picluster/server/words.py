"""How times, states and names are said, in the words of the house: on pages, in messages to others, in metrics."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from markupsafe import Markup

from picluster.pool.model import LEGACY_PREFIX

MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400

LONGEST_SHOWN = 300
"""Characters of one text on a page: a board may report 512 and a job may have 8,192; the tooltip would not help."""


@dataclass(frozen=True, slots=True)
class StateWord:
    """How one state is written: its word and its icon; the colour comes by the class `st-KEY`."""

    key: str
    word: str
    icon: str
    ring: bool = False
    """Whether the dot is hollow: nobody can have such a machine now, and nobody has it."""


STATES = {
    state.key: state
    for state in (
        StateWord("free", "Free", "lock-open"),
        StateWord("mine", "Mine", "key"),
        StateWord("locked", "Locked", "lock"),
        StateWord("set_aside", "Set aside", "hourglass", ring=True),
        StateWord("offline", "Offline", "plug-connected-x", ring=True),
        StateWord("quarantined", "Quarantined", "alert-triangle"),
        StateWord("attention", "Attention", "alert-triangle"),
        StateWord("cleaning", "Cleaning", "refresh"),
        StateWord("drained", "Drained", "player-pause", ring=True),
        StateWord("pending", "Pending", "user-question", ring=True),
    )
} | {"joining": StateWord("cleaning", "Joining", "refresh")}
"""By state. What has joined and not beaten yet looks like what is being cleaned: it is a matter of moments."""


def span(seconds: float) -> str:
    """`12 s`, `6 m`, `1 h 12 m`, `3 d`: two units at most, the second only with hours. The script says the same."""
    whole = max(0, int(seconds))
    if whole < MINUTE_S:
        return f"{whole} s"
    if whole < HOUR_S:
        return f"{whole // MINUTE_S} m"
    if whole < DAY_S:
        hours, minutes = whole // HOUR_S, whole % HOUR_S // MINUTE_S
        return f"{hours} h {minutes} m" if minutes and hours < 10 else f"{hours} h"
    return f"{whole // DAY_S} d"


def less_than(seconds: float) -> str:
    """A length of time that stands behind `less than`: rounded up."""
    return "a second" if seconds < 1 else span(int(seconds) + (1 if seconds < MINUTE_S - 1 else MINUTE_S))


def ticking(at_us: int, now_us: int, form: str = "ago", words: str = "{}") -> Markup:
    """A time that the script keeps true: `form` is `ago` or `left`, `words` what stands around it."""
    seconds = (now_us - at_us if form == "ago" else at_us - now_us) / 1e6
    inner = words.replace("{}", span(seconds))
    return Markup('<time data-at="{}" data-form="{}" data-words="{}">{}</time>').format(
        at_us // 1000, form, words, inner
    )


def retimed(html: str, now_us: int) -> str:
    """HTML that was made a while ago, with its ticking times as they are now: without script nothing else does that."""
    return _TICKING.sub(lambda found: _ticked(found, now_us), html)


_TICKING = re.compile(r'(<time data-at="(\d+)" data-form="(ago|left)" data-words="([^"]*)">)[^<]*')


def _ticked(found: re.Match[str], now_us: int) -> str:
    seconds = now_us / 1e6 - int(found[2]) / 1e3
    return found[1] + found[4].replace("{}", span(seconds if found[3] == "ago" else -seconds))


def moment(at_us: int, form: str = "clock") -> Markup:
    """A point in time, in UTC as it stands here; the script puts it into the reader's own time.

    `clock` says the day too where it is not today, `time` never, `day` and `full` always.
    """
    from datetime import UTC, datetime

    at = datetime.fromtimestamp(at_us / 1e6, UTC)
    text = at.strftime("%H:%M UTC" if form in ("clock", "time") else "%-d %b %Y, %H:%M UTC")
    return Markup('<time datetime="{}" data-moment="{}">{}</time>').format(
        at.isoformat(timespec="seconds"), form, text
    )


def shown(text: object, longest: int = LONGEST_SHOWN) -> str:
    """A text from a board, a person or a job as it may stand on a page: one line, cut, and in one direction.

    Marks that turn the direction of writing, and what has no shape at all, would let a name pass for another.
    """
    kept = "".join(_visible(character) for character in str(text)[: longest + 1])
    return kept if len(kept) <= longest else kept[: longest - 1] + "…"


def _visible(character: str) -> str:
    if character.isspace():
        return " "
    return "�" if unicodedata.category(character) in _SHAPELESS and character != "\u200d" else character


_SHAPELESS = ("Cc", "Cf", "Cs", "Co", "Cn")
"""Unicode's categories of control, format and private characters; the joiner inside an emoji is let through."""


def person(holder: str) -> str:
    """A holder as everybody reads it: `legacy:` stays, since it says that nobody has proved the name."""
    return shown(holder, 64)


def is_unverified(holder: str) -> bool:
    return holder.startswith(LEGACY_PREFIX)


def many(count: int, one: str, more: str = "") -> str:
    """`1 machine`, `2 machines`."""
    return f"{count} {one if count == 1 else more or one + 's'}"


def listed(names: tuple[str, ...], most: int = 3) -> str:
    """`pi4-rack-b-01, -02 and -03`: what the names have in common is said once."""
    told = [shown(name, 64) for name in names[:most]]
    told = [name if not at else _tail(told[0], name) for at, name in enumerate(told)]
    more = [f"{len(names) - most} more"] if len(names) > most else []
    rest = [*told, *more]
    return rest[0] if len(rest) == 1 else " and ".join([", ".join(rest[:-1]), rest[-1]]) if rest else ""


def _tail(first: str, name: str) -> str:
    stem, dash, _ = first.rpartition("-")
    return name.removeprefix(stem) if dash and name.startswith(stem + dash) else name


def ordinal(number: int) -> str:
    """`1st`, `2nd`, `11th`."""
    teen = number % 100 in (11, 12, 13)
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def initials(name: str) -> str:
    """Two letters for the round sign of a person."""
    return shown(name.removeprefix(LEGACY_PREFIX)).strip()[:2] or "?"
