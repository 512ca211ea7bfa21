"""The documentation as pages to read in a browser: `make docs-html`. Nothing of it comes from the network.

The same Markdown reads well in the repository. So links go to files, and those that lead out of `docs/`, to code and
templates, stay as they are for a code forge and become text here.
"""

from __future__ import annotations

from typing import Any

from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

from picluster import __version__

project = "picluster"
author = copyright = "The picluster authors"
release = __version__

extensions = ["myst_parser", "sphinx_copybutton"]
html_theme = "furo"
html_title = f"picluster {release}"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}

myst_heading_anchors = 4
"""As a code forge makes them, so that `page.md#section` leads to the same place in both."""
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"


class LinksToTheRepository(SphinxPostTransform):
    """What is linked to outside of `docs/` is named, since it is not among these pages."""

    default_priority = 8
    """Before MyST looks for the page, and warns."""

    def run(self, **more: Any) -> None:
        for link in list(self.document.findall(addnodes.pending_xref)):
            if link["reftype"] == "myst" and link["reftarget"].startswith(("/", "../")):
                link.replace_self(link.children)


def setup(app: Sphinx) -> None:
    app.add_post_transform(LinksToTheRepository)
