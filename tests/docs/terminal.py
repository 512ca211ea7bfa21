"""A terminal for a page: one bash that stays, in a home of its own, where `picluster` is the one that is tested.

Pages name hosts, ports and a database as a lab would have them. The terminal types what they mean here, and shows again
what they say.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.docs.blocks import ANYTHING, Block, Typed, is_shown
from tests.service import until
from tests.warm import nursery

PORTS = (1337, 1338)
"""What pages listen on; here each is a free one."""

DATABASE = "postgresql://picluster@db/picluster"
"""What pages call the database that replicas share."""

HOST = re.compile(r"\b(?:lab|lab-a|lab-b|localhost|127\.0\.0\.1)(?=:\d)")
"""What pages call this computer."""


class Terminal:
    """For the time of a block; whatever it started and left running ends with it. Not `warm` for a test that is in a network
    of its own, where what is forked elsewhere is not."""

    def __init__(
        self,
        home: Path,
        ports: Mapping[int, int],
        database: str = "",
        *,
        warm: bool = True,
        **environment: str,
    ) -> None:
        self._home, self._ports, self._database = home, ports, database or DATABASE
        self._seen = ""
        self._typed: list[str] = []
        self._open: list[int] = []
        ours = ("PICLUSTER_", "RPI_", "XDG_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        programs = [str(nursery().programs)] if warm else []
        path = os.pathsep.join([*programs, str(Path(sys.executable).parent), kept["PATH"]])
        settled = {"HOME": str(home), "PATH": path, "PORT": str(ports[PORTS[0]]), "COLUMNS": "120"}
        self._environment = {**kept, **settled, **environment}

    def __enter__(self) -> Terminal:
        self._bash = subprocess.Popen(
            ["bash", "--norc"],
            cwd=self._home,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self

    def __exit__(self, *problem: object) -> None:
        self.interrupt()
        self._bash.kill()
        self._bash.communicate()

    def follow(self, block: Block) -> None:
        """Type a block's commands, one after the other. Raises `AssertionError` with what differs."""
        if block.word == "after Ctrl-C":
            self.interrupt()
        for typed in block.typed:
            command = self._here(self._completed(typed.command))
            self._typed.append(command)
            if block.word == "stays open":
                self._seen += self._beside(command, typed)
            else:
                output, code = self._type(command)
                self._seen += output
                self._compare(block, typed, output, code)

    def interrupt(self) -> None:
        """Ctrl-C for all that stays open, last started first; back when it is gone."""
        going, self._open = self._open[::-1], []
        for process in going:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGINT)
        for process in going:
            self._type(f"wait {process}")

    def _type(self, command: str) -> tuple[str, int]:
        """(what it printed, how it ended)"""
        end = f"end-{secrets.token_hex(8)}"
        assert self._bash.stdin and self._bash.stdout
        self._bash.stdin.write(f"{{\n{command}\n}} </dev/null\nprintf '\\n%s %s\\n' {end} $?\n")
        self._bash.stdin.flush()
        lines = []
        for line in self._bash.stdout:
            if line.startswith(end):
                return self._there("".join(lines)), int(line.split()[1])
            lines.append(line)
        raise AssertionError(f"the shell ended with {self._bash.wait()}: {''.join(lines)}")

    def _beside(self, command: str, typed: Typed) -> str:
        """What a command that goes on has printed, as soon as that is what the page shows."""
        said = self._home / f".said-{len(self._typed)}"
        said.touch()
        # Python takes SIGINT for itself only if it was not ignored before, as jobs of a script have it.
        begun, _ = self._type(f"(trap - INT; exec env {command}) >{said} 2>&1 & echo $!")
        self._open.append(int(begun))
        try:
            until(lambda: is_shown(typed.shown, self._there(said.read_text())))
        except AssertionError:
            raise AssertionError(f"{command}\n{said.read_text()}\nnever became\n{typed.shown}") from None
        return self._there(said.read_text())

    def _completed(self, command: str) -> str:
        """With each word that the page leaves open as it was printed before: a token, which nobody can know."""
        return re.sub(rf"\S*{ANYTHING}\S*", lambda word: self._printed(word[0]), command)

    def _printed(self, word: str) -> str:
        """The first such word that was not typed yet, else the first."""
        found = re.findall(r"\S+".join(map(re.escape, word.split(ANYTHING))), self._seen)
        assert found, f"nothing was printed that could be typed as {word!r}"
        fresh = [one for one in found if not any(self._here(one) in typed for typed in self._typed)]
        return str((fresh or found)[0])

    def _here(self, text: str) -> str:
        for port, ours in self._ports.items():
            text = re.sub(rf"\b{port}\b", str(ours), text)
        return HOST.sub("127.0.0.1", text).replace(DATABASE, self._database)

    def _there(self, text: str) -> str:
        text = text.replace(self._database, DATABASE)
        for port, ours in self._ports.items():
            text = re.sub(rf"\b{ours}\b", str(port), text)
        return HOST.sub("localhost", text)

    def _compare(self, block: Block, typed: Typed, output: str, code: int) -> None:
        told = f"{block}: {typed.command}\n{output}(exit code {code})"
        assert (code != 0) == typed.refused, told
        shown = HOST.sub("localhost", typed.shown)
        assert not shown or is_shown(shown, output), f"{told}\nis not\n{shown}"
