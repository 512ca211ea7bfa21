"""Who may import whom: ARCHITECTURE.md's layers, held by a test.

The sources are read, and nothing is imported but at the end. Each layer lists what is allowed, not what is forbidden, so
that a new dependency is a decision and shows up as a changed line of this table.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

import pytest

SOURCE = Path(__file__).parent.parent / "src"

STDLIB = frozenset(sys.stdlib_module_names) - {"sqlite3"}
"""For everybody; a database driver has its own file even when Python brings it."""

PURE = frozenset(
    """__future__ abc bisect collections contextlib copy dataclasses difflib enum fnmatch functools hashlib
    heapq ipaddress itertools json math operator re string textwrap types typing unicodedata urllib.parse.urlsplit uuid.UUID
    """.split()
)
"""The part of the standard library that knows no clock, no chance and no outside world."""

VERSION = "picluster.__version__"


@dataclass(frozen=True)
class Layer:
    """What the modules under one name may import. A name allows what is below it, too."""

    ours: Collection[str] = ()
    """Besides the layer itself."""
    others: Collection[str] = STDLIB
    only_in: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Modules of `others` that have a place of their own inside the layer."""
    eager: Collection[str] | None = None
    """What may be imported at the top of a file; everything else inside functions. None: all."""


HTTP = ("httpx2", "httpx", "requests", "urllib3", "aiohttp", "urllib.request", "http.client", "socket")

OF_THE_SERVER = (
    *("picluster.store", "picluster.pool", "picluster.wire", "picluster.errors", "picluster.joining"),
    VERSION,
)

LAYERS = {
    # Imported by whoever imports anything of ours, so by the agent's zipapp and the slimmest script too.
    "picluster": Layer(ours=["picluster.client", "picluster.runner", "picluster.errors"], eager=STDLIB),
    "picluster.__main__": Layer(ours=["picluster.cli"]),
    "picluster.errors": Layer(),
    "picluster.pool": Layer(ours=["picluster.errors"], others=PURE),
    "picluster.wire": Layer(ours=["picluster.pool.model", "picluster.errors"]),
    "picluster.store": Layer(
        ours=["picluster.pool", "picluster.errors", VERSION],
        others=STDLIB | {"alembic", "psycopg", "sqlalchemy", "sqlite3"},
        only_in={"sqlite3": ["picluster.store.sqlite"], "psycopg": ["picluster.store.postgres"]},
    ),
    # The one place where the service has the agent, as a file to hand out.
    "picluster.server.downloads": Layer(
        ours=["picluster.joining", "picluster.agent.bundle"], others=STDLIB | {"fastapi", "starlette"}
    ),
    # On top: what the service does besides must not rest on how it is looked at.
    "picluster.server.pages": Layer(
        ours=["picluster.server", *OF_THE_SERVER],
        others=STDLIB | {"fastapi", "jinja2", "markupsafe", "starlette"},
    ),
    "picluster.server": Layer(
        ours=OF_THE_SERVER,
        others=STDLIB
        | {"argon2", "fastapi", "httpx2", "limits", "markupsafe", "msgspec", "platformdirs"}
        | {"prometheus_client", "pydantic", "pydantic_settings", "starlette", "structlog"}
        | {"uvicorn", "uvloop"},
        only_in={"picluster.server.pages": ["picluster.server.app", "picluster.server.context"]},
    ),
    "picluster.client": Layer(
        ours=["picluster.wire", "picluster.errors", VERSION],
        others=STDLIB | {"httpx2", "platformdirs"},
        only_in=dict.fromkeys(HTTP, ("picluster.client.sync", "picluster.client.aio")),
    ),
    "picluster.joining": Layer(
        ours=["picluster.pool.selector"], others=PURE | {"shlex", "importlib.resources.files"}
    ),
    "picluster.agent": Layer(),
    "picluster.runner": Layer(
        ours=["picluster.client", "picluster.wire", "picluster.errors", VERSION],
        others=STDLIB | {"asyncssh", "junitparser"},
        only_in={"asyncssh": ["picluster.runner.ssh"]},
    ),
    "picluster.demo": Layer(ours=["picluster.client", "picluster.errors"]),
    # Loaded when a job runs, and by nothing before.
    "picluster.cli.running": Layer(
        ours=["picluster.cli", "picluster.client", "picluster.runner", "picluster.wire"],
        others=STDLIB | {"rich"},
        eager=STDLIB | {"picluster.cli", "picluster.runner"},
    ),
    "picluster.cli": Layer(
        ours=["picluster"],
        others=STDLIB | {"click", "platformdirs", "rich"},
        eager=STDLIB | {"click", "picluster.cli", "picluster.errors", VERSION},
    ),
    # pytest loads it for everybody who has us installed, whether they use it or not.
    "picluster.pytest_plugin": Layer(
        ours=["picluster.client", "picluster.runner", "picluster.wire", "picluster.errors"],
        others=STDLIB | {"pytest"},
        eager=STDLIB | {"pytest"},
    ),
}


def test_every_import_keeps_to_its_layer() -> None:
    problems = [problem for path in _sources() for problem in check(_name_of(path), path.read_text())]
    assert not problems, "\n".join(problems)


def test_there_is_something_to_check() -> None:
    assert SOURCE / "picluster/__init__.py" in _sources()


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("picluster.errors", "from picluster.pool.model import Lease"),
        ("picluster.pool.pool", "import time"),
        ("picluster.pool.pool", "from datetime import datetime"),
        ("picluster.pool.pool", "import collections, random"),
        ("picluster.pool.pool", "from uuid import uuid4"),
        ("picluster.pool.pool", "import uuid"),
        ("picluster.pool.pool", "from picluster import store"),
        ("picluster.pool.pool", "from ..store import Turn"),
        ("picluster.pool.pool", "def now():\n    import time\n    return time.time()"),
        ("picluster.pool.pool", "now = __import__('time').time()"),
        ("picluster.pool.pool", "import importlib"),
        ("picluster.wire", "from picluster.pool import Pool"),
        ("picluster.wire", "import msgspec"),
        ("picluster.store.tables", "import sqlite3"),
        ("picluster.store.sqlite", "import psycopg"),
        ("picluster.store", "from picluster.wire import LeaseOut"),
        ("picluster.server.app", "from picluster.client import Client"),
        ("picluster.server.app", "import sqlite3"),
        ("picluster.server.figures", "from picluster.server.pages.frame import page"),
        ("picluster.server.webhooks.messages", "def late():\n    from picluster.server import pages"),
        ("picluster.server.pages.svg", "import uvicorn"),
        ("picluster.client.flows", "import httpx2"),
        ("picluster.client.flows", "from urllib import request"),
        ("picluster.client.boards", "from picluster.server.settings import Settings"),
        ("picluster.client.sync", "import requests"),
        ("picluster.agent.main", "from picluster.errors import Refused"),
        ("picluster.agent.main", "import psutil"),
        ("picluster.agent.main", "from picluster.runner import job"),
        ("picluster.runner.job", "import asyncssh"),
        ("picluster.cli.lock", "from picluster.client import Client"),
        ("picluster.cli.lock", "try:\n    import rich\nexcept ImportError:\n    pass"),
        ("picluster.cli.lock", "class Lock:\n    from picluster.client import Client"),
        ("picluster.cli.lock", "def lock(api=importlib.import_module('picluster.client')): ..."),
        ("picluster", "from picluster.client import Client"),
        ("picluster", "def lazily():\n    from picluster.server import app"),
        ("picluster.novelty", "import os"),
    ],
)
def test_a_planted_offence_is_found(module: str, source: str) -> None:
    assert check(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("picluster.pool.pool", "from collections.abc import Mapping\nfrom uuid import UUID"),
        ("picluster.pool.pool", "from picluster.pool import queue\nfrom .model import Lease"),
        ("picluster.pool.pool", "from picluster import errors"),
        ("picluster.wire", "from picluster.pool import model"),
        ("picluster.store.sqlite", "import sqlite3\nfrom sqlalchemy import select"),
        ("picluster.store.postgres", "from psycopg import errors"),
        ("picluster.server.app", "from picluster import __version__\nfrom fastapi import FastAPI"),
        ("picluster.server.app", "from picluster.server.pages.routes import router"),
        ("picluster.server.pages.machine", "from picluster.server.webhooks import making"),
        ("picluster.client.aio", "import httpx2\nfrom picluster import wire"),
        ("picluster.runner.ssh", "import asyncssh"),
        ("picluster.agent.main", "import os, socket\nfrom picluster.agent import board"),
        ("picluster.cli.lock", "import click\nfrom picluster.cli import output"),
        ("picluster.cli.lock", "def lock():\n    import rich\n    from picluster.client import Client"),
        ("picluster.cli.lock", "if TYPE_CHECKING:\n    from picluster.client import Client"),
        ("picluster", "if typing.TYPE_CHECKING:\n    from picluster.client import Client"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert check(module, dedent(source)) == []


def test_the_file_of_a_package_is_the_package() -> None:
    assert _name_of(SOURCE / "picluster/pool/__init__.py") == "picluster.pool"
    assert check("picluster.pool", "from .model import Lease", is_package=True) == []
    assert check("picluster.pool", "from ..store import Turn", is_package=True)


@dataclass(frozen=True)
class Import:
    name: str
    line: int
    eager: bool
    """Carried out as soon as the file is imported."""


def check(module: str, source: str, *, is_package: bool | None = None) -> list[str]:
    """One sentence for each import in `source` that its layer does not allow."""
    if is_package is None:
        is_package = (SOURCE / module.replace(".", "/")).is_dir()
    name = _layer_of(module)
    if name is None:
        return [f"{module} belongs to no layer: say in LAYERS what it may import"]
    layer = LAYERS[name]
    allowed = {*layer.ours, *layer.others} | ({name} if name != "picluster" else {VERSION})
    problems = []
    for found in _imports(ast.parse(source), module if is_package else module.rpartition(".")[0]):
        where = f"{module}:{found.line} imports {found.name}"
        if not _within(found.name, allowed):
            problems.append(f"{where}, which {name} may not")
        elif place := next((at for lib, at in layer.only_in.items() if _within(found.name, [lib])), None):
            if module not in place:
                problems.append(f"{where}, which is for {' and '.join(place)} alone")
        elif found.eager and layer.eager is not None and not _within(found.name, layer.eager):
            problems.append(f"{where} at the top; {name} imports it inside a function")
    return problems


def _layer_of(module: str) -> str | None:
    if module == "picluster":
        return module
    return next((name for name in LAYERS if name != "picluster" and _within(module, [name])), None)


def _within(name: str, allowed: Collection[str]) -> bool:
    """`a.b.c` is within a.b.c, a.b and a."""
    parts = name.split(".")
    return any(".".join(parts[:length]) in allowed for length in range(1, len(parts) + 1))


def _imports(node: ast.AST, package: str, eager: bool = True) -> Iterator[Import]:
    """All imports below `node`, by their full names; `from a import b` is a.b."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, eager)
        elif isinstance(child, ast.ImportFrom):
            base = _absolute(child, package)
            for alias in child.names:
                yield Import(f"{base}.{alias.name}", child.lineno, eager)
        elif isinstance(child, ast.Call) and (name := _called_import(child)):
            yield Import(name, child.lineno, eager)
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            for part in (*child.decorator_list, child.args):  # these run when the file is imported
                yield from _imports(ast.Expression(part), package, eager)
            yield from _imports(ast.Module(child.body, []), package, eager=False)
        elif isinstance(child, ast.Lambda):
            yield from _imports(child, package, eager=False)
        elif isinstance(child, ast.If) and _is_type_checking(child.test):
            yield from _imports(ast.Module(child.body, []), package, eager=False)
            yield from _imports(ast.Module(child.orelse, []), package, eager)
        else:
            yield from _imports(child, package, eager)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def _called_import(call: ast.Call) -> str | None:
    """`import_module("x")` and `__import__("x")`, when they say the name."""
    function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if function in ("import_module", "__import__") and call.args and isinstance(call.args[0], ast.Constant):
        return str(call.args[0].value)
    return None


def _is_type_checking(test: ast.expr) -> bool:
    return (test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")) == "TYPE_CHECKING"


def _sources() -> list[Path]:
    return sorted((SOURCE / "picluster").rglob("*.py"))


def _name_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
