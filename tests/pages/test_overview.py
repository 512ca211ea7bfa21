"""The pool at a glance, kept true machine by machine: always what a look at all of them would say."""

from __future__ import annotations

import random
from dataclasses import replace

from picluster.pool.model import Lease, LeaseState, Machine, Mode, PoolState, Presence, Service
from picluster.server.pages.overview import Glance, Overview
from picluster.server.view import View


class Pool:
    """A view into which rows are published as turns would."""

    def __init__(self) -> None:
        self.view = View(6.0, lambda: 0.0)
        self.glance = Glance(self.view)
        self.revision = 0

    def publish(self, *rows: Machine | Lease, epoch: int = 1, reloaded: bool = False) -> None:
        fresh = []
        for row in rows:
            self.revision += 1
            fresh.append(replace(row, revision=self.revision))
        self.view.publish(fresh, PoolState(revision=self.revision, epoch=epoch), (), reloaded=reloaded)


def machine(name: str, **more: object) -> Machine:
    return Machine(name, f"id-{name}", f"{name}.lab", **{"seen_epoch": 1, **more})  # type: ignore[arg-type]


def lease(number: int, holder: str = "ann", **more: object) -> Lease:
    return Lease(f"lease-{number}", holder, "", place=number, **more)  # type: ignore[arg-type]


def from_scratch(pool: Pool) -> Overview:
    fresh = Overview()
    for name in pool.view.roster.machines:
        fresh.look_at(pool.view.roster, name)
    return fresh


def test_what_has_just_joined_needs_nobody_yet() -> None:
    """It is awaited, not lost; and what came over from the first service has beaten there, and is away."""
    pool = Pool()
    pool.publish(
        machine("new", seen_epoch=0, presence=Presence.OFFLINE),
        machine("moved-in", seen_epoch=0, presence=Presence.OFFLINE, mode=Mode.LEGACY),
        machine("lost", presence=Presence.OFFLINE),
    )
    now = pool.glance.now
    assert [now.states[name] for name in ("new", "moved-in", "lost")] == ["joining", "offline", "offline"]
    counts = {key: count for key, _, _, count in now.chips("ann")}
    assert (counts["offline"], counts["attention"]) == (3, 2)


def test_a_hundred_random_changes_and_it_is_as_if_counted_anew() -> None:
    """Held, freed, silent, drained, set aside, forgotten: in any order, with a look after each."""
    chance, pool = random.Random(1), Pool()
    names = [f"pi-{number}" for number in range(6)]
    pool.publish(*(machine(name) for name in names))
    for number in range(100):
        old = pool.view.roster.machines.get(chance.choice(names)) or machine(chance.choice(names))
        held = lease(number, chance.choice(["ann", "bob"]), state=LeaseState.HELD, machines=(old.name,))
        waiting = lease(number % 3, state=LeaseState.WAITING, set_aside=tuple(chance.sample(names, 2)))
        changes = [
            (held, replace(old, lease=held.id)),
            (replace(old, lease=""),),
            (replace(old, presence=chance.choice(list(Presence))),),
            (replace(old, service=chance.choice(list(Service))),),
            (replace(old, deleted=True, lease=""),),
            (waiting,),
        ]
        pool.publish(*chance.choice(changes))
        now, fresh = pool.glance.now, from_scratch(pool)
        assert (now.states, now.held, +now.counts, now.holders, now.held_offline) == (
            fresh.states,
            fresh.held,
            +fresh.counts,
            fresh.holders,
            fresh.held_offline,
        )


def test_a_machine_that_nobody_can_reach_is_offline_even_while_held() -> None:
    pool = Pool()
    held = lease(1, state=LeaseState.HELD, machines=("pi-1",))
    pool.publish(machine("pi-1", lease="lease-1", presence=Presence.OFFLINE), held)
    assert pool.glance.now.state("pi-1", "ann") == "offline"
    counts = {key: count for key, _, _, count in pool.glance.now.chips("bob")}
    assert (counts["offline"], counts["locked"], counts["attention"]) == (1, 1, 1)


def test_a_new_epoch_makes_every_unheard_machine_offline() -> None:
    pool = Pool()
    pool.publish(machine("pi-1"))
    assert pool.glance.now.states == {"pi-1": "free"}
    pool.publish(epoch=2)
    assert pool.glance.now.states == {"pi-1": "offline"}


def test_a_pool_that_is_loaded_anew_is_looked_at_anew() -> None:
    pool = Pool()
    pool.publish(machine("pi-1"), machine("pi-2"))
    assert set(pool.glance.now.states) == {"pi-1", "pi-2"}
    pool.publish(machine("pi-2"), reloaded=True)
    assert set(pool.glance.now.states) == {"pi-2"}


def test_what_is_mine_is_not_counted_as_locked() -> None:
    pool = Pool()
    pool.publish(
        machine("pi-1", lease="lease-1"),
        lease(1, "ann", state=LeaseState.HELD, machines=("pi-1",)),
        machine("pi-2", lease="lease-2"),
        lease(2, "bob", state=LeaseState.HELD, machines=("pi-2",)),
    )
    counts = {key: count for key, _, _, count in pool.glance.now.chips("ann")}
    assert (counts["mine"], counts["locked"]) == (1, 1)
    assert [key for key, *_ in pool.glance.now.chips("")][:3] == ["all", "free", "locked"]


def test_the_last_change_is_told() -> None:
    pool = Pool()
    pool.publish(lease(1, "ann", state=LeaseState.HELD, machines=("pi-1",), granted_us=10))
    pool.publish(lease(1, "ann", state=LeaseState.ENDED, machines=("pi-1",), ended_us=20, ended="released"))
    lately = pool.glance.lately
    assert lately.last == ("ann gave back pi-1", 20)
    assert (lately.freed_us, lately.after) == ({"pi-1": 20}, {"pi-1": "ann"})


def test_a_machine_that_is_set_aside_no_more_is_told_of() -> None:
    """Its own row stays the same; an open page would show it as set aside for ever."""
    pool = Pool()
    pool.publish(machine("pi-1"), lease(1, state=LeaseState.WAITING, set_aside=("pi-1",)))
    before = pool.revision
    assert (pool.glance.now.states, pool.glance.let_go_after(0)) == ({"pi-1": "set_aside"}, [])
    pool.publish(lease(1, state=LeaseState.WAITING))
    assert (pool.glance.now.states, pool.glance.let_go_after(before)) == ({"pi-1": "free"}, ["pi-1"])
    assert pool.glance.let_go_after(pool.revision) == []
