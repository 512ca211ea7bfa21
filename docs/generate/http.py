"""`docs/reference/http.md`: every call of `/api/v1`, from the document that the service has at `/openapi.json`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

import httpx2

from docs.generate.markdown import code, sentence, table
from picluster import wire
from picluster.server.app import Service
from picluster.server.described import meanings_of
from picluster.server.settings import Settings
from picluster.store.sqlite import SqliteStore

Json = Mapping[str, Any]

HEAD = """# HTTP

Every call of the API; `make docs` writes this page anew. A running service has the same at `/docs`, to try, and at
`/openapi.json`, for programs.

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
    "GET /docs": "the same, to try",
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


def page() -> str:
    """The whole page."""
    document = asyncio.run(_document())
    named = document["components"]["schemas"]
    besides = table(("call", "what"), ((code(call), what) for call, what in BESIDES.items()))
    return "".join([HEAD, *_calls(document), "\n## Besides\n\n", besides, "\n## Shapes\n", *_shapes(named)])


async def _document() -> Json:
    """As a service answers it, whatever it is set to."""
    service = Service(Settings.model_construct(), SqliteStore(":memory:"))
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(service.app), base_url="http://pool"
    ) as pool:
        return dict((await pool.get("/openapi.json")).json())


def _calls(document: Json) -> Iterator[str]:
    calls = [
        (call["tags"][0], f"{method.upper()} {path}", call)
        for path, methods in document["paths"].items()
        for method, call in methods.items()
    ]
    order = list(dict.fromkeys(tag for tag, _, _ in calls))
    for tag, below in groupby(sorted(calls, key=lambda one: order.index(one[0])), key=lambda one: one[0]):
        yield f"\n## {tag.capitalize()}\n"
        for _, title, call in below:
            yield _call(title, call)


def _call(title: str, call: Json) -> str:
    parameters = [one for one in call.get("parameters", ()) if one["in"] != "path"]
    rows = ((code(one["name"]), _type(one["schema"]), one.get("description", "")) for one in parameters)
    said = f"\n### `{title}`\n\n{sentence(call['description'])}\n"
    if body := call.get("requestBody"):
        said += f"\nBody: {_type(_content(body))}.\n"
    if answer := _content(next(iter(call["responses"].values()))):
        said += f"\nAnswer: {_type(answer)}.\n"
    if asked := table(("query", "", ""), rows):
        said += "\n" + asked
    return said


def _content(part: Json) -> Json:
    """The schema of a body as JSON; empty where it is something else."""
    return dict(part.get("content", {}).get("application/json", {}).get("schema", {}))


def _shapes(named: Mapping[str, Json]) -> Iterator[str]:
    for name, shape in sorted(named.items()):
        yield f"\n### {name}\n\n{sentence(shape.get('description'))}\n"
        if values := shape.get("enum"):
            yield "\n" + ", ".join(map(code, values)) + "\n"
        elif fields := shape.get("properties"):
            yield "\n" + table(("field", "", ""), _fields(name, fields, shape.get("required", ())))


def _fields(shape: str, fields: Mapping[str, Json], required: Any) -> Iterator[tuple[str, ...]]:
    meanings = meanings_of(getattr(wire, shape)) if hasattr(wire, shape) else {}
    for name, field in fields.items():
        unless = (
            "" if name in required or "default" not in field else f"unless said {_json(field['default'])}"
        )
        yield code(name), _type(field), ". ".join(filter(None, (unless, meanings.get(name, ""))))


def _json(value: Any) -> str:
    return code(json.dumps(value))


def _type(schema: Json) -> str:
    """A schema in a few words; what has a name is linked."""
    if name := schema.get("$ref", "").rsplit("/", 1)[-1]:
        return f"[{name}](#{name.lower()})"
    if several := schema.get("anyOf"):
        return " or ".join(_type(one) for one in several)
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"object of {_type(values)}" if isinstance(values, dict) else "object"
    return str(kind) + _range(schema)


def _range(schema: Json) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if most is not None and least is not None:
        return f", {least:g} to {most:g}" if most < 1e9 else f", {least:g} or more"
    return ""
