"""`Client` and `AsyncClient` on a real service: a lease is kept, told when it is lost, and outlives restarts."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import trustme

from picluster import (
    AsyncClient,
    Client,
    Held,
    LeaseLost,
    NotAuthenticated,
    NotFound,
    Unavailable,
    WaitedTooLong,
)
from picluster.client import flows
from picluster.client.flows import PERHAPS_HELD, News, Pause, Step, leasing
from picluster.wire import LeaseRequest
from tests.client.conftest import BRISK, boards
from tests.client.stub import http, nowhere, stub
from tests.service import ADMIN, PATIENCE_S, ServiceProcess, on_sqlite, service, until


@pytest.fixture
def client(pool: ServiceProcess) -> Iterator[Client]:
    with Client(pool.address, ADMIN) as asking:
        yield asking


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases are renewed some times a second."""
    monkeypatch.setattr(leasing, "RENEW_SHARE", 0.005)


def waits(pool: ServiceProcess, holder: str = "admin") -> bool:
    return holder in [lease["holder"] for lease in pool.get("/api/v1/queue").json()]


def lease_on(pool: ServiceProcess, name: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = pool.get(f"/api/v1/machines/{name}").json()["lease"]
    return found


# Asking, holding, giving back


def test_a_block_has_a_machine_for_its_time(pool: ServiceProcess, client: Client) -> None:
    (name,) = boards(pool)
    with client.lease(name, job="nightly") as lease:
        assert (lease.machine.name, lease.machine.address) == (name, f"{name}.lab")
        shown = lease_on(pool, name)
        assert shown and (shown["job"], shown["fence"]) == ("nightly", lease.fence)
    assert lease_on(pool, name) is None


def test_the_same_with_await(pool: ServiceProcess) -> None:
    (name,) = boards(pool)

    async def story() -> None:
        async with AsyncClient(pool.address, ADMIN) as cluster:
            async with cluster.lease(name, job="nightly") as lease:
                assert lease.machine.name == name
                assert (await cluster.machine(name)).lease is not None
                with pytest.raises(Held):
                    async with cluster.lease(name, queue=False):
                        pass
            assert (await cluster.machine(name)).lease is None
            assert [one.name for one in await cluster.machines(name)] == [name]
            assert (await cluster.explain(name)).matching == 1
            assert (await cluster.amend(name, comment="new fan")).comment == "new fan"
            token = await cluster.make_token("eve", role="viewer")
            assert (await cluster.revoke_token(token.id)).revoked
            assert token.id in [one.id for one in await cluster.tokens()]
            assert (await cluster.history(1, kind="lease.ended"))[0].machine == name
            assert await cluster.queue() == []
            assert (await cluster.leases(machine=name))[-1].ended == "released"
            await cluster.forget(name)
            with pytest.raises(NotFound):
                await cluster.machine(name)

    asyncio.run(story())


def test_ten_threads_share_one_client(pool: ServiceProcess, client: Client) -> None:
    names = boards(pool, 10)
    together = threading.Barrier(10)

    def take(number: int) -> str:
        with client.lease(f"{names[0][:-1]}*", job=str(number)) as lease:
            together.wait(PATIENCE_S)
            return lease.machine.name

    with ThreadPoolExecutor(10) as threads:
        assert sorted(threads.map(take, range(10))) == sorted(names)


def test_several_machines_in_one_lease(pool: ServiceProcess, client: Client) -> None:
    names = boards(pool, 2)
    with client.lease(f"{names[0][:-1]}*", count=2) as lease:
        assert sorted(machine.name for machine in lease.machines) == names


def test_a_lease_by_hand(pool: ServiceProcess, client: Client) -> None:
    """Locked without a thread, extended, given back with the verdict; repeating is the same answer."""
    (name,) = boards(pool)
    lease = client.acquire(LeaseRequest(name, ttl_s=3.0), renewing=False)
    assert client.renew(lease.id, ttl_s=600).ttl_s == 600
    assert lease.release(wait_s=1).ended == "released"
    assert client.release(lease.id).ended == "released"
    with client.acquire(LeaseRequest(name)) as again:
        assert again.fence > lease.fence
    assert lease_on(pool, name) is None


def test_who_does_not_want_to_wait_is_told_who_has_it(pool: ServiceProcess, client: Client) -> None:
    (name,) = boards(pool)
    with client.lease(name, job="nightly"):
        with (
            pytest.raises(Held, match=f"{name} is held by admin for 'nightly'"),
            client.lease(name, queue=False),
        ):
            pass
        with pytest.raises(WaitedTooLong), client.lease(name, timeout_s=0.1):
            pass
        assert not waits(pool)


def test_who_waits_is_told_at_once(pool: ServiceProcess, client: Client) -> None:
    (name,) = boards(pool)
    told: list[Step] = []
    with (
        client.lease(name),
        pytest.raises(WaitedTooLong),
        client.lease(name, timeout_s=0.3, watch=told.append),
    ):
        pass
    assert isinstance(told[0], News) and told[0].lease.state == "waiting" and told[0].lease.why_waiting


def test_whoever_is_stopped_when_the_machine_has_just_come_leaves_nothing(
    pool: ServiceProcess, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Starting the thread that renews takes long enough for a Ctrl-C."""
    (name,) = boards(pool)

    def stopped(thread: threading.Thread) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", stopped)
        with pytest.raises(KeyboardInterrupt), client.lease(name):
            pass
    assert client.machine(name).lease is None


@pytest.mark.parametrize("stopped", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_whoever_stops_waiting_leaves_the_queue(
    pool: ServiceProcess, client: Client, stopped: type[BaseException]
) -> None:
    (name,) = boards(pool)

    def stop(step: Step) -> None:
        assert waits(pool)
        raise stopped

    with client.lease(name), pytest.raises(stopped), client.lease(name, watch=stop):
        pass
    assert not waits(pool)


def test_who_is_cancelled_leaves_the_queue(pool: ServiceProcess) -> None:
    (name,) = boards(pool)

    async def story() -> None:
        async with AsyncClient(pool.address, ADMIN) as cluster, cluster.lease(name):

            async def wait() -> None:
                async with cluster.lease(name):
                    pass

            waiting = asyncio.create_task(wait())
            await asyncio.to_thread(until, lambda: waits(pool))
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert await cluster.queue() == []

    asyncio.run(story())


# Lost


def test_the_owner_is_told_when_a_lease_is_lost(pool: ServiceProcess, client: Client, often: None) -> None:
    (name,) = boards(pool)
    told: list[LeaseLost] = []
    heard = threading.Event()

    def block() -> None:
        with client.lease(name) as lease:
            lease.on_lost += [told.append, lambda lost: heard.set()]
            lease.check()
            pool.send("DELETE", f"/api/v1/leases/{lease.id}?reason=urgent")
            assert heard.wait(PATIENCE_S)
            assert lease.lost is told[0]
            with pytest.raises(LeaseLost):
                lease.check()

    with pytest.raises(LeaseLost, match="The lease has ended"):
        block()


def test_a_lost_lease_cancels_the_block_that_it_was_for(pool: ServiceProcess, often: None) -> None:
    (name,) = boards(pool)

    async def story() -> None:
        async with AsyncClient(pool.address, ADMIN) as cluster, cluster.lease(name) as lease:
            await cluster.release(lease.id, "urgent")
            await asyncio.sleep(PATIENCE_S)

    with pytest.raises(LeaseLost):
        asyncio.run(asyncio.wait_for(story(), PATIENCE_S / 2))


def test_a_lease_that_was_lost_unnoticed_is_told_at_the_end(pool: ServiceProcess) -> None:
    """As of a process that slept past its ttl: nobody renewed in between, and the block is over at once."""
    (name,) = boards(pool)

    def taken_back(lease_id: str) -> None:
        operator = pool.send("POST", "/api/v1/tokens", {"name": "op", "role": "operator"}).json()["token"]
        assert (
            pool.send("DELETE", f"/api/v1/leases/{lease_id}?reason=urgent", token=operator).status_code == 200
        )

    async def story() -> None:
        async with AsyncClient(pool.address, ADMIN) as cluster, cluster.lease(name) as lease:
            await asyncio.to_thread(taken_back, lease.id)

    def block() -> None:
        with Client(pool.address, ADMIN) as cluster, cluster.lease(name) as lease:
            taken_back(lease.id)

    with pytest.raises(LeaseLost, match="taken back by op"):
        block()
    with pytest.raises(LeaseLost, match="taken back by op"):
        asyncio.run(story())


def test_an_error_in_the_block_is_worth_more_and_keeps_its_cause(pool: ServiceProcess, often: None) -> None:
    (name,) = boards(pool)
    cause = KeyError("why")

    async def story() -> None:
        async with AsyncClient(pool.address, ADMIN) as cluster, cluster.lease(name):
            raise ValueError("broken") from cause

    with pytest.raises(ValueError, match="broken") as broken:
        asyncio.run(story())
    assert broken.value.__cause__ is cause

    def block() -> None:
        with Client(pool.address, ADMIN) as cluster, cluster.lease(name) as lease:
            pool.send("DELETE", f"/api/v1/leases/{lease.id}?reason=urgent")
            until(lambda: lease.lost)
            raise ValueError("broken") from cause

    with pytest.raises(ValueError, match="broken") as broken:
        block()
    assert broken.value.__cause__ is cause
    assert lease_on(pool, name) is None


def test_a_revoked_token_is_a_lost_lease(pool: ServiceProcess, client: Client, often: None) -> None:
    (name,) = boards(pool)
    token = client.make_token(f"user of {name}")
    with Client(pool.address, token.token) as other:
        lease = other.acquire(LeaseRequest(name))
        client.revoke_token(token.id)
        until(lambda: lease.lost)
        assert "cannot be renewed any more" in str(lease.lost)
        lease.stop_renewing()


def test_a_client_that_was_closed_loses_its_leases_and_says_so(pool: ServiceProcess, often: None) -> None:
    (name,) = boards(pool)
    with Client(pool.address, ADMIN) as closing:
        lease = closing.acquire(LeaseRequest(name))
    until(lambda: lease.lost)


# Restarts, and who dies


UMLAUTS = "schlüssel"
"""A shared key that people chose."""


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with service(*on_sqlite(tmp_path_factory.mktemp("victim")), RPI_APIKEY=UMLAUTS, **BRISK) as running:
        yield running


@pytest.fixture
def own(victim: ServiceProcess) -> ServiceProcess:
    """A service to be killed."""
    if victim.process.poll() is not None:
        victim.start()
    return victim


def test_a_restart_costs_a_holder_nothing(own: ServiceProcess, often: None) -> None:
    """Killed and started again: the same lease, the same fence, renewed on; with `await` too."""
    one, two = boards(own, 2, key=UMLAUTS)

    def renewed(now: Callable[[], object]) -> None:
        before = now()
        until(lambda: now() is not before)

    async def also() -> None:
        async with AsyncClient(own.address, ADMIN) as cluster, cluster.lease(two) as lease:
            fence = lease.fence
            in_use.set()
            await asyncio.to_thread(restarted.wait, PATIENCE_S)
            before = lease.answer
            await asyncio.to_thread(until, lambda: lease.answer is not before)
            assert lease.fence == fence

    in_use, restarted = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as threads, Client(own.address, ADMIN) as client, client.lease(one) as lease:
        other = threads.submit(asyncio.run, also())
        try:
            assert in_use.wait(PATIENCE_S)
            fence = lease.fence
            own.kill()
            own.start()
            renewed(lambda: lease.answer)
        finally:
            restarted.set()
        other.result(PATIENCE_S)
        lease.check()
        shown = lease_on(own, one)
        assert shown and (shown["id"], shown["fence"]) == (lease.id, fence)


def test_a_restart_costs_a_waiter_nothing(own: ServiceProcess) -> None:
    """It keeps its place, and gets the machine when its turn comes."""
    (name,) = boards(own, key=UMLAUTS)
    trouble: list[Step] = []
    lease_id = str(uuid.uuid4())
    with ThreadPoolExecutor(1) as threads, Client(own.address, ADMIN) as client:
        held = client.acquire(LeaseRequest(name, ttl_s=None), renewing=False)
        waiting = threads.submit(client.acquire, LeaseRequest(name), lease_id=lease_id, watch=trouble.append)
        until(lambda: waits(own))
        before = own.get("/api/v1/queue").json()[0]["place"]
        own.kill()
        until(lambda: any(isinstance(step, Pause) for step in trouble))
        own.start()
        after = own.get("/api/v1/queue").json()[0]
        assert (after["id"], after["place"]) == (lease_id, before)
        held.release()
        lease = waiting.result(PATIENCE_S)
        assert (lease.id, lease.machine.name) == (lease_id, name)
        assert lease.fence > held.fence
        lease.release()


def test_a_dead_replica_costs_nothing(pool: ServiceProcess) -> None:
    """The first address refuses: asking, holding, and leaving the queue go to the second."""
    (name,) = boards(pool)

    def stop(step: Step) -> None:
        if isinstance(step, News):
            raise KeyboardInterrupt

    both = f"{nowhere()},{pool.address}"
    with Client(both, ADMIN) as cluster, cluster.lease(name) as lease:
        assert lease.machine.name == name
        with Client(both, ADMIN) as other, pytest.raises(KeyboardInterrupt), other.lease(name, watch=stop):
            pass
        assert not waits(pool)
        assert cluster.session.address == pool.address


def test_an_address_that_is_something_else_is_passed_over(pool: ServiceProcess) -> None:
    page = http(b"<html>It works!</html>", kind="text/html")
    with stub(page) as other, Client(f"{other.address},{pool.address}", ADMIN) as cluster:
        assert cluster.whoami().name == "admin"


def test_a_killed_script_leaves_nothing_locked_for_long(pool: ServiceProcess) -> None:
    """It holds for longer than its ttl, since it renews; after `kill -9` the machine is free again by itself."""
    (name,) = boards(pool)
    script = f"""
import time
from picluster import Client
with Client({pool.address!r}, {ADMIN!r}) as cluster, cluster.lease({name!r}, ttl=3) as lease:
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script]) as child:
        try:
            until(lambda: lease_on(pool, name))
            started = pool.get("/api/v1/whoami").json()["service_s"]
            until(lambda: pool.get("/api/v1/whoami").json()["service_s"] > started + 3.6)
            assert lease_on(pool, name)
        finally:
            child.kill()
    until(lambda: pool.get(f"/api/v1/machines/{name}").json()["state"] == "free")
    ended = pool.get(f"/api/v1/history?machine={name}&kind=lease.ended").json()[0]
    assert ended["detail"]["why"] == "expired"


def test_the_end_of_a_block_does_not_hang_on_a_dead_service(own: ServiceProcess) -> None:
    """The error of the block is what its owner sees; the lease runs out by itself."""
    (name,) = boards(own, key=UMLAUTS)

    def block() -> None:
        with Client(own.address, ADMIN, patience_s=0.1) as client, client.lease(name):
            own.kill()
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        block()


# Bad answers


GARBAGE = {
    "nothing": b"",
    "no http": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a page": http(b"<html>Welcome</html>", kind="text/html"),
    "half a body": http(b'{"name": "ad', length=500),
    "half an object": http(b'{"name": "ad'),
    "half a header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "another object": http(b'{"name": "admin"}'),
    "a list": http(b"[]"),
    "another's error": http(b'{"detail": "Not Found"}', "404 Not Found"),
    "a gateway's error": http(b"<html>502</html>", "502 Bad Gateway", "text/html"),
    "no text": http(b"\xff\xfe\x00"),
    "an old error": http(b'{"error": "api key mismatch"}'),
}


@pytest.mark.parametrize("reply", GARBAGE.values(), ids=GARBAGE)
def test_whatever_answers_the_error_is_one_of_ours(reply: bytes) -> None:
    with stub(reply) as other, Client(other.address, "token", patience_s=0.0) as client:
        for ask in (client.whoami, client.machines, client.ready):
            if (reply, ask) == (GARBAGE["a list"], client.machines):
                continue  # which is what an empty pool answers
            with pytest.raises(Unavailable) as stopped:
                ask()
            assert len(str(stopped.value).splitlines()) == 1 and stopped.value.hint
        with pytest.raises(Unavailable):
            next(client.events())


def test_who_may_hold_something_without_knowing_is_told() -> None:
    """The question may have arrived, and nothing can be taken back; where it was never sent, nothing is said."""
    with stub(b"") as other, Client(other.address, ADMIN, patience_s=0.0) as client:
        with pytest.raises(Unavailable) as stopped:
            client.acquire(LeaseRequest())
        assert stopped.value.hint
    assert stopped.value.__notes__ == [PERHAPS_HELD]
    assert [line.split()[0] for line in other.asked] == [b"PUT", b"DELETE"]
    with Client(nowhere(), ADMIN, patience_s=0.0) as client, pytest.raises(Unavailable) as stopped:
        client.acquire(LeaseRequest())
    assert not hasattr(stopped.value, "__notes__")

    async def story() -> None:
        with stub(b"") as other:
            async with AsyncClient(other.address, ADMIN, patience_s=0.0) as client, client.lease("pi-1"):
                pass

    with pytest.raises(Unavailable) as stopped:
        asyncio.run(story())
    assert stopped.value.__notes__ == [PERHAPS_HELD]


@pytest.mark.parametrize(
    "address", ["http://a..b", "http://" + "a" * 64, "http://nobody.invalid", "https://127.0.0.1:9"]
)
def test_an_address_without_a_service_is_unavailable(address: str) -> None:
    with Client(address, patience_s=0.0) as client, pytest.raises(Unavailable, match="No answer from"):
        client.whoami()

    async def story() -> None:
        async with AsyncClient(address, patience_s=0.0) as client:
            await client.whoami()

    with pytest.raises(Unavailable, match="No answer from"):
        asyncio.run(story())


def test_a_key_with_an_umlaut_opens_the_old_door(own: ServiceProcess) -> None:
    with Client(own.address, UMLAUTS, "jörg 🍓 ") as client:
        assert client.whoami().name == "legacy:jörg 🍓 "
    with Client(own.address, "schlussel", "jörg") as client, pytest.raises(NotAuthenticated):
        client.whoami()


# Following


def test_a_stream_is_resumed_where_it_broke(own: ServiceProcess) -> None:
    """What happens while the service is away and after it is told once, and nothing twice."""
    (name,) = boards(own, key=UMLAUTS)
    seen: list[tuple[str, str]] = []

    def watch() -> None:
        with Client(own.address, ADMIN) as follow:
            for kind, row in follow.events():
                seen.append((kind, str(row.get("state", ""))))
                if row.get("state") == "ended":
                    return

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    until(lambda: ("hello", "") in seen)
    with Client(own.address, ADMIN) as client, client.lease(name):
        until(lambda: ("lease", "held") in seen)
        own.kill()
        own.start()
    watching.join(PATIENCE_S)
    assert seen.count(("hello", "")) == 1
    assert [state for kind, state in seen if kind == "lease"] == ["held", "ended"]


def test_an_awaited_stream_tells_the_same(pool: ServiceProcess) -> None:
    (name,) = boards(pool)

    async def story() -> list[str]:
        states: list[str] = []
        async with AsyncClient(pool.address, ADMIN) as client:
            async for kind, row in client.events():
                if kind == "hello":
                    async with client.lease(name):
                        pass
                elif kind == "lease":
                    states.append(row["state"])
                    if row["state"] == "ended":
                        break
        return states

    assert asyncio.run(story())[-1] == "ended"


def test_a_refused_awaited_stream_says_why(pool: ServiceProcess) -> None:
    async def story() -> None:
        async with AsyncClient(pool.address, "wrong") as client:
            await anext(client.events())

    with pytest.raises(NotAuthenticated):
        asyncio.run(story())


def test_a_refused_stream_says_why(pool: ServiceProcess) -> None:
    with Client(pool.address, "wrong") as client, pytest.raises(NotAuthenticated):
        next(client.events())


def test_a_full_disk_of_the_reader_is_not_the_services_silence(pool: ServiceProcess, client: Client) -> None:
    def write() -> None:
        with client.stream("/api/v1/machines") as pieces:
            assert b"".join(pieces)
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write()


# Everywhere


def test_client_and_commands_need_nothing_that_only_linux_has() -> None:
    """As on Windows: imported with the modules missing that only POSIX has."""
    script = """
import pkgutil, sys
for name in ("fcntl", "pwd", "grp", "termios", "resource", "tty", "pty"):
    sys.modules[name] = None
from importlib import import_module
import picluster.client, picluster.cli
others = ("serve", "demo", "backups", "running")  # of the server; and with asyncssh, which asks which system it is on
for package in (picluster.client, picluster.cli):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if module.name.removeprefix("picluster.cli.") not in others:
            import_module(module.name)
from picluster.client.where import user_name
assert user_name()
import rich.console, rich.status, rich.table
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=PATIENCE_S)


def test_every_public_name_can_be_had() -> None:
    import picluster

    for name in picluster.__all__:
        assert getattr(picluster, name).__name__ == name
    with pytest.raises(AttributeError):
        getattr(picluster, "nothing")  # noqa: B009


def test_a_certificate_that_nobody_vouches_for_is_told_at_once() -> None:
    """Waiting does not make it any better."""
    context, steps = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), list[Step]()
    trustme.CA().issue_cert("localhost").configure_cert(context)
    plain = socket.create_server(("127.0.0.1", 0))
    address = f"https://localhost:{plain.getsockname()[1]}"
    listener = context.wrap_socket(plain, server_side=True)
    listener.settimeout(PATIENCE_S)
    with listener, ThreadPoolExecutor(1) as threads, Client(address) as client:
        greeted = threads.submit(greet, listener)
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            client.run(flows.whoami(client.session), steps.append)
        greeted.result(PATIENCE_S)
    assert not [step for step in steps if isinstance(step, Pause)]


def greet(listener: ssl.SSLSocket) -> None:
    """One caller, who hangs up as soon as it has seen who answers."""
    with pytest.raises(ssl.SSLError):
        listener.accept()
