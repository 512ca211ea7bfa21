"""The docs say what there is: every command, every setting, and every path that they name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import commands
from picluster.cli import COMMANDS, main
from picluster.server.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)")


def test_the_page_of_commands_is_what_the_commands_say() -> None:
    """If not: `make docs`."""
    assert commands.PAGE.read_text() == commands.page()


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
