"""Debian's Chromium, driven by Playwright: windows that tell every complaint, axe-core, and pictures.

While a browser is driven this way its thread has a running event loop, in which nobody else may start one. So it is
started for one file of tests, and ended with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Response,
    ViewportSize,
    WebError,
    expect,
    sync_playwright,
)

from tests.service import PATIENCE_S

CHROMIUM = Path("/usr/bin/chromium-headless-shell")

COLOURS = ["color-contrast", "link-in-text-block"]
"""Rules of axe whose answer depends on the theme."""

SIZES = {
    "desktop": ViewportSize(width=1440, height=900),
    "tablet": ViewportSize(width=900, height=1100),
    "phone": ViewportSize(width=390, height=844),
}

PATIENCE_MS = PATIENCE_S * 1000
"""How long something may take to appear before the test says that it never did: as everywhere."""

AXE = Path(__file__).parent / "vendor/axe/axe.min.js"
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

_TELL_VIOLATIONS = """
document.addEventListener('securitypolicyviolation', (event) =>
  console.error(`CSP: ${event.effectiveDirective} forbids ${event.blockedURI} ${event.sample}`))
"""
_SETTLED = """
Promise.allSettled(document.getAnimations()
  .filter((one) => one.effect.getComputedTiming().endTime !== Infinity)
  .map((one) => one.finished))
"""
_ANSWERED = re.compile(r"Failed to load resource: the server responded with a status of")
"""Chromium says this of every answer from 400 on. A refused page or form is the test's own affair; of the rest
`_look_at_answer` knows more."""

_FILES = ("stylesheet", "script", "font", "image", "manifest", "other")


def what_is_lacking() -> str:
    """Why no browser can be driven here; empty if one can."""
    return "" if CHROMIUM.exists() else "needs Chromium: apt install chromium-headless-shell"


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser for the time of the block. Root has no sandbox, and our own pages need none."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def log_in(context: BrowserContext, address: str, token: str) -> None:
    """What the form of the login page does with a token; all windows of this visitor are logged in from then on."""
    form, headers = {"token": token}, {"Origin": address}
    answer = context.request.post(f"{address}/login", form=form, headers=headers, max_redirects=0)
    assert answer.status == 303, f"{answer.status}: {answer.text()}"


class Watch:
    """What goes wrong in all windows of one visitor: errors in the console or in scripts, forbidden or missing files."""

    def __init__(self, context: BrowserContext) -> None:
        self.complaints: list[str] = []
        self._pardoned: list[re.Pattern[str]] = [_ANSWERED]
        context.add_init_script(_TELL_VIOLATIONS)
        context.on("console", self._look_at_console)
        context.on("weberror", self._look_at_error)
        context.on("response", self._look_at_answer)

    def pardon(self, pattern: str) -> None:
        """This is meant to happen in this test: the network is away, say."""
        self._pardoned.append(re.compile(pattern))

    @property
    def unpardoned(self) -> list[str]:
        return [told for told in self.complaints if not any(one.search(told) for one in self._pardoned)]

    def _look_at_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"console: {message.text}")

    def _look_at_error(self, error: WebError) -> None:
        self.complaints.append(f"script: {error.error}")

    def _look_at_answer(self, response: Response) -> None:
        missing = response.status >= 400 and response.request.resource_type in _FILES
        if missing or response.status == 500:
            self.complaints.append(f"{response.status}: {response.url}")


def assert_quiet(watches: Iterable[Watch]) -> None:
    """Nobody had anything to complain about, but for what was pardoned."""
    told = [complaint for watch in watches for complaint in watch.unpardoned]
    assert not told, "\n".join(told)


def axe(page: Page, *without: str) -> list[str]:
    """What axe-core finds wrong with the page as it is, a line for each; `without` are rules to leave out.

    Axe comes in through the debugger, so the page's own policy stays in force. A page has the same structure in both
    themes: in the dark one only its colours are looked at. They are looked at when they have arrived: a button that one
    has just left fades through colours that nobody reads.
    """
    page.evaluate(AXE.read_text())
    page.evaluate(_SETTLED)
    rules = {rule: {"enabled": False} for rule in without}
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    only = {"type": "rule", "values": COLOURS} if dark else {"type": "tag", "values": AXE_TAGS}
    options = {"runOnly": only, "rules": rules, "resultTypes": ["violations"]}
    found = page.evaluate("options => axe.run(document, options)", options)
    return [_sentence(violation, node) for violation in found["violations"] for node in violation["nodes"]]


def _sentence(violation: dict[str, Any], node: dict[str, Any]) -> str:
    why = " ".join(node["failureSummary"].split())
    return f"{violation['id']} ({violation['impact']}) at {node['target'][0]}: {why}"


def shoot(page: Page, file: Path, *, full: bool = True) -> None:
    """A picture of the page when its fonts and charts are there and nothing moves. `full` is all of it, in a window of that
    height: what is out of sight is not drawn."""
    page.evaluate("document.fonts.ready.then(() => true)")
    expect(page.locator(".charts:not(.drawn):visible")).to_have_count(0)
    window = page.viewport_size
    if full and window:
        height = max(window["height"], page.evaluate("document.documentElement.scrollHeight"))
        page.set_viewport_size({"width": window["width"], "height": height})
    file.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=file, animations="disabled", caret="hide")
    if window:
        page.set_viewport_size(window)
