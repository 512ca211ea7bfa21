"""Which board this is, what it is called, and where it can be reached. The address is data; the identity is not.

The serial of the board is best: it stays when the card is changed. Then the address of its network hardware;
the machine-id comes last, since cloned cards share it.
"""

from __future__ import annotations

import os
import re
import socket

from .tree import Tree, clean

_HEX = re.compile(r"[0-9a-fA-F]{6,32}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")
LONGEST_NAME = 63
_GIVEN_BY_SOFTWARE = 0x02
"""The bit of a MAC that says that nobody burnt it in."""


def board_id(tree: Tree) -> str | None:
    """`serial:…`, `mac:…` or `machine-id:…`; None on a board that has nothing of its own."""
    serial = board_serial(tree)
    if serial:
        return f"serial:{serial}"
    burnt_in = [mac for mac in macs(tree) if not int(mac[:2], 16) & _GIVEN_BY_SOFTWARE]
    if burnt_in:
        return f"mac:{burnt_in[0]}"
    machine = tree.text("/etc/machine-id") or ""
    return f"machine-id:{machine}" if _HEX.fullmatch(machine) else None


def board_serial(tree: Tree) -> str | None:
    """As the firmware knows it."""
    return _serial(clean(tree.device_tree("serial-number") or b"")) or _serial(cpuinfo(tree).get("Serial"))


def _serial(text: str | None) -> str | None:
    """Zeros are what a board without a serial says."""
    return text if text and text.strip("0 ") and text.isascii() and " " not in text else None


def cpuinfo(tree: Tree) -> dict[str, str]:
    """The first value of each key."""
    found: dict[str, str] = {}
    for line in tree.lines("/proc/cpuinfo"):
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip(), value.strip())
    return found


def macs(tree: Tree) -> list[str]:
    """Of the network hardware, the one that stays with the board first: cables before radio, built in before USB."""
    found = []
    for name in tree.names("/sys/class/net"):
        mac = (tree.text(f"/sys/class/net/{name}/address") or "").lower()
        if not _MAC.fullmatch(mac) or not mac.strip("0:") or not tree.exists(f"/sys/class/net/{name}/device"):
            continue
        on_usb = tree.link(f"/sys/class/net/{name}/device/subsystem") == "usb"
        radio = tree.exists(f"/sys/class/net/{name}/wireless") or tree.exists(
            f"/sys/class/net/{name}/phy80211"
        )
        found.append((on_usb, radio, name, mac))
    return list(dict.fromkeys(mac for *_, mac in sorted(found)))


def host_name(tree: Tree) -> str | None:
    return tree.text("/proc/sys/kernel/hostname") or tree.text("/etc/hostname") or clean(os.uname().nodename)


def machine_name(chosen: str | None, host: str | None) -> str | None:
    """What the machine is called in the pool: what was chosen, else the host name without its domain."""
    name = chosen or (host or "").partition(".")[0]
    return _NOT_IN_NAMES.sub("-", name).lstrip("._-")[:LONGEST_NAME] or None


def boot_id(tree: Tree) -> str:
    """Empty where the kernel does not say."""
    return tree.text("/proc/sys/kernel/random/boot_id") or ""


def own_address(host: str, port: int) -> str | None:
    """The address that packets to the service leave from. Nothing is sent."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return None
    for family, kind, protocol, _, where in found:
        try:
            with socket.socket(family, kind, protocol) as towards:
                towards.connect(where)
                return str(towards.getsockname()[0])
        except OSError:
            continue
    return None
