"""Reading boards: a Pi 5, a Pi 4 on 32 bits, a Zero 2 W, a PC, one with no files, and ones full of garbage."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from picluster.agent import facts, identity, labels, models, telemetry
from picluster.agent.tree import Tree, clean, real, whole
from tests.agent.trees import BOARDS, ED25519, PC, PI4_ON_32_BITS, PI5, ZERO2W, plant


def test_a_pi_5(tmp_path: Path) -> None:
    board = plant(tmp_path, PI5)
    found = facts.read_facts(board)
    assert found["model"] == "pi5"
    assert found["model_name"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert found["serial"] == "b03b5cbbaa3f0000"
    assert found["revision"] == "d04170"
    assert found["mem"] == 8 << 30
    assert found["cpus"] == 4
    assert found["platform"] == "Cortex-A76 (4 cores) BCM2712"
    assert (found["os"], found["os_name"], found["os_version"]) == (
        "Debian 12",
        "Debian GNU/Linux",
        "12 (bookworm)",
    )
    assert found["kernel"] == "6.12.25+rpt-rpi-2712"
    assert found["host_name"] == "pi5-a"
    assert found["macs"] == "2c:cf:67:00:00:01 2c:cf:67:00:00:02"
    assert found["camera"] == "imx708"
    assert found["nounlock"] is False
    assert labels.found_labels(board) == {"camera": "", "i2c": "", "nvme": "", "wifi": ""}
    assert identity.board_id(board) == "serial:b03b5cbbaa3f0000"
    assert facts.host_keys(board) == [ED25519]


def test_a_pi_5_in_good_health(tmp_path: Path) -> None:
    reading = telemetry.read(plant(tmp_path, PI5))
    assert reading.temperature == 48.3
    assert reading.load == (0.52, 0.58, 0.59)
    assert (reading.mem_total, reading.mem_available) == (8258624 * 1024, 7501532 * 1024)
    assert reading.uptime_s == 350735.47
    assert (reading.frequency_mhz, reading.frequency_capped) == (1500, False)
    assert reading.under_voltage is False
    assert reading.disk_errors == 0
    assert reading.disk_total and reading.disk_free


def test_a_pi_4_on_32_bits_says_its_platform_as_the_old_monitor_did(tmp_path: Path) -> None:
    board = plant(tmp_path, PI4_ON_32_BITS)
    found = facts.read_facts(board)
    assert found["platform"] == "ARMv7 Processor rev 3 (v7l) (4 cores) BCM2711"
    assert (found["model"], found["mem"], found["serial"]) == ("pi4", 4 << 30, "10000000abcdef01")
    assert labels.found_labels(board) == {"usb": ""}


def test_a_hot_pi_4_on_a_dying_card(tmp_path: Path) -> None:
    board = plant(tmp_path, PI4_ON_32_BITS)
    reading = telemetry.read(board)
    assert (reading.temperature, reading.frequency_capped, reading.under_voltage) == (84.5, True, None)
    assert reading.read_only_root is True
    assert facts.read_facts(board)["read_only_root"] is True


def test_a_root_that_only_the_agent_may_not_write_is_no_dying_card(tmp_path: Path) -> None:
    """As under ProtectSystem=strict: the mount is read-only, the file system is not."""
    assert facts.read_only_root(plant(tmp_path, PI5)) is False


def test_a_zero_2_w(tmp_path: Path) -> None:
    board = plant(tmp_path, ZERO2W)
    found = facts.read_facts(board)
    assert (found["model"], found["revision"], found["mem"]) == ("zero2w", "902120", 512 << 20)
    assert identity.board_id(board) == "serial:00000000deadbeef"
    assert labels.found_labels(board) == {"wifi": ""}


def test_a_pc(tmp_path: Path) -> None:
    board = plant(tmp_path, PC)
    found = facts.read_facts(board)
    assert found["model"] == "nuc10i5fnh"
    assert found["platform"] == "Intel(R) Core(TM) i5-10210U CPU @ 1.60GHz (8 cores)"
    assert (found["mem"], found["cpus"]) == (16 << 30, 8)
    assert identity.board_id(board) == "mac:1c:69:7a:00:00:04"
    assert identity.machine_name(None, identity.host_name(board)) == "nuc"
    assert telemetry.temperature(board) == 51.0


def test_a_board_without_a_single_file(tmp_path: Path) -> None:
    """Everything is null, and nothing is raised."""
    board = plant(tmp_path, {})
    unknown = {key for key, value in facts.read_facts(board).items() if value is None}
    assert {
        "model",
        "model_name",
        "serial",
        "mem",
        "cpus",
        "kernel",
        "os",
        "read_only_root",
        "macs",
    } <= unknown
    assert identity.board_id(board) is None
    assert labels.found_labels(board) == {}
    assert telemetry.read(board)._replace(disk_total=None, disk_free=None) == telemetry.Reading()


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("Raspberry Pi 5 Model B Rev 1.0", "pi5"),
        ("Raspberry Pi 500 Rev 1.0", "pi500"),
        ("Raspberry Pi 400 Rev 1.0", "pi400"),
        ("Raspberry Pi 4 Model B Rev 1.5", "pi4"),
        ("Raspberry Pi 3 Model B Plus Rev 1.3", "pi3bplus"),
        ("Raspberry Pi 3 Model A Plus Rev 1.0", "pi3aplus"),
        ("Raspberry Pi 3 Model B Rev 1.2", "pi3b"),
        ("Raspberry Pi 2 Model B Rev 1.1", "pi2b"),
        ("Raspberry Pi Model B Rev 2", "pi1b"),
        ("Raspberry Pi Model B Plus Rev 1.2", "pi1bplus"),
        ("Raspberry Pi Zero Rev 1.3", "zero"),
        ("Raspberry Pi Zero W Rev 1.1", "zerow"),
        ("Raspberry Pi Zero 2 W Rev 1.0", "zero2w"),
        ("Raspberry Pi Compute Module 5 Rev 1.0", "cm5"),
        ("Raspberry Pi Compute Module 5 Lite Rev 1.0", "cm5"),
        ("Raspberry Pi Compute Module 4S Rev 1.0", "cm4s"),
        ("Raspberry Pi Compute Module 4 Rev 1.1", "cm4"),
        ("Raspberry Pi Compute Module 3 Plus Rev 1.0", "cm3plus"),
        ("Raspberry Pi Compute Module Rev 1.0", "cm1"),
        ("Raspberry Pi 6 Model B Rev 1.0", "pi6"),
        ("Raspberry Pi", "raspberry-pi"),
        ("Radxa ROCK 5B", "radxa-rock-5b"),
        ("???", None),
        ("", None),
        (None, None),
    ],
)
def test_what_a_model_is_called(text: str | None, short: str | None) -> None:
    assert models.short_model(text) == short


def test_a_board_has_the_memory_it_was_sold_with() -> None:
    """`mem>=4G` finds a board of 4 GiB, of which the kernel has less to give."""
    gib = 1 << 30
    sold = {3885396: 4 * gib, 8258624: 8 * gib, 1917716: 2 * gib, 926672: gib, 16106532: 16 * gib}
    assert {usable: models.memory_sold(usable * 1024) for usable in sold} == sold
    assert models.memory_of_revision("a02082") == gib
    assert models.memory_of_revision("e04171") == 16 * gib
    assert models.memory_of_revision("0010") is None  # the old style says nothing


def test_serial_first_then_network_then_machine_id(tmp_path: Path) -> None:
    """Cloned cards share the machine-id, so it comes last."""
    board = plant(tmp_path, {**PC, "proc/device-tree/serial-number": "0000000000000000\0"})
    assert identity.board_id(board) == "mac:1c:69:7a:00:00:04"
    plant(tmp_path, {"sys/class/net/eno1/address": "06:00:00:00:00:04\n"})  # given by software
    assert identity.board_id(board) == "machine-id:3d1219c7c4c5404aaa1f6d2a48adfda4"


def test_a_network_adapter_that_can_be_unplugged_is_not_preferred(tmp_path: Path) -> None:
    board = plant(tmp_path, {**PC, "sys/class/net/aaa0/address": "00:e0:4c:00:00:09\n"})
    (tmp_path / "sys/class/net/aaa0/device").mkdir()
    os.symlink("../../../../bus/usb", tmp_path / "sys/class/net/aaa0/device/subsystem")
    assert identity.macs(board) == ["1c:69:7a:00:00:04", "00:e0:4c:00:00:09"]


@pytest.mark.parametrize(
    ("chosen", "host", "name"),
    [
        ("rack/7", "pi", "rack-7"),
        (None, "pi.lab", "pi"),
        (None, "-ümlaut_", "mlaut_"),
        (None, "", None),
        (None, None, None),
        ("x" * 99, None, "x" * 63),
    ],
)
def test_a_name_that_the_pool_takes(chosen: str | None, host: str | None, name: str | None) -> None:
    assert identity.machine_name(chosen, host) == name


def test_its_own_address() -> None:
    assert identity.own_address("127.0.0.1", 9) == "127.0.0.1"
    assert identity.own_address("no.such.host.invalid", 9) is None
    assert identity.own_address("\udcff" * 80, 9) is None


def test_a_usb_camera(tmp_path: Path) -> None:
    board = plant(tmp_path, {"sys/class/video4linux/video0/name": "HD Webcam\n"})
    (tmp_path / "sys/class/video4linux/video0/device").mkdir()
    os.symlink("../../bus/usb/drivers/uvcvideo", tmp_path / "sys/class/video4linux/video0/device/driver")
    assert labels.camera(board) == "HD Webcam"


def test_the_codec_of_a_pi_is_no_camera(tmp_path: Path) -> None:
    board = plant(tmp_path, {"sys/class/video4linux/video10/name": "bcm2835-codec-decode\n"})
    assert labels.camera(board) is None


def test_hubs_and_what_is_soldered_on_are_not_plugged_in(tmp_path: Path) -> None:
    usb = "sys/bus/usb/devices"
    board = plant(
        tmp_path,
        {f"{usb}/1-1/idVendor": "0424", f"{usb}/1-1/idProduct": "ec00", f"{usb}/1-1/bDeviceClass": "ff"},
    )
    assert labels.found_labels(board) == {}


def test_a_file_may_keep_the_lease_over_a_reboot(tmp_path: Path) -> None:
    assert facts.read_facts(plant(tmp_path, {**PI5, "etc/picluster/nounlock": ""}))["nounlock"] is True


def test_a_clock_that_runs_slower_than_asked_is_capped(tmp_path: Path) -> None:
    """The firmware does that at low voltage, without telling the kernel."""
    policy = "sys/devices/system/cpu/cpufreq/policy0"
    board = plant(tmp_path, {**PI5, f"{policy}/cpuinfo_cur_freq": "600000"})
    assert telemetry.frequency_capped(board) is True
    plant(tmp_path, {f"{policy}/cpuinfo_cur_freq": "1499999"})
    assert telemetry.frequency_capped(board) is False


def test_under_voltage_now(tmp_path: Path) -> None:
    board = plant(tmp_path, {**PI5, "sys/class/hwmon/hwmon2/in0_lcrit_alarm": "1\n"})
    assert telemetry.under_voltage(board) is True


def test_the_firmware_is_not_asked_through_sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading it makes the kernel warn."""
    board = plant(tmp_path, {**PI5, "sys/devices/platform/soc/soc:firmware/get_throttled": "50005"})
    opened: list[str] = []
    really = os.open
    monkeypatch.setattr(os, "open", lambda path, *more: (opened.append(str(path)), really(path, *more))[1])
    telemetry.read(board)
    assert opened and not [path for path in opened if "get_throttled" in path]


# Garbage

EVERY_PATH = sorted({path for files in BOARDS.values() for path in files})


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_in_any_file_is_told_as_something_that_can_be_sent(
    tmp_path: Path, data: st.DataObject
) -> None:
    """Whatever is in the files: no exception, and JSON that the service takes."""
    junk = st.one_of(
        st.binary(max_size=200),
        st.sampled_from(
            [b"", b"\n", b"nan", b"inf", b"-1", b"9" * 40, b":", b"a:b" * 99, b"\0" * 9, b"\xff\xfe"]
        ),
    )
    files = {path: data.draw(junk) for path in data.draw(st.sets(st.sampled_from(EVERY_PATH), max_size=8))}
    board = plant(tmp_path, {**PI5, **files})
    told = {
        "facts": facts.read_facts(board),
        "labels": labels.found_labels(board),
        "id": identity.board_id(board),
        "keys": facts.host_keys(board),
        "telemetry": telemetry.read(board).as_json(),
    }
    text = json.dumps(told, allow_nan=False)
    assert "\\u0000" not in text and "\\ud8" not in text
    for number in (*told["facts"].values(), *told["telemetry"].values()):  # type: ignore[attr-defined]
        assert not isinstance(number, int) or abs(number) < 2**63


def test_folders_pipes_and_endless_files_where_files_should_be(tmp_path: Path) -> None:
    board = plant(tmp_path, {})
    (tmp_path / "proc/loadavg").mkdir(parents=True)
    os.mkfifo(tmp_path / "proc/uptime")
    os.symlink("/dev/zero", tmp_path / "proc/meminfo")
    os.symlink("meminfo", tmp_path / "proc/cpuinfo")
    os.symlink("loop", tmp_path / "proc/loop")
    assert board.text("/proc/loop") is None
    assert telemetry.load(board) is None and telemetry.read(board).uptime_s is None
    assert facts.read_facts(board)["mem"] is None


@given(st.binary(max_size=300))
def test_clean_text_is_text(data: bytes) -> None:
    text = clean(data)
    assert text.isprintable() and text == text.strip()
    text.encode()


@given(st.text(max_size=30))
def test_a_number_is_a_number_or_none(text: str) -> None:
    for read in (whole(text), real(text)):
        assert read is None or json.dumps(read, allow_nan=False)


def test_this_very_machine() -> None:
    board = Tree()
    assert facts.read_facts(board)["cpus"] == os.cpu_count()
    assert telemetry.load(board) and identity.boot_id(board) and identity.board_id(board)
