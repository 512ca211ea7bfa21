"""What requests may say: every limit with its reason, and checks that name the field and what would be right."""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection, Iterable, Iterator

from picluster.errors import Malformed

LONGEST_TEXT = 255
"""Names, addresses, labels: what fits a line and an index."""
LONGEST_JOB = 8 * 1024
"""Old clients put whole command lines into the job; 8 KiB is what the old protocol is held to, too."""
LONGEST_SELECTOR = 16 * 1024
"""Names of a few hundred machines."""
LONGEST_REPORTED = 512
"""What a board says of itself; more is cut, not refused."""
MOST_MACHINES = 64
"""Machines in one lease: what a page can show and a turn can write without being noticed."""
MOST_KEYS = 4
"""SSH keys in one lease: the runner's and a person's, with one to change each."""
LONGEST_KEY = 4 * 1024
"""An RSA key of 16,384 bits with a comment."""
MOST_HOST_KEYS = 16
"""sshd has three or four."""
MOST_USES = 1_000
"""Boards that join with one token: a rack or two; a token for more is a password."""
JOIN_TOKEN_S = 86_400.0
"""How long a join token is good for unless said otherwise: it stands on SD cards and in terminals."""
PERSONAL_TOKEN_S = 90 * 86_400.0
"""How long a token lives that is made by logging in: a laptop that is used no more forgets its way in."""
LONGEST_NAME = 64
"""Characters of an account's name: a mail address, which fits a column of a page."""
SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 1024
"""Characters, and bytes. Short ones are guessed; nobody types more than a passphrase."""
RESERVED_NAMES = ("legacy:", "picluster", "agent:", "token:")
"""No principal of a person or a program begins like this."""
LONGEST_URL = 2_048
"""Those of Teams workflows have some 400 characters, most of them a signature."""
MOST_LABELS = 64
SHORTEST_TTL_S, LONGEST_TTL_S = 3.0, 30 * 86_400.0
LONGEST_WAIT_S = 25.0
"""How long one call may be held open: below what proxies cut (30 s and more)."""
HIGHEST_PRIORITY = 3
LARGEST_NUMBER = 2**63 - 1

NOTHING_ELSE = {"extra": "forbid"}
"""A request with a field that we do not know is refused by name: `ttl` for `ttl_s` must not mean the default."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""A machine's name: a host name and a little more."""
ADDRESS = re.compile(r"[A-Za-z0-9:\[][A-Za-z0-9.:%_\]-]*")
"""A host name, IPv4 or IPv6. What begins with a dash, or has blanks or quotes, would be an option or a command to whatever
program is given it: `ssh`, or the one that switches power."""
SSH_USER = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.@$-]*)?")
"""For the same reason: the holder's `ssh` is told it."""
LABEL_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")

Problems = Iterator[tuple[str, str]]
"""(field, what is wrong and what would be right)."""


def raise_problems(problems: Problems) -> None:
    """Raise `Malformed` that names every bad field, if there is one."""
    fields = dict(problems)
    if fields:
        raise Malformed(
            "; ".join(f"{name}: {what}" for name, what in fields.items()),
            f"Correct {'this field' if len(fields) == 1 else 'these fields'} and ask again.",
            fields=fields,
        )


def text_problem(text: str, longest: int = LONGEST_TEXT) -> str:
    """What no database, log or page could carry, or what is too long; empty when it is fine."""
    if "\x00" in text:
        return "has a NUL character"
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "has a lone surrogate, which is not text"
    return f"is {size} bytes long, {longest} are allowed" if size > longest else ""


def text(name: str, value: str, longest: int = LONGEST_TEXT) -> Problems:
    problem = text_problem(value, longest)
    if problem:
        yield name, problem


def address(address: str) -> Problems:
    if not ADDRESS.fullmatch(address):
        yield "address", "must be a host name or an IP address"


def within(name: str, value: float | None, low: float, high: float) -> Problems:
    if value is not None and not low <= value <= high:
        yield name, f"must be from {low:g} to {high:g}"


def labels(names: Collection[str]) -> Problems:
    if len(names) > MOST_LABELS:
        yield "labels", f"has {len(names)}, {MOST_LABELS} are allowed"
    yield from called("labels", names)


def called(name: str, keys: Iterable[str]) -> Problems:
    """What labels and facts may be called."""
    for key in keys:
        if not LABEL_KEY.fullmatch(key):
            yield (
                f"{name}.{key[:40]!r}",
                "a key is a letter and then letters, digits, `_`, `.` or `-`, 63 at most",
            )


def ssh_keys(keys: tuple[str, ...] | None) -> Problems:
    if keys is None:
        return
    if len(keys) > MOST_KEYS:
        yield "ssh_public_keys", f"has {len(keys)} keys, {MOST_KEYS} are allowed"
    for number, key in enumerate(keys):
        if "\n" in key or "\r" in key or len(key.split()) < 2:
            yield f"ssh_public_keys[{number}]", "is not one line of the form TYPE KEY [COMMENT]"
        yield from text(f"ssh_public_keys[{number}]", key, LONGEST_KEY)


def lease_id_problem(text: str) -> str:
    try:
        ok = str(uuid.UUID(text)) == text.lower()
    except ValueError:
        ok = False
    return "" if ok else "must be a UUID like 2f1c9d5e-0000-4000-8000-000000000000, chosen by you"
