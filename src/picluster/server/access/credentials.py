"""Opaque tokens `pc_{kind}_{id}_{secret}`: made here, shown once, kept as SHA-256, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

from picluster.pool.model import CONFIGURED_ADMIN

ADMIN_TOKEN_ID = CONFIGURED_ADMIN
"""The one token that may have any form, since the operator chose it."""

SHORTEST_ADMIN_TOKEN = 20
"""Characters; guessing shorter ones is a matter of time."""

_FORM = re.compile(r"pc_([a-z]+)_([A-Za-z0-9]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Secret:
    """A new credential: its id, and the text that is shown once."""

    id: str
    text: str


def new_secret(kind: str) -> Secret:
    """256 random bits behind a random id."""
    token_id = secrets.token_hex(6)
    return Secret(token_id, f"pc_{kind}_{token_id}_{secrets.token_urlsafe(32)}")


def token_id(text: str) -> str:
    """The id inside a token's text; one of another form can only be the configured admin's."""
    form = _FORM.fullmatch(text)
    return form.group(2) if form else ADMIN_TOKEN_ID


def digest(text: str) -> str:
    """What is kept of a token. Tokens are random, so a fast hash is enough."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def same(one: str, other: str) -> bool:
    """Equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))
