"""What the first service really answered, replayed: every recorded key is there with its value."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx2

from tests.service import on_sqlite, service

CALLS = [
    json.loads(line) for line in (Path(__file__).parent / "legacy-recorded.jsonl").read_text().splitlines()
]
CLOCKS = ("<ms>", "<s>")


def differences(call: dict[str, Any], answer: Any) -> list[str]:
    """Where an answer differs from the recorded one, by the rules of the protocol's description."""
    recorded, locking = call["answer"], call["path"].endswith("/lock")
    if not isinstance(recorded, list):
        recorded, answer = [recorded], [answer]
    if not isinstance(answer, list) or len(answer) != len(recorded):
        return [f"{call['what']}: {len(recorded)} expected, answered {answer!r}"]
    found = []
    for old, new in zip(recorded, answer, strict=True):
        if not isinstance(old, dict) or not isinstance(new, dict):
            found += [] if old == new else [f"{call['what']}: {old!r} became {new!r}"]
            continue
        for key, value in old.items():
            if not _same(key, value, new.get(key, "missing"), locking):
                found.append(f"{call['what']}: {key} {value!r} became {new.get(key, 'missing')!r}")
    return found


def _same(key: str, old: Any, new: Any, locking: bool) -> bool:
    if old in CLOCKS:
        return new != "missing"
    if key == "LockKey" and not locking:
        return bool(new == "")
    if locking and key in ("CurrentUserName", "CurrentTaskName", "LockKey", "Command"):
        return bool(old == new)
    return (old or "") == (new or "")


def test_the_recording_replays(tmp_path: Path) -> None:
    """33 calls in a row, started empty: boards and scripts in the field notice nothing."""
    with service(*on_sqlite(tmp_path)) as pool:
        found = []
        for call in CALLS:
            answer = httpx2.request(call["method"], pool.address + call["path"], json=call["body"])
            assert answer.status_code == call["status"]
            found += differences(call, answer.json())
    assert found == []


def test_a_changed_answer_is_noticed() -> None:
    """The comparison can fail: each of three small changes is found."""
    locked = next(
        call for call in CALLS if call["path"] == "/api/lock" and "LockKey" in (call["answer"] or ())
    )
    clean = {**locked["answer"], "LastHeartbeat": 1, "Seconds": "0"}
    locked = {**locked, "answer": {**locked["answer"]}}
    for key in ("CurrentTaskName", "Command", "LockKey"):
        changed = deepcopy(clean)
        changed[key] = "something else"
        assert any(key in line for line in differences(locked, changed))
