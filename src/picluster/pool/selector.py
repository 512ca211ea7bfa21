"""Which machines would do: one small language, read once, then asked of thousands of machines.

    selector = term*     term = ["-"] (word | key ":" value | key op number)     op = ">" | ">=" | "<" | "<="
    value = glob | "(" glob ("|" glob)* ")" | quoted      number = digits ["." digits] [K|M|G|T]

`parse` turns text into a `Selector`, `facts_of` turns a machine into `Facts`, and `selector.matches(facts)`
brings them together. Case is folded on both sides beforehand, so that asking is a look-up or two per term.
Terms side by side all hold. A term holds if any value under its key fits as a whole; a comparison with a
number that the machine does not have is false; a negated term holds exactly when the plain one does not.
"""

from __future__ import annotations

import difflib
import functools
import operator
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NoReturn

from picluster.errors import Malformed

LEASE_KEYS: Final = frozenset(
    ("name", "ip", "platform", "model", "model_name", "arch", "os", "mem", "cpus", "serial", "tag")
)
"""Stable facts: a lease that asked for anything else could stop matching the machine it holds."""

SEARCH_KEYS: Final = frozenset(("state", "user", "job", "temp", "load", "seen", "comment"))
"""These change by themselves, so they may be searched but not leased."""

NUMERIC_KEYS: Final = frozenset(("mem", "cpus", "temp", "load", "seen"))
"""`mem` in bytes, `temp` in degrees Celsius, `seen` in seconds ago, `load` and `cpus` as they are."""

MAX_SELECTOR_BYTES: Final = 16 * 1024
"""As UTF-8. Every lease keeps its selector, and a request as a whole may have 64 KiB."""

MAX_TERMS: Final = 64
"""Each term is asked of each machine; nobody types more, and a program that does wants a label instead."""

MAX_ALTERNATIVES: Final = 64
"""In one term; a longer list of machines wants a label instead."""

_CACHED_SELECTORS: Final = 256
"""Pages and waiting clients repeat a few texts; bounded, since the largest compiles to some 700 KB."""

_BUILT_IN_KEYS: Final = LEASE_KEYS | SEARCH_KEYS
_WORD_KEYS: Final = ("name", "ip", "model", "tag")
_EXCERPT_CHARACTERS: Final = 72
"""An error quotes this much around the place, so that it fits on one line of a terminal."""

_KEY = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)(:|[<>]=?)")
_NUMBER = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,4})?)([KMGT]?)", re.IGNORECASE | re.ASCII)
"""So many digits, and no more, survive a float and come back the same."""

_PLAIN_WORD = re.compile(r'[^\s"()|:<>=]+')
_PLAIN_VALUE = re.compile(r'(?![<>=])[^\s"()|]+')
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*+)"')
_QUOTED_TO_A_WRONG_ESCAPE = re.compile(r'"(?:[^"\\]|\\["\\])*+\\(?=[^"\\])')
_ESCAPE = re.compile(r'\\(["\\])')
_WILDCARDS = re.compile(r"[*?]")
_WILDCARD_RUN = re.compile(r"[*?]*\*[*?]*")
_UNKEEPABLE = re.compile("[\0\ud800-\udfff]")
"""No database keeps a NUL in a text, and half a surrogate pair is no text at all."""

_POWERS: Final[Mapping[str, int]] = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip

_QUOTE_IT: Final = 'Put quotes around text that contains blanks or any of " ( ) |, as in job:"night (2)".'
_WAY_OUT: Final[Mapping[str, str]] = {
    "|": "Alternatives stand in parentheses after a key, as in tag:(camera|hat).",
    "(": "Alternatives need a key, as in tag:(camera|hat). " + _QUOTE_IT,
    ")": _QUOTE_IT,
    '"': "Quotes go around the whole value, and a blank follows them.",
    ":": "A key begins with a letter and has only letters, digits, . _ and -; quote a word with a colon.",
    "=": "Write model:pi5 for a text and mem>=4G for a number; quote a word with = in it.",
    "<": "Compare without blanks and with the key first, as in mem<4G.",
    ">": "Compare without blanks and with the key first, as in mem>4G.",
}

_LABEL_INSTEAD: Final = "Give the machines a label and ask for that."

_Values = tuple[str, ...]


def built_in(key: str) -> bool:
    """Whether the language means something by this key itself: a label called so would never be found by it."""
    return key.casefold() in _BUILT_IN_KEYS


def label_problem(keys: Iterable[str]) -> str:
    """What is wrong with labels that are to be called so; empty if nothing."""
    taken = [key for key in keys if built_in(key)]
    if not taken:
        return ""
    words = "is a word" if len(taken) == 1 else "are words"
    return f"{_listed(taken)} {words} of the search itself, and no label would be found by it"


# --- What is asked about ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Facts:
    """A machine as a selector sees it: texts and numbers by key, and what a bare word may match.

    All texts and keys are case-folded. Made by `facts_of`.
    """

    texts: Mapping[str, _Values]
    numbers: Mapping[str, float]
    words: _Values


_Test = Callable[[Facts], bool]
"""What a condition comes down to."""


def facts_of(
    *,
    texts: Mapping[str, str | Iterable[str]],
    numbers: Mapping[str, float] = MappingProxyType({}),
    labels: Mapping[str, str] = MappingProxyType({}),
) -> Facts:
    """Fold a machine into `Facts`; an empty text is a fact that is not known.

    A label is found under its own key, and under `tag` if its value is empty, but never under a built-in key:
    a label `state` must not pass for the state. A label that reads as a number can be compared.
    """
    folded_labels = [(key.casefold(), value.casefold()) for key, value in labels.items()]
    own_labels = [(key, value) for key, value in folded_labels if key not in _BUILT_IN_KEYS]

    by_key = {key: [text.casefold() for text in _as_texts(given) if text] for key, given in texts.items()}
    for key, number in numbers.items():
        by_key.setdefault(key, []).append(_number_text(number).casefold())
    for key, value in own_labels:
        by_key.setdefault(key, []).append(value)
    by_key.setdefault("tag", []).extend(key for key, value in folded_labels if not value)

    own_numbers = {key: read for key, value in own_labels if (read := _read_number(value)) is not None}
    words = [word for key in _WORD_KEYS for word in by_key.get(key, ())]
    words += [word for label in folded_labels for word in label if word]
    return Facts(
        texts={key: tuple(values) for key, values in by_key.items() if values},
        numbers={**own_numbers, **numbers},
        words=tuple(dict.fromkeys(words)),
    )


def _as_texts(given: str | Iterable[str]) -> Iterable[str]:
    return (given,) if isinstance(given, str) else given


# --- What asks ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Term:
    """One condition, and where it stands in the text: `text[start:end]`. A bare word has no key."""

    start: int
    end: int
    negated: bool
    key: str | None
    canonical: str
    matches: _Test = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Selector:
    """Which machines would do. Two selectors are equal if they ask the same in the same order."""

    text: str = field(compare=False)
    canonical: str
    terms: tuple[Term, ...] = field(repr=False, compare=False)

    def matches(self, facts: Facts) -> bool:
        """Whether all terms hold; without terms, every machine will do."""
        return all(term.matches(facts) for term in self.terms)

    def keys(self) -> frozenset[str]:
        """The keys it names, in lower case; a bare word names none."""
        return frozenset(term.key for term in self.terms if term.key is not None)

    def __str__(self) -> str:
        return self.canonical


def parse(text: str, *, searching: bool = False, label_keys: Container[str] | None = None) -> Selector:
    """Read a selector, for a lease unless `searching`.

    `label_keys`, in lower case, are the labels that exist; without them any key that is not built in is taken
    for a label's. Raises `Malformed` with `position`, an index into `text`; the message shows the place.
    """
    selector = _parse(text)
    for term in selector.terms:
        if term.key is not None:
            _check_key(selector.text, term, searching, label_keys)
    return selector


@functools.lru_cache(maxsize=_CACHED_SELECTORS)
def _parse(text: str) -> Selector:
    _check_text(text)
    terms = tuple(_Reader(text).terms())
    return Selector(text, " ".join(term.canonical for term in terms), terms)


def _check_text(text: str) -> None:
    if unkeepable := _UNKEEPABLE.search(text):
        _fail(text, unkeepable.start(), "A selector cannot contain this character.", "Leave it out.")
    # Folding can lengthen a text, and the canonical form must be readable again.
    if max(len(text.encode()), len(text.casefold().encode())) > MAX_SELECTOR_BYTES:
        last = len(text.encode()[:MAX_SELECTOR_BYTES].decode(errors="ignore"))
        _fail(text, last, f"A selector has at most {MAX_SELECTOR_BYTES} bytes.", _LABEL_INSTEAD)


def _check_key(text: str, term: Term, searching: bool, label_keys: Container[str] | None) -> None:
    key, position = term.key or "", term.start + term.negated
    if key in SEARCH_KEYS and not searching:
        hint = f"Only search with it; a lease may ask for {_listed(LEASE_KEYS)}, and labels."
        _fail(text, position, f"A lease cannot depend on {key}, which changes by itself.", hint)
    if key not in _BUILT_IN_KEYS and label_keys is not None and key not in label_keys:
        hint = _closest(key, _BUILT_IN_KEYS if searching else LEASE_KEYS, label_keys)
        _fail(text, position, f"There is no key {key}, and no machine has such a label.", hint)


def _closest(key: str, known: frozenset[str], label_keys: Container[str]) -> str:
    candidates = sorted(known.union(label_keys if isinstance(label_keys, Iterable) else ()))
    if near := difflib.get_close_matches(key, candidates, n=1):
        return f"Did you mean {near[0]}?"
    return f"Use one of {_listed(known)}, or a label's key."


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(sorted(keys))


# --- Reading ------------------------------------------------------------------------------------------------


class _Reader:
    """Walks through a text once, from left to right; each method reads what it is named after."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def terms(self) -> Iterator[Term]:
        count = 0
        self.skip_blanks()
        while not self.at_end():
            count += 1
            if count > MAX_TERMS:
                self.fail(f"A selector has at most {MAX_TERMS} terms.", _LABEL_INSTEAD)
            yield self.term()
            self.skip_blanks()

    def term(self) -> Term:
        start, negated = self.position, self.minus()
        key, matches, canonical = self.condition()
        if not self.at_end() and not self.peek().isspace():
            self.fail_here("Put a blank between two terms.")
        if negated:
            return Term(start, self.position, True, key, "-" + canonical, _not(matches))
        return Term(start, self.position, False, key, canonical, matches)

    def minus(self) -> bool:
        if not self.take("-"):
            return False
        if self.at_end() or self.peek().isspace():
            self.fail(
                "A - needs a term after it.", 'Write -tag:camera, or "-" for the text.', self.position - 1
            )
        if self.peek() == "-":
            self.fail("A term is negated only once.", 'Remove one -, or quote a word like "-x".')
        return True

    def condition(self) -> tuple[str | None, _Test, str]:
        keyed = _KEY.match(self.text, self.position)
        if not keyed:
            return (None, *self.word())
        key, sign = keyed[1].lower(), keyed[2]
        if sign != ":":
            return (key, *self.comparison(key, sign))
        self.position = keyed.end()
        return (key, *self.values(key))

    def word(self) -> tuple[_Test, str]:
        start, word = self.position, self.pattern(_PLAIN_WORD)
        if not word.text:
            self.fail("An empty word matches no machine.", "Write the word between the quotes.", start)
        return _word_matches(_fits((word,))), word.canonical(_PLAIN_WORD)

    def comparison(self, key: str, sign: str) -> tuple[_Test, str]:
        if key in _BUILT_IN_KEYS - NUMERIC_KEYS:
            hint = f"Write {key}:VALUE; comparing works for {_listed(NUMERIC_KEYS)}, and labels."
            self.fail(f"{key} is not a number.", hint)
        self.position += len(key) + len(sign)
        limit = self.number(key + sign)
        return _number_matches(key, _COMPARE[sign], limit), f"{key}{sign}{_number_text(limit)}"

    def number(self, before: str) -> float:
        digits = _NUMBER.match(self.text, self.position)
        end = digits.end() if digits else self.position
        if not digits or _PLAIN_WORD.match(self.text, end):
            hint = f"Write {before}4G, without a blank; K, M, G, T count by 1024, and up to 4 decimals."
            self.fail(f"{before} needs a number.", hint)
        self.position = end
        return _number_of(digits)

    def values(self, key: str) -> tuple[_Test, str]:
        start = self.position
        patterns = self.alternatives() if self.take("(") else (self.value(key),)
        if key in NUMERIC_KEYS:
            patterns = tuple(pattern.as_number() for pattern in patterns)
        rendered = sorted({pattern.canonical(_PLAIN_VALUE) for pattern in patterns})
        if len(patterns) > MAX_ALTERNATIVES:
            self.fail(f"A term has at most {MAX_ALTERNATIVES} alternatives.", _LABEL_INSTEAD, start)
        canonical = rendered[0] if len(rendered) == 1 else f"({'|'.join(rendered)})"
        return _values_match(key, _fits(patterns)), f"{key}:{canonical}"

    def value(self, key: str) -> _Pattern:
        if self.at_end() or self.peek().isspace():
            hint = f'Write {key}:VALUE without a blank, or {key}:"" for an empty label.'
            self.fail(f"{key}: needs a value.", hint, self.position - 1)
        return self.pattern(_PLAIN_VALUE)

    def alternatives(self) -> tuple[_Pattern, ...]:
        opened = self.position - 1
        patterns = [self.alternative(opened)]
        while self.take("|"):
            patterns.append(self.alternative(opened))
        if not self.take(")"):
            self.fail_here("Alternatives are separated by | and closed by ). " + _QUOTE_IT)
        return tuple(patterns)

    def alternative(self, opened: int) -> _Pattern:
        self.skip_blanks_up_to_the_closing(opened)
        if self.peek() in "|)":
            self.fail("An alternative is missing.", 'Remove a |, or write "" for an empty label.')
        pattern = self.pattern(_PLAIN_VALUE)
        self.skip_blanks_up_to_the_closing(opened)
        return pattern

    def skip_blanks_up_to_the_closing(self, opened: int) -> None:
        self.skip_blanks()
        if self.at_end():
            self.fail("This parenthesis is not closed.", "Close it, as in tag:(camera|hat).", opened)

    def pattern(self, plain: re.Pattern[str]) -> _Pattern:
        if self.peek() == '"':
            return _Pattern(self.quoted().casefold(), is_glob=False)
        found = plain.match(self.text, self.position)
        if not found:
            self.fail_here(_QUOTE_IT)
        self.position = found.end()
        return _Pattern.plain(found[0].casefold())

    def quoted(self) -> str:
        found = _QUOTED.match(self.text, self.position)
        if not found:
            self.fail_quoted()
        self.position = found.end()
        return _ESCAPE.sub(r"\1", found[1])

    def at_end(self) -> bool:
        return self.position >= len(self.text)

    def peek(self) -> str:
        return self.text[self.position]

    def take(self, character: str) -> bool:
        taken = self.text.startswith(character, self.position)
        self.position += taken
        return taken

    def skip_blanks(self) -> None:
        while not self.at_end() and self.peek().isspace():
            self.position += 1

    def fail(self, problem: str, hint: str, position: int | None = None) -> NoReturn:
        _fail(self.text, self.position if position is None else position, problem, hint)

    def fail_here(self, hint: str) -> NoReturn:
        character = self.peek()
        self.fail(f"{_printable(character)} cannot stand here.", _WAY_OUT.get(character, hint))

    def fail_quoted(self) -> NoReturn:
        if wrong := _QUOTED_TO_A_WRONG_ESCAPE.match(self.text, self.position):
            hint = r"Write \\ for the \ itself."
            self.fail(r"In quotes, only \" and \\ may follow a \.", hint, wrong.end() - 1)
        self.fail("This quote is not closed.", r'Write the closing "; inside quotes, \" is a quote.')


def _fail(text: str, position: int, problem: str, hint: str) -> NoReturn:
    raise Malformed(f"{problem}\n{_excerpt(text, position)}", hint=hint, position=position)


def _excerpt(text: str, position: int) -> str:
    first = max(0, position - _EXCERPT_CHARACTERS // 2)
    shown = _printable(text[first : first + _EXCERPT_CHARACTERS])
    before = "…" if first else ""
    after = "…" if first + _EXCERPT_CHARACTERS < len(text) else ""
    return f"{before}{shown}{after}\n{' ' * (len(before) + position - first)}^"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


# --- Patterns and numbers -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pattern:
    """One folded alternative: a glob, or a text that is meant literally."""

    text: str
    is_glob: bool

    @classmethod
    def plain(cls, folded: str) -> _Pattern:
        if not _WILDCARDS.search(folded):
            return cls(folded, is_glob=False)
        return cls(_WILDCARD_RUN.sub(lambda run: "?" * run[0].count("?") + "*", folded), is_glob=True)

    def as_number(self) -> _Pattern:
        """`mem:4096M` and `mem:4G` ask the same."""
        number = None if self.is_glob else _read_number(self.text)
        return self if number is None else _Pattern(_number_text(number).casefold(), is_glob=False)

    def canonical(self, plain: re.Pattern[str]) -> str:
        """The shortest text that reads as this pattern where `plain` says what needs no quotes."""
        if self.is_glob:
            return self.text
        begins_like_a_negation = plain is _PLAIN_WORD and self.text.startswith("-")
        if plain.fullmatch(self.text) and not _WILDCARDS.search(self.text) and not begins_like_a_negation:
            return self.text
        return '"' + self.text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _compile_glob(glob: str) -> Callable[[str], object]:
    """`*` takes as little as it can and never gives back what it took.

    The first place where a piece fits leaves the most room for the rest, so trying another cannot help; the
    atomic groups say so. The work is at most the length of the value times that of the glob.
    """
    first, *pieces = (re.escape(piece).replace(r"\?", ".") for piece in glob.split("*"))
    if not pieces:
        return re.compile(first, re.DOTALL).fullmatch
    *middle, last = pieces
    middle = [f"(?>.*?{piece})" for piece in middle]
    return re.compile("".join([first, *middle, ".*", last]), re.DOTALL).fullmatch


def _fits(patterns: Iterable[_Pattern]) -> Callable[[_Values], bool]:
    """Whether any of the values is one of the texts or fits one of the globs."""
    patterns = tuple(patterns)
    literals = frozenset(pattern.text for pattern in patterns if not pattern.is_glob)
    globs = tuple(_compile_glob(pattern.text) for pattern in patterns if pattern.is_glob)
    if globs:
        return lambda values: not literals.isdisjoint(values) or any(g(v) for v in values for g in globs)
    if len(literals) > 1:
        return lambda values: not literals.isdisjoint(values)
    (literal,) = literals
    return lambda values: literal in values


def _word_matches(fits: Callable[[_Values], bool]) -> _Test:
    return lambda facts: fits(facts.words)


def _values_match(key: str, fits: Callable[[_Values], bool]) -> _Test:
    return lambda facts: fits(facts.texts.get(key, ()))


def _number_matches(key: str, compare: Callable[[float, float], bool], limit: float) -> _Test:
    return lambda facts: key in facts.numbers and compare(facts.numbers[key], limit)


def _not(matches: _Test) -> _Test:
    return lambda facts: not matches(facts)


def _read_number(text: str) -> float | None:
    found = _NUMBER.fullmatch(text)
    return _number_of(found) if found else None


def _number_of(found: re.Match[str]) -> float:
    return float(found[1]) * _POWERS[found[2].upper()]


def _number_text(number: float) -> str:
    """The shortest text that reads as this number; never longer than what was typed."""
    texts = (f"{number / power!r}".removesuffix(".0") + letter for letter, power in _POWERS.items())
    return min((text for text in texts if _NUMBER.fullmatch(text)), key=len, default=repr(number))
