"""Machines over HTTP: list, look, label, take out of service, forget."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from picluster.errors import Malformed, NotFound
from picluster.pool.commands import Amend, Forget
from picluster.pool.model import Machine
from picluster.pool.selector import Selector, parse
from picluster.server.context import Context
from picluster.server.present import machine_answer, sample_answer, search_facts
from picluster.server.v1.common import InContext, Limit, ListReader, Operator, User, Viewer, Wait, answer
from picluster.wire import (
    LARGEST_NUMBER,
    LONGEST_SELECTOR,
    LONGEST_WAIT_S,
    MachineAmendment,
    MachineAnswer,
    PowerAnswer,
    PowerRequest,
    SampleAnswer,
    raise_problems,
    text_problem,
)

router = APIRouter(tags=["machines"])

DAY_US = 86_400_000_000

WallUs = Annotated[int, Query(ge=0, le=LARGEST_NUMBER, description="µs since 1970")]
Samples = Annotated[int, Query(ge=1, le=10_000)]
DAY_OF_SAMPLES = 8_640
"""As many as a day can have, at one in ten seconds."""


def find(context: Context, text: str, me: str = "") -> list[Machine]:
    """Machines by name that a search finds, as `me` asks it; an exact name or address wins over reading it as a selector."""
    problem = text_problem(text, LONGEST_SELECTOR)
    if problem:
        raise Malformed(f"q: {problem}", field="q")
    roster = context.view.roster
    exact = roster.machine_called(text.strip())
    if exact is not None:
        return [exact]
    machines = sorted(roster.machines.values(), key=lambda machine: machine.name)
    selector = read_search(context, text)
    if selector is None:
        return machines
    return [machine for machine in machines if selector.matches(search_facts(context.view, machine, me))]


def read_search(context: Context, text: str) -> Selector | None:
    """A search as a selector; None for an empty one. Raises `Malformed`."""
    if not text.strip():
        return None
    counts = context.view.roster.label_keys.items()
    return parse(text, searching=True, label_keys={key for key, count in counts if count > 0})


def _known(context: Context, name: str) -> Machine:
    machine = context.view.roster.machine_called(name)
    if machine is None:
        raise NotFound(f"No machine is called {name!r}.", "`picluster list` shows what there is.")
    return machine


@router.get("/machines", response_model=list[MachineAnswer])
async def list_machines(
    request: Request, context: InContext, actor: ListReader, q: str = "", limit: Limit = 1000, after: str = ""
) -> Response:
    """Machines that a search finds, by name; the next page begins behind the name `after`. While the old protocol is open,
    so is this, unless a setting closes it."""
    etag = f'W/"{context.view.revision}.{int(context.view.now())}"'
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={"ETag": etag})
    me = actor.name if actor else ""
    found = [machine for machine in find(context, q, me) if machine.name > after][:limit]
    return answer(
        [machine_answer(context.view, context.settings.policy, machine) for machine in found], ETag=etag
    )


@router.get("/machines/{name}", response_model=MachineAnswer)
async def get_machine(name: str, context: InContext, actor: ListReader) -> Response:
    """One machine, by name or address. Open as the list of them is."""
    return answer(machine_answer(context.view, context.settings.policy, _known(context, name)))


@router.get("/machines/{name}/samples", response_model=list[SampleAnswer])
async def get_samples(
    name: str,
    context: InContext,
    actor: Viewer,
    since: WallUs = 0,
    until: WallUs = 0,
    limit: Samples = DAY_OF_SAMPLES,
) -> Response:
    """How a board was, oldest first: every beat for a day, ten minutes in one for a month; the last day unless told otherwise."""
    machine = _known(context, name)
    until = until or context.wall_us() + 1
    since = since or until - DAY_US
    found = await asyncio.to_thread(context.store.samples, machine.name, since, until, limit)
    return answer([sample_answer(sample) for sample in found])


@router.post("/machines/{name}/power", response_model=PowerAnswer)
async def switch_power(
    name: str, ask: PowerRequest, context: InContext, actor: Operator, wait: Wait = LONGEST_WAIT_S
) -> Response:
    """Carry out the command that the service's configuration has for this machine. Answered when it is over, or after
    `wait`; asking again waits on."""
    raise_problems(ask.problems())
    return answer(await context.power.switch(context, actor, _known(context, name), ask.action, wait))


@router.patch("/machines/{name}", response_model=MachineAnswer)
async def patch_machine(name: str, change: MachineAmendment, context: InContext, actor: User) -> Response:
    """Its comment; as an operator its labels (null removes one), and whether it is in service."""
    raise_problems(change.problems())
    machine = await context.coordinator.ask(
        Amend(actor, name, change.labels, change.comment, change.service, change.reason, change.evict)
    )
    return answer(machine_answer(context.view, context.settings.policy, machine))


@router.delete("/machines/{name}", response_model=MachineAnswer)
async def delete_machine(
    name: str, context: InContext, actor: User, reason: Annotated[str, Query(max_length=255)] = ""
) -> Response:
    """Forget a machine that nobody holds; as it was. For operators; with the shared key, one of the old protocol."""
    problem = text_problem(reason)
    if problem:
        raise Malformed(f"reason: {problem}", field="reason")
    machine = await context.coordinator.ask(Forget(actor, name, reason))
    return answer(machine_answer(context.view, context.settings.policy, machine))
