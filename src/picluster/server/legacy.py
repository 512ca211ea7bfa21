"""The first service's wire protocol, `/api`, translated into the same commands. Nothing behind it knows.

Success and refusal are HTTP 200, since old clients treat any other status as a crash. What a lock call
sent comes back byte for byte, because its sender compares it and gives up on a difference.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

import msgspec
from starlette.types import Receive, Scope, Send

from picluster.errors import Malformed, PiclusterError, Refused
from picluster.pool.boards import LEGACY_ID, plain
from picluster.pool.commands import ForgetAddress, FreeAddress, LockAddress, Report, UpdateAddress
from picluster.pool.model import LEGACY_PREFIX, Actor, Heard, Lease, Machine, Mode, Presence, Role, Row
from picluster.server.context import Context
from picluster.server.http import (
    Hot,
    client_address,
    encode,
    header,
    read_body,
    send_error,
    send_json,
)
from picluster.wire import LONGEST_JOB, LONGEST_REPORTED, LONGEST_TEXT, text_problem

MISMATCH = b'{"error":"api key mismatch"}'
DEAD = "dead?"
"""What the first service wrote into the comment of a machine that it had not heard for 5 minutes."""

LEGACY_DEAD_S = 300.0
ECHOED = ("CurrentUserName", "CurrentTaskName", "LockKey")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


class LegacyDoor:
    """`GET /api`, and `POST` of update, lock, free and delete, below `/api` and, as aliases, at the root."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._list = MachineList(context)

    def routes(self) -> dict[tuple[str, str], Hot]:
        """Which path is answered by what, while the door is open."""
        calls = {"update": self._update, "lock": self._lock, "free": self._free, "delete": self._delete}
        routes: dict[tuple[str, str], Hot] = {("GET", path): self.read for path in ("/api", "/api/")}
        for name, call in calls.items():
            for path in (f"/api/{name}", f"/{name}"):
                routes["POST", path] = self._posted(call)
        return routes

    async def read(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The list, or with `?id=` the one machine at an address."""
        if not self._context.settings.public_list:
            try:
                actor = self._context.gate.actor(header(scope, b"authorization"), "", client_address(scope))
            except PiclusterError as error:
                await self._refuse(send, error)
                return
            if actor is None:
                await send_json(send, b'{"error":"the list needs a login"}')
                return
        address = parse_qs(scope["query_string"].decode("latin-1")).get("id", [""])[-1]
        if address:
            await send_json(send, self._list.one(address))
            return
        etag, body = self._list.all()
        if header(scope, b"if-none-match").encode() == etag:
            await send({"type": "http.response.start", "status": 304, "headers": [(b"etag", etag)]})
            await send({"type": "http.response.body", "body": b""})
            return
        await send_json(send, body, headers=[(b"etag", etag)])

    async def _refuse(self, send: Send, error: PiclusterError) -> None:
        self._context.metrics.error(error)
        await send_error(send, error)

    def _posted(self, call: Any) -> Hot:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                said = _object(await read_body(receive))
            except PiclusterError as error:
                self._context.metrics.error(error)
                await send_json(send, encode({"error": error.message}), error.status)
                return
            if not self._context.gate.shared_key_fits(said.get("ApiKey"), client_address(scope)):
                await send_json(send, MISMATCH)
                return
            try:
                body = await call(said, client_address(scope))
            except Malformed as problem:
                body = encode({"error": problem.message})
            except Refused:
                body = b"null"
            except PiclusterError as error:
                await self._refuse(send, error)
                return
            await send_json(send, body)

        return answer

    async def _update(self, said: Mapping[str, Any], client: str) -> bytes:
        context = self._context
        report = report_of(said)
        context.metrics.beats.labels("legacy").inc()
        machine = context.view.roster.machine_at(report.address)
        if (
            machine is not None
            and machine.mode is Mode.LEGACY
            and _says_nothing_new(context, machine, report)
        ):
            context.coordinator.hear(
                Heard(machine.name, context.view.now(), context.wall_us(), telemetry=report.telemetry)
            )
        else:
            actor = Actor(f"{LEGACY_PREFIX}{report.address}", Role.USER, client, limited=False)
            machine = await context.coordinator.ask(UpdateAddress(actor, report, context.wall_us()))
            machine = context.view.roster.machines.get(machine.name, machine)
        return self._list.rendered(machine)

    async def _lock(self, said: Mapping[str, Any], client: str) -> bytes:
        address = _address(said)
        echoed = {key: said[key] for key in ECHOED if key in said}
        for key in echoed:
            words_of(said, key)
        machine = await self._context.coordinator.ask(
            LockAddress(
                by=_actor(said, client),
                lease=str(uuid.uuid4()),
                address=address,
                job=said.get("CurrentTaskName") or "",
                ttl_s=self._context.settings.legacy_ttl_s,
            )
        )
        return encode({**self._list.object(machine), "Command": "Lock", **echoed})

    async def _free(self, said: Mapping[str, Any], client: str) -> bytes:
        """The machine as freed, even if somebody who waited has it already; else old clients say that it failed."""
        machine = await self._context.coordinator.ask(FreeAddress(_actor(said, client), _address(said)))
        freed = {"Command": "Free", "CurrentUserName": "", "CurrentTaskName": "", "LockKey": ""}
        return encode({**self._list.object(machine), **freed})

    async def _delete(self, said: Mapping[str, Any], client: str) -> bytes:
        address = _address(said)
        machine = self._context.view.roster.machine_at(address)
        before = self._list.object(machine) if machine is not None else None
        await self._context.coordinator.ask(ForgetAddress(_actor(said, client), address))
        return encode(before)


class MachineList:
    """The old list, sorted by address as text. Only machines that changed are rendered again, and clocks once a second."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._body = b"[]"
        self._stamp: tuple[int, int] | None = None
        self._fragments: dict[str, tuple[object, int, bytes]] = {}
        self._sorted: list[str] = []
        self._addresses: dict[str, str] | None = None
        self._roster = context.view.roster
        """Whose addresses these are: after a reload machines may be missing that nobody has said goodbye to."""
        context.view.listeners.append(self._changed)

    def all(self) -> tuple[bytes, bytes]:
        """(ETag, body). Beats and `Seconds` may be a second old; everything else is as of the last commit."""
        view = self._context.view
        stamp = (view.revision, int(view.now()))
        if stamp != self._stamp:
            self._body = self._render(stamp[1])
            self._stamp = stamp
        return b'W/"%d.%d"' % stamp, self._body

    def one(self, address: str) -> bytes:
        machine = self._context.view.roster.machine_at(address)
        return b"[null]" if machine is None else b"[" + self.rendered(machine) + b"]"

    def rendered(self, machine: Machine) -> bytes:
        return encode(self.object(machine))

    def object(self, machine: Machine) -> dict[str, Any]:
        """The machine object of the old protocol, as a reader sees it."""
        view = self._context.view
        facts, heard = machine.facts, view.heard.get(machine.name)
        telemetry = heard.telemetry if heard else {}
        silent = view.silent_s(machine)
        fresh = machine.presence is Presence.ONLINE and machine.seen_epoch == view.roster.epoch
        alive = fresh and silent < LEGACY_DEAD_S
        holder, job, command = self._holding(machine)
        return {
            "IpAddress": machine.address,
            "Platform": facts.get("platform") or "",
            "OsName": facts.get("os_name") or facts.get("os") or "",
            "OsVersion": facts.get("os_version") or "",
            "HostName": facts.get("host_name") or "",
            "Temperature": _temperature(telemetry),
            "SystemLoad": _load(telemetry),
            "Comment": machine.comment if alive else DEAD,
            "Command": command,
            "CurrentUserName": holder,
            "CurrentTaskName": job,
            "LockKey": "",
            "LastHeartbeat": (heard.heard_us if heard else machine.registered_us) // 1000,
            "IsAlive": alive,
            "Seconds": str(int(silent)),
        }

    def _holding(self, machine: Machine) -> tuple[str, str, str]:
        """(user, task, command): who keeps it from others, or why it cannot be had."""
        roster = self._context.view.roster
        lease = roster.leases.get(machine.lease) or roster.leases.get(roster.aside.get(machine.name, ""))
        if lease is not None:
            return lease.holder.removeprefix(LEGACY_PREFIX), lease.job, "Lock"
        obstacle = roster.obstacle(machine)
        if obstacle:
            return obstacle, machine.reason, "Lock"
        if machine.fence:
            return "", "", "Free"
        facts = machine.facts
        return "", facts.get("announced_task") or "", facts.get("announced_command") or ""

    def _changed(self, rows: Sequence[Row]) -> None:
        """Forget the fragments of what changed, and the order if an address may have."""
        for name in _touched(rows):
            self._fragments.pop(name, None)
        if any(isinstance(row, Machine) and self._stands_elsewhere(row) for row in rows):
            self._addresses = None
        if rows:
            self._stamp = None

    def _stands_elsewhere(self, machine: Machine) -> bool:
        """Whether the sorted addresses are wrong about it: it is new, gone, or has moved."""
        return (
            machine.deleted or self._addresses is None or self._addresses.get(machine.address) != machine.name
        )

    def _render(self, second: int) -> bytes:
        roster, heard = self._context.view.roster, self._context.view.heard
        if self._addresses is None or self._roster is not roster:
            self._roster = roster
            self._addresses = dict(sorted(roster.by_address.items()))
            self._fragments = {
                name: kept for name, kept in self._fragments.items() if name in roster.machines
            }
        parts = []
        for name in self._addresses.values():
            kept = self._fragments.get(name)
            if kept is None or kept[1] != second or kept[0] is not heard.get(name):
                fragment = encode(self.object(roster.machines[name]))
                kept = self._fragments[name] = (heard.get(name), second, fragment)
            parts.append(kept[2])
        return b"[" + b",".join(parts) + b"]"


def _touched(rows: Iterable[Row]) -> Iterable[str]:
    for row in rows:
        if isinstance(row, Machine):
            yield row.name
        elif isinstance(row, Lease):
            yield from row.machines
            yield from row.set_aside


def _object(body: bytes) -> dict[str, Any]:
    """The body as a JSON object. Raises `Malformed`, which the door answers with 400."""
    try:
        said = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise Malformed(f"the body is not JSON: {problem}") from None
    if not isinstance(said, dict):
        raise Malformed("the body must be a JSON object")
    return said


def _address(said: Mapping[str, Any]) -> str:
    address = said.get("IpAddress")
    if not isinstance(address, str) or not address or text_problem(address, LONGEST_TEXT):
        raise Malformed("IpAddress: must be text of 1 to 255 characters")
    return address


def words_of(said: Mapping[str, Any], key: str) -> str:
    """What a person chose, who or what for. Missing, null and "" are the same. Raises `Malformed` naming the key."""
    value = said.get(key)
    if value is not None and not isinstance(value, str):
        raise Malformed(f"{key}: must be text or null")
    problem = text_problem(value or "", LONGEST_JOB)
    if problem:
        raise Malformed(f"{key}: {problem}")
    return value or ""


def _actor(said: Mapping[str, Any], client: str) -> Actor:
    """Whoever knows the shared key is who they say they are; a name that is no text is nobody's."""
    name = words_of(said, "CurrentUserName") if isinstance(said.get("CurrentUserName"), str) else ""
    return legacy_actor(name, client)


def legacy_actor(name: str, client: str = "") -> Actor:
    """A user of the shared key."""
    return Actor(f"{LEGACY_PREFIX}{name}", Role.USER, client, limited=False)


def report_of(said: Mapping[str, Any]) -> Report:
    """What a board reported, cut to what is kept. The formats are the old monitor's."""
    address = _address(said)
    comment = _kept(said, "Comment")
    command = _kept(said, "Command")
    facts = {
        "platform": _kept(said, "Platform"),
        "os": _kept(said, "OsName"),
        "os_name": _kept(said, "OsName"),
        "os_version": _kept(said, "OsVersion"),
        "host_name": _kept(said, "HostName"),
        "announced_task": _kept(said, "CurrentTaskName"),
        "announced_command": "" if command == "Lock" else command,
    }
    return Report(
        id=f"{LEGACY_ID}{address}",
        address=address,
        mode=Mode.LEGACY,
        facts=facts,
        comment="" if comment == DEAD else comment,
        telemetry=_telemetry(_kept(said, "Temperature"), _kept(said, "SystemLoad")),
    )


def _kept(said: Mapping[str, Any], key: str) -> str:
    """Text as it can be stored: at most 512 characters, without what no database takes."""
    value = said.get(key)
    if value is None:
        return ""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if text.isascii() and len(text) <= LONGEST_REPORTED and "\x00" not in text:
        return text
    return text[:LONGEST_REPORTED].replace("\x00", "").encode("utf-8", "replace").decode()


def _telemetry(temperature: str, load: str) -> dict[str, Any]:
    """The old text forms, to be shown as they came, and the numbers in them."""
    telemetry: dict[str, Any] = {"temperature_text": temperature, "load_text": load}
    degrees = _NUMBER.match(temperature)
    if degrees:
        telemetry["temperature"] = float(degrees.group())
    loads = _NUMBER.findall(load)
    if loads:
        telemetry["load"] = [float(number) for number in loads[:3]]
    return telemetry


def _temperature(telemetry: Mapping[str, Any]) -> str:
    if "temperature_text" in telemetry:
        return str(telemetry["temperature_text"])
    degrees = telemetry.get("temperature")
    return f"{degrees}'C" if isinstance(degrees, int | float) else ""


def _load(telemetry: Mapping[str, Any]) -> str:
    if "load_text" in telemetry:
        return str(telemetry["load_text"])
    load = telemetry.get("load")
    return " : ".join(str(number) for number in load) if isinstance(load, list | tuple) else ""


def _says_nothing_new(context: Context, machine: Machine, report: Report) -> bool:
    """Whether an update is a plain heartbeat. The old monitor knows neither boot ids nor keys nor fences."""
    said = Report(
        id=machine.id,
        address=report.address,
        mode=report.mode,
        boot_id=machine.boot_id,
        facts=report.facts,
        labels=machine.board_labels,
        host_keys=machine.host_keys,
        ssh_user=machine.ssh_user,
        ssh_port=machine.ssh_port,
        comment=report.comment,
        fence=machine.reported_fence,
        closed=machine.reported_closed,
        telemetry=report.telemetry,
    )
    return plain(machine, said, context.view.roster.epoch, context.wall_us(), context.settings.policy)
