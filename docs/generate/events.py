"""`docs/reference/events.md`: what the record can say, from the sentences that the pages tell it in."""

from __future__ import annotations

import re
from collections.abc import Iterator

from docs.generate.markdown import code, table
from picluster.server.sentences import ENDINGS, GROUPS, NO_VERDICT, SENTENCES, STEPS, VERDICTS, Says
from picluster.server.webhooks.notices import NOTICES

HEAD = """# Events

Every change of the pool is written down, in the same transaction as the change; `make docs` writes this page anew. Read them with
`picluster history` (`-o json` has all of an event), at `GET /api/v1/history`, or under *Activity*. They are kept for a year.

An event is `id` (`epoch.revision`), `at_us` (µs since 1970), `kind`, `actor` (who did it; `picluster` is the rules),
`address` (from where), `machine`, `lease`, `holder`, and `detail`, which differs by kind. A *step* goes on between the
events that people look for: only the whole history shows it. A [webhook](../webhooks.md) knows an event by its notice.
"""

TAIL = """
## `lease.ended`, by why

The words in `detail.why`; [errors](errors.md#how-leases-end) has the same for the holder.

"""

VERDICT = """
## `lease.judged`, by verdict

[Honest boards](../health.md) says what makes one.

"""


def page() -> str:
    """The whole page."""
    endings = table(("why", "as the pages say it"), _endings())
    return HEAD + "".join(map(_group, GROUPS)) + TAIL + endings + VERDICT + _verdicts()


def _group(name: str) -> str:
    word, kinds = GROUPS[name]
    return f"\n## {word}\n\n" + table(("kind", "as the pages say it", "notice"), map(_event, kinds))


def _event(kind: str) -> tuple[str, ...]:
    notices = ", ".join(code(name) for name, notice in NOTICES.items() if kind in notice.kinds)
    step = " (step)" if kind in STEPS else ""
    return code(kind) + step, _words(SENTENCES[kind]), notices


def _endings() -> Iterator[tuple[str, ...]]:
    for why, says in ENDINGS.items():
        yield code(why), _words(says)


def _verdicts() -> str:
    told = {**VERDICTS, "unknown": NO_VERDICT}
    return table(
        ("verdict", "as the pages say it"), ((code(one), _words(says)) for one, says in told.items())
    )


def _words(says: Says) -> str:
    """With what may stand behind it; that somebody gave a reason is not worth saying each time."""
    more = f" · {says.more}" if says.more not in ("", "{reason}") else ""
    return re.sub(r"\{(\w+)\}", r"*\1*", f"{says.words}{more}")
