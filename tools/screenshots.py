"""`make screenshots`: every page, with few and many boards and with trouble, in both themes and all sizes, to be looked at.

What is taken is the table `SHOTS`. Whoever makes a page adds a line to it.

    python -m tools.screenshots [WORD …]    only those whose file name has one of the words, as `phone` or `queue`
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser

from tests.browser.boards import RACKS, SMALL, TROUBLE, Board, many
from tests.browser.chromium import PATIENCE_MS, SIZES, chromium, log_in, shoot, what_is_lacking
from tests.browser.pool import Pool, pool_of, with_a_queue
from tests.browser.week import write_week

FOLDER = Path(__file__).parent.parent / ".screenshots"

THEMES = ("light", "dark")


def _as_it_is(pool: Pool) -> None:
    """Nobody waits."""


def _with_a_week(pool: Pool) -> None:
    """Two of the boards have been there for a while: one that ann has, and a free one."""
    write_week(pool.folder, "pi5-rack-a-02")
    write_week(pool.folder, "pi5-rack-a-01")


def _with_accounts(pool: Pool) -> None:
    """One of each kind: with a password, without one, disabled."""
    for name, role in (("ann", "operator"), ("ben", "viewer"), ("carol@lab.example", "user")):
        pool.call("POST", "people", {"name": name, "role": role, "password": "correct horse battery"})
    pool.call("POST", "people", {"name": "dora", "role": "user"})
    pool.call("PATCH", "people/ben", {"disabled": True})


def _with_webhooks(pool: Pool) -> None:
    """A program that is told of one thing, and a chat room that is paused."""
    pool.call("POST", "webhooks", {"name": "ci", "url": "https://ci.invalid/in", "notices": ["machine.lost"]})
    pool.call("POST", "webhooks", {"name": "lab-room", "url": "https://chat.invalid/in", "kind": "slack"})
    pool.call("PATCH", "webhooks/lab-room", {"paused": True})


POOLS: dict[str, tuple[Sequence[Board], Callable[[Pool], None]]] = {
    "empty": ((), _as_it_is),
    "8": (SMALL, _as_it_is),
    "week": (SMALL, _with_a_week),
    "24": (RACKS, with_a_queue),
    "300": (many(300), _as_it_is),
    "trouble": (TROUBLE, _as_it_is),
    "accounts": (SMALL, _with_accounts),
    "told": (SMALL, _with_webhooks),
}
"""Who is there, and what happens when they are."""


@dataclass(frozen=True)
class Shot:
    """One page, as taken with each of some pools in each of some sizes, in both themes."""

    name: str
    path: str
    pools: Sequence[str] = ("24",)
    sizes: Sequence[str] = ("desktop", "phone")
    by: str = "ann"
    """Who looks: ann operates, bob uses, vic reads, root is admin; empty for somebody who has not logged in."""

    def files(self, pool: str) -> Iterable[tuple[str, str, str]]:
        """(size, theme, file name) of each picture."""
        for size, theme in product(self.sizes, THEMES):
            yield size, theme, f"{self.name}-{pool}-{size}-{theme}.png"


SHOTS = (
    Shot("machines", "/", pools=("empty", "8", "24", "300", "trouble"), sizes=tuple(SIZES)),
    Shot("no-match", "/?q=model:pi6", sizes=("desktop",)),
    Shot("bad-search", "/?q=modle:pi5", sizes=("desktop",)),
    Shot("machines-of-a-stranger", "/", pools=("8",), by=""),
    Shot("machines-of-a-reader", "/", pools=("8",), by="vic"),
    Shot("machines-of-a-user", "/", pools=("8",), by="bob"),
    Shot("machine", "/m/pi5-rack-a-02", pools=("week",), sizes=tuple(SIZES)),
    Shot("machine-of-others", "/m/pi5-rack-a-04", pools=("8",)),
    Shot("machine-free", "/m/pi5-rack-a-01", pools=("week",)),
    Shot("machine-pending", "/m/pi5-rack-a-07", pools=("8",)),
    Shot("machine-offline", "/m/pi5-rack-a-01", pools=("trouble",)),
    Shot("machine-weak", "/m/pi5-rack-a-05", pools=("trouble",)),
    Shot("machine-week", "/m/pi5-rack-a-01/health?span=7d", pools=("week",)),
    Shot("machine-table", "/m/pi5-rack-a-01/health?as=table", pools=("week",)),
    Shot("machine-history", "/m/pi5-rack-a-02/history", pools=("week",)),
    Shot("machine-runs", "/m/pi5-rack-a-01/runs", pools=("week",)),
    Shot("machine-use", "/m/pi5-rack-a-02/use", pools=("week",)),
    Shot("machine-gone", "/m/pi5-rack-z-99", pools=("8",), sizes=("desktop",)),
    Shot("queue", "/queue", pools=("8", "24"), sizes=tuple(SIZES)),
    Shot("queue-of-a-user", "/queue?span=24h", by="bob"),
    Shot("wait", "/queue/wait?selector=model:pi5"),
    Shot("wait-for-nothing", "/queue/wait?selector=model:pi6+tag:camera", sizes=("desktop",)),
    Shot("activity", "/activity", pools=("8", "24"), sizes=tuple(SIZES)),
    Shot("activity-nothing", "/activity?machine=nothing", sizes=("desktop",)),
    Shot("reports", "/reports", pools=("week", "24"), sizes=tuple(SIZES)),
    Shot("reports-month", "/reports?days=30&sort=used", pools=("week",)),
    Shot("docs", "/docs", pools=("8",), sizes=tuple(SIZES)),
    Shot("login", "/login", pools=("8",), by=""),
    Shot("setup", "/setup", pools=("empty",), by=""),
    Shot("empty-of-a-reader", "/", pools=("empty",), by="vic"),
    Shot("add", "/add", pools=("8",), sizes=tuple(SIZES)),
    Shot("add-card", "/add?os=trixie&way=user-data&labels=camera", pools=("8",)),
    Shot("settings", "/settings", pools=("8",), sizes=tuple(SIZES)),
    Shot("settings-tokens", "/settings/tokens", pools=("8",)),
    Shot("settings-licences", "/settings/licences", pools=("8",), sizes=("desktop",)),
    Shot("settings-people", "/settings/people", pools=("8", "accounts"), sizes=tuple(SIZES), by="root"),
    Shot("settings-person", "/settings/people/add", pools=("8",), by="root"),
    Shot("settings-tokens-of-all", "/settings/tokens", pools=("accounts",), by="root"),
    Shot("settings-webhooks", "/settings/webhooks", pools=("8", "told"), by="root"),
    Shot("settings-webhook", "/settings/webhooks/new", pools=("8",), by="root"),
    Shot("settings-webhook-one", "/settings/webhooks/ci", pools=("told",), by="root"),
    Shot("settings-webhook-edit", "/settings/webhooks/ci/edit", pools=("told",), by="root"),
    Shot("settings-pool", "/settings/pool", pools=("8",), by="root"),
    Shot("settings-backup", "/settings/backups", pools=("8",), by="root"),
)


def main(words: Sequence[str]) -> int:
    """Take them; the exit code."""
    if lacking := what_is_lacking():
        print(lacking, file=sys.stderr)
        return 1
    for name in POOLS:
        wanted = [shot for shot in SHOTS if name in shot.pools and _any_wanted(shot, name, words)]
        if wanted:
            _of_pool(name, wanted, words)
    return 0


def _of_pool(name: str, shots: Sequence[Shot], words: Sequence[str]) -> None:
    boards, then = POOLS[name]
    with (
        tempfile.TemporaryDirectory() as folder,
        pool_of(boards, Path(folder)) as pool,
        chromium() as browser,
    ):
        then(pool)
        for shot in shots:
            for size, theme, file in shot.files(name):
                if _is_wanted(file, words):
                    _take(browser, pool, shot, size, theme, FOLDER / file)
                    print(FOLDER.name, file, sep="/", flush=True)


def _take(browser: Browser, pool: Pool, shot: Shot, size: str, theme: str, file: Path) -> None:
    scheme: Literal["dark", "light"] = "dark" if theme == "dark" else "light"
    touch = size == "phone"
    with browser.new_context(viewport=SIZES[size], color_scheme=scheme, has_touch=touch) as context:
        context.set_default_timeout(PATIENCE_MS)
        if shot.by:
            log_in(context, pool.address, pool.person(shot.by))
        page = context.new_page()
        page.goto(pool.address + shot.path, wait_until="load")
        shoot(page, file)


def _any_wanted(shot: Shot, pool: str, words: Sequence[str]) -> bool:
    return any(_is_wanted(file, words) for _, _, file in shot.files(pool))


def _is_wanted(file: str, words: Sequence[str]) -> bool:
    return not words or any(word in file for word in words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
