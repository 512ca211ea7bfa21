"""The beat: how a board says that it is there, and learns what it should do. Plain ones are answered at once."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import parse_qs, unquote

import msgspec
from starlette.types import Receive, Scope, Send

from picluster.errors import Malformed, NotAllowed, PiclusterError, Unavailable
from picluster.pool.boards import plain
from picluster.pool.commands import Beat, Report
from picluster.pool.model import Actor, Heard, Machine, Role
from picluster.pool.selector import built_in
from picluster.server.access.gate import require
from picluster.server.context import Context
from picluster.server.http import client_address, encode, header, read_body, send_error, send_json
from picluster.server.present import beat_answer
from picluster.wire import LONGEST_REPORTED, LONGEST_WAIT_S, NAME, BeatRequest, raise_problems

PATH = re.compile(r"/api/v1/machines/([^/]+)/beat")

_decoder = msgspec.json.Decoder(BeatRequest)


class Beats:
    """`POST /api/v1/machines/{name}/beat?wait=S`"""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send, name: str) -> None:
        try:
            await send_json(send, await self._answer(scope, receive, unquote(name)))
        except PiclusterError as error:
            self._context.metrics.error(error)
            await send_error(send, error)

    async def _answer(self, scope: Scope, receive: Receive, name: str) -> bytes:
        context = self._context
        actor = self._agent(scope, name)
        wait_s = _wait(scope)
        said = _said(await read_body(receive))
        if not context.coordinator.alive():
            raise Unavailable(
                "No turn has succeeded lately.", "Beat at another replica, or again in a moment."
            )
        context.metrics.beats.labels("v1").inc()
        machine = context.view.roster.machine_named(name)
        orders = self._orders(machine)
        known, now_us = said.orders or orders, context.wall_us()
        report = _report(said, knows=bool(orders) and said.orders == orders)
        policy = context.settings.policy
        if machine is not None and plain(machine, report, context.view.roster.epoch, now_us, policy):
            self._hear(machine, report, now_us)
        else:
            machine = await context.coordinator.ask(Beat(actor, name, report, now_us))
        if wait_s:
            await context.hold(
                wait_s,
                known,
                lambda: self._orders_now(name),
                ("machine", machine.name),
                ("lease", machine.lease),
            )
        machine = context.view.roster.machine_named(name) or machine
        return encode(
            beat_answer(
                context.view, context.settings.policy, machine, context.settings.beat_s, self._orders(machine)
            )
        )

    def _agent(self, scope: Scope, name: str) -> Actor:
        gate = self._context.gate
        actor = require(gate.actor(header(scope, b"authorization"), "", client_address(scope)), Role.JOIN)
        if actor.role is not Role.AGENT:
            raise NotAllowed(
                "A beat needs the machine's own agent token.", "Make one: POST /api/v1/tokens, kind agent."
            )
        if actor.machine != name:
            raise NotAllowed(
                f"This token is for {actor.machine}, not for {name}.", "Each board has a token of its own."
            )
        return actor

    def _hear(self, machine: Machine, report: Report, now_us: int) -> None:
        known = self._context.view.heard.get(machine.name)
        if known and known.boot_id == report.boot_id and report.seq and report.seq <= known.seq:
            return
        self._context.coordinator.hear(
            Heard(
                machine.name,
                self._context.view.now(),
                now_us,
                report.boot_id,
                report.seq,
                report.telemetry,
            )
        )

    def _orders_now(self, name: str) -> str:
        return self._orders(self._context.view.roster.machine_named(name))

    def _orders(self, machine: Machine | None) -> str:
        """A digest of what a board has to know at once: while a board knows it, its beat may be held open."""
        if machine is None:
            return ""
        lease = self._context.view.roster.leases.get(machine.lease)
        keys = lease.ssh_public_keys if lease else ()
        orders = (machine.lease, machine.cleaning, machine.service.value, keys)
        return hashlib.sha256(repr(orders).encode()).hexdigest()[:16]


def _wait(scope: Scope) -> float:
    values = parse_qs(scope["query_string"].decode("latin-1")).get("wait", ["0"])
    try:
        wait_s = float(values[-1])
    except ValueError:
        wait_s = -1.0
    if not 0 <= wait_s <= LONGEST_WAIT_S:
        raise Malformed(f"wait: must be from 0 to {LONGEST_WAIT_S:g} seconds", field="wait")
    return wait_s


def _said(body: bytes) -> BeatRequest:
    try:
        said = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise Malformed(
            f"body: {problem}", "Send a JSON object as the API's reference shows it.", field="body"
        ) from None
    raise_problems(said.problems())
    return said


def _report(said: BeatRequest, *, knows: bool) -> Report:
    facts = {
        key: value[:LONGEST_REPORTED] if isinstance(value, str) else value
        for key, value in said.facts.items()
    }
    return Report(
        id=said.id,
        address=said.address,
        mode=said.mode,
        boot_id=said.boot_id,
        seq=said.seq,
        facts=facts,
        labels={key: value[:LONGEST_REPORTED] for key, value in said.labels.items() if not built_in(key)},
        host_keys=said.host_keys,
        ssh_user=said.ssh_user,
        ssh_port=said.ssh_port,
        telemetry=said.telemetry,
        fence=said.fence,
        closed=said.closed,
        clean=said.clean,
        knows=knows,
    )


def beat_path(path: str) -> str | None:
    """The machine's name, if this is the path of a beat."""
    match = PATH.fullmatch(path)
    return match.group(1) if match and NAME.fullmatch(unquote(match.group(1))) else None
