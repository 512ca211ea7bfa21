"""What admins do with webhooks, over the API and on the settings page: make, change, try."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from picluster.errors import Malformed, NotFound
from picluster.pool.commands import AddWebhook, AmendWebhook, NoteTest
from picluster.pool.model import Actor, Event, Webhook
from picluster.pool.webhooks import host
from picluster.server.context import Context
from picluster.server.webhooks.messages import MANNERS, TEST, News, new_secret, request
from picluster.server.webhooks.post import Outcome, in_full
from picluster.server.webhooks.reach import NotAllowedThere, NotReachable, checked_url
from picluster.wire import (
    LONGEST_WAIT_S,
    AttemptAnswer,
    WebhookAmendment,
    WebhookAnswer,
    WebhookRequest,
    raise_problems,
)

LOOK_UP_S = 1.0
"""A name server that hangs must not keep a webhook from being made: the address is checked at each message, too."""


async def make(context: Context, actor: Actor, ask: WebhookRequest) -> tuple[Webhook, str]:
    """A new webhook, and what its messages are signed with; empty for chat services. Raises `Malformed`, also
    for a private address, and `Conflict`."""
    raise_problems(ask.problems())
    await _check(context, ask.url)
    secret = new_secret() if MANNERS[ask.kind].signed else ""
    webhook = Webhook(
        *(ask.name, ask.kind, ask.url, _in_order(ask.notices), secret),
        created_us=context.wall_us(),
        created_by=actor.name,
    )
    made: Webhook = await context.coordinator.ask(AddWebhook(actor, webhook))
    return made, secret


async def amend(context: Context, actor: Actor, name: str, ask: WebhookAmendment) -> tuple[Webhook, str]:
    """Change it; with what its messages are signed with from now on, if that is another. Raises as `make`, and `NotFound`."""
    raise_problems(ask.problems())
    if ask.url is not None:
        await _check(context, ask.url)
    notices = None if ask.notices is None else _in_order(ask.notices)
    secret = _another_secret(known(context, name)) if ask.renew_secret else None
    amended: Webhook = await context.coordinator.ask(
        AmendWebhook(actor, name, ask.url, notices, ask.paused, secret)
    )
    return amended, secret or ""


def _another_secret(webhook: Webhook) -> str:
    if not MANNERS[webhook.kind].signed:
        raise Malformed(
            f"renew_secret: messages to {MANNERS[webhook.kind].word} are not signed.",
            "Its address is the secret: make another one there, and change the address.",
            field="renew_secret",
        )
    return new_secret()


async def send_test(
    context: Context, actor: Actor, name: str, wait_s: float = LONGEST_WAIT_S
) -> tuple[Webhook, Outcome]:
    """One message, now, from this process and past the queue, for which its receiver has so long at most; what came of it
    is recorded. Raises `NotFound`."""
    webhook = known(context, name)
    now_us, view = context.wall_us(), context.view
    news = [News(Event(view.revision, view.roster.epoch, now_us, TEST, actor.name))]
    headers, body = request(webhook.kind, webhook.secret, news, now_us)
    outcome = await context.couriers.post.send(webhook.url, headers, body, wait_s)
    tried: Webhook = await context.coordinator.ask(
        NoteTest(actor, webhook.name, outcome.text, outcome.arrived)
    )
    return tried, outcome


def known(context: Context, name: str) -> Webhook:
    """Raises `NotFound`."""
    webhook = context.view.roster.webhook(name)
    if webhook is None:
        raise NotFound(f"There is no webhook {name[:64]!r}.", "`picluster webhooks list` shows them.")
    return webhook


def webhook_answer(context: Context, webhook: Webhook, secret: str = "") -> WebhookAnswer:
    """Without its address, which may be a secret; with what it is signed with only when that is given here."""
    left_s = webhook.retry_s - context.view.now()
    return WebhookAnswer(
        webhook.name,
        webhook.kind,
        host_of(webhook),
        webhook.notices,
        webhook.paused,
        webhook.created_us,
        webhook.created_by,
        webhook.delivered,
        webhook.given_up,
        webhook.failures,
        webhook.failing_since_us,
        left_s if left_s > 0 else None,
        tuple(
            AttemptAnswer(one.at_us, one.state, one.about, one.count, in_full(one.outcome, one.said))
            for one in webhook.attempts
        ),
        webhook.revision,
        secret or None,
    )


def host_of(webhook: Webhook) -> str:
    """`https://hooks.slack.com`"""
    return f"{urlsplit(webhook.url).scheme}://{host(webhook.url)}"


def _in_order(notices: Sequence[str]) -> tuple[str, ...]:
    """All of them is the same as none in particular: then it is told of kinds that are added later, too."""
    chosen = tuple(name for name in WebhookRequest.NOTICES if name in notices)
    return () if chosen == WebhookRequest.NOTICES else chosen


async def _check(context: Context, url: str) -> None:
    """What is wrong with it is said where it is typed. A name that has no address now may have one later."""
    parts = checked_url(url)
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_UP_S):
                await context.couriers.post.where(parts)
    except NotAllowedThere as problem:
        raise Malformed(f"url: {problem.message}", problem.hint, field="url") from None
    except NotReachable:
        return
