"""The client for scripts: flows carried out one step after the other, and leases that a thread keeps alive."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx2

from picluster import __version__
from picluster.client import flows, where
from picluster.client.flows import Answer, Flow, NoAnswer, Pause, Send, Session, Step
from picluster.errors import LeaseLost, Malformed, PiclusterError, Unavailable
from picluster.wire import (
    EventAnswer,
    Explanation,
    LeaseAnswer,
    LeasedMachine,
    LeaseRequest,
    MachineAnswer,
    PersonAnswer,
    PowerAnswer,
    SampleAnswer,
    TokenAnswer,
    WebhookAnswer,
    WebhookTest,
    WhoAmI,
)

T = TypeVar("T")

Watch = Callable[[Step], None]
"""Is told each `News` of a lease, and each `Pause` because nobody answers."""


def nobody(step: Step) -> None:
    """Nobody watches."""


class Client:
    """A pool, for scripts.

        with Client() as cluster:
            with cluster.lease("model:pi5", job="nightly") as lease:
                print(lease.machine.address, lease.fence)

    Which pool, and who asks: the arguments, then `PICLUSTER_URL`, `PICLUSTER_TOKEN` (or `RPI_CLUSTER`,
    `RPI_APIKEY`), then what `picluster login` has stored. Several addresses, with commas, are tried in turn.
    May be used from several threads. Every method raises `PiclusterError`: `Refused` and its kinds when the
    pool says no, `Unavailable` when it did not answer for `patience_s` seconds.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        user: str | None = None,
        *,
        patience_s: float = flows.PATIENCE_S,
        verify: Any = True,
    ) -> None:
        self.session = Session(where.find(url, token, user), patience_s)
        self._http = httpx2.Client(
            verify=trust(self.session, verify),
            headers={"User-Agent": f"picluster/{__version__}"},
            limits=_LIMITS,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Leases that were not given back run out."""
        self._http.close()

    # Reading

    def whoami(self) -> WhoAmI:
        """Who this client is to the service, and which service it is."""
        return self.run(flows.whoami(self.session))

    def ready(self) -> None:
        """Raises unless the present address is a service that takes turns."""
        self.run(flows.ready(self.session))

    def machines(self, q: str = "") -> list[MachineAnswer]:
        """The machines that a selector finds, by name."""
        return self.run(flows.machines(self.session, q))

    def machine(self, name: str) -> MachineAnswer:
        """One machine, by name or address."""
        return self.run(flows.machine(self.session, name))

    def leases(self, state: str = "", holder: str = "", machine: str = "") -> list[LeaseAnswer]:
        """Leases, oldest first; ended ones for a day."""
        return self.run(flows.leases(self.session, state, holder, machine))

    def queue(self) -> list[LeaseAnswer]:
        """Who waits, in order."""
        return self.run(flows.queue(self.session))

    def explain(self, q: str, count: int = 1) -> Explanation:
        """What a selector would get now, machine by machine."""
        return self.run(flows.explain(self.session, q, count))

    def history(self, limit: int = 100, **filters: object) -> list[EventAnswer]:
        """What happened, newest first: `machine`, `holder`, `lease`, `kind`, `since` and `until` (µs since 1970)."""
        return self.run(flows.history(self.session, limit, **filters))

    def events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """What changes, as it changes, for ever: (kind, row), of kinds `hello`, `machine`, `lease`, `resync`.

        A broken stream is resumed where it broke; `resync` says that something may have been missed.
        """
        following = flows.Following(self.session)
        while True:
            try:
                with self.stream(following.path(), following.KIND) as pieces:
                    for piece in pieces:
                        yield from following.feed(piece)
            except (Unavailable, ValueError) as problem:
                following.broke(problem)
            time.sleep(following.pause_s())

    # Leases

    @contextmanager
    def lease(
        self,
        selector: str = "",
        *,
        job: str = "",
        ttl: float | None = 120.0,
        timeout_s: float | None = None,
        watch: Watch = nobody,
        **more: Any,
    ) -> Iterator[Lease]:
        """Wait for machines, keep them for the time of the block, give them back.

        `more` are the other fields of `LeaseRequest`: `count`, `queue`, `priority`, `not_after_s`, `on_reboot`, ….
        Raises `WaitedTooLong` after `timeout_s`, and `LeaseLost` at the end of the block if it was lost in it.
        """
        ask = LeaseRequest(selector=selector, job=job, ttl_s=ttl, **more)
        held = self.acquire(ask, timeout_s=timeout_s, watch=watch)
        try:
            yield held
        finally:
            held.stop_renewing()
            with suppress(PiclusterError):  # it runs out by itself; the block's own error is worth more
                held.lost = held.lost or flows.lost_before(self.release(held.id))
        held.check()

    def acquire(
        self,
        ask: LeaseRequest,
        *,
        lease_id: str = "",
        timeout_s: float | None = None,
        watch: Watch = nobody,
        renewing: bool = True,
    ) -> Lease:
        """Wait for machines; with `renewing`, keep them until `Lease.release`. An exception leaves nothing behind."""
        lease_id = lease_id or str(uuid.uuid4())
        try:
            granted = self.run(flows.acquire(self.session, lease_id, ask, timeout_s), watch)
            # Within, since starting its thread takes long enough to be interrupted.
            return Lease(self, granted, renewing)
        except BaseException as stopped:
            self._give_up(lease_id, stopped)
            raise

    def _give_up(self, lease_id: str, stopped: BaseException) -> None:
        """Leave the queue, unless the pool has said that there is nothing to leave."""
        if not flows.may_be_held(stopped):
            return
        try:
            self.run(flows.release(Session(self.session.where, patience_s=0.0), lease_id))
        except Unavailable:
            stopped.add_note(flows.PERHAPS_HELD)
        except PiclusterError:
            pass  # as when the question never arrived

    def renew(self, lease_id: str, **changes: object) -> LeaseAnswer:
        """Still there; with `ttl_s`, `ssh_public_keys`, `expect_reboot_s`: and from now on like this."""
        return self.run(flows.renew(self.session, lease_id, **changes))  # type: ignore[arg-type]

    def release(self, lease_id: str, reason: str = "", wait_s: float = 0.0) -> LeaseAnswer:
        """Give a lease back; somebody else's, as operator, with a reason. With `wait_s`, wait for the verdict."""
        return self.run(flows.release(self.session, lease_id, reason, wait_s))

    # Changing

    def amend(self, name: str, **changes: object) -> MachineAnswer:
        """`labels` (None removes one), `comment`, `service` with `reason`, `evict`."""
        return self.run(flows.amend(self.session, name, **changes))

    def forget(self, name: str) -> None:
        """A machine leaves the pool."""
        self.run(flows.forget(self.session, name))

    def power(self, name: str, action: str) -> PowerAnswer:
        """Switch a machine `on`, `off` or `cycle` it, by the command that the service has for it."""
        return self.run(flows.power(self.session, name, action))

    def samples(self, name: str, **query: object) -> list[SampleAnswer]:
        """How a board was, oldest first; the last day, unless `since` and `until` (µs) say otherwise."""
        return self.run(flows.samples(self.session, name, **query))

    def tokens(self) -> list[TokenAnswer]:
        """Tokens, without their secrets: all for admins, else one's own."""
        return self.run(flows.tokens(self.session))

    def make_token(self, name: str, **more: object) -> TokenAnswer:
        """A new token: `kind`, `role`, `expires_in_s`. Its text is in this answer and nowhere else."""
        return self.run(flows.make_token(self.session, name=name, **more))

    def revoke_token(self, token_id: str) -> TokenAnswer:
        """It works no more."""
        return self.run(flows.revoke_token(self.session, token_id))

    # People

    def login(self, name: str, password: str, label: str = "") -> TokenAnswer:
        """A personal token for whoever knows the password, good for 90 days. `label` says where it will be kept."""
        return self.run(flows.login(self.session, name, password, label))

    def people(self) -> list[PersonAnswer]:
        """All accounts, by name."""
        return self.run(flows.people(self.session))

    def add_person(self, name: str, **more: object) -> PersonAnswer:
        """A new account: `role`, `password`."""
        return self.run(flows.add_person(self.session, name=name, **more))

    def amend_person(self, name: str, **changes: object) -> PersonAnswer:
        """Change an account: `role`, `password`, `disabled`; one's own password with `current_password`."""
        return self.run(flows.amend_person(self.session, name, **changes))

    def forget_person(self, name: str) -> PersonAnswer:
        """An account ends, with its sessions and personal tokens."""
        return self.run(flows.forget_person(self.session, name))

    def webhooks(self) -> list[WebhookAnswer]:
        """Who outside is told what happens, by name, with the last deliveries."""
        return self.run(flows.webhooks(self.session))

    def add_webhook(self, name: str, url: str, **more: object) -> WebhookAnswer:
        """A new one: `kind`, `notices`. Its `secret` is in this answer and nowhere else."""
        return self.run(flows.add_webhook(self.session, name=name, url=url, **more))

    def amend_webhook(self, name: str, **changes: object) -> WebhookAnswer:
        """Change one: `url`, `notices`, `paused`."""
        return self.run(flows.amend_webhook(self.session, name, **changes))

    def forget_webhook(self, name: str) -> WebhookAnswer:
        """It is told no more."""
        return self.run(flows.forget_webhook(self.session, name))

    def test_webhook(self, name: str) -> WebhookTest:
        """Send it one message now; what came of it."""
        return self.run(flows.test_webhook(self.session, name))

    # Carrying out

    def run(self, flow: Flow[T], watch: Watch = nobody, pause: Callable[[float], object] = time.sleep) -> T:
        """Carry a flow out."""
        answer: Answer | NoAnswer | None = None
        try:
            while True:
                step = flow.send(answer)
                answer = None
                if isinstance(step, Send):
                    answer = self._send(step)
                    continue
                watch(step)
                if isinstance(step, Pause):
                    pause(step.seconds)
        except StopIteration as done:
            result: T = done.value
            return result

    def _send(self, step: Send) -> Answer | NoAnswer:
        try:
            response = self._http.request(
                step.method, step.url, headers=headers(step), content=step.body, timeout=timeout(step)
            )
            return Answer(response.status_code, response.content, retry_after_s(response))
        except UNANSWERED as problem:
            return unanswered(problem, step)

    @contextmanager
    def stream(self, path: str, kind: str = "") -> Iterator[Iterator[bytes]]:
        """A long answer, piece by piece: `GET path` at the present address. Raises the refusal, or `Unavailable`,
        also when the answer is of another content type than `kind`."""
        address = self.session.address
        ask = Send("GET", address + path, self.session.where.headers, None, STREAM_SILENCE_S)
        with ExitStack() as stack:
            with self._answering(address):
                response = stack.enter_context(
                    self._http.stream("GET", ask.url, headers=headers(ask), timeout=timeout(ask))
                )
                if response.status_code != 200:
                    answer = Answer(response.status_code, response.read())
                    raise flows.refusal(address, self.session, answer)
                if not response.headers.get("Content-Type", "").startswith(kind):
                    raise flows.refusal(address, self.session, Answer(200, next(response.iter_bytes(), b"")))
            yield self._pieces(address, response)

    def _pieces(self, address: str, response: httpx2.Response) -> Iterator[bytes]:
        with self._answering(address):
            yield from response.iter_bytes()

    @contextmanager
    def _answering(self, address: str) -> Iterator[None]:
        """Only around what comes from the service: a full disk of whoever reads is not its silence."""
        try:
            yield
        except UNANSWERED as problem:
            self.session.move_on(address)
            raise flows.silence(address, in_words(problem, STREAM_SILENCE_S)) from None


class Lease:
    """Machines that are yours for now. A thread renews; `lost` says if that came to an end."""

    def __init__(self, client: Client, granted: flows.Granted, renewing: bool) -> None:
        self._client = client
        self._granted = granted
        self._answer = granted.lease
        self._done = threading.Event()
        self.lost: LeaseLost | None = None
        """Why it is not yours any more."""
        self.on_lost: list[Callable[[LeaseLost], None]] = []
        """Called from the renewing thread when it is lost: stop what you do on the machines."""
        self._thread = threading.Thread(target=self._keep, name=f"lease {self.id}", daemon=True)
        if renewing:
            self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    @property
    def id(self) -> str:
        return self._answer.id

    @property
    def answer(self) -> LeaseAnswer:
        """As of the last renewal."""
        return self._answer

    @property
    def machines(self) -> tuple[LeasedMachine, ...]:
        return self._answer.machines

    @property
    def machine(self) -> LeasedMachine:
        """The machine, or the first of several."""
        return self._answer.machines[0]

    @property
    def fence(self) -> int:
        """The number of this grant; greater than that of any grant before it."""
        return self._answer.fence

    def check(self) -> None:
        """Raises `LeaseLost` if it is not yours any more."""
        if self.lost is not None:
            raise self.lost

    def stop_renewing(self) -> None:
        """Renew no more; it ends after its ttl."""
        self._done.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=flows.ANSWER_S)

    def release(self, reason: str = "", wait_s: float = 0.0) -> LeaseAnswer:
        """Give the machines back. Repeating is the same answer."""
        self.stop_renewing()
        self._answer = self._client.release(self.id, reason, wait_s)
        return self._answer

    def _keep(self) -> None:
        try:
            self._client.run(flows.keep(self._client.session, self._granted), self._watch, self._pause)
        except _Stopped:
            return
        except LeaseLost as lost:
            self._end(lost)
        except Exception as problem:  # as from a client that was closed: the owner has to know
            self._end(LeaseLost(f"It cannot be renewed any more: {problem}"))

    def _end(self, lost: LeaseLost) -> None:
        if self._done.is_set():
            return
        self.lost = lost
        for tell in self.on_lost:
            tell(lost)

    def _watch(self, step: Step) -> None:
        if isinstance(step, flows.News):
            self._answer = step.lease

    def _pause(self, seconds: float) -> None:
        if self._done.wait(seconds):
            raise _Stopped


class _Stopped(Exception):
    """The lease was given back while it was about to be renewed."""


STREAM_SILENCE_S = 40.0
"""A stream that says nothing for so long is dead: it pings each 15 s."""

_LIMITS = httpx2.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=30.0)


UNANSWERED = (httpx2.HTTPError, httpx2.InvalidURL, OSError, UnicodeError)
"""What says that there was no answer; a host name that cannot be looked up at all is a `UnicodeError`."""


def trust(session: Session, verify: Any) -> Any:
    """Which certificates to trust: reading them takes longer than a whole call, and plain HTTP needs none.

    Raises `Malformed` when the file that is to say so cannot be read.
    """
    if not any(one.startswith("https:") for one in session.where.addresses):
        return False
    try:
        return httpx2.create_ssl_context() if verify is True else verify
    except OSError as problem:
        raise _no_authorities(problem) from None


def _no_authorities(problem: OSError) -> Malformed:
    named = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR") or "this system's authorities"
    return Malformed(
        f"{named} cannot be read: {problem.strerror}.",
        "SSL_CERT_FILE names a PEM file with the authorities that you trust; unset, this system's count.",
        field="SSL_CERT_FILE",
    )


def headers(step: Send) -> dict[bytes, bytes]:
    """With the kind of body that it has. A shared key that people chose may have an umlaut."""
    kind = {"Content-Type": "application/json"} if step.body is not None else {}
    return {name.encode(): value.encode("latin-1") for name, value in {**step.headers, **kind}.items()}


def timeout(step: Send) -> httpx2.Timeout:
    """An answer may be held open for long, a connection is there soon or not at all."""
    return httpx2.Timeout(step.timeout_s, connect=min(step.timeout_s, flows.ANSWER_S))


def retry_after_s(response: httpx2.Response) -> float:
    """What the service asks for, in seconds; 0 when it does not say so in a number."""
    try:
        return max(0.0, min(60.0, float(response.headers.get("Retry-After", "0"))))
    except ValueError:
        return 0.0


def unanswered(problem: Exception, step: Send) -> NoAnswer:
    never = (
        httpx2.ConnectError,
        httpx2.ConnectTimeout,
        httpx2.InvalidURL,
        httpx2.UnsupportedProtocol,
        UnicodeError,
    )
    wrong = (httpx2.InvalidURL, httpx2.UnsupportedProtocol, UnicodeError)
    return NoAnswer(
        in_words(problem, step.timeout_s),
        sent=not isinstance(problem, never),
        for_good=isinstance(problem, wrong) or _is_not_believed(problem),
    )


def _is_not_believed(problem: BaseException | None) -> bool:
    """Whether a certificate is what stands in the way, however deep in what was raised."""
    while problem is not None and not isinstance(problem, ssl.SSLCertVerificationError):
        problem = problem.__cause__ or problem.__context__
    return problem is not None


def in_words(problem: Exception, timeout_s: float) -> str:
    """What went wrong on the way, for people."""
    if isinstance(problem, httpx2.ConnectTimeout):
        return f"no connection within {min(timeout_s, flows.ANSWER_S):.0f} s"
    if isinstance(problem, httpx2.TimeoutException):
        return f"nothing came within {timeout_s:.0f} s"
    if isinstance(problem, UnicodeError):
        return "that is no name of a host"
    return str(problem) or type(problem).__name__


def own_address(url: str) -> str:
    """This computer's address on the way to a service."""
    host = urlsplit(url).hostname or "localhost"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))  # chooses a route, sends nothing
        return str(probe.getsockname()[0])
