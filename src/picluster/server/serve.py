"""`picluster serve`: from settings to a running service, and from SIGTERM to a clean end within seconds."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import structlog
import uvicorn

from picluster.errors import Malformed, PiclusterError, Unavailable
from picluster.server.app import Service
from picluster.server.corked import CorkedProtocol
from picluster.server.power import Power
from picluster.server.power import load as load_power
from picluster.server.settings import Settings
from picluster.store import Store, StoreProblem
from picluster.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from picluster.store.postgres import PostgresStore

FINISH_S = 2
"""Answers under way get so long after SIGTERM; held-open calls and streams have been ended by then."""


WAY_TO_LISTEN = {
    errno.EADDRINUSE: "Another service may have the port; choose one with --port.",
    errno.EACCES: "Ports below 1024 are for root; choose another with --port.",
}

UNFIT = {
    "": "not a certificate, or not its private key, in PEM form",
    "KEY_VALUES_MISMATCH": "the key belongs to another certificate",
}
"""What OpenSSL means, where its own word does not say it."""

WRONG_SETTING_EXIT = 2
"""As for a wrong flag: starting again will not help."""


def run(settings: Settings) -> int:
    """Serve until a signal ends it; the exit code. Problems are one clear line on stderr."""
    _log_to_stderr(settings)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_serve(settings))
    except StoreProblem as problem:
        return _complain(problem, problem.exit_code)
    except Malformed as problem:
        return _complain(problem, WRONG_SETTING_EXIT)
    except PiclusterError as problem:
        return _complain(problem, 1)


def open_store(settings: Settings, running: list[Service]) -> Store:
    """The store that the settings name, open. Whoever is in `running` is told what other replicas write."""

    def notice(revision: int) -> None:
        for service in running:
            service.context.coordinator.notice(revision)

    cap_s = settings.policy.slack_s
    store: Store = (
        _postgres()(settings.url, cap_s=cap_s, on_notice=notice)
        if settings.url
        else SqliteStore(settings.database, cap_s=cap_s)
    )
    try:
        store.open()
    except Unavailable as problem:
        raise StoreProblem(problem.message, problem.hint or _reach(settings)) from problem
    return store


def _postgres() -> type[PostgresStore]:
    """Its driver is an extra of its own, which a pool in a file does without."""
    try:
        from picluster.store.postgres import PostgresStore
    except ImportError as missing:
        raise StoreProblem(
            f"PostgreSQL needs {missing.name}, which is not installed.",
            "pip install 'pi-cluster-service[server,postgres]'",
            exit_code=WRONG_SETTING_EXIT,
        ) from None
    return PostgresStore


class _Server(uvicorn.Server):
    """Ends streams and held-open calls with the signal: the lifespan's end would wait for them for ever."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn would raise the signal again when it is done, and end the process before the store is closed."""
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.stop_waiting()
        super().handle_exit(sig, frame)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it exists: about twice the requests of the standard loop."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _serve(settings: Settings) -> int:
    _check_tls(settings)
    _allow_many_connections()
    power = Power(load_power(settings.config))
    listening = _listen(settings)
    running: list[Service] = []
    store = await asyncio.to_thread(open_store, settings, running)
    try:
        service = Service(settings, store, shared=bool(settings.url), power=power)
        async with service.running():
            running.append(service)
            _collect_rarely()
            _greet(settings, service, listening.getsockname()[1])
            await _Server(_config(settings, service), service).serve(sockets=[listening])
    finally:
        store.close()
    return 0


GARBAGE = (100_000, 50, 100)
"""After how many new objects, and how many of the collections before, the collector looks again. Rows are immutable
and refer to no row that refers back, so there is next to nothing to find; with Python's usual numbers it looks
through 10,000 machines so often that a fifth of all beats are lost to it."""


OPEN_FILES = 65_536
"""Boards hold a call open each, pages a stream each; many systems allow 1,024 unless one asks."""


def _allow_many_connections() -> None:
    """As many as the system lets us have, up to that."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _collect_rarely() -> None:
    """What was loaded at the start is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as problem:
        listening.close()
        raise StoreProblem(
            f"Cannot listen on {settings.host}:{settings.port}: {problem.strerror}.",
            WAY_TO_LISTEN.get(problem.errno or 0, "Give an address of this machine with --host."),
        ) from None
    listening.listen(2048)
    listening.set_inheritable(True)
    return listening


def _check_tls(settings: Settings) -> None:
    """Before anything is opened. Raises `StoreProblem` that says what does not fit."""
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None:
        if key is not None:
            raise _bad_tls("--tls-key is set, and --tls-cert is not.")
        return
    both = f"--tls-cert {cert} and --tls-key {key}" if key else f"--tls-cert {cert} without a --tls-key"
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key, _no_passphrase)
    except ssl.SSLError as problem:
        why = UNFIT.get(problem.reason or "", str(problem.reason))
        raise _bad_tls(f"{both} cannot be used: {why}.") from None
    except OSError as problem:
        raise _bad_tls(f"{both} cannot be read: {problem.strerror}.") from None


def _no_passphrase() -> str:
    """OpenSSL would ask the terminal for it, and a service has none."""
    raise _bad_tls("The key of --tls-key has a passphrase, and nobody is there to type it.")


def _bad_tls(message: str) -> StoreProblem:
    return StoreProblem(
        message,
        "Give the certificate chain with --tls-cert and its key, unencrypted, with --tls-key; both PEM.",
        exit_code=WRONG_SETTING_EXIT,
    )


def _reach(settings: Settings) -> str:
    """The way out when the database does not answer at the start."""
    if settings.url:
        return (
            "Check --url (PICLUSTER_DATABASE_URL): host, user and password; and that PostgreSQL runs there."
        )
    return "Close whatever else has the file open, or free the disk."


def _config(settings: Settings, service: Service) -> uvicorn.Config:
    return uvicorn.Config(
        service.app,
        http=CorkedProtocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=FINISH_S,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )


def _greet(settings: Settings, service: Service, port: int) -> None:
    scheme = "https" if settings.tls_cert else "http"
    host = "localhost" if settings.host in ("0.0.0.0", "::", "127.0.0.1") else settings.host  # noqa: S104
    address = f"{scheme}://{host}:{port}"
    lines = [f"picluster serves {address}"]
    if service.setup_code:
        lines.append(
            f"nobody is admin yet: open {address}/setup?code={service.setup_code} to be the first (once)"
        )
    if not settings.legacy_door:
        lines.append("the old protocol at /api is closed; set RPI_APIKEY to open it")
    print("\n".join(lines), file=sys.stderr, flush=True)


def _complain(problem: PiclusterError, code: int) -> int:
    print(f"picluster: {problem.message}", file=sys.stderr)
    if problem.hint:
        print(f"           {problem.hint}", file=sys.stderr)
    return code


def _log_to_stderr(settings: Settings) -> None:
    level = getattr(logging, settings.log_level.upper())
    renderer = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr)
