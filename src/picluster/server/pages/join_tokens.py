"""The join token in the line that somebody is about to run on a board: made when they look, and the same until used.

Nothing but its digest is stored, so its text is kept here, in memory, for the one who asked. After a restart, or at
another replica, a page that was open goes on with the token that it shows; whoever looks anew gets a fresh one, and the
former is good until it ends, and can do no more.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from picluster.pool.model import Actor, Machine, Role, Token
from picluster.server.context import Context
from picluster.server.v1.tokens import make
from picluster.wire import TokenRequest

MARGIN_US = 3_600_000_000
"""A line that is shown is good for an hour: a card is written, a board boots, somebody has lunch."""

ARRIVALS_US = 3_600_000_000
"""So long boards are shown that joined with a token made here; afterwards they are in the list like others."""

NAME = "boards"
"""What such a token is called in lists, as by `picluster join`."""

JOIN = "join"
"""The kind of such a token."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A token as it is now, with its text, and how many boards it was made for."""

    token: Token
    text: str
    """Empty where nobody knows it but the page that shows it."""
    uses: int

    @property
    def joined(self) -> int:
        """Boards that it has let in."""
        return self.uses - self.token.uses_left


NONE = Shown(Token("", JOIN, NAME, Role.NOBODY, ""), "", 0)
"""For a page that is open while there is none any more: it lets in nobody."""


class JoinTokens:
    """Of each operator the token that this process has made for them last."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._kept: dict[str, Shown] = {}
        self._making = asyncio.Lock()

    async def fresh(self, actor: Actor) -> Shown:
        """A token that lets in a board, and its text: the one shown before while it is good, else a new one."""
        async with self._making:  # two windows that open at once show the same
            found = self.latest(actor.name)
            if found.text and self._is_good(found.token):
                return found
            return await self._made(actor, TokenRequest(NAME, JOIN))

    async def another(self, actor: Actor, uses: int, approve: bool) -> Shown:
        """A new one in any case. Raises `Malformed`."""
        async with self._making:
            return await self._made(actor, TokenRequest(NAME, JOIN, uses=uses, approve=approve))

    def latest(self, name: str) -> Shown:
        """What this person was shown last, as it is now, used up or not; without its text if this process did not make it."""
        kept = self._kept.get(name)
        token = self._context.view.roster.tokens.get(kept.token.id) if kept else None
        if kept and token:
            return replace(kept, token=token)
        last = max(self._made_by(name), key=lambda one: one.issued_us, default=None)
        return Shown(last, "", last.uses_left + len(self._let_in({last.id}))) if last else NONE

    def arrivals(self, name: str) -> list[tuple[Machine, int]]:
        """Who has joined lately with one of this person's tokens, and when in µs; the last first."""
        roster, since_us = self._context.view.roster, self._context.wall_us() - ARRIVALS_US
        found = [
            (machine, token.issued_us)
            for token in self._let_in({made.id for made in self._made_by(name)})
            if token.issued_us >= since_us and not token.revoked
            if (machine := roster.machines.get(token.name)) is not None
        ]
        return sorted(found, key=lambda arrival: -arrival[1])

    def _made_by(self, name: str) -> list[Token]:
        tokens = self._context.view.roster.tokens.values()
        return [token for token in tokens if token.kind == JOIN and token.issued_by == name]

    def _let_in(self, join_tokens: set[str]) -> list[Token]:
        """The tokens of the boards that joined with these."""
        return [
            token for token in self._context.view.roster.tokens.values() if token.issued_by in join_tokens
        ]

    async def _made(self, actor: Actor, ask: TokenRequest) -> Shown:
        shown = self._kept[actor.name] = Shown(*await make(self._context, actor, ask), ask.uses)
        return shown

    def _is_good(self, token: Token) -> bool:
        left_us = token.expires_us - self._context.wall_us()
        return not token.revoked and token.uses_left > 0 and left_us > MARGIN_US
