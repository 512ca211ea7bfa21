"""Rows of the pool as the answers of the wire."""

from __future__ import annotations

from picluster.pool.explain import OFFLINE, ahead, is_awaited, present, state_of, why_waiting
from picluster.pool.model import Event, Lease, LeaseState, Machine, Mode, Sample, Token
from picluster.pool.policy import Policy
from picluster.pool.selector import Facts, facts_of
from picluster.server.view import View
from picluster.wire import (
    BeatAnswer,
    EventAnswer,
    LeaseAnswer,
    LeasedMachine,
    LeaseForAgent,
    LeaseOnMachine,
    MachineAnswer,
    SampleAnswer,
    TokenAnswer,
)

ME = "me"
"""In a search, whoever asks."""

JOINING = "joining"
"""In a search and on pages, what has joined and not beaten yet; elsewhere it is offline like others."""


def expires_in_s(view: View, policy: Policy, lease: Lease) -> float | None:
    """Seconds that the lease lives without a renewal, as a client may count on: without the service's slack."""
    if not lease.live:
        return 0.0
    lives = lease.ttl_s if lease.confirmed else policy.confirm_s
    ends = [] if lives is None else [lease.renewed_s + lives]
    if not lease.machines:
        ends = [lease.renewed_s + policy.waiting_s]
    elif lease.not_after_s is not None:
        ends.append(lease.granted_s + lease.not_after_s)
    return round(max(0.0, min(ends) - view.now()), 3) if ends else None


def lease_answer(view: View, policy: Policy, lease: Lease) -> LeaseAnswer:
    machines = (view.roster.machines.get(name) for name in lease.machines)
    waiting = lease.state is LeaseState.WAITING
    return LeaseAnswer(
        id=lease.id,
        state=lease.state.value,
        holder=lease.holder,
        job=lease.job,
        selector=lease.selector,
        count=lease.count,
        priority=lease.priority,
        ttl_s=lease.ttl_s,
        on_reboot=lease.on_reboot,
        place=lease.place,
        ahead=ahead(view.roster, lease) if waiting else 0,
        why_waiting=why_waiting(view.roster, lease),
        set_aside=lease.set_aside,
        machines=tuple(_leased(machine, lease) for machine in machines if machine is not None),
        fence=lease.fence,
        ready=lease.ready,
        expires_in_s=expires_in_s(view, policy, lease),
        joined_us=lease.joined_us,
        granted_us=lease.granted_us,
        ended_us=lease.ended_us,
        ended=lease.ended,
        ended_by=lease.ended_by,
        verdict="" if lease.awaiting else lease.verdict,
        verdict_reasons=lease.verdict_reasons,
        revision=lease.revision,
    )


def _leased(machine: Machine, lease: Lease) -> LeasedMachine:
    let_in = machine.reported_fence == lease.fence and not machine.reported_closed
    return LeasedMachine(
        name=machine.name,
        address=machine.address,
        model=str(machine.facts.get("model") or ""),
        mode=machine.mode,
        ready=machine.mode is not Mode.ENFORCED or let_in,
        host_keys=machine.host_keys,
        ssh_user=machine.ssh_user,
        ssh_port=machine.ssh_port,
    )


def machine_answer(view: View, policy: Policy, machine: Machine) -> MachineAnswer:
    heard = view.heard.get(machine.name)
    lease = view.roster.leases.get(machine.lease)
    return MachineAnswer(
        name=machine.name,
        address=machine.address,
        state=state_of(view.roster, machine),
        mode=machine.mode,
        service=machine.service,
        reason=machine.reason,
        ailing=machine.ailing,
        id=machine.id,
        facts={key: value for key, value in machine.facts.items() if not key.startswith("announced_")},
        labels=dict(machine.all_labels),
        comment=machine.comment,
        presence=machine.presence.value,
        seen_s=round(view.silent_s(machine), 3),
        telemetry=dict(heard.telemetry) if heard else {},
        host_keys=machine.host_keys,
        ssh_user=machine.ssh_user,
        ssh_port=machine.ssh_port,
        fence=machine.fence,
        registered_us=machine.registered_us,
        revision=machine.revision,
        lease=_on_machine(view, policy, lease) if lease else None,
    )


def _on_machine(view: View, policy: Policy, lease: Lease) -> LeaseOnMachine:
    return LeaseOnMachine(
        lease.id, lease.holder, lease.job, lease.fence, lease.granted_us, expires_in_s(view, policy, lease)
    )


def search_facts(view: View, machine: Machine, me: str = "") -> Facts:
    """What a search may ask of a machine: the stable facts, and how it is just now. `user:me` is what `me` holds; a
    machine that went while somebody had it is both locked and offline, one that has not beaten yet offline and joining."""
    heard = view.heard.get(machine.name)
    telemetry = heard.telemetry if heard else {}
    lease = view.roster.leases.get(machine.lease)
    stable = view.roster.facts(machine)
    numbers = {"seen": view.silent_s(machine)}
    temperature, load = telemetry.get("temperature"), telemetry.get("load")
    if isinstance(temperature, int | float):
        numbers["temp"] = float(temperature)
    if isinstance(load, list | tuple) and load and isinstance(load[0], int | float):
        numbers["load"] = float(load[0])
    now = facts_of(
        texts={
            "state": _states(view, machine),
            "user": (lease.holder, ME if lease.holder == me else "") if lease else "",
            "job": lease.job if lease else "",
            "comment": machine.comment,
        },
        numbers=numbers,
        labels={},
    )
    return Facts(
        texts={**stable.texts, **now.texts}, numbers={**stable.numbers, **now.numbers}, words=stable.words
    )


def _states(view: View, machine: Machine) -> tuple[str, ...]:
    away = () if present(view.roster, machine) else (OFFLINE,)
    return (state_of(view.roster, machine), *away, *((JOINING,) if is_awaited(machine) else ()))


def beat_answer(view: View, policy: Policy, machine: Machine, beat_s: float, orders: str) -> BeatAnswer:
    lease = view.roster.leases.get(machine.lease)
    return BeatAnswer(
        machine=machine.name,
        interval_s=beat_s,
        fence=machine.fence,
        lease=_for_agent(view, policy, lease) if lease else None,
        cleaning=machine.cleaning,
        service=machine.service,
        orders=orders,
    )


def _for_agent(view: View, policy: Policy, lease: Lease) -> LeaseForAgent:
    left = expires_in_s(view, policy, lease)
    return LeaseForAgent(
        lease.id, lease.holder, lease.job, lease.fence, left, lease.on_reboot, lease.ssh_public_keys
    )


def event_answer(event: Event) -> EventAnswer:
    return EventAnswer(
        id=f"{event.epoch}.{event.revision}",
        at_us=event.at_us,
        kind=event.kind,
        actor=event.actor,
        address=event.address,
        machine=event.machine,
        lease=event.lease,
        holder=event.holder,
        detail=dict(event.detail),
    )


def sample_answer(sample: Sample) -> SampleAnswer:
    return SampleAnswer(**{name: getattr(sample, name) for name in SampleAnswer.__slots__})


def token_answer(token: Token, text: str | None = None) -> TokenAnswer:
    return TokenAnswer(
        token.id,
        token.kind,
        token.name,
        token.role.name.lower(),
        token.issued_by,
        token.issued_us,
        token.expires_us,
        token.revoked,
        token.uses_left,
        token.approve,
        text,
    )
