"""What is typed into the page's search: selectors as everywhere, but a plain word is looked for anywhere in a value.

Nobody types a name to its end. A command that acts on what it finds must not guess so, and takes words whole.
"""

from __future__ import annotations

import re

from picluster.pool.model import Machine
from picluster.server.context import Context
from picluster.server.v1.machines import find, finds

_TERM = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^\s"])+')
_PLAIN = re.compile(r'(-?)([^\s"()|:<>=*?-][^\s"()|:<>=*?]*)')


def widened(text: str) -> str:
    """`cam -rack:b` as `*cam* -rack:b`."""
    return _TERM.sub(
        lambda term: _PLAIN.sub(r"\1*\2*", term.group()) if _PLAIN.fullmatch(term.group()) else term.group(),
        text,
    )


def found(context: Context, text: str, me: str) -> list[Machine]:
    """Machines by name. An exact name or address is that one machine. Raises `Malformed`."""
    exact = context.view.roster.machine_called(text.strip())
    return [exact] if exact is not None else find(context, widened(text), me)


def fits(context: Context, text: str, machine: Machine, me: str) -> bool:
    """Whether `found` would find this machine. Raises `Malformed`."""
    exact = context.view.roster.machine_called(text.strip())
    return exact.name == machine.name if exact is not None else finds(context, widened(text), machine, me)
