"""How boards come into the pool: what to type or copy there, and the agent itself."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from picluster.cli.common import Duration, of_pool, talk
from picluster.cli.output import output_options, show_one
from picluster.errors import Malformed

if TYPE_CHECKING:
    from picluster.client.sync import Client
    from picluster.joining import Invitation

_WHERE = {
    "generic": "Type this on the board, which needs curl and sudo.",
    "trixie": "Save this as user-data on the card's boot partition, or add its lists to the user-data that is there.",
    "bookworm": "Save this as firstrun.sh on the card's boot partition; its first lines say what cmdline.txt needs.",
}
"""What to do with each text."""
_OWN = ("//localhost", "//127.", "//[::1]")


@click.command("join")
@click.option(
    "--os",
    "system",
    type=click.Choice(list(_WHERE)),
    default="generic",
    help="One line for a board that runs, or the text for an SD card of Raspberry Pi OS.  [default: generic]",
)
@click.option("--name", default="", help="What the machine is called.  [default: its host name]")
@click.option("--labels", default="", help="Such as camera,rack=b, beside what is found by looking.")
@click.option("--enforce", is_flag=True, help="Let in only who has the lease.")
@click.option("--approve", is_flag=True, help="Boards stay pending until a person has looked at them.")
@click.option(
    "--uses", type=click.IntRange(1), default=1, help="So many boards may join with it.  [default: 1]"
)
@click.option("--expires", "expires_in_s", type=Duration(), default="24h", help="[default: 24h]")
@click.option(
    "--at", "at", default="", help="The service's address as boards reach it.  [default: as you do]"
)
@output_options
@of_pool
def join_command(
    pool: Client,
    system: str,
    name: str,
    labels: str,
    enforce: bool,
    approve: bool,
    uses: int,
    expires_in_s: float,
    at: str,
    output: str,
) -> None:
    """Print what makes a board join the pool, with a token that can do nothing else.

    \b
    picluster join                                one line for a board that runs
    picluster join --os trixie > user-data        for the SD card of a new one
    picluster join --uses 10 --approve            for a shelf of them, looked at by hand
    """
    from dataclasses import replace

    from picluster import joining

    if name and uses > 1:
        raise Malformed("--name names one machine.", "Leave it out, or make a token for each.", field="name")
    to = _invitation(_as_boards_reach_it(pool, at), name, labels, enforce)
    made = pool.make_token(
        name or "boards", kind="join", uses=uses, approve=approve, expires_in_s=expires_in_s
    )
    to = replace(to, token=made.token or "")
    texts = {"generic": joining.one_line, "trixie": joining.user_data, "bookworm": joining.firstrun}
    text = texts[system](to)
    if output in ("table", "wide"):
        print(text, end="")
        talk(_WHERE[system])
    else:
        found = {"id": made.id, "token": to.token, "url": to.url, "expires_us": made.expires_us, "text": text}
        show_one(found, output, found, to.token)


def _as_boards_reach_it(pool: Client, at: str) -> str:
    from picluster.client.where import addresses

    url = ",".join(addresses(at) if at else pool.session.where.addresses)
    if not at and any(own in url for own in _OWN):
        raise Malformed(
            f"A board that is told {url} looks for the service on itself.",
            "Say with --at how boards reach the service.",
            field="at",
        )
    if url.startswith("http:"):
        talk(
            "Plain http: whoever listens on that network can read tokens, and change what runs on the boards."
        )
    return url


def _invitation(url: str, name: str, labels: str, enforce: bool) -> Invitation:
    """Without its token, since one should not be made for what is refused."""
    from picluster.joining import Invitation

    try:
        return Invitation(url, "", name, labels, enforce)
    except ValueError as problem:
        raise Malformed(f"{problem}.", "Correct it and ask again.") from None


@click.command(
    "agent", add_help_option=False, context_settings={"ignore_unknown_options": True, "help_option_names": []}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def agent_command(arguments: tuple[str, ...]) -> None:
    """Run the agent on this machine, as a board of the pool.

    What boards run alone as picluster-agent.pyz, with the same options: `picluster agent --help` says which.
    """
    from picluster.agent.cli import main

    sys.exit(main(arguments))
