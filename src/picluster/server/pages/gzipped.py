"""What browsers get is compressed: files once, pages each time. Streams of events never are, or they would wait."""

from __future__ import annotations

import gzip
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import HTMLResponse

PAGE_LEVEL = 5
"""Of 9. A page of 24 machines in a millisecond; level 9 takes twice that for 2 %."""

WORTH_IT = 1024
"""Bytes. Below, the answer fits into one packet as it is."""


def accepts_gzip(request: Request) -> bool:
    """Whether the browser says so; one that refuses it by `q=0` does not."""
    for choice in request.headers.get("accept-encoding", "").lower().split(","):
        coding, _, weight = choice.replace(" ", "").partition(";q=")
        if coding in ("gzip", "*"):
            return weight.rstrip("0.") != "" or not weight
    return False


def compressed(
    request: Request, html: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> HTMLResponse:
    """A page, compressed where that is accepted and worth it.

    Not for a page that shows a secret beside words that somebody else chose: its length would tell about the secret.
    """
    body, packed = html.encode(), len(html) > WORTH_IT and accepts_gzip(request)
    response = HTMLResponse(gzip.compress(body, PAGE_LEVEL, mtime=0) if packed else body, status, headers)
    response.headers.add_vary_header("Accept-Encoding")
    if packed:
        response.headers["Content-Encoding"] = "gzip"
    return response
