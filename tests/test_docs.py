"""The docs say what there is: the reference is what the code says, and whatever a page names exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import picluster
from docs.generate import PAGES as GENERATED
from docs.generate import errors
from docs.generate.http import BESIDES
from picluster.cli import COMMANDS, main
from picluster.errors import ENDINGS
from picluster.pool.policy import Policy
from picluster.server import app, downloads
from picluster.server.app import Service
from picluster.server.described import meanings_of
from picluster.server.legacy import LegacyDoor
from picluster.server.sentences import SENTENCES
from picluster.server.settings import Settings
from picluster.store.sqlite import SqliteStore
from tests.docs.html import dead_text

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SOURCES = "".join(file.read_text() for file in sorted((ROOT / "src").rglob("*.py")))
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)")


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.name)
def test_the_reference_is_what_the_code_says(path: Path) -> None:
    """If not: `make docs`."""
    assert path.read_text() == GENERATED[path]()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_says_the_same_in_both_helps(name: str) -> None:
    """The line in `picluster --help`, which loads nothing, begins as the command's own help does."""
    import click

    command = main.get_command(click.Context(main), name)
    assert command is not None and command.help
    first, line = (re.findall(r"\w+", text)[:2] for text in (command.help, COMMANDS[name][1]))
    assert first == line


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_in_the_readme(name: str) -> None:
    field = Settings.model_fields[name]
    choices = getattr(field.validation_alias, "choices", None) or [f"PICLUSTER_{name.upper()}"]
    assert any(str(choice) in README for choice in choices), choices


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    dead = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert dead == []


def test_every_make_target_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`|=… )make ([a-z-]+)", README, re.MULTILINE)) <= targets


def test_the_pages_can_be_built_without_a_warning(tmp_path: Path) -> None:
    """As `make docs-html` does, with blocks of code coloured, which finds what is none; but in a plain theme, which has no
    word in that, and half the price: four seconds."""
    sphinx = [sys.executable, *"-m sphinx -W --keep-going -q -b html -D html_theme=basic".split()]
    done = subprocess.run([*sphinx, ROOT / "docs", tmp_path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert [dead for page in tmp_path.rglob("*.html") for dead in dead_text(page)] == []


def test_text_that_was_to_be_a_link_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<a href="x"><span class="xref myst">one</span></a>\n<p><span class="xref">two</span>')
    assert dead_text(page) == ["page.html:2"]


# The reference


@pytest.mark.parametrize("kind", [Settings, Policy])
def test_every_setting_says_what_it_is(kind: type) -> None:
    assert [
        name
        for name, text in meanings_of(kind).items()
        if not text and name not in ("model_config", "policy")
    ] == []


def test_every_call_is_in_the_reference() -> None:
    """Those of `/api/v1` are, since the page is made of the document that has them; these have to be written down."""
    context = Service(Settings.model_construct(api_key="secret"), SqliteStore(":memory:")).context
    routes = [*downloads.router.routes, *app._health(context).routes]
    calls = {f"{method} {route.path}" for route in routes for method in route.methods}
    old = {f"{method} {path}" for method, path in LegacyDoor(context).routes() if path.startswith("/api")}
    assert calls | old - {"GET /api/"} <= set(BESIDES)


@pytest.mark.parametrize("code", sorted(set(re.findall(r'^    code = "(\w+)"', SOURCES, re.MULTILINE))))
def test_every_error_is_in_the_reference(code: str) -> None:
    assert f"| `{code}` |" in reference("errors")


@pytest.mark.parametrize("kind", SENTENCES)
def test_every_kind_of_event_is_in_the_reference(kind: str) -> None:
    assert f"| `{kind}`" in reference("events")


def test_every_public_name_is_in_the_reference() -> None:
    text = reference("python")
    assert [name for name in picluster.__all__ if not re.search(rf"\b{name}\b", text)] == []


def reference(page: str) -> str:
    return (ROOT / f"docs/reference/{page}.md").read_text()


def test_what_is_new_makes_a_page_out_of_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the reference might be compared with itself."""
    monkeypatch.setitem(ENDINGS, "eaten", "the dog had it")
    assert errors.page() != reference("errors")


# The guarantees

NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
GUARANTEES = (ROOT / "docs/guarantees.md").read_text()


def test_every_guarantee_names_a_test_that_exists() -> None:
    named = NAMED.findall(GUARANTEES)
    assert named
    assert [
        f"{file}::{test}" for file, test in named if f"def {test}(" not in (ROOT / file).read_text()
    ] == []


def test_every_claim_names_its_test() -> None:
    """What is not promised needs none."""
    promised, _, _ = GUARANTEES.partition("\n## What is not promised\n")
    claims = re.split(r"^(?=- |\n)", promised, flags=re.MULTILINE)
    assert [claim for claim in claims if claim.startswith("- ") and not NAMED.search(claim)] == []
    assert sum(claim.startswith("- ") for claim in claims) > 30
