"""`make docs`: types a newcomer's first session against the demonstration, and draws what the terminal showed."""

from __future__ import annotations

import asyncio
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.text import Text

from picluster.client.sync import Client
from picluster.demo.lab import free_port, inhabit, ready, service, token_for

HERE = Path(__file__).parent
WIDTH = 112

SESSION = (
    ("you", "picluster list"),
    ("you", "picluster lock cm4-a --job 'nvme tests' --for 2h"),
    ("eve", "picluster lock cm4-a"),
    ("eve", "picluster wait 'model:(pi4|cm4)' --timeout 1m"),
    ("you", "picluster unlock --me"),
    ("you", "picluster queue"),
)
"""Who types what, in turn."""

FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""The drawing loads nothing from elsewhere: whoever has no such font sees their own."""


def typed(person: str, command: str, environment: Mapping[str, str], console: Console) -> None:
    """Run a command as this person does, and show it with its output."""
    console.print(Text.assemble((f"{person}$ ", "bold green"), (command, "bold")))
    arguments = [sys.executable, "-m", "picluster", *shlex.split(command)[1:]]
    done = subprocess.run(
        arguments,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    console.print(Text(done.stdout.rstrip()), soft_wrap=False)
    if done.returncode:
        console.print(Text(f"(exit code {done.returncode})", style="dim"))
    console.print()


async def record(console: Console) -> None:
    """The whole session, into a console that records."""
    with service(free_port(1337)) as lab:
        await ready(lab)
        tokens = {name: await token_for(lab, name, role="user") for name in ("you", "eve")}
        everybody = asyncio.create_task(inhabit(lab))
        await asyncio.to_thread(_until_eight_boards, lab.url, lab.admin_token)
        for person, command in SESSION:
            environment = {"PICLUSTER_URL": lab.url, "PICLUSTER_TOKEN": tokens[person]}
            await asyncio.to_thread(typed, person, command, environment, console)
        everybody.cancel()
        await asyncio.gather(everybody, return_exceptions=True)


def _until_eight_boards(url: str, token: str) -> None:
    with Client(url, token) as pool:
        for kind, _ in pool.events():
            if kind != "hello" and len(pool.machines()) == 8:
                return


def main() -> None:
    console = Console(record=True, width=WIDTH, file=io.StringIO(), highlight=False, force_terminal=True)
    asyncio.run(record(console))
    (HERE / "session.svg").write_text(FONTS.sub("", console.export_svg(title="picluster")))


if __name__ == "__main__":
    main()
