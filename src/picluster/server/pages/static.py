"""Style, scripts and fonts: read and compressed once, at start, and kept by browsers for ever.

The digest of all files is a part of each address, so a browser never has yesterday's style with today's page, and
never asks again for what it has. Files refer to one another relatively and so stay within their version. What is
served is looked up among what was read; no request's path is ever opened.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from picluster.server.pages.gzipped import accepts_gzip

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
    "": "text/plain; charset=utf-8",
}
"""By suffix; a licence has none. A file of any other kind is not served."""

PACKED = (".woff2",)
"""Compressed already."""

FOR_EVER = "public, max-age=31536000, immutable"
"""A year, as long as caches go: what is at an address with a digest in it never changes."""

ASK_AGAIN = "no-cache"
"""For an address of another version: a replica that is being replaced answers with what it has, for now."""

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class File:
    """One file, ready to be sent."""

    content: bytes
    gzipped: bytes
    """Empty where that would be no smaller."""
    media_type: str
    digest: str


@dataclass(frozen=True)
class Files:
    """All files by their paths, and the version that they are together."""

    by_path: dict[str, File]
    version: str


@cache
def loaded() -> Files:
    """What is in the folder `static`, read once."""
    by_path = {path: _ready(path, content) for path, content in sorted(_read(files(__package__) / "static"))}
    whole = hashlib.sha256("".join(f"{path} {file.digest}\n" for path, file in by_path.items()).encode())
    return Files(by_path, whole.hexdigest()[:12])


def static_url(path: str) -> str:
    """The address of a file, for templates. Raises `LookupError` if there is none: a page would miss it silently."""
    if path not in loaded().by_path:
        raise LookupError(f"there is no static file {path!r}")
    return f"/static/{loaded().version}/{path}"


@router.get("/static/{version}/{path:path}")
async def static_file(request: Request, version: str, path: str) -> Response:
    """One file, as the browser takes it, or that it has it already."""
    file = loaded().by_path.get(path)
    if file is None:
        raise HTTPException(404)
    packed = bool(file.gzipped) and accepts_gzip(request)
    headers = _headers(file, packed, is_ours=version == loaded().version)
    if headers["ETag"] in _known(request):
        return Response(status_code=304, headers=headers)
    if packed:
        headers["Content-Encoding"] = "gzip"
    return Response(file.gzipped if packed else file.content, headers=headers, media_type=file.media_type)


def _headers(file: File, packed: bool, *, is_ours: bool) -> dict[str, str]:
    return {
        "Cache-Control": FOR_EVER if is_ours else ASK_AGAIN,
        "ETag": f'"{file.digest}-gzip"' if packed else f'"{file.digest}"',
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }


def _known(request: Request) -> set[str]:
    """The tags that the browser has; a proxy may have made them weak."""
    listed = request.headers.get("if-none-match", "").split(",")
    return {tag.strip().removeprefix("W/") for tag in listed}


def _read(folder: Traversable, below: str = "") -> list[tuple[str, bytes]]:
    found = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _read(entry, f"{below}{entry.name}/")
        elif _suffix(entry.name) in TYPES:
            found.append((below + entry.name, entry.read_bytes()))
    return found


def _ready(path: str, content: bytes) -> File:
    gzipped = b"" if _suffix(path) in PACKED else gzip.compress(content, 9, mtime=0)
    smaller = gzipped if len(gzipped) < len(content) else b""
    return File(content, smaller, TYPES[_suffix(path)], hashlib.sha256(content).hexdigest()[:20])


def _suffix(name: str) -> str:
    _, dot, suffix = name.rpartition("/")[2].rpartition(".")
    return dot + suffix if dot else ""
