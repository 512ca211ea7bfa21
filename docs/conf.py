"""The documentation as pages to read in a browser: `make docs-html`. Nothing of it comes from the network.

The same Markdown reads well in the repository. So links go to files, and those that lead out of `docs/` lead to the same
files here: a file comes along to be downloaded, the changelog is one of these pages, and a folder is named, as code.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform

from picluster import __version__

project = "picluster"
author = copyright = "The picluster authors"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
html_theme = "furo"
html_title = f"picluster {release}"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}

myst_heading_anchors = 4
"""As a code forge makes them, so that `page.md#section` leads to the same place in both."""
default_role = "code"
"""Backticks in docstrings are what they are in Markdown."""
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
add_module_names = False
html_domain_indices = False
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"

ROOT = Path(__file__).parent.parent

INCLUDED = {"CHANGELOG.md": "changelog"}
"""Files of the repository that are a page here, by the page that takes them in."""

NOT_SEARCHED = "decisions/"
"""Why something is as it is, in the words of everything else: whoever searches looks for how."""


class LinksToTheRepository(SphinxTransform):
    """What is linked to outside of `docs/`. Whatever leads nowhere is left to MyST, which warns."""

    default_priority = 8
    """While pages are read: afterwards nobody collects what is to be downloaded."""

    def apply(self, **more: Any) -> None:
        for link in list(self.document.findall(addnodes.pending_xref)):
            target = link["reftarget"]
            if link["reftype"] == "myst" and link["refdomain"] == "doc" and target.startswith("/"):
                self._lead_to_text(link, Path(f"{target}.md"))
            elif link["reftype"] == "myst" and target.startswith("../"):
                self._name_folder(link, Path(self.env.doc2path(self.env.docname)).parent / target)

    def _lead_to_text(self, link: addnodes.pending_xref, file: Path) -> None:
        """MyST takes Markdown for a page, wherever it is."""
        if page := INCLUDED.get(file.relative_to(ROOT).as_posix()):
            link["reftarget"] = page
        else:
            place = os.path.relpath(file, Path(self.env.doc2path(self.env.docname)).parent)
            link.replace_self(addnodes.download_reference("", "", *link.children, reftarget=place))

    def _name_folder(self, link: addnodes.pending_xref, folder: Path) -> None:
        if folder.is_dir():
            link.replace_self(nodes.literal("", link.astext()))


def keep_out_of_the_search(app: Sphinx, env: BuildEnvironment) -> None:
    for page in env.found_docs:
        if page.startswith(NOT_SEARCHED):
            env.metadata[page]["nosearch"] = "yes"


def show_examples_as_code(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """In docstrings an example is indented, and nothing more."""
    begun = [at for at, line in enumerate(lines) if line.startswith("    ") and not lines[at - 1]]
    for at in reversed([at for at in begun if not _within_code(lines[:at])]):
        lines[at:at] = ["::", ""]


def _within_code(before: list[str]) -> bool:
    """Whether the last paragraph is indented: then the example goes on after a blank line."""
    said = [line for line in before if line]
    return bool(said) and said[-1].startswith("    ")


def setup(app: Sphinx) -> None:
    app.add_transform(LinksToTheRepository)
    app.connect("autodoc-process-docstring", show_examples_as_code)
    app.connect("env-updated", keep_out_of_the_search)
