"""The beat's conversation with services that drop, stall, lie, refuse and come back."""

from __future__ import annotations

import io
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from picluster.agent.http1 import Address, Answer, Broken, Connection
from picluster.agent.link import (
    FIRST_SLOW_PAUSE_S,
    LONGEST_PAUSE_S,
    LONGEST_SLOW_PAUSE_S,
    MARGIN_S,
    Link,
    NoOrders,
    chance,
    jittered,
)
from picluster.agent.log import Log
from picluster.agent.orders import NotOrders, Orders, parse
from tests.agent.stub import ORDERS, PROMISED, Stub, answers, hangs_up, says, stalls, trickles

TOKEN = "pc_agent_1_secret"


def no_tls() -> ssl.SSLContext:
    raise AssertionError("plain HTTP asks for no certificates")


TALKS: list[Talk] = []


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """No connection outlives its test."""
    yield
    while TALKS:
        TALKS.pop().link.close()


class Talk:
    """A link, what it logged, and a clock of its own."""

    def __init__(
        self, *addresses: Address, trust: Callable[[], ssl.SSLContext] = no_tls, **more: Any
    ) -> None:
        TALKS.append(self)
        self.now = 0.0
        self.stream = io.StringIO()
        self.tokens = [TOKEN]
        self.link = Link(
            addresses,
            lambda: self.tokens[-1],
            Log(self.stream),
            trust,
            clock=lambda: self.now,
            chance=lambda: 1.0,
            **more,
        )

    def beat(self, wait_s: float = 0.0) -> Orders:
        return self.link.beat("pi", {"id": "x", "orders": ""}, wait_s)

    def fails(self, wait_s: float = 0.0) -> NoOrders:
        with pytest.raises(NoOrders) as failure:
            self.beat(wait_s)
        return failure.value

    @property
    def log(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@pytest.fixture
def stub() -> Iterator[Stub]:
    with Stub() as running:
        yield running


def nobody() -> Address:
    """An address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        return Address(False, "127.0.0.1", gone.getsockname()[1])


def test_one_beat(stub: Stub) -> None:
    orders = Talk(stub.address).beat(12.5)
    assert (orders.machine, orders.orders, orders.lease) == ("pi", "o1", None)
    [request] = stub.requests
    assert request.line == "POST /api/v1/machines/pi/beat?wait=12.500 HTTP/1.1"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["host"] == stub.address.authority
    assert request.body == {"id": "x", "orders": ""}


def test_beats_share_one_connection(stub: Stub) -> None:
    talk = Talk(stub.address)
    for _ in range(5):
        talk.beat()
    assert (stub.connections, len(stub.requests)) == (1, 5)
    assert talk.link.connected


def test_a_path_before_the_api(stub: Stub) -> None:
    Talk(stub.address._replace(prefix="/lab")).beat()
    assert stub.requests[0].line.startswith("POST /lab/api/v1/")


def test_a_kept_connection_that_the_service_closed_meanwhile_is_no_trouble(stub: Stub) -> None:
    stub.acts = [says(b"", goes_on=False)]
    stub.acts = [answers(), hangs_up, answers()]
    talk = Talk(stub.address)
    talk.beat()
    talk.beat()
    assert (stub.connections, talk.log) == (2, [f"beats at {stub.address}"])


def test_connection_close_is_respected(stub: Stub) -> None:
    stub.acts = [answers(Connection="close")]
    talk = Talk(stub.address)
    talk.beat()
    assert not talk.link.connected


def test_chunks_trailers_and_what_comes_before_an_answer(stub: Stub) -> None:
    body = json.dumps(ORDERS).encode()
    chunks = b"%x;name=value\r\n%s\r\n%x\r\n%s\r\n0\r\nTrailer: x\r\n\r\n" % (
        9,
        body[:9],
        len(body) - 9,
        body[9:],
    )
    early = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    stub.acts = [says(early + b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)]
    talk = Talk(stub.address)
    assert talk.beat() == talk.beat()
    assert stub.connections == 1


def test_an_answer_without_a_length_ends_with_the_connection(stub: Stub) -> None:
    stub.acts = [says(b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps(ORDERS).encode(), goes_on=False)]
    assert Talk(stub.address).beat().machine == "pi"


@pytest.mark.parametrize(
    "act",
    [
        hangs_up,
        says(PROMISED, goes_on=False),
        says(b"SSH-2.0-OpenSSH_9.2\r\n", goes_on=False),
        says(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n"),
        says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n"),
        says(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000),
        answers(body=b"<html>Welcome to the hotel</html>"),
        answers(body=b'{"machine": "pi"'),
        answers(body=[]),
        answers(body={**ORDERS, "fence": "7"}),
        answers(body=b"[" * 100_000),
        answers(status=204, body=b""),
        answers(status=500, body=b"Traceback"),
    ],
    ids=range(15),
)
def test_what_is_no_answer_to_a_beat_is_no_orders_and_the_next_one_works(stub: Stub, act: Any) -> None:
    stub.acts = [act, answers()]
    talk = Talk(stub.address)
    assert talk.fails().pause_s == 1.0
    assert talk.beat().machine == "pi"
    assert talk.log[-1].startswith("beats at ")


def test_a_service_that_stalls_counts_as_dead_after_wait_and_a_margin(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("picluster.agent.link.MARGIN_S", 0.2)
    stub.acts = [stalls(), stalls(PROMISED), trickles(PROMISED * 9, 0.01)]
    for _ in range(3):
        connection = Talk(stub.address)
        began = time.monotonic()
        connection.link._connection._clock = time.monotonic
        assert "no answer in time" in str(connection.fails(wait_s=0.3))
        assert 0.4 < time.monotonic() - began < 3


def test_the_margin_is_three_seconds() -> None:
    asked: list[float] = []

    class Recorder(Connection):
        def post(self, path: str, headers: Any, body: bytes, within_s: float) -> Answer:
            asked.append(within_s)
            return Answer(200, {}, json.dumps(ORDERS).encode())

    Talk(nobody(), connect=lambda address: Recorder(address, no_tls)).beat(25.0)
    assert asked == [25.0 + MARGIN_S] == [28.0]


def test_pauses_grow_up_to_half_a_minute_and_it_never_gives_up() -> None:
    talk = Talk(nobody())
    pauses = [talk.fails().pause_s for _ in range(40)]
    assert pauses[:6] == [1, 2, 4, 8, 16, LONGEST_PAUSE_S]
    assert set(pauses[6:]) == {LONGEST_PAUSE_S}
    assert talk.log == [f"{talk.link.address}: Connection refused"]


def test_pauses_are_jittered_and_waits_too() -> None:
    talk = Talk(nobody())
    talk.link._chance = lambda: 0.0
    assert [talk.fails().pause_s for _ in range(3)] == [0.5, 1, 2]
    assert (jittered(25.0, 0.0), jittered(25.0, 1.0)) == (20.0, 25.0)
    lots = [chance() for _ in range(200)]
    assert all(0 <= lot < 1 for lot in lots) and len(set(lots)) > 100


def test_success_begins_pauses_anew_and_says_how_long_it_was_away(stub: Stub) -> None:
    stub.acts = [answers(), answers(503), answers(503), answers(), answers(503), answers()]
    talk = Talk(stub.address)
    talk.beat()
    talk.fails()
    talk.now += 125
    assert talk.fails().pause_s == 2.0
    talk.beat()
    assert talk.log[-1] == f"beats again, at {stub.address}, after 125 s"
    assert talk.fails().pause_s == 1.0


def test_the_next_address_is_tried_at_once(stub: Stub) -> None:
    first, second = nobody(), nobody()
    talk = Talk(first, second, stub.address)
    assert [talk.fails().pause_s, talk.fails().pause_s] == [0, 0]
    assert talk.beat().machine == "pi"
    assert talk.link.address == stub.address  # and it stays there
    talk.beat()
    assert stub.connections == 1


def test_when_no_address_answers_the_round_is_followed_by_a_pause() -> None:
    talk = Talk(nobody(), nobody())
    assert [talk.fails().pause_s for _ in range(6)] == [0, 1, 0, 2, 0, 4]


def test_a_replica_that_cannot_turn_sends_boards_to_the_next(stub: Stub) -> None:
    with Stub(answers(503, {"error": {"code": "unavailable", "message": "No turn.", "hint": ""}})) as sick:
        talk = Talk(sick.address, stub.address)
        assert talk.fails().pause_s == 0
        assert talk.beat().machine == "pi"


def test_retry_after_is_respected_within_reason(stub: Stub) -> None:
    stub.acts = [answers(429, b"", Retry_After="20"), answers(503, b"", Retry_After="99999")]
    talk = Talk(stub.address)
    assert [talk.fails().pause_s, talk.fails().pause_s] == [20.0, 60.0]


@pytest.mark.parametrize("status", [401, 403, 409, 400, 308])
def test_what_a_person_has_to_put_right_is_said_once_and_retried_slowly(stub: Stub, status: int) -> None:
    error = {"code": "x", "message": "This token is for pi-2.", "hint": "Each board has its own."}
    stub.acts = [answers(status, {"error": error})]
    talk = Talk(stub.address)
    pauses = [talk.fails().pause_s for _ in range(5)]
    if status == 308:
        assert "PICLUSTER_URL" in talk.log[0]
    else:
        assert "This token is for pi-2. Each board has its own." in talk.log[0]
        assert pauses == [FIRST_SLOW_PAUSE_S, 120, 240, LONGEST_SLOW_PAUSE_S, LONGEST_SLOW_PAUSE_S]
    assert len(talk.log) == 1


def test_a_new_token_works_without_a_restart(stub: Stub) -> None:
    stub.acts = [answers(401, b"{}"), answers()]
    talk = Talk(stub.address)
    assert "picluster token create" in str(talk.fails())
    talk.tokens.append("pc_agent_2_other")
    talk.beat()
    assert [request.headers["authorization"] for request in stub.requests] == [
        "Bearer pc_agent_1_secret",
        "Bearer pc_agent_2_other",
    ]


def test_without_a_token_nothing_is_sent_until_there_is_one(stub: Stub) -> None:
    talk = Talk(stub.address)
    talk.tokens.append("")
    assert "no token" in str(talk.fails())
    assert stub.requests == []
    talk.tokens.append(TOKEN)
    assert talk.beat().machine == "pi"


def test_plain_http_to_somewhere_else_is_said_once() -> None:
    elsewhere = Address(False, "198.51.100.1", 1337)

    class Deaf(Connection):
        def post(self, *_: Any) -> Answer:
            raise Broken("no answer in time")

    talk = Talk(elsewhere, connect=lambda address: Deaf(address, no_tls))
    talk.fails()
    talk.fails()
    assert [line for line in talk.log if "not encrypted" in line] == talk.log[:1]


def test_a_trouble_in_the_log_is_one_line_whatever_the_service_says(stub: Stub) -> None:
    stub.acts = [answers(403, {"error": {"message": "no\nFAKE LINE\x1b[2J", "hint": "x" * 5000}})]
    talk = Talk(stub.address)
    talk.fails()
    [line] = talk.log
    assert "\x1b" not in line and len(line) < 500


# TLS


def test_tls(tmp_path: Path) -> None:
    """With the authority that was named; without it, the trouble says what to set."""
    authority = trustme.CA()
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(served)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with Stub(tls=served) as secure:
        talk = Talk(secure.address, trust=lambda: ssl.create_default_context(cafile=str(tmp_path / "ca.pem")))
        talk.beat()
        talk.beat()
        assert secure.connections == 1
        assert talk.log == [f"beats at {secure.address}"]
        stranger = Talk(secure.address, trust=ssl.create_default_context)
        assert "PICLUSTER_CA_FILE" in str(stranger.fails())


# Answers

LEASE = {
    "id": "2f1c9d5e-0000-4000-8000-000000000000",
    "holder": "ann",
    "job": "nightly",
    "fence": 7,
    "expires_in_s": None,
    "on_reboot": "release",
    "ssh_public_keys": ["ssh-ed25519 AAAA ann@desk"],
}


def test_the_lease_in_the_orders() -> None:
    lease = parse(json.dumps({**ORDERS, "fence": 7, "lease": LEASE, "of a later version": 1}).encode()).lease
    assert lease and (lease.fence, lease.holder, lease.keys) == (7, "ann", ("ssh-ed25519 AAAA ann@desk",))


@pytest.mark.parametrize(
    "change",
    [
        {"fence": -1},
        {"fence": 2**63},
        {"fence": True},
        {"fence": 7.5},
        {"expires_in_s": "soon"},
        {"expires_in_s": float("nan")},
        {"holder": None},
        {"ssh_public_keys": ["ssh-ed25519 AAAA\ncommand=root ssh-ed25519 BBBB"]},
        {"ssh_public_keys": "ssh-ed25519 AAAA\n"},
        {"ssh_public_keys": [7]},
        {"ssh_public_keys": None},
    ],
    ids=str,
)
def test_a_lease_that_is_none_is_not_obeyed(change: dict[str, Any]) -> None:
    with pytest.raises(NotOrders):
        parse(json.dumps({**ORDERS, "lease": {**LEASE, **change}}).encode())


@pytest.mark.parametrize(("said", "meant"), [(0, 0.05), (1e9, 3600), (30, 30)])
def test_an_interval_within_reason(said: float, meant: float) -> None:
    assert parse(json.dumps({**ORDERS, "interval_s": said}).encode()).interval_s == meant


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=99) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_comes_is_orders_or_not(body: bytes) -> None:
    try:
        parse(body)
    except NotOrders:
        pass


@given(
    st.dictionaries(st.sampled_from(sorted(LEASE)), JSON),
    st.dictionaries(st.sampled_from(sorted(ORDERS)), JSON),
)
def test_whatever_the_fields_hold(lease: dict[str, Any], orders: dict[str, Any]) -> None:
    try:
        found = parse(json.dumps({**ORDERS, "lease": {**LEASE, **lease}, **orders}).encode())
    except NotOrders:
        return
    assert 0 <= found.fence < 2**63 and found.machine.isprintable()
