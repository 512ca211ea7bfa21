"""Sending one message: one request, within its time, to an address that was checked; what the receiver answers is looked
at as little as possible."""

from __future__ import annotations

import asyncio
import math
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, unquote_plus, urlsplit

import httpx2

from picluster.server.webhooks.reach import (
    PORTS,
    Networks,
    NotAllowedThere,
    NotReachable,
    checked_url,
    look_up,
    not_inside,
)

LARGEST_ANSWER = 4 * 1024
"""Read of an answer, for whoever looks why it was refused. The rest is not waited for."""

LONGEST_OUTCOME = 200
"""Characters of it that are kept."""

SHORTEST_SECRET = 6
"""Letters of a part of an address that may open something; shorter ones are words, as `in` or `v1`."""

ASKS_TO_COME_BACK = (408, 425, 429)
"""Answers that begin with a 4, and still mean later and not no."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    text: str
    """As everybody may read it: `204`, `500`, `no answer in 10 s`."""
    arrived: bool = False
    refused: bool = False
    """The receiver is there and will not take it, or it may not be asked: waiting alone does not help."""
    come_back_s: float = 0.0
    """When it wants to be asked again, if it says so."""
    said: str = ""
    """What the receiver, or whoever was on the way, said about it: for admins, and without what may be a secret."""

    @property
    def full(self) -> str:
        """As admins read it: `500: out of order`."""
        return in_full(self.text, self.said)


def in_full(text: str, said: str) -> str:
    """What came of it, with what was said about it."""
    return f"{text}: {said}" if said else text


class Post:
    """Sends; one for the whole service."""

    def __init__(
        self,
        networks: Networks,
        timeout_s: float,
        proxy: str = "",
        trust: Callable[[], ssl.SSLContext] = httpx2.create_ssl_context,
    ) -> None:
        self._networks = networks
        self._timeout_s = timeout_s
        self._proxy = proxy or None
        self._trust = trust
        self._client: httpx2.AsyncClient | None = None

    async def send(
        self, url: str, headers: Mapping[str, str], body: bytes, wait_s: float = math.inf
    ) -> Outcome:
        """What came of it, in `wait_s` or less; raises nothing but its own cancellation."""
        longest_s = min(wait_s, self._timeout_s)
        try:
            async with asyncio.timeout(longest_s):
                return await self._send(url, headers, body)
        except TimeoutError:
            return Outcome(f"no answer in {longest_s:g} s")
        except NotReachable as problem:
            return Outcome(problem.message, refused=isinstance(problem, NotAllowedThere))
        except httpx2.ProxyError as problem:
            return Outcome("the proxy does not let it through", said=_short(blotted(str(problem), url)))
        except httpx2.ConnectError as problem:
            return Outcome("no connection", said=_short(blotted(str(problem), url)))
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ssl.SSLError) as problem:
            said = str(problem) or type(problem).__name__
            return Outcome("no answer that is HTTP", said=_short(blotted(said, url)))

    async def where(self, parts: SplitResult) -> str:
        """Whom to ask for: an address that was checked, or, of a proxy, the name. Raises `NotReachable`."""
        host = parts.hostname or ""
        if self._proxy:
            return not_inside(host, self._networks)
        return await look_up(host, parts.port or PORTS[parts.scheme], self._networks)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _send(self, url: str, headers: Mapping[str, str], body: bytes) -> Outcome:
        """To whom was checked, under the name that was asked for: in `Host`, and where TLS compares it."""
        parts = checked_url(url)
        asked = await self.where(parts)
        client = await self._ready()
        request = client.build_request(
            "POST",
            httpx2.URL(url).copy_with(host=asked),
            headers={**headers, "Host": parts.netloc},
            content=body,
            extensions={"sni_hostname": parts.hostname},
        )
        response = await client.send(request, stream=True)
        try:
            return await _outcome(response, url)
        finally:
            await response.aclose()

    async def _ready(self) -> httpx2.AsyncClient:
        """Made when it is needed first, and away from the loop: the system's certificates take a while to load. No
        connection is kept, or one made for one name would be used for another one at the same address; no redirect is
        followed, and no proxy taken from the environment, since nobody has said that it may be trusted."""
        if self._client is None:
            context = await asyncio.to_thread(self._trust)
            self._client = httpx2.AsyncClient(
                verify=context,
                proxy=self._proxy,
                timeout=self._timeout_s,
                follow_redirects=False,
                trust_env=False,
                limits=httpx2.Limits(max_keepalive_connections=0),
                headers={"Accept-Encoding": "identity", "Connection": "close"},
            )
        return self._client


async def _outcome(response: httpx2.Response, url: str) -> Outcome:
    status = response.status_code
    if response.is_success:
        return Outcome(str(status), arrived=True)
    said = _short(blotted(await _beginning(response), url))
    refused = 300 <= status < 500 and status not in ASKS_TO_COME_BACK
    come_back_s = _seconds(response.headers.get("retry-after", ""))
    return Outcome(str(status), refused=refused, come_back_s=come_back_s, said=said)


def blotted(said: str, url: str) -> str:
    """Without what of the address is behind its host: many servers repeat what they were asked (`Cannot POST /…`). Whole,
    and in parts, since it may be quoted, escaped or decoded there."""
    parts = urlsplit(url)
    asked = f"{parts.path}?{parts.query}" if parts.query else parts.path
    pieces = [
        piece for text in (asked, unquote(asked), unquote_plus(asked)) for piece in re.split(r"[/?&=]", text)
    ]
    secrets = {asked, parts.path, *(piece for piece in pieces if len(piece) >= SHORTEST_SECRET)} - {"", "/"}
    longest_first = sorted(secrets, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), "…", said, flags=re.I) if secrets else said


async def _beginning(response: httpx2.Response) -> str:
    said = b""
    async for piece in response.aiter_raw():
        said += piece
        if len(said) >= LARGEST_ANSWER:
            break
    return " ".join(said[:LARGEST_ANSWER].decode(errors="replace").split())


def _seconds(text: str) -> float:
    """Of a `Retry-After`; dates are not worth the trouble."""
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0.0


def _short(text: str) -> str:
    """A line that can be shown and stored."""
    text = "".join(letter if letter.isprintable() else "�" for letter in text)
    return text if len(text) <= LONGEST_OUTCOME else text[: LONGEST_OUTCOME - 1] + "…"
