"""Who may come in: tokens, accounts, and who one is."""

from __future__ import annotations

from dataclasses import dataclass

from picluster.wire.limits import (
    LONGEST_NAME,
    LONGEST_PASSWORD,
    MOST_USES,
    NAME,
    NOTHING_ELSE,
    RESERVED_NAMES,
    SHORTEST_PASSWORD,
    Problems,
    text,
    within,
)


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """`POST /tokens`: a credential for somebody or something."""

    __pydantic_config__ = NOTHING_ELSE

    name: str
    kind: str = "person"
    role: str = "user"
    expires_in_s: float | None = None
    """Null: never; for a join token, a day."""
    uses: int = 1
    """For a join token: how many boards may join with it."""
    approve: bool = False
    """For a join token: whether its boards wait until a person has looked at them."""

    KINDS = ("person", "ci", "agent", "join")
    ROLES = ("viewer", "user", "operator", "admin")

    def problems(self) -> Problems:
        if self.kind not in self.KINDS:
            yield "kind", f"must be one of {', '.join(self.KINDS)}"
        if self.kind in ("person", "ci") and self.role not in self.ROLES:
            yield "role", f"must be one of {', '.join(self.ROLES)}"
        if not self.name or self.name.startswith(RESERVED_NAMES):
            yield "name", "must not be empty, nor begin with `legacy:`, `agent:`, `token:` or `picluster`"
        if self.kind == "agent" and not NAME.fullmatch(self.name):
            yield "name", "must be the machine's name: letters, digits, `.`, `_`, `-`, at most 63"
        yield from text("name", self.name)
        yield from within("uses", self.uses, 1, MOST_USES)
        if self.kind != "join" and (self.uses != 1 or self.approve):
            yield "kind", "only a join token has `uses` and `approve`"
        yield from within("expires_in_s", self.expires_in_s, 60, 10 * 365 * 86_400)


@dataclass(frozen=True, slots=True)
class LoginRequest:
    """`POST /login`: name and password for a token of one's own."""

    __pydantic_config__ = NOTHING_ELSE

    name: str
    password: str
    label: str = ""
    """Where the token will be kept, for the list of one's tokens."""

    def problems(self) -> Problems:
        yield from text("name", self.name)
        yield from text("password", self.password, LONGEST_PASSWORD)
        yield from text("label", self.label)


@dataclass(frozen=True, slots=True)
class PersonRequest:
    """`POST /people`: an account for somebody."""

    __pydantic_config__ = NOTHING_ELSE

    name: str
    role: str = "user"
    password: str | None = None
    """Null: none yet; the person cannot log in before there is one."""

    def problems(self) -> Problems:
        yield from _person_name(self.name)
        yield from _role(self.role)
        yield from _password(self.password, self.name)


@dataclass(frozen=True, slots=True)
class PersonAmendment:
    """`PATCH /people/{name}`: what is left out stays as it is."""

    __pydantic_config__ = NOTHING_ELSE

    role: str | None = None
    password: str | None = None
    current_password: str | None = None
    """For those who are not admin, and change their own password."""
    disabled: bool | None = None

    def problems(self, name: str) -> Problems:
        yield from _role(self.role)
        yield from _password(self.password, name)
        yield from text("current_password", self.current_password or "", LONGEST_PASSWORD)


def _person_name(name: str) -> Problems:
    """An account's name stands in pages, addresses and the history, and is typed: nothing in it may be invisible."""
    if not 1 <= len(name) <= LONGEST_NAME:
        yield "name", f"must have 1 to {LONGEST_NAME} characters"
    elif name.startswith(RESERVED_NAMES):
        yield "name", "must not begin with `legacy:`, `agent:`, `token:` or `picluster`"
    elif not name.isprintable() or name != name.strip() or "/" in name or not name.strip("."):
        yield "name", "must be letters, digits and signs but `/`, without blanks at its ends"
    else:
        yield from text("name", name)


def _role(role: str | None) -> Problems:
    if role is not None and role not in TokenRequest.ROLES:
        yield "role", f"must be one of {', '.join(TokenRequest.ROLES)}"


def _password(password: str | None, name: str) -> Problems:
    if password is None:
        return
    if len(password) < SHORTEST_PASSWORD:
        yield "password", f"must have at least {SHORTEST_PASSWORD} characters"
    if password.casefold() == name.casefold():
        yield "password", "must not be the name"
    yield from text("password", password, LONGEST_PASSWORD)


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """A credential; `token` is there once, in the answer to its making."""

    id: str
    kind: str
    name: str
    role: str
    issued_by: str
    issued_us: int
    expires_us: int
    revoked: bool
    uses_left: int = 0
    approve: bool = False
    token: str | None = None


@dataclass(frozen=True, slots=True)
class PersonAnswer:
    """An account, without its password."""

    name: str
    role: str
    disabled: bool
    has_password: bool
    """Whether its owner can log in."""
    created_us: int
    created_by: str
    revision: int


@dataclass(frozen=True, slots=True)
class WhoAmI:
    """Who asks, and whom."""

    name: str
    role: str
    version: str
    service_s: float
    wall_us: int
    epoch: int
    revision: int
    legacy_door: bool
