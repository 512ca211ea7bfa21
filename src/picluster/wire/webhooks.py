"""Addresses that are told what happens."""

from __future__ import annotations

from dataclasses import dataclass

from picluster.wire.limits import LONGEST_URL, NAME, NOTHING_ELSE, Problems, text


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """`POST /webhooks`: an address that is told what happens."""

    __pydantic_config__ = NOTHING_ELSE

    name: str
    url: str
    kind: str = "generic"
    notices: tuple[str, ...] = ()
    """What it is told of; empty for everything."""

    KINDS = ("generic", "slack", "teams")
    NOTICES = (
        *("machine.lost", "machine.quarantined", "machine.back"),
        *("lease.expired", "lease.taken", "queue.long"),
    )

    def problems(self) -> Problems:
        if not NAME.fullmatch(self.name):
            yield (
                "name",
                "must be letters, digits, `.`, `_`, `-`, at most 63, and begin with a letter or digit",
            )
        if self.kind not in self.KINDS:
            yield "kind", f"must be one of {', '.join(self.KINDS)}"
        yield from text("url", self.url, LONGEST_URL)
        yield from _notices(self.notices)


@dataclass(frozen=True, slots=True)
class WebhookAmendment:
    """`PATCH /webhooks/{name}`: what is left out stays as it is."""

    __pydantic_config__ = NOTHING_ELSE

    url: str | None = None
    notices: tuple[str, ...] | None = None
    paused: bool | None = None
    """What happens while it is paused it is never told; what waited before is, once it is resumed."""
    renew_secret: bool = False
    """Sign with another secret from now on, which is in the answer and nowhere else."""

    def problems(self) -> Problems:
        yield from text("url", self.url or "", LONGEST_URL)
        yield from _notices(self.notices or ())


def _notices(notices: tuple[str, ...]) -> Problems:
    if unknown := [notice for notice in notices if notice not in WebhookRequest.NOTICES]:
        yield (
            "notices",
            f"has {', '.join(map(repr, unknown[:4]))}; there is {', '.join(WebhookRequest.NOTICES)}",
        )
    if len(set(notices)) != len(notices):
        yield "notices", "names one twice"


@dataclass(frozen=True, slots=True)
class AttemptAnswer:
    """What came of sending one message to a webhook."""

    at_us: int
    state: str
    """delivered, failed (it will be tried again) or given_up."""
    about: str
    """The first thing that it told of."""
    count: int
    """So many things were in it."""
    outcome: str
    """What the receiver answered, or what was in the way."""


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    """A webhook; `secret` is there once, in the answer that made it."""

    name: str
    kind: str
    host: str
    """Where it is. The rest of its address may be a secret, and is not shown again."""
    notices: tuple[str, ...]
    """What it is told of; empty for everything."""
    paused: bool
    created_us: int
    created_by: str
    delivered: int
    given_up: int
    """Events since it was made that arrived, and that did not."""
    failures: int
    """Attempts in a row that failed, at what is next."""
    failing_since_us: int
    """0 while its receiver answers."""
    retry_in_s: float | None
    """Null when nothing has to wait."""
    attempts: tuple[AttemptAnswer, ...]
    """The last ones, the newest first."""
    revision: int
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class WebhookTest:
    """`POST /webhooks/{name}/test`: what came of one message."""

    name: str
    arrived: bool
    outcome: str
