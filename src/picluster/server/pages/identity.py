"""What a machine is, in words: model, system, memory, keys. A board may say anything; what is no text or number is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from picluster.pool.health import number
from picluster.pool.model import Heard, Machine
from picluster.server.pages.rows import fingerprint, memory_of
from picluster.server.words import many, moment, shown, span


@dataclass(frozen=True, slots=True)
class Fact:
    """One line; `copy` is what its button copies."""

    word: str
    text: Any
    mono: bool = False
    copy: str = ""
    short: str = ""
    """Of a long key: how it begins and ends."""


def identity(machine: Machine, heard: Heard | None, now_us: int) -> list[Fact]:
    """What is known of it, one line each."""
    facts, telemetry = machine.facts, heard.telemetry if heard else {}
    lines = [
        Fact("Model", text_of(facts, "model_name") or text_of(facts, "model") or text_of(facts, "platform")),
        Fact("System", ", ".join(part for part in _system(facts) if part)),
        Fact("Memory", _memory(facts, telemetry)),
        Fact("Serial", text_of(facts, "serial"), mono=True),
        Fact("Host name", _other(text_of(facts, "host_name"), machine.name)),
        Fact("Up", _up(telemetry, heard, now_us)),
        Fact("Agent", ", ".join(part for part in (text_of(facts, "agent"), machine.mode.value) if part)),
        Fact("Fence", str(machine.fence) if machine.fence else "", mono=True),
        *(_key(key) for key in machine.host_keys),
    ]
    return [line for line in lines if line.text]


def text_of(facts: Mapping[str, Any], key: str) -> str:
    """A fact, if it is a text or a number."""
    value = facts.get(key)
    return shown(value, 120) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _other(text: str, known: str) -> str:
    return "" if text == known else text


def _system(facts: Mapping[str, Any]) -> tuple[str, ...]:
    kernel = text_of(facts, "kernel")
    system = text_of(facts, "os") or text_of(facts, "os_name")
    return system, f"kernel {kernel}" if kernel else "", text_of(facts, "arch")


def memory_bytes(machine: Machine, heard: Heard | None) -> float | None:
    """What the system has of it, else what is printed on the board."""
    said = number(heard.telemetry.get("mem_total")) if heard else None
    return said or number(machine.facts.get("mem")) or None


def _memory(facts: Mapping[str, Any], telemetry: Mapping[str, Any]) -> str:
    memory = number(facts.get("mem")) or number(telemetry.get("mem_total"))
    cpus = number(facts.get("cpus"))
    return ", ".join(
        part
        for part in (memory_of(memory) if memory else "", many(int(cpus), "core") if cpus else "")
        if part
    )


def _up(telemetry: Mapping[str, Any], heard: Heard | None, now_us: int) -> Any:
    """As it was at the last beat."""
    uptime_s = number(telemetry.get("uptime_s"))
    if heard is None or uptime_s is None or not 0 <= uptime_s * 1e6 < heard.heard_us:
        return ""
    booted_us = heard.heard_us - int(uptime_s * 1e6)
    return Markup("{}, since {}").format(span((now_us - booted_us) / 1e6), moment(booted_us, "day"))


def _key(key: str) -> Fact:
    """ed25519, by its fingerprint."""
    kind = shown(key.split(" ", 1)[0].removeprefix("ssh-").removeprefix("ecdsa-sha2-"), 24)
    printed = fingerprint(key)
    short = f"{printed[:18]}…{printed[-4:]}" if len(printed) > 30 else printed
    return Fact(f"Host key, {kind}", printed, mono=True, copy=printed, short=short)
