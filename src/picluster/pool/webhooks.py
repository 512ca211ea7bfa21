"""Webhooks: who outside is told what happens, by which process, and how far they have been told.

The event log is the outbox: an event is written with what it tells of, or not at all. So a webhook needs only a cursor
into the log, and one process at a time, its courier, that reads on from there. That is a lease like any other: taken for
a while, in service time, and free again when its holder is not heard.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from picluster.errors import Conflict, NotFound
from picluster.pool.commands import AddWebhook, AmendWebhook, ForgetWebhook, NoteTest, TakeUp, Tell
from picluster.pool.ledger import Ledger
from picluster.pool.model import SYSTEM, Actor, Attempt, Pause, Webhook

MOST = 32
"""Each is a reader of the event log in every process that serves the pool."""

ATTEMPTS_KEPT = 10
"""Enough to see what goes on; that something was given up is an event, and kept like all others."""

AMENDED = ("url", "notices", "paused", "secret")
"""What can be changed. That it was is recorded, and not to what: some of it opens something."""

GIVEN_UP = "given_up"
"""The state of an attempt that was the last one."""


# What admins do with them


def add(ledger: Ledger, ask: AddWebhook) -> Webhook:
    """A new one; it is told what happens from now on."""
    known = ledger.roster.webhook(ask.webhook.name)
    if known is not None:
        raise Conflict(
            f"There is a webhook {known.name} already.",
            f"Choose another name, or `picluster webhooks remove {known.name}` first.",
        )
    if len(ledger.roster.webhooks) >= MOST:
        raise Conflict(f"There are {MOST} webhooks already.", "Remove one that is not needed any more.")
    webhook = ledger.save(replace(ask.webhook, cursor=ledger.state.revision))
    _note(ledger, "webhook.added", ask.by, webhook)
    return webhook


def amend(ledger: Ledger, ask: AmendWebhook) -> Webhook:
    """Where it is, what it is told, and whether. What is changed may be mended now, so it is tried again at once."""
    old = _existing(ledger, ask.name)
    new = replace(
        old,
        url=old.url if ask.url is None else ask.url,
        notices=old.notices if ask.notices is None else ask.notices,
        paused=old.paused if ask.paused is None else ask.paused,
        secret=old.secret if ask.secret is None else ask.secret,
    )
    if new == old:
        return old
    pauses = _pauses(old, new.paused, ledger.state.revision)
    webhook = ledger.save(_mended(replace(new, pauses=pauses)))
    changed = [name for name in AMENDED if getattr(old, name) != getattr(new, name)]
    _note(ledger, "webhook.changed", ask.by, webhook, changed=changed)
    return webhook


def _mended(webhook: Webhook) -> Webhook:
    """It may take now what it did not take before: that counts no more, and what waits is tried at once."""
    return replace(webhook, retry_s=0.0, failures=0, failing_since_us=0)


def _pauses(webhook: Webhook, paused: bool, revision: int) -> tuple[Pause, ...]:
    """With the one that begins or ends now."""
    if paused == webhook.paused:
        return webhook.pauses
    if paused:
        return (*webhook.pauses, Pause(revision))
    *before, last = webhook.pauses or (Pause(webhook.cursor),)  # an older version does not say since when
    return (*before, replace(last, until=revision))


def forget(ledger: Ledger, ask: ForgetWebhook) -> Webhook:
    """It is gone, with whatever it has not been told yet. The answer is what it was: the row has lost its address."""
    old = _existing(ledger, ask.name)
    ledger.save(replace(old, url="", secret="", deleted=True, deleted_s=ledger.now))
    _note(ledger, "webhook.deleted", ask.by, old)
    return old


def note_test(ledger: Ledger, ask: NoteTest) -> Webhook:
    """Somebody has tried it; one that answers is not taken for failing any longer."""
    webhook = _existing(ledger, ask.name)
    ledger.note("webhook.tested", ask.by, detail={"name": webhook.name, "outcome": ask.outcome})
    mended = _mended(webhook) if ask.arrived else webhook
    return webhook if mended == webhook else ledger.save(mended)


# What couriers do


def is_due(webhook: Webhook, revision: int) -> bool:
    """Whether what happened then is to be told: it was not yet, and it is not of a pause that is over."""
    paused = any(one.since < revision <= one.until for one in webhook.pauses)
    return revision > webhook.cursor and not paused


def take_up(ledger: Ledger, ask: TakeUp) -> Webhook:
    """One process tells it, until its time is over. Raises `Conflict` while that is another one."""
    webhook = _existing(ledger, ask.name)
    if webhook.courier not in ("", ask.courier) and webhook.courier_until_s > ledger.now:
        raise Conflict(f"Another process tells {webhook.name}.", "Wait until it has done so.")
    return ledger.save(replace(webhook, courier=ask.courier, courier_until_s=ledger.now + ask.for_s))


def tell(ledger: Ledger, ask: Tell) -> Webhook:
    """What came of it. Raises `Conflict` for one whose time was over, and has passed to somebody else."""
    webhook = _existing(ledger, ask.name)
    if webhook.courier != ask.courier:
        raise Conflict(f"Another process tells {webhook.name} by now.", "Stop, and read on from its cursor.")
    lost = [attempt for attempt in ask.attempts if attempt.state == GIVEN_UP]
    cursor = max(webhook.cursor, ask.cursor)
    webhook = ledger.save(
        replace(
            webhook,
            cursor=cursor,
            pauses=tuple(one for one in webhook.pauses if one.until > cursor or not one.until),
            courier_until_s=ledger.now + ask.for_s,
            failures=ask.failures,
            failing_since_us=_failing_since(webhook, ask.attempts),
            retry_s=ledger.now + ask.pause_s if ask.pause_s else 0.0,
            delivered=webhook.delivered + ask.delivered,
            given_up=webhook.given_up + sum(attempt.count for attempt in lost),
            attempts=(*reversed(ask.attempts), *webhook.attempts)[:ATTEMPTS_KEPT],
        )
    )
    for attempt in lost:
        detail = {"name": webhook.name, "about": attempt.about, "count": attempt.count}
        ledger.note("webhook.gave_up", SYSTEM, detail=detail | {"outcome": attempt.outcome})
    return webhook


def _failing_since(webhook: Webhook, attempts: tuple[Attempt, ...]) -> int:
    """The first failure behind which nothing arrived."""
    since_us = webhook.failing_since_us
    for attempt in attempts:
        since_us = 0 if attempt.state == "delivered" else since_us or attempt.at_us
    return since_us


def _existing(ledger: Ledger, name: str) -> Webhook:
    webhook = ledger.roster.webhook(name)
    if webhook is None:
        raise NotFound(f"There is no webhook {name!r}.", "`picluster webhooks list` shows them.")
    return webhook


def _note(ledger: Ledger, kind: str, by: Actor, webhook: Webhook, **more: object) -> None:
    """What is told of it: to which host, never the address, which may be a secret."""
    detail = {"name": webhook.name, "kind": webhook.kind, "host": host(webhook.url), "paused": webhook.paused}
    ledger.note(kind, by, detail=detail | more)


def host(url: str) -> str:
    """What of an address may be seen by others, as `hooks.slack.com:443`: all the rest may be a secret."""
    return urlsplit(url).netloc.rpartition("@")[2]
