"""Lock, wait, unlock, extend, queue: what is refused and why, and what is yours until when."""

from __future__ import annotations

import json
import shlex
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from picluster import Client
from picluster.cli import leases as module
from picluster.wire import LeaseRequest
from tests.cli.conftest import Shell, boards
from tests.client.stub import http, nowhere, stub
from tests.service import ADMIN, ServiceProcess


def lease_on(pool: ServiceProcess, name: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = pool.get(f"/api/v1/machines/{name}").json()["lease"]
    return found


def test_locked_until(sh: Shell, pool: ServiceProcess) -> None:
    """Eight hours unless told otherwise; data on stdout, talk on stderr."""
    (name,) = boards(pool)
    result = sh(f"lock {name} --job 'video tests'")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split() == [name, f"{name}.lab", "legacy"]
    assert result.stderr == f"Yours for 8 h 00 min. `picluster unlock {name}` gives back.\n"
    shown = lease_on(pool, name)
    assert shown and shown["job"] == "video tests" and 28_700 < shown["expires_in_s"] < 28_810


@pytest.mark.parametrize(
    ("form", "reads"), [("json", json.loads), ("jsonl", json.loads), ("csv", str), ("name", str)]
)
def test_locked_for_a_program(sh: Shell, pool: ServiceProcess, form: str, reads: Any) -> None:
    (name,) = boards(pool)
    result = sh(f"lock {name} -o {form}")
    assert (result.exit_code, result.stderr) == (0, "")
    assert name in str(reads(result.stdout))


def test_for_how_long(sh: Shell, pool: ServiceProcess) -> None:
    one, two = boards(pool, 2)
    assert "Yours for 90 s" in sh(f"lock {one} --for 90").stderr
    assert "Yours until unlocked" in sh(f"lock {two} --for ever").stderr
    assert "for 2 h 00 min" not in sh(f"extend {one} {two} --for 1h").stderr
    shown = [lease_on(pool, name) for name in (one, two)]
    assert all(lease and 3_500 < lease["expires_in_s"] < 3_610 for lease in shown)
    assert sh(f"extend {one} --for ever").stderr == f"{one} is yours until unlocked.\n"
    assert sh(f"extend {one} --for 1s").exit_code == 2


def test_longer_by_so_much(sh: Shell, pool: ServiceProcess) -> None:
    """What is added never takes anything away; which of the two is meant has to be said."""
    one, two = boards(pool, 2)
    sh(f"lock {one} --for 2h")
    sh(f"lock {two} --for ever")
    assert sh(f"extend {one} {two} --by 30m").stderr.splitlines() == [
        f"{one} is yours for 2 h 30 min.",
        f"{two} is yours until unlocked.",
    ]
    assert sh(f"extend {one} --by 29d").exit_code == sh(f"extend {one} --by 29d").exit_code == 0
    assert "for 30 d" in sh(f"extend {one} --by 1h").stderr
    assert sh(f"extend {one} --by ever").stderr == f"{one} is yours until unlocked.\n"
    assert sh(f"extend {one} --by 1h --for 1h").exit_code == sh(f"extend {one}").exit_code == 2


def test_a_refusal_says_who_what_for_since_when_until_when_and_what_next(
    sh: Shell, pool: ServiceProcess
) -> None:
    (name,) = boards(pool)
    sh(f"lock {name} --job nightly --for 2h")
    result = sh(f"lock {name} --count 1 --for 30m --job 'my job'")
    assert (result.exit_code, result.stdout) == (5, "")
    first, second = result.stderr.splitlines()
    assert first.startswith(f"picluster: {name} is held by admin for 'nightly': since ")
    assert first.endswith("2 h 00 min left.")
    next_command = second.split("`")[1]
    assert shlex.split(next_command) == shlex.split(f"picluster wait {name} --for 1800s --job 'my job'")
    unlocked = sh(f"unlock {name}")
    assert unlocked.exit_code == 0
    assert sh(next_command.removeprefix("picluster ")).exit_code == 0


def test_the_next_command_asks_for_the_same() -> None:
    usual = {"job": "", "count": 1, "priority": 1, "on_reboot": "release", "timeout": None}
    asked = usual | {"count": 2, "priority": 0, "on_reboot": "keep"}
    said = module._waiting(["a b", "-c:d"], ttl_s=float("inf"), **asked)
    assert said == "`picluster wait 'a b' -c:d --count 2 --priority 0 --for ever --on-reboot keep`"
    assert module._waiting([], ttl_s=module.WORKING_DAY_S, **usual) == "`picluster wait`"


def test_nothing_matches(sh: Shell) -> None:
    for line in ("lock name:nothing", "wait name:nothing"):
        result = sh(line)
        assert (result.exit_code, result.stdout) == (3, "")
        assert "matches 0 registered machines" in result.stderr


def test_waited_too_long(sh: Shell, pool: ServiceProcess) -> None:
    (name,) = boards(pool)
    sh(f"lock {name}")
    for line in (f"wait {name} --timeout 0", f"lock {name} --wait --timeout 0", f"lock {name} --timeout 0"):
        result = sh(line)
        assert (result.exit_code, result.stdout) == (124, "")
        assert "Waiting: " in result.stderr
    assert sh.json("queue") == []


def test_when_the_turn_comes(sh: Shell, pool: ServiceProcess) -> None:
    """Standing in line is shown to everybody; the machine comes as soon as it is given back."""
    (name,) = boards(pool)
    sh(f"lock {name}")

    def give_back(step: object) -> None:
        (waiting,) = sh.json("queue")
        assert (waiting["holder"], waiting["selector"]) == ("admin", f"name:{name}")
        assert sh("queue").stdout.splitlines()[1].split()[:2] == ["1", "admin"]
        assert sh("queue -q").stdout.strip() == sh("queue -o csv").stdout.splitlines()[1].split(",")[-1]
        pool.send("DELETE", f"/api/v1/leases/{held['id']}")

    held = lease_on(pool, name)
    assert held
    with Client(pool.address, ADMIN) as client:
        lease = client.acquire(LeaseRequest(name), watch=give_back, renewing=False)
    assert lease.machine.name == name
    result = sh("queue")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "Nobody waits.\n")


def test_several_at_once(sh: Shell, pool: ServiceProcess) -> None:
    """All or nothing; given back together, whichever of them is named, and every one is told."""
    one, two = boards(pool, 2)
    assert sh(f"lock --count 2 '{one[:-1]}*' -q").stdout.split() == [one, two]
    result = sh(f"unlock {two}")
    assert (result.exit_code, result.stderr) == (0, f"{one}, {two} are given back.\n")
    assert sh(f"lock --count 3 '{one[:-1]}*'").exit_code == 3
    sh(f"lock --count 2 '{one[:-1]}*'")
    assert sh(f"unlock {two} {one}").stderr == f"{one}, {two} are given back.\n"


def test_giving_back(sh: Shell, pool: ServiceProcess) -> None:
    one, two, three = boards(pool, 3)
    glob = f"'{one[:-1]}*'"
    sh(f"lock {one}")
    sh(f"lock {two}")
    sh.old(f"lock {three} --reason theirs", "bob")
    assert sh(f"unlock --me {glob}").stderr.splitlines() == [f"{one} is given back.", f"{two} is given back."]
    assert sh(f"unlock {one}").stderr == "Nothing of this is locked.\n"
    assert sh(f"unlock --me {glob}").exit_code == 0
    sh(f"lock {one}")
    result = sh(f"unlock {glob}")  # of many, one's own
    assert (result.exit_code, result.stderr) == (0, f"{one} is given back.\n")
    assert lease_on(pool, three) is not None
    assert sh("unlock nothing").exit_code == 3


def test_all_that_a_job_has(sh: Shell, pool: ServiceProcess) -> None:
    """For who cannot know which machines they were: what is held and what waits under these words, and nothing else."""
    one, two, three = boards(pool, 3)
    job = 'nightly "4711"'
    sh.run(["lock", one, "--job", job])
    sh.run(["lock", two, "--job", f"{job}2"])
    sh.old(f"lock {three}", "bob")
    waiting = str(uuid.uuid4())
    pool.send("PUT", f"/api/v1/leases/{waiting}", {"selector": f"name:{three}", "job": job})
    result = sh.run(["unlock", "--job", job])
    assert (result.exit_code, result.stderr) == (0, f"Left the queue.\nGiven back: {one}.\n")
    assert pool.get(f"/api/v1/leases/{waiting}").json()["state"] == "ended"
    assert lease_on(pool, one) is None and lease_on(pool, two) and lease_on(pool, three)
    assert sh.run(["unlock", "--job", job]).stderr == "Nothing is locked for this job.\n"
    assert sh("unlock --job ''").exit_code == 2
    assert sh(f"unlock {two} --job x").exit_code == 2


def test_what_is_somebody_elses(sh: Shell, pool: ServiceProcess) -> None:
    """Refused with the command that takes it all the same, which wants a reason; the old word brings its own."""
    one, two, three = boards(pool, 3)
    for name in (one, two, three):
        assert sh.old(f"lock {name} --reason theirs", "bob").exit_code == 0
    result = sh(f"unlock {one}")
    assert result.exit_code == 5
    assert f"{one} is legacy:bob's." in result.stderr and f"unlock {one} --force --reason" in result.stderr
    assert sh(f"unlock {one} --force").exit_code == 2
    assert sh(f"unlock {one} --force --reason holiday").exit_code == 0
    assert sh.old(f"unlock {two}.lab --lock_override", "ann").exit_code == 0
    assert lease_on(pool, one) is lease_on(pool, two) is None
    (ended,) = sh.json(f"history {one} --kind lease.ended")
    assert (ended["actor"], ended["detail"]["reason"]) == ("admin", "holiday")
    assert sh(f"extend {three} --for 1h").exit_code == 4
    assert sh(f"extend {one} --for 1h").exit_code == 3


def test_a_user_of_tokens_may_not_take_from_others(sh: Shell, pool: ServiceProcess) -> None:
    (name,) = boards(pool)
    sh(f"lock {name}")
    token = sh(f"token create somebody-{name}").stdout.strip()
    result = sh(f"unlock {name} --force --reason want", token=token)
    assert result.exit_code == 4
    assert lease_on(pool, name) is not None


def test_extending_mine(sh: Shell, pool: ServiceProcess) -> None:
    one, two = boards(pool, 2)
    sh.old(f"lock {one}", "zoe")
    sh.old(f"lock {two}", "zoe")
    assert sh.old("extend --me --for 2h", "zoe").stderr.splitlines() == [
        f"{one} is yours for 2 h 00 min.",
        f"{two} is yours for 2 h 00 min.",
    ]
    assert sh.old(f"extend --me {one} --for 3h", "zoe").stderr == f"{one} is yours for 3 h 00 min.\n"
    assert sh.old("extend --me --for 2h", "yves").exit_code == 3


def test_people_with_the_old_settings_alone(sh: Shell, pool: ServiceProcess) -> None:
    (name,) = boards(pool)
    assert sh.old(f"lock {name}.lab --reason 'a reason'").exit_code == 0
    assert sh.old("list --me -q").stdout.strip() == name
    assert sh.old("unlock --me").exit_code == 0


# Trouble


def test_unreachable(sh: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("picluster.cli.common.PATIENCE_S", 0.2)
    result = sh("lock pi-1", PICLUSTER_URL=nowhere())
    assert (result.exit_code, result.stdout) == (6, "")
    assert "Connection refused. Trying on …" in result.stderr
    assert "you may hold a machine" not in result.stderr


@pytest.mark.parametrize(
    "reply",
    [b"", http(b"{"), http(b'{"name"', length=99), http(b"<html>", kind="text/html"), b"220 ftp ready\r\n"],
)
def test_whatever_answers_it_is_one_line_and_a_way_on(
    sh: Shell, monkeypatch: pytest.MonkeyPatch, reply: bytes
) -> None:
    """And who may hold a machine without knowing it is told so."""
    monkeypatch.setattr("picluster.cli.common.PATIENCE_S", 0.0)
    with stub(reply) as other:
        for line in ("list", "lock pi-1", "unlock --me", "whoami", "history", "watch"):
            result = sh(line, PICLUSTER_URL=other.address)
            assert (result.exit_code, result.stdout) == (6, "")
            assert result.stderr.startswith("picluster: ")
            assert len(result.stderr.splitlines()) in (2, 3, 4)
            assert ("you may hold a machine" in result.stderr) is (line == "lock pi-1")


def test_ctrl_c_at_any_moment_leaves_nothing(
    sh: Shell, pool: ServiceProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = boards(pool)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_tell", stop)
    result = sh(f"lock {name}")
    assert result.exit_code == 130
    assert lease_on(pool, name) is None
    sh_held = Client(pool.address, ADMIN)
    with sh_held, sh_held.lease(name):
        monkeypatch.setattr(module.Waiting, "__call__", stop)
        result = sh(f"wait {name}")
        assert (result.exit_code, result.stdout) == (130, "")
        assert "You have left the queue, and nothing was locked." in result.stderr
        assert sh.json("queue") == []


def test_many_at_once_each_get_their_own(pool: ServiceProcess) -> None:
    """Real processes, all started together."""
    names = boards(pool, 4)
    shell = Shell(pool.address)

    def lock(number: int) -> str:
        with shell.start(f"picluster wait '{names[0][:-1]}*' --job {number} -q") as process:
            return process.communicate(timeout=60)[0].strip()

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(lock, range(4))) == names
