"""How the board is now: warm, busy, full, held back. Read once for each beat; what cannot be read is null.

Under-voltage comes from the kernel's own sensor (`rpi_volt`), capping from cpufreq. The firmware's
`get_throttled` in sysfs is left alone: reading it makes the kernel warn.
"""

from __future__ import annotations

import os

from .facts import meminfo, read_only_root
from .records import NamedTuple
from .tree import Tree, real, whole

_COLDEST_C, _HOTTEST_C = -60.0, 200.0
"""What is beyond is no temperature but a broken sensor."""
_CPU_ZONES = ("cpu-thermal", "cpu_thermal", "soc-thermal", "soc_thermal", "x86_pkg_temp")
_CAPPED = 0.9
"""Of the asked frequency; what is above is rounding by the clock tree."""


class Reading(NamedTuple):
    """One look at the board. Bytes, degrees Celsius, seconds."""

    temperature: float | None = None
    load: tuple[float, ...] | None = None
    mem_total: int | None = None
    mem_available: int | None = None
    disk_total: int | None = None
    disk_free: int | None = None
    disk_errors: int | None = None
    """That the file system has counted since it was made."""
    read_only_root: bool | None = None
    uptime_s: float | None = None
    frequency_mhz: int | None = None
    frequency_capped: bool | None = None
    """Heat or voltage keeps it below what it asks for."""
    under_voltage: bool | None = None
    firmware: int | None = None
    """The firmware's own bits, from `vcgencmd get_throttled`, where that is switched on."""

    def as_json(self) -> dict[str, object]:
        return {**self._asdict(), "load": list(self.load) if self.load else None}


def read(tree: Tree, firmware: int | None = None) -> Reading:
    """Look at everything."""
    total, free = _disk(tree)
    memory = meminfo(tree)
    return Reading(
        temperature=temperature(tree),
        load=load(tree),
        mem_total=memory.get("MemTotal"),
        mem_available=memory.get("MemAvailable"),
        disk_total=total,
        disk_free=free,
        disk_errors=disk_errors(tree),
        read_only_root=read_only_root(tree),
        uptime_s=real((tree.text("/proc/uptime") or "").partition(" ")[0]),
        frequency_mhz=_megahertz(tree.number(f"{_POLICY}/scaling_cur_freq")),
        frequency_capped=frequency_capped(tree),
        under_voltage=under_voltage(tree),
        firmware=firmware,
    )


def temperature(tree: Tree) -> float | None:
    """The processor's; where no zone is called after it, the first that can be read."""
    zones = []
    for name in tree.names("/sys/class/thermal"):
        degrees = _degrees(tree, name) if name.startswith("thermal_zone") else None
        if degrees is not None:
            kind = tree.text(f"/sys/class/thermal/{name}/type") or ""
            zones.append((kind not in _CPU_ZONES, whole(name[12:]) or 0, degrees))
    return min(zones)[2] if zones else None


def _degrees(tree: Tree, zone: str) -> float | None:
    thousandths = tree.number(f"/sys/class/thermal/{zone}/temp")
    if thousandths is None or not _COLDEST_C <= thousandths / 1000 <= _HOTTEST_C:
        return None
    return round(thousandths / 1000, 1)


def load(tree: Tree) -> tuple[float, ...] | None:
    """Over 1, 5 and 15 minutes."""
    numbers = [real(word) for word in (tree.text("/proc/loadavg") or "").split()[:3]]
    found = tuple(number for number in numbers if number is not None and 0 <= number < 1e6)
    return found if len(found) == 3 else None


def _disk(tree: Tree) -> tuple[int | None, int | None]:
    try:
        disk = os.statvfs(tree.root)
    except OSError:
        return None, None
    return disk.f_blocks * disk.f_frsize or None, disk.f_bavail * disk.f_frsize


def disk_errors(tree: Tree) -> int | None:
    """Of all ext4 file systems; None where there is none."""
    counts = [tree.number(f"/sys/fs/ext4/{name}/errors_count") for name in tree.names("/sys/fs/ext4")]
    found = [count for count in counts if count is not None]
    return sum(found) if found else None


_POLICY = "/sys/devices/system/cpu/cpufreq/policy0"


def _megahertz(kilohertz: int | None) -> int | None:
    return kilohertz // 1000 if kilohertz is not None and kilohertz >= 0 else None


def frequency_capped(tree: Tree) -> bool | None:
    """The kernel allows less than the processor can, or the clock runs slower than the kernel asked."""
    most, allowed = (tree.number(f"{_POLICY}/{name}_max_freq") for name in ("cpuinfo", "scaling"))
    if most is None or allowed is None:
        return None
    if allowed < most:
        return True
    asked = tree.number(f"{_POLICY}/scaling_cur_freq")
    runs = tree.number(f"{_POLICY}/cpuinfo_cur_freq")
    if asked is None or runs is None or asked != tree.number(f"{_POLICY}/scaling_cur_freq"):
        return False  # for root alone to read, or just changing
    return runs < _CAPPED * asked


def under_voltage(tree: Tree) -> bool | None:
    """Whether the kernel's sensor says so now; it forgets within seconds (`voltage` watches it during a lease)."""
    alarm = alarm_file(tree)
    state = tree.number(alarm) if alarm else None
    return None if state is None else state != 0


def alarm_file(tree: Tree) -> str | None:
    """Where the Raspberry Pi's voltage sensor shows its alarm, on the board."""
    for name in tree.names("/sys/class/hwmon"):
        if tree.text(f"/sys/class/hwmon/{name}/name") == "rpi_volt":
            return f"/sys/class/hwmon/{name}/in0_lcrit_alarm"
    return None
