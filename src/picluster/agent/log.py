"""One line on stderr for each thing that happens. What repeats is said once."""

from __future__ import annotations

import sys

from .tree import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

_MOST_REMEMBERED = 64


class Log:
    """`log("…")`, and `log.detail("…")` for whoever asked for more."""

    def __init__(self, stream: TextIO | None = None, *, verbose: bool = False) -> None:
        self._stream = stream
        self._verbose = verbose
        self._said: dict[str, None] = {}

    def __call__(self, text: str) -> None:
        try:
            print(clean(text, 2000), file=self._stream or sys.stderr, flush=True)
        except (OSError, ValueError):
            pass  # nobody reads it any more

    def detail(self, text: str) -> None:
        if self._verbose:
            self(text)

    def once(self, text: str) -> None:
        """Only the first time."""
        if text not in self._said:
            if len(self._said) >= _MOST_REMEMBERED:
                del self._said[next(iter(self._said))]
            self._said[text] = None
            self(text)
