"""The image, built and used: `python -m tools.image` prints what docs/figures/hosting.txt says of it.

No registry of images is asked: the base is a Debian root that `mmdebstrap` makes, the rest is deploy/Dockerfile, and the
container runs as a careful host would run it. Needs root and Debian's mmdebstrap, buildah, podman and runc; leaves nothing
behind.
"""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx2

from picluster.server.serve import FINISH_S
from tests.ports import free_port
from tests.service import KEY, until

ROOT = Path(__file__).parent.parent
SUITE = "bookworm"
BASE, OURS, NAME = f"localhost/base:{SUITE}", "localhost/picluster", "pool"
WALLS = "--read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges".split()
LIMITS = "--ulimit nofile=4096:4096 --ulimit nproc=4096:4096".split()
"""podman asks for more by itself, which cannot be had inside of another container."""

USER = 10001
STOPS = 5
LOCK = {"ApiKey": KEY, "IpAddress": "10.0.0.1", "CurrentUserName": "ann", "CurrentTaskName": "image"}


class Engine:
    """buildah and podman, with all that they keep in a folder of ours."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places = ["--root", folder / "storage", "--runroot", folder / "run"]

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *problem: object) -> None:
        """Their folder of layers is a mount point of its own, which stays when they have ended."""
        layers = self._folder / "storage/overlay"
        if layers.is_mount():
            call("umount", layers)

    def buildah(self, *arguments: str | Path) -> str:
        return call("buildah", *self._places, *arguments)

    def podman(self, *arguments: str | Path) -> str:
        return call("podman", *self._places, "--runtime", "runc", "--cgroup-manager", "cgroupfs", *arguments)

    def megabytes(self, image: str) -> float:
        return int(self.podman("image", "inspect", "--format", "{{.Size}}", image)) / 1e6


def call(*command: str | Path) -> str:
    """What it prints. Raises `SystemExit` with its complaint."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def build(engine: Engine, folder: Path) -> None:
    """The base, and the image on it; who is trusted on this machine is trusted while it is built."""
    packages = "--include=python3,python3-venv,ca-certificates"
    call("mmdebstrap", "--quiet", "--variant=minbase", packages, SUITE, folder / "base.tar")
    engine.podman("import", "--change", "ENV UV_SYSTEM_CERTS=1", folder / "base.tar", BASE)
    how = ["--format", "docker", "--isolation", "chroot", "-v", "/etc/ssl/certs:/etc/ssl/certs:ro"]
    engine.buildah("bud", *how, "--build-arg", f"BASE={BASE}", "-f", "deploy/Dockerfile", "-t", OURS, ".")


@contextmanager
def running(engine: Engine, folder: Path) -> Iterator[str]:
    """The container, ready: its address."""
    data = folder / "data"
    data.mkdir()
    os.chown(data, USER, USER)
    port = free_port()
    given = ["-v", f"{data}:/data", "-e", f"PORT={port}", "-e", f"RPI_APIKEY={KEY}"]
    try:
        engine.podman("run", "-d", "--name", NAME, "--network", "host", *WALLS, *LIMITS, *given, OURS)
        address = f"http://127.0.0.1:{port}"
        until(lambda: httpx2.get(f"{address}/readyz").status_code == 200)
        yield address
    finally:
        engine.podman("rm", "--force", "--ignore", NAME)


def walls(engine: Engine) -> str:
    """What the process may, as it sees it itself."""

    def inside(*command: str) -> str:
        return engine.podman("exec", NAME, *command)

    refused = inside("sh", "-c", "touch /opt/x 2>&1 || true")
    status = inside("grep", "-E", "^(CapEff|NoNewPrivs)", "/proc/1/status").replace("\t", " ").splitlines()
    engine.podman("healthcheck", "run", NAME)
    return "\n".join([inside("id"), refused, *status, "its health check passes"])


def stop(engine: Engine, address: str) -> tuple[float, int]:
    """With a stream open: seconds from SIGTERM to the end, and the exit code. The lock has to be there afterwards."""
    with httpx2.stream("GET", f"{address}/api/v1/events", headers={"Authorization": f"Bearer {KEY}"}) as told:
        told.raise_for_status()
        began_s = time.monotonic()
        engine.podman("stop", NAME)
        took_s = time.monotonic() - began_s
    code = int(engine.podman("inspect", "--format", "{{.State.ExitCode}}", NAME))
    engine.podman("start", NAME)
    until(lambda: httpx2.get(f"{address}/readyz").status_code == 200)
    [board] = httpx2.get(f"{address}/api").json()
    assert board["CurrentUserName"] == "ann", "a lock was lost"
    return took_s, code


def main() -> None:
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {platform.machine()}, {os.cpu_count()} cores")
    with (
        tempfile.TemporaryDirectory(prefix="picluster-image-") as temporary,
        Engine(Path(temporary)) as engine,
    ):
        folder = Path(temporary)
        build(engine, folder)
        base, all_of_it = engine.megabytes(BASE), engine.megabytes(OURS)
        print(
            f"{OURS} on Debian {SUITE}: {all_of_it:.0f} MB, of which {all_of_it - base:.0f} MB are ours",
            flush=True,
        )
        with running(engine, folder) as address:
            print(walls(engine), flush=True)
            for call_of in ("update", "lock"):
                httpx2.post(f"{address}/api/{call_of}", json=LOCK).raise_for_status()
            stops = [stop(engine, address) for _ in range(STOPS)]
        took = ", ".join(f"{took_s:.2f}" for took_s, _ in stops)
        print(
            f"SIGTERM, with a stream open: ended after {took} s, exit codes {sorted({code for _, code in stops})}"
        )
        print("its lock was there after each of these starts")
        assert max(took_s for took_s, _ in stops) < FINISH_S + 1 and {code for _, code in stops} == {0}


if __name__ == "__main__":
    main()
