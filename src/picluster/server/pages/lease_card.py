"""The card that says first who has a machine, and what whoever looks can do about it: extend, unlock, lock, wait, mend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from picluster.pool import verdict
from picluster.pool.model import Lease, Machine, Mode, OnReboot, Service
from picluster.server.context import Context
from picluster.server.pages.extending import extension_word
from picluster.server.pages.rows import Action, Holding, fingerprint, machine_reason
from picluster.server.pages.verbs import possible
from picluster.server.pages.viewer import Viewer
from picluster.server.words import STATES, StateWord, shown

ON_REBOOT = {
    OnReboot.RELEASE: "the lease ends",
    OnReboot.KEEP: "the lease is kept",
    OnReboot.QUARANTINE: "the lease ends, and the board waits for an operator",
}

MENDS = {
    "approve": "Approve",
    "review": "Review",
    "undrain": "Undrain",
    "power": "Power cycle",
}
"""Verbs that put a machine right, and the words of their buttons; in this order the first is filled."""


TO_DO = {
    "free": "Nobody has it. Lock it, and it is yours until you unlock it or its time is over.",
    "offline": "Look at its power and its network. With its next beat it is back by itself.",
    "quarantined": "Its health says since when. Mend it, or put it back as it is.",
    "attention": "Somebody has to look at it before others get it.",
    "pending": "Compare its host key with what stands on the board, then let it in.",
    "drained": "An operator puts it back.",
}
"""What comes next for a machine that nobody has, by its state; the rules see to the others."""


TOLD_BY_HOLDER = ("free", "mine", "locked")
"""States in which who has the machine, or that nobody has it, is all there is to tell."""


@dataclass(frozen=True, slots=True)
class LeaseCard:
    """All that the card shows."""

    state: StateWord
    mine: bool
    lease: Lease | None
    holding: Holding | None
    story: tuple[Any, Any]
    """What happened, and what follows, where no holder tells it."""
    to_do: str
    extend: str
    """The word of the button; empty where there is nothing to extend."""
    actions: Sequence[Action]
    afterwards: str = ""
    """What is decided for the time after the lease: the machine goes out of service."""
    on_reboot: str = ""
    let_in: str = ""
    so_far: verdict.Finding | None = None

    @property
    def gone(self) -> int:
        """Per cent of the lease that are over, for a bar that works without script."""
        return round(100 * (1 - min(1.0, max(0.0, self.holding.left)))) if self.holding else 0


def lease_card(context: Context, machine: Machine, viewer: Viewer) -> LeaseCard:
    """As it is now."""
    rows = context.dashboard.rows
    lease = context.view.roster.leases.get(machine.lease)
    mine = lease is not None and lease.holder == viewer.name
    holding, state = rows.holding(lease), rows.state(machine, viewer)
    card = LeaseCard(
        state=state,
        mine=mine,
        lease=lease,
        holding=holding,
        story=("", "") if state.key in TOLD_BY_HOLDER else rows.story(machine, lease),
        to_do=TO_DO.get(state.key, ""),
        extend=_extend(lease, holding) if mine else "",
        actions=_actions(context, machine, viewer, lease, state),
        afterwards=_afterwards(machine) if lease else "",
        on_reboot=ON_REBOOT[lease.on_reboot] if lease else "",
    )
    return _of_mine(context, machine, card) if mine else card


def _afterwards(machine: Machine) -> str:
    if machine.service is Service.IN_SERVICE:
        return ""
    return f"{STATES[machine.service.value].word} after this lease: {machine_reason(machine)}"


def _of_mine(context: Context, machine: Machine, card: LeaseCard) -> LeaseCard:
    assert card.lease
    return replace(card, let_in=_let_in(machine, card.lease), so_far=_so_far(context, machine, card.lease))


def _extend(lease: Lease | None, holding: Holding | None) -> str:
    """Only of a lease with a fixed end: programs extend by themselves."""
    if lease is None or lease.ttl_s is None or holding is None or holding.shape != "fixed":
        return ""
    return extension_word(lease.ttl_s)


def _let_in(machine: Machine, lease: Lease) -> str:
    """Whose keys; of one that has no comment its fingerprint."""
    if machine.mode is not Mode.ENFORCED:
        return "whoever has an account on the board"
    return ", ".join(_owner(key) for key in lease.ssh_public_keys) or "nobody: no key was given"


def _owner(key: str) -> str:
    words = key.split(None, 2)
    return shown(words[2], 60) if len(words) > 2 else fingerprint(key)


def _so_far(context: Context, machine: Machine, lease: Lease) -> verdict.Finding | None:
    """The verdict if it ended now; None while the board has not counted for it."""
    heard = context.view.heard.get(machine.name)
    counters = heard.telemetry.get("since_open") if heard else None
    if not isinstance(counters, dict) or counters.get("fence") != lease.fence:
        return None
    return verdict.of(counters, machine)


def _actions(
    context: Context, machine: Machine, viewer: Viewer, lease: Lease | None, state: StateWord
) -> list[Action]:
    """The buttons, the filled one first."""
    if viewer.known and not viewer.acts:
        return []
    home = f"/m/{machine.name}"
    if state.key == "free":
        return [Action("lock", "Lock", f"{home}/lock", filled=True)]
    can = {verb.name for verb in possible(context, machine, viewer)}
    mends = [Action(name, word, f"{home}/{name}") for name, word in MENDS.items() if name in can]
    if state.key not in TO_DO:
        mends = []  # the power of a board that is well is switched from the menu
    if lease is not None and lease.holder == viewer.name:
        return mends
    waits = [replace(context.dashboard.rows.wait_action(machine, viewer), quiet=False)]
    takes = [Action("take", "Take back", f"{home}/take")] if lease and "take" in can else []
    if state.key in TO_DO:
        return _first_filled(mends) + waits + takes
    return _first_filled(waits) + takes


def _first_filled(actions: list[Action]) -> list[Action]:
    return [replace(action, filled=number == 0) for number, action in enumerate(actions)]
