"""What happened, as one sentence for each event, in the words of the house. A new kind of event is a new line here.

The sentences are ours, with places for names; what people, boards and jobs chose is put in as text, never as markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from picluster.pool.model import SYSTEM, Event
from picluster.server.words import listed, person, shown, span


@dataclass(frozen=True, slots=True)
class Says:
    """How one kind of event is told."""

    icon: str
    state: str
    """Whose colour the icon has; empty for none."""
    words: str
    """With {actor}, {holder}, {machine}, and what stands in the event's detail."""
    by_rule: str = ""
    """Instead, when nobody but the rules did it."""
    more: str = "{reason}"
    """What is told behind it, quietly."""


@dataclass(frozen=True, slots=True)
class Told:
    """One event, or the same of several machines at once, as people read it."""

    event: Event
    machines: tuple[str, ...]
    icon: str
    state: str
    words: Markup
    more: str

    @property
    def plain(self) -> str:
        """The sentence without its links."""
        return str(self.words.striptags())


ENDINGS = {
    "released": Says("lock-open", "free", "{holder} gave back {machine}"),
    "cancelled": Says("x", "", "{holder} left the queue"),
    "gave_up": Says("x", "", "{holder} was not heard any more, and left the queue"),
    "wait_over": Says("x", "", "{holder} did not want to wait any longer"),
    "expired": Says("clock", "warn", "The lease of {holder} on {machine} ran out"),
    "unconfirmed": Says("clock", "warn", "{holder} was not there when {machine} came"),
    "not_after": Says("clock", "warn", "{holder} had {machine} for as long as was asked for at most", more=""),
    "machine_lost": Says("plug-connected-x", "offline", "{holder} lost {machine}, which {were} away for too long", more=""),
    "reboot": Says("rotate-clockwise", "warn", "{holder} lost {machine}, which rebooted", more=""),
    "taken_back": Says("lock-open", "warn", "{actor} took {machine} from {holder}"),
    "evicted": Says("lock-open", "warn", "{holder} lost {machine}, which went out of service"),
    "board_closed": Says("lock-open", "warn", "{holder} lost {machine}, which let nobody in any more"),
    "history_went_back": Says("alert-triangle", "warn", "{holder} lost {machine}: the database went back in time"),
    "machine_merged": Says("link", "warn", "{holder} lost {machine}, which turned out to be another one"),
}  # fmt: skip
"""Of a lease, by why it ended."""

TAKEN_OUT = Says("x", "warn", "{actor} took {holder} out of the queue")
OTHER_END = Says("lock-open", "warn", "The lease of {holder} on {machine} ended: {why}")

VERDICTS = {
    "clean": Says(
        "circle-check", "free", "{machine} {were} clean all the time that {holder} had {it}", more=""
    ),
    "dirty": Says(
        "alert-triangle", "warn", "{machine} {were} dirty while {holder} had {it}", more="{reasons}"
    ),
}
NO_VERDICT = Says(
    "info-circle", "", "Whether {machine} {were} clean for {holder} is not known", more="{reasons}"
)

DONE = "exit 0"
"""What comes of a command that switched power."""

POWER_FAILED = Says(
    "power", "warn", "The power of {machine} was not switched for {actor}", more="{action}: {outcome}"
)

SENTENCES = {
    "lease.asked": Says("hourglass", "", "{holder} asked for {wanted}", more="{job}"),
    "lease.held": Says("lock", "locked", "{holder} locked {machine}", more="{job}"),
    "lease.confirmed": Says("check", "", "{holder} is there to use {machine}"),
    "lease.ready": Says("key", "", "{machine} let {holder} in"),
    "lease.changed": Says("edit", "", "{holder} changed {changed} of the lease on {machine}", more="{until}"),
    "lease.rebooted": Says("rotate-clockwise", "", "{machine} rebooted, and {holder} keeps it"),
    "lease.ended": OTHER_END,
    "lease.judged": NO_VERDICT,
    "machine.registered": Says("plus", "free", "{machine} reported for the first time", more="{address}"),
    "machine.joined": Says("plus", "free", "{machine} joined", more="{address}"),
    "machine.imported": Says("plus", "", "{machine} came over from the first service", more="{address}"),
    "machine.enrolled": Says("link", "", "{machine} runs the agent now", more="it was {was}"),
    "machine.online": Says("server", "free", "{machine} is back"),
    "machine.offline": Says("plug-connected-x", "offline", "{machine} went silent"),
    "machine.moved": Says("network", "", "{machine} has a new address", more="{address}"),
    "machine.rebooted": Says("rotate-clockwise", "", "{machine} rebooted"),
    "machine.clean": Says("refresh", "cleaning", "{machine} is clean"),
    "machine.witnessed": Says("alert-triangle", "warn", "{machine} knows more than the database, which went back in time"),
    "machine.recovered": Says("circle-check", "free", "{machine} is well again, and back in service"),
    "machine.quarantined": Says("alert-triangle", "warn", "{actor} quarantined {machine}", "{machine} was taken out of service"),
    "machine.attention": Says("alert-triangle", "warn", "{actor} wants a look at {machine}", "{machine} needs a look"),
    "machine.pending": Says("user-question", "", "{actor} lets {machine} wait for approval", "{machine} waits for approval"),
    "machine.drained": Says("player-pause", "", "{actor} took {machine} out of service"),
    "machine.in_service": Says("player-play", "free", "{actor} put {machine} into service"),
    "machine.amended": Says("edit", "", "{actor} changed {amends}{machine}", more="{amended}"),
    "machine.forgotten": Says("trash", "", "{actor} deleted {machine}"),
    "machine.power": Says("power", "", "{actor} switches the power of {machine}", more="{action}"),
    "machine.powered": Says("power", "", "The power of {machine} was switched for {actor}", more="{action}"),
    "pool.epoch": Says("flag", "warn", "Only machines that are heard anew are given out", more="epoch {epoch}: {reason}"),
    "token.issued": Says("key", "", "{actor} made a token of the kind {kind} for {name}", more="{role}"),
    "token.revoked": Says("key", "", "{actor} revoked a token of {name}"),
    "session.begun": Says("login", "", "{name} logged in"),
    "session.ended": Says("logout", "", "{name} logged out"),
    "person.added": Says("user-circle", "", "{actor} made an account for {name}", more="{role}"),
    "person.changed": Says("user-circle", "", "{actor} changed the account of {name}", more="{account}"),
    "person.deleted": Says("user-circle", "", "{actor} deleted the account of {name}"),
    "queue.long": Says("hourglass", "warn", "The queue is long", more="{waiting} wait"),
    "queue.short": Says("hourglass", "free", "The queue is not so long any more", more="{waiting} wait"),
    "webhook.added": Says("bell", "", "{actor} made the webhook {name}", more="{kind}: {host}"),
    "webhook.changed": Says("bell", "", "{actor} changed the webhook {name}", more="{changed}: {host}"),
    "webhook.deleted": Says("bell", "", "{actor} deleted the webhook {name}"),
    "webhook.tested": Says("bell", "", "{actor} tried the webhook {name}", more="{outcome}"),
    "webhook.gave_up": Says("alert-triangle", "warn", "The webhook {name} did not take its news", more="{about}: {outcome}"),
}  # fmt: skip
"""By kind of event."""

GROUPS = {
    "leases": ("Leases", tuple(kind for kind in SENTENCES if kind.startswith("lease."))),
    "boards": (
        "Boards",
        tuple(
            f"machine.{what}"
            for what in "registered joined imported enrolled online offline moved rebooted clean witnessed recovered".split()
        ),
    ),
    "service": (
        "Service",
        (
            *(
                f"machine.{what}"
                for what in "quarantined attention pending drained in_service amended forgotten".split()
            ),
            *("machine.recovered", "machine.power", "machine.powered", "pool.epoch", "queue.long", "queue.short"),
        ),
    ),
    "people": ("People", tuple(kind for kind in SENTENCES if kind.split(".")[0] in ("token", "session", "person", "webhook"))),
}  # fmt: skip
"""(word, kinds) by what somebody looks for."""

STEPS = (
    *("lease.confirmed", "lease.ready", "lease.changed", "machine.clean", "machine.witnessed"),
    *("session.begun", "session.ended", "machine.power"),
)
"""What goes on between two things that people did, or boards: told only to whoever asks for everything."""

HIGHLIGHTS = tuple(kind for kind in SENTENCES if kind not in STEPS)

AMENDS = {"labels": "the labels", "comment": "the comment", "reason": "the reason"}

CHANGES = {
    "ttl_s": "the length",
    "ssh_public_keys": "the SSH keys",
    "reboot_until_s": "an announced reboot",
    "url": "its address",
    "notices": "what it is told",
    "paused": "whether it is told",
    "secret": "what it is signed with",
}
"""Of a lease, and of a webhook."""


def tell(event: Event, machines: Sequence[str] = ()) -> Told:
    """The sentence of one event; `machines` if it happened to several at once."""
    names = tuple(machines) or ((event.machine,) if event.machine else ())
    says = _says(event)
    values = _values(event, names)
    words = says.by_rule if says.by_rule and event.actor == SYSTEM.name else says.words
    more = says.more.format_map(values).strip(" :")
    return Told(event, names, says.icon, says.state, _marked(words).format_map(values.marked()), more)


def told(events: Iterable[Event]) -> list[Told]:
    """Each, but what happened to several machines of one lease at once is one sentence."""
    found: list[list[Event]] = []
    for event in events:
        if found and _same(found[-1][-1], event):
            found[-1].append(event)
        else:
            found.append([event])
    return [tell(same[0], sorted(one.machine for one in same if one.machine)) for same in found]


def _same(one: Event, other: Event) -> bool:
    return bool(one.lease) and (one.revision, one.kind, one.lease) == (
        other.revision,
        other.kind,
        other.lease,
    )


def _says(event: Event) -> Says:
    detail = event.detail
    if event.kind == "lease.ended":
        why = str(detail.get("why") or "")
        queued = why == "taken_back" and not event.machine
        return TAKEN_OUT if queued else ENDINGS.get(why, OTHER_END)
    if event.kind == "lease.judged":
        return VERDICTS.get(str(detail.get("verdict")), NO_VERDICT)
    if event.kind == "machine.powered" and detail.get("outcome") != DONE:
        return POWER_FAILED
    return SENTENCES.get(event.kind) or Says(
        "info-circle", "", event.kind.replace("{", "{{").replace("}", "}}")
    )


def _marked(words: str) -> Markup:
    """A sentence of the tables above."""
    return Markup(words)  # noqa: S704  our own text


class _Values(dict[str, str]):
    """What can stand in a sentence, as text; what an event does not say is empty."""

    names: tuple[str, ...] = ()

    def __missing__(self, key: str) -> str:
        return ""

    def marked(self) -> _Marks:
        """People in bold, machines as links to their pages."""
        marks = _Marks(self)
        for key in ("actor", "holder", "name"):
            marks[key] = Markup("<b>{}</b>").format(self[key])
        marks["machine"] = _links(self.names)
        return marks


class _Marks(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return ""


def _links(names: Sequence[str]) -> Markup:
    if not names:
        return Markup("a machine")
    link = Markup('<a href="/m/{}">{}</a>')
    return link.format(quote(names[0], safe=""), shown(names[0], 64)) if len(names) == 1 else _several(names)


def _several(names: Sequence[str]) -> Markup:
    return Markup('<a href="/?q={}">{}</a>').format(
        quote(f"name:({'|'.join(names)})"), listed(tuple(names), 8)
    )


def _values(event: Event, names: tuple[str, ...]) -> _Values:
    detail = event.detail
    values = _Values({key: shown(value) for key, value in detail.items() if isinstance(value, str | int)})
    values.names = names
    values["actor"] = "the pool" if event.actor == SYSTEM.name else person(event.actor)
    values["holder"] = person(event.holder or event.actor)
    values["machine"] = listed(names, 8) or "a machine"
    values["wanted"] = _wanted(detail)
    values["reasons"] = shown("; ".join(_texts(detail.get("reasons"))))
    values["changed"] = " and ".join(CHANGES.get(what, what) for what in _texts(detail.get("changed")))
    values["until"] = _until(detail)
    values["amends"] = _amends(detail)
    values["amended"] = _amended(detail)
    values["were"], values["it"] = ("was", "it") if len(names) < 2 else ("were", "them")
    values["account"] = _account(detail)
    return values


def _wanted(detail: Mapping[str, Any]) -> str:
    selector, count = str(detail.get("selector") or "any machine"), detail.get("count")
    selector = shown(selector if " " in selector else selector.removeprefix("name:"))
    return f"{selector}, {count} at once" if isinstance(count, int) and count > 1 else selector


def _texts(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list | tuple) else []


def _until(detail: Mapping[str, Any]) -> str:
    """How long a lease is since it was changed; older events do not say."""
    if "ttl_s" not in detail:
        return ""
    ttl_s = detail["ttl_s"]
    return f"{span(ttl_s)} from then" if isinstance(ttl_s, int | float) else "no end"


def _amends(detail: Mapping[str, Any]) -> str:
    said = [word for key, word in AMENDS.items() if key in detail]
    return f"{' and '.join(said)} of " if said else ""


def _amended(detail: Mapping[str, Any]) -> str:
    labels = detail.get("labels")
    pairs = labels.items() if isinstance(labels, Mapping) else ()
    said = [f"-{key}" if value is None else f"{key}:{value}" if value else str(key) for key, value in pairs]
    return shown(" · ".join([" ".join(said), str(detail.get("comment") or "")]).strip(" ·"))


def _account(detail: Mapping[str, Any]) -> str:
    said = [str(detail.get("role") or ""), "disabled" if detail.get("disabled") else ""]
    said += ["another password"] if detail.get("password") else []
    return ", ".join(filter(None, said))
