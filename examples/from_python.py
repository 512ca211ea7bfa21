"""Build, send to a free board, test there, bring the results back, from Python: `python from_python.py model:pi5`."""

import subprocess
import sys
from pathlib import Path

from picluster import Board, Client

HERE = Path(__file__).parent


def main(selector: str) -> None:
    subprocess.run([HERE / "build.sh"], check=True)
    with Client() as cluster, Board.leased(cluster, selector, job="digits of pi") as board:
        board.put(HERE / "build", name="digits")
        print(board.run("./check.sh", folder="digits", timeout_s=60).stdout, end="")
        board.get("results/*", HERE / "out", folder="digits")
        board.run("rm -r digits")  # a board that does not enforce keeps what is left on it
        print(f"{board.machine.name} ({board.machine.model}) knows 1000 digits of pi.")


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]))
