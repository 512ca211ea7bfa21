"""The API as a page: every call with who may make it, what it takes and answers, and a line of `curl` to begin with.

What it shows is the same for everybody, so it is made once, when somebody first looks. It is open as `/openapi.json` is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from markupsafe import Markup, escape
from starlette.responses import Response

from picluster.server import reference
from picluster.server.pages.frame import page, templates
from picluster.server.reference import Call, Field, Kind, Reference

router = APIRouter(include_in_schema=False)

STREAM = "text/event-stream"
PLACE = re.compile(r"{(\w+)}")
QUOTED = re.compile("`([^`]*)`")
PLAIN = {"boolean": True, "integer": 1, "number": 60}
"""What stands in a line of curl for something that is no text."""
COMPOSED = ("list", "object")
"""What would have to be filled in by more than a word."""


@router.get("/docs")
async def docs_page(request: Request) -> Response:
    """For whoever writes a script, and for those who want to know what one can do."""
    return page(request, "docs.html", calls=made(request.app))


def made(api: FastAPI) -> Markup:
    """The part that is the same for everybody."""
    if not hasattr(api.state, "docs"):
        api.state.docs = Markup(render(reference.read(api.openapi())))  # noqa: S704  a template has escaped it
    done: Markup = api.state.docs
    return done


def render(found: Reference) -> str:
    return templates.get_template("docs_calls.html").render(
        reference=found,
        refusals=reference.refusals(),
        curl=lambda call: curl(call, found),
        text=text,
        kind=linked,
    )


def text(said: str) -> Markup:
    """A docstring: what is between backticks is code."""
    return Markup(QUOTED.sub(r"<code>\1</code>", str(escape(said))))  # noqa: S704  escaped before


def linked(kind: Kind) -> Markup:
    """What a field is; a shape leads to its description."""
    link = Markup('<a href="#{0}">{0}</a>').format
    return Markup("").join(link(word.text) if word.shape else word.text for word in kind)


# curl


def curl(call: Call, found: Reference) -> str:
    """A line for a shell; what is in capitals is for the reader to fill in."""
    words = ["curl", *_how(call)]
    if call.role:
        words.append('-H "Authorization: Bearer $PICLUSTER_TOKEN"')
    if call.method != "GET":
        words.append(f"-X {call.method}")
    if found.body_of(call):
        words.append(f"-H 'Content-Type: application/json' -d '{json.dumps(_body(call, found))}'")
    return " ".join([*words, f'"$PICLUSTER_URL{PLACE.sub(_capitals, call.path)}{_query(call)}"'])


def _how(call: Call) -> Iterator[str]:
    """A stream is shown as it comes, a file is kept."""
    if call.media_type == STREAM:
        yield "-N"
    elif not call.answer:
        yield "-o FILE"


def _capitals(place: re.Match[str]) -> str:
    return place[1].upper()


def _query(call: Call) -> str:
    needed = [one.name for one in call.parameters if one.place == "query" and one.required]
    return "?" + "&".join(f"{name}={name.upper()}" for name in needed) if needed else ""


def _body(call: Call, found: Reference) -> dict[str, Any]:
    """What has to be said; where nothing has to, the first thing that can be."""
    fields = found.body_of(call)
    needed = [one for one in fields if one.required]
    simple = [one for one in fields if not one.kind[0].text.startswith(COMPOSED)]
    return {one.name: _example(one) for one in needed or simple[:1]}


def _example(field: Field) -> Any:
    return PLAIN.get(field.kind[0].text, field.name.upper())
