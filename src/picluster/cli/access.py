"""Who one is, and the tokens that say so."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from picluster.cli.common import Duration, of_pool, talk
from picluster.cli.output import clock, output_options, show, show_one
from picluster.errors import Malformed, NotAuthenticated

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
@click.option("--user", help="The name of your account; its password is asked for, or read from stdin.")
@click.option("--token", help="A token instead; without --user, one may be piped in.")
def login_command(url: str, user: str | None, token: str | None) -> None:
    """Remember the service, and a token for it, in a file that only you can read.

    With name and password you get a token of your own, for 90 days. `picluster logout` gives it back.

    \b
    picluster login http://lab:1337
    picluster login http://lab:1337 --user ann
    picluster login https://lab,https://lab2 < token.txt
    """
    from picluster.client.sync import Client
    from picluster.client.where import addresses, write_login

    found = addresses(url)
    if user is not None and token is not None:
        raise Malformed("--user and --token are two ways to say who you are.", "Say one.", field="token")
    token = _token_for(url, user) if token is None else token.strip()
    if not token:
        raise Malformed(
            "token: it is empty.", "An admin makes one: `picluster token create NAME`.", field="token"
        )
    with Client(url, token) as pool:
        me = pool.whoami()
    file = write_login(",".join(found), token)
    talk(f"You are {me.name} ({me.role}) at {found[0]}. Kept in {file}.")


def _token_for(url: str, user: str | None) -> str:
    """From a pipe: the token, or the password of `user`. From a person: name and password, or without a name, the token."""
    interactive = sys.stdin.isatty()
    if user is None and interactive:
        said: str = click.prompt("Name (empty to paste a token)", default="", show_default=False, err=True)
        user = said.strip()
    if not user:
        text: str = secret("Token") if interactive else sys.stdin.readline()
        return text.strip()
    return _token_of_account(url, user, secret("Password"))


def _token_of_account(url: str, user: str, password: str) -> str:
    import platform

    from picluster.client.sync import Client

    with Client(url, "") as pool:
        return pool.login(user, password, platform.node()[:LONGEST_LABEL]).token or ""


LONGEST_LABEL = 63
"""Of a computer's name: as long as a host name may be."""


def secret(prompt: str, *, twice: bool = False, piped: bool = False) -> str:
    """A password or token, unseen: asked for at a terminal, else (or if `piped`) the next line of stdin."""
    if sys.stdin.isatty() and not piped:
        typed: str = click.prompt(prompt, hide_input=True, err=True, confirmation_prompt=twice)
        return typed
    return sys.stdin.readline().rstrip("\r\n")


@click.command("logout")
def logout_command() -> None:
    """Forget the token that `login` has kept, and revoke it.

    The shared key and tokens of programs are only forgotten: others use them, too.

    \b
    picluster logout
    """
    from picluster.client.where import login_file, read_login, write_login

    kept = read_login()
    url, token = kept.get("url", ""), kept.get("token", "")
    if not token:
        talk(f"Nobody is logged in: {login_file()} has no token.")
        return
    revoked = _revoked(url, token)
    write_login(url, "")
    talk("The token is revoked and forgotten." if revoked else "The token is forgotten; it was not revoked.")


def _revoked(url: str, token: str) -> bool:
    """Whether a personal token was ended; one that is over already was."""
    from picluster.client.sync import Client

    kind, _, rest = token.removeprefix("pc_").partition("_")
    if not token.startswith("pc_") or kind != "person":
        return False
    with Client(url, token) as pool:
        try:
            return pool.revoke_token(rest.partition("_")[0]).revoked
        except NotAuthenticated:
            return True


@click.group("token", no_args_is_help=True)
def token_command() -> None:
    """Make, list and revoke tokens: your own, as an operator join tokens, as an admin everybody's.

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
    """Your tokens, or as an admin all, without their secrets."""
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
