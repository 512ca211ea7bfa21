"""The frame of every page: one way to answer in HTML, whole or in part, with who looks and how the pool is.

A page asked for by the script (`HX-Request`) is answered without its frame, to be put into the page that is open;
by hand, or without script, the same address is a whole page. So each form and dialog exists once.
"""

from __future__ import annotations

from typing import Any

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.responses import HTMLResponse, RedirectResponse, Response

from picluster import __version__
from picluster.errors import NotAuthenticated, PiclusterError
from picluster.pool.people import has_admin
from picluster.server import words
from picluster.server.pages import svg
from picluster.server.pages.form_words import in_words_of
from picluster.server.pages.glance_parts import parts_of
from picluster.server.pages.gzipped import compressed
from picluster.server.pages.icons import icon, symbols, use
from picluster.server.pages.static import static_url
from picluster.server.pages.viewer import Look, viewer_of
from picluster.server.v1.common import context_of

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; font-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing that stands in a page can run or load anything but our own files."""

SAFE_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "HX-Request, Cookie",
}

AT_HEADER = "X-Picluster-At"
"""At which revision a page began to be made: an answer that was late is older than what a stream has brought since."""

templates = Environment(
    loader=PackageLoader("picluster.server.pages"),
    autoescape=select_autoescape(["html", "svg"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
templates.globals.update(
    icon=icon,
    use=use,
    symbols=symbols,
    static_url=static_url,
    svg=svg,
    words=words,
    version=__version__,
    has_admin=has_admin,
)
templates.filters.update(span=words.span, shown=words.shown, person=words.person)


TOLD = ("error", "problem")
"""How templates call what went wrong."""


def is_part(request: Request) -> bool:
    """Whether the script asks, for something to put into the page that is open."""
    return "hx-request" in request.headers


def page(
    request: Request,
    template: str,
    status: int = 200,
    *,
    error: PiclusterError | None = None,
    secret: bool = False,
    **values: Any,
) -> Response:
    """A page, or the part of it that the script asked for. One that tells of an error has its status. One that shows a
    secret is not compressed: its length would tell about it."""
    context = context_of(request)
    viewer = values.pop("viewer", None) or viewer_of(request)
    shared = {
        "frame": "part.html" if is_part(request) else "base.html",
        "viewer": viewer,
        "look": Look.of(request),
        "request_path": request.url.path,
        "here": str(request.url.path) + (f"?{request.url.query}" if request.url.query else ""),
        "context": context,
        "now_ms": context.wall_us() // 1000,
        "at": request.state.at,
        "parts": parts_of(context, viewer),
    }
    html = _rendered(template, {**shared, "error": error, **values})
    status = error.status if error else status
    headers = {**SAFE_HEADERS, AT_HEADER: request.state.at}
    return HTMLResponse(html, status, headers) if secret else compressed(request, html, status, headers)


def _rendered(template: str, values: dict[str, Any]) -> str:
    """A page that tells of an error is made twice: the second time with its fields called as they are on the page."""
    made = templates.get_template(template)
    html = made.render(values)
    told = {key: values[key] for key in TOLD if isinstance(values.get(key), PiclusterError)}
    better = {key: in_words_of(html, error) for key, error in told.items()}
    return html if better == told else made.render({**values, **better})


def go(request: Request, where: str) -> Response:
    """On to another page after a form, by script or without."""
    if is_part(request):
        return Response(status_code=204, headers={"HX-Redirect": where})
    return RedirectResponse(where, 303)


def done(request: Request, said: str, where: str) -> Response:
    """It is done: by script a word for whoever cannot see the row change, without script on to the next page."""
    if is_part(request):
        return page(request, "done.html", said=said)
    return RedirectResponse(where, 303)


def problem(request: Request, error: PiclusterError) -> Response:
    """An error as people read it: what happened, and the next step; with the login where that is what is missing."""
    if isinstance(error, NotAuthenticated):
        return login_first(request)
    return page(request, "error.html", error=error)


def login_first(request: Request) -> Response:
    """The way in; afterwards one is where one wanted to be, with what was typed."""
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    wanted = getattr(request.state, "after_login", here)
    return page(request, "login.html", 401, next=wanted, name="")
