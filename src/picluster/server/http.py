"""Small HTTP: bodies with a limit, JSON in and out, errors in one form, for the calls that run thousands a second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
from starlette.types import Message, Receive, Scope, Send

from picluster.errors import PiclusterError

LARGEST_BODY = 64 * 1024
"""No honest request is larger: 4 keys, a 16 KiB selector and an 8 KiB job fit twice."""

Hot = Callable[[Scope, Receive, Send], Awaitable[None]]

_JSON = (b"content-type", b"application/json")


class BodyTooLarge(PiclusterError):
    """The body is larger than 64 KiB."""

    code = "too_large"
    status = 413


async def read_body(receive: Receive) -> bytes:
    """The whole body. Raises `BodyTooLarge` as soon as it is."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if len(body) > LARGEST_BODY:
            raise BodyTooLarge(hint=f"At most {LARGEST_BODY} bytes are read.")
        return body
    parts, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > LARGEST_BODY:
            raise BodyTooLarge(hint=f"At most {LARGEST_BODY} bytes are read.")
    return b"".join(parts)


async def send_json(
    send: Send, body: bytes, status: int = 200, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """One answer. `body` is JSON already."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [_JSON, length, *headers]})
    await send({"type": "http.response.body", "body": body})


def error_body(error: PiclusterError) -> bytes:
    """`{"error": {"code", "message", "hint", …}}`"""
    return msgspec.json.encode({"error": error.as_json()})


def error_headers(error: PiclusterError) -> dict[str, str]:
    """What tells a client when to come back, or how to log in."""
    if error.status in (429, 503):
        return {"Retry-After": "60" if error.status == 429 else "1"}
    return {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}


async def send_error(send: Send, error: PiclusterError) -> None:
    headers = [(key.lower().encode(), value.encode()) for key, value in error_headers(error).items()]
    await send_json(send, error_body(error), error.status, headers)


async def without_body(app: Hot, scope: Scope, receive: Receive, send: Send) -> None:
    """What HEAD asks for: the beginning of what GET would answer. The rest is not made, or a stream would never end."""

    async def head(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body"})
            answering.cancel()

    answering = asyncio.ensure_future(app({**scope, "method": "GET"}, receive, head))
    try:
        await asyncio.wait([answering])
    finally:
        answering.cancel()
    if not answering.cancelled():
        answering.result()


def header(scope: Scope, name: bytes) -> str:
    """A request header as text; empty when it is missing."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return ""


def client_address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def encode(answer: Any) -> bytes:
    """JSON of a dataclass, list or mapping."""
    return msgspec.json.encode(answer)
