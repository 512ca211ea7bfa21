"""The rows of a pool and the indexes over them: who holds what, what is free, who waits for which machines.

A roster decides nothing. The rules keep one that runs ahead of the database by the turn they are working
on; readers keep another, which shows the last committed turn. `put` replaces one row and updates every
index in proportion to what the row touches, never to the size of the pool.
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush

from picluster.pool.model import (
    Lease,
    LeaseState,
    Machine,
    Person,
    Presence,
    Row,
    Service,
    Token,
    Webhook,
)
from picluster.pool.selector import Facts, Selector, facts_of, parse

AGEING_S = 900.0
"""Waiting this long is worth one step of priority, so nobody is passed for ever."""

IDLE_GROUPS = 256
"""Groups kept after their last waiter left: the next job with the same selector finds its machines indexed."""

Order = tuple[float, int]
"""Where a lease stands in the queue. Fixed when it joins, so nothing is ever sorted again."""

Rank = tuple[int, int, str]
"""Which free machine goes first: fewest labels (rare boards stay free), then longest unused, then by name."""

_ONE_NAME = re.compile(r"name:([A-Za-z0-9._-]+)")


def name_in(selector: str) -> str:
    """In lower case, the one machine that a selector asks for by its name; empty for any other selector."""
    one = _ONE_NAME.fullmatch(selector)
    return one.group(1).casefold() if one else ""


def order_of(lease: Lease) -> Order:
    return (lease.joined_s - AGEING_S * lease.priority, lease.place)


def selector_facts(machine: Machine) -> Facts:
    """What a lease may select this machine by: its stable facts, nothing that changes from beat to beat."""
    facts = machine.facts
    texts = {key: str(facts[key]) for key in _TEXT_FACTS if facts.get(key) not in (None, "")}
    numbers = {key: float(facts[key]) for key in ("mem", "cpus") if isinstance(facts.get(key), int | float)}
    return facts_of(
        texts={"name": machine.name, "ip": machine.address, **texts},
        numbers=numbers,
        labels=machine.all_labels,
    )


_TEXT_FACTS = ("platform", "model", "model_name", "arch", "os", "serial")


class FreeList:
    """The free machines of one group, best first, with stale heap entries dropped when they come up."""

    __slots__ = ("_heap", "_ranks")

    def __init__(self) -> None:
        self._ranks: dict[str, Rank] = {}
        self._heap: list[Rank] = []

    def __len__(self) -> int:
        return len(self._ranks)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ranks)

    def add(self, rank: Rank) -> None:
        name = rank[2]
        if self._ranks.get(name) == rank:
            return
        self._ranks[name] = rank
        heappush(self._heap, rank)
        if len(self._heap) > 2 * len(self._ranks) + 64:
            self._heap = list(self._ranks.values())
            heapify(self._heap)

    def discard(self, name: str) -> None:
        self._ranks.pop(name, None)

    def best(self, count: int, allowed: Callable[[str], bool]) -> list[str]:
        """Up to `count` names that are allowed, in the order of their rank; nothing is taken out."""
        found: list[str] = []
        seen: list[Rank] = []
        while self._heap and len(found) < count:
            rank = heappop(self._heap)
            name = rank[2]
            if self._ranks.get(name) != rank or (seen and seen[-1] == rank):
                continue
            seen.append(rank)
            if allowed(name):
                found.append(name)
        for rank in seen:
            heappush(self._heap, rank)
        return found


class Group:
    """All who wait for the same number of the same machines, and the machines that would do."""

    __slots__ = ("count", "free", "matches", "name", "selector", "text", "waiting")

    def __init__(self, text: str, count: int) -> None:
        self.text = text
        self.count = count
        self.name = name_in(text)
        """Set when the selector asks for one machine by name: then nothing needs to be evaluated."""
        self.selector: Selector = parse(text)
        self.matches: set[str] = set()
        self.free = FreeList()
        self.waiting: list[tuple[Order, str]] = []

    @property
    def key(self) -> tuple[str, int]:
        return (self.text, self.count)

    def wants(self, machine: Machine, facts: Facts) -> bool:
        if self.name:
            return machine.name.casefold() == self.name
        return self.selector.matches(facts)

    def ahead_of(self, order: Order) -> int:
        """How many of this group's waiters come before `order`."""
        return bisect_left(self.waiting, (order, ""))


class Roster:
    """One pool as of one revision."""

    def __init__(self) -> None:
        self.epoch = 1
        self.machines: dict[str, Machine] = {}
        self.tombstones: dict[str, Machine] = {}
        self.leases: dict[str, Lease] = {}
        self.tokens: dict[str, Token] = {}
        self.agent_tokens: dict[str, set[str]] = {}
        """Ids of the tokens made for the agent of a machine, by its name in lower case; without the revoked ones."""
        self.people: dict[str, Person] = {}
        """Accounts by name in lower case; those that were deleted are not kept."""
        self.webhooks: dict[str, Webhook] = {}
        """By name in lower case; those that were deleted are not kept."""
        self.waiting = 0
        """Leases in the queue."""
        self.by_address: dict[str, str] = {}
        self.aside: dict[str, str] = {}
        """Machine to the waiting lease that it is set aside for."""
        self.live: Counter[str] = Counter()
        """Live leases by holder."""
        self.label_keys: Counter[str] = Counter()
        self.ailing: Counter[str] = Counter()
        """Machines by what is wrong with them."""
        self._names: dict[str, str] = {}
        self._boards: dict[str, set[str]] = {}
        """Board identity to the machines that are said to have it: one, or people have to look."""
        self._facts: dict[str, Facts] = {}
        self._groups: dict[tuple[str, int], Group] = {}
        self._idle: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._groups_of: dict[str, set[Group]] = {}
        self._groups_by_name: dict[str, set[Group]] = {}

    # Asking

    def machine_called(self, text: str) -> Machine | None:
        """The machine with exactly this name or address, names first, case-blind."""
        name = self._names.get(text.casefold()) or self.by_address.get(text)
        return self.machines.get(name) if name else None

    def machine_named(self, name: str) -> Machine | None:
        """The machine of this name, case-blind."""
        known = self._names.get(name.casefold())
        return self.machines.get(known) if known else None

    def machine_at(self, address: str) -> Machine | None:
        name = self.by_address.get(address)
        return self.machines.get(name) if name else None

    def machine_of_board(self, board_id: str) -> Machine | None:
        """The machine that this board identity belongs to: that which had it first."""
        names = self._boards.get(board_id)
        if not names:
            return None
        return min((self.machines[name] for name in names), key=lambda one: (one.registered_us, one.name))

    def person(self, name: str) -> Person | None:
        """The account of this name, case-blind."""
        return self.people.get(name.casefold())

    def webhook(self, name: str) -> Webhook | None:
        """The webhook of this name, case-blind."""
        return self.webhooks.get(name.casefold())

    def facts(self, machine: Machine) -> Facts:
        return self._facts[machine.name]

    def obstacle(self, machine: Machine) -> str:
        """Why a person cannot have this machine now, liveness aside; empty if there is nothing."""
        if machine.service is not Service.IN_SERVICE:
            return machine.service.value
        if machine.lease:
            return "held"
        if machine.cleaning:
            return "cleaning"
        if machine.delay_until_s:
            return "resting"
        if machine.name in self.aside:
            return "set_aside"
        return ""

    def is_free(self, machine: Machine) -> bool:
        """Whether a waiter may be granted it (set aside or not): in service, heard, not held, clean."""
        return (
            machine.service is Service.IN_SERVICE
            and not machine.lease
            and not machine.cleaning
            and not machine.delay_until_s
            and machine.presence is Presence.ONLINE
            and machine.seen_epoch == self.epoch
            and not machine.deleted
        )

    def waiting_groups(self) -> Iterable[Group]:
        return [group for group in self._groups.values() if group.waiting]

    def groups_of(self, name: str) -> Iterable[Group]:
        return self._groups_of.get(name, ())

    def group(self, text: str, count: int) -> Group:
        """The group of this selector and count, made and indexed when it is new."""
        group = self._groups.get((text, count))
        if group is None:
            group = self._make_group(text, count)
        if not group.waiting:
            self._idle[group.key] = None
            self._idle.move_to_end(group.key)
            self._forget_idle_groups()
        return group

    def group_of(self, lease: Lease) -> Group:
        return self.group(lease.selector, lease.count)

    def waiting_by_name(self, name: str) -> list[str]:
        """Leases that wait for this machine and ask for it by its name, in the order of the queue."""
        groups = self._groups_by_name.get(name.casefold(), ())
        return [lease_id for _, lease_id in sorted(waiter for group in groups for waiter in group.waiting)]

    def unique_name(self, wanted: str) -> str:
        """`wanted`, or with the first number behind it that makes it unique."""
        name, number = wanted, 2
        while name.casefold() in self._names:
            name, number = f"{wanted}-{number}", number + 1
        return name

    # Changing

    def put(self, row: Row) -> None:
        """Replace a row by a newer one, and update what is indexed of it."""
        if isinstance(row, Machine):
            self._put_machine(row)
        elif isinstance(row, Lease):
            self._put_lease(row)
        elif isinstance(row, Person):
            self._put_person(row)
        elif isinstance(row, Webhook):
            self._put_webhook(row)
        else:
            self.tokens[row.id] = row
            if row.kind == "agent":
                self._index_agent_token(row)

    def drop_lease(self, lease_id: str) -> None:
        """Forget an ended lease."""
        del self.leases[lease_id]

    def drop_token(self, token_id: str) -> None:
        """Forget a token that is over."""
        self.tokens.pop(token_id, None)

    def drop_tombstone(self, name: str) -> None:
        self.tombstones.pop(name, None)

    def begin_epoch(self, epoch: int) -> None:
        """From now on only machines heard in this epoch are free. The one change that looks at every machine."""
        self.epoch = epoch
        for machine in self.machines.values():
            self._index_free(machine)

    def _put_machine(self, machine: Machine) -> None:
        old = self.machines.get(machine.name)
        if machine.deleted:
            if old is not None:
                self._remove_machine(old)
            self.tombstones[machine.name] = machine
            return
        self.tombstones.pop(machine.name, None)
        self.machines[machine.name] = machine
        if old is None or old.address != machine.address:
            self._index_address(old, machine)
        if old is None or old.id != machine.id:
            self._index_board(old, machine)
        if old is None or old.ailing != machine.ailing:
            self.ailing.subtract(old.ailing if old else ())
            self.ailing.update(machine.ailing)
        if old is None or _selectable(old) != _selectable(machine):
            self._index_facts(old, machine)
        self._index_free(machine)

    def _remove_machine(self, machine: Machine) -> None:
        name = machine.name
        del self.machines[name]
        del self._facts[name]
        del self._names[name.casefold()]
        if self.by_address.get(machine.address) == name:
            del self.by_address[machine.address]
        self._unindex_board(machine)
        self.ailing.subtract(machine.ailing)
        self.label_keys.subtract(key.casefold() for key in machine.all_labels)
        for group in self._groups_of.pop(name, set()):
            group.matches.discard(name)
            group.free.discard(name)

    def _index_address(self, old: Machine | None, machine: Machine) -> None:
        if old is not None and self.by_address.get(old.address) == old.name:
            del self.by_address[old.address]
        if machine.address:
            self.by_address[machine.address] = machine.name

    def _index_board(self, old: Machine | None, machine: Machine) -> None:
        if old is not None:
            self._unindex_board(old)
        self._boards.setdefault(machine.id, set()).add(machine.name)

    def _unindex_board(self, machine: Machine) -> None:
        self._boards[machine.id].discard(machine.name)
        if not self._boards[machine.id]:
            del self._boards[machine.id]

    def _put_person(self, person: Person) -> None:
        if person.deleted:
            self.people.pop(person.name.casefold(), None)
        else:
            self.people[person.name.casefold()] = person

    def _put_webhook(self, webhook: Webhook) -> None:
        if webhook.deleted:
            self.webhooks.pop(webhook.name.casefold(), None)
        else:
            self.webhooks[webhook.name.casefold()] = webhook

    def _index_agent_token(self, token: Token) -> None:
        mine = self.agent_tokens.setdefault(token.name.casefold(), set())
        if token.revoked:
            mine.discard(token.id)
        else:
            mine.add(token.id)
        if not mine:
            del self.agent_tokens[token.name.casefold()]

    def _index_facts(self, old: Machine | None, machine: Machine) -> None:
        facts = self._facts[machine.name] = selector_facts(machine)
        self._names[machine.name.casefold()] = machine.name
        if old is not None:
            self.label_keys.subtract(key.casefold() for key in old.all_labels)
        self.label_keys.update(key.casefold() for key in machine.all_labels)
        mine = self._groups_of.setdefault(machine.name, set())
        for group in self._groups_for(machine):
            if group.wants(machine, facts):
                mine.add(group)
                group.matches.add(machine.name)
            elif group in mine:
                mine.discard(group)
                group.matches.discard(machine.name)
                group.free.discard(machine.name)

    def _groups_for(self, machine: Machine) -> Iterator[Group]:
        """Groups that this machine could belong to: those by its own name, and all that have to be evaluated."""
        yield from self._groups_by_name.get(machine.name.casefold(), ())
        yield from self._groups_by_name.get("", ())

    def _index_free(self, machine: Machine) -> None:
        groups = self._groups_of.get(machine.name)
        if not groups:
            return
        if self.is_free(machine):
            rank = _rank(machine)
            for group in groups:
                group.free.add(rank)
        else:
            for group in groups:
                group.free.discard(machine.name)

    def _put_lease(self, lease: Lease) -> None:
        old = self.leases.get(lease.id)
        self.leases[lease.id] = lease
        was_live, was_waiting = (
            old is not None and old.live,
            old is not None and old.state is LeaseState.WAITING,
        )
        if lease.live != was_live:
            self.live[lease.holder] += 1 if lease.live else -1
            if not self.live[lease.holder]:
                del self.live[lease.holder]
        if (lease.state is LeaseState.WAITING) != was_waiting:
            self._index_waiting(lease)
        if old is None or old.set_aside != lease.set_aside:
            self._index_aside(old, lease)

    def _index_waiting(self, lease: Lease) -> None:
        group = self.group_of(lease)
        entry = (order_of(lease), lease.id)
        if lease.state is LeaseState.WAITING:
            insort(group.waiting, entry)
            self.waiting += 1
            self._idle.pop(group.key, None)
            return
        del group.waiting[bisect_left(group.waiting, entry)]
        self.waiting -= 1
        if not group.waiting:
            self._idle[group.key] = None
            self._forget_idle_groups()

    def _index_aside(self, old: Lease | None, lease: Lease) -> None:
        for name in old.set_aside if old else ():
            if self.aside.get(name) == lease.id:
                del self.aside[name]
        for name in lease.set_aside:
            self.aside[name] = lease.id

    def _make_group(self, text: str, count: int) -> Group:
        group = Group(text, count)
        if group.name:
            name = self._names.get(group.name)
            candidates = [self.machines[name]] if name else []
        else:
            candidates = list(self.machines.values())
        for machine in candidates:
            if group.wants(machine, self._facts[machine.name]):
                group.matches.add(machine.name)
                self._groups_of.setdefault(machine.name, set()).add(group)
                if self.is_free(machine):
                    group.free.add(_rank(machine))
        self._groups[group.key] = group
        self._groups_by_name.setdefault(group.name, set()).add(group)
        return group

    def _forget_idle_groups(self) -> None:
        while len(self._idle) > IDLE_GROUPS:
            key, _ = self._idle.popitem(last=False)
            group = self._groups.pop(key)
            self._groups_by_name[group.name].discard(group)
            if group.name and not self._groups_by_name[group.name]:
                del self._groups_by_name[group.name]
            for name in group.matches:
                self._groups_of[name].discard(group)


def _rank(machine: Machine) -> Rank:
    return (len(machine.all_labels), machine.fence, machine.name)


def _selectable(machine: Machine) -> tuple[object, ...]:
    """What `selector_facts` reads: only when this changes must selectors be asked again."""
    return (machine.address, machine.facts, machine.board_labels, machine.labels)
