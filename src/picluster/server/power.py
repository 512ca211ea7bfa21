"""Power: commands from the service's configuration file, carried out for one machine at a time, and recorded.

Nothing that comes over the network is part of what is executed but the machine's name and address, each as one
argument of its own, without a shell. Which command belongs to a machine is written by whoever runs the service:

    [[power]]
    machines = "rack:b"                          # a selector; the first that fits counts
    on = ["/usr/local/bin/pdu", "on", "{name}"]
    off = ["/usr/local/bin/pdu", "off", "{name}"]
    cycle = ["/usr/local/bin/pdu", "cycle", "{address}"]
    timeout_s = 30
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from picluster.errors import Conflict, Malformed, NotFound, PiclusterError
from picluster.pool.commands import NotePower
from picluster.pool.model import Actor, Machine
from picluster.pool.selector import Selector, parse
from picluster.wire import ADDRESS, PowerAnswer, PowerRequest

if TYPE_CHECKING:
    from picluster.server.context import Context

TIMEOUT_S = 30.0
"""A power strip answers within seconds; one that hangs must not hold a call open for ever."""

LONGEST_TIMEOUT_S = 300.0

REPEAT_S = 10.0
"""Who asks again so soon after the end has lost the answer, and does not mean it twice."""

LAST_WORDS_S = 1.0
"""For what is left in the pipe; whoever else holds it open, a daemon that the command left behind, is not waited for."""

LONGEST_OUTPUT = 4_096
"""Of what a command prints the end is shown: there stands what went wrong."""

_FIELDS = re.compile(r"\{(name|address)\}")
_KNOWN = {"machines", "timeout_s", *PowerRequest.ACTIONS}


@dataclass(frozen=True, slots=True)
class PowerRule:
    """Commands for the machines of a selector."""

    machines: Selector
    commands: Mapping[str, Sequence[str]]
    timeout_s: float = TIMEOUT_S


def load(file: Path | None) -> tuple[PowerRule, ...]:
    """The rules of a configuration file. Raises `Malformed` that says what is wrong in which file."""
    if file is None:
        return ()
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as problem:
        raise Malformed(f"config: {file} cannot be read: {problem.strerror}", field="config") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise Malformed(f"config: {file} is not TOML: {problem}", field="config") from None
    unknown = sorted(set(said) - {"power"})
    if unknown:
        raise Malformed(
            f"config: {file} has no place for {', '.join(unknown)}; it has [[power]]", field="config"
        )
    try:
        return read_rules(said.get("power", []))
    except PiclusterError as problem:
        raise Malformed(f"config: {file}: {problem.message}", problem.hint, field="config") from None


def read_rules(said: object) -> tuple[PowerRule, ...]:
    """The `[[power]]` tables of the configuration file. Raises `Malformed` naming what is wrong, and where."""
    if not isinstance(said, list):
        raise Malformed("power: must be `[[power]]` tables", field="power")
    return tuple(_rule(number, table) for number, table in enumerate(said, 1))


def _rule(number: int, table: object) -> PowerRule:
    where = f"[[power]] number {number}"
    if not isinstance(table, dict):
        raise Malformed(f"{where}: must be a table", field="power")
    unknown = sorted(set(table) - _KNOWN)
    if unknown:
        raise Malformed(
            f"{where}: has no {', '.join(unknown)}; it has {', '.join(sorted(_KNOWN))}", field="power"
        )
    commands = {action: table[action] for action in PowerRequest.ACTIONS if action in table}
    if not commands or not all(_is_command(command) for command in commands.values()):
        raise Malformed(
            f'{where}: needs on, off or cycle, each a list like ["/usr/bin/pdu", "on", "{{name}}"]',
            field="power",
        )
    timeout_s = table.get("timeout_s", TIMEOUT_S)
    if (
        isinstance(timeout_s, bool)
        or not isinstance(timeout_s, int | float)
        or not 0 < timeout_s <= LONGEST_TIMEOUT_S
    ):
        raise Malformed(
            f"{where}: timeout_s must be above 0 and at most {LONGEST_TIMEOUT_S:g}", field="power"
        )
    return PowerRule(parse(_text(where, table.get("machines", ""))), commands, float(timeout_s))


def _is_command(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(part, str) and part for part in value)


def _text(where: str, value: object) -> str:
    if not isinstance(value, str):
        raise Malformed(f"{where}: machines must be a selector, as text", field="power")
    return value


@dataclass(slots=True)
class _Switching:
    """A command under way, or just over."""

    action: str
    task: asyncio.Task[PowerAnswer]


class Power:
    """Switches what the rules know."""

    def __init__(self, rules: Sequence[PowerRule] = ()) -> None:
        self.rules = tuple(rules)
        self._switching: dict[str, _Switching] = {}

    async def switch(
        self, context: Context, actor: Actor, machine: Machine, action: str, wait_s: float
    ) -> PowerAnswer:
        """Carry out a command; what came of it, or that it still runs after `wait_s`. Asking again while it runs, or
        just after, is the same command, so that a lost answer does not cycle a board twice.

        Raises `NotFound` where the configuration has no such command, `Conflict` while another one runs.
        """
        rule = self._rule(context, machine, action)
        known = self._switching.get(machine.name)
        if known is not None and known.action != action and not known.task.done():
            raise Conflict(f"{machine.name} is being switched {known.action}.", "Ask again in a moment.")
        if known is None or known.action != action:
            command = _filled(rule.commands[action], machine)
            task = asyncio.create_task(
                self._carry_out(context, actor, machine, action, command, rule.timeout_s)
            )
            known = self._switching[machine.name] = _Switching(action, task)
        await asyncio.wait([known.task], timeout=wait_s)
        if known.task.done():
            return known.task.result()
        return PowerAnswer(machine.name, action, True, False, "still running", "")

    async def _carry_out(
        self,
        context: Context,
        actor: Actor,
        machine: Machine,
        action: str,
        command: Sequence[str],
        timeout_s: float,
    ) -> PowerAnswer:
        try:
            await context.coordinator.ask(NotePower(actor, machine.name, action))
            outcome, output = await _run(command, timeout_s)
            await context.coordinator.ask(NotePower(actor, machine.name, action, outcome))
        finally:
            mine = self._switching.get(machine.name)
            asyncio.get_running_loop().call_later(REPEAT_S, self._forget, machine.name, mine)
        return PowerAnswer(machine.name, action, False, outcome == "exit 0", outcome, output)

    def _forget(self, name: str, switching: _Switching | None) -> None:
        """Unless another command has taken its place meanwhile."""
        if self._switching.get(name) is switching:
            del self._switching[name]

    def actions(self, context: Context, machine: Machine) -> list[str]:
        """What there is a command for: `on`, `off`, `cycle`, or nothing."""
        if not self.rules:
            return []
        facts = context.view.roster.facts(machine)
        known = {name for rule in self.rules if rule.machines.matches(facts) for name in rule.commands}
        return [name for name in PowerRequest.ACTIONS if name in known]

    def _rule(self, context: Context, machine: Machine, action: str) -> PowerRule:
        facts = context.view.roster.facts(machine)
        for rule in self.rules:
            if action in rule.commands and rule.machines.matches(facts):
                return rule
        raise NotFound(
            f"The service knows no command to switch {machine.name} {action}.",
            "Whoever runs it adds `[[power]]` to its configuration file; see docs/power.md.",
        )


def _filled(command: Sequence[str], machine: Machine) -> list[str]:
    """Raises `Malformed` for what a program could take for something else than a name: boards of the old protocol, and
    people, may give them any form."""
    known = {"name": machine.name, "address": machine.address}
    wanted = {field for part in command for field in _FIELDS.findall(part)}
    for field in sorted(wanted):
        if not ADDRESS.fullmatch(known[field]):
            message = f"{field}: {known[field]!r} cannot be an argument of a command."
            raise Malformed(message, "Correct it on the board.", field=field)
    return [_FIELDS.sub(lambda field: known[field.group(1)], part) for part in command]


async def _run(command: Sequence[str], timeout_s: float) -> tuple[str, str]:
    """(what came of it, the end of what it printed)."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as problem:
        return f"could not be started: {problem.strerror}", ""
    said = bytearray()
    reading = asyncio.ensure_future(_keep_end(process.stdout, said))
    try:
        await asyncio.wait_for(process.wait(), timeout_s)
        outcome = f"exit {process.returncode}"
    except TimeoutError:
        outcome = f"took longer than {timeout_s:g} s, and was killed"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    await asyncio.wait([reading], timeout=LAST_WORDS_S)
    reading.cancel()
    return outcome, said.decode(errors="replace")


async def _keep_end(stream: Any, said: bytearray) -> None:
    while piece := await stream.read(LONGEST_OUTPUT):
        said += piece
        del said[:-LONGEST_OUTPUT]
