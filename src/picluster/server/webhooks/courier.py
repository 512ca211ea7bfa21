"""Going round: for each webhook a task that reads on in the record from the webhook's cursor, and sends what it finds.

Every process that serves the pool looks whether there is something to tell; only the one that the rules have made the
courier tells it (`pool/webhooks.py`). Nothing here is awaited by a turn or by a request: what a webhook costs the others is
a read of the record in a second in which something happened, and a command in a turn that is taken anyway.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from picluster.errors import Conflict, NotFound, Unavailable
from picluster.pool.commands import TakeUp, Tell
from picluster.pool.model import Attempt, Webhook
from picluster.pool.webhooks import is_due
from picluster.server.webhooks.messages import MANNERS, News, numbered, request
from picluster.server.webhooks.notices import KINDS, told_to
from picluster.server.webhooks.patience import is_over, pause_s, refusals_in_a_row
from picluster.server.webhooks.post import Outcome, Post
from picluster.server.webhooks.reach import Networks

if TYPE_CHECKING:
    from picluster.server.context import Context

LOOK_EVERY_S = 1.0
"""Of a pool in which much happens the record is read so often, and what came of it said so often, however much it is."""

PAGE = 200
"""Events read at once."""

CLAIM_SPARE_S = 5.0
"""How much longer a courier is the one than a message may take: for what it says between two."""

REST_S = 5.0
"""After what should not have happened, and while the database is away."""

SKIPPED_US = 3_600_000_000
"""Where an hour's record had nothing to tell, the cursor is moved up, so that nobody reads it again after a restart.
Revisions are as many as microseconds."""

LAST_WORDS_S = 0.5
"""At the end of the service a message under way may still arrive, and what has arrived be said."""

DELIVERED, FAILED, GIVEN_UP = "delivered", "failed", "given_up"

log = structlog.get_logger(__name__)


class Couriers:
    """All of one process."""

    def __init__(
        self,
        context: Context,
        chance: Callable[[], float] = random.random,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = context.settings
        self.context = context
        self.id = uuid.uuid4().hex
        networks = Networks.read(settings.webhook_networks)
        self.post = Post(networks, settings.webhook_timeout_s, settings.webhook_proxy)
        self.chance = chance
        self.monotonic = monotonic
        self.reading = asyncio.Lock()
        """One at a time, so that pages find the threads free that read for them."""
        self._rounds: dict[str, Round] = {}
        self._going: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._going = asyncio.create_task(self._go())

    async def stop(self) -> None:
        """Let what is under way arrive, if it does so soon."""
        tasks = [one.task for one in self._rounds.values() if one.task]
        for one in self._rounds.values():
            one.bell.set()
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_WORDS_S)
        tasks += [self._going] if self._going else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.post.close()

    async def _go(self) -> None:
        """Whenever something has changed, but not more often than is worth it, everybody looks."""
        with self.context.view.follower() as bell:
            while True:
                bell.clear()
                self._look()
                await bell.wait()
                await asyncio.sleep(LOOK_EVERY_S)

    def _look(self) -> None:
        webhooks = self.context.view.roster.webhooks
        for name in [name for name, one in self._rounds.items() if one.task and one.task.done()]:
            del self._rounds[name]
        for name in webhooks:
            if name not in self._rounds:
                self._rounds[name] = Round(self, name)
                self._rounds[name].start()
        for one in self._rounds.values():
            one.bell.set()


@dataclass(slots=True)
class Progress:
    """What has come of it since it was said last."""

    cursor: int
    failures: int
    refusals: int
    """How many of the last failures were refusals, up to one that was not."""
    attempts: list[Attempt] = field(default_factory=list)
    delivered: int = 0


class Round:
    """One webhook's."""

    def __init__(self, couriers: Couriers, name: str) -> None:
        self.name = name
        self.bell = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self._couriers = couriers
        self._context = couriers.context
        self._seen = 0
        """The revision up to which there was nothing to tell."""
        self._last = (0, 0)
        """The revision and place of what arrived last: of a revision that was told in part, the rest is what is next."""
        self._claimed = 0.0
        """When it was last asked to be the one, by a clock that goes on while this process is paused."""

    def start(self) -> None:
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        """Until the webhook, or the service, is no more."""
        while (webhook := self._webhook()) is not None and not self._context.stopping.is_set():
            self.bell.clear()
            try:
                wait_s = self._closed_s(webhook)
                if wait_s == 0:
                    wait_s = await self._look(webhook)
            except (Conflict, NotFound):
                wait_s = LOOK_EVERY_S  # another process was quicker, or an admin; the view will show it
            except Unavailable:
                wait_s = REST_S
            except Exception:
                log.exception("webhook.broken", webhook=webhook.name)
                wait_s = REST_S
            await self._rings(wait_s)

    def _webhook(self) -> Webhook | None:
        return self._context.view.roster.webhooks.get(self.name)

    def _closed_s(self, webhook: Webhook) -> float | None:
        """Seconds until there may be something to do here; None until something changes, 0 for now."""
        if webhook.paused:
            return None
        others = webhook.courier not in ("", self._couriers.id)
        until_s = max(webhook.retry_s, webhook.courier_until_s if others else 0.0)
        return max(0.0, until_s - self._context.view.now())

    async def _rings(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.bell.wait()
        except TimeoutError:
            pass

    async def _look(self, webhook: Webhook) -> float | None:
        """Read on, and tell what there is; how long to wait before the next look."""
        since = max(webhook.cursor, self._seen)
        async with self._couriers.reading:
            outbox = await asyncio.to_thread(self._context.store.outbox, since, KINDS, PAGE)
        news = [one for one in numbered(outbox.events) if self._is_new(webhook, one)]
        unsaid = self._last[0] > webhook.cursor  # the database was away when it was to be said
        if news or unsaid or outbox.cursor - webhook.cursor > SKIPPED_US:
            return await self._tell(webhook, news, outbox.cursor)
        self._seen = outbox.cursor
        return 0.0 if outbox.events else None

    def _is_new(self, webhook: Webhook, one: News) -> bool:
        event = one.event
        behind = (event.revision, one.place) > self._last
        return behind and is_due(webhook, event.revision) and told_to(event, webhook.notices)

    # Telling

    async def _tell(self, webhook: Webhook, news: Sequence[News], cursor: int) -> float | None:
        """All of it, in order, until something is in the way. Raises `Conflict` when another process does it; what that
        has done between our look and our turn is not done again."""
        webhook = await self._claim()
        refusals = refusals_in_a_row(webhook.attempts[: webhook.failures])
        report = Progress(webhook.cursor, webhook.failures, refusals)
        rest = [one for one in news if is_due(webhook, one.event.revision)]
        most = MANNERS[webhook.kind].most
        while rest and self._still(webhook):
            if not await self._keep_claim(report):
                return REST_S
            batch, rest = rest[:most], rest[most:]
            outcome = await self._send(webhook, batch)
            wait_s = self._weigh(report, batch, outcome)
            if wait_s is not None:
                await self._say(report, pause_s=wait_s)
                return wait_s
            report.cursor = rest[0].event.revision - 1 if rest else cursor
        if not rest:
            report.cursor = cursor
        await self._say(report)
        return 0.0

    def _still(self, webhook: Webhook) -> bool:
        """Whether it is still to be told, as it was when this began; a report of ours changes it, too."""
        now = self._webhook()
        return (
            now is not None
            and not self._context.stopping.is_set()
            and (now.url, now.notices, now.paused, now.created_us)
            == (webhook.url, webhook.notices, webhook.paused, webhook.created_us)
        )

    async def _send(self, webhook: Webhook, batch: Sequence[News]) -> Outcome:
        headers, body = request(webhook.kind, webhook.secret, batch, self._context.wall_us())
        return await self._couriers.post.send(webhook.url, headers, body)

    def _weigh(self, report: Progress, batch: Sequence[News], outcome: Outcome) -> float | None:
        """What it means: None to go on, or how long to wait before the same is tried again."""
        report.failures = 0 if outcome.arrived else report.failures + 1
        report.refusals = report.refusals + 1 if outcome.refused else 0
        state = DELIVERED if outcome.arrived else self._patient(batch, outcome, report.refusals)
        self._context.metrics.webhooks.labels(state).inc(len(batch))
        report.attempts.append(
            Attempt(
                *(self._context.wall_us(), state, batch[0].line, len(batch), outcome.text),
                refused=outcome.refused,
                said=outcome.said,
            )
        )
        if state == FAILED:
            first_s, chance = self._context.settings.webhook_pause_s, self._couriers.chance()
            return pause_s(first_s, report.failures, chance, outcome.come_back_s)
        if state == DELIVERED:
            report.delivered += len(batch)
        elif outcome.refused:
            report.failures = report.refusals = 0  # what comes next may be taken
        self._last = (batch[-1].event.revision, batch[-1].place)
        return None

    def _patient(self, batch: Sequence[News], outcome: Outcome, refusals: int) -> str:
        age_s = (self._context.wall_us() - batch[-1].event.at_us) / 1e6
        over = is_over(outcome, refusals, age_s, self._context.settings.webhook_give_up_s)
        return GIVEN_UP if over else FAILED

    # Being the one

    @property
    def _claim_s(self) -> float:
        return self._context.settings.webhook_timeout_s + CLAIM_SPARE_S

    async def _claim(self) -> Webhook:
        """The webhook as it is now that nobody else tells it."""
        asked = self._couriers.monotonic()
        command = TakeUp(self.name, self._couriers.id, self._claim_s)
        webhook: Webhook = await self._context.coordinator.ask(command)
        self._claimed = asked
        return webhook

    async def _keep_claim(self, report: Progress) -> bool:
        """Say now and then what came of it, which is also how one stays the one; whether there is time for a message."""
        if self._couriers.monotonic() - self._claimed >= LOOK_EVERY_S:
            await self._say(report, for_s=self._claim_s)
        spent_s = self._couriers.monotonic() - self._claimed
        return spent_s + self._context.settings.webhook_timeout_s < self._claim_s

    async def _say(self, report: Progress, *, pause_s: float = 0.0, for_s: float = 0.0) -> None:
        asked = self._couriers.monotonic()
        await self._context.coordinator.ask(
            Tell(
                *(self.name, self._couriers.id, report.cursor, tuple(report.attempts), report.delivered),
                *(report.failures, pause_s, for_s),
            )
        )
        self._claimed = asked
        report.attempts, report.delivered = [], 0
