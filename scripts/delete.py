#!/usr/bin/env python3
"""Forget boards that nobody has: one by its address, or all that a quoted glob matches.

    python scripts/delete.py 10.0.0.7
    python scripts/delete.py '10.*'

Which service, and who asks, is in the environment: RPI_CLUSTER, RPI_APIKEY. A board that still reports comes back.
"""

import argparse

from common import PiBoardEntity, command, each, matching, table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("address", help="address, or glob of addresses in quotes")
    args = parser.parse_args()
    cluster = table()

    def delete(board: PiBoardEntity) -> str:
        cluster.delete(board)
        return f"{board.ip_address} is forgotten."

    each(matching(cluster, args.address), delete)


command(main)
