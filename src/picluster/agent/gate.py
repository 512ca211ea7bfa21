"""Who is let in. The one seam between the agent's loop and a board whose access it controls.

The loop keeps the fence durably first and calls the gate then; the gate is what lets a holder in and what
removes everything that a holder left.
"""

from __future__ import annotations

from collections.abc import Sequence


class Gate:
    """A gate may be asked for the same thing again: opening twice is open, closing twice is closed and clean."""

    mode = "advisory"
    """What the board says of itself: `enforced` or `advisory`."""
    ssh_user = ""
    """The account that holders use; empty where the settings say it."""
    trouble = ""
    """Why a board that should enforce does not, and what to do."""

    def look(self) -> None:
        """Is everything as it has to be? Asked before each report while nobody is let in; it must be quick."""

    def open(self, fence: int, keys: Sequence[str]) -> None:
        """Let in whoever has one of these keys, and nobody else. Raises `OSError`: then nobody is let in."""
        raise NotImplementedError

    def close(self, fence: int) -> bool:
        """Let nobody in, remove what the holder left, and say whether nothing is left."""
        raise NotImplementedError


class NoGate(Gate):
    """An advisory board: everybody goes in and out as before, and nothing is changed."""

    def open(self, fence: int, keys: Sequence[str]) -> None:
        pass

    def close(self, fence: int) -> bool:
        return True
