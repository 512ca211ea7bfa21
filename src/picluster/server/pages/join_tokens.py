"""The join token in the line that somebody is about to run on a board: made when they look, and the same until used.

Nothing but its digest is stored, so its text is kept here, in memory, for the one who asked. After a restart, or at
another replica, one looks and there is a fresh one; the former is good until it ends, and can do no more.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from picluster.pool.model import Actor, Machine, Token
from picluster.server.context import Context
from picluster.server.v1.tokens import make
from picluster.wire import TokenRequest

MARGIN_US = 3_600_000_000
"""A line that is shown is good for an hour: a card is written, a board boots, somebody has lunch."""

ARRIVALS_US = 3_600_000_000
"""So long boards are shown that joined with a token made here; afterwards they are in the list like others."""

MOST_KEPT = 20
"""Tokens of one person whose boards are watched: more lines than anybody has on the way."""

NAME = "boards"
"""What such a token is called in lists, as by `picluster join`."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A token as it is now, with its text, and how many boards it was made for."""

    token: Token
    text: str
    uses: int

    @property
    def joined(self) -> int:
        """Boards that it has let in."""
        return self.uses - self.token.uses_left


class JoinTokens:
    """Of each operator the tokens that this process has made for them, the newest last."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._kept: dict[str, list[Shown]] = {}
        self._making = asyncio.Lock()

    async def fresh(self, actor: Actor) -> Shown:
        """A token that lets in a board, and its text: the one shown before while it is good, else a new one."""
        async with self._making:  # two windows that open at once show the same
            found = self.latest(actor.name)
            if found is not None and self._is_good(found.token):
                return found
            return await self._made(actor, TokenRequest(NAME, "join"))

    async def another(self, actor: Actor, uses: int, approve: bool) -> Shown:
        """A new one in any case. Raises `Malformed`."""
        async with self._making:
            return await self._made(actor, TokenRequest(NAME, "join", uses=uses, approve=approve))

    def latest(self, name: str) -> Shown | None:
        """What this person was shown last, as it is now, used up or not."""
        kept = self._kept.get(name)
        token = self._context.view.roster.tokens.get(kept[-1].token.id) if kept else None
        return replace(kept[-1], token=token) if kept and token else None

    def arrivals(self, name: str) -> list[tuple[Machine, int]]:
        """Who has joined lately with one of this person's tokens, and when in µs; the last first."""
        ours = {kept.token.id for kept in self._kept.get(name, ())}
        roster, since_us = self._context.view.roster, self._context.wall_us() - ARRIVALS_US
        found = [
            (machine, token.issued_us)
            for token in roster.tokens.values()
            if token.issued_by in ours and token.issued_us >= since_us and not token.revoked
            if (machine := roster.machines.get(token.name)) is not None
        ]
        return sorted(found, key=lambda arrival: -arrival[1])

    async def _made(self, actor: Actor, ask: TokenRequest) -> Shown:
        shown = Shown(*await make(self._context, actor, ask), ask.uses)
        kept = self._kept.setdefault(actor.name, [])
        kept.append(shown)
        del kept[:-MOST_KEPT]
        return shown

    def _is_good(self, token: Token) -> bool:
        left_us = token.expires_us - self._context.wall_us()
        return not token.revoked and token.uses_left > 0 and left_us > MARGIN_US
