"""How long a receiver is tried: sooner at first, then less and less often, and not for ever. Pure; chance is an argument."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile

from picluster.pool.model import Attempt
from picluster.server.webhooks.post import Outcome

LONGEST_PAUSE_S = 300.0
"""When it is back after hours, it is told within five minutes."""

REFUSALS = 4
"""A receiver that is there and says no (4xx) will not say yes to the same: some seconds are for one that is just being
set up. What comes behind is not kept waiting for a day by one message that is not understood."""

DOUBLINGS = 20
"""Beyond any longest pause; powers of two have no limit, numbers do."""


def pause_s(first_s: float, failures: int, chance: float, asked_s: float = 0.0) -> float:
    """Seconds to wait after so many failures in a row (1 and more): `first_s`, doubled each time, and somewhere between
    half and all of it, so that many who lost one receiver do not come back at once. `chance` is from 0 to 1. A receiver
    that says when to come back (`asked_s`) is not asked before, within reason."""
    longest: float = min(first_s * 2.0 ** min(failures - 1, DOUBLINGS), LONGEST_PAUSE_S)
    return max(longest * (0.5 + chance / 2), min(asked_s, LONGEST_PAUSE_S))


def is_over(outcome: Outcome, refusals: int, age_s: float, give_up_s: float) -> bool:
    """Whether to give up on a message: for a receiver that is away when its news are old, for one that refuses it soon.
    An outage before is no refusal: `refusals` are those in a row, with this one."""
    return refusals >= REFUSALS if outcome.refused else age_s >= give_up_s


def refusals_in_a_row(newest_first: Iterable[Attempt]) -> int:
    """Of attempts at what is to be told next: how often the receiver has said no since it was last away."""
    return sum(1 for _ in takewhile(lambda attempt: attempt.refused, newest_first))
