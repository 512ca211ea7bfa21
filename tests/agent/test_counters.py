"""What happened during a lease: counted from opening to closing, over restarts, and null where nobody could look."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from picluster.agent.counters import ClockWatch, Counters
from picluster.agent.firmware import EVERY_S, Firmware, ask
from picluster.agent.telemetry import Reading
from picluster.agent.voltage import VoltageWatch

FINE = Reading(
    temperature=50.0,
    disk_total=1000,
    disk_free=500,
    disk_errors=0,
    read_only_root=False,
    frequency_capped=False,
    under_voltage=False,
)
FENCE = 42


@pytest.fixture
def counters(tmp_path: Path) -> Counters:
    found = Counters(tmp_path / "counters", "boot-1")
    found.begin(FENCE, 0.0, FINE)
    return found


def since(counters: Counters) -> dict[str, Any]:
    found = counters.as_json()["since_open"]
    assert isinstance(found, dict)
    return found


def test_a_quiet_lease_is_all_zeros(counters: Counters) -> None:
    for now in (10.0, 40.0):
        counters.look(FINE, now, None)
    assert since(counters) == {
        "fence": FENCE,
        "closed": False,
        "seconds": 40.0,
        "reports": 2,
        "temperature_max": 50.0,
        "longest_silence_s": 0.0,
        "throttled": 0,
        "hot": 0,
        "disk": 0,
        "under_voltage": 0,
        "clock_steps": 0,
        "beats_missed": 0,
        "reboots": 0,
        "agent_restarts": 0,
    }


def test_a_blind_board_says_null_not_zero(tmp_path: Path) -> None:
    counters = Counters(tmp_path / "counters", "boot-1")
    counters.begin(FENCE, 0.0, Reading())
    counters.look(Reading(), 10.0, None)
    found = since(counters)
    assert [found[name] for name in ("throttled", "hot", "disk", "under_voltage", "temperature_max")] == [
        None
    ] * 5


def test_trouble_stays_although_it_is_over(counters: Counters) -> None:
    counters.look(FINE._replace(temperature=84.0, frequency_capped=True, under_voltage=True), 10.0, None)
    counters.look(FINE, 20.0, None)
    found = since(counters)
    assert (found["throttled"], found["hot"], found["under_voltage"], found["temperature_max"]) == (
        1,
        1,
        1,
        84.0,
    )


@pytest.mark.parametrize(
    "trouble",
    [{"disk_free": 5}, {"read_only_root": True}, {"disk_errors": 1}],
    ids=lambda one: next(iter(one)),
)
def test_a_disk_that_is_full_read_only_or_failing(counters: Counters, trouble: dict[str, Any]) -> None:
    counters.look(FINE._replace(**trouble), 10.0, None)
    assert since(counters)["disk"] == 1


def test_old_errors_of_a_file_system_are_not_this_leases(tmp_path: Path) -> None:
    counters = Counters(tmp_path / "counters", "boot-1")
    counters.begin(FENCE, 0.0, FINE._replace(disk_errors=7))
    counters.look(FINE._replace(disk_errors=7), 10.0, None)
    assert since(counters)["disk"] == 0


def test_closing_counts_to_the_end_and_the_next_lease_begins_at_zero(counters: Counters) -> None:
    """The service may grant anew before the closing report: so that report tells of both."""
    counters.look(FINE._replace(frequency_capped=True), 10.0, None)
    counters.end(FINE._replace(temperature=85.0), 12.0, None)
    counters.begin(FENCE + 1, 12.0, FINE)
    told = counters.as_json()
    assert (told["last_closed"]["fence"], told["last_closed"]["closed"]) == (FENCE, True)
    assert (told["last_closed"]["throttled"], told["last_closed"]["hot"]) == (1, 1)
    assert (told["since_open"]["fence"], told["since_open"]["hot"]) == (FENCE + 1, None)


def test_silence_is_counted_in_beats(counters: Counters) -> None:
    counters.heard(25.0, 30.0)
    assert since(counters)["beats_missed"] == 0
    counters.heard(125.0, 30.0)
    assert (since(counters)["beats_missed"], since(counters)["longest_silence_s"]) == (3, 125.0)


def test_a_restart_of_the_agent_goes_on_counting(tmp_path: Path, counters: Counters) -> None:
    counters.look(FINE._replace(frequency_capped=True), 70.0, None)
    again = Counters(tmp_path / "counters", "boot-1")
    again.resume(FENCE, 80.0, FINE)
    found = since(again)
    assert (found["throttled"], found["agent_restarts"], found["reboots"]) == (1, 1, 0)


def test_a_reboot_is_counted_and_two_are_two(tmp_path: Path, counters: Counters) -> None:
    for boot in ("boot-2", "boot-3"):
        again = Counters(tmp_path / "counters", boot)
        again.resume(FENCE, 5.0, FINE)
    assert (since(again)["reboots"], since(again)["agent_restarts"]) == (2, 0)


@pytest.mark.parametrize(
    "kept", [b"", b"[]", b"{", b'{"fence": 42, "reports": "many", "hot": "x"}', b"\xff" * 50]
)
def test_a_garbled_file_of_counters_begins_anew(tmp_path: Path, kept: bytes) -> None:
    (tmp_path / "counters").write_bytes(kept)
    again = Counters(tmp_path / "counters", "boot-1")
    again.resume(FENCE, 5.0, FINE)
    assert since(again)["agent_restarts"] == 1


def test_a_card_is_written_at_most_once_a_minute(tmp_path: Path, counters: Counters) -> None:
    written = []
    for second in range(0, 600, 10):
        counters.look(FINE._replace(frequency_capped=True), float(second), None)
        written.append((tmp_path / "counters").read_bytes())
    assert len(set(written)) <= 10


def test_a_step_of_the_clock_and_none() -> None:
    watch = ClockWatch()
    assert not watch.stepped(1000.0, 10.0)
    assert not watch.stepped(1030.01, 40.0)
    assert watch.stepped(5000.0, 70.0)
    assert not watch.stepped(5030.0, 100.0)


# Under-voltage


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


def test_an_alarm_between_two_beats_is_seen_by_looking(tmp_path: Path) -> None:
    alarm = tmp_path / "alarm"
    alarm.write_text("0\n")
    watch = VoltageWatch(alarm, look_s=0.01)
    watch.start()
    wait_for(lambda: watch.readable)
    alarm.write_text("1\n")
    wait_for(lambda: watch.count == 1)
    alarm.write_text("0\n")
    time.sleep(0.05)
    alarm.write_text("1\n")
    wait_for(lambda: watch.count == 2)
    watch.stop()
    assert not watch.is_alive() and not watch.notifies


def test_an_alarm_that_was_there_already_counts(tmp_path: Path) -> None:
    alarm = tmp_path / "alarm"
    alarm.write_text("1\n")
    watch = VoltageWatch(alarm, look_s=0.01)
    watch.start()
    wait_for(lambda: watch.count == 1)
    watch.stop()


@pytest.mark.parametrize("content", [None, "garbage"])
def test_no_sensor_or_a_broken_one_ends_quietly(tmp_path: Path, content: str | None) -> None:
    if content:
        (tmp_path / "alarm").write_text(content)
    watch = VoltageWatch(tmp_path / "alarm", look_s=0.01)
    watch.start()
    watch.join(5)
    assert not watch.is_alive() and not watch.readable
    watch.stop()


NOTIFIED = """
import socket, sys, time
from pathlib import Path
from picluster.agent.voltage import VoltageWatch
socket.sethostname("0")
watch = VoltageWatch(Path("/proc/sys/kernel/hostname"), look_s=3600)
watch.start()
deadline = time.monotonic() + 20
while not watch.readable: time.sleep(0.001)
time.sleep(0.05)
def until(count):
    while watch.count < count:
        assert time.monotonic() < deadline, (watch.count, count)
        time.sleep(0.001)
socket.sethostname("1")
until(1)
socket.sethostname("0"); time.sleep(0.05)
socket.sethostname("1"); socket.sethostname("0")
until(2)
assert watch.notifies
watch.stop()
assert not watch.is_alive()
print("seen")
"""


@pytest.mark.needs_root
def test_where_the_driver_notifies_nobody_has_to_look() -> None:
    """The kernel notifies of a changed host name just as the driver does of a changed alarm. One that is over before
    anybody could read it counts."""
    run = subprocess.run(
        ["unshare", "--uts", sys.executable, "-c", NOTIFIED], capture_output=True, text=True, timeout=60
    )
    assert run.stdout == "seen\n", run.stderr


# vcgencmd


def script(folder: Path, text: str) -> list[str]:
    file = folder / "vcgencmd"
    file.write_text(f"#!/bin/sh\necho asked >> {folder}/asked\n{textwrap.dedent(text)}\n")
    file.chmod(0o755)
    return [str(file)]


def asked(folder: Path) -> int:
    file = folder / "asked"
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_the_firmware_is_asked_every_five_minutes_at_most(tmp_path: Path) -> None:
    now = 0.0
    firmware = Firmware(lambda: now, script(tmp_path, "echo throttled=0x50005"))
    assert [firmware.bits() for _ in range(3)] == [0x50005] * 3
    assert asked(tmp_path) == 1
    now += EVERY_S
    assert firmware.bits() == 0x50005 and asked(tmp_path) == 2


@pytest.mark.parametrize("answer", ["exit 1", "echo nonsense", "echo throttled=0x0; exit 3"])
def test_it_is_given_up_after_three_failures(tmp_path: Path, answer: str) -> None:
    now = 0.0
    firmware = Firmware(lambda: now, script(tmp_path, answer))
    for _ in range(6):
        assert firmware.bits() is None
        now += EVERY_S
    assert asked(tmp_path) == 3


def test_one_that_hangs_is_left_after_two_seconds(tmp_path: Path) -> None:
    began = time.monotonic()
    assert ask(script(tmp_path, "exec sleep 60")) is None
    assert 1.5 < time.monotonic() - began < 6


def test_one_that_is_not_there(tmp_path: Path) -> None:
    assert ask([str(tmp_path / "none")]) is None
