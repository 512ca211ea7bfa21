"""Find what is usually wrong, and say how to mend it."""

from __future__ import annotations

import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from picluster import __version__
from picluster.cli.output import output_options, show
from picluster.errors import Malformed, NotAllowed, NotAuthenticated, PiclusterError, Unavailable

if TYPE_CHECKING:
    from picluster.client.sync import Client
    from picluster.client.where import Where
    from picluster.wire import WhoAmI

CLOCK_OFF_S = 60.0
"""Leases count no wall clock, but logs, tokens and people do."""

SILENT_S = 24 * 3_600.0
"""A board that nobody has heard for a day has been forgotten rather than switched off for the night."""

REACH_S = 2.0
"""A board on the same network answers in milliseconds."""

DISTRIBUTION = "pi-cluster-service"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    about: str
    state: str
    """ok, hint (worth knowing), or wrong."""
    found: str
    mend: str = ""


Findings = Iterator[Finding]


@click.command("doctor")
@click.option("--url", help="Address of the service; several with commas.  [PICLUSTER_URL]")
@click.option("--token", help="Your token.  [PICLUSTER_TOKEN; better there than here]")
@output_options
@click.pass_context
def doctor_command(ctx: click.Context, url: str | None, token: str | None, output: str) -> None:
    """Find what is usually wrong, and say how to mend it. Exits with 1 if something is.

    \b
    picluster doctor
    picluster doctor --url http://lab:1337 -o json
    """
    findings = list(examine(url, token))
    columns = {
        "about": lambda one: one.about,
        "state": lambda one: one.state,
        "found": lambda one: one.found,
        "mend": lambda one: one.mend,
    }
    if output != "table":
        show(findings, output, columns)
    else:
        for one in findings:
            _print(one)
    ctx.exit(1 if any(one.state == "wrong" for one in findings) else 0)


def _print(one: Finding) -> None:
    from picluster.cli.output import plain

    print(f"{_mark(one.state)} {one.about}: {plain(one.found)}")
    if one.mend:
        print(f"    {plain(one.mend)}")


def _mark(state: str) -> str:
    """A sign, or where the terminal's encoding has none, the word."""
    sign = {"ok": "✓", "hint": "•", "wrong": "✗"}[state]
    try:
        sign.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return state
    return sign


def examine(url: str | None, token: str | None) -> Findings:
    """Everything that is looked at, from this computer outwards."""
    from picluster.cli.common import PATIENCE_S
    from picluster.client import where
    from picluster.client.sync import Client

    yield from _installation()
    try:
        place = where.find(url, token)
    except PiclusterError as problem:
        yield Finding("address", "wrong", problem.message, problem.hint)
        return
    reachable = False
    for address in place.addresses:
        finding = _address(address, place)
        reachable = reachable or finding.state == "ok"
        yield finding
    if reachable:
        with Client(",".join(place.addresses), place.token or "", place.user, patience_s=PATIENCE_S) as pool:
            yield from _service(pool, place)


def _installation() -> Findings:
    from importlib.metadata import PackageNotFoundError, packages_distributions, version

    others = [name for name in packages_distributions().get("picluster", []) if name != DISTRIBUTION]
    try:
        version("picluster")
        others.append("picluster")
    except PackageNotFoundError:
        pass
    if others:
        yield Finding(
            "installation",
            "wrong",
            "another package named picluster is installed, and shares our folder",
            f"pip uninstall picluster; pip install --force-reinstall {DISTRIBUTION}",
        )
    else:
        python = ".".join(map(str, sys.version_info[:3]))
        yield Finding("installation", "ok", f"picluster {__version__}, Python {python}")


def _address(address: str, place: Where) -> Finding:
    from picluster.client.sync import Client

    try:
        with Client(address, place.token or "", place.user, patience_s=0.0) as pool:
            pool.ready()
    except Malformed as problem:
        return Finding("address", "wrong", problem.message, problem.hint)
    except Unavailable as problem:
        return Finding("address", "wrong", problem.message, _how_to_reach(problem, address))
    except PiclusterError as problem:
        return Finding(
            "address",
            "wrong",
            f"{address} answers, but not as picluster does: {problem.message}",
            "Is another program at this address, or a proxy before it?",
        )
    return Finding("address", "ok", f"{address} is a picluster service, and ready")


def _how_to_reach(problem: PiclusterError, address: str) -> str:
    text = problem.message.lower()
    if (
        "getaddrinfo" in text
        or "name of a host" in text
        or ("name" in text and ("known" in text or "resol" in text))
    ):
        return "The name is unknown here: check PICLUSTER_URL, /etc/hosts, the VPN."
    if "refused" in text:
        return f"Nothing listens there: start `picluster serve`, or check the port in {address}."
    if "certificate" in text:
        return (
            "The certificate is not trusted here: name its authority's file in SSL_CERT_FILE, or install it; "
            "or use the name that the certificate was made for."
        )
    if "wrong_version_number" in text or "record layer" in text:
        return f"No TLS is spoken there: write http:// in {address}, or give the service a certificate."
    if "disconnected" in text and address.startswith("http:"):
        return f"If the service has a certificate, write https:// in {address}."
    if " within " in text:
        return "Nobody answers: a firewall or a wrong address is usual."
    return problem.hint


def _service(pool: Client, place: Where) -> Findings:
    from picluster.client.where import USER_HEADER

    if not place.token:
        yield Finding(
            "token",
            "hint",
            "none is set: only the list of machines can be read",
            "`picluster login URL` keeps one.",
        )
        yield from _machines(pool)
        return
    before = time.time()
    try:
        me = pool.whoami()
    except NotAuthenticated as problem:
        yield Finding(
            "token", "wrong", problem.message, "Set PICLUSTER_TOKEN or RPI_APIKEY to the right one."
        )
        return
    except NotAllowed as problem:
        yield Finding(
            "token", "wrong", problem.message, f"Is {USER_HEADER} or the role right? {problem.hint}"
        )
        return
    except PiclusterError as problem:
        yield Finding("service", "wrong", problem.message, problem.hint)
        return
    yield Finding("token", "ok", f"you are {me.name} ({me.role})")
    yield _versions(me)
    yield _clock(me, (before + time.time()) / 2)
    yield from _machines(pool)
    yield from _mine(pool, me)


def _versions(me: WhoAmI) -> Finding:
    if me.version == __version__:
        return Finding("version", "ok", f"client and service are both {__version__}")
    return Finding(
        "version",
        "hint",
        f"the client is {__version__}, the service {me.version}",
        f"pip install {DISTRIBUTION}=={me.version}",
    )


def _clock(me: WhoAmI, now: float) -> Finding:
    off = now - me.wall_us / 1e6
    if abs(off) < CLOCK_OFF_S:
        return Finding("clock", "ok", f"within {max(1, round(abs(off)))} s of the service's")
    word = "ahead of" if off > 0 else "behind"
    return Finding(
        "clock",
        "wrong",
        f"this computer is {abs(off):.0f} s {word} the service",
        "Leases do not mind, times in lists and tokens do: timedatectl set-ntp true, on the one that is wrong.",
    )


def _machines(pool: Client) -> Findings:
    try:
        machines = pool.machines()
    except PiclusterError as problem:
        yield Finding("machines", "hint", f"the list cannot be read: {problem.message}", problem.hint)
        return
    if not machines:
        yield Finding(
            "machines", "hint", "none has registered yet", "Boards need this address and their key."
        )
        return
    states = Counter(machine.state.replace("_", " ") for machine in machines)
    summary = ", ".join(f"{count} {state}" for state, count in states.most_common())
    yield Finding("machines", "ok", f"{len(machines)}: {summary}")
    for machine in machines:
        if machine.state in ("quarantined", "attention"):
            yield Finding(
                machine.name,
                "hint",
                f"{machine.state}: {machine.reason}",
                f"Look at it, then `picluster undrain {machine.name}`.",
            )
        elif machine.state == "offline" and machine.seen_s > SILENT_S:
            yield Finding(
                machine.name,
                "hint",
                f"not heard for {machine.seen_s / 86_400:.0f} d",
                f"Switch it on, or `picluster delete {machine.name}`.",
            )


def _mine(pool: Client, me: WhoAmI) -> Findings:
    """Whether the boards that one has locked can be reached from this computer."""
    try:
        machines = [one for one in pool.machines() if one.lease and one.lease.holder == me.name]
    except PiclusterError:
        return
    for machine in machines:
        place = f"{machine.address} port {machine.ssh_port}"
        try:
            socket.create_connection((machine.address, machine.ssh_port), REACH_S).close()
        except OSError as problem:
            why = problem.strerror or f"nothing came within {REACH_S:g} s"
            yield Finding(
                machine.name,
                "hint",
                f"you have it, and it cannot be reached from here: {place}: {why}",
                "Is SSH running there, and is there a way to its network (VPN, firewall)?",
            )
        else:
            yield Finding(machine.name, "ok", f"you have it, and {place} answers")
