# SPDX-License-Identifier: MIT
"""Sphinx' configuration. docs/build.py puts the pages together and builds them; nothing is asked of another host."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from carbon_collector import __version__

project = "carbon-acct"
author = "the authors of carbon-acct"
copyright = "MIT licensed"  # noqa: A001  Sphinx' name
version = release = __version__
extensions = ["myst_parser"]
myst_heading_anchors = 4
exclude_patterns = ["tests/*"]
html_theme = "furo"
html_title = f"carbon-acct {version}"
html_show_sphinx = False
html_copy_source = False
# Semantic newlines, tables without captions and shell comments are ours; the rest of what Sphinx warns of is an error.
suppress_warnings = ["misc.highlighting_failure"]
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)#\s]*)(#[^)\s]*)?\)")


def setup(app: Any) -> None:
    """Have links that lead to what is no page become text."""
    app.connect("source-read", _links)


def _links(app: Any, docname: str, source: list[str]) -> None:
    here = (Path(app.srcdir) / docname).parent

    def one(found: re.Match[str]) -> str:
        text, target, anchor = found[1], found[2], found[3] or ""
        if (here / target).is_file() and target.endswith(".md"):
            return found[0]
        for index in ("README.md", "index.md"):
            if (here / target / index).is_file():
                return f"[{text}]({target.rstrip('/')}/{index}{anchor})"
        return f"{text} (`{target}` in the repository)"

    source[0] = LINK.sub(one, source[0])
