"""A browser, visitors and a pool for each file of stories. Whatever a page complains about fails its test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.boards import SMALL
from tests.browser.chromium import PATIENCE_MS, SIZES, Watch, assert_quiet, chromium, log_in, what_is_lacking
from tests.browser.pool import Pool, pool_of

HERE = Path(__file__).parent

Visitor = Callable[..., Page]
"""`visitor("ann", size="phone", theme="dark", script=False)`: somebody new, with a window of their own; with a name they
have logged in, in the role that `pool.ROLES` gives them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's stories share a pool and a browser, so one worker tells them."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group(f"browser {item.path.stem}"))


_IN_BRIEF = {("desktop", "light"), ("phone", "dark")}
LOOKS = pytest.mark.parametrize(
    ("size", "theme"),
    [
        pytest.param(*look, marks=() if look in _IN_BRIEF else pytest.mark.long)
        for look in product(SIZES, ("light", "dark"))
    ],
)
"""Each size in each theme: all of them in the long run; in the short one both themes, the widest and the narrowest."""

FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[Any]:
    """Remembers for `visitor` that the story went wrong."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    lacking = what_is_lacking()
    if lacking:
        pytest.skip(lacking)
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """Eight boards."""
    with pool_of(SMALL, tmp_path_factory.mktemp("pool")) as seeded:
        yield seeded


@pytest.fixture
def watches() -> list[Watch]:
    """Of the visitors of this test, in the order in which they came."""
    return []


@pytest.fixture
def visitor(
    request: pytest.FixtureRequest, browser: Browser, pool: Pool, watches: list[Watch]
) -> Iterator[Visitor]:
    contexts = []

    def come(name: str = "", *, size: str = "desktop", theme: str = "light", script: bool = True) -> Page:
        context = browser.new_context(
            base_url=pool.address,
            viewport=SIZES[size],
            color_scheme="dark" if theme == "dark" else "light",
            java_script_enabled=script,
            has_touch=size == "phone",
        )
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        watches.append(Watch(context))
        if name:
            log_in(context, pool.address, pool.person(name))
        return context.new_page()

    yield come
    for context in contexts:
        for page in context.pages:
            text = page.evaluate("document.body.innerText")  # and what the page has said by now has come
            if request.node.stash[FAILED]:
                print(f"{page.url}\n{text}\n")
        context.close()
    assert_quiet(watches)


@pytest.fixture
def page(visitor: Visitor) -> Page:
    """The window of somebody at a desk, who has not logged in."""
    return visitor()


@pytest.fixture
def watch(page: Page, watches: list[Watch]) -> Watch:
    """What goes wrong in `page`."""
    return watches[0]
