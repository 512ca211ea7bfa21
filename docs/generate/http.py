"""`docs/reference/http.md`: every call of `/api/v1`, from the document that the service has at `/openapi.json`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx2

from docs.generate.markdown import code, table
from picluster.server import reference
from picluster.server.app import Service
from picluster.server.reference import Call, Field, Reference, Shape
from picluster.server.settings import Settings
from picluster.store.sqlite import SqliteStore

HEAD = """# HTTP

Every call of the API; `make docs` writes this page anew. A running service has the same at `/docs`, with a line of `curl`
for each, and at `/openapi.json`, for programs.

- Who asks: `Authorization: Bearer TOKEN`. While the old protocol is open its shared key is a token, too, with
  `X-Picluster-User: NAME`.
- What is sent and answered is JSON. Times are µs since 1970 (`…_us`), durations seconds (`…_s`).
- A refusal is `{"error": {"code", "message", "hint"}}`: see [errors](errors.md). **Every call may be repeated** after
  any failure; a lease has an id of your choice, so asking again is the same lease.
- `wait` holds a call open until there is news, for 25 s at most. Lists take `limit` and `after`.
- A body has 64 KiB at most.
"""

BESIDES = {
    "POST /api/v1/machines/{name}/beat": "what [the agent](../agent.md#what-a-report-says) says, and is told; with `wait`",
    "GET /openapi.json": "the document that this page is made of",
    "GET /docs": "the same, as a page",
    "GET /healthz": "the process lives",
    "GET /readyz": "a turn succeeded lately; else 503",
    "GET /metrics": "for Prometheus: [metrics](metrics.md)",
    "GET /install.sh": "what makes a board join: [add a board](../join.md)",
    "GET /picluster-agent.pyz": "the agent as one file",
    "GET /api": "the first service's list; with `?id=ADDRESS` one machine",
    "POST /api/update": "the old protocol: a board reports",
    "POST /api/lock": "the old protocol: lock",
    "POST /api/free": "the old protocol: unlock",
    "POST /api/delete": "the old protocol: forget a machine",
}
"""What FastAPI does not describe: the calls that come thousands a second, and those that are not of `/api/v1`."""


WHO = {"": "For anybody.", "join": "For boards with a join token."}
"""Who may, where it is not a role of people."""


def page() -> str:
    """The whole page."""
    found = reference.read(asyncio.run(_document()))
    besides = table(("call", "what"), ((code(call), what) for call, what in BESIDES.items()))
    shapes = map(_shape, found.shapes.values())
    return "".join([HEAD, *_calls(found), "\n## Besides\n\n", besides, "\n## Shapes\n", *shapes])


async def _document() -> reference.Json:
    """As a service answers it, whatever it is set to."""
    service = Service(Settings.model_construct(), SqliteStore(":memory:"))
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(service.app), base_url="http://pool"
    ) as pool:
        return dict((await pool.get("/openapi.json")).json())


def _calls(found: Reference) -> Iterator[str]:
    for group, calls in found.groups.items():
        yield f"\n## {group.capitalize()}\n"
        yield from map(_call, calls)


def _call(call: Call) -> str:
    parameters = [one for one in call.parameters if one.place != "path"]
    rows = ((code(one.name), _kind(one.kind), one.meaning) for one in parameters)
    said = f"\n### `{call.title}`\n\n{call.says} {WHO.get(call.role, f'Role: {call.role}.')}\n"
    if call.body:
        said += f"\nBody: {_kind(call.body)}.\n"
    if call.answer:
        said += f"\nAnswer: {_kind(call.answer)}.\n"
    if asked := table(("query", "", ""), rows):
        said += "\n" + asked
    return said


def _shape(shape: Shape) -> str:
    said = f"\n### {shape.name}\n\n{shape.says}\n"
    if shape.values:
        return said + "\n" + ", ".join(map(code, shape.values)) + "\n"
    rows = ((code(one.name), _kind(one.kind), _meaning(one)) for one in shape.fields)
    return said + "\n" + table(("field", "", ""), rows) if shape.fields else said


def _meaning(field: Field) -> str:
    unless = "" if field.usual is None else f"unless said {code(field.usual)}"
    return ". ".join(filter(None, (unless, field.meaning)))


def _kind(kind: reference.Kind) -> str:
    """In words; what has a name is linked."""
    return "".join(f"[{word.text}](#{word.text.lower()})" if word.shape else word.text for word in kind)
