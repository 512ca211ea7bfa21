"""`docs/reference/settings.md`: every setting of the service, from the fields and the texts beneath them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from docs.generate.markdown import code, table
from picluster.cli.serve import serve_command
from picluster.pool.policy import Policy
from picluster.server.described import meanings_of
from picluster.server.settings import PREFIX, Settings, variables

HEAD = """# Settings

What a service can be told; `make docs` writes this page anew. A flag of `picluster serve` goes before a variable of the
environment, and of several variables the first that is set counts. A misspelt one stops the start. Admins read the
present values under *Settings, Pool*, or at `GET /api/v1/settings`.

What the command line reads is in [commands](../commands.md) beside each option, what boards read in
[the agent](../agent.md#settings).

## The service

"""

RULES = """
## The rules

The numbers behind leases, presence and health, in the unit that the name ends with; seconds are those of the service's own
time, which stands still while it is down. They belong together: change one only with its reason in mind.
`PICLUSTER_POLICY` takes several as a JSON object.

"""


def page() -> str:
    """The whole page."""
    service = table(("variable", "flag", "unless set", "what"), _of_service())
    rules = table(("variable", "unless set", "what"), _of_rules())
    return HEAD + service + RULES + rules


def _of_service() -> Iterator[tuple[str, ...]]:
    meanings, names = meanings_of(Settings), variables(Settings)
    flags = {option.name: option.opts[-1] for option in serve_command.params}
    for name, field in Settings.model_fields.items():
        if name != "policy":
            called = ", ".join(map(code, names[name]))
            yield called, code(flags.get(name, "")), code(_usual(field.default)), meanings[name]


def _of_rules() -> Iterator[tuple[str, ...]]:
    usual, meanings = asdict(Policy()), meanings_of(Policy)
    for name, value in usual.items():
        yield code(f"{PREFIX}POLICY__{name.upper()}"), code(_usual(value)), meanings[name]


def _usual(value: Any) -> str:
    """As one would type it."""
    if value is None or isinstance(value, bool):
        return "" if value is None else str(value).lower()
    return f"{value:g}" if isinstance(value, float) and value < 1e6 else str(value)
