"""Every call of `/openapi.json` is made with hundreds of odd things, the same ones each time.

Whatever comes, the answer is no 5xx, and it is one that the document promises.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from picluster.wire import LONGEST_WAIT_S
from tests.server.conftest import Api, fresh_lease
from tests.service import ADMIN, PATIENCE_S, ServiceProcess, on_sqlite, service

EXAMPLES, MANY_EXAMPLES = 20, 200
"""For each call, once with what the document allows and once with what it does not; many in the long run."""

PARTS = 4
"""In which the calls are made, so that several workers can make them."""

SHORT_WAIT_S = 0.01
"""Instead of any longer `wait`: what is tested is what comes in, not time."""

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

PASSWORD = "correct horse battery"
NOWHERE = "https://chat.invalid/hook"
"""A webhook that reaches nobody."""

BEARER = {"Authorization": f"Bearer {ADMIN}"}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """One that knows how to switch every board."""
    folder = tmp_path_factory.mktemp("pool")
    config = folder / "picluster.toml"
    config.write_text('[[power]]\non = ["true"]\n')
    with service(*on_sqlite(folder), "--config", str(config), PICLUSTER_POLICY__OFFLINE_S="3600") as running:
        yield running


class Caller:
    """Makes the calls, half of them about things that exist; others would only ever see `not_found`."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._session = httpx2.Client(base_url=api.address, headers=BEARER, timeout=PATIENCE_S)
        self._numbers = count(1)
        self._real: dict[str, str] = {}
        self._joining = api.token("join", uses=1_000)
        self.statuses: set[int] = set()

    def close(self) -> None:
        self._session.close()

    def prepare(self) -> None:
        """What is there to be found: a free board, a lease that waits for another, a token. Not our own."""
        self.statuses.clear()
        taken, lease = self._api.board().name, fresh_lease()
        self._api.put(fresh_lease(), {"selector": taken})
        self._api.put(lease, {"selector": taken})
        token = self._api.post("tokens", {"name": "ann"}).json()["id"]
        self._api.delete("people/ann")
        self._api.post("people", {"name": "ann", "password": PASSWORD})
        self._api.delete("webhooks/room")
        self._api.post("webhooks", {"name": "room", "url": NOWHERE})
        self._real = {
            "name": self._api.board().name,
            "lease_id": lease.partition("/")[2],
            "token_id": token,
        }

    def about_something_real(self, case: Case) -> None:
        """What the document cannot say: which names there are, and which texts stand for something."""
        for name in case.path_parameters or ():
            case.path_parameters[name] = self._real[name]
        if case.path.startswith("/api/v1/people/"):
            case.path_parameters["name"] = "ann"
        if case.method == "PUT":
            case.path_parameters["lease_id"] = str(uuid.UUID(int=next(self._numbers)))
        if case.path.endswith("/power") and isinstance(case.body, dict):
            case.body["action"] = "on"
        if case.path == "/api/v1/join" and isinstance(case.body, dict):
            case.body |= {"id": str(next(self._numbers)), "name": "pi", "address": "pi.lab", "host_keys": []}
        if case.path == "/api/v1/tokens" and isinstance(case.body, dict):
            case.body |= {"kind": "ci", "role": "viewer", "expires_in_s": 60}
        if case.path == "/api/v1/login" and isinstance(case.body, dict):
            case.body |= {"name": "ann", "password": PASSWORD}
        if case.path.startswith("/api/v1/webhooks/"):
            case.path_parameters["name"] = "room"
        if case.path.startswith("/api/v1/webhooks") and isinstance(case.body, dict):
            case.body |= {"url": NOWHERE, "notices": []}
        if case.path == "/api/v1/webhooks" and isinstance(case.body, dict):
            case.body |= {"name": f"room-{next(self._numbers)}", "kind": "slack"}
        if case.path == "/api/v1/people" and isinstance(case.body, dict):
            case.body |= {"name": f"ann-{next(self._numbers)}", "role": "user", "password": None}
        if case.path == "/api/v1/people/{name}" and isinstance(case.body, dict):
            case.body |= {"password": None, "disabled": False}

    def call(self, case: Case) -> None:
        """Raises a `FailureGroup` when the answer is not one that the document promises."""
        if "wait" in (case.query or {}):
            case.query["wait"] = _shorter(case.query["wait"])
        if case.path == "/api/v1/events":
            self._listen(case)
            return
        headers = {"Authorization": f"Bearer {self._joining}"} if case.path == "/api/v1/join" else BEARER
        answer = case.call(base_url=self._api.address, headers=headers, timeout=PATIENCE_S)
        self.statuses.add(answer.status_code)
        case.validate_response(answer, checks=CHECKS)

    def _listen(self, case: Case) -> None:
        """A stream has no end: its beginning is enough."""
        sent = case.as_transport_kwargs(base_url=self._api.address, headers=BEARER)
        with self._session.stream(
            "GET", "/api/v1/events", params=sent["params"], headers=sent["headers"]
        ) as answer:
            self.statuses.add(answer.status_code)
            if answer.status_code == 200:
                assert answer.headers["Content-Type"].startswith("text/event-stream")
                assert next(answer.iter_lines()) in ("event: hello", "event: resync")
                return
            answer.read()
        case.validate_response(answer, checks=CHECKS)


def _shorter(wait: Any) -> Any:
    """A `wait` that would be waited for, cut short; one that is refused stays as it is."""
    try:
        return SHORT_WAIT_S if SHORT_WAIT_S < float(wait) <= LONGEST_WAIT_S else wait
    except (TypeError, ValueError):
        return wait


def examples(caller: Caller, operation: Any, number: int = EXAMPLES) -> None:
    """Make one call in all its odd ways. Raises what the first bad answer raises."""
    modes = st.sampled_from([GenerationMode.POSITIVE, GenerationMode.NEGATIVE])

    @settings(
        max_examples=2 * number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(modes.flatmap(lambda mode: operation.as_strategy(mode)), st.booleans())
    def asked(case: Case, real: bool) -> None:
        if real:
            caller.about_something_real(case)
        caller.call(case)

    asked()


@pytest.fixture
def caller(api: Api) -> Iterator[Caller]:
    calling = Caller(api)
    yield calling
    calling.close()


@pytest.fixture(scope="module")
def document(api: Api) -> dict[str, Any]:
    return dict(api.get("/openapi.json", "").json())


def operations(document: dict[str, Any]) -> dict[str, Any]:
    """By name, like `GET /api/v1/queue`."""
    found = (result.ok() for result in schemathesis.openapi.from_dict(document).get_all_operations())
    return {operation.label: operation for operation in found}


@pytest.mark.parametrize("number", [EXAMPLES, pytest.param(MANY_EXAMPLES, marks=pytest.mark.long)])
@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_is_sent_the_answer_is_one_that_the_document_promises(
    caller: Caller, document: dict[str, Any], subtests: pytest.Subtests, part: int, number: int
) -> None:
    everything = operations(document)
    assert len(everything) == sum(map(len, document["paths"].values()))
    for label in list(everything)[part::PARTS]:
        with subtests.test(label):
            caller.prepare()
            examples(caller, everything[label], number)
            assert {200, 201} & caller.statuses, "it never got as far as to do something"


# That the test above can fail


def test_an_answer_of_another_form_is_noticed(caller: Caller, document: dict[str, Any]) -> None:
    lying = copy.deepcopy(document)
    lying["components"]["schemas"]["WhoAmI"]["properties"]["revision"]["type"] = "string"
    with pytest.raises(FailureGroup, match="is not of type"):
        examples(caller, operations(lying)["GET /api/v1/whoami"])


@pytest.mark.parametrize("status", ["200", "4XX"])
def test_a_status_that_was_not_promised_is_noticed(
    caller: Caller, document: dict[str, Any], status: str
) -> None:
    lying = copy.deepcopy(document)
    del lying["paths"]["/api/v1/queue"]["get"]["responses"][status]
    with pytest.raises(FailureGroup, match="Undocumented status code"):
        examples(caller, operations(lying)["GET /api/v1/queue"])


def test_another_content_type_is_noticed(caller: Caller, document: dict[str, Any]) -> None:
    lying = copy.deepcopy(document)
    answer = lying["paths"]["/api/v1/queue"]["get"]["responses"]["200"]
    answer["content"] = {"text/html": answer["content"]["application/json"]}
    with pytest.raises(FailureGroup, match="Content-Type"):
        examples(caller, operations(lying)["GET /api/v1/queue"])


def test_a_failure_of_the_service_is_noticed(api: Api, document: dict[str, Any]) -> None:
    """Even where a document promised one."""
    generous = copy.deepcopy(document)
    answers = generous["paths"]["/api/v1/queue"]["get"]["responses"]
    answers["500"] = answers["4XX"]
    case = operations(generous)["GET /api/v1/queue"].Case()
    error = {"error": {"code": "error", "message": "x", "hint": ""}}
    broken = httpx2.Response(500, json=error, request=httpx2.Request("GET", f"{api.address}/api/v1/queue"))
    broken.elapsed = timedelta()
    with pytest.raises(FailureGroup, match="Server error"):
        case.validate_response(broken, checks=CHECKS)
