"""Who outside is told what happens, for admins: webhooks, whether their receivers answer, and new ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import Response

from picluster.errors import Malformed, NotFound, PiclusterError
from picluster.pool.commands import ForgetWebhook
from picluster.pool.model import Actor, Webhook
from picluster.server.context import Context
from picluster.server.pages import forms
from picluster.server.pages.forms import Form
from picluster.server.pages.frame import go, page
from picluster.server.pages.settings import WEBHOOKS, opened, tab_page
from picluster.server.v1.common import InContext
from picluster.server.webhooks import making
from picluster.server.webhooks.making import host_of
from picluster.server.webhooks.messages import MANNERS
from picluster.server.webhooks.notices import NOTICES
from picluster.server.webhooks.post import Outcome, in_full
from picluster.wire import WebhookAmendment, WebhookRequest

router = APIRouter(include_in_schema=False)

Do = Callable[[Context, Actor, Webhook], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class WebhookVerb:
    """One thing that can be done with a webhook, by a button."""

    name: str
    word: str
    do: Do
    said: str
    """What is said when it is done, as a word of `settings.DONE`."""
    possible: Callable[[Webhook], bool] = lambda webhook: True


async def _pause(context: Context, actor: Actor, webhook: Webhook) -> None:
    await making.amend(context, actor, webhook.name, WebhookAmendment(paused=True))


async def _resume(context: Context, actor: Actor, webhook: Webhook) -> None:
    await making.amend(context, actor, webhook.name, WebhookAmendment(paused=False))


async def _remove(context: Context, actor: Actor, webhook: Webhook) -> None:
    await context.coordinator.ask(ForgetWebhook(actor, webhook.name))


VERBS = {
    verb.name: verb
    for verb in (
        WebhookVerb("pause", "Pause", _pause, "paused", lambda webhook: not webhook.paused),
        WebhookVerb("resume", "Resume", _resume, "resumed", lambda webhook: webhook.paused),
        WebhookVerb("remove", "Remove", _remove, "untold"),
    )
}


@router.get(WEBHOOKS.path)
async def webhooks_page(request: Request, context: InContext) -> Response:
    """All of them by name."""
    opened(request, WEBHOOKS)
    found = [webhook for _, webhook in sorted(context.view.roster.webhooks.items())]
    return tab_page(
        request,
        WEBHOOKS,
        "settings_webhooks.html",
        webhooks=found,
        manners=MANNERS,
        notices=NOTICES,
        host_of=host_of,
        now_us=context.wall_us(),
    )


# A new one


@router.get("/settings/webhooks/new")
async def new_dialog(request: Request, context: InContext) -> Response:
    """Which kind, where, and of what it is told."""
    opened(request, WEBHOOKS)
    return _dialog(request, forms.asked(request), None)


@router.post("/settings/webhooks/new")
async def new_webhook(request: Request, context: InContext) -> Response:
    """Made; what its messages are signed with is shown this once."""
    form = await forms.sent(request)
    actor = opened(request, WEBHOOKS)
    try:
        ask = WebhookRequest(form.text("name"), form.text("url"), form.text("kind"), _chosen(form))
        webhook, secret = await making.make(context, actor, ask)
    except PiclusterError as error:
        return _dialog(request, form, None, error)
    return _done(request, webhook, secret)


def _done(request: Request, webhook: Webhook, secret: str) -> Response:
    """Its page; before that the secret, if there is a new one."""
    home = _home(webhook.name)
    if not secret:
        return go(request, home)
    return page(request, "settings_webhook_secret.html", secret=True, webhook=webhook, text=secret, home=home)


def _chosen(form: Form) -> tuple[str, ...]:
    """Raises `Malformed` for nothing at all: to the API that means everything, which nobody means here."""
    if not form.list("notice"):
        raise Malformed("notice: choose what it is told of.", field="notice")
    return form.list("notice")


def _dialog(
    request: Request, form: Form, webhook: Webhook | None, error: PiclusterError | None = None
) -> Response:
    """To make one, or to change this one."""
    kind = webhook.kind if webhook else form.text("kind")
    kind = kind if kind in MANNERS else next(iter(MANNERS))
    frame = (
        f"picluster webhooks change {webhook.name} --address -"
        if webhook
        else f"picluster webhooks add {{word}} --kind {kind} -"
    )
    return page(
        request,
        "settings_webhook_form.html",
        webhook=webhook,
        host=host_of(webhook) if webhook else "",
        form=form,
        error=error,
        manners=MANNERS,
        kind=kind,
        notices=NOTICES,
        chosen=form.list("notice") or (webhook and webhook.notices) or tuple(NOTICES),
        command=frame.format(word=form.text("name") or "NAME"),
        frame_of_command=frame,
    )


# One of them


@router.get("/settings/webhooks/{name}")
async def webhook_page(request: Request, context: InContext, name: str) -> Response:
    """How it goes, its last messages, and what can be done."""
    opened(request, WEBHOOKS)
    return _shown(request, context, making.known(context, name))


@router.get("/settings/webhooks/{name}/edit")
async def edit_dialog(request: Request, context: InContext, name: str) -> Response:
    """As a new one's, filled in but for what may be a secret."""
    opened(request, WEBHOOKS)
    return _dialog(request, forms.asked(request), making.known(context, name))


@router.post("/settings/webhooks/{name}/edit")
async def edit_webhook(request: Request, context: InContext, name: str) -> Response:
    """Changed; an address that was left out stays, so that what waits is not lost with it."""
    form = await forms.sent(request)
    actor, webhook = opened(request, WEBHOOKS), making.known(context, name)
    try:
        ask = WebhookAmendment(
            form.text("url") or None, _chosen(form), renew_secret=form.chosen("renew_secret")
        )
        webhook, secret = await making.amend(context, actor, name, ask)
    except PiclusterError as error:
        return _dialog(request, form, webhook, error)
    return _done(request, webhook, secret)


@router.post("/settings/webhooks/{name}/test")
async def try_webhook(request: Request, context: InContext, name: str) -> Response:
    """One message, and what came of it."""
    await forms.sent(request, back=_home(name))
    webhook, outcome = await making.send_test(context, opened(request, WEBHOOKS), name)
    return _shown(request, context, webhook, outcome)


@router.post("/settings/webhooks/{name}/{verb}")
async def change_webhook(request: Request, context: InContext, name: str, verb: str) -> Response:
    """Done at once."""
    await forms.sent(request, back=_home(name))
    actor = opened(request, WEBHOOKS)
    if verb not in VERBS:
        raise NotFound("Nothing of that name can be done with a webhook.", "Go back to the list.")
    await VERBS[verb].do(context, actor, making.known(context, name))
    return go(request, f"{WEBHOOKS.path}?done={VERBS[verb].said}")


def _home(name: str) -> str:
    return f"{WEBHOOKS.path}/{quote(name, safe='')}"


def _shown(request: Request, context: Context, webhook: Webhook, outcome: Outcome | None = None) -> Response:
    return tab_page(
        request,
        WEBHOOKS,
        "settings_webhook.html",
        webhook=webhook,
        outcome=outcome,
        in_full=in_full,
        manner=MANNERS[webhook.kind],
        notices=NOTICES,
        host=host_of(webhook),
        retry_s=max(0.0, webhook.retry_s - context.view.now()),
        verbs=[verb for verb in VERBS.values() if verb.possible(webhook)],
        now_us=context.wall_us(),
    )
