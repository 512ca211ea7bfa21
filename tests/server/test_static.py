"""Style, scripts and fonts: fetched once and kept, never yesterday's, and nothing else of the disk."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import httpx2
import pytest
from starlette.requests import Request

from picluster.server.pages.gzipped import accepts_gzip, compressed
from picluster.server.pages.icons import drawn, icon
from picluster.server.pages.static import FOR_EVER, loaded, static_url
from tests.service import ServiceProcess, on_sqlite, service

CSS = "vendor/tabler/tabler.css"
FONT = "vendor/geist/geist.woff2"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """Sends exactly what a test says, and shows what came, unpacked by nobody."""
    with service(*on_sqlite(tmp_path_factory.mktemp("pool"))) as running, _client(running) as client:
        yield client


def _client(running: ServiceProcess) -> httpx2.Client:
    return httpx2.Client(base_url=running.address, headers={"Accept-Encoding": "identity"})


def raw(
    client: httpx2.Client, path: str, method: str = "GET", **headers: str
) -> tuple[httpx2.Response, bytes]:
    """The answer, and its body as it came over the wire."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    with client.stream(method, path, headers=sent) as answer:
        return answer, b"".join(answer.iter_raw())


def test_a_file_is_kept_for_ever_under_its_version(browser: httpx2.Client) -> None:
    answer, body = raw(browser, static_url(CSS))
    assert answer.status_code == 200
    assert body == loaded().by_path[CSS].content
    assert answer.headers["cache-control"] == FOR_EVER
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_another_version_is_answered_but_not_kept(browser: httpx2.Client) -> None:
    """While replicas are replaced, a page of one may ask the other."""
    answer, body = raw(browser, f"/static/000000000000/{CSS}")
    assert answer.status_code == 200 and body
    assert answer.headers["cache-control"] == "no-cache"


def test_text_is_compressed_for_whoever_takes_it(browser: httpx2.Client) -> None:
    answer, body = raw(browser, static_url(CSS), Accept_Encoding="br, gzip;q=0.8")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert int(answer.headers["content-length"]) == len(body)
    assert gzip.decompress(body) == loaded().by_path[CSS].content


def test_a_font_is_compressed_already(browser: httpx2.Client) -> None:
    answer, body = raw(browser, static_url(FONT), Accept_Encoding="gzip")
    assert "content-encoding" not in answer.headers
    assert answer.headers["content-type"] == "font/woff2"
    assert body.startswith(b"wOF2")


def test_scripts_are_scripts(browser: httpx2.Client) -> None:
    """A browser runs a module of no other type."""
    answer, _ = raw(browser, static_url("vendor/uplot/uPlot.esm.js"))
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_who_has_it_already_is_told_so(browser: httpx2.Client, coding: str) -> None:
    first, _ = raw(browser, static_url(CSS), Accept_Encoding=coding)
    tags = f'"other", W/{first.headers["etag"]}'
    again, body = raw(browser, static_url(CSS), Accept_Encoding=coding, If_None_Match=tags)
    assert again.status_code == 304 and body == b""
    assert again.headers["etag"] == first.headers["etag"]


def test_the_head_alone_can_be_asked_for(browser: httpx2.Client) -> None:
    answer, body = raw(browser, static_url(CSS), "HEAD")
    assert answer.status_code == 200 and body == b""
    assert int(answer.headers["content-length"]) == len(loaded().by_path[CSS].content)


@pytest.mark.parametrize(
    "path",
    [
        "nothing.css",
        "vendor",
        "vendor/",
        "vendor/vendored.toml",
        "../templates/base.html",
        "%2e%2e/templates/base.html",
        "vendor/%2e%2e/%2e%2e/static.py",
        "//etc/passwd",
        "%2fetc/passwd",
        "vendor/tabler/tabler.css%00",
    ],
)
def test_nothing_else_is_there(browser: httpx2.Client, path: str) -> None:
    """In the service's form of an error."""
    answer = browser.get(f"/static/{loaded().version}/{path}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_a_misspelt_name_fails_where_it_is_written() -> None:
    with pytest.raises(LookupError, match="no static file 'vendor/tabler"):
        static_url("vendor/tabler/tabler.min.css")


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ("", False),
        ("identity", False),
        ("gzip", True),
        ("GZIP", True),
        ("br;q=1.0, gzip; q=0.2", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("*", True),
        ("x-gzip-like", False),
    ],
)
def test_who_takes_compressed_pages(said: str, taken: bool) -> None:
    assert accepts_gzip(_request(said)) is taken


def test_a_page_is_compressed_when_that_is_worth_it() -> None:
    long, short = "<p>ü</p>" * 1000, "<p>ü</p>"
    assert gzip.decompress(compressed(_request("gzip"), long).body).decode() == long
    assert compressed(_request("gzip"), short).body.decode() == short
    assert compressed(_request(""), long).body.decode() == long


def test_a_page_says_what_its_answer_depends_on() -> None:
    """Each time, or a cache would give the compressed one to somebody who does not take it."""
    answer = compressed(_request(""), "<p>", 404, {"Vary": "Cookie"})
    assert answer.status_code == 404
    assert answer.headers["vary"] == "Cookie, Accept-Encoding"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_every_icon_can_be_drawn() -> None:
    assert len(drawn()) > 50
    for name in drawn():
        assert "<path" in icon(name) and "M0 0h24v24H0z" not in icon(name) and "\n" not in icon(name)


def test_an_icon_takes_classes_and_does_not_speak() -> None:
    assert icon("lock", "large").startswith('<svg class="icon large" ')
    assert 'aria-hidden="true"' in icon("lock")


def test_an_icon_that_was_not_vendored_fails_where_it_is_written() -> None:
    with pytest.raises(LookupError, match="no icon 'unicorn'"):
        icon("unicorn")


def _request(accept_encoding: str) -> Request:
    headers = [(b"accept-encoding", accept_encoding.encode())] if accept_encoding else []
    return Request({"type": "http", "headers": headers})
