"""Webhooks over HTTP, for admins. Their addresses and secrets are never read again: both may open something."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from picluster.pool.commands import ForgetWebhook
from picluster.server.v1.common import Admin, InContext, Limit, Wait, answer
from picluster.server.webhooks import making
from picluster.server.webhooks.making import webhook_answer
from picluster.wire import LONGEST_WAIT_S, WebhookAmendment, WebhookAnswer, WebhookRequest, WebhookTest

router = APIRouter(tags=["webhooks"])


@router.get("/webhooks", response_model=list[WebhookAnswer])
async def list_webhooks(context: InContext, actor: Admin, limit: Limit = 1000, after: str = "") -> Response:
    """Webhooks by name, with their last deliveries; the next page begins behind `after`."""
    known = sorted(context.view.roster.webhooks.items())
    found = [webhook_answer(context, webhook) for key, webhook in known if key > after.casefold()]
    return answer(found[:limit])


@router.post("/webhooks", response_model=WebhookAnswer, status_code=201)
async def add_webhook(ask: WebhookRequest, context: InContext, actor: Admin) -> Response:
    """An address that is told what happens from now on. What its messages are signed with is in this answer and nowhere
    else; those to chat services are not signed."""
    webhook, secret = await making.make(context, actor, ask)
    return answer(webhook_answer(context, webhook, secret), 201)


@router.patch("/webhooks/{name}", response_model=WebhookAnswer)
async def amend_webhook(name: str, ask: WebhookAmendment, context: InContext, actor: Admin) -> Response:
    """Change it, or pause it. What waits is tried again at once. Another secret, if one is asked for, is in this answer and
    nowhere else."""
    webhook, secret = await making.amend(context, actor, name, ask)
    return answer(webhook_answer(context, webhook, secret))


@router.delete("/webhooks/{name}", response_model=WebhookAnswer)
async def forget_webhook(name: str, context: InContext, actor: Admin) -> Response:
    """It is told no more, nor what waits."""
    return answer(webhook_answer(context, await context.coordinator.ask(ForgetWebhook(actor, name))))


@router.post("/webhooks/{name}/test", response_model=WebhookTest)
async def try_webhook(name: str, context: InContext, actor: Admin, wait: Wait = LONGEST_WAIT_S) -> Response:
    """Send it one message now, and say what came of it: the receiver has `wait` for it, or less if a setting says so."""
    webhook, outcome = await making.send_test(context, actor, name, wait)
    return answer(WebhookTest(webhook.name, outcome.arrived, outcome.full))
