"""What must never happen: that something which a board, a person or a job has said runs in a page, or that another site
sends a form in somebody's name."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.boards import PI5, Board
from tests.browser.chromium import PATIENCE_MS, Watch
from tests.browser.conftest import Visitor
from tests.browser.flows import boards, button, open_machines, press, row, sheet, title
from tests.browser.pool import Pool, pool_of
from tests.service import KEY, PATIENCE_S, service

CANARIES = (
    "<img src=x onerror=window.__canary=1>",
    '"><script>window.__canary=1</script>',
    "'onmouseover='window.__canary=1' autofocus onfocus='window.__canary=1",
    "javascript:window.__canary=1",
    "</textarea></title><svg onload=window.__canary=1>",
    "{{7*7}}${7*7}{%print(7*7)%}",
    "\u202eright to left\u2066\u200b",
    "\U0001f469\u200d\U0001f4bb" * 20,
)
ALL = " ".join(CANARIES)
LONG = "W" * 4_000

PLANTED = """() => [...document.querySelectorAll("*")].filter((element) =>
  [...element.attributes].some((one) => one.name.startsWith("on")
    || (["href", "src", "action", "formaction", "xlink:href"].includes(one.name) && /^\\s*javascript:/i.test(one.value)))
  || (element.matches("img, svg, script, iframe, object") && /__canary/.test(element.outerHTML)
      && !element.matches("svg:not([onload])"))).map((element) => element.outerHTML.slice(0, 200))"""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """A pool in which everybody says the worst that the wire lets through."""
    with pool_of(boards("plain", "held", "waited"), tmp_path_factory.mktemp("pool")) as seeded:
        for number, canary in enumerate(CANARIES):
            plant(seeded, Board(f"evil-{number}", f"10.66.0.{number}", PI5), canary)
        plant(seeded, Board("evil-long", "10.66.0.99", PI5), LONG)
        seeded.lease("ann", selector="held", job=ALL + LONG, ttl_s=7200)
        seeded.lease("bob", selector="held", job=ALL, ttl_s=7200)
        seeded.lease("bob", selector='held -tag:"' + CANARIES[0] + '"', job=LONG * 2, ttl_s=7200)
        seeded.service.old("lock", "10.66.1.1", CANARIES[0], CurrentTaskName=ALL)
        yield seeded


def plant(pool: Pool, board: Board, canary: str) -> None:
    """In all that a board can say, and in what people can say of it."""
    pool.boards[board.name] = board
    facts = dict.fromkeys(
        (
            "model",
            "model_name",
            "os",
            "arch",
            "platform",
            "serial",
            "hostname",
            "os_version",
            "kernel",
        ),
        canary,
    )
    pool.beat(
        board.name,
        facts={**board.facts, **facts},
        labels={"rack": canary[:255], "camera": canary[:255]},
        host_keys=[f"ssh-ed25519 {canary[:200]}", canary[:200]],
        telemetry={
            **board.telemetry(),
            "load": [canary[:500]],
            "temperature": canary[:500],
            "note": canary[:500],
        },
    )
    text = canary[:200]
    pool.call("PATCH", f"machines/{board.name}", {"comment": text, "labels": {"site": text}})
    pool.call("PATCH", f"machines/{board.name}", {"service": "drained", "reason": text})
    number = board.address.rpartition(".")[2]
    said = {"Platform": canary, "OsName": canary, "OsVersion": canary, "HostName": f"old{number}"}
    said |= {"Temperature": canary, "SystemLoad": canary, "Comment": canary, "Command": canary}
    pool.service.old("update", f"10.66.1.{number}", canary[:100], **said)


PAGES = (
    "/", "/?sort=-holder", "/queue", "/activity", "/reports", "/settings",
    *(f"/m/{name}{what}" for name in ("evil-0", "evil-1", "evil-4", "evil-long", "held") for what in (
        "", "/history", "/runs", "/use", "/menu", "/lock", "/drain", "/label", "/comment", "/review", "/take", "/delete",
    )),
)  # fmt: skip


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_nothing_that_anybody_says_runs_or_breaks_the_layout(visitor: Visitor, size: str) -> None:
    """On all pages; that the policy forbade nothing shows that nothing even tried."""
    page = visitor("dana", size=size)
    wide = {}
    for path in PAGES:
        page.goto(path, wait_until="load")
        assert page.evaluate("window.__canary") is None, path
        assert page.evaluate(PLANTED) == [], path
        width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if width > 0:
            wide[path] = width
    assert wide == {}


def test_it_is_shown_as_text(visitor: Visitor) -> None:
    """What one reads is what was said; but for marks that would turn the direction of all that follows."""
    page = visitor("dana")
    open_machines(page)
    expect(row(page, "evil-0")).to_contain_text("<img src=x onerror=window.__canary=1>")
    expect(row(page, "evil-5")).to_contain_text("{{7*7}}")
    shown = page.locator("#main").inner_text()
    assert not {"\u202e", "\u2066", "\u200b"} & set(shown)


def test_what_comes_by_the_stream_is_text_as_well(visitor: Visitor, pool: Pool) -> None:
    page = visitor("dana")
    open_machines(page)
    for canary in CANARIES[:5]:
        pool.call("PATCH", "machines/plain", {"comment": canary})
        expect(row(page, "plain")).to_contain_text(canary)
    lease = pool.lease("ann", selector="waited", job=ALL, ttl_s=7200)
    expect(row(page, "waited")).to_contain_text("onerror")
    button(page, "waited").click()
    expect(title(page)).to_be_visible()
    page.keyboard.press("Escape")
    assert page.evaluate("window.__canary") is None
    assert page.evaluate(PLANTED) == []
    pool.unlock(lease, "ann")


@pytest.mark.parametrize("canary", [*CANARIES[:6], LONG[:3000]])
def test_what_stands_in_an_address_is_text(visitor: Visitor, canary: str) -> None:
    """Searches, filled-in dialogs, where a login leads; none of it leads elsewhere."""
    page, nobody = visitor("bob"), visitor()
    for path, fields in (
        ("/", {"q": canary}),
        ("/m/plain/lock", {"job": canary, "for": canary, "keys": canary}),
    ):
        page.goto(f"{path}?{urlencode(fields)}")
        assert page.evaluate("window.__canary") is None
        assert page.evaluate(PLANTED) == []
        assert (
            page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
        )
    nobody.goto(f"/login?{urlencode({'next': canary, 'name': canary})}")
    assert nobody.evaluate(PLANTED) == []
    assert sheet(nobody).locator("[name=next]").input_value() == "/"


@pytest.mark.parametrize(
    "where", ["//elsewhere.example/", "/\\elsewhere.example", "https://elsewhere.example", "/a\nb"]
)
def test_a_login_leads_nowhere_else(visitor: Visitor, where: str) -> None:
    page = visitor()
    page.goto(f"/login?{urlencode({'next': where})}")
    assert sheet(page).locator("[name=next]").input_value() == "/"


# Plain HTTP on a LAN


def lan_address() -> str:
    """One of this machine that is not the loopback; empty if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.254", 9))
            found: str = probe.getsockname()[0]
        except OSError:
            return ""
    return "" if found.startswith("127.") else found


@pytest.fixture(scope="module")
def lan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service that the whole network can reach, with two boards."""
    own = lan_address()
    if not own:
        pytest.skip("needs a network interface besides the loopback")
    folder: Path = tmp_path_factory.mktemp("lan")
    with service("--data", str(folder), "--host", "0.0.0.0") as running:
        for number in (1, 2):
            running.old("update", f"10.7.0.{number}", None, HostName=f"lan-{number}", Temperature="40.0'C")
        yield f"http://{own}:{running.port}"


@contextmanager
def foreign(host: str, html: str) -> Iterator[str]:
    """Another site, which serves this page."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *said: Any) -> None:
            pass

    with ThreadingHTTPServer((host, 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{host}:{server.server_port}/"
        server.shutdown()


@contextmanager
def somebody_at(browser: Browser, address: str) -> Iterator[Page]:
    """Logged in by the form, with the shared key."""
    with browser.new_context(base_url=address) as context:
        context.set_default_timeout(PATIENCE_MS)
        watch = Watch(context)
        page = context.new_page()
        page.goto("/login")
        page.fill("#name", "ann")
        sheet(page).locator("summary").click()
        page.fill("#token", KEY)
        press(page)
        page.wait_for_url(f"{address}/")
        yield page
    watch.pardon(".*")


def test_on_a_lan_a_person_logs_in_and_locks(browser: Browser, lan: str) -> None:
    """Over plain HTTP the browser does not say where a form comes from but by its Origin; that is enough."""
    sent: list[dict[str, str]] = []
    with somebody_at(browser, lan) as page:
        page.on("request", lambda one: sent.append(one.all_headers()) if one.method == "POST" else None)
        open_machines(page)
        button(page, "lan-1").click()
        page.fill("#job", "over the LAN")
        press(page)
        expect(title(page)).to_have_text("lan-1 is yours")
    assert sent
    assert all("sec-fetch-site" not in headers and headers["origin"] == lan for headers in sent)


FORM = """<!doctype html><title>Elsewhere</title><form id=f method=post action="{target}">
<input name=job value=stolen><input name=for value=2h><input name=id value="{lease}"></form>"""


@pytest.mark.parametrize("same_host", [True, False], ids=["another-port", "another-host"])
@pytest.mark.parametrize("how", ["form", "fetch"])
def test_another_site_cannot_lock(browser: Browser, lan: str, same_host: bool, how: str) -> None:
    """Neither a form nor a script of a page from elsewhere, not even one from another port of our own host, to which
    the browser does send our cookie."""
    host = lan.removeprefix("http://").partition(":")[0] if same_host else "127.0.0.1"
    html = FORM.format(target=f"{lan}/m/lan-2/lock", lease=uuid.uuid4())
    with foreign(host, html) as site, somebody_at(browser, lan) as page:
        page.goto(site)
        with page.expect_response("**/m/lan-2/lock", timeout=PATIENCE_S * 1000) as refused:
            if how == "form":
                page.evaluate("document.getElementById('f').submit()")
                expect(title(page)).to_contain_text("another site")
            else:
                page.evaluate("""() => fetch(document.getElementById('f').action, {method: 'POST', mode: 'no-cors',
                    credentials: 'include', body: new URLSearchParams(new FormData(document.getElementById('f')))})""")
        assert refused.value.status == 403
        open_machines(page, f"{lan}/")
        expect(row(page, "lan-2").locator(".state .word")).to_have_text("Free")
