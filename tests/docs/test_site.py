# SPDX-License-Identifier: MIT
"""The documentation: what docs/check.py finds in a built site (`make lint` builds ours), links, pictures, man pages."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from slurm.layout import CHECKOUT

LINK = re.compile(r"!?\[[^\]]*\]\((?!https?:|#|mailto:)([^)#\s]+)")
MAN_PAGES = sorted((CHECKOUT / "docs/man").glob("*.[1-9]"))


GOOD = """<html id="top"><a href="other.html#here">1</a><a href="#top">2</a><a href="https://example.org/">3</a>
<link rel="stylesheet" href="own.css"><img src="data:image/png;base64,AA"></html>"""
FAULTY = {
    '<a href="nowhere.html">': "page.html links to nowhere.html: no such file",
    '<a href="other.html#there">': "page.html links to other.html#there: no anchor there",
    '<a href="#below">': "page.html links to #below: no anchor below",
    '<img src="lost.svg">': "page.html links to lost.svg: no such file",
    '<script src="https://cdn.example/x.js">': "page.html loads https://cdn.example/x.js",
    '<link rel="stylesheet" href="//cdn.example/x.css">': "page.html loads //cdn.example/x.css",
}


def module(name: str) -> ModuleType:
    """A program below docs/, as a module."""
    path = CHECKOUT / "docs" / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def found(folder: Path, page: str, css: str = "body { background: url(own.png) }") -> list[str]:
    """What the check finds in a site of two pages and a style sheet."""
    (folder / "other.html").write_text('<h2 id="here">Here</h2>')
    (folder / "own.css").write_text(css)
    (folder / "page.html").write_text(page)
    return list(module("check.py").faults(folder))


def test_a_site_without_fault(tmp_path: Path) -> None:
    """Links to pages, anchors and other hosts are no fault, nor is what a page has within itself."""
    assert found(tmp_path, GOOD) == []


@pytest.mark.parametrize("element", FAULTY)
def test_faults_of_a_site(tmp_path: Path, element: str) -> None:
    """A link that leads nowhere, and what would be loaded from another host, are named with their page."""
    assert found(tmp_path, GOOD + element) == [FAULTY[element]]


def test_style_sheets_load_nothing_from_elsewhere(tmp_path: Path) -> None:
    """A style sheet or font of another host is a fault."""
    css = "@import 'https://fonts.example/a.css'; b { src: url(//fonts.example/b.woff2) }"
    assert found(tmp_path, GOOD, css) == [
        "own.css loads https://fonts.example/a.css",
        "own.css loads //fonts.example/b.woff2",
    ]


def test_keyboards_and_screen_readers() -> None:
    """What scrolls sideways takes the keyboard's focus, sidebar headings have a level, and mending twice is mending once."""
    mended = module("access.py").mended
    code = '<div class="highlight"><pre><span></span>scontrol reconfigure</pre></div>'
    page = f'<p class="caption" role="heading">Begin</p>{code}<div class="table-wrapper docutils container"><table>'

    once = mended(page)

    assert '<pre tabindex="0"><span></span>scontrol' in once
    assert '<div class="table-wrapper docutils container" tabindex="0"><table>' in once
    assert 'role="heading" aria-level="2"' in once
    assert mended(once) == once
    assert mended("<p>text</p>") == "<p>text</p>"


def test_pages_are_where_they_were(tmp_path: Path) -> None:
    """The site's sources are the guides, a page for each man page, and the pictures."""
    sys.path.insert(0, str(CHECKOUT / "docs"))
    try:
        build = module("build.py")
    finally:
        sys.path.remove(str(CHECKOUT / "docs"))
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is not installed (Debian's package mandoc)")
    build.gather(tmp_path)

    names = ("index", "README", "docs/rollout", "docs/admin", "docs/users", "docs/faq", "docs/ondemand")
    assert [name for name in names if not (tmp_path / f"{name}.md").exists()] == []
    assert {f"{page.name}.md" for page in MAN_PAGES} <= {page.name for page in (tmp_path / "docs/man").iterdir()}


def test_links_lead_somewhere() -> None:
    """Each link of a page to a file of the repository leads to one."""
    folders = [CHECKOUT / name for name in ("docs", "ansible", "prolog", "epilog", "benchmarks")]
    pages = [*CHECKOUT.glob("*.md"), *(page for folder in folders for page in folder.rglob("*.md"))]
    broken = [
        f"{page.relative_to(CHECKOUT)}: {target}"
        for page in pages
        for target in LINK.findall(page.read_text())
        if not (page.parent / target).exists()
    ]

    assert len(pages) > 20
    assert broken == []


def test_pictures_are_of_their_texts() -> None:
    """Each picture was drawn from the text beside it, as it is now (`make picture`)."""
    draw = module("pictures/draw.py")
    texts = sorted((CHECKOUT / "docs/pictures").glob("*.dot"))

    assert texts
    for text in texts:
        assert text.with_suffix(".svg").read_text().endswith(draw.mark(text.read_bytes())), text


@pytest.mark.parametrize("page", MAN_PAGES, ids=lambda page: page.name)
def test_man_pages_are_clean(page: Path) -> None:
    """Mandoc's linter has nothing to say of a man page, but that it has no date, which would be that of each release."""
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is not installed (Debian's package mandoc)")
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True, check=False)

    assert [line for line in (done.stdout + done.stderr).splitlines() if "missing date" not in line] == []
