"""Turns, one after the other, in a thread of their own: whatever has arrived meanwhile shares the next one.

While a commit waits for the disk, more commands arrive; they become the next batch, so one fsync serves
many. Answers and the view of readers change only after the commit.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from picluster.errors import PiclusterError, Unavailable
from picluster.pool.commands import (
    Acquire,
    AddPerson,
    AddWebhook,
    Command,
    Hear,
    IssueToken,
    LockAddress,
    Pass,
)
from picluster.pool.model import SESSION, SYSTEM, Heard
from picluster.pool.policy import Policy
from picluster.pool.pool import Answer, Pool
from picluster.server.metrics import Metrics
from picluster.server.sampling import Sampler
from picluster.server.turn import Outcome, take_turn
from picluster.server.view import View
from picluster.store import DiskFull, Snapshot, Store

PULSE_S = 5.0
"""Service time must pass even when nobody calls, or nothing would ever expire."""

HEARD_AFTER_S = 1.0
"""Plain beats are written together after so long: a thousand boards cost one row each and one commit."""

STALE_AFTER_PULSES = 2
"""Without a successful turn for so many pulses (10 s), beats are answered 503, so that boards go to another replica."""

LARGEST_BATCH = 2_000
"""So many commands at most share a turn, so that one flood does not hold the lock for seconds."""

TIDY_EVERY_S = 600.0
"""What is over is removed in small portions, well before it adds up."""

THIN_EVERY_S = 2.0
"""A few thousand samples each time: six times of what 10,000 boards send meanwhile."""

OTHERS_HEARD_EVERY_S = 1.0
"""How old the beats that other replicas heard may be in a list."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Asked:
    """A command under way, and where its answer goes; none for what nobody waits for."""

    command: Command
    answer: asyncio.Future[Answer] | None


class _CatchUp:
    """Another replica has written something."""


class Coordinator:
    """The only one who takes turns in this process. Its methods are called in the event loop, but `notice`."""

    def __init__(
        self,
        store: Store,
        view: View,
        policy: Policy,
        *,
        pulse_s: float = PULSE_S,
        metrics: Metrics | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        shared: bool = False,
    ) -> None:
        self.view = view
        self.short_of_space = False
        self._store = store
        self._policy = policy
        self._pulse_s = pulse_s
        self._metrics = metrics or Metrics()
        self._monotonic = monotonic
        self._shared = shared
        """Whether other replicas may write to the same database."""
        self._inbox: queue.SimpleQueue[_Asked | _CatchUp | None] = queue.SimpleQueue()
        self._pool: Pool | None = None
        self._last_turn = monotonic()
        self._last_tidy = self._last_thin = self._last_heard = monotonic()
        self._heard: dict[str, Heard] = {}
        self._sampler = Sampler()
        self._flush: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopped = False

    # In the event loop

    async def start(self) -> None:
        """Take the first turn; raises what it raises."""
        self._loop = asyncio.get_running_loop()
        outcome = await asyncio.to_thread(self._first_turn)
        self._pool = outcome.pool
        self._publish(outcome, [_Asked(Pass(), None)])
        self._thread = threading.Thread(target=self._run, name="turns", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Finish what has arrived, and take no more."""
        if self._flush is not None:
            self._flush_heard()
        self._stopped = True
        self._inbox.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    async def ask(self, command: Command) -> Any:
        """Put one command into the next turn; its row after the commit. Raises the `PiclusterError` that refuses it."""
        if self._stopped or self._loop is None:
            raise Unavailable("The service is stopping.", "Ask again in a moment; the same id stays valid.")
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._inbox.put(_Asked(command, future))
        answer = await future
        if isinstance(answer, PiclusterError):
            raise answer
        return answer

    def hear(self, heard: Heard) -> None:
        """A plain beat: shown at once, written with others within a second."""
        self.view.hear(heard)
        self._heard[heard.name] = heard
        if self._flush is None and self._loop is not None:
            self._flush = self._loop.call_later(HEARD_AFTER_S, self._flush_heard)

    def alive(self) -> bool:
        """Whether a turn succeeded lately."""
        return self.last_turn_age_s() < STALE_AFTER_PULSES * self._pulse_s

    def last_turn_age_s(self) -> float:
        """How long ago that was."""
        return self._monotonic() - self._last_turn

    def notice(self, revision: int) -> None:
        """Another replica has written; called by the store's listener, in its thread."""
        self._inbox.put(_CatchUp())

    def _flush_heard(self) -> None:
        self._flush = None
        heard, self._heard = self._heard, {}
        self._inbox.put(_Asked(Hear(tuple(heard.values())), None))

    def _publish(self, outcome: Outcome, batch: Sequence[_Asked]) -> None:
        self.view.publish(outcome.rows, outcome.state, outcome.heard, reloaded=outcome.reloaded)
        self._answer(batch, outcome.answers)

    def _publish_snapshot(self, snapshot: Snapshot) -> None:
        self.view.publish(snapshot.rows, snapshot.state, ())

    def _answer(self, batch: Sequence[_Asked], answers: Sequence[Answer]) -> None:
        for asked, answer in zip(batch, answers, strict=True):
            if asked.answer is not None and not asked.answer.done():
                asked.answer.set_result(answer)

    # In the thread

    def _first_turn(self) -> Outcome:
        """On a full disk, too: else a restart there would keep everybody from giving machines back."""
        if not self._store.keep_reserve():
            self._note_short_of_space()
        try:
            return take_turn(self._store, None, [Pass()], self._policy)
        except DiskFull:
            self._note_short_of_space()
            return take_turn(self._store, None, [Pass()], self._policy)

    def _run(self) -> None:
        while True:
            batch, catch_up, more = self._collect()
            if catch_up and not batch:
                self._catch_up()
            else:
                self._turn(batch or [_Asked(Pass(), None)])
            self._housekeeping()
            if not more:
                return

    def _collect(self) -> tuple[list[_Asked], bool, bool]:
        """Wait for work or for the pulse; then everything that has arrived, whether to catch up, whether to go on."""
        batch: list[_Asked] = []
        catch_up, item = False, None
        try:
            item = self._inbox.get(timeout=self._pause())
        except queue.Empty:
            return batch, catch_up, True
        while True:
            if item is None:
                return batch, catch_up, False
            if isinstance(item, _CatchUp):
                catch_up = True
            else:
                batch.append(item)
            if len(batch) >= LARGEST_BATCH:
                return batch, catch_up, True
            try:
                item = self._inbox.get_nowait()
            except queue.Empty:
                return batch, catch_up, True

    def _pause(self) -> float:
        """Until the next deadline in service time, at most a pulse; never so short that a broken rule would spin."""
        until_pulse = self._last_turn + self._pulse_s - self._monotonic()
        if self._pool is None:
            return 0.2
        until_due = self._pool.next_deadline() - self._pool.now - (self._monotonic() - self._last_turn)
        return max(0.02, min(until_pulse, until_due))

    def _turn(self, batch: Sequence[_Asked]) -> None:
        if self.short_of_space:
            batch = self._refuse_taking(batch)
        if batch:
            self._attempt(batch)

    def _attempt(self, batch: Sequence[_Asked]) -> None:
        started = self._monotonic()
        try:
            commands = [asked.command for asked in batch]
            outcome = take_turn(self._store, self._pool, commands, self._policy, self._sampler)
        except DiskFull as full:
            self._pool = None
            self._metrics.turn_failed("disk_full")
            self._run_short_of_space(batch, full)
        except PiclusterError as problem:
            self._pool = None
            self._metrics.turn_failed("unavailable")
            log.warning("turn.unavailable", problem=problem.message, commands=len(batch))
            answer = (
                problem if isinstance(problem, Unavailable) else Unavailable(problem.message, problem.hint)
            )
            self._to_loop(self._answer, batch, [answer] * len(batch))
        except Exception:
            self._pool = None
            self._metrics.turn_failed("broken")
            self._isolate(batch)
        else:
            self._pool, self._last_turn = outcome.pool, self._monotonic()
            self._metrics.turn(self._last_turn - started, len(batch))
            self._metrics.happened(outcome.happened, outcome.rows)
            self._to_loop(self._publish, outcome, batch)

    def _isolate(self, batch: Sequence[_Asked]) -> None:
        """One command that breaks the rules is answered alone; the others are tried one by one."""
        if len(batch) == 1:
            log.exception("turn.broken", command=type(batch[0].command).__name__)
            self._to_loop(
                self._answer,
                batch,
                [PiclusterError("The service failed on this request; nothing was changed.")],
            )
            return
        for asked in batch:
            self._attempt([asked])

    def _run_short_of_space(self, batch: Sequence[_Asked], full: DiskFull) -> None:
        """The disk is full: from the space kept back, what gives machines back goes on."""
        if self.short_of_space:
            self._to_loop(self._answer, batch, [full] * len(batch))
            return
        self._note_short_of_space()
        self._turn(batch)

    def _note_short_of_space(self) -> None:
        log.error("disk.full", hint="make room; leases are renewed and released meanwhile, not granted")
        self.short_of_space = True
        self._store.free_reserve()

    def _refuse_taking(self, batch: Sequence[_Asked]) -> list[_Asked]:
        leases = self.view.roster.leases
        taking = [asked for asked in batch if _takes(asked.command, leases)]
        refusal = DiskFull(
            "The disk of the service is full: leases are renewed and released, not granted.",
            "Try again later.",
        )
        self._to_loop(self._answer, taking, [refusal] * len(taking))
        return [asked for asked in batch if asked not in taking]

    def _catch_up(self) -> None:
        """A plain read of what others wrote; the lock is not needed to show it."""
        if self._pool is None:
            return
        try:
            snapshot = self._store.catch_up(self._pool.revision)
        except PiclusterError as problem:
            log.warning("catch_up.failed", problem=problem.message)
            return
        if snapshot.state.revision > self._pool.revision:
            self._pool.merge(snapshot.rows, snapshot.state)
            self._to_loop(self._publish_snapshot, snapshot)

    def _housekeeping(self) -> None:
        now = self._monotonic()
        try:
            if self.short_of_space and self._store.keep_reserve():
                self.short_of_space = False
                log.info("disk.healed")
            if self._pool is not None and now - self._last_tidy > TIDY_EVERY_S:
                self._last_tidy = now
                self._store.tidy(self._pool.now, time.time_ns() // 1000)
                self._to_loop(self.view.forget_old, self._policy.kept_s)
            if self._pool is not None and now - self._last_thin > THIN_EVERY_S:
                self._last_thin = now
                self._store.thin(time.time_ns() // 1000)
            if self._shared and self._pool is not None and now - self._last_heard > OTHERS_HEARD_EVERY_S:
                self._last_heard = now
                self._to_loop(self._hear_others, self._store.heard_since(self._pool.now - 2 * self._pulse_s))
        except PiclusterError as problem:
            log.warning("housekeeping.failed", problem=problem.message)

    def _hear_others(self, heard: Sequence[Heard]) -> None:
        for beat in heard:
            self.view.hear(beat)

    def _to_loop(self, call: Callable[..., None], *args: Any) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *args)


def _takes(command: Command, leases: Any) -> bool:
    """Whether a command asks for something new, rather than keeping or giving back."""
    if isinstance(command, Acquire):
        return command.lease not in leases
    if isinstance(command, IssueToken):
        # a start needs its one-time link, and whoever gives back on a page has to log in
        return command.by != SYSTEM and command.token.kind != SESSION
    return isinstance(command, LockAddress | AddPerson | AddWebhook)
