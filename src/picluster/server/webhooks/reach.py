"""Which addresses a webhook may have: those of the internet, and private ones that the operator allows.

Otherwise whoever may make webhooks could make the service ask its neighbours, its own machine or the metadata service of
a cloud for them. A name is looked up once, every address that it has is checked, and one that was checked is connected to:
a name that means something else a moment later (DNS rebinding) leads nowhere. Behind a proxy names are the proxy's to look
up, and to refuse; what is an address by itself is still refused here.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

from picluster.errors import Malformed, PiclusterError
from picluster.wire import LONGEST_URL

PORTS = {"http": 80, "https": 443}

NAT64 = IPv6Network("64:ff9b::/96")
"""A gateway makes IPv4 of it: what counts is the address within."""

UNICAST = IPv6Network("2000::/3")
"""All that is handed out of the internet's IPv6 (RFC 4291, 2.4). Beside it are ways to write IPv4 that a machine or its
gateway may still follow inside, such as `::10.0.0.1`, `::ffff:0:10.0.0.1` and what begins with `64:ff9b:1:`, and addresses
of sites, `fec0::`: Python calls these global."""

HOSTS_OF_CLOUDS = (IPv4Network("168.63.129.16/32"), IPv4Network("192.0.0.0/24"))
"""They look like the internet's, and answer on the spot: Azure's host of a machine, and what IETF protocols keep for
themselves (RFC 6890), where Oracle's cloud has its metadata (192.0.0.192)."""

Address = IPv4Address | IPv6Address


class NotReachable(PiclusterError):
    """The host of a webhook has no address. Never on the wire."""


class NotAllowedThere(NotReachable):
    """The address of a webhook is a private one. Never on the wire."""


@dataclass(frozen=True, slots=True)
class Networks:
    """Private networks that are allowed, as the setting says."""

    allowed: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> Networks:
        """Comma-separated, as `10.0.0.0/8, ::1`. Raises `ValueError` naming what is no network."""
        return cls(tuple(str(ip_network(part.strip())) for part in text.split(",") if part.strip()))

    def allow(self, address: Address) -> bool:
        """Whether it is of the internet, or of a network that the operator allows."""
        real = meant(address)
        return _public(real) or any(
            real in network for network in map(ip_network, self.allowed) if network.version == real.version
        )


def _public(address: Address) -> bool:
    if isinstance(address, IPv6Address):
        return address.is_global and address in UNICAST
    inside = any(address in network for network in HOSTS_OF_CLOUDS)
    return address.is_global and not address.is_multicast and not inside


def meant(address: Address) -> Address:
    """The IPv4 address that one of IPv6 stands for, if it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or address


def checked_url(url: str) -> SplitResult:
    """The parts of a URL that can be posted to. Raises `Malformed` naming what is wrong with it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as problem:
        raise _bad(f"is no address: {problem}") from None
    if parts.scheme not in PORTS or not host:
        raise _bad("must be like https://host/path")
    if parts.username is not None or parts.password is not None:
        raise _bad("must not carry a user name or password")
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url or port == 0:
        raise _bad(
            f"must be at most {LONGEST_URL} letters, digits and signs of a URL, quoted where it needs to be"
        )
    return parts


def _bad(what: str) -> Malformed:
    return Malformed(f"url: {what}", "Copy it from the receiver's own settings.", field="url")


async def look_up(host: str, port: int, networks: Networks) -> str:
    """An address of this host that may be connected to. Raises `NotReachable` when it has none, `NotAllowedThere` when
    any of them is not allowed: a name that means both is a trick or a mistake."""
    try:
        found = await _addresses(host, port)
    except (OSError, UnicodeError) as problem:
        why = getattr(problem, "strerror", None) or "it is no name"
        raise NotReachable(f"{host} has no address: {why}.", "Check the name.") from None
    return allowed(found, host, networks)


def not_inside(host: str, networks: Networks) -> str:
    """This host, for a proxy to look up, unless it says itself that it is inside. Raises `NotAllowedThere`."""
    found = written(host)
    if found is not None:
        allowed([str(found)], host, networks)
    return host


def written(host: str) -> Address | None:
    """The address that a host is without anybody being asked: as `10.0.0.1`, `[::1]`, `127.1`, `2130706433`, `localhost`."""
    if host == "localhost" or host.endswith(".localhost"):
        return IPv4Address("127.0.0.1")  # by RFC 6761, whatever a resolver says
    with suppress(ValueError):
        return ip_address(host.partition("%")[0])
    with suppress(OSError):
        return IPv4Address(socket.inet_aton(host))
    return None


async def _addresses(host: str, port: int) -> list[str]:
    """In a thread of its own, that nobody waits for: a resolver that hangs must neither keep a page from the threads that
    all share, nor the service from ending."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def settle(found: list[str], problem: Exception | None) -> None:
        if not answer.done():
            answer.set_exception(problem) if problem else answer.set_result(found)

    def ask() -> None:
        found: list[str] = []
        problem: Exception | None = None
        try:
            found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except (OSError, UnicodeError) as failed:
            problem = failed
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, found, problem)

    threading.Thread(target=ask, name="look-up", daemon=True).start()
    return await answer


def allowed(found: Sequence[str], host: str, networks: Networks) -> str:
    """The first of these addresses, all of which have to be allowed. Raises `NotAllowedThere`."""
    for text in found:
        if not networks.allow(ip_address(text.partition("%")[0])):
            shown = text if text == host else f"{host} ({text})"
            raise NotAllowedThere(
                f"{shown} is a private address, which webhooks may not reach.",
                "Whoever runs the service allows networks with PICLUSTER_WEBHOOK_NETWORKS.",
            )
    return found[0]
