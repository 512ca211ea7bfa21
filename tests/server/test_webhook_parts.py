"""What webhooks are made of: what is worth telling, how it is written and signed, where it may go, and for how long."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from picluster.errors import Malformed
from picluster.pool.model import Attempt, Event, Webhook
from picluster.server.sentences import ENDINGS
from picluster.server.settings import Settings
from picluster.server.webhooks import messages, patience
from picluster.server.webhooks.courier import CLAIM_SPARE_S
from picluster.server.webhooks.making import host_of
from picluster.server.webhooks.messages import (
    MANNERS,
    MOST_LINES,
    News,
    new_secret,
    numbered,
    request,
    signature_headers,
)
from picluster.server.webhooks.notices import KINDS, NOTICES, notice_of, told_to
from picluster.server.webhooks.patience import is_over, pause_s, refusals_in_a_row
from picluster.server.webhooks.post import LONGEST_OUTCOME, Outcome, Post, blotted
from picluster.server.webhooks.reach import Networks, NotAllowedThere, allowed, checked_url
from picluster.wire import WebhookRequest
from tests.server.receiver import HANG, Receiver, receiver

ROOT = Path(__file__).parent.parent.parent
DAY_S = 86_400.0


def event(kind: str, revision: int = 7, machine: str = "pi-1", **detail: Any) -> Event:
    return Event(revision, 1, 1_700_000_000_000_000, kind, "op", machine=machine, holder="ann", detail=detail)


# What is told


def test_what_can_be_chosen_is_the_same_at_both_ends() -> None:
    assert tuple(NOTICES) == WebhookRequest.NOTICES
    assert tuple(MANNERS) == WebhookRequest.KINDS


def test_what_can_be_chosen_is_explained() -> None:
    """And so are the numbers that somebody may count on."""
    page = (ROOT / "docs/webhooks.md").read_text()
    assert [name for name in (*NOTICES, *MANNERS) if f"| `{name}` |" not in page] == []
    assert f"up to {MOST_LINES} events" in page and patience.REFUSALS == 4 and "tried four times" in page
    assert patience.LONGEST_PAUSE_S == 300 and "up to five minutes" in page
    assert Settings.model_fields["webhook_timeout_s"].default + CLAIM_SPARE_S == 15 and "after 15 s" in page


@pytest.mark.parametrize(
    ("happened", "notice"),
    [
        (event("machine.offline"), "machine.lost"),
        (event("machine.online"), "machine.back"),
        (event("machine.recovered"), "machine.back"),
        (event("machine.quarantined"), "machine.quarantined"),
        (event("lease.ended", why="expired"), "lease.expired"),
        (event("lease.ended", why="taken_back"), "lease.taken"),
        (event("lease.ended", why="taken_back", machine=""), ""),
        (event("lease.ended", why="released"), ""),
        (event("queue.short", machine=""), "queue.long"),
        (event("machine.amended"), ""),
    ],
)
def test_an_event_is_one_notice_or_none(happened: Event, notice: str) -> None:
    """Who was only waiting has lost nothing; what a holder gave back is no news."""
    assert notice_of(happened) == notice
    assert told_to(happened, ()) == bool(notice)
    assert told_to(happened, (notice,)) == bool(notice)
    assert not told_to(happened, ("lease.nothing",))


def test_every_reason_that_is_told_is_one_that_there_is() -> None:
    told = [why for why in ENDINGS if notice_of(event("lease.ended", why=why))]
    assert sorted(told) == ["evicted", "expired", "machine_lost", "not_after", "taken_back"]
    assert "lease.ended" in KINDS and "lease.held" not in KINDS


# How it is written


def test_the_parts_of_one_revision_have_ids_of_their_own() -> None:
    """That stay the same however often it is read, and whatever else is told."""
    news = numbered([event("a", 5), event("b", 6), event("c", 6), event("d", 8)])
    assert [one.id for one in news] == ["1.5.0", "1.6.0", "1.6.1", "1.8.0"]


def test_a_job_cannot_call_a_chat_room_to_itself() -> None:
    news = [News(event("machine.quarantined", reason="<!channel> & <https://evil.example|click>"))]
    text = MANNERS["slack"].make(news)["text"]
    assert "<" not in text and "&lt;!channel&gt; &amp;" in text


def test_teams_reads_text_and_no_markdown() -> None:
    news = [News(event("machine.quarantined", reason="[click](https://evil.example)"))] * 2
    (card,) = MANNERS["teams"].make(news)["attachments"]
    assert [block["type"] for block in card["content"]["body"]] == ["RichTextBlock"] * 2


def test_a_line_is_a_line() -> None:
    line = News(event("machine.quarantined", reason="a\nb\u202e" + "x" * 1000)).line
    assert "\n" not in line and "\u202e" not in line and len(line) <= messages.LONGEST_LINE


def test_a_program_can_tell_that_it_is_ours() -> None:
    """With the lines that docs/webhooks.md has for it; and nobody who changes anything can."""
    said = re.search(r"```python\n(.*?)```", (ROOT / "docs/webhooks.md").read_text(), re.DOTALL)
    assert said
    exec(said.group(1), space := dict[str, Any]())
    is_ours, secret = space["is_ours"], new_secret()
    now_s = int(space["time"].time())
    headers, body = request("generic", secret, [News(event("machine.offline"))], now_s * 1_000_000)
    assert is_ours(secret, headers, body)
    assert not is_ours(secret, headers, body + b" ")
    assert not is_ours(secret, {**headers, "webhook-id": "1.8.0"}, body)
    assert not is_ours(secret, {**headers, "webhook-timestamp": str(now_s + 1)}, body)
    assert not is_ours(new_secret(), headers, body)
    old, body = request("generic", secret, [News(event("machine.offline"))], (now_s - 600) * 1_000_000)
    assert not is_ours(secret, old, body)


def test_it_is_signed_as_the_specification_says() -> None:
    """The example of Standard Webhooks 1.0."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    headers = signature_headers(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


# For how long


def test_pauses_double_up_to_five_minutes() -> None:
    longest = [pause_s(1.0, failures, 1.0) for failures in range(1, 12)]
    assert longest == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert [pause_s(1.0, failures, 0.0) for failures in (1, 2, 99_999)] == [0.5, 1.0, 150.0]


def test_a_receiver_says_when_to_come_back_within_reason() -> None:
    assert pause_s(1.0, 1, 0.5, asked_s=60.0) == 60.0
    assert pause_s(1.0, 1, 0.5, asked_s=1e9) == patience.LONGEST_PAUSE_S


def test_old_news_are_given_up_and_refused_ones_soon() -> None:
    away, no = Outcome("no answer"), Outcome("404", refused=True)
    assert not is_over(away, 9_999, DAY_S - 1, DAY_S) and is_over(away, 1, DAY_S, DAY_S)
    assert not is_over(no, patience.REFUSALS - 1, 2 * DAY_S, DAY_S) and is_over(
        no, patience.REFUSALS, 0, DAY_S
    )


def test_refusals_are_counted_from_the_last_outage_on() -> None:
    def attempts(newest_first: str) -> list[Attempt]:
        return [Attempt(0, "failed", "news", 1, "said so", refused=how == "r") for how in newest_first]

    assert [refusals_in_a_row(attempts(how)) for how in ("", "a", "rra", "rarr", "rrr")] == [0, 0, 2, 1, 3]


# Where it may go


@pytest.mark.parametrize(
    "address",
    """127.0.0.1 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255
    ::1 :: fe80::1 fe80::1%eth0 fd00::1 ff02::1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 64:ff9b::7f00:1
    64:ff9b::a9fe:a9fe 2002:7f00:1:: 2002:c0a8:101:: 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 ::10.0.0.1 ::7f00:1
    ::ffff:0:127.0.0.1 64:ff9b:1::a00:1 64:ff9b:1:a00:0:100:808:808 fec0::1 168.63.129.16 ::ffff:168.63.129.16
    192.0.0.192 64:ff9b::c000:c0""".split(),
)
def test_no_address_inside_is_reached(address: str) -> None:
    """However it is written: mapped, translated or tunnelled."""
    with pytest.raises(NotAllowedThere, match="private"):
        allowed([address], "hook.example", Networks())


def test_addresses_of_the_internet_are_reached() -> None:
    for address in ("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"):
        assert allowed([address], "hook.example", Networks()) == address


def test_a_name_with_one_bad_address_is_not_reached_at_all() -> None:
    with pytest.raises(NotAllowedThere, match=r"hook.example \(10.0.0.1\)"):
        allowed(["8.8.8.8", "10.0.0.1"], "hook.example", Networks())


def test_networks_can_be_allowed_and_nothing_beside_them() -> None:
    networks = Networks.read("10.20.0.0/16, ::1")
    assert allowed(["10.20.3.4"], "hook", networks) and allowed(["::1"], "hook", networks)
    assert allowed(["::ffff:10.20.3.4"], "hook", networks)
    for outside in ("10.21.0.1", "127.0.0.1", "fd00::1"):
        with pytest.raises(NotAllowedThere):
            allowed([outside], "hook", networks)


def test_a_setting_that_is_no_network_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICLUSTER_WEBHOOK_NETWORKS", "10.0.0.1/8")
    with pytest.raises(Malformed, match=r"PICLUSTER_WEBHOOK_NETWORKS: has what is no network: .*10.0.0.1/8"):
        Settings.load({})


@pytest.mark.parametrize(
    "url",
    [
        *(
            "ftp://a.example/",
            "file:///etc/passwd",
            "a.example/x",
            "https://",
            "",
            "https://a.example:99999/",
        ),
        *(
            "https://ann:secret@a.example/",
            "https://a.example/ x",
            "https://a.example/\n",
            "https://ä.example/",
        ),
        *("https://a.example:0/", "https://[::1", "https://a.example/" + "x" * 3000),
    ],
)
def test_what_cannot_be_posted_to_is_refused(url: str) -> None:
    with pytest.raises(Malformed, match=r"^url: "):
        checked_url(url)


@pytest.mark.parametrize("rest", ["", "/hidden", "?token=hidden", "#hidden"])
def test_what_is_shown_of_an_address_ends_with_its_host(rest: str) -> None:
    assert host_of(Webhook("ci", "generic", f"https://ci.example:8443{rest}")) == "https://ci.example:8443"


# Sending


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


def sent(url: str, networks: str = "127.0.0.0/8", timeout_s: float = 5.0, **more: Any) -> Outcome:
    async def send() -> Outcome:
        post = Post(Networks.read(networks), timeout_s, **more)
        try:
            return await post.send(url, {"Content-Type": "application/json"}, b"{}")
        finally:
            await post.close()

    return asyncio.run(send())


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every name is this machine; and which were asked for."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: str, port: int, *args: Any, **more: Any) -> Any:
        asked.append(str(host))
        return real("127.0.0.1", port, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


def test_a_name_is_looked_up_once_and_that_address_is_connected_to(
    there: Receiver, name_server: list[str]
) -> None:
    """So that it cannot mean something else when it is connected to. The receiver hears the name all the same."""
    port = there.url.rpartition(":")[2]
    assert sent(f"http://hook.example:{port}/in?x=1").arrived
    assert name_server[0] == "hook.example" and set(name_server[1:]) <= {"127.0.0.1"}
    (message,) = there.received
    assert (message.path, message.headers["host"]) == ("/in?x=1", f"hook.example:{port}")


def test_what_is_not_allowed_is_not_connected_to(there: Receiver, name_server: list[str]) -> None:
    port = there.url.rpartition(":")[2]
    for url in (there.url, f"http://hook.example:{port}/"):
        outcome = sent(url, networks="")
        assert outcome.refused and not outcome.arrived and "127.0.0.1" in outcome.text
    assert there.received == []


def test_a_redirect_is_not_followed(there: Receiver) -> None:
    there.mood, there.headers = 302, {"location": f"{there.url}/elsewhere"}
    outcome = sent(there.url)
    assert outcome == Outcome("302", refused=True)
    assert [one.path for one in there.received] == ["/"]


@pytest.mark.parametrize(
    ("status", "refused"), [(500, False), (503, False), (429, False), (408, False), (400, True), (404, True)]
)
def test_no_and_later_are_told_apart(there: Receiver, status: int, refused: bool) -> None:
    there.mood, there.headers = status, {"retry-after": "7"}
    outcome = sent(there.url)
    assert outcome == Outcome(str(status), refused=refused, come_back_s=7.0, said="out of order")
    assert outcome.full == f"{status}: out of order"


def test_a_receiver_that_hangs_has_its_time(there: Receiver) -> None:
    """The time begins with certificates loaded, or it might be over before anything is sent."""
    there.mood, ready = HANG, ssl.create_default_context()
    assert sent(there.url, timeout_s=0.5, trust=lambda: ready) == Outcome("no answer in 0.5 s")
    assert there.received


def test_an_answer_without_an_end_is_not_read_to_its_end(there: Receiver) -> None:
    """Nor shown at length, nor with what would move a terminal's cursor."""
    there.mood, there.says = 500, b"\x1b[2J" + b"x" * 10_000_000
    outcome = sent(there.url)
    assert len(outcome.said) == LONGEST_OUTCOME and "\x1b" not in outcome.said


@pytest.mark.parametrize(
    "said",
    [
        "404 page not found: /services/T0/hidden-word?key=hidden+key",
        "404 page not found: /services/T0/hidden-word",
        '{"path": "\\/services\\/T0\\/hidden-word", "query": {"key": "hidden+key"}}',
        "no such hook: HIDDEN-WORD (hidden key)",
        "<p>/services/T0/hidden-word?key=hidden+key&amp;v=1</p>",
    ],
)
def test_what_an_answer_repeats_of_the_address_is_blotted_out(said: str) -> None:
    """However it writes it."""
    url = "https://hooks.example/services/T0/hidden-word?key=hidden+key&v=1"
    assert "hidden" not in blotted(said, url).lower()


def test_what_an_answer_says_besides_is_left() -> None:
    assert blotted("no_team", "https://hooks.example/in/v1") == "no_team"
    assert blotted("a / b", "https://hooks.example/") == "a / b"


def test_what_is_no_http_is_told_without_what_it_was(there: Receiver) -> None:
    """What came instead may be anything, so it is for admins."""
    with socket.create_server(("127.0.0.1", 0)) as odd:

        def talk() -> None:
            with odd.accept()[0] as visitor:
                visitor.recv(10_000)
                visitor.sendall(b"220 hidden-word ESMTP\r\n")

        threading.Thread(target=talk, daemon=True).start()
        outcome = sent(f"http://127.0.0.1:{odd.getsockname()[1]}/hidden-word")
    assert outcome.text == "no answer that is HTTP" and "hidden" not in outcome.full


def test_a_certificate_is_compared_with_the_name(name_server: list[str]) -> None:
    """Although an address is connected to: the name is what the certificate has to be for."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("hook.example").configure_cert(context)

    def trust() -> ssl.SSLContext:
        client = ssl.create_default_context()
        authority.configure_trust(client)
        return client

    with receiver(context) as there:
        port = there.url.rpartition(":")[2]
        assert sent(f"https://hook.example:{port}/", trust=trust).arrived
        outcome = sent(f"https://other.example:{port}/", trust=trust)
        assert not outcome.arrived and "certificate" in outcome.full.lower()
        assert [one.headers["host"] for one in there.received] == [f"hook.example:{port}"]
