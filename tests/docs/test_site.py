# SPDX-License-Identifier: MIT
"""The documentation's site is built without a warning and asks no other host for anything."""

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

LOADS = re.compile(
    r"""<(?:script|img|link|iframe|source|object|embed)\b[^>]*?(?:src|href|data)=["']((?:https?:)?//[^"']+)"""
)
CSS_LOADS = re.compile(r"""(?:@import\s+|url\()\s*["']?((?:https?:)?//[^"')\s]+)""")
LINK = re.compile(r"!?\[[^\]]*\]\((?!https?:|#|mailto:)([^)#\s]+)")
MAN_PAGES = sorted((CHECKOUT / "docs/man").glob("*.[1-9]"))


def drawing() -> ModuleType:
    """docs/pictures/draw.py."""
    spec = importlib.util.spec_from_file_location("draw", CHECKOUT / "docs/pictures/draw.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_site(tmp_path: Path) -> None:
    """It is built with warnings as errors, has the guides and a page for each man page, and loads nothing from elsewhere."""
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is not installed (Debian's package mandoc)")
    if importlib.util.find_spec("furo") is None:
        pytest.skip("furo is not installed (pip install -e '.[docs]')")
    command = [sys.executable, str(CHECKOUT / "docs/build.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr[-3000:]
    html = tmp_path / "html"
    for name in ("index", "README", "docs/rollout", "docs/admin", "docs/users", "docs/faq", "docs/ondemand"):
        assert (html / f"{name}.html").exists()
    assert {page.name for page in MAN_PAGES} <= {page.stem for page in (html / "docs/man").glob("*.html")}
    loaded = [(page.name, url) for page in html.rglob("*.html") for url in LOADS.findall(page.read_text())]
    loaded += [(page.name, url) for page in html.rglob("*.css") for url in CSS_LOADS.findall(page.read_text())]
    assert loaded == []


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
    draw = drawing()
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
