"""The part of Tabler's CSS that our pages use: whole families of classes, chosen once, when the file is vendored.

All of Tabler is 79 KB compressed, half of what the first page may weigh, and most of it is navigation bars, colours
and widgets that the design has no place for. A rule is kept when every class it needs is in a family below; rules
that need no class (the reset, the variables) always are. Pages may so take any class of a family without vendoring
again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

import tinycss2
from tinycss2.ast import AtRule, Node, QualifiedRule

FAMILIES = """
    h[1-6] small mark kbd list-unstyled
    form-* is-invalid btn btn-* active disabled show
    table table-* card card-* icon visually-hidden visually-hidden-*
""".split()
"""Globs of class names: text, forms, buttons, tables, cards. Our own CSS has the rest, as the design draws it."""

UNWANTED = """
    *-blue* *-azure* *-indigo* *-purple* *-pink* *-red* *-orange* *-yellow* *-lime* *-green* *-teal* *-cyan*
    *-x *-facebook *-twitter *-linkedin *-google *-youtube *-vimeo *-dribbble *-github *-instagram *-pinterest *-vk
    *-rss *-flickr *-bitbucket *-tabler *-gray-* *-lt *-fg *-shadow* *-gradient*
    card-carousel card-rotate-* card-stamp* card-status-* card-cover* card-img* btn-loading btn-animate*
    form-colorinput* form-imagecheck* form-floating* form-selectgroup* form-fieldset* table-responsive-*
    m?-??-* m-??-* p?-??-* p-??-* g?-??-* g-??-* text-??-* align-*-??-* justify-content-??-* *-xxl* rounded-??-*
""".split()
"""Taken out of the families again. Colour means state, and states have colours of their own; space does not depend
on the width of the window, and where it does, our own CSS says so."""

_CLASS = re.compile(r"\.(-?[A-Za-z_][\w-]*)")
_OPTIONAL = re.compile(r":(?:not|is|where)\([^()]*\)")


def subset(css: str) -> str:
    """The rules of `css` that are kept, in their order; its licence comment, no other."""
    notice = re.search(r"/\*!.*?\*/", css, re.DOTALL)
    rules = tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True)
    return (notice.group() + "\n" if notice else "") + "".join(_kept(rules)) + "\n"


def is_kept(name: str) -> bool:
    """Whether our Tabler may have this class."""
    return _any(name, FAMILIES) and not _any(name, UNWANTED)


def _kept(rules: Sequence[Node]) -> Iterator[str]:
    for rule in rules:
        if isinstance(rule, QualifiedRule):
            yield from _kept_rule(rule)
        elif isinstance(rule, AtRule) and rule.lower_at_keyword in (
            "media",
            "supports",
            "layer",
            "container",
        ):
            yield from _kept_block(rule)
        elif isinstance(rule, AtRule) and rule.lower_at_keyword != "charset":
            yield rule.serialize()


def _kept_rule(rule: QualifiedRule) -> Iterator[str]:
    """The rule with those of its selectors that can match something."""
    selectors = [one for one in _selectors(rule.prelude) if all(map(is_kept, needed(one)))]
    if selectors:
        yield f"{','.join(selectors)}{{{tinycss2.serialize(rule.content)}}}"


def _kept_block(rule: AtRule) -> Iterator[str]:
    inner = "".join(
        _kept(tinycss2.parse_rule_list(rule.content or [], skip_comments=True, skip_whitespace=True))
    )
    if inner:
        yield f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}{{{inner}}}"


def _selectors(prelude: Sequence[Node]) -> Iterator[str]:
    """A list of selectors, cut at its own commas; those inside brackets are one node with their brackets."""
    part: list[Node] = []
    for node in prelude:
        if node == ",":
            yield tinycss2.serialize(part)
            part = []
        else:
            part.append(node)
    yield tinycss2.serialize(part)


def needed(selector: str) -> list[str]:
    """The classes without which the selector matches nothing; what it excludes, or has a choice of, need not exist."""
    return _CLASS.findall(_OPTIONAL.sub("", selector))


def _any(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
