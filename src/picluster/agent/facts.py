"""What a board is: model, memory, system, keys. Little of it changes while the board runs; what is unknown is null."""

from __future__ import annotations

import os

from . import VERSION
from .identity import board_serial, cpuinfo, host_name, macs
from .labels import camera
from .models import memory_of_revision, memory_sold, short_model
from .tree import Tree, clean, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    Fact = Union[str, int, float, bool, None]


NOUNLOCK = ("/etc/picluster/nounlock", "/boot/firmware/nounlock", "/boot/nounlock")
"""A file with one of these names means that a reboot ends no lease."""
LONGEST_KEY = 4 * 1024
MOST_KEYS = 8

_DMI = "/sys/class/dmi/id"
"""What a PC's maker wrote into it."""
_CORES = {
    "0xb76": "ARM1176",
    "0xc07": "Cortex-A7",
    "0xc09": "Cortex-A9",
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd0b": "Cortex-A76",
    "0xd0d": "Cortex-A77",
    "0xd41": "Cortex-A78",
}
"""`CPU part` of /proc/cpuinfo, for kernels that print no model name (64-bit ARM)."""


def read_facts(tree: Tree) -> dict[str, Fact]:
    """All of it, by the keys that selectors, pages and the old protocol read."""
    text = model_name(tree)
    system = os_release(tree)
    name, version = system.get("NAME"), system.get("VERSION_ID")
    revision = board_revision(tree)
    return {
        "model": short_model(tree.text(f"{_DMI}/product_name") or text),
        "model_name": text,
        "revision": revision,
        "serial": board_serial(tree),
        "platform": platform(tree),
        "arch": tree.text("/proc/sys/kernel/arch") or clean(os.uname().machine),
        "os": " ".join(part for part in ((name or "").replace(" GNU/Linux", ""), version) if part) or None,
        "os_name": name,
        "os_version": system.get("VERSION") or version,
        "kernel": tree.text("/proc/sys/kernel/osrelease"),
        "mem": memory_of_revision(revision) or memory_sold(memory_total(tree)),
        "cpus": cpus(tree),
        "disk": disk_size(tree),
        "read_only_root": read_only_root(tree),
        "host_name": host_name(tree),
        "macs": " ".join(macs(tree)) or None,
        "camera": camera(tree),
        "nounlock": any(tree.exists(path) for path in NOUNLOCK),
        "agent": VERSION,
    }


def model_name(tree: Tree) -> str | None:
    """The device tree's text; of a PC, what its maker wrote into it."""
    said = clean(tree.device_tree("model") or b"") or cpuinfo(tree).get("Model")
    if said:
        return said
    parts = [tree.text(f"{_DMI}/{part}") for part in ("sys_vendor", "product_name")]
    return clean(" ".join(part for part in parts if part)) or None


def board_revision(tree: Tree) -> str | None:
    """The code that says model, memory and maker of a Raspberry Pi, in hexadecimal."""
    said = cpuinfo(tree).get("Revision")
    if said and len(said) <= 8 and all(one in "0123456789abcdefABCDEF" for one in said):
        return said.lower()
    raw = tree.device_tree("system/linux,revision")
    return f"{int.from_bytes(raw, 'big'):x}" if raw and len(raw) == 4 else None


def platform(tree: Tree) -> str | None:
    """As the old monitor said it, since filters in the field match it: `ARMv7 Processor rev 4 (v7l) (4 cores) BCM2835`."""
    info = cpuinfo(tree)
    name = info.get("model name") or _CORES.get(info.get("CPU part", "").lower())
    count = cpus(tree)
    parts = (name, f"({count} cores)" if count and count > 1 else None, info.get("Hardware") or _chip(tree))
    return clean(" ".join(part for part in parts if part)) or None if name else None


def _chip(tree: Tree) -> str | None:
    """`BCM2712` of `raspberrypi,5-model-b` NUL `brcm,bcm2712` NUL."""
    entries = (tree.device_tree("compatible") or b"").split(b"\0")
    last = next((entry for entry in reversed(entries) if entry), b"")
    return clean(last.rpartition(b",")[2]).upper() or None


def cpus(tree: Tree) -> int | None:
    """Processors that the board has, in use or not."""
    last = whole((tree.text("/sys/devices/system/cpu/present") or "").rpartition("-")[2])
    if last is not None and 0 <= last < 4096:
        return last + 1
    return sum(line.startswith("processor") for line in tree.lines("/proc/cpuinfo")) or None


def os_release(tree: Tree) -> dict[str, str]:
    lines = tree.lines("/etc/os-release") or tree.lines("/usr/lib/os-release")
    pairs = (line.partition("=") for line in lines)
    return {key: clean(value.strip("\"'")) for key, equals, value in pairs if equals and value.strip("\"'")}


def memory_total(tree: Tree) -> int | None:
    """Bytes that the kernel has to give."""
    return meminfo(tree).get("MemTotal")


def meminfo(tree: Tree) -> dict[str, int]:
    """/proc/meminfo, in bytes."""
    found = {}
    for line in tree.lines("/proc/meminfo"):
        key, _, value = line.partition(":")
        number = whole(value.split()[0]) if value.split() else None
        if number is not None and 0 <= number < 1 << 52:
            found[key] = number * 1024
    return found


def disk_size(tree: Tree) -> int | None:
    """Bytes of the file system at the root."""
    try:
        disk = os.statvfs(tree.root)
    except OSError:
        return None
    return disk.f_blocks * disk.f_frsize or None


def read_only_root(tree: Tree) -> bool | None:
    """Whether the root's file system itself takes no writes: a dying card. The agent's own view of it, which a
    service manager may have made read-only, does not count, so the last field of mountinfo is asked."""
    answer = None
    for line in tree.lines("/proc/self/mountinfo"):
        before, dash, after = line.partition(" - ")
        fields, last = before.split(), after.split()
        if dash and len(fields) > 4 and fields[4] == "/" and last:
            answer = "ro" in last[-1].split(",")
    return answer


def host_keys(tree: Tree) -> list[str]:
    """`TYPE KEY` of each of the SSH server's public keys: who connects knows then that it is this board."""
    found = []
    for name in tree.names("/etc/ssh"):
        if name.startswith("ssh_host_") and name.endswith("_key.pub"):
            words = clean(tree.data(f"/etc/ssh/{name}", LONGEST_KEY) or b"", LONGEST_KEY).split()
            if len(words) >= 2 and all(word.isascii() for word in words[:2]):
                found.append(" ".join(words[:2]))
    return found[:MOST_KEYS]
