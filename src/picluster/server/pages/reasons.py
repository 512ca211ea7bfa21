"""Why a job waits, in a sentence or two: with names, and with ends that the script keeps true."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from markupsafe import Markup

from picluster.pool.explain import FREE, LOCKED, SET_ASIDE, ahead, state_of
from picluster.pool.model import Lease
from picluster.pool.roster import Roster
from picluster.server.pages.estimate import rest_of
from picluster.server.words import listed, many, moment, person, shown, ticking

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
"""A user can ask for no more; operators' larger numbers stand as figures."""


@dataclass(frozen=True, slots=True)
class Now:
    """For whom and when it is told."""

    me: str
    service_s: float
    wall_us: int

    def at_us(self, in_s: float) -> int:
        return self.wall_us + int(in_s * 1e6)


def why(roster: Roster, lease: Lease, now: Now, aside_s: float) -> Markup:
    """What is in the way, what ends first, and who comes before. `aside_s` is how long machines are set aside at most."""
    matches = sorted(roster.group_of(lease).matches)
    if len(matches) < lease.count:
        return _too_few(len(matches), lease.count)
    said = [
        _set_aside(lease, now, aside_s) if lease.set_aside else _in_the_way(roster, matches, now),
        Markup("") if lease.set_aside else _first_end(roster, matches, now),
        _before(roster, lease),
    ]
    return Markup(" ").join(sentence for sentence in said if sentence)


def _too_few(there: int, needed: int) -> Markup:
    if not there:
        return Markup("No machine of the pool matches yet.")
    return Markup("Only {} and {} needed: it waits for more to join.").format(
        many(there, "machine matches", "machines match"), f"{needed} are" if needed > 1 else "one is"
    )


def _set_aside(lease: Lease, now: Now, aside_s: float) -> Markup:
    left_s = aside_s - (now.service_s - (lease.set_aside_since_s or 0.0))
    return Markup("Needs {}. {} set aside for it, {} at most.").format(
        in_words(lease.count),
        listed(lease.set_aside) + (" is" if len(lease.set_aside) == 1 else " are"),
        ticking(now.at_us(max(0.0, left_s)), now.wall_us, "left"),
    )


def _in_the_way(roster: Roster, matches: list[str], now: Now) -> Markup:
    """How the machines are that would do."""
    if len(matches) == 1:
        return _only_one(roster, matches[0], now)
    counts = Counter(state_of(roster, roster.machines[name]) for name in matches)
    if len(counts) == 1:
        (state,) = counts
        return Markup("{} {}.").format(
            "Both are" if len(matches) == 2 else f"All {len(matches)} are", STATES.get(state, state)
        )
    told = [f"{count} {STATES.get(state, state)}" for state, count in counts.most_common()]
    return Markup("Of {}, {}.").format(len(matches), " and ".join([", ".join(told[:-1]), told[-1]]))


STATES = {LOCKED: "held", FREE: "free for a job before", SET_ASIDE: "set aside", "attention": "need a look"}
"""Where a sentence says it differently from a table."""


def _only_one(roster: Roster, name: str, now: Now) -> Markup:
    machine = roster.machines[name]
    lease = roster.leases.get(machine.lease)
    if lease is None:
        state = state_of(roster, machine)
        return Markup("The only one that matches is {}.").format(STATES.get(state, state).replace("_", " "))
    if lease.holder == now.me:
        return Markup("You hold the only one that matches.")
    return Markup("{} holds the only one that matches.").format(person(lease.holder))


def _first_end(roster: Roster, matches: list[str], now: Now) -> Markup:
    """Of those that are held, which comes free first."""
    holds = [
        (rest.in_s, name, held, rest.latest)
        for name in matches
        if (held := roster.leases.get(roster.machines[name].lease))
        and (rest := rest_of(held, now.service_s)).in_s is not None
    ]
    if not holds:
        return Markup("")
    in_s, name, held, latest = min(holds, key=lambda hold: (hold[0], hold[1]))
    end = (
        Markup("{} at the latest").format(moment(now.at_us(in_s or 0.0)))
        if latest
        else Markup("in {}").format(ticking(now.at_us(in_s or 0.0), now.wall_us, "left"))
    )
    if len(matches) == 1:
        return Markup("It ends {}.").format(end)
    mine = " is yours, it" if held.holder == now.me else ""
    return Markup("{}{} ends {}{}.").format(shown(name, 64), mine, "" if mine else "first, ", end)


def _before(roster: Roster, lease: Lease) -> Markup:
    count = ahead(roster, lease)
    if not count:
        return Markup("")
    return Markup("{} before it.").format(many(count, "job comes", "jobs come").capitalize())


def in_words(number: int) -> str:
    return NUMBERS[number] if number < len(NUMBERS) else str(number)
