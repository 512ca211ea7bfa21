"""Webhooks of a lab that reaches the internet only through a proxy: what the proxy looks up, and what is still refused here."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from picluster.errors import Malformed
from picluster.server.described import described
from picluster.server.settings import Settings
from picluster.server.webhooks.post import Outcome, Post
from picluster.server.webhooks.reach import Networks, NotAllowedThere, checked_url
from tests.ports import free_port
from tests.server.forward_proxy import ForwardProxy, forward_proxy
from tests.server.receiver import Receiver, receiver

Way = tuple[ForwardProxy, str]


@pytest.fixture
def way() -> Iterator[Way]:
    """A proxy and its address."""
    with forward_proxy() as running:
        yield running


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture(autouse=True)
def no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """This network has no name server that knows the internet; numbers are understood as ever."""
    real = socket.getaddrinfo

    def look_up(host: Any, *args: Any, **more: Any) -> Any:
        if host not in ("127.0.0.1", b"127.0.0.1"):
            raise AssertionError(f"{host} was looked up here")
        return real(host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def sent(url: str, proxy: str, **more: Any) -> Outcome:
    async def send() -> Outcome:
        post = Post(Networks(), 5.0, proxy, **more)
        try:
            return await post.send(url, {"Content-Type": "application/json"}, b"{}")
        finally:
            await post.close()

    return asyncio.run(send())


def test_the_proxy_looks_up_the_name(there: Receiver, way: Way) -> None:
    """Nobody asks for it here, where nobody would know it."""
    proxy, address = way
    port = there.url.rpartition(":")[2]
    assert sent(f"http://hook.example:{port}/in", address) == Outcome("204", arrived=True)
    assert proxy.asked == [("POST", f"http://hook.example:{port}/in")]
    (message,) = there.received
    assert (message.path, message.headers["host"]) == ("/in", f"hook.example:{port}")


def test_what_is_encrypted_stays_so_through_the_proxy(way: Way) -> None:
    """It sees the host alone, and cannot be another one: the certificate is compared with the name."""
    proxy, address = way
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("hook.example").configure_cert(context)

    def trust() -> ssl.SSLContext:
        client = ssl.create_default_context()
        authority.configure_trust(client)
        return client

    with receiver(context) as there:
        port = there.url.rpartition(":")[2]
        assert sent(f"https://hook.example:{port}/secret-part", address, trust=trust).arrived
        assert "certificate" in sent(f"https://other.example:{port}/", address, trust=trust).full.lower()
        assert [one.path for one in there.received] == ["/secret-part"]
    assert proxy.asked == [("CONNECT", f"{name}.example:{port}") for name in ("hook", "other")]


def test_whoever_has_to_sign_in_to_the_proxy_does(there: Receiver, way: Way) -> None:
    proxy, address = way
    port = there.url.rpartition(":")[2]
    sent(f"http://hook.example:{port}/", address.replace("://", "://lab:word@"))
    assert proxy.signed_in == ["Basic bGFiOndvcmQ="]


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "10.0.0.1", "169.254.169.254", "localhost"),
        *("[::1]", "[::ffff:10.0.0.1]", "[fe80::1]", "metadata.localhost"),
    ],
)
def test_an_address_inside_is_refused_before_the_proxy_hears_of_it(way: Way, host: str) -> None:
    """However it is written; the proxy may stand where such an address means something."""
    proxy, address = way
    outcome = sent(f"http://{host}/", address)
    assert outcome.refused and "private" in outcome.text
    assert proxy.asked == []


def test_what_is_typed_is_checked_in_the_same_way() -> None:
    post = Post(Networks(), 5.0, "http://proxy.example:3128")
    assert asyncio.run(post.where(checked_url("https://hook.example/in"))) == "hook.example"
    with pytest.raises(NotAllowedThere):
        asyncio.run(post.where(checked_url("https://10.0.0.1/in")))


def test_a_proxy_that_says_no_or_is_away_is_no_receiver_that_does(way: Way) -> None:
    """So what waits is kept for as long as for any outage."""
    proxy, address = way
    proxy.refuses = 403
    outcome = sent("https://hook.example/secret-part", address)
    assert (outcome.text, outcome.refused) == ("the proxy does not let it through", False)
    assert "403" in outcome.said and "secret-part" not in outcome.full
    away = sent("https://hook.example/", f"http://127.0.0.1:{free_port()}")
    assert (away.text, away.refused) == ("no connection", False)


@pytest.mark.parametrize(
    "wrong", ["proxy:3128", "https://proxy:3128", "socks5://proxy", "http://", "http://lab:word@"]
)
def test_a_setting_that_is_no_proxy_is_named(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    """Without what may be a password in it."""
    monkeypatch.setenv("PICLUSTER_WEBHOOK_PROXY", wrong)
    with pytest.raises(Malformed, match="PICLUSTER_WEBHOOK_PROXY: must be like http://proxy:3128") as refused:
        Settings.load({})
    assert "word" not in str(refused.value)


def test_nobody_reads_who_signs_in_to_the_proxy() -> None:
    settings = Settings.model_construct(webhook_proxy="http://lab:word@proxy:3128")
    told = {one.variable: one.value for one in described(settings, ()).settings}
    assert told["PICLUSTER_WEBHOOK_PROXY"] is True
