"""The same client with `await`; a lease that is lost cancels the block that it was for."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

import httpx2

from picluster import __version__
from picluster.client import flows, where
from picluster.client.flows import Answer, Flow, NoAnswer, Pause, Send, Session, Step
from picluster.client.sync import (
    STREAM_SILENCE_S,
    UNANSWERED,
    Watch,
    headers,
    in_words,
    nobody,
    retry_after_s,
    timeout,
    trust,
    unanswered,
)
from picluster.errors import LeaseLost, PiclusterError, Unavailable
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


class AsyncClient:
    """A pool, for programs with an event loop. See `Client`; every method is awaited."""

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
        self._http = httpx2.AsyncClient(
            verify=trust(self.session, verify), headers={"User-Agent": f"picluster/{__version__}"}
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. Leases that were not given back run out."""
        await self._http.aclose()

    # Reading

    async def whoami(self) -> WhoAmI:
        """Who this client is to the service, and which service it is."""
        return await self.run(flows.whoami(self.session))

    async def machines(self, q: str = "") -> list[MachineAnswer]:
        """The machines that a selector finds, by name."""
        return await self.run(flows.machines(self.session, q))

    async def machine(self, name: str) -> MachineAnswer:
        """One machine, by name or address."""
        return await self.run(flows.machine(self.session, name))

    async def leases(self, state: str = "", holder: str = "", machine: str = "") -> list[LeaseAnswer]:
        """Leases, oldest first; ended ones for a day."""
        return await self.run(flows.leases(self.session, state, holder, machine))

    async def queue(self) -> list[LeaseAnswer]:
        """Who waits, in order."""
        return await self.run(flows.queue(self.session))

    async def explain(self, q: str, count: int = 1) -> Explanation:
        """What a selector would get now, machine by machine."""
        return await self.run(flows.explain(self.session, q, count))

    async def history(self, limit: int = 100, **filters: object) -> list[EventAnswer]:
        """What happened, newest first: `machine`, `holder`, `lease`, `kind`, `since` and `until` (µs since 1970)."""
        return await self.run(flows.history(self.session, limit, **filters))

    async def events(self) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """What changes, as it changes, for ever: (kind, row), of kinds `hello`, `machine`, `lease`, `resync`.

        A broken stream is resumed where it broke; `resync` says that something may have been missed.
        """
        following = flows.Following(self.session)
        while True:
            try:
                async for piece in self._pieces(following.path(), following.KIND):
                    for news in following.feed(piece):
                        yield news
            except (Unavailable, ValueError) as problem:
                following.broke(problem)
            await asyncio.sleep(following.pause_s())

    async def _pieces(self, path: str, kind: str) -> AsyncIterator[bytes]:
        """A long answer, piece by piece. Raises the refusal, or `Unavailable`."""
        address = self.session.address
        ask = Send("GET", address + path, self.session.where.headers, None, STREAM_SILENCE_S)
        try:
            async with self._http.stream(
                "GET", ask.url, headers=headers(ask), timeout=timeout(ask)
            ) as response:
                if response.status_code != 200:
                    answer = Answer(response.status_code, await response.aread())
                    raise flows.refusal(address, self.session, answer)
                if not response.headers.get("Content-Type", "").startswith(kind):
                    first = await anext(response.aiter_bytes(), b"")
                    raise flows.refusal(address, self.session, Answer(200, first))
                async for piece in response.aiter_bytes():
                    yield piece
        except UNANSWERED as problem:
            self.session.move_on(address)
            raise flows.silence(address, in_words(problem, STREAM_SILENCE_S)) from None

    # Leases

    @asynccontextmanager
    async def lease(
        self,
        selector: str = "",
        *,
        job: str = "",
        ttl: float | None = 120.0,
        timeout_s: float | None = None,
        watch: Watch = nobody,
        **more: Any,
    ) -> AsyncIterator[AsyncLease]:
        """Wait for machines, keep them for the time of the block, give them back.

        `more` are the other fields of `LeaseRequest`. A lost lease cancels the block, which then raises `LeaseLost`.
        """
        ask = LeaseRequest(selector=selector, job=job, ttl_s=ttl, **more)
        lease_id = str(uuid.uuid4())
        try:
            granted = await self.run(flows.acquire(self.session, lease_id, ask, timeout_s), watch)
        except BaseException as stopped:
            if flows.may_be_held(stopped) and not await self._give_back(lease_id):
                stopped.add_note(flows.PERHAPS_HELD)
            raise
        held = AsyncLease(granted.lease)
        problem: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                keeping = tasks.create_task(self._keep(held, granted))
                yield held
                keeping.cancel()
        except BaseExceptionGroup as several:
            problem = _the_one(several)
        finally:
            if not held.stays:
                await self._give_back(lease_id, held)
        problem = problem or flows.lost_before(held.answer)
        if problem is not None:
            raise problem  # here, where the group is not its context: it keeps the cause that it came with

    async def _keep(self, held: AsyncLease, granted: flows.Granted) -> None:
        def watch(step: Step) -> None:
            if isinstance(step, flows.News):
                held.answer = step.lease

        await self.run(flows.keep(self.session, granted), watch)

    async def _give_back(self, lease_id: str, held: AsyncLease | None = None) -> bool:
        """Also while we are being cancelled, but not for long; False when the service could not be told."""
        brief = Session(self.session.where, patience_s=0.0)
        try:
            answer = await asyncio.shield(asyncio.ensure_future(self.run(flows.release(brief, lease_id))))
            if held is not None:
                held.answer = answer
        except Unavailable:
            return False
        except PiclusterError:
            pass  # as when the question never arrived
        return True

    async def renew(self, lease_id: str, **changes: object) -> LeaseAnswer:
        """Still there; with `ttl_s`, `ssh_public_keys`, `expect_reboot_s`: and from now on like this."""
        return await self.run(flows.renew(self.session, lease_id, **changes))  # type: ignore[arg-type]

    async def release(self, lease_id: str, reason: str = "", wait_s: float = 0.0) -> LeaseAnswer:
        """Give a lease back; somebody else's, as operator, with a reason."""
        return await self.run(flows.release(self.session, lease_id, reason, wait_s))

    # Changing

    async def amend(self, name: str, **changes: object) -> MachineAnswer:
        """`labels` (None removes one), `comment`, `service` with `reason`, `evict`."""
        return await self.run(flows.amend(self.session, name, **changes))

    async def forget(self, name: str) -> None:
        """A machine leaves the pool."""
        await self.run(flows.forget(self.session, name))

    async def power(self, name: str, action: str) -> PowerAnswer:
        """Switch a machine `on`, `off` or `cycle` it, by the command that the service has for it."""
        return await self.run(flows.power(self.session, name, action))

    async def samples(self, name: str, **query: object) -> list[SampleAnswer]:
        """How a board was, oldest first; the last day, unless `since` and `until` (µs) say otherwise."""
        return await self.run(flows.samples(self.session, name, **query))

    async def tokens(self) -> list[TokenAnswer]:
        """Tokens, without their secrets: all for admins, else one's own."""
        return await self.run(flows.tokens(self.session))

    async def make_token(self, name: str, **more: object) -> TokenAnswer:
        """A new token: `kind`, `role`, `expires_in_s`. Its text is in this answer and nowhere else."""
        return await self.run(flows.make_token(self.session, name=name, **more))

    async def revoke_token(self, token_id: str) -> TokenAnswer:
        """It works no more."""
        return await self.run(flows.revoke_token(self.session, token_id))

    # People

    async def login(self, name: str, password: str, label: str = "") -> TokenAnswer:
        """A personal token for whoever knows the password, good for 90 days. `label` says where it will be kept."""
        return await self.run(flows.login(self.session, name, password, label))

    async def people(self) -> list[PersonAnswer]:
        """All accounts, by name."""
        return await self.run(flows.people(self.session))

    async def add_person(self, name: str, **more: object) -> PersonAnswer:
        """A new account: `role`, `password`."""
        return await self.run(flows.add_person(self.session, name=name, **more))

    async def amend_person(self, name: str, **changes: object) -> PersonAnswer:
        """Change an account: `role`, `password`, `disabled`; one's own password with `current_password`."""
        return await self.run(flows.amend_person(self.session, name, **changes))

    async def forget_person(self, name: str) -> PersonAnswer:
        """An account ends, with its sessions and personal tokens."""
        return await self.run(flows.forget_person(self.session, name))

    async def webhooks(self) -> list[WebhookAnswer]:
        """Who outside is told what happens, by name, with the last deliveries."""
        return await self.run(flows.webhooks(self.session))

    async def add_webhook(self, name: str, url: str, **more: object) -> WebhookAnswer:
        """A new one: `kind`, `notices`. Its `secret` is in this answer and nowhere else."""
        return await self.run(flows.add_webhook(self.session, name=name, url=url, **more))

    async def amend_webhook(self, name: str, **changes: object) -> WebhookAnswer:
        """Change one: `url`, `notices`, `paused`."""
        return await self.run(flows.amend_webhook(self.session, name, **changes))

    async def forget_webhook(self, name: str) -> WebhookAnswer:
        """It is told no more."""
        return await self.run(flows.forget_webhook(self.session, name))

    async def test_webhook(self, name: str) -> WebhookTest:
        """Send it one message now; what came of it."""
        return await self.run(flows.test_webhook(self.session, name))

    # Carrying out

    async def run(self, flow: Flow[T], watch: Watch = nobody) -> T:
        """Carry a flow out."""
        answer: Answer | NoAnswer | None = None
        try:
            while True:
                step = flow.send(answer)
                answer = None
                if isinstance(step, Send):
                    answer = await self._send(step)
                    continue
                watch(step)
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
        except StopIteration as done:
            result: T = done.value
            return result

    async def _send(self, step: Send) -> Answer | NoAnswer:
        try:
            response = await self._http.request(
                step.method, step.url, headers=headers(step), content=step.body, timeout=timeout(step)
            )
            return Answer(response.status_code, response.content, retry_after_s(response))
        except UNANSWERED as problem:
            return unanswered(problem, step)


class AsyncLease:
    """Machines that are yours for now, as of the last renewal."""

    def __init__(self, answer: LeaseAnswer) -> None:
        self.answer = answer
        self.stays = False
        """Set it, and the end of the block does not give it back: it ends by itself, or with `AsyncClient.release`."""

    @property
    def id(self) -> str:
        return self.answer.id

    @property
    def machines(self) -> tuple[LeasedMachine, ...]:
        return self.answer.machines

    @property
    def machine(self) -> LeasedMachine:
        """The machine, or the first of several."""
        return self.answer.machines[0]

    @property
    def fence(self) -> int:
        """The number of this grant; greater than that of any grant before it."""
        return self.answer.fence


def _the_one(several: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong in the block; a lost lease, if that is why."""
    plain = [one for one in several.exceptions if not isinstance(one, LeaseLost)]
    return plain[0] if plain else several.exceptions[0]
