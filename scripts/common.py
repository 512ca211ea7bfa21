"""What the four scripts share: the table, globs, and errors as one line on stderr."""

import os
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase

try:
    from picluster import PiBoardEntity, PiBoardTable, PiclusterError
except ImportError as missing:
    sys.exit(
        f"picluster cannot be imported ({missing}): `make install` puts it into .venv; then use .venv/bin/python, "
        "or `pip install pi-cluster-service` for the Python that you have."
    )


def table() -> PiBoardTable:
    """The service that the environment names."""
    if not (os.environ.get("RPI_CLUSTER") or os.environ.get("PICLUSTER_URL")):
        sys.exit(
            "Set RPI_CLUSTER to the address of the service, as http://lab:1337/api/, and RPI_APIKEY to its key."
        )
    return PiBoardTable()


def matching(cluster: PiBoardTable, glob: str) -> list[PiBoardEntity]:
    """The boards whose address, or whole host name, is this or matches it; ends the script when there is none."""
    found = [
        board
        for board in cluster.get_all()
        if fnmatchcase(board.ip_address, glob) or fnmatchcase(board.hostname or "", glob)
    ]
    if not found:
        sys.exit(f"No board has an address like {glob!r}; list.py shows what there is.")
    return found


def each(boards: list[PiBoardEntity], do: Callable[[PiBoardEntity], str]) -> None:
    """Do it for every board and print what it says, also when one is refused; the script fails when one was."""
    refused = 0
    for board in boards:
        try:
            print(plain(do(board)))
        except PiclusterError as problem:
            refused += 1
            print(plain(f"{board.ip_address}: {problem.message}"), file=sys.stderr)
    if refused:
        sys.exit(1)


def plain(text: str) -> str:
    """Without what would move a terminal's cursor: reasons come from anybody."""
    return "".join(one if one.isprintable() else "?" for one in text)


def command(main: Callable[[], None]) -> None:
    """Run a script; what goes wrong is one line, not a traceback."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        main()
        sys.stdout.flush()
    except PiclusterError as problem:
        sys.exit(plain(f"{problem.message} {problem.hint}".strip()))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
