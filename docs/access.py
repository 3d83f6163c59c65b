# SPDX-License-Identifier: MIT
"""Mends in the built site what keyboards and screen readers stumble over in the markup of Sphinx and furo.

`mended(html)` returns a page's text with it mended; docs/build.py applies it to every page, after Sphinx.
"""

from __future__ import annotations

import re

MENDS = (
    # A heading of the sidebar has a level.
    (re.compile(r'<p class="caption" role="heading">'), '<p class="caption" role="heading" aria-level="2">'),
    # What scrolls sideways on a narrow screen can be reached by the keyboard.
    (re.compile(r"<pre(?=[ >])(?! tabindex)"), '<pre tabindex="0"'),
    (re.compile(r'<div class="table-wrapper\b[^"]*"(?=>)'), r'\g<0> tabindex="0"'),
    # The empty corner of a table is no header.
    (re.compile(r'<th class="head"><p></p></th>'), "<td></td>"),
    # Two landmarks of a kind have names that tell them apart.
    (re.compile(r'<aside class="sidebar-drawer">'), '<aside class="sidebar-drawer" aria-label="Pages">'),
    (re.compile(r'<aside class="toc-drawer([^"]*)">'), r'<aside class="toc-drawer\1" aria-label="On this page">'),
)
"""What is searched for, and what it becomes. Each applies to its own result as to nothing."""


def mended(html: str) -> str:
    """Return a page's text with every mend applied; a second time changes nothing."""
    for pattern, better in MENDS:
        html = pattern.sub(better, html)
    return html
