"""The first service's file: read whole or not at all, and what is wrong in it is named with its record."""

from __future__ import annotations

import json
from typing import Any

import pytest

from picluster.errors import Malformed
from picluster.server.old_file import commands, read

BOARD: dict[str, Any] = {"IpAddress": "10.0.0.1", "HostName": "one", "LastHeartbeat": 1_700_000_000_123}
LOCK = {"Command": "Lock", "CurrentUserName": "Ännchen 🦔", "CurrentTaskName": " nightly ", "LockKey": "6f0d"}


def refusal(*records: object) -> str:
    with pytest.raises(Malformed) as refused:
        commands(records, None)
    assert refused.value.hint
    return refused.value.message


def test_a_locked_machine_is_read_with_its_holder() -> None:
    """Byte for byte: the old client frees with the name that it locked with."""
    (command,) = commands([{**BOARD, **LOCK}], None)
    assert command.lock is not None
    assert (command.lock.by.name, command.lock.job) == ("legacy:Ännchen 🦔", " nightly ")
    assert (command.report.address, command.heard_us) == ("10.0.0.1", 1_700_000_000_123_000)


@pytest.mark.parametrize("command", ["Free", "", None])
def test_only_a_lock_is_a_lock(command: str | None) -> None:
    """Whatever name and task the board announced with its first update."""
    (read_back,) = commands([{**BOARD, **LOCK, "Command": command}], None)
    assert read_back.lock is None


def test_any_value_may_be_null() -> None:
    """As in the protocol; but an address is what a machine is known by."""
    nothing = dict.fromkeys((*BOARD, *LOCK, "Platform", "Temperature", "SystemLoad", "Comment"))
    (command,) = commands([{**nothing, "IpAddress": "10.0.0.1"}], None)
    assert (command.report.address, command.lock, command.heard_us) == ("10.0.0.1", None, 0)


def test_locks_end_as_the_operator_has_set() -> None:
    (command,) = commands([{**BOARD, **LOCK}], 3600.0)
    assert command.lock is not None and command.lock.ttl_s == 3600.0


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ("10.0.0.2", "must be an object"),
        ({}, "IpAddress: must be text of 1 to 255"),
        ({"IpAddress": "x" * 256}, "IpAddress: must be text of 1 to 255"),
        ({**BOARD, "IpAddress": 7}, "IpAddress: must be text of 1 to 255"),
        ({**BOARD, **LOCK, "CurrentUserName": ["ann"]}, "CurrentUserName: must be text"),
        ({**BOARD, **LOCK, "CurrentTaskName": "x" * 8193}, "CurrentTaskName: is 8193 bytes long"),
        ({**BOARD, **LOCK, "CurrentTaskName": "a\0b"}, "CurrentTaskName: has a NUL"),
        ({**BOARD, **LOCK, "CurrentUserName": "\ud800"}, "CurrentUserName: has a lone surrogate"),
        ({**BOARD, "LastHeartbeat": "yesterday"}, "LastHeartbeat: must be milliseconds"),
        ({**BOARD, "LastHeartbeat": -1}, "LastHeartbeat: must be milliseconds"),
    ],
)
def test_a_bad_record_is_named_with_its_field(record: object, said: str) -> None:
    assert f"record 2: {said}" in refusal({**BOARD, "IpAddress": "10.0.0.9"}, record)


def test_all_that_is_wrong_is_said_at_once() -> None:
    said = refusal({}, BOARD, {**BOARD, **LOCK}, None)
    assert [part.split(":")[0] for part in said.split("; ")] == ["record 1", "record 3", "record 4"]
    assert "10.0.0.1 is in an earlier record" in said


def test_half_a_file_is_known_as_that() -> None:
    """Cut anywhere, it is damaged, and the records before the cut are still what they were."""
    records = [{**BOARD, **LOCK, "IpAddress": f"10.0.0.{number}"} for number in range(3)]
    whole = json.dumps(records).encode()
    assert read(whole).damage == ""
    for cut in range(1, len(whole)):
        found = read(whole[:cut])
        assert found.damage
        assert found.records == records[: len(found.records)]
    assert len(read(whole[:-1]).records) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\r\n", "is empty"),
        (b'{"error": "api key mismatch"}', "no list of machines"),
        (b"<html>", "no list of machines"),
        (b"\0\0\0\0", "no list of machines"),
    ],
)
def test_what_is_no_list_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        read(content)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_what_windows_makes_of_a_file_is_read(encoding: str) -> None:
    """A mark before it, two bytes a character, its own ends of lines."""
    found = read(
        json.dumps([{**BOARD, **LOCK}], ensure_ascii=False, indent=2).replace("\n", "\r\n").encode(encoding)
    )
    assert (found.records, found.damage) == ([{**BOARD, **LOCK}], "")


def test_bytes_that_are_no_text_are_damage() -> None:
    """A name is never changed silently into another one."""
    found = read(b'[{"IpAddress": "one"}, {"IpAddress": "tw\xff"}]')
    assert found.records == [{"IpAddress": "one"}]
    assert found.damage == "byte 40 is not utf-8"


def test_nested_without_end_is_damage() -> None:
    assert read(b"[" * 100_000).damage
