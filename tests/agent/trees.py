"""Boards as folders: what the agent would find on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from picluster.agent.tree import Tree

FOUR_CORES_ARM64 = "\n".join(
    f"processor\t: {n}\nBogoMIPS\t: 108.00\nCPU part\t: {{part}}\n" for n in range(4)
)
BOOT_ID = "0f6b7a52-8f61-4d3f-9c0e-0d4a1a0e5f11"
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGm4"

COMMON: Mapping[str, str] = {
    "proc/sys/kernel/random/boot_id": BOOT_ID + "\n",
    "proc/sys/kernel/osrelease": "6.12.25+rpt-rpi-2712\n",
    "proc/loadavg": "0.52 0.58 0.59 1/389 12345\n",
    "proc/uptime": "350735.47 234388.90\n",
    "etc/machine-id": "3d1219c7c4c5404aaa1f6d2a48adfda4\n",
    "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\n'
    'VERSION="12 (bookworm)"\nID=debian\n',
    "etc/ssh/ssh_host_ed25519_key.pub": ED25519 + " root@board\n",
    "etc/ssh/ssh_host_ed25519_key": "SECRET",
}

PI5: Mapping[str, str] = {
    **COMMON,
    "proc/sys/kernel/hostname": "pi5-a\n",
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "proc/device-tree/serial-number": "b03b5cbbaa3f0000\0",
    "proc/device-tree/compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0",
    "proc/cpuinfo": FOUR_CORES_ARM64.format(part="0xd0b")
    + "\nRevision\t: d04170\nSerial\t\t: b03b5cbbaa3f0000\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n",
    "proc/meminfo": "MemTotal:        8258624 kB\nMemFree:         5949100 kB\nMemAvailable:    7501532 kB\n",
    "proc/self/mountinfo": "25 1 179:2 / / ro,noatime shared:1 - ext4 /dev/mmcblk0p2 rw,errors=remount-ro\n",
    "sys/devices/system/cpu/present": "0-3\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48312\n",
    "sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq": "2400000\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq": "2400000\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "1500000\n",
    "sys/class/hwmon/hwmon0/name": "cpu_thermal\n",
    "sys/class/hwmon/hwmon2/name": "rpi_volt\n",
    "sys/class/hwmon/hwmon2/in0_lcrit_alarm": "0\n",
    "sys/class/net/eth0/address": "2c:cf:67:00:00:01\n",
    "sys/class/net/eth0/device/uevent": "",
    "sys/class/net/wlan0/address": "2c:cf:67:00:00:02\n",
    "sys/class/net/wlan0/device/uevent": "",
    "sys/class/net/wlan0/wireless/x": "",
    "sys/class/net/lo/address": "00:00:00:00:00:00\n",
    "sys/class/video4linux/v4l-subdev2/name": "imx708 10-001a\n",
    "sys/class/nvme/nvme0/model": "SSD\n",
    "sys/bus/usb/devices/usb1/idVendor": "1d6b\n",
    "sys/bus/usb/devices/usb1/bDeviceClass": "09\n",
    "dev/i2c-1": "",
    "sys/fs/ext4/mmcblk0p2/errors_count": "0\n",
}

PI4_ON_32_BITS: Mapping[str, str] = {
    **COMMON,
    "proc/sys/kernel/hostname": "raspberrypi\n",
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "proc/cpuinfo": "\n".join(
        f"processor\t: {n}\nmodel name\t: ARMv7 Processor rev 3 (v7l)\nCPU part\t: 0xd08\n" for n in range(4)
    )
    + "\nHardware\t: BCM2711\nRevision\t: c03114\nSerial\t\t: 10000000abcdef01\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n",
    "proc/meminfo": "MemTotal:        3885396 kB\nMemAvailable:    3500000 kB\n",
    "proc/self/mountinfo": "25 1 179:2 / / rw,noatime shared:1 - ext4 /dev/root ro\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "84500\n",
    "sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq": "1500000\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq": "1000000\n",
    "sys/bus/usb/devices/1-1.2/idVendor": "0403\n",
    "sys/bus/usb/devices/1-1.2/idProduct": "6001\n",
    "sys/bus/usb/devices/1-1.2/bDeviceClass": "00\n",
}

ZERO2W: Mapping[str, str] = {
    **COMMON,
    "proc/sys/kernel/hostname": "zero\n",
    "proc/device-tree/model": "Raspberry Pi Zero 2 W Rev 1.0\0",
    "proc/device-tree/serial-number": "00000000deadbeef\0",
    "proc/device-tree/system/linux,revision": "\0\u0090\u0021\u0020",
    "proc/cpuinfo": FOUR_CORES_ARM64.format(part="0xd03"),
    "proc/meminfo": "MemTotal:         437684 kB\n",
    "sys/class/net/wlan0/address": "d8:3a:dd:00:00:03\n",
    "sys/class/net/wlan0/device/uevent": "",
    "sys/class/net/wlan0/phy80211/x": "",
}

PC: Mapping[str, str] = {
    **COMMON,
    "proc/sys/kernel/hostname": "nuc.lab.example\n",
    "sys/class/dmi/id/sys_vendor": "Intel(R) Client Systems\n",
    "sys/class/dmi/id/product_name": "NUC10i5FNH\n",
    "proc/cpuinfo": "".join(
        f"processor\t: {n}\nmodel name\t: Intel(R) Core(TM) i5-10210U CPU @ 1.60GHz\n\n" for n in range(8)
    ),
    "proc/meminfo": "MemTotal:       16106532 kB\n",
    "sys/class/net/eno1/address": "1c:69:7a:00:00:04\n",
    "sys/class/net/eno1/device/uevent": "",
    "sys/class/net/docker0/address": "02:42:00:00:00:01\n",
    "sys/class/thermal/thermal_zone0/type": "acpitz\n",
    "sys/class/thermal/thermal_zone0/temp": "27800\n",
    "sys/class/thermal/thermal_zone10/type": "x86_pkg_temp\n",
    "sys/class/thermal/thermal_zone10/temp": "51000\n",
}

BOARDS = {"pi5": PI5, "pi4": PI4_ON_32_BITS, "zero2w": ZERO2W, "pc": PC, "nothing": {}}


def plant(root: Path, files: Mapping[str, str | bytes]) -> Tree:
    """A board with these files. Text stands for its bytes, one for one."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("latin-1"))
    return Tree(root)
