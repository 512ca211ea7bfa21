"""What a page costs: the first look at it, counted on the wire, and that it is left open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.boards import RACKS, Board, many
from tests.browser.conftest import Visitor
from tests.browser.flows import open_machines
from tests.browser.pool import Pool, pool_of

MOST_BYTES = 160 * 1024
"""Half a second at 2.5 Mbit/s, as over a telephone in a cellar."""


@pytest.mark.parametrize("boards", [RACKS, many(300)], ids=["24", "300"])
def test_the_first_page_is_light(browser: Browser, tmp_path: Path, boards: Sequence[Board]) -> None:
    """Page, style, scripts and font, compressed, with the heads of their answers."""
    with pool_of(boards, tmp_path) as pool, browser.new_context() as context:
        weights = _weights(context.new_page(), pool.address)
    assert pool.address + "/" in weights
    told = "\n".join(f"{size:7,} {url}" for url, size in weights.items())
    assert sum(weights.values()) <= MOST_BYTES, told


def test_the_longest_page_is_light_too(visitor: Visitor, pool: Pool) -> None:
    """The whole API, with a line of curl for each call."""
    weights = _weights(visitor(), f"{pool.address}/docs")
    assert f"{pool.address}/docs" in weights
    assert sum(weights.values()) <= MOST_BYTES, weights


def test_a_page_that_is_left_open_rests(visitor: Visitor) -> None:
    """What moves without an end is drawn sixty times a second, for as long as the page is open."""
    page = visitor("ann")
    open_machines(page)
    count = (
        "document.getAnimations().filter((one) => one.effect.getComputedTiming().endTime === Infinity).length"
    )
    assert page.evaluate(count) == 0
    page.evaluate(
        "document.querySelector('h1').animate([{opacity: 0}], {duration: 1000, iterations: Infinity})"
    )
    assert page.evaluate(count) == 1


def _weights(page: Page, address: str) -> dict[str, int]:
    """URL to bytes received, of all that a first look at an address loads to its end."""
    urls: dict[str, str] = {}
    sizes: dict[str, int] = {}

    def begun(event: dict[str, Any]) -> None:
        urls[event["requestId"]] = event["response"]["url"]

    def finished(event: dict[str, Any]) -> None:
        sizes[urls[event["requestId"]]] = int(event["encodedDataLength"])

    session = page.context.new_cdp_session(page)
    session.on("Network.responseReceived", begun)
    session.on("Network.loadingFinished", finished)
    session.send("Network.enable")
    page.goto(address, wait_until="load")
    page.evaluate("document.fonts.ready.then(() => true)")
    return sizes
