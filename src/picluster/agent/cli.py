"""The command: `picluster-agent`, or `python -m picluster.agent`. (`getopt`, since `argparse` is ten times as large.)"""

from __future__ import annotations

import getopt
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from . import VERSION
from .agent import Agent
from .gate import Gate, NoGate
from .link import Link
from .log import Log
from .notify import Manager
from .settings import (
    CONFIG,
    STATE,
    TOKEN_FILE,
    Enforcing,
    Settings,
    Unusable,
    find,
    find_enforcing,
    gather,
)
from .tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

USAGE = 2

HELP = f"""\
Usage: picluster-agent [OPTIONS]

Beat for this board, and do what the service says of its lease.

  --url ADDRESSES       Where the service is; several with commas are tried in turn.
  --token-file FILE     Where this board's token is; {TOKEN_FILE} unless said.
  --name NAME           What the machine is called in the pool; the host name unless said.
  --labels camera,rack=b
                        Labels beside those found by looking.
  --address ADDRESS     Where people reach this board; where its packets leave from unless said.
  --ca-file FILE        Whom to trust, if not the authorities of this system.
  --state FOLDER        Where the fence is kept; {STATE} unless said.
  --ssh-user NAME       The account that holders use.
  --ssh-port PORT
  --enforce             Let in the holder alone, and remove everything of theirs afterwards.
  --check               Say what enforcing requires and how this board stands, then end: 0 if all is right, else 1.
  --print-sshd-config   What sshd has to be told for it.
  --once                One beat, then end: 0 if the service answered, else 1.
  --join TOKEN          Get this board a token of its own with a join token, and end. The token is written into its
  --join-file FILE      file, what is said here into {CONFIG}. What should not be seen in the list of
                        processes comes from a file, or PICLUSTER_JOIN_TOKEN.
  --again               Join also when the board has a token that works.
  --root FOLDER         Read the board's files below this.
  -v, --verbose
  --version
  -h, --help

What is not said here is read from PICLUSTER_URL, PICLUSTER_TOKEN and so on, then from {CONFIG}.
"""

_SETTINGS = ("url", "token-file", "name", "labels", "address", "ca-file", "state", "ssh-user", "ssh-port")
_JOINING = ("join", "join-file")
_SWITCHES = ("once", "again", "enforce", "check", "print-sshd-config", "verbose", "version", "help")


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """The exit code; it comes back only with `--once` and the like, or when the settings are unusable."""
    try:
        told = _read(sys.argv[1:] if arguments is None else arguments)
    except getopt.GetoptError as problem:
        print(f"{problem}; --help says what there is", file=sys.stderr)
        return USAGE
    if "help" in told or "version" in told:
        print(HELP.rstrip() if "help" in told else VERSION)
        return 0
    return _run(told, environ)


def _read(arguments: Sequence[str]) -> dict[str, str]:
    """By long names. Raises `getopt.GetoptError`."""
    long = [*(f"{name}=" for name in (*_SETTINGS, *_JOINING, "root")), *_SWITCHES]
    found, rest = getopt.gnu_getopt(list(arguments), "hv", long)
    if rest:
        raise getopt.GetoptError(f"{rest[0]!r} is not expected")
    short = {"-h": "help", "-v": "verbose"}
    return {short.get(name, name.lstrip("-")): value for name, value in found}


def _run(told: Mapping[str, str], environ: Mapping[str, str]) -> int:
    log = Log(verbose="verbose" in told)
    tree = Tree(told.get("root", "/"))
    flags = {f"PICLUSTER_{name.upper().replace('-', '_')}": told.get(name) for name in _SETTINGS}
    flags["PICLUSTER_ENFORCE"] = "1" if "enforce" in told else None
    try:
        if "check" in told or "print-sshd-config" in told:
            return _show(told, find_enforcing(gather(flags, environ, tree), tree), tree)
        settings = find(flags, environ, tree)
        if "join" in told or "join-file" in told or environ.get("PICLUSTER_JOIN_TOKEN"):
            from .join import Join, join_token  # once in a board's life

            return Join(settings, tree, log).run(join_token(told, environ), flags, again="again" in told)
        link = Link(settings.addresses, settings.read_token, log, settings.trust)
        manager = Manager(environ)
        gate = _gate(settings, tree, log, manager)
        agent = Agent(settings, tree, link, log, gate=gate, manager=manager)
    except Unusable as problem:
        log(str(problem))
        return USAGE
    if not settings.read_token():
        where = settings.token_file or "PICLUSTER_TOKEN"
        log(f"there is no token in {where}: picluster token create {agent.name} --kind agent -q prints one")
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    log(f"picluster-agent {VERSION}: {agent.name}, at {', '.join(map(str, settings.addresses))}")
    if "once" in told:
        return _once(agent)
    agent.run()
    return 0


def _gate(settings: Settings, tree: Tree, log: Log, manager: Manager) -> Gate:
    if not settings.enforcing:
        return NoGate()
    from .enforce import Enforcer  # memory that an advisory board need not spend

    return Enforcer(tree, settings.enforcing, log, manager.busy)


def _show(told: Mapping[str, str], enforcing: Enforcing, tree: Tree) -> int:
    """For people and the installer: what sshd has to be told, or how the board stands."""
    if "print-sshd-config" in told:
        from .sshd import config

        print(config(enforcing.user), end="")
        return 0
    from .ready_to_enforce import show

    return show(enforcing, tree)


def _once(agent: Agent) -> int:
    try:
        agent.turn()
    finally:
        agent.stop()
    return 0 if agent.heard_s is not None else 1


def _end(number: int, frame: Any) -> NoReturn:
    sys.exit(0)
