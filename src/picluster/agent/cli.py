"""The command: `picluster-agent`, or `python -m picluster.agent`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from . import VERSION
from .agent import Agent
from .link import Link
from .log import Log
from .notify import Manager
from .settings import CONFIG, TOKEN_FILE, Unusable, find
from .tree import Tree

USAGE = 2


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """The exit code; it comes back only with `--once`, or when the settings are unusable."""
    told = vars(_parser().parse_args(arguments))
    log = Log(verbose=told["verbose"])
    tree = Tree(told["root"])
    flags = {f"PICLUSTER_{key.upper()}": told[key] for key in _FLAGS}
    try:
        settings = find(flags, environ, tree)
        link = Link(settings.addresses, settings.read_token, log, settings.trust)
        agent = Agent(settings, tree, link, log, manager=Manager(environ))
    except Unusable as problem:
        log(str(problem))
        return USAGE
    if not settings.read_token():
        where = settings.token_file or "PICLUSTER_TOKEN"
        log(f"there is no token in {where}: picluster token create {agent.name} --kind agent -q prints one")
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    log(f"picluster-agent {VERSION}: {agent.name}, at {', '.join(map(str, settings.addresses))}")
    if told["once"]:
        return _once(agent)
    agent.run()
    return 0


_FLAGS = ("url", "token_file", "name", "labels", "address", "ca_file", "state", "ssh_user", "ssh_port")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="picluster-agent",
        description="Beat for this board, and do what the service says of its lease.",
        epilog=f"What is not said here is read from PICLUSTER_URL, PICLUSTER_TOKEN, …, then from {CONFIG}.",
    )
    say = parser.add_argument
    say("--url", help="where the service is; several with commas are tried in turn")
    say("--token-file", metavar="FILE", help=f"where this board's token is; {TOKEN_FILE} unless said")
    say("--name", help="what the machine is called in the pool; the host name unless said")
    say("--labels", metavar="camera,rack=b", help="labels beside those found by looking")
    say("--address", help="where people reach this board; where its packets leave from unless said")
    say("--ca-file", metavar="FILE", help="whom to trust, if not the authorities of this system")
    say("--state", metavar="FOLDER", help="where the fence is kept")
    say("--ssh-user", metavar="NAME", help="the account that holders use")
    say("--ssh-port", metavar="PORT")
    say("--once", action="store_true", help="one beat, then end: 0 if the service answered, else 1")
    say("--root", type=Path, default=Path("/"), metavar="FOLDER", help="read the board's files below this")
    say("-v", "--verbose", action="store_true")
    say("--version", action="version", version=VERSION)
    return parser


def _once(agent: Agent) -> int:
    try:
        agent.turn()
    finally:
        agent.stop()
    return 0 if agent.heard_s is not None else 1


def _end(number: int, frame: Any) -> NoReturn:
    sys.exit(0)
