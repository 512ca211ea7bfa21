"""The command line: one file for each group of commands, loaded when it is used."""

from __future__ import annotations

import click

COMMANDS = {"serve": "picluster.cli.serve"}
"""Which module has a command."""


class _Commands(click.Group):
    """Commands by name, imported only when asked for, so that `--help` starts quickly."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        from importlib import import_module

        command: click.Command = import_module(COMMANDS[cmd_name]).command
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pi-cluster-service", prog_name="picluster")
def main() -> None:
    """Share a pool of Raspberry Pis and other single-board machines."""
