"""Couriers inside one process, with a receiver that is a function: what they do when the database is away, or they are late."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from picluster.errors import Conflict, Unavailable
from picluster.pool import model
from picluster.pool.commands import (
    AddWebhook,
    Amend,
    AmendWebhook,
    Command,
    Report,
    TakeUp,
    Tell,
    UpdateAddress,
)
from picluster.pool.model import SYSTEM, Actor, Mode, Webhook
from picluster.server.app import Service
from picluster.server.settings import Settings
from picluster.server.webhooks.patience import REFUSALS
from picluster.server.webhooks.post import Outcome
from picluster.store.sqlite import SqliteStore
from tests.service import PATIENCE_S

ADDRESS = "10.0.0.1"


class Desk:
    """A service with one board and one webhook; what is sent is kept here."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.context = service.context
        self.sent: list[str] = []
        self.answer: Callable[[], Awaitable[Outcome]] = self.yes
        self.mono_s = 0.0
        couriers = self.context.couriers
        couriers.post = self  # type: ignore[assignment]
        couriers.monotonic = lambda: self.mono_s
        couriers.chance = lambda: 0.0

    async def yes(self) -> Outcome:
        return Outcome("204", arrived=True)

    async def send(self, url: str, headers: Mapping[str, str], body: bytes, wait_s: float = 0.0) -> Outcome:
        """As `Post` does."""
        self.sent.append(json.loads(body)["data"]["detail"]["reason"])
        return await self.answer()

    async def close(self) -> None:
        """As `Post` does."""

    async def ask(self, command: Command) -> Any:
        return await self.context.coordinator.ask(command)

    async def happens(self, *reasons: str) -> None:
        for reason in reasons:
            await self.ask(Amend(SYSTEM, self.board, service=model.Service.QUARANTINED, reason=reason))

    @property
    def board(self) -> str:
        return next(iter(self.context.view.roster.machines))

    @property
    def webhook(self) -> Webhook:
        return self.context.view.roster.webhooks["hook"]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  what is waited for is what others see
            await asyncio.sleep(0.01)


def story(tell: Callable[[Desk], Awaitable[None]]) -> None:
    async def told() -> None:
        store = SqliteStore(":memory:", cap_s=6.0)
        store.open()
        desk = Desk(Service(Settings(webhook_pause_s=0.1), store))
        try:
            async with desk.service.running():
                board = Actor(f"legacy:{ADDRESS}")
                await desk.ask(UpdateAddress(board, Report(f"legacy:{ADDRESS}", ADDRESS, Mode.LEGACY)))
                await desk.ask(AddWebhook(SYSTEM, Webhook("hook", "generic", "https://hook.example/")))
                await tell(desk)
        finally:
            store.close()

    asyncio.run(told())


def test_what_could_not_be_said_is_said_later_and_not_sent_again() -> None:
    """The database is away when a message has arrived: the cursor follows when it is back."""

    async def tell(desk: Desk) -> None:
        ask, refused = desk.context.coordinator.ask, []

        async def away(command: Command) -> Any:
            if isinstance(command, Tell) and not refused:
                refused.append(command)
                desk.context.couriers._rounds[
                    "hook"
                ].bell.set()  # nobody waits here as long as a database is away
                raise Unavailable
            return await ask(command)

        desk.context.coordinator.ask = away  # type: ignore[method-assign]
        await desk.happens("smoke")
        happened = desk.context.view.roster.machines[desk.board].revision
        await until(lambda: desk.webhook.cursor >= happened)
        assert refused and desk.sent == ["smoke"]

    story(tell)


def test_who_is_no_courier_any_more_sends_nothing_more() -> None:
    """Of three things to tell it has sent one when another process has taken over, and goes on from there."""

    async def tell(desk: Desk) -> None:
        async def slowly() -> Outcome:
            if len(desk.sent) == 1:
                desk.mono_s += 60.0  # as if this process had been stopped in the middle
                mine = desk.context.couriers.id
                await desk.ask(Tell("hook", mine, desk.webhook.cursor, ()))
                await desk.ask(TakeUp("hook", "another", 3_600.0))
            return Outcome("204", arrived=True)

        ask, refused = desk.context.coordinator.ask, []

        async def noting(command: Command) -> Any:
            try:
                return await ask(command)
            except Conflict:
                refused.append(command)
                raise

        desk.context.coordinator.ask = noting  # type: ignore[method-assign]
        desk.answer = slowly
        await desk.happens("one", "two", "three")
        await until(lambda: bool(refused))
        assert desk.sent == ["one"]
        assert desk.webhook.delivered == 0

    story(tell)


def test_what_another_has_told_meanwhile_is_not_told_again() -> None:
    """Two processes read the same news; one of them has told them all before the other one gets its turn."""

    async def tell(desk: Desk) -> None:
        ask, beaten = desk.context.coordinator.ask, []

        async def late(command: Command) -> Any:
            if isinstance(command, TakeUp) and not beaten:
                beaten.append(command)
                await ask(TakeUp("hook", "another", 60.0))
                await ask(Tell("hook", "another", desk.context.view.revision, (), delivered=1))
            return await ask(command)

        desk.context.coordinator.ask = late  # type: ignore[method-assign]
        await desk.happens("one")
        await until(lambda: bool(beaten) and desk.webhook.courier == desk.context.couriers.id)
        await desk.happens("two")
        await until(lambda: desk.webhook.delivered == 2)
        assert desk.sent == ["two"]

    story(tell)


def test_a_webhook_that_is_paused_in_the_middle_is_told_no_more() -> None:
    async def tell(desk: Desk) -> None:
        async def pausing() -> Outcome:
            await desk.ask(AmendWebhook(SYSTEM, "hook", paused=True))
            return Outcome("204", arrived=True)

        desk.answer = pausing
        await desk.happens("one", "two")
        await until(lambda: desk.webhook.delivered == 1)
        assert desk.sent == ["one"] and desk.webhook.paused

    story(tell)


def test_what_waited_before_a_pause_is_told_after_it() -> None:
    """Whoever pauses a webhook to mend its receiver loses nothing that was due."""

    async def tell(desk: Desk) -> None:
        async def no() -> Outcome:
            return Outcome("500")

        desk.answer = no
        await desk.happens("before")
        await until(lambda: desk.webhook.failures > 0)
        await desk.ask(AmendWebhook(SYSTEM, "hook", paused=True))
        await desk.happens("meanwhile")
        desk.sent.clear()
        desk.answer = desk.yes
        await desk.ask(AmendWebhook(SYSTEM, "hook", paused=False))
        await desk.happens("after")
        await until(lambda: desk.webhook.delivered == 2)
        assert desk.sent == ["before", "after"]

    story(tell)


def test_old_news_are_given_up_and_the_new_ones_tried() -> None:
    """A receiver that was away for longer than its news are worth is told what is new."""

    async def tell(desk: Desk) -> None:
        async def no() -> Outcome:
            return Outcome("no answer in 10 s")

        desk.answer = no
        await desk.happens("old")
        await until(lambda: desk.webhook.failures == 1)
        now_us = desk.context.wall_us
        desk.context.wall_us = lambda: now_us() + 25 * 3_600_000_000
        await until(lambda: desk.webhook.given_up == 1)
        assert desk.webhook.attempts[0].state == "given_up"
        desk.context.wall_us = now_us
        desk.answer = desk.yes
        await desk.happens("new")
        await until(lambda: desk.webhook.delivered == 1)
        assert desk.sent[-1] == "new"

    story(tell)


def test_an_outage_before_a_refusal_is_no_refusal() -> None:
    """A receiver that was away, and is just being set up when it is back, is not given up at its first no."""

    async def tell(desk: Desk) -> None:
        away = Outcome("no answer in 10 s")
        answers = iter([*[away] * (REFUSALS - 1), Outcome("404", refused=True)])

        async def coming_back() -> Outcome:
            return next(answers, Outcome("204", arrived=True))

        desk.answer = coming_back
        await desk.happens("smoke")
        await until(lambda: desk.webhook.delivered + desk.webhook.given_up == 1)
        told = [(one.state, one.refused) for one in reversed(desk.webhook.attempts)]
        assert told == [("failed", False)] * 3 + [("failed", True), ("delivered", False)]

    story(tell)


def test_a_service_that_stops_says_what_has_arrived() -> None:
    """So that it is not sent again by the next one."""

    async def tell(desk: Desk) -> None:
        async def stopping() -> Outcome:
            desk.service.stop_waiting()
            return Outcome("204", arrived=True)

        desk.answer = stopping
        await desk.happens("one", "two")
        await until(lambda: desk.webhook.delivered == 1)
        assert desk.sent == ["one"]
        assert desk.webhook.courier_until_s <= desk.context.view.now()  # another one may go on at once

    story(tell)
