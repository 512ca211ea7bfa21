#!/usr/bin/env python3
"""Unlock boards: one by its address, all yours that a quoted glob matches, or with --me all yours.

    python scripts/unlock.py 10.0.0.7
    python scripts/unlock.py --me
    python scripts/unlock.py 10.0.0.7 --lock_override     also what somebody else has

Which service, and who asks, is in the environment: RPI_CLUSTER, RPI_APIKEY.
"""

import argparse

from common import PiBoardEntity, command, each, matching, table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("address", nargs="?", help="address, or glob of addresses in quotes")
    parser.add_argument(
        "--me", action="store_true", help="only what you have locked; without an address, all of it"
    )
    parser.add_argument(
        "--lock_override", action="store_true", help="also what somebody else has; it is recorded"
    )
    args = parser.parse_args()
    if not (args.address or args.me):
        parser.error("say an address, or --me")
    cluster = table()
    found = matching(cluster, args.address or "*")
    only_mine = args.me or (len(found) > 1 and not args.lock_override)
    if only_mine:
        found = [board for board in found if board.current_user_name == cluster.get_user_name()]
    locked = [board for board in found if board.command == "Lock"]
    if not locked:
        print("Nothing of this is locked by you." if only_mine else "Nothing of this is locked.")
    reason = "unlock.py --lock_override" if args.lock_override else ""

    def unlock(board: PiBoardEntity) -> str:
        freed = cluster.unlock(board, reason)
        if freed.command == "Lock":
            return f"{board.ip_address} is locked by nobody, but {freed.current_user_name}."
        return f"{board.ip_address} is free again."

    each(locked, unlock)


command(main)
