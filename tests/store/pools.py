"""What the tests of the stores share: a clock that moves only when told, and short ways to say a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from picluster.pool.model import Event, Heard, Lease, LeaseState, Machine, Role, Row, Token
from picluster.store.sql import SqlStore

Connect = Callable[..., SqlStore]
"""Opens the database of a test, as a process that starts does."""


class FakeClock:
    """Starts anywhere, and stands still until `pass_s`."""

    def __init__(self) -> None:
        self.mono_s = 1000.0
        self.us = 1_700_000_000_000_000

    def monotonic(self) -> float:
        return self.mono_s

    def wall_us(self) -> int:
        return self.us

    def pass_s(self, seconds: float) -> None:
        self.mono_s += seconds
        self.us += int(seconds * 1e6)


def write(
    store: SqlStore,
    *changed: Row,
    happened: Sequence[Event] = (),
    heard: Sequence[Heard] = (),
    **state: Any,
) -> None:
    """One turn, as the service takes it: time passes, and the revision is that of the newest row."""
    with store.turn() as turn:
        revision = max([turn.state.revision, *(row.revision for row in changed)])
        new = replace(turn.state, revision=revision, service_s=turn.now, turned_us=turn.wall_us)
        turn.write(replace(new, **state), changed, happened, heard)


def now(store: SqlStore) -> float:
    with store.turn() as turn:
        return turn.now


def machine(name: str, revision: int = 1, **more: Any) -> Machine:
    return Machine(name, id=f"id-{name}", address="10.0.0.1", revision=revision, **more)


def held(id: str, *machines: str, revision: int = 1) -> Lease:
    return Lease(id, "ann", "all", state=LeaseState.HELD, machines=machines, revision=revision)


def ended(lease: Lease, revision: int, ended_s: float = 0.0) -> Lease:
    return replace(lease, state=LeaseState.ENDED, ended="released", ended_s=ended_s, revision=revision)


def event(revision: int, machine: str = "", at_us: int = 0, **more: Any) -> Event:
    return Event(revision, 1, at_us, more.pop("kind", "granted"), "ann", machine=machine, **more)


def edit(store: SqlStore, statement: Any) -> None:
    """As a person with a database shell."""
    connection = store._writing()
    with connection.begin():
        connection.execute(statement)


def token(**more: Any) -> Token:
    usual: dict[str, Any] = {
        "id": "t",
        "kind": "person",
        "name": "ann",
        "role": Role.OPERATOR,
        "digest": "00",
    }
    return Token(**usual | more)
