"""The first service's file, `machines.json`: the list that it answered to `GET /api`, read into commands.

It is read whole before anything is done. The first service wrote it in place, so a kill could leave half of it.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from picluster.errors import Malformed
from picluster.pool.commands import LockAddress, MoveIn
from picluster.pool.model import Actor, Role
from picluster.server.legacy import legacy_actor, report_of, words_of

IMPORTER = Actor("import", Role.ADMIN)
"""Whoever may open the database may do anything with it."""

LOCKED = "Lock"
_GAP = re.compile(r"[\s,]*")

FROM_A_RUNNING_ONE = (
    "If the first service still runs, take its list: curl http://HOST:1337/api > machines.json."
)


@dataclass(frozen=True, slots=True)
class OldFile:
    """What could be read of it."""

    records: Sequence[Any]
    damage: str = ""
    """What is wrong behind the last record; empty if nothing is."""


def read(content: bytes) -> OldFile:
    """All records, or those before the damage. Raises `Malformed` if it is no list at all."""
    text, damage = _decoded(content)
    if not text.strip():
        raise Malformed("The file is empty: the first service was killed while it wrote.", FROM_A_RUNNING_ONE)
    if not text.lstrip().startswith("["):
        raise Malformed(f"The file is no list of machines: it begins with {text[:20]!r}.", FROM_A_RUNNING_ONE)
    try:
        return OldFile(json.loads(text))
    except (json.JSONDecodeError, RecursionError) as problem:
        return OldFile(list(_before_the_damage(text)), damage or str(problem))


def _decoded(content: bytes) -> tuple[str, str]:
    """The text before the first damage, and what that is. In whatever Unicode: shells of Windows write UTF-16."""
    encoding = json.detect_encoding(content)
    try:
        return content.decode(encoding), ""
    except UnicodeDecodeError as problem:
        return content[: problem.start].decode(encoding), f"byte {problem.start} is not {encoding}"


def _before_the_damage(text: str) -> Iterator[Any]:
    decoder, at = json.JSONDecoder(), text.index("[") + 1
    while gap := _GAP.match(text, at):
        try:
            record, at = decoder.raw_decode(text, gap.end())
        except (json.JSONDecodeError, RecursionError):
            return
        yield record


def commands(records: Iterable[Any], ttl_s: float | None) -> list[MoveIn]:
    """One for each record. Raises `Malformed` that names every bad record, and what is wrong with it."""
    found: dict[str, MoveIn] = {}
    problems: dict[str, str] = {}
    for number, record in enumerate(records, 1):
        try:
            command = _command(record, ttl_s)
            _add(found, command)
        except Malformed as problem:
            problems[f"record {number}"] = problem.message
    if problems:
        message = "; ".join(f"{where}: {what}" for where, what in problems.items())
        raise Malformed(message, "Correct these records in the file, and import it again.", fields=problems)
    return list(found.values())


def _add(found: dict[str, MoveIn], command: MoveIn) -> None:
    address = command.report.address
    if address in found:
        raise Malformed(f"IpAddress: {address} is in an earlier record, too")
    found[address] = command


def _command(record: Any, ttl_s: float | None) -> MoveIn:
    if not isinstance(record, dict):
        raise Malformed("must be an object, a machine")
    report = report_of(record)
    return MoveIn(IMPORTER, report, _heard_us(record), _lock(record, report.address, ttl_s))


def _heard_us(record: Mapping[str, Any]) -> int:
    heard_ms = record.get("LastHeartbeat") or 0
    if isinstance(heard_ms, bool) or not isinstance(heard_ms, int) or not 0 <= heard_ms < 2**43:
        raise Malformed("LastHeartbeat: must be milliseconds since 1970")
    return heard_ms * 1000


def _lock(record: Mapping[str, Any], address: str, ttl_s: float | None) -> LockAddress | None:
    if record.get("Command") != LOCKED:
        return None
    holder, job = words_of(record, "CurrentUserName"), words_of(record, "CurrentTaskName")
    return LockAddress(legacy_actor(holder), str(uuid.uuid4()), address, job, ttl_s)
