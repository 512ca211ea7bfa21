#!/usr/bin/env python3
"""Lock boards: one by its address, or every free one that a quoted glob matches.

    python scripts/lock.py 10.0.0.7 --reason "new camera driver"
    python scripts/lock.py '10.*' --reason "new switch"

Which service, and who asks, is in the environment: RPI_CLUSTER, RPI_APIKEY. A lock lasts until it is unlocked.
"""

import argparse

from common import PiBoardEntity, command, each, matching, table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("address", help="address, or glob of addresses in quotes")
    parser.add_argument("--reason", required=True, help="what for; everybody sees it")
    args = parser.parse_args()
    cluster = table()

    def lock(board: PiBoardEntity) -> str:
        cluster.lock(board, args.reason)
        return f"{board.ip_address} is locked for you."

    each(matching(cluster, args.address), lock)


command(main)
