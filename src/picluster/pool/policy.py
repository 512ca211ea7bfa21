"""The numbers of the rules, each with its reason. All are settings; tests scale them down together."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Policy:
    """How long things last, in seconds of service time."""

    slack_s: float = 6.0
    """What one turn may add to service time at most, and what a stamp may be stale: every deadline waits so much
    longer, so that a pause of the service, however long, takes nothing from a lease."""
    waiting_s: float = 90.0
    """A waiter not heard for so long has died: three long polls of 25 s and a little."""
    confirm_s: float = 30.0
    """A lease granted after waiting runs so long until its client shows that it is there to use it."""
    offline_s: float = 90.0
    """Three beats of 30 s missed."""
    legacy_offline_s: float = 300.0
    """The old protocol's own: heard from within 5 minutes."""
    dead_machine_s: float = 900.0
    """A lease on a machine that has been offline for so long ends; reboots and short outages do not end it."""
    lock_delay_s: float = 10.0
    """A board that does not enforce rests so long after a lease its holder did not end: time for the holder to notice."""
    clean_s: float = 120.0
    """An enforced board that is online and not clean after so long needs a person."""
    aside_s: float = 1800.0
    """A waiting lease of several keeps free machines from others for so long at most, then pauses as long."""
    kept_s: float = 86_400.0
    """Ended leases and tombstones are remembered for a day, so that a late retry or reader still learns the end."""
    clean_failures: int = 2
    """One failed cleaning may be chance; the second needs a person."""
    verdict_s: float = 120.0
    """A closing report that has not come so long after the end will not: four beats, as for cleaning."""
    hot_c: float = 80.0
    """Where a Raspberry Pi begins to slow down, and the agent begins to count."""
    disk_full: float = 0.02
    """Of the disk free, or less: jobs begin to fail."""
    clock_off_s: float = 60.0
    """A board's clock this far from the service's spoils certificates and time stamps; a late beat is not so late."""
    ail_s: float = 60.0
    """What may pass by itself, as heat does, has to last two beats before it takes a board out of service."""
    well_s: float = 600.0
    """A quarantined board has to be well so long: a supply that sags under load looks fine without."""
    setbacks: int = 3
    """Quarantines by a health rule within `setbacks_window_s` after which only a person brings a board back."""
    setbacks_window_s: float = 86_400.0
    """A day: what comes back at the same hour each day is counted together."""
    stumbles: int = 4
    """Silences and reboots of its own within `stumbles_window_s` that quarantine a board: one more than a person needs who
    works on it and reboots it now and again."""
    stumbles_window_s: float = 3_600.0
    """An hour: longer than a person needs to mend a board by rebooting it."""
    evict_ailing: bool = False
    """Whether a health rule ends the lease on the board, too. Unless set, the holder learns of it by the verdict."""
    crowded: int = 20
    """So many waiting leases are a queue that is too long, which webhooks can tell of; until half of them are left. 0 for
    never."""
    strange_updates: int = 3
    """Old-protocol updates in a row under another name: one may be a reboot into a fresh image."""
    future_us: int = 86_400_000_000
    """A fence further ahead of the wall clock than a day was not granted by any service with a working clock."""

    def unhurried(self) -> Policy:
        """The same, but by which nothing is ever late: for whoever changes a pool that a service keeps by numbers of its own.

        What a holder was promised still ends when it was promised to.
        """
        never: dict[str, Any] = dict.fromkeys(LATENESS, math.inf)
        return replace(self, **never)


LATENESS = (
    "waiting_s",
    "confirm_s",
    "offline_s",
    "legacy_offline_s",
    "dead_machine_s",
    "clean_s",
    "aside_s",
    "kept_s",
    "verdict_s",
    "ail_s",
    "well_s",
)
"""By which time alone changes something."""
