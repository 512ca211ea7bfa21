"""Who one is, and who else may come in."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from picluster.cli.common import Duration, of_pool, talk
from picluster.cli.output import clock, output_options, show, show_one
from picluster.errors import Malformed

if TYPE_CHECKING:
    from picluster.client.sync import Client


@click.command("whoami")
@output_options
@of_pool
def whoami_command(pool: Client, output: str) -> None:
    """Who you are to the service, and which one it is."""
    me = pool.whoami()
    about = {
        "name": me.name,
        "role": me.role,
        "service": pool.session.address,
        "version": me.version,
        "old protocol": "open" if me.legacy_door else "closed",
    }
    show_one(me, output, about, me.name)


@click.command("login")
@click.argument("url")
@click.option("--token", help="Your token; asked for, or read from stdin, when it is left out.")
def login_command(url: str, token: str | None) -> None:
    """Remember the service and your token, in a file that only you can read.

    \b
    picluster login http://lab:1337
    picluster login https://lab,https://lab2 < token.txt
    """
    from picluster.client.sync import Client
    from picluster.client.where import addresses, write_login

    found = addresses(url)
    if token is None:
        token = (
            click.prompt("Token", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
        )
    token = token.strip()
    if not token:
        raise Malformed(
            "token: it is empty.", "An admin makes one: `picluster token create NAME`.", field="token"
        )
    with Client(url, token) as pool:
        me = pool.whoami()
    file = write_login(",".join(found), token)
    talk(f"You are {me.name} ({me.role}) at {found[0]}. Kept in {file}.")


@click.group("token", no_args_is_help=True)
def token_command() -> None:
    """Make, list and revoke tokens. For admins.

    \b
    picluster token create ann --role operator
    picluster token create nightly --kind ci --expires 90d
    picluster token list
    picluster token revoke ID
    """


@token_command.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice(["viewer", "user", "operator", "admin"]), default="user")
@click.option(
    "--kind",
    type=click.Choice(["person", "ci", "agent", "join"]),
    default="person",
    help="An agent's NAME is its machine's.  [default: person]",
)
@click.option("--expires", "expires_in_s", type=Duration(), help="After this: 1h, 90d.  [default: never]")
@output_options
@of_pool
def create_token(
    pool: Client, name: str, role: str, kind: str, expires_in_s: float | None, output: str
) -> None:
    """Make a token. Its text is printed once, on stdout, and kept nowhere."""
    made = pool.make_token(name, role=role, kind=kind, expires_in_s=expires_in_s)
    if output in ("table", "wide", "name"):
        print(made.token)
        talk(f"{made.kind} token {made.id} for {made.name} ({made.role}), shown this once.")
    else:
        show_one(made, output, {"id": made.id, "token": made.token}, made.id)


@token_command.command("list")
@output_options
@of_pool
def list_tokens(pool: Client, output: str) -> None:
    """All tokens, without their secrets."""
    columns = {
        "id": lambda token: token.id,
        "name": lambda token: token.name,
        "kind": lambda token: token.kind,
        "role": lambda token: token.role,
        "made": lambda token: clock(token.issued_us),
        "expires": lambda token: clock(token.expires_us) or "never",
        "state": lambda token: "revoked" if token.revoked else "valid",
    }
    show(pool.tokens(), output, columns, {"by": lambda token: token.issued_by}, "No tokens.")


@token_command.command("revoke")
@click.argument("token_id")
@of_pool
def revoke_token(pool: Client, token_id: str) -> None:
    """A token works no more."""
    revoked = pool.revoke_token(token_id)
    talk(f"The token {revoked.id} of {revoked.name} is revoked.")
