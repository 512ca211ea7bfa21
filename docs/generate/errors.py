"""`docs/reference/errors.md`: everything that can go wrong, from the one tree of errors, and how leases end."""

from __future__ import annotations

from collections.abc import Iterator

from docs.generate.markdown import code, sentence, table
from picluster import errors
from picluster.cli.common import EXIT_CODES
from picluster.errors import ENDINGS, PiclusterError
from picluster.server import app  # noqa: F401  brings in whatever the service can answer besides
from picluster.store import StoreProblem

HEAD = """# Errors

What can go wrong, once for both ends of the wire; `make docs` writes this page anew. The service answers

```json
{"error": {"code": "held", "message": "…", "hint": "…"}}
```

with the status below, and perhaps details beside them: `fields` of a malformed request, `ended` and `ended_by` of a lost
lease. The message says what it is, the hint what to do next. Python clients raise the class of that name from
`picluster.errors`; the command line ends with the exit code. Whatever is answered 503 may be repeated as it was;
`Retry-After` says when.

A class includes those that are indented below it. What has no status never comes from the service: it is found out here,
or on the way to a machine. A `store_problem` ends `picluster serve`, with 78 where the database is damaged.
`picluster run` and `exec` have [exit codes of their own](../run.md#exit-codes).

"""

ENDS = """
## How leases end

In `ended` of a lease, and in the history.

"""


def page() -> str:
    """The whole page."""
    tree = table(("class", "`code`", "status", "exit code", "what"), _rows(PiclusterError, 0))
    return (
        HEAD + tree + ENDS + table(("`ended`", "why"), ((code(why), text) for why, text in ENDINGS.items()))
    )


def _rows(cls: type[PiclusterError], depth: int) -> Iterator[tuple[str, ...]]:
    yield (
        "&nbsp;&nbsp;&nbsp;" * depth + code(cls.__name__),
        code(cls.code),
        str(cls.status) if _on_the_wire(cls) else "",
        str(next((number for kind, number in EXIT_CODES.items() if issubclass(cls, kind)), 1)),
        sentence(cls.__doc__),
    )
    for child in sorted(filter(_has_a_code, cls.__subclasses__()), key=_order):
        yield from _rows(child, depth + 1)


def _has_a_code(cls: type[PiclusterError]) -> bool:
    """Others are their parents to whoever reads the code; and tests have classes of their own."""
    return "code" in vars(cls) and cls.__module__.startswith("picluster.")


def _order(cls: type[PiclusterError]) -> tuple[bool, str]:
    """Those of the tree as they stand there; then the others by name, whichever was imported first."""
    besides = cls.__module__ != errors.__name__
    return besides, cls.__name__ if besides else ""


def _on_the_wire(cls: type[PiclusterError]) -> bool:
    here = (errors.MachineTrouble, errors.CommandFailed, errors.WaitedTooLong, StoreProblem)
    return not issubclass(cls, here)
