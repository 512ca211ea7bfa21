"""What a person can do with a machine besides leasing it: one table, from which the dialogs are made.

Each entry says who may, what is asked, the same on the command line, and what is done. A new verb is a new entry.
"""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from picluster.errors import Conflict, Malformed, NotFound
from picluster.pool.commands import Amend, Forget, Release
from picluster.pool.model import LEGACY_PREFIX, Actor, Lease, Machine, Mode, Role, Service
from picluster.server.context import Context
from picluster.server.pages.forms import Form
from picluster.server.pages.viewer import Viewer
from picluster.wire import LONGEST_REPORTED, LONGEST_WAIT_S, MachineAmendment, PowerRequest, raise_problems


@dataclass(frozen=True, slots=True)
class Field:
    """One thing that a dialog asks for."""

    name: str
    label: str
    kind: str = "text"
    """text, long, tick, choice, or retype (the machine's name, so that nothing is deleted by a slip)."""
    hint: str = ""
    required: bool = False
    flag: str = ""
    """How the command line calls it: an option, `{word}` for an argument that stands there in the command, `{labels}` for
    labels as the command line writes them; empty for what it does not ask."""
    choices: tuple[tuple[str, str], ...] = ()
    longest: int = 255


@dataclass(frozen=True, slots=True)
class Verb:
    """One thing that can be done."""

    name: str
    title: str
    """With {} for the machine."""
    word: str
    """On the button."""
    icon: str
    do: Callable[[Context, Actor, Machine, Form], Awaitable[str]]
    """Raises `PiclusterError`; else says what was done."""
    possible: Callable[[Context, Machine, Lease | None], bool]
    """Whether it makes sense now: the menu offers only that."""
    about: str = ""
    fields: tuple[Field, ...] = ()
    role: Role = Role.OPERATOR
    command: str = ""
    """The same on the command line, where {} is the machine, and its arguments stand as their fields' flags say."""
    danger: bool = False
    legacy: bool = False
    """Whether users of the shared key may, with what is of the old protocol: among them there is no operator."""
    bulk: bool = False
    """Whether it makes sense for many at once."""
    tells: bool = False
    """Whether what was done has to be said, since nothing on the page shows it."""

    def frame(self, machine: str) -> str:
        """The command line with places for its arguments; the script fills them in as one types."""
        return self.command.replace("{}", shlex.quote(machine))

    def line(self, machine: str, said: Mapping[str, str]) -> str:
        """The command line for what has been said; options that were not are left out."""
        line = self.frame(machine)
        for field in self.fields:
            value = said.get(field.name) or (field.choices[0][0] if field.choices else "")
            if field.flag == "{labels}":
                line = line.replace(field.flag, cli_labels(value, said.get("was", "")))
            elif field.flag.startswith("{"):
                line = line.replace(field.flag, shlex.quote(value))
            elif field.flag and value:
                line += f" {field.flag}" if field.kind == "tick" else f" {field.flag} {shlex.quote(value)}"
        return line


async def _comment(context: Context, actor: Actor, machine: Machine, form: Form) -> str:
    await _amend(context, actor, machine, MachineAmendment(comment=form.text("comment")))
    return f"The comment of {machine.name} is kept."


async def _label(context: Context, actor: Actor, machine: Machine, form: Form) -> str:
    wanted = labels_from(form.text("labels"))
    gone = dict.fromkeys(set(machine.labels) - set(wanted)) if form.text("whole") else {}
    await _amend(context, actor, machine, MachineAmendment(labels={**gone, **wanted}))
    return f"The labels of {machine.name} are kept."


def labels_from(text: str) -> dict[str, str | None]:
    """`rack:b camera 'site:new hall' -old`: a key with a value, a tag, and one that goes. Raises `Malformed`."""
    try:
        words = shlex.split(text)
    except ValueError:
        raise Malformed("labels: a quote is not closed.", field="labels") from None
    found: dict[str, str | None] = {}
    for word in words:
        key, _, value = word.partition(":" if ":" in word else "=")
        if key.startswith("-") and len(key) > 1:
            found[key[1:]] = None
        else:
            found[key] = value
    return found


def labels_text(labels: Mapping[str, str]) -> str:
    """As `labels_from` reads it."""
    return shlex.join(f"{key}:{value}" if value else key for key, value in sorted(labels.items()))


def cli_labels(text: str, was: str = "") -> str:
    """The same as the command line takes it, `rack=b camera old-`; what was there before and is no more goes, too."""
    try:
        wanted = labels_from(text)
    except Malformed:  # said beside the field
        return text
    wanted = {**dict.fromkeys(set(was.split()) - set(wanted)), **wanted}
    return shlex.join(
        f"{key}-" if value is None else f"{key}={value}" if value else key for key, value in wanted.items()
    )


async def _drain(context: Context, actor: Actor, machine: Machine, form: Form) -> str:
    change = MachineAmendment(service=Service.DRAINED, reason=form.text("reason"), evict=form.chosen("evict"))
    await _amend(context, actor, machine, change)
    return f"{machine.name} is out of service."


async def _undrain(context: Context, actor: Actor, machine: Machine, form: Form) -> str:
    await _amend(context, actor, machine, MachineAmendment(service=Service.IN_SERVICE))
    return f"{machine.name} is in service."


async def _amend(context: Context, actor: Actor, machine: Machine, change: MachineAmendment) -> None:
    raise_problems(change.problems())
    await context.coordinator.ask(
        Amend(actor, machine.name, change.labels, change.comment, change.service, change.reason, change.evict)
    )


async def _take(context: Context, actor: Actor, machine: Machine, form: Form) -> str:
    lease = context.view.roster.leases.get(machine.lease)
    if lease is None:
        raise Conflict(f"Nobody has {machine.name} any more.", "It can be locked.")
    if form.text("lease") and form.text("lease") != lease.id:
        raise Conflict(
            f"{machine.name} has changed hands: {lease.holder} has it now.", "Look again, and decide anew."
        )
    reason = form.reason("say why you take it from somebody; it is recorded.")
    await context.coordinator.ask(Release(actor, lease.id, reason))
    return f"{machine.name} is taken from {lease.holder}."


async def _power(context: Context, actor: Actor, machine: Machine, form: Form) -> str:
    action = form.text("action")
    raise_problems(PowerRequest(action).problems())
    answer = await context.power.switch(context, actor, machine, action, LONGEST_WAIT_S)
    if answer.running:
        return f"Power {action} of {machine.name} is still under way."
    if not answer.ok:
        said = f" It said: {answer.output.strip()[-300:]}" if answer.output.strip() else ""
        raise Conflict(
            f"Power {action} of {machine.name} ended with {answer.outcome}.{said}",
            "See the service's configuration.",
        )
    return f"Power {action} of {machine.name} is done."


async def _delete(context: Context, actor: Actor, machine: Machine, form: Form) -> str:
    if form.text("retype") != machine.name:
        raise Malformed(
            "retype: that is not the name of the machine.",
            f"Type {machine.name} to delete it.",
            field="retype",
        )
    await context.coordinator.ask(Forget(actor, machine.name, form.reason()))
    return f"{machine.name} is deleted."


def _in_service(context: Context, machine: Machine, lease: Lease | None) -> bool:
    return machine.service is Service.IN_SERVICE


REASON = Field("reason", "Why", hint="Everybody sees this.", required=True, flag="--reason")

VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "comment", "Comment on {}", "Keep", "message", _comment, lambda *_: True, role=Role.USER,
            fields=(
                Field(
                    "comment", "Comment", "long", "Everybody sees this beside the machine.",
                    flag="{word}", longest=LONGEST_REPORTED,
                ),
            ),
            command="picluster comment {} {word}",
        ),
        Verb(
            "label", "Labels of {}", "Keep", "tag", _label, lambda *_: True, bulk=True,
            fields=(
                Field(
                    "labels", "Labels", hint="As in rack:b camera 'site:new hall'. A minus takes one away.",
                    flag="{labels}", longest=2_000,
                ),
            ),
            command="picluster label {} {labels}",
        ),
        Verb(
            "drain", "Take {} out of service", "Drain", "player-pause", _drain, _in_service, bulk=True,
            about="Nobody gets it any more. Who has it keeps it to the end, unless you say otherwise.",
            fields=(REASON, Field("evict", "End the lease on it, too", "tick", flag="--evict")),
            command="picluster drain {}",
        ),
        Verb(
            "undrain", "Put {} back into service", "Undrain", "player-play", _undrain,
            lambda context, machine, lease: machine.service is Service.DRAINED, bulk=True,
            about="Whoever waits for such a machine gets it.", command="picluster undrain {}",
        ),
        Verb(
            "review", "Review {}", "Put back into service", "shield-check", _undrain,
            lambda context, machine, lease: machine.service in (Service.QUARANTINED, Service.ATTENTION),
            about="What was counted against it is forgotten; its next beat says how it is.", command="picluster undrain {}",
        ),
        Verb(
            "approve", "Let {} in", "Approve", "user-question", _undrain,
            lambda context, machine, lease: machine.service is Service.PENDING,
            about="Compare the host key with what stands on the board: `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`.",
            command="picluster undrain {}",
        ),
        Verb(
            "power", "Switch the power of {}", "Switch", "power", _power,
            lambda context, machine, lease: bool(context.power.actions(context, machine)),
            about="Whatever runs on the board ends at once.",
            fields=(
                Field(
                    "action", "What", "choice", flag="{word}",
                    choices=(("cycle", "Off and on again"), ("on", "On"), ("off", "Off")),
                ),
            ),
            command="picluster power {word} {}", danger=True, tells=True,
        ),
        Verb(
            "take", "Take {} back", "Take back", "lock-open", _take,
            lambda context, machine, lease: lease is not None,
            about="The lease ends now, and the holder's work on it with it.",
            fields=(Field("reason", "Why", hint="It is recorded, and the holder reads it.", required=True, flag="--reason"),),
            command="picluster unlock --force {}", danger=True, legacy=True,
        ),
        Verb(
            "delete", "Delete {}", "Delete", "trash", _delete, lambda context, machine, lease: lease is None,
            about="It leaves the list, and its board needs a new token to come back. Its history stays.",
            fields=(Field("retype", "Type the machine's name", "retype", required=True), Field("reason", "Why")),
            command="picluster delete {}", danger=True, legacy=True,
        ),
    )
}  # fmt: skip


def possible(context: Context, machine: Machine, actor: Actor | Viewer) -> list[Verb]:
    """What this person can do with the machine now, in the order of the menu."""
    lease = context.view.roster.leases.get(machine.lease)
    return [
        verb
        for verb in VERBS.values()
        if actor.role >= role_for(verb, actor, machine, lease) and verb.possible(context, machine, lease)
    ]


def role_for(verb: Verb, actor: Actor | Viewer, machine: Machine, lease: Lease | None) -> Role:
    """The least role that may do this with this machine."""
    of_old = lease.holder.startswith(LEGACY_PREFIX) if lease else machine.mode is Mode.LEGACY
    return Role.USER if verb.legacy and actor.legacy and of_old else verb.role


def verb_named(name: str) -> Verb:
    verb = VERBS.get(name)
    if verb is None:
        raise NotFound(f"There is nothing called {name[:40]!r} to do with a machine.")
    return verb
