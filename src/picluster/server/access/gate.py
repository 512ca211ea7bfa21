"""From a request to an `Actor`, or to the error that says how to become one."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from picluster.errors import Malformed, NotAllowed, NotAuthenticated
from picluster.pool.model import LEGACY_PREFIX, SESSION, Actor, Person, Role, Token
from picluster.pool.people import standing
from picluster.pool.tokens import of_a_person
from picluster.server.access.attempts import Attempts, TooManyAttempts
from picluster.server.access.credentials import ADMIN_TOKEN_ID, digest, same, token_id
from picluster.server.view import View
from picluster.wire import text_problem

WRONG_KEYS_PER_MINUTE = 30
"""For each address, of what people choose: the shared key and the configured admin token, which may be weak. Our own
tokens have 256 random bits; guessing them needs no limit, and a board with an old one must not lock out its neighbours."""

USER_HEADER = "x-picluster-user"

LIMITED_KINDS = ("person",)
"""Kinds of tokens that the quota of live leases counts for."""


BY_PASSWORD, BY_SETUP, BY_KEY, BY_TOKEN = "password", "setup", "legacy", "token:"
"""How a session began; the last one is followed by the token's id."""


class Gate:
    """Knows the tokens of the view and the shared key; asks no database."""

    def __init__(self, view: View, api_key: str, wall_us: Callable[[], int]) -> None:
        self._view = view
        self._api_key = api_key
        self._wall_us = wall_us
        self.attempts = Attempts()
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._limit = RateLimitItemPerMinute(WRONG_KEYS_PER_MINUTE)
        self._guessing: set[str] = set()
        """Addresses that have sent a wrong shared key: the others' beats need no look at the limit."""

    def shared_key_fits(self, key: object, address: str) -> bool:
        """Whether this is the shared key, without which nothing is; nor is it, for an address that guesses."""
        if address in self._guessing and not self._limiter.test(self._limit, address):
            return False
        fits = bool(self._api_key) and isinstance(key, str) and same(key, self._api_key)
        if not fits:
            self._guessing.add(address)
            self._limiter.hit(self._limit, address)
        return fits

    def actor(self, authorization: str, user: str, address: str) -> Actor | None:
        """Who sent these headers; None without any. Raises `NotAuthenticated` for wrong ones."""
        if not authorization:
            return None
        scheme, _, text = authorization.partition(" ")
        text = text.strip()
        if scheme.casefold() != "bearer" or not text:
            raise NotAuthenticated(
                "authorization: only `Bearer TOKEN` is understood.", "See `picluster login`."
            )
        chosen_by_people = token_id(text) == ADMIN_TOKEN_ID
        if chosen_by_people:
            self._not_too_often(address)
            if self._api_key and same(text, self._api_key):
                return self._legacy_actor(user, address)
        token = self._live(token_id(text))
        if token is None or token.kind == SESSION or not same(token.digest, digest(text)):
            if chosen_by_people:
                self._limiter.hit(self._limit, address)
            raise NotAuthenticated(
                "This token is not known, or it has expired or was revoked.", "Ask an admin for a new one."
            )
        return self._token_actor(token, address)

    def session(self, text: str, address: str) -> Actor | None:
        """Who has the session with this secret; None if it is over or never was one. Nobody has to guess 256 bits
        slowly, so there is no limit."""
        token = self._live(token_id(text))
        if token is None or token.kind != SESSION:
            return None
        if not same(token.digest, self.session_digest(text, token.issued_by)):
            return None
        role, limited = self._session_role(token)
        if role is Role.NOBODY:
            return None
        return Actor(token.name, role, address, token=token.id, limited=limited and role < Role.ADMIN)

    def session_digest(self, text: str, began: str) -> str:
        """What is kept of a session. One that began with the shared key is worth as much as that: with another key, it
        fits no more."""
        return digest(f"{text} {self._api_key}") if began == BY_KEY else digest(text)

    def _session_role(self, token: Token) -> tuple[Role, bool]:
        """What is left of the role it began with, and whether the quota counts for it."""
        began = token.issued_by
        if began == BY_KEY:
            return (token.role if self._api_key else Role.NOBODY), False
        if began.startswith(BY_TOKEN):
            origin = self._live(began.removeprefix(BY_TOKEN))
            if origin is None:
                return Role.NOBODY, True
            return min(token.role, self._role(origin)), origin.kind in LIMITED_KINDS
        known = self._person(token)
        return (standing(known, token.role) if known else Role.NOBODY), True

    def setup_token(self, text: str) -> Token:
        """The one-time credential of the first start."""
        token = self._view.roster.tokens.get(token_id(text))
        if token is None or token.kind != "setup" or token.revoked or not same(token.digest, digest(text)):
            raise NotAllowed(
                "This link was used already, or a newer one was printed.",
                "Restart the service for a new one.",
            )
        return token

    def _not_too_often(self, address: str) -> None:
        if not self._limiter.test(self._limit, address):
            raise TooManyAttempts(hint="Check the token; attempts from other addresses are not affected.")

    def _live(self, token_id: str) -> Token | None:
        """The token with this id, if it is neither revoked nor over."""
        token = self._view.roster.tokens.get(token_id)
        if token is None or token.revoked or 0 < token.expires_us <= self._wall_us():
            return None
        return token

    def _person(self, token: Token) -> Person | None:
        """The account that decides about a token, if there is one."""
        return self._view.roster.person(token.name) if of_a_person(token) else None

    def _role(self, token: Token) -> Role:
        return standing(self._person(token), token.role)

    def _legacy_actor(self, user: str, address: str) -> Actor:
        name = unquote(user, errors="replace")
        if text_problem(name, 8 * 1024):
            raise Malformed(f"{USER_HEADER}: {text_problem(name, 8 * 1024)}", field=USER_HEADER)
        return Actor(f"{LEGACY_PREFIX}{name}", Role.USER, address, limited=False)

    def _token_actor(self, token: Token, address: str) -> Actor:
        if token.kind == "agent" and token.approve:
            raise NotAllowed(
                f"A board that says to be {token.name} has joined, and {token.name} is known already.",
                f"An operator who knows that it is this one says `picluster undrain {token.name}`.",
            )
        if token.kind == "agent":
            return Actor(
                f"agent:{token.name}", Role.AGENT, address, machine=token.name, token=token.id, limited=False
            )
        if token.kind == "join":
            return Actor(f"join:{token.name}", Role.JOIN, address, token=token.id, limited=False)
        if token.kind == "setup":
            raise NotAllowed("This is a one-time link, not a token.", "Open it in a browser.")
        role = self._role(token)
        if role is Role.NOBODY:
            raise disabled(token.name)
        limited = token.kind in LIMITED_KINDS and role < Role.ADMIN
        return Actor(token.name, role, address, token=token.id, limited=limited)


def disabled(name: str) -> NotAllowed:
    return NotAllowed(f"The account {name} is disabled.", "An admin can enable it again.")


def require(actor: Actor | None, role: Role) -> Actor:
    """The actor, if it may do what this role may."""
    if actor is None:
        raise NotAuthenticated(
            hint="`picluster login`, or set PICLUSTER_TOKEN. Whoever has only the shared key sends that."
        )
    if actor.role < role:
        raise NotAllowed(
            f"This needs the role {role.name.lower()}; {actor.name} has the role {actor.role.name.lower()}.",
            "Ask an admin.",
        )
    return actor
