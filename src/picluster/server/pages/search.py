"""What is typed into the page's search: selectors as everywhere, but a plain word is looked for anywhere in a value.

Nobody types a name to its end. A command that acts on what it finds must not guess so, and takes words whole.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from picluster.errors import Malformed, PiclusterError
from picluster.pool.model import Machine
from picluster.pool.selector import Selector
from picluster.server.context import Context
from picluster.server.present import search_facts
from picluster.server.v1.machines import read_search
from picluster.wire import text_problem

LONGEST_SEARCH = 4_000
"""Characters; it has to fit into an address."""

AT_ONCE = 500
"""Machines looked at before the event loop is let on: some milliseconds."""

MOST_TERMS = 5
"""Terms of a search that finds nothing of which each is tried by itself."""

_TERM = re.compile(r'(?:"(?:[^"\\]|\\.)*+"?|[^\s"])++')
_PLAIN = re.compile(r'(-?)([^\s"()|:<>=*?-][^\s"()|:<>=*?]*)')


@dataclass(frozen=True, slots=True)
class Search:
    """A search, read once. Raises `Malformed` when it is made of what is none."""

    exact: str
    """The one machine that it names, by name or address; that wins over reading it as a selector."""
    selector: Selector | None
    """None finds everything."""
    me: str

    @classmethod
    def of(cls, context: Context, text: str, me: str) -> Search:
        if problem := text_problem(text, LONGEST_SEARCH):
            raise Malformed(f"q: {problem}", field="q")
        exact = context.view.roster.machine_called(text.strip())
        return cls(exact.name if exact else "", None if exact else read_search(context, widened(text)), me)

    def finds(self, context: Context, machine: Machine) -> bool:
        if self.exact:
            return machine.name == self.exact
        return self.selector is None or self.selector.matches(search_facts(context.view, machine, self.me))

    async def all(self, context: Context) -> list[Machine]:
        """What it finds, by name; nobody else waits for the whole of a large pool."""
        roster = context.view.roster
        names = [self.exact] if self.exact else sorted(roster.machines)
        found: list[Machine] = []
        for start in range(0, len(names), AT_ONCE):
            known = (roster.machines.get(name) for name in names[start : start + AT_ONCE])
            found += [machine for machine in known if machine is not None and self.finds(context, machine)]
            if start + AT_ONCE < len(names):
                await asyncio.sleep(0)
        return found


def widened(text: str) -> str:
    """`cam -rack:b` as `*cam* -rack:b`."""
    return _TERM.sub(lambda term: _wide(term.group()), text)


def _wide(term: str) -> str:
    return _PLAIN.sub(r"\1*\2*", term) if _PLAIN.fullmatch(term) else term


async def without_a_match(context: Context, text: str, me: str) -> list[tuple[str, bool]]:
    """The terms of a search that finds nothing, and of each whether no machine fits it by itself."""
    terms = text.split()
    tried = [(term, not await _fits_some(context, term, me)) for term in terms[:MOST_TERMS]]
    return tried + [(term, False) for term in terms[MOST_TERMS:]]


async def _fits_some(context: Context, term: str, me: str) -> bool:
    try:
        return bool(await Search.of(context, term, me).all(context))
    except PiclusterError:  # half of a quoted text
        return True
