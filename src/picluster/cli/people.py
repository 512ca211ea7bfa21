"""Accounts: who may log in, and what they may do at most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from picluster.cli.access import secret
from picluster.cli.common import of_pool, talk
from picluster.cli.output import clock, output_options, show, show_one

if TYPE_CHECKING:
    from picluster.client.sync import Client
    from picluster.wire import PersonAnswer

ROLE = click.Choice(["viewer", "user", "operator", "admin"])


@click.group("people", no_args_is_help=True)
def people_command() -> None:
    """Accounts: who may log in, and what they may do. For admins; your own password is yours to change.

    \b
    picluster people list
    picluster people add ann --role operator
    picluster people role ann admin
    picluster people password ann
    picluster people disable ann
    picluster people remove ann
    """


@people_command.command("list")
@output_options
@of_pool
def list_people(pool: Client, output: str) -> None:
    """All accounts, by name.

    \b
    picluster people list -o json
    """
    columns = {
        "name": lambda person: person.name,
        "role": lambda person: person.role,
        "state": state,
        "made": lambda person: clock(person.created_us),
    }
    show(pool.people(), output, columns, {"by": lambda person: person.created_by}, "No accounts.")


def state(person: PersonAnswer) -> str:
    """Whether somebody can log in to it."""
    if person.disabled:
        return "disabled"
    return "enabled" if person.has_password else "no password"


@people_command.command("add")
@click.argument("name")
@click.option("--role", type=ROLE, default="user", help="What they may do at most.  [default: user]")
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin.")
@click.option("--no-password", is_flag=True, help="None for now: nobody can log in to it.")
@output_options
@of_pool
def add_person(
    pool: Client, name: str, role: str, password_stdin: bool, no_password: bool, output: str
) -> None:
    """Make an account. The password is asked for twice, or read from stdin.

    \b
    picluster people add ann
    picluster people add ben --role viewer --password-stdin < password.txt
    """
    password = None if no_password else new_password(name, password_stdin)
    _tell(pool.add_person(name, role=role, password=password), output)


@people_command.command("role")
@click.argument("name")
@click.argument("role", type=ROLE)
@output_options
@of_pool
def give_role(pool: Client, name: str, role: str, output: str) -> None:
    """Say what somebody may do at most; tokens and sessions they have follow at once.

    \b
    picluster people role ann operator
    """
    _tell(pool.amend_person(name, role=role), output)


@people_command.command("password")
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read from stdin: the present one too, if it is needed.")
@of_pool
def set_password(pool: Client, name: str, password_stdin: bool) -> None:
    """Set a password. Who is not admin sets their own, and is asked for the present one first.

    Whoever is logged in to that account with a browser is logged out; tokens stay.

    \b
    picluster people password ann
    """
    changes = {}
    if pool.whoami().role != "admin":
        changes["current_password"] = secret(f"Present password of {name}", piped=password_stdin)
    changes["password"] = new_password(name, password_stdin)
    pool.amend_person(name, **changes)
    talk(f"{name} has a new password.")


@people_command.command("disable")
@click.argument("name")
@output_options
@of_pool
def disable_person(pool: Client, name: str, output: str) -> None:
    """Let somebody in no more: sessions and personal tokens end at once. Leases stay.

    \b
    picluster people disable ann
    """
    _tell(pool.amend_person(name, disabled=True), output)


@people_command.command("enable")
@click.argument("name")
@output_options
@of_pool
def enable_person(pool: Client, name: str, output: str) -> None:
    """Let somebody in again, with the password of before.

    \b
    picluster people enable ann
    """
    _tell(pool.amend_person(name, disabled=False), output)


@people_command.command("remove")
@click.argument("name")
@of_pool
def remove_person(pool: Client, name: str) -> None:
    """Delete an account, with its sessions and personal tokens. Leases stay until they are given back.

    \b
    picluster people remove ann
    """
    gone = pool.forget_person(name)
    talk(f"The account {gone.name} is gone.")


def new_password(name: str, from_stdin: bool) -> str:
    """A password typed twice, or one line of a pipe."""
    return secret(f"New password for {name}", twice=True, piped=from_stdin)


def _tell(person: PersonAnswer, output: str) -> None:
    about = {"name": person.name, "role": person.role, "state": state(person)}
    show_one(person, output, about, person.name)
