"""One turn: lock, catch up, decide, write. Everything that changes the pool passes here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from picluster.pool.commands import Command, RaiseEpoch
from picluster.pool.model import SYSTEM, Event, Heard, PoolState, Row
from picluster.pool.policy import Policy
from picluster.pool.pool import Answer, Pool
from picluster.server.sampling import Sampler
from picluster.store import RESTORED_US, Store, Turn

STALE_START_US = 60_000_000
"""A pool that nobody turned for a minute may have been restored or moved meanwhile: what was heard before does not count."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a committed turn did."""

    pool: Pool
    answers: Sequence[Answer]
    state: PoolState
    happened: Sequence[Event]
    rows: Sequence[Row]
    """What is new for a reader: first what others had written, then what this turn changed."""
    heard: Sequence[Heard]
    reloaded: bool
    """Whether `rows` is everything there is, and an older copy is to be dropped."""


def take_turn(
    store: Store,
    pool: Pool | None,
    commands: Sequence[Command],
    policy: Policy,
    sampler: Sampler | None = None,
) -> Outcome:
    """Carry out a batch. After an exception the pool given is not to be used again.

    Raises what `Store.turn` raises, and whatever a broken rule raises; nothing is written then, except
    that after `CommitUnknown` nobody can know.
    """
    with store.turn() as turn:
        reloaded = pool is None or turn.fresh or turn.state.service_s - pool.now > policy.kept_s
        if pool is None or reloaded:
            pool = Pool(policy)
        missed = turn.rows_after(pool.revision) if turn.state.revision != pool.revision else ()
        pool.merge(missed, turn.state)
        _hear_others(turn, pool, reloaded)
        history = _history_may_have_gone_back(turn) if reloaded else None
        batch = (history, *commands) if history else commands
        answers, changed, happened = pool.turn(batch, turn.now, turn.wall_us)
        state = replace(pool.state, timeline=turn.timeline)
        sampled = sampler.samples(pool.heard_now) if sampler else ()
        turn.write(state, changed, happened, pool.heard_now, sampled)
        heard = turn.heard() if reloaded else pool.heard_now
    if sampler:
        sampler.kept(pool.heard_now)
    own = answers[1:] if history else answers
    return Outcome(pool, own, state, happened, (*missed, *changed), heard, reloaded)


def _hear_others(turn: Turn, pool: Pool, reloaded: bool) -> None:
    """Before a machine goes offline its presence row is read: another replica may have heard it."""
    silent = None if reloaded else pool.falling_silent(turn.now)
    if silent is None or silent:
        pool.hear(turn.heard(silent))


def _history_may_have_gone_back(turn: Turn) -> RaiseEpoch | None:
    if not turn.state.turned_us:
        return None
    if turn.state.turned_us == RESTORED_US:
        return RaiseEpoch(SYSTEM, "restored from a backup")
    if turn.timeline != turn.state.timeline:
        return RaiseEpoch(SYSTEM, f"the database is on timeline {turn.timeline}, not {turn.state.timeline}")
    if turn.wall_us - turn.state.turned_us > STALE_START_US:
        return RaiseEpoch(SYSTEM, "the service was away for longer than a minute")
    return None
