"""What sshd must know on an enforced board: whose keys it reads where, and that nothing else lets that account in.

The keys are below /run, so a reboot forgets them: they come back only after the service confirmed the lease.
"""

from __future__ import annotations

KEYS = "/run/picluster/keys"
"""A folder of root's; in it a file for each account, named after it."""
DROP_IN = "/etc/ssh/sshd_config.d/10-picluster.conf"
ENVIRONMENT = "PICLUSTER_*"
"""What a line of the keys file may put into the session: which fence it is of."""

_FOR_THE_ACCOUNT = {
    "AuthorizedKeysFile": f"{KEYS}/%u",
    "AuthorizedKeysCommand": "none",
    "AuthorizedPrincipalsFile": "none",
    "TrustedUserCAKeys": "none",
    "AuthenticationMethods": "publickey",
    "PubkeyAuthentication": "yes",
    "PasswordAuthentication": "no",
    "KbdInteractiveAuthentication": "no",
    "HostbasedAuthentication": "no",
    "GSSAPIAuthentication": "no",
    "KerberosAuthentication": "no",
    "PermitUserRC": "no",
    "PermitTunnel": "no",
}


def config(user: str) -> str:
    """The text of the drop-in."""
    lines = "".join(f"    {key} {value}\n" for key, value in _FOR_THE_ACCOUNT.items())
    return (
        "# Written by picluster's installer: who has the lease logs in as this account, and nobody else does.\n"
        f"PermitUserEnvironment {ENVIRONMENT}\n"
        f"Match User {user}\n{lines}"
    )


def wrong(printed: str) -> list[str]:
    """What of it is not in force, given what `sshd -T -C user=…` prints."""
    said = dict(line.lower().partition(" ")[::2] for line in printed.splitlines())
    found = []
    for key, value in _FOR_THE_ACCOUNT.items():
        # An sshd that was built without a way in does not print it.
        has = said.get(key.lower(), value if value in ("no", "none") else "unset")
        if has != value.lower():
            found.append(f"{key} is {has}")
    if ENVIRONMENT.lower() not in said.get("permituserenvironment", "no").split(","):
        found.append(f"PermitUserEnvironment does not let {ENVIRONMENT} through")
    return found
