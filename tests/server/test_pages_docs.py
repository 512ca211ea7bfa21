"""The API as a page: all of it, true, with nothing from elsewhere, and open as the description is."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import httpx2
import jsonschema
import pytest

from picluster.server import reference
from picluster.server.app import Service
from picluster.server.pages import docs
from picluster.server.reference import Call, Reference
from picluster.server.settings import Settings
from picluster.store.sqlite import SqliteStore
from tests.server.conftest import Api, words

READS = {"Accept": "text/html"}
BELOW = {"viewer": "", "user": "viewer", "operator": "user", "admin": "operator", "join": "user"}
"""Who is next below each role, and so refused."""


@pytest.fixture(scope="module")
def document(api: Api) -> dict[str, Any]:
    return dict(api.get("/openapi.json", "").json())


@pytest.fixture(scope="module")
def found(document: dict[str, Any]) -> Reference:
    return reference.read(document)


@pytest.fixture(scope="module")
def looked_at(api: Api) -> httpx2.Response:
    """By somebody who has not logged in."""
    return api.get("/docs", "", headers=READS)


def test_every_call_and_every_shape_stands_there(looked_at: httpx2.Response, found: Reference) -> None:
    """At an address of its own; and whatever is linked within the page is there."""
    places = re.findall(r' id="([^"]+)"', looked_at.text)
    assert {call.anchor for call in found.calls} <= set(places)
    assert len(places) == len(set(places))
    assert set(re.findall(r'href="#([^"]+)"', looked_at.text)) <= set(places)
    shown = words(looked_at)
    assert [call.title for call in found.calls if call.title not in shown] == []
    for field in found.shapes["LeaseRequest"].fields:
        assert field.name in shown


def test_nothing_of_it_comes_from_elsewhere(looked_at: httpx2.Response, api: Api) -> None:
    """Neither script nor style nor picture: an admin who opens it runs what we ship. What FastAPI would serve is gone."""
    assert "default-src 'none'" in looked_at.headers["Content-Security-Policy"]
    assert [link for link in re.findall(r'(?:src|href)="([^"]*)"', looked_at.text) if "//" in link] == []
    for path in ("/redoc", "/docs/oauth2-redirect"):
        assert api.get(path).status_code == 404


def test_it_is_made_once() -> None:
    service = Service(Settings.model_construct(), SqliteStore(":memory:"))
    api = service.app._api  # type: ignore[attr-defined]
    assert docs.made(api) is docs.made(api)


def test_each_line_of_curl_is_the_call_that_it_stands_at(found: Reference, document: dict[str, Any]) -> None:
    """Method, address and body; with a token where one is needed."""
    for call in found.calls:
        line = shlex.split(docs.curl(call, found))
        assert line[0] == "curl" and line[-1].startswith("$PICLUSTER_URL/api/v1/")
        template = re.sub(r"{(\w+)}", lambda place: place[1].upper(), call.path)
        assert line[-1].removeprefix("$PICLUSTER_URL").partition("?")[0] == template
        assert (line[line.index("-X") + 1] if "-X" in line else "GET") == call.method
        assert ("Authorization: Bearer $PICLUSTER_TOKEN" in line) == (call.path != "/api/v1/login")
        if "-d" in line:
            schema = {"$ref": f"#/components/schemas/{call.body[0].text}", **document}
            jsonschema.validate(json.loads(line[line.index("-d") + 1]), schema)


def test_a_line_says_what_has_to_be_said(found: Reference) -> None:
    lines = {call.title: docs.curl(call, found) for call in found.calls}
    assert '{"selector": "SELECTOR"}' in lines["PUT /api/v1/leases/{lease_id}"]
    assert '{"comment": "COMMENT"}' in lines["PATCH /api/v1/machines/{name}"]
    assert '{"name": "NAME", "url": "URL"}' in lines["POST /api/v1/webhooks"]
    assert lines["GET /api/v1/events"].startswith("curl -N ")
    assert lines["GET /api/v1/backup"].startswith("curl -o FILE ")


def test_who_may_is_who_may(api: Api, found: Reference) -> None:
    """The role that a call is said to need is needed: whoever is next below is refused. The list of machines is open
    here, and everybody may log in."""
    tokens = {role: api.token(role) if role else "" for role in BELOW.values()}
    open_to_all = [call.title for call in found.calls if not _refused(api, call, tokens)]
    assert open_to_all == ["GET /api/v1/machines", "GET /api/v1/machines/{name}", "POST /api/v1/login"]


def _refused(api: Api, call: Call, tokens: dict[str, str]) -> bool:
    if not call.role:
        return False
    body = {} if call.body else None
    answer = api.send(call.method, re.sub("{.*}", "nobody", call.path), body, tokens[BELOW[call.role]])
    return answer.status_code in (401, 403)


def test_what_stands_in_a_docstring_cannot_become_markup() -> None:
    assert docs.text("`<b>` & <i>") == "<code>&lt;b&gt;</code> &amp; &lt;i&gt;"
