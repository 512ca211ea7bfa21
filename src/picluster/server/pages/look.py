"""How the pages look in one browser: theme, density, columns. Kept in a cookie that says nothing about anybody."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter, Request
from starlette.responses import Response

from picluster.server.pages import forms
from picluster.server.pages.frame import go
from picluster.server.pages.viewer import COLUMNS, DENSITIES, LOOK_COOKIE, THEMES, Look

router = APIRouter(include_in_schema=False)

KEPT_S = 365 * 86_400


@router.post("/ui/look")
async def choose(request: Request) -> Response:
    """One choice more; what is no known word changes nothing."""
    form = await forms.sent(request)
    look = Look.of(request)
    for name, known in (("theme", THEMES), ("density", DENSITIES), ("columns", COLUMNS)):
        if form.text(name) in known:
            look = replace(look, **{name: form.text(name)})
    response = go(request, forms.back_to(request, form))
    response.set_cookie(LOOK_COOKIE, str(look), max_age=KEPT_S, samesite="lax", path="/")
    return response
