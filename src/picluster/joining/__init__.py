"""How a board comes into the pool, as texts: the installer, the units, and what goes onto an SD card.

Nothing here does anything: the service serves these texts, the command line prints them, the dashboard shows them.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from textwrap import indent

from picluster.pool.selector import label_problem

HOST = r"(?:[a-z0-9][a-z0-9._-]{0,252}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?"
ORIGIN = re.compile(rf"https?://{HOST}", re.IGNORECASE)
"""What may be written into a script that runs as root, whoever sent it as the name of this service."""
ADDRESS = re.compile(rf"{ORIGIN.pattern}(?:/[a-z0-9._~-]+)*", re.IGNORECASE)
"""Of a service, which may stand below a path behind some proxies."""
SCRIPT = "/etc/picluster/first-boot.sh"
UNIT = "/etc/systemd/system/picluster-join.service"
CMDLINE = "systemd.run=/boot/firmware/firstrun.sh systemd.run_success_action=reboot systemd.unit=kernel-command-line.target"
"""What makes Raspberry Pi OS run `firstrun.sh` once, at the end of the one line in cmdline.txt."""

_MARK = re.compile(r"^@([a-z-]+\.service)@$", re.MULTILINE)


@dataclass(frozen=True)
class Invitation:
    """What a board is told. Raises `ValueError` for what no board could be told."""

    url: str
    """Where the service is; several addresses with commas are tried in turn."""
    token: str
    name: str = ""
    labels: str = ""
    enforce: bool = False

    def __post_init__(self) -> None:
        if not all(ADDRESS.fullmatch(one) for one in self.url.split(",")):
            raise ValueError(f"{self.url!r} is no address; it looks like https://lab")
        if not all(text.isprintable() for text in (self.token, self.name, self.labels)):
            raise ValueError("what a board is told is one line each")
        if problem := label_problem(label.partition("=")[0].strip() for label in self.labels.split(",")):
            raise ValueError(f"labels: {problem}")

    @property
    def script_url(self) -> str:
        return f"{self.url.partition(',')[0]}/install.sh"

    @property
    def options(self) -> list[str]:
        """Of the installer, without where and the token."""
        name = ["--name", self.name] if self.name else []
        labels = ["--labels", self.labels] if self.labels else []
        enforce = ["--enforce"] if self.enforce else []
        insecure = ["--insecure"] if any(one.startswith("http:") for one in self.url.split(",")) else []
        return [*name, *labels, *enforce, *insecure]


@cache
def text(name: str) -> str:
    """A file of this package."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def install_script(url: str = "", agent_sha256: str = "") -> str:
    """install.sh, with the units in it, the address it is served from, and the digest of the agent served there."""
    script = _MARK.sub(lambda mark: text(mark[1]).rstrip(), text("install.sh"))
    known = url if ORIGIN.fullmatch(url) else ""
    script = script.replace("served_url=''", f"served_url='{known}'", 1)
    return script.replace("served_sha256=''", f"served_sha256='{agent_sha256 if known else ''}'", 1)


def one_line(to: Invitation) -> str:
    """For a shell on a board that runs already."""
    where = [] if ORIGIN.fullmatch(to.url) else ["--url", to.url]  # else the script knows where it is from
    options = shlex.join(["--token", to.token, *where, *to.options])
    return f"curl -fsSL {shlex.quote(to.script_url)} | sudo sh -s -- {options}\n"


def first_boot_script(to: Invitation) -> str:
    """Joins when there is a network, and removes itself. It has the token in it, so it is for root alone."""
    options = shlex.join(["--url", to.url, *to.options])
    return f"""\
#!/bin/sh
# From `picluster join`: makes this board a machine of the pool. Tried until it works; then it is gone.
set -eu
curl -fsSL {shlex.quote(to.script_url)} -o /run/picluster-install.sh
export PICLUSTER_JOIN_TOKEN={shlex.quote(to.token)}
sh /run/picluster-install.sh {options}
systemctl disable picluster-join.service
rm -f {SCRIPT} {UNIT} /run/picluster-install.sh
"""


def user_data(to: Invitation) -> str:
    """For Raspberry Pi OS Trixie and whatever else has cloud-init: `user-data` on the boot partition."""
    return f"""\
#cloud-config
# The board joins the picluster pool at {to.url} when it first boots. This is `user-data` on the boot
# partition; if there is one already, add these two lists to it. The token in it works for a short time only.
write_files:
  - path: {SCRIPT}
    permissions: "0700"
    content: |
{indent(first_boot_script(to), " " * 6)}\
  - path: {UNIT}
    permissions: "0644"
    content: |
{indent(text("picluster-join.service"), " " * 6)}\
runcmd:
  - [systemctl, daemon-reload]
  - [systemctl, enable, --now, --no-block, picluster-join.service]
"""


def firstrun(to: Invitation) -> str:
    """For Raspberry Pi OS Bookworm and before: `firstrun.sh` on the boot partition, as the Imager writes one."""
    return f"""\
#!/bin/bash
# The board joins the picluster pool at {to.url} when it first boots. This is `firstrun.sh` on the boot
# partition, which runs if the one line of cmdline.txt ends with
#   {CMDLINE}
# If the Imager has written a firstrun.sh, put what is between the marks into it, before its `rm -f`.
set +e
# --- picluster ---
mkdir -p {SCRIPT.rpartition("/")[0]}
(umask 077; cat >{SCRIPT}) <<'END_OF_SCRIPT'
{first_boot_script(to)}END_OF_SCRIPT
cat >{UNIT} <<'END_OF_UNIT'
{text("picluster-join.service")}END_OF_UNIT
ln -sf {UNIT} /etc/systemd/system/multi-user.target.wants/
# --- picluster ---
rm -f /boot/firmware/firstrun.sh
sed -i 's| systemd\\.[^ ]*||g' /boot/firmware/cmdline.txt
exit 0
"""
