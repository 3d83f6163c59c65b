# SPDX-License-Identifier: MIT
"""Finds the faults of the built site: links that lead nowhere, and what a page would load from another host.

It asks no other host, so a link that leaves the site is not followed. `faults(folder)` is all that others need.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

LOADING = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "embed": "src",
    "object": "data",
    "link": "href",
}
"""Element -> the attribute whose file a browser loads with the page."""
ELSEWHERE = re.compile(r"(?:[a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)
CSS = re.compile(r"""(?:@import\s+|url\()\s*["']?((?:https?:)?//[^"')\s]+)""")


class Page(HTMLParser):
    """A page: its anchors, its links, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element has of the three."""
        values = {name: value for name, value in attrs if value}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if LOADING.get(tag, "") in values:
            self.loads.append(values[LOADING[tag]])


def faults(html: Path) -> Iterator[str]:
    """Yield the faults of a site below a folder, each as one line."""
    pages = {path: Page(path.read_text()) for path in sorted(html.resolve().rglob("*.html"))}
    for path, page in pages.items():
        name = path.relative_to(html.resolve())
        for load in page.loads:
            if ELSEWHERE.match(load) and not load.startswith("data:"):
                yield f"{name} loads {load}"
        for link in (*page.links, *page.loads):
            if not ELSEWHERE.match(link) and (lacks := _lacks(path, link, pages)):
                yield f"{name} links to {link}: {lacks}"
    for path in html.resolve().rglob("*.css"):
        for load in CSS.findall(path.read_text()):
            yield f"{path.relative_to(html.resolve())} loads {load}"


def _lacks(path: Path, link: str, pages: dict[Path, Page]) -> str:
    """Return what a link of a page lacks within the site; empty where it leads somewhere."""
    target, _, anchor = link.partition("#")
    target = target.partition("?")[0]
    there = (path.parent / target).resolve() if target else path
    if not there.exists():
        return "no such file"
    return f"no anchor {anchor}" if anchor and there in pages and anchor not in pages[there].anchors else ""
