#!/usr/bin/env python3
"""List the boards of a service: all of them, or with --me those that you have locked.

    python scripts/list.py
    python scripts/list.py --me

Which service, and who asks, is in the environment: RPI_CLUSTER, RPI_APIKEY.
"""

import argparse

from common import command, plain, table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--me", action="store_true", help="only what you have locked")
    args = parser.parse_args()
    cluster = table()
    for board in cluster.get_all():
        if args.me and (board.command, board.current_user_name) != ("Lock", cluster.get_user_name()):
            continue
        state = "Lock" if board.command == "Lock" else "Free" if board.alive else "dead?"
        words = (board.ip_address, state, board.current_user_name, board.current_task_name, board.hostname)
        print(plain("  ".join(f"{word or '-':<15}" for word in words).rstrip()))


command(main)
