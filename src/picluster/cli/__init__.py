"""The command line: one file for each group of commands, loaded when one of them is used."""

from __future__ import annotations

import errno
import io
import sys
from importlib import import_module
from typing import Any

import click

from picluster import __version__
from picluster.errors import PiclusterError

COMMANDS = {
    "agent": ("joining", "Run the agent on this machine, as a board of the pool."),
    "backup": ("backups", "Copy the whole pool into a file, while it runs."),
    "comment": ("machines", "Say something about machines."),
    "completion": ("completion", "Print what makes your shell complete picluster's words."),
    "cp": ("cp", "Copy files and folders to a machine, or from machines."),
    "delete": ("machines", "Forget machines."),
    "demo": ("demo", "Start a service with eight simulated boards, to try everything."),
    "doctor": ("doctor", "Find what is usually wrong, and say how to mend it."),
    "drain": ("machines", "Take machines out of service."),
    "exec": ("exec", "Run a command on many machines at once."),
    "extend": ("leases", "Keep what you have locked for longer."),
    "history": ("record", "What happened, newest first."),
    "import": ("importing", "Take over the machines and locks of the first service."),
    "join": ("joining", "Print what makes a board join the pool."),
    "label": ("machines", "Label machines: key=value sets, key- removes."),
    "list": ("machines", "What there is, and who has it."),
    "lock": ("leases", "Lock a machine, or be told who has it."),
    "login": ("access", "Remember the service, and a token for it."),
    "logout": ("access", "Forget the token that `login` has kept, and revoke it."),
    "people": ("people", "Accounts: who may log in, and what they may do."),
    "power": ("machines", "Switch machines on or off, or cycle them."),
    "queue": ("leases", "Who waits, in order, and why."),
    "restore": ("backups", "Put a backup in the place of a stopped pool."),
    "run": ("run", "Run a command on machines of the pool, and give them back."),
    "serve": ("serve", "Run the service on this machine."),
    "show": ("machines", "Everything about one machine."),
    "ssh": ("ssh", "Log in to a machine, leased for as long as you stay."),
    "token": ("access", "Make, list and revoke tokens."),
    "undrain": ("machines", "Put machines back into service."),
    "unlock": ("leases", "Give machines back."),
    "wait": ("leases", "Lock a machine when its turn comes."),
    "watch": ("record", "Follow what changes, live."),
    "webhooks": ("webhooks", "Tell chat rooms and programs what happens."),
    "whoami": ("access", "Who you are to the service, and which one it is."),
}
"""Each command with the module that has it, and its line in `picluster --help`, which imports none of them."""

ALIASES = {"acquire": "wait", "release": "unlock"}
"""Hidden: the words of the API."""


class _Commands(click.Group):
    """Commands by name; whatever one raises becomes a line on stderr and the documented exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        module = import_module(f"picluster.cli.{COMMANDS[name][0]}")
        command: click.Command = getattr(module, f"{name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS and args[0] not in ALIASES:
            from difflib import get_close_matches

            close = get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"No such command: {args[0]!r}." + (f" Did you mean {close[0]!r}?" if close else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in sorted(COMMANDS.items())])

    def invoke(self, ctx: click.Context) -> Any:
        _print_what_there_is()
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()  # here, where a pipe that was closed can still be told from success
        except PiclusterError as problem:
            from picluster.cli.common import complain

            ctx.exit(complain(problem))
        except KeyboardInterrupt as stopped:
            print(" ".join(["picluster: stopped.", *getattr(stopped, "__notes__", ())]), file=sys.stderr)
            ctx.exit(130)
        except OSError as problem:
            if problem.errno != errno.EPIPE:  # `| head` has seen enough, and knows
                where = f": {problem.filename}" if problem.filename else ""
                print(f"picluster: {problem.strerror or problem}{where}", file=sys.stderr)
            sys.stdout = io.StringIO()  # or Python would try again when it ends
            ctx.exit(1)


def _print_what_there_is() -> None:
    """A job may have letters that this terminal's encoding has not."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="picluster")
def main() -> None:
    """Share a pool of Raspberry Pis and other single-board machines.

    \b
    picluster demo                 try it: a service with eight simulated boards
    picluster list                 what there is, and who has it
    picluster lock model:pi5       a Pi 5, now
    picluster wait model:pi5       a Pi 5, when it is your turn
    picluster unlock --me          give back what is yours

    Which service: PICLUSTER_URL and PICLUSTER_TOKEN (or RPI_CLUSTER and RPI_APIKEY), or `picluster login`.
    """
