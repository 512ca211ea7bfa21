"""`make bench`: how fast the service is, how long hand-overs take, and what a base install costs. One can be named."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime

from benchmarks import footprint, handover, rules, run, service, viewers, waiting

ALL = {
    "rules": rules.main,
    "service": service.main,
    "waiting": waiting.main,
    "viewers": viewers.main,
    "handover": handover.main,
    "run": run.main,
    "footprint": footprint.main,
}


def main(names: list[str]) -> None:
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine}", flush=True)
    for name in names or ALL:
        ALL[name]()
        print(flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
