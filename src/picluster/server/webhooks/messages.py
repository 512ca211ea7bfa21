"""How each kind of receiver is told: JSON for programs, one event each and signed; a few lines for a chat room."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from picluster import __version__
from picluster.pool.model import Event
from picluster.server.sentences import tell
from picluster.server.webhooks.notices import notice_of
from picluster.server.words import shown

MOST_LINES = 20
"""Events in one message of a chat. When a switch dies with a rack behind it, a room is told in a few messages, which
chat services take one of in a second, and people read."""

LONGEST_LINE = 300

SECRET_PREFIX = "whsec_"  # noqa: S105  how such secrets begin, so that verifiers and scanners know them
SECRET_BYTES = 32

TEST = "webhook.test"
"""The type of a message that somebody sends to try a webhook."""


@dataclass(frozen=True, slots=True)
class News:
    """One event as it is told, with its place in its revision: together they are its id."""

    event: Event
    place: int = 0

    @property
    def id(self) -> str:
        """The same however often it is sent."""
        if self.event.kind == TEST:
            return f"test.{self.event.at_us}"
        return f"{self.event.epoch}.{self.event.revision}.{self.place}"

    @property
    def type(self) -> str:
        return TEST if self.event.kind == TEST else notice_of(self.event)

    @property
    def line(self) -> str:
        """As a sentence, with what is told behind it."""
        if self.event.kind == TEST:
            return f"{self.event.actor} tries whether this arrives"
        told = tell(self.event)
        return shown(f"{told.plain} ({told.more})" if told.more else told.plain, LONGEST_LINE)


def numbered(events: Sequence[Event]) -> list[News]:
    """Each with its place among those of its revision; the events have to be whole revisions."""
    news: list[News] = []
    for event in events:
        follows = news and news[-1].event.revision == event.revision
        news.append(News(event, news[-1].place + 1 if follows else 0))
    return news


def generic(news: Sequence[News]) -> dict[str, Any]:
    """One event: `type`, `timestamp` and `data`, as the Standard Webhooks specification wants them."""
    (one,) = news
    event = one.event
    data = {
        "text": one.line,
        "event": event.kind,
        "machine": event.machine,
        "lease": event.lease,
        "holder": event.holder,
        "actor": event.actor,
        "detail": dict(event.detail),
        "revision": event.revision,
        "epoch": event.epoch,
    }
    return {"type": one.type, "timestamp": _iso(event.at_us), "data": data}


def slack(news: Sequence[News]) -> dict[str, Any]:
    """Text in which `<`, `>` and `&` mean something, and must not: a job must not call a whole room to itself."""
    lines = "\n".join(_slack_text(one.line) for one in news)
    return {"text": lines, "mrkdwn": False, "unfurl_links": False, "unfurl_media": False}


def _slack_text(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def teams(news: Sequence[News]) -> dict[str, Any]:
    """An Adaptive Card, for a workflow that waits for a webhook. Runs of text, since blocks would read Markdown."""
    lines = [{"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": one.line}]} for one in news]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": lines,
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
    return {"type": "message", "attachments": [attachment]}


@dataclass(frozen=True, slots=True)
class Manner:
    """One kind of receiver."""

    word: str
    make: Callable[[Sequence[News]], dict[str, Any]]
    most: int
    """Events in one message."""
    signed: bool
    hint: str
    """Where its address comes from."""


MANNERS = {
    "generic": Manner("A program", generic, 1, True, "Whatever takes a POST with JSON. It can check the signature."),
    "slack": Manner(
        "Slack", slack, MOST_LINES, False, "Of an app with incoming webhooks: https://hooks.slack.com/services/…"
    ),
    "teams": Manner(
        "Teams", teams, MOST_LINES, False, "Of a workflow “When a Teams webhook request is received”."
    ),
}  # fmt: skip


def request(kind: str, secret: str, news: Sequence[News], now_us: int) -> tuple[Mapping[str, str], bytes]:
    """Headers and body of one message."""
    body = json.dumps(MANNERS[kind].make(news), separators=(",", ":")).encode()
    headers = {"Content-Type": "application/json", "User-Agent": f"picluster/{__version__}"}
    if secret:
        headers |= signature_headers(secret, news[0].id, now_us // 1_000_000, body)
    return headers, body


def new_secret() -> str:
    """256 random bits."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signature_headers(secret: str, message_id: str, at_s: int, body: bytes) -> dict[str, str]:
    """As Standard Webhooks 1.0 signs: HMAC-SHA256 over id, time and body, so that neither can be changed, and an old
    message not be sent again (https://www.standardwebhooks.com)."""
    signed = f"{message_id}.{at_s}.".encode() + body
    digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": "v1," + binascii.b2a_base64(digest, newline=False).decode(),
    }


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix(SECRET_PREFIX))


def _iso(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
