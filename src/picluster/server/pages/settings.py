"""Settings: which tabs there are and who may open them, and how each is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.responses import Response

from picluster.pool.model import Actor, Role
from picluster.server.pages import forms
from picluster.server.pages.frame import page
from picluster.server.pages.viewer import viewer_of


@dataclass(frozen=True, slots=True)
class Tab:
    """One page of the settings."""

    path: str
    word: str
    role: Role
    """Who may open it, and who has more."""


YOU = Tab("/settings", "You", Role.VIEWER)
PEOPLE = Tab("/settings/people", "People", Role.ADMIN)
TOKENS = Tab("/settings/tokens", "Tokens", Role.OPERATOR)
WEBHOOKS = Tab("/settings/webhooks", "Notifications", Role.ADMIN)
POOL = Tab("/settings/pool", "Pool", Role.ADMIN)
BACKUP = Tab("/settings/backups", "Backup", Role.ADMIN)
LICENCES = Tab("/settings/licences", "Licences", Role.VIEWER)
TABS = (YOU, PEOPLE, TOKENS, WEBHOOKS, POOL, BACKUP, LICENCES)

DONE = {
    "password": "Your password is another one now. You are logged in here, and nowhere else.",
    "others": "You are logged in here, and nowhere else.",
    "session": "That session has ended.",
    "revoked": "The token works no more.",
    "paused": "The webhook is paused: what happens now it is never told.",
    "resumed": "The webhook is told again what happens.",
    "untold": "The webhook is gone.",
}
"""What was done, after a form has led back here; by a word in the address, so that nobody can put sentences into it."""

EXPIRIES = (("30d", "30 days"), ("90d", "90 days"), ("365d", "1 year"), (forms.FOR_EVER, "No end"))
USUAL_EXPIRY = "90d"


def opened(request: Request, tab: Tab) -> Actor:
    """Who opens it. Raises `NotAuthenticated` or `NotAllowed`."""
    return forms.by(request, tab.role)


def tab_page(request: Request, tab: Tab, template: str, status: int = 200, **values: Any) -> Response:
    """One tab, among those that its viewer may open."""
    viewer = viewer_of(request)
    return page(
        request,
        template,
        status,
        viewer=viewer,
        tab=tab,
        tabs=[one for one in TABS if viewer.role >= one.role],
        said=DONE.get(request.query_params.get("done", ""), ""),
        **values,
    )
