"""What is plugged in, found by looking: each becomes a tag of the machine, as `tag:camera`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .tree import Tree

_HUB = "09"
_ON_THE_BOARD = ("0424:ec00", "0424:7800", "0424:9514", "0424:2514")
"""Ethernet and hubs that earlier boards have on USB."""
_SENSOR = re.compile(r"(imx|ov|arducam|mt9|gc|sc|og|pivariety)\w*", re.IGNORECASE)
"""What sub-devices of a camera on the ribbon cable are called; the codec's and the scaler's are not."""


def found_labels(tree: Tree) -> dict[str, str]:
    """`{"camera": "", "usb": ""}`, by name."""
    return dict.fromkeys(sorted(_tags(tree)), "")


def camera(tree: Tree) -> str | None:
    """The sensor's or the USB camera's name."""
    for device in tree.names("/sys/class/video4linux"):
        name = tree.text(f"/sys/class/video4linux/{device}/name") or ""
        if device.startswith("v4l-subdev") and _SENSOR.match(name):
            return name.split()[0]
        if tree.link(f"/sys/class/video4linux/{device}/device/driver") == "uvcvideo":
            return name or "usb"
    return None


def _tags(tree: Tree) -> Iterator[str]:
    if camera(tree):
        yield "camera"
    if any(_is_a_thing(tree, device) for device in tree.names("/sys/bus/usb/devices")):
        yield "usb"
    if tree.exists("/dev/i2c-1") or tree.exists("/sys/class/i2c-dev/i2c-1"):
        yield "i2c"
    if any(name.startswith("spidev") for name in tree.names("/dev")):
        yield "spi"
    if tree.names("/sys/class/nvme"):
        yield "nvme"
    if any(name.startswith("hailo") for name in tree.names("/sys/class/hailo_chardev")):
        yield "hailo"
    for name in tree.names("/sys/class/net"):
        if tree.exists(f"/sys/class/net/{name}/wireless") or tree.exists(f"/sys/class/net/{name}/phy80211"):
            yield "wifi"


def _is_a_thing(tree: Tree, device: str) -> bool:
    """Something that a person plugged in: neither a hub nor part of the board."""
    folder = f"/sys/bus/usb/devices/{device}"
    vendor, product = tree.text(f"{folder}/idVendor"), tree.text(f"{folder}/idProduct")
    if not vendor or tree.text(f"{folder}/bDeviceClass") == _HUB:
        return False
    return f"{vendor}:{product}" not in _ON_THE_BOARD
