"""A board as a fixture: leased when the first test asks for it, given back after the last, judged in between.

    def test_camera(pi):
        assert "imx708" in pi.run("rpicam-hello --list-cameras").stdout

pytest loads this file for everybody who has us installed, so it imports nothing until a test asks for a board. A
process (under xdist: a worker) has one board at a time and gives it back before it waits for another, so workers
never wait for each other in a circle.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from picluster.client.flows import Step
    from picluster.client.sync import Client, Lease
    from picluster.errors import PiclusterError
    from picluster.runner.blocking import Board
    from picluster.wire import LeaseAnswer

SLOT = "_picluster_slot"
"""The fixture that holds this process's board; its parameter is the selector."""

PER_TEST = "pi_per_test"

TTL_S = 120.0
"""A worker that is killed keeps its board for no longer than this."""

VERDICT_S = 25.0
"""How long to wait for the board's last report: at the end of a session that is worth it."""

OUTPUT = "picluster"
"""Where a worker's records travel."""

SETTINGS = {
    "pi_job": "What the boards are for, as everybody sees it.  [default: pytest]",
    "pi_timeout": "Wait so many seconds at most for a board.  [default: until it comes]",
    "pi_ttl": f"A board stays with a killed process for so many seconds.  [default: {TTL_S:g}]",
}
"""Each an option, and with underscores a line of the ini file."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("picluster", "boards of a picluster pool")
    group.addoption(
        "--pi", metavar="SELECTOR", default="", help="In this run, only boards that match this, too."
    )
    parser.addini("pi", "Selector of the board, for tests that do not say it by a mark.", default="")
    for name, text in SETTINGS.items():
        group.addoption(f"--{name.replace('_', '-')}", metavar=name.partition("_")[2].upper(), help=text)
        parser.addini(name, text, default="")
    clean = "Fail if a board throttled, lost voltage or the like while it was tested, or cannot tell."
    group.addoption("--pi-require-clean", action="store_true", help=clean)
    parser.addini("pi_require_clean", clean, type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "pi(selector): the board that this test needs, as 'model:pi5 tag:camera'"
    )
    config.stash[BOARDS] = _Boards(config)


# Which board for which test


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The selector is a parameter, so pytest itself puts tests of one board side by side, and ends one before the next."""
    if SLOT not in metafunc.fixturenames:
        return
    if {"pi", PER_TEST} <= set(metafunc.fixturenames):
        raise pytest.UsageError(
            f"{metafunc.definition.nodeid}: `pi` and `pi_per_test` in one test would wait for a board while "
            "holding another. Use one of them."
        )
    alone = PER_TEST in metafunc.fixturenames
    selector = None if alone else metafunc.config.stash[BOARDS].selector(metafunc.definition)
    shown = getattr(pytest, "HIDDEN_PARAM", "pi")  # pytest 8.4 and newer can leave it out of the test's name
    metafunc.parametrize(SLOT, [selector], ids=[shown], indirect=True, scope="session")


@pytest.fixture(scope="session", name=SLOT)
def _slot(request: pytest.FixtureRequest) -> Iterator[Board | None]:
    """This process's board; none while tests run that have one each."""
    selector = getattr(request, "param", None)
    if selector is None:
        yield None
        return
    with request.config.stash[BOARDS].leased(request.getfixturevalue("picluster_client"), selector) as board:
        yield board


@pytest.fixture(scope="session")
def pi(request: pytest.FixtureRequest, _picluster_slot: Board | None) -> Board:
    """A board of the pool, for this session or xdist worker: `run`, `put`, `get`, `machine`, `lease`."""
    if _picluster_slot is None:
        raise pytest.UsageError(
            "`pi` has to be an argument of the test or of a fixture, so that it is known before."
        )
    return _picluster_slot


@pytest.fixture
def pi_per_test(
    request: pytest.FixtureRequest, _picluster_slot: Board | None, picluster_client: Client
) -> Iterator[Board]:
    """A board of the pool for this test alone: as clean as the pool gives it."""
    boards = request.config.stash[BOARDS]
    if _picluster_slot is not None:
        raise pytest.UsageError("`pi_per_test` has to be an argument of the test or of a fixture.")
    with boards.leased(picluster_client, boards.selector(request.node)) as board:
        yield board


@pytest.fixture(scope="session")
def picluster_client() -> Iterator[Client]:
    """The pool: `picluster.Client`, with the settings of the environment or of `picluster login`."""
    from picluster.client.sync import Client
    from picluster.errors import PiclusterError

    try:
        client = Client()
    except PiclusterError as problem:
        raise _failure(problem) from None
    with client:
        yield client


# Leasing


@dataclass
class Record:
    """A lease of this run, as reports show it."""

    machine: str
    model: str
    lease: str
    fence: int
    verdict: str = ""
    reasons: tuple[str, ...] = ()

    def properties(self) -> list[tuple[str, object]]:
        """For the test's report, and so for JUnit."""
        told = asdict(self) | {"reasons": ", ".join(self.reasons)}
        return [(f"pi_{name}", value) for name, value in told.items() if value != ""]

    def __str__(self) -> str:
        because = f": {', '.join(self.reasons)}" if self.reasons else ""
        return f"{self.machine} ({self.model or 'unknown model'}), fence {self.fence}: {self.verdict or 'unknown'}{because}"


class _Boards:
    """What this process leases, and what became of it."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._job = self._setting("pi_job") or "pytest"
        self._ttl_s = self._seconds("pi_ttl") or TTL_S
        self._timeout_s = self._seconds("pi_timeout")
        self._told = ""
        self.records: list[Record] = []
        self.open: Record | None = None
        """Of the board that we have."""
        self.item: pytest.Item | None = None
        """The test that runs."""

    def _setting(self, name: str) -> Any:
        return self._config.getoption(name) or self._config.getini(name)

    def _seconds(self, name: str) -> float | None:
        text = self._setting(name)
        try:
            return float(text) if text else None
        except ValueError:
            raise pytest.UsageError(f"{name}: {text!r} is no number of seconds.") from None

    def selector(self, node: Any) -> str:
        """The mark of the test, else what the ini file says; and what the command line says for all."""
        mark = node.get_closest_marker("pi")
        own = " ".join(map(str, mark.args)) if mark else self._config.getini("pi")
        return " ".join(filter(None, [self._config.getoption("pi"), own]))

    @contextmanager
    def leased(self, client: Client, selector: str) -> Iterator[Board]:
        """A board for the time of the block, judged when it is given back."""
        from picluster.errors import PiclusterError
        from picluster.runner.blocking import Board, fresh_access

        try:
            access = fresh_access()
            with (
                _ending_in_order(),
                client.lease(
                    selector,
                    job=self._job,
                    ttl=self._ttl_s,
                    timeout_s=self._timeout_s,
                    watch=self._tell,
                    ssh_public_keys=access.public_keys,
                ) as lease,
            ):
                record = self._opened(lease)
                with Board(lease.machine, access, lease) as board:
                    yield board
                lease.check()
                self._judged(record, _given_back(lease))
        except PiclusterError as problem:
            raise _failure(problem) from None

    def _opened(self, lease: Lease) -> Record:
        machine = lease.machine
        self._tell_line(f"{machine.name} is yours.")
        self.open = Record(machine.name, machine.model, lease.id, lease.fence)
        self.records.append(self.open)
        return self.open

    def _judged(self, record: Record, ended: LeaseAnswer) -> None:
        """The verdict goes into the report of the test that was the last on this board, and into the summary."""
        self.open = None
        record.verdict, record.reasons = ended.verdict or "unknown", ended.verdict_reasons
        if self.item is None:  # the session was cut short; a failure here would be one of pytest's own
            return
        known = self.item.user_properties
        known += [one for one in record.properties() if one not in known]
        if self._setting("pi_require_clean") and record.verdict != "clean":
            pytest.fail(f"The board was not clean while it was tested: {record}", pytrace=False)

    # Telling

    def _tell(self, step: Step) -> None:
        """Why it waits, when that changes: whoever looks at a silent terminal would think that it hangs."""
        lease = getattr(step, "lease", None)
        if lease is not None and lease.state == "waiting":
            self._tell_line(f"Waiting: {lease.why_waiting}")
        elif (because := getattr(step, "because", None)) is not None:
            self._tell_line(f"{because.message} Trying on …")

    def _tell_line(self, text: str) -> None:
        if text == self._told:
            return
        self._told = text
        who = getattr(self._config, "workerinput", {}).get("workerid", "pi")
        capturing = self._config.pluginmanager.getplugin("capturemanager")
        with capturing.global_and_fixture_disabled() if capturing else nullcontext():
            print(f"\n{who}: {text}", file=sys.stderr, flush=True)


BOARDS = pytest.StashKey[_Boards]()


def _given_back(lease: Lease) -> LeaseAnswer:
    """With the verdict. A service that is away costs it, and no test: the lease runs out by itself."""
    from picluster.errors import Unavailable

    try:
        return lease.release(wait_s=VERDICT_S)
    except Unavailable:
        return lease.answer


def _failure(problem: PiclusterError) -> BaseException:
    """In words: a traceback through our files tells nobody anything."""
    notes = getattr(problem, "__notes__", ())
    said = " ".join(filter(None, [problem.message, problem.hint, *notes]))
    return pytest.fail.Exception(said, pytrace=False)


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """A run that is cancelled gives its board back, as one that is interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    if before is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# Reports


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Which test runs is known while boards are given back, too."""
    boards = item.config.stash[BOARDS]
    boards.item = item
    try:
        return (yield)
    finally:
        boards.item = None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Which board it was is in the report of every test that had one, also when another fixture failed."""
    try:
        return (yield)
    finally:
        boards = item.config.stash[BOARDS]
        if boards.open and SLOT in getattr(item, "fixturenames", ()):
            item.user_properties += boards.open.properties()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of xdist tells its controller, when its last board has been judged."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[OUTPUT] = [asdict(one) for one in session.config.stash[BOARDS].records]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """One of xdist: what a worker told; one that was killed tells nothing."""
    told = getattr(node, "workeroutput", {}).get(OUTPUT, ())
    node.config.stash[BOARDS].records += [Record(**one) for one in told]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    records = config.stash[BOARDS].records
    if records:
        terminalreporter.section("boards")
    for record in records:
        terminalreporter.line(str(record))
