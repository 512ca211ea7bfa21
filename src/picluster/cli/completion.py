"""Shell completion, as click makes it."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")

BEFORE = {"zsh": "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -u }\n"}
"""A shell whose completion has not been switched on yet."""


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> None:
    """Print what makes your shell complete commands, options and machines.

    \b
    eval "$(picluster completion bash)"          # in ~/.bashrc
    eval "$(picluster completion zsh)"           # in ~/.zshrc
    picluster completion fish | source           # in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    print(BEFORE.get(shell, ""), end="")
    print(kind(ctx.find_root().command, {}, "picluster", "_PICLUSTER_COMPLETE").source())
