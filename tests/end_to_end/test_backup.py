"""`picluster backup` of a running service, `picluster restore` of a stopped one, and what holds afterwards."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import uuid
from pathlib import Path

from tests.end_to_end.lockers import lockers, locks
from tests.service import ADMIN, ServiceProcess, on_sqlite, service, until


def picluster(*arguments: str | Path, pool: ServiceProcess | None = None) -> subprocess.CompletedProcess[str]:
    """The command line, as somebody types it."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("PICLUSTER_", "RPI_"))}
    place = {"PICLUSTER_URL": pool.address, "PICLUSTER_TOKEN": ADMIN} if pool else {}
    command = [sys.executable, "-m", "picluster", *map(str, arguments)]
    return subprocess.run(command, env=known | place, capture_output=True, text=True, timeout=60)


def register(pool: ServiceProcess, *addresses: str) -> None:
    for address in addresses:
        pool.old("update", address, HostName=address)


def test_a_pool_moves_from_sqlite_to_postgresql_and_nobody_loses_a_lease(
    tmp_path: Path, postgres_url: str
) -> None:
    """The backup is taken under load; the lease in it is renewed at the new place; what was not heard is not granted."""
    file, lease = tmp_path / "lab.picluster", f"/api/v1/leases/{uuid.uuid4()}"
    with service(*on_sqlite(tmp_path / "old")) as pool:
        register(pool, "10.0.0.1", "10.0.0.2", "10.0.0.3")
        held = pool.send("PUT", lease, {"selector": "10.0.0.1", "ttl_s": 600}).json()
        with lockers([pool] * 3, ["10.0.0.2"], "busy") as busy:
            until(lambda: locks(busy) > 3)
            done = picluster("backup", file, pool=pool)
        assert done.returncode == 0, done.stderr
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        again = picluster("backup", file, pool=pool)
        assert (again.returncode, "--force" in again.stderr) == (1, True)
        running = picluster("restore", file, "--data", tmp_path / "old", "--force")
        assert (running.returncode, "another process" in running.stderr) == (1, True)
        later = pool.send("PUT", f"/api/v1/leases/{uuid.uuid4()}", {"selector": "10.0.0.3"}).json()
    done = picluster("restore", file, "--url", postgres_url)
    assert done.returncode == 0, done.stderr
    with service("--url", postgres_url) as pool:
        assert pool.send("POST", f"{lease}/renew").json()["fence"] == held["fence"]
        fresh = f"/api/v1/leases/{uuid.uuid4()}"
        assert pool.send("PUT", fresh, {"selector": "10.0.0.3"}).json()["state"] == "waiting"
        register(pool, "10.0.0.3")
        granted = pool.get(fresh).json()
        assert granted["state"] == "held"
        assert granted["fence"] > later["fence"] > held["fence"]


def test_a_restore_moves_what_was_there_aside(tmp_path: Path) -> None:
    """Not without being told to; a damaged database too."""
    file, data = tmp_path / "lab.picluster", tmp_path / "data"
    with service(*on_sqlite(data)) as pool:
        register(pool, "10.0.0.1")
        assert picluster("backup", file, pool=pool).returncode == 0
        register(pool, "10.0.0.2")
        assert pool.stop() == 0
    refused = picluster("restore", file, "--data", data)
    assert (refused.returncode, "--force" in refused.stderr) == (1, True)
    assert picluster("restore", file, "--data", data, "--force").returncode == 0
    with service(*on_sqlite(data)) as pool:
        assert [board["IpAddress"] for board in pool.get("/api").json()] == ["10.0.0.1"]
        assert pool.stop() == 0
    (data / "picluster.db").write_bytes(b"garbage" * 1000)
    refused = picluster("restore", file, "--data", data)
    assert refused.returncode == 78
    done = picluster("restore", file, "--data", data, "--force")
    assert done.returncode == 0, done.stderr
    assert len(list(data.glob("picluster.db.before-*"))) >= 1
    with service(*on_sqlite(data)) as pool:
        assert len(pool.get("/api").json()) == 1


def test_only_admins_take_a_backup(tmp_path: Path) -> None:
    with service(*on_sqlite(tmp_path / "data")) as pool:
        assert pool.get("/api/v1/backup", "wrong").status_code == 401
        user = pool.send("POST", "/api/v1/tokens", {"name": "ann", "role": "operator"}).json()["token"]
        assert pool.get("/api/v1/backup", user).status_code == 403


def test_a_backup_goes_to_stdout_too(tmp_path: Path) -> None:
    with service(*on_sqlite(tmp_path / "data")) as pool:
        command = [sys.executable, "-m", "picluster", "backup", "-", "--url", pool.address, "--token", ADMIN]
        assert subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.startswith(b"\x1f\x8b")


def test_a_backup_that_is_no_backup_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("remember the milk")
    refused = picluster("restore", tmp_path / "notes.txt", "--data", tmp_path / "data")
    assert (refused.returncode, "cannot be restored" in refused.stderr) == (1, True)
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "data").exists()
