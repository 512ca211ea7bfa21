"""What the first page weighs: counted on the wire, by the browser, with nothing in its cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.boards import RACKS, Board, many
from tests.browser.pool import pool_of

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
