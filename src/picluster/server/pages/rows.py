"""One machine as one row: state, machine, who and until when, one button.

What changes with a revision is rendered once for each kind of viewer and kept; what changes with each beat is put
in when the row is asked for. So a hundred viewers cost about as much as three.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from picluster.pool.explain import CLEANING, FREE, OFFLINE, SET_ASIDE, ahead
from picluster.pool.health import number
from picluster.pool.model import Lease, Machine, Mode, Service
from picluster.server.context import Context
from picluster.server.pages import svg
from picluster.server.pages.endings import SOON_S, renews_itself
from picluster.server.pages.overview import ATTENTION, Glance
from picluster.server.pages.trends import Trends
from picluster.server.pages.viewer import Viewer
from picluster.server.present import JOINING, expires_in_s
from picluster.server.words import STATES, StateWord, moment, ordinal, person, retimed, shown, ticking

WARM_C, HOT_C = 70.0, 80.0
"""From where a temperature is told in amber, and in red: there a Raspberry Pi slows down."""

BAR_STEPS = 36
"""Of the bar of a lease, two pixels each: a row is made again when it has shrunk by one."""

KEPT_ROWS = 20_000
"""Rendered rows: three kinds of viewers of some thousand machines, at about 2 kB."""

TEMPERATURE, LOAD, BEATS = "\x01", "\x02", "\x03"
"""Where in a rendered row the cells belong that change with each beat; no shown text can contain these."""

GIGABYTE = 1 << 30


@dataclass(frozen=True, slots=True)
class Action:
    """What a button does: `post` at once, else a dialog asks first."""

    name: str
    word: str
    url: str
    post: bool = False
    filled: bool = False
    quiet: bool = False
    busy: str = ""


@dataclass(frozen=True, slots=True)
class Holding:
    """Who has a machine, and how long still."""

    holder: str
    job: str
    shape: str
    """`fixed`, `renews` or `open`, as in `svg.bar`."""
    left: float
    ends_us: int
    since_us: int
    soon: bool
    afterwards: str = ""
    """What is decided for the time after it, behind the rest of it: `drained after this`."""


def model_of(machine: Machine) -> str:
    """`Pi 5 · 8 GB`: short, since the whole name stands on the machine's page."""
    facts = machine.facts
    name = (
        MODELS.get(str(facts.get("model") or "").casefold())
        or facts.get("model")
        or facts.get("platform")
        or "–"
    )
    memory = number(facts.get("mem"))
    return shown(name, 48) + (f" · {memory_of(memory)}" if memory else "")


MODELS = {
    "pi5": "Pi 5",
    "pi4": "Pi 4",
    "pi3b": "Pi 3B",
    "pi3bplus": "Pi 3B+",
    "pi3b+": "Pi 3B+",
    "cm4": "CM4",
    "cm5": "CM5",
    "pi500": "Pi 500",
    "pi400": "Pi 400",
    "zero2w": "Zero 2 W",
    "zerow": "Zero W",
    "pi2b": "Pi 2B",
}
"""As people write them; other boards are shown as they call themselves."""


def system_of(machine: Machine) -> str:
    """`Pi OS 12`: the column is narrow, and every second board says Raspberry."""
    return shown(str(machine.facts.get("os") or "").replace("Raspberry Pi OS", "Pi OS"), 60)


def memory_of(amount: float) -> str:
    """`8 GB`, `512 MB`: what is printed on the box, of which a board reports a little less."""
    if amount >= 0.75 * GIGABYTE:
        return f"{round(amount / GIGABYTE)} GB"
    return f"{round(amount / GIGABYTE * 8) * 128 or 128} MB"


class Rows:
    """All rows of one service, for all viewers."""

    def __init__(self, context: Context, templates: Environment, glance: Glance, trends: Trends) -> None:
        self._context = context
        self._templates = templates
        self._glance = glance
        self._trends = trends
        self._kept: OrderedDict[tuple[Any, ...], str] = OrderedDict()

    def group(self, machine: Machine, viewer: Viewer) -> str:
        """`mine`, `attention` (for those who can do something about it) or `pool`."""
        if viewer.name and self._glance.now.held.get(machine.name) == viewer.name:
            return "mine"
        attention = viewer.operates and self._glance.now.states[machine.name] in ATTENTION
        return "attention" if attention else "pool"

    def html(self, machine: Machine, viewer: Viewer) -> str:
        """The `<tr>`."""
        return self._filled(machine, self._still(machine, viewer))

    def cells(self, name: str) -> tuple[str, str, str]:
        """Temperature, load and beats: what changes with each beat."""
        return self._temperature(name), self._load(name), self._beats(name)

    def _filled(self, machine: Machine, still: str) -> str:
        temperature, load, beats = self.cells(machine.name)
        return (
            retimed(still, self._context.wall_us())
            .replace(TEMPERATURE, temperature)
            .replace(LOAD, load)
            .replace(BEATS, beats)
        )

    def _still(self, machine: Machine, viewer: Viewer) -> str:
        lease = self._context.view.roster.leases.get(machine.lease)
        aside = self._context.view.roster.aside.get(machine.name, "")
        holding, wait = self.holding(lease), self.own_wait(machine, viewer.name)
        key = (
            machine.name,
            machine.revision,
            lease.revision if lease else 0,
            aside,
            self._glance.now.states[machine.name],
            viewer.kind,
            bool(lease and viewer.name == lease.holder),
            bool(holding and holding.soon),
            int(holding.left * BAR_STEPS) if holding else 0,
            (wait.id, self._place(wait)) if wait else None,
        )
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = self._rendered(machine, lease, viewer)
            if len(self._kept) > KEPT_ROWS:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return found

    def _rendered(self, machine: Machine, lease: Lease | None, viewer: Viewer) -> str:
        return self._templates.get_template("row.html").render(
            machine=machine,
            state=self.state(machine, viewer),
            group=self.group(machine, viewer),
            model=model_of(machine),
            system=system_of(machine),
            holding=self.holding(lease, machine),
            story=self.story(machine, lease),
            action=self.action(machine, lease, viewer),
            viewer=viewer,
            labels=labels_of(machine),
            ssh=ssh_line(machine),
            now_us=self._context.wall_us(),
            temperature=TEMPERATURE,
            load=LOAD,
            beats=BEATS,
        )

    def state(self, machine: Machine, viewer: Viewer) -> StateWord:
        return STATES[self._glance.now.state(machine.name, viewer.name)]

    def holding(self, lease: Lease | None, machine: Machine | None = None) -> Holding | None:
        """None for a machine that nobody has; of a given one with what comes afterwards."""
        if lease is None:
            return None
        left = expires_in_s(self._context.view, self._context.settings.policy, lease)
        shape = "open" if left is None else "renews" if renews_itself(lease) else "fixed"
        now_us = self._context.wall_us()
        return Holding(
            holder=person(lease.holder),
            job=shown(lease.job),
            shape=shape,
            left=(left or 0.0) / lease.ttl_s if lease.ttl_s else 1.0,
            ends_us=now_us + int((left or 0.0) * 1e6),
            since_us=lease.granted_us,
            soon=shape == "fixed" and (left or 0.0) < SOON_S,
            afterwards=_afterwards(machine) if machine else "",
        )

    def story(self, machine: Machine, lease: Lease | None) -> tuple[Any, Any]:
        """One fact and one consequence, for whatever state is not told by its holder."""
        state, lately = self._glance.now.states[machine.name], self._glance.lately
        now_us = self._context.wall_us()
        after = person(lately.after.get(machine.name, ""))
        if state == FREE:
            freed = max(lately.freed_us.get(machine.name, 0), machine.registered_us)
            free = ticking(freed, now_us, "ago", "free for {}") if freed else "free"
            return "", free
        if state == CLEANING and machine.mode is Mode.ENFORCED:
            return f"After {after}" if after else "Being cleaned", "ends sessions, removes the key"
        if state == CLEANING:
            return (
                f"After {after}" if after else "Resting",
                "a moment's rest, so that the last holder notices",
            )
        if state == SET_ASIDE:
            return self._set_aside(machine, now_us)
        if state == OFFLINE:
            return self._offline(machine, lease, now_us)
        if state == JOINING:
            return "Waiting for the first beat", ticking(
                machine.registered_us, now_us, "ago", "joined {} ago"
            )
        if state == "pending":
            key = machine.claimed_host_keys or machine.host_keys
            return machine_reason(machine) or "Wants to join", fingerprint(
                key[0]
            ) if key else "no host key reported"
        if state == "drained":
            return machine_reason(machine) or "Out of service", "until somebody puts it back"
        if state in ("quarantined", "attention"):
            consequence = (
                "back by itself when it is well" if machine.by_rule else "out of service until somebody looks"
            )
            return machine_reason(machine), consequence
        return "", ""

    def _set_aside(self, machine: Machine, now_us: int) -> tuple[Any, Any]:
        roster, policy = self._context.view.roster, self._context.settings.policy
        lease = roster.leases.get(roster.aside.get(machine.name, ""))
        if lease is None:
            return "", ""
        left_s = policy.aside_s - (self._context.view.now() - (lease.set_aside_since_s or 0.0))
        needs = f"needs {lease.count} at once, {{}} at most"
        return f"For {person(lease.holder)}, next in the queue", ticking(
            now_us + int(max(0.0, left_s) * 1e6), now_us, "left", needs
        )

    def _offline(self, machine: Machine, lease: Lease | None, now_us: int) -> tuple[Any, Any]:
        heard = self._context.view.heard.get(machine.name)
        seen = Markup("last beat {}").format(moment(heard.heard_us, "day")) if heard else "no beat yet"
        if lease is None:
            return machine_reason(machine) or "Nobody was using it", seen
        policy = self._context.settings.policy
        left_s = policy.dead_machine_s - (self._context.view.now() - machine.presence_since_s)
        return f"Held by {person(lease.holder)} when it went", ticking(
            now_us + int(max(0.0, left_s) * 1e6), now_us, "left", "lease ends in {} unless it returns"
        )

    def action(self, machine: Machine, lease: Lease | None, viewer: Viewer) -> Action | None:
        """The one button of a row: what whoever looks would do next."""
        state, home = self._glance.now.states[machine.name], f"/m/{machine.name}"
        if viewer.known and not viewer.acts:
            return None
        if lease is not None and viewer.name == lease.holder:
            holding = self.holding(lease)
            if holding and holding.soon:
                return Action("extend", "Extend", f"{home}/extend", post=True, filled=True, busy="Extending…")
            return Action("unlock", "Unlock", f"{home}/unlock", post=True, busy="Unlocking…")
        if state == FREE:
            return Action("lock", "Lock", f"{home}/lock")
        return (viewer.operates and self._repair(machine, state, home)) or self.wait_action(machine, viewer)

    def wait_action(self, machine: Machine, viewer: Viewer) -> Action:
        """Joins the queue for it; of who is in it already, opens their place."""
        wait = self.own_wait(machine, viewer.name)
        if wait is None:
            return Action("wait", "Wait for it", f"/m/{machine.name}/wait", quiet=True)
        return Action("wait", f"You wait, {ordinal(self._place(wait))}", f"/waiting/{wait.id}", quiet=True)

    def own_wait(self, machine: Machine, name: str) -> Lease | None:
        """The place in the queue that somebody has for this very machine, asked for by its name."""
        roster = self._context.view.roster
        waits = (roster.leases[lease_id] for lease_id in roster.waiting_by_name(machine.name))
        return next((lease for lease in waits if name and lease.holder == name and lease.count == 1), None)

    def _place(self, wait: Lease) -> int:
        return ahead(self._context.view.roster, wait) + 1

    def _repair(self, machine: Machine, state: str, home: str) -> Action | None:
        if state == "pending":
            return Action("approve", "Approve", f"{home}/approve")
        if state in ("quarantined", "attention"):
            return Action("review", "Review", f"{home}/review")
        if state == "drained":
            return Action("undrain", "Undrain", f"{home}/undrain", post=True, busy="Undraining…")
        if state == OFFLINE and self._context.power.actions(self._context, machine):
            return Action("power", "Power cycle", f"{home}/power")
        return None

    # What changes with each beat

    def _temperature(self, name: str) -> str:
        heard = self._context.view.heard.get(name)
        value = number(heard.telemetry.get("temperature")) if heard else None
        offline = self._glance.now.states.get(name) == OFFLINE
        points = self._trends.temperatures(name, self._context.wall_us())
        if value is None or offline:
            return f'<span class="none">–</span>{svg.spark(points)}'
        heat = "hot" if value >= HOT_C else "warm" if value >= WARM_C else ""
        return f'<b class="{heat}">{value:.0f}°</b>{svg.spark(points, bool(heat))}'

    def _load(self, name: str) -> str:
        heard = self._context.view.heard.get(name)
        said = heard.telemetry.get("load") if heard else None
        value = number(said[0]) if isinstance(said, list | tuple) and said else None
        offline = self._glance.now.states.get(name) == OFFLINE
        return '<span class="none">–</span>' if value is None or offline else f"{value:.2f}"

    def _beats(self, name: str) -> str:
        heard, now_us = self._context.view.heard.get(name), self._context.wall_us()
        offline = self._glance.now.states.get(name) == OFFLINE
        ticks = svg.strip(self._trends.ticks(name, now_us, offline))
        if heard is None:
            return f'{ticks}<span class="none">–</span>'
        return (
            f'{ticks}<span class="seen{" gone" if offline else ""}">{ticking(heard.heard_us, now_us)}</span>'
        )


def _afterwards(machine: Machine) -> str:
    if machine.service is Service.IN_SERVICE:
        return ""
    return f"{STATES[machine.service.value].word.lower()} after this"


def machine_reason(machine: Machine) -> str:
    """As the beginning of a sentence."""
    reason = shown(machine.reason)
    return reason[:1].upper() + reason[1:]


def labels_of(machine: Machine) -> list[tuple[str, str]]:
    """(as it is written, as it is searched) for each label."""
    found = []
    for key, value in sorted(machine.all_labels.items()):
        text = shown(f"{key}:{value}" if value else key, 40)
        search = f'{key}:"{value}"' if value else f"tag:{key}"
        found.append((text, search))
    return found


def ssh_line(machine: Machine) -> str:
    """What one types to log in; `picluster ssh` does the same with the host key checked."""
    port = f"-p {machine.ssh_port} " if machine.ssh_port not in (0, 22) else ""
    account = machine.ssh_user or "pi"
    return f"ssh {port}{account}@{machine.address}"


def fingerprint(key: str) -> str:
    """SHA256:… of a public host key, as `ssh` shows it."""
    import base64
    import binascii
    import hashlib

    try:
        blob = base64.b64decode(key.split()[1])
    except (IndexError, binascii.Error):
        return shown(key, 60)
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
