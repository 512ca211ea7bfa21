"""The fixtures: when a board is leased, which one, for how long, and what the reports say of it."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Callable

import pytest

from tests.pytest_plugin.sessions import Project
from tests.service import until

Projects = Callable[[int], Project]

USES = """
    def test_without(): pass

    def test_one(pi): assert pi.machine.name and pi.lease.fence

    def test_two(pi): pass
"""


def test_one_lease_for_the_session(project: Projects) -> None:
    """Leased by the first test that asks, held for the others, given back at the end; everybody sees what for."""
    ours = project(1)
    ours.write(USES)
    code, said = ours.run("--pi-job", "night of pi", "--junitxml=out.xml")
    [lease] = ours.leases()
    assert (code, lease["job"], lease["ended"]) == (0, "night of pi", "released"), said
    [name] = ours.boards
    assert f"{name} (unknown model), fence {lease['fence']}: unknown" in said
    properties = {"pi_machine": name, "pi_lease": lease["id"], "pi_fence": str(lease["fence"])}
    verdict = {"pi_verdict": "unknown", "pi_reasons": "runs no agent"}
    assert ours.properties("test_without") == {}
    assert ours.properties("test_one") == properties
    assert ours.properties("test_two") == properties | verdict, "the last one has the verdict, too"


def test_one_lease_for_each_test(project: Projects) -> None:
    """Each test gets a grant of its own, and its report the verdict."""
    ours = project(1)
    ours.write("def test_one(pi_per_test): pass\ndef test_two(pi_per_test): pass\n")
    code, said = ours.run("--junitxml=out.xml")
    assert code == 0, said
    one, two = ours.leases()
    assert one["fence"] < two["fence"] and one["ended_us"] <= two["granted_us"]
    for test, lease in (("test_one", one), ("test_two", two)):
        properties = ours.properties(test)
        assert (properties["pi_lease"], properties["pi_verdict"]) == (lease["id"], "unknown")


def test_nothing_is_leased_at_collection(project: Projects) -> None:
    ours = project(1)
    ours.write(USES)
    code, said = ours.run("--collect-only")
    assert (code, "3 tests collected" in said, ours.leases()) == (0, True, [])
    assert "<Function test_one>" in said, "the selector is no part of a test's name"


def test_a_skipped_test_leases_nothing(project: Projects) -> None:
    ours = project(1)
    ours.write("import pytest\n@pytest.mark.skip\ndef test_one(pi): pass\n")
    code, said = ours.run()
    assert (code, "1 skipped" in said, ours.leases()) == (0, True, [])


def test_a_mark_says_which_board(project: Projects) -> None:
    """Tests of one board are put side by side; a board is given back before another is waited for."""
    ours = project(3)
    first, second, third = ours.boards
    ours.ini(f"pi = name:{third}\n")
    ours.write(f"""
        import pytest
        def holds(client): return [one.name for one in client.machines() if one.lease and one.name in {ours.boards}]

        @pytest.mark.pi("{first}")
        def test_one(pi, picluster_client): assert holds(picluster_client) == [pi.machine.name] == ["{first}"]
        @pytest.mark.pi("{second}")
        def test_two(pi, picluster_client): assert holds(picluster_client) == [pi.machine.name] == ["{second}"]
        @pytest.mark.pi("{first}")
        def test_three(pi, picluster_client): assert holds(picluster_client) == [pi.machine.name] == ["{first}"]
        def test_four(pi, picluster_client): assert holds(picluster_client) == [pi.machine.name] == ["{third}"]
        @pytest.mark.pi("{second}")
        def test_five(pi_per_test, picluster_client): assert holds(picluster_client) == ["{second}"]
        def test_six(pi_per_test, picluster_client): assert holds(picluster_client) == ["{third}"]
    """)
    code, said = ours.run()
    assert code == 0, said
    assert [one["machines"][0]["name"] for one in ours.leases()] == [first, second, third, second, third]


def test_fixtures_of_a_project_may_use_it(project: Projects) -> None:
    """As to install something once for all tests."""
    ours = project(1)
    ours.write("""
        import pytest
        @pytest.fixture(scope="session")
        def installed(pi): return pi.machine.name
        def test_one(installed): pass
        def test_two(installed, pi): assert pi.machine.name == installed
    """)
    code, said = ours.run()
    assert (code, len(ours.leases())) == (0, 1), said


def test_two_boards_in_one_test_are_refused(project: Projects) -> None:
    """Whoever waits for a board while holding one may wait for somebody who waits for that one."""
    ours = project(2)
    ours.write("def test_both(pi, pi_per_test): pass\n")
    code, said = ours.run()
    assert code == 2 and "Use one of them" in said and ours.leases() == [], said


def test_waiting_is_shown_and_ends(project: Projects) -> None:
    """Why it waits is told at once, though pytest captures output; after --pi-timeout the test fails."""
    ours = project(1)
    [name] = ours.boards
    lease = f"/api/v1/leases/{uuid.uuid4()}"
    ours.pool.send("PUT", lease, {"selector": name, "job": "soak"})
    ours.write(USES)
    code, said = ours.run("--pi-timeout", "1")
    assert code == 1 and "Waited 1 s without getting a machine" in said, said
    assert "pi: Waiting: 1 of 1 matching needed: 1 locked." in said, said
    assert "client/flows" not in said, "a traceback through our files tells nobody anything"
    ours.pool.send("DELETE", lease)
    assert ours.leases("waiting") == []


def test_it_comes_when_its_turn_comes(project: Projects) -> None:
    ours = project(1)
    [name] = ours.boards
    lease = f"/api/v1/leases/{uuid.uuid4()}"
    ours.pool.send("PUT", lease, {"selector": name})
    ours.write(USES)
    run = ours.start()
    until(lambda: ours.leases("waiting"))
    ours.pool.send("DELETE", lease)
    said, _ = run.communicate()
    assert run.returncode == 0 and f"pi: {name} is yours." in said


def test_without_a_service(project: Projects) -> None:
    """What is wrong and what to do, in the place of a traceback."""
    ours = project(1)
    ours.write(USES)
    code, said = ours.run(PICLUSTER_URL="http://127.0.0.1:9")
    assert code == 1 and "No answer from http://127.0.0.1:9" in said and "picluster doctor" in said
    code, said = ours.run(PICLUSTER_URL="")
    assert code == 1 and "No service is named. Set PICLUSTER_URL" in said
    assert "2 errors" in said and "1 passed" in said


def test_a_wrong_setting_is_told_before_anything_runs(project: Projects) -> None:
    ours = project(1)
    ours.write(USES)
    code, said = ours.run("--pi-ttl", "soon")
    assert code == 4 and "pi_ttl: 'soon' is no number of seconds." in said


def test_only_clean_boards_will_do(project: Projects) -> None:
    """A board of the old protocol cannot tell; with --pi-require-clean, or the ini file's word, that is a failure."""
    ours = project(1)
    ours.write(USES)
    code, said = ours.run("--pi-require-clean")
    assert code == 1 and "The board was not clean while it was tested: " in said
    assert "3 passed, 1 error" in said
    ours.ini("pi_require_clean = true")
    assert ours.run()[0] == 1


def test_a_lost_lease_fails_the_test(project: Projects) -> None:
    """Also one that has no need of the board after that: it did not run on the board that it was given."""
    ours = project(1)
    ours.write("import time\ndef test_one(pi):\n    while pi.lease.lost is None: time.sleep(0.01)\n")
    run = ours.start("--pi-ttl", "3")
    until(lambda: ours.leases("held"))
    [lease] = ours.leases()
    operator = {"name": f"op-{uuid.uuid4()}", "role": "operator"}
    token = ours.pool.send("POST", "/api/v1/tokens", operator).json()["token"]
    ours.pool.send("DELETE", f"/api/v1/leases/{lease['id']}?reason=fire", token=token)
    said, _ = run.communicate()
    assert run.returncode == 1 and "1 passed, 1 error" in said and "The lease has ended" in said, said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["interrupted", "cancelled"])
def test_whoever_is_stopped_gives_back(project: Projects, number: signal.Signals) -> None:
    """Nothing stays locked when a job is cancelled, also in the middle of a test."""
    ours = project(1)
    ours.write("""
        import pathlib, time
        def test_one(pi):
            pathlib.Path("begun").touch()
            time.sleep(600)
    """)
    run = ours.start()
    until((ours.folder / "begun").exists)
    run.send_signal(number)
    said, _ = run.communicate()
    assert run.returncode == 2, said
    [lease] = ours.leases()
    assert (lease["state"], lease["ended"]) == ("ended", "released"), said
    assert "fence" in said, "the summary has it all the same"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["interrupted", "cancelled"])
def test_workers_whose_controller_is_stopped(project: Projects, number: signal.Signals) -> None:
    """Only the controller hears of it; its workers end with it, and give back before."""
    ours = project(2)
    ours.write("""
        import pathlib, pytest, time
        @pytest.mark.parametrize("number", [1, 2])
        def test_one(pi, number):
            pathlib.Path(f"begun-{number}").touch()
            time.sleep(600)
    """)
    run = ours.start("-n", "2")
    until(lambda: len(list(ours.folder.glob("begun-*"))) == 2)
    run.send_signal(number)
    run.wait()
    until(lambda: [lease["ended"] for lease in ours.leases()] == ["released", "released"])
