"""HEAD, which uptime checks and load balancers use: what GET would answer, without the body, at every address."""

from __future__ import annotations

import pytest

from tests.server.conftest import Api
from tests.service import until


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/healthz",
            "/readyz",
            "/metrics",
            "/",
            "/login",
            "/api",
            "/api?id=x",
            "/install.sh",
            "/openapi.json",
        ),
        *("/api/v1/machines", "/api/v1/machines/nobody", "/api/v1/leases/x/renew", "/nowhere"),
    ],
)
@pytest.mark.parametrize("accept", ["*/*", "text/html"])
def test_head_is_get_without_its_body(api: Api, path: str, accept: str) -> None:
    """Also of what is not there, not allowed, or answered otherwise to people."""
    got = api.get(path, headers={"Accept": accept})
    asked = api.send("HEAD", path, headers={"Accept": accept})
    assert (asked.status_code, asked.content) == (got.status_code, b"")
    assert set(asked.headers) == set(got.headers)


@pytest.mark.parametrize("path", ["/api/v1/events", "/ui/stream", "/api/v1/backup"])
def test_a_stream_that_would_never_end_is_not_begun(api: Api, path: str) -> None:
    """Nor does it go on behind the answer."""
    asked = api.send("HEAD", path)
    assert (asked.status_code, asked.content) == (200, b"")
    until(lambda: "picluster_streams 0.0" in api.get("/metrics").text)


def test_what_is_changed_by_a_call_is_not_changed_by_asking_for_its_head(api: Api) -> None:
    assert api.send("HEAD", "/ui/look").status_code == 405
