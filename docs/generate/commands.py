"""`docs/commands.md`: every command's help as one page."""

from __future__ import annotations

from collections.abc import Iterator

import click

from picluster.cli import COMMANDS, main

WIDTH = 100

HEAD = """# Commands

What `picluster VERB --help` says, for reading in one go; `make docs` writes it anew.

Exit codes: 0 done · 1 failed · 2 usage · 3 nothing matched · 4 not allowed · 5 held by somebody else · 6 service unreachable ·
124 waited too long · 130 interrupted.
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(_helps())


def _helps() -> Iterator[str]:
    context = click.Context(
        main, info_name="picluster", max_content_width=WIDTH, terminal_width=WIDTH, **main.context_settings
    )
    for name in sorted(COMMANDS):
        command = main.get_command(context, name)
        assert command is not None
        yield from _help(command, name, context)


def _help(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    context = click.Context(
        command, info_name=name, parent=parent, max_content_width=WIDTH, terminal_width=WIDTH
    )
    yield f"\n## {context.command_path}\n\n```\n{command.get_help(context).rstrip()}\n```\n"
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None
            yield from _help(found, below, context)
