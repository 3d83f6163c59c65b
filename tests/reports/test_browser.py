# SPDX-License-Identifier: MIT
"""The pages in a real Chromium, and the PDF as poppler renders it."""

from __future__ import annotations

import re
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import axe_playwright_python
import pytest
from playwright.sync_api import sync_playwright

from carbon_reports import cli

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Site

pytestmark = pytest.mark.slow
AXE = next(Path(axe_playwright_python.__file__).parent.glob("axe*.js")).read_text("utf-8")
SMALL = """() => Math.min(...[...document.querySelectorAll('svg text, .heat th, .legend')]
    .filter(e => e.getClientRects().length).map(e => parseFloat(getComputedStyle(e).fontSize)))"""
SCROLLING = """() => [...document.querySelectorAll('*')]
    .filter(e => e.scrollWidth > e.clientWidth + 1 && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX))
    .filter(e => e.tabIndex < 0).map(e => e.outerHTML.slice(0, 80))"""
LOOKED_AT = {(390, "dark"), (1440, "light")}
"""Where axe looks: it takes seconds. Of what it finds right it returns one node of each rule, not 1,500 cells."""
PAGES = ("index.html", "users/user03.html", "accounts/project1.html", "../index.html")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Debian's Chromium."""
    with sync_playwright() as programs:
        browser = programs.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize("name", PAGES)
def test_pages(busy: Path, chromium: Any, name: str) -> None:
    """At three widths, light and dark: no message, no request, no sideways scroll, no small text, and axe finds nothing.

    Tab reaches whatever scrolls.
    """
    page_path = (busy / name).resolve()
    assert page_path.stat().st_size < 300_000
    for width in (390, 900, 1440):
        for scheme in ("light", "dark"):
            page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            said: list[str] = []
            page.on("console", lambda message, said=said: said.append(message.text))
            page.on("pageerror", lambda error, said=said: said.append(str(error)))
            page.on("request", lambda request, said=said: said.append(request.url))
            page.goto(page_path.as_uri())
            where = (name, width, scheme)
            assert said == [page_path.as_uri()], where
            assert page.evaluate("document.documentElement.scrollWidth") <= width, where
            assert page.evaluate(SMALL) >= 10, where
            assert page.evaluate(SCROLLING) == [], where
            if (width, scheme) in LOOKED_AT:
                page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
                page.evaluate(AXE)
                found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
                assert len(found["passes"]) > 10, where
                listed = [
                    (each["id"], [node["html"][:120] for node in each["nodes"][:2]]) for each in found["violations"]
                ]
                assert listed == [], where
            page.close()


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory, make_site: Callable[[Path], Site]) -> Path:
    """March of a site with 200 users in 40 accounts, whose report has every column and section; the report's folder."""
    site = make_site(tmp_path_factory.mktemp("crowded"))
    more = "price = 0.2\n", "market = 40\nupstream = 30\ntd_losses = 0.05\n", "spread = energy\ntarget = 1\n"
    text = site.config.read_text("utf-8").replace("[site]\n", f"[site]\n{more[0]}")
    text = text.replace("[reports]\n", f"[grid]\n{more[1]}[reports]\n{more[2]}")
    site.config.write_text(text, encoding="utf-8")
    site.run("2024-02-10T10:00", "2024-02-10T15:00", watts=400)
    states = ("FAILED", "TIMEOUT", "OUT_OF_MEMORY", "CANCELLED by 0", *["COMPLETED"] * 6)
    for n in range(201):
        held = {"state": states[n % 10], "alloc_tres": "cpu=4,gres/gpu=2" if n % 2 else "cpu=4"}
        who = {"user": f"user-of-physics-{n:03}", "account": f"project-of-physics-{n % 40:02}"}
        start = f"2024-03-{n % 31 + 1:02}T{n % 24:02}"
        site.run(
            f"{start}:16",
            f"{start}:28",
            watts=100 + 50 * n,
            known=n != 200,
            name=f"name-of-job-{n}-" * 2,
            **who,
            **held,
        )
    site.save()
    words = ["--config", str(site.config), "monthly", "--month", "2024-03", "--format", "html,csv,pdf", "--no-jobs"]
    assert cli.main(words) == 0
    return site.config.parent / "reports/2024-03"


def test_pdf(crowded: Path, tmp_path: Path) -> None:
    """With 200 users the site's page is below 300 kB, and its PDF is tagged PDF/UA for A4, has at most six pages, loses no
    column, and no page ends with a heading. Its links lead to places within it alone.
    """
    assert (crowded / "index.html").stat().st_size < 300_000
    made = crowded / "report.pdf"
    about = subprocess.run(["pdfinfo", made], capture_output=True, text=True, check=True).stdout
    assert re.search(r"Tagged: +yes", about)
    assert re.search(r"Pages: +[2-6]\n", about)
    assert "(A4)" in about
    assert subprocess.run(["qpdf", "--check", made], capture_output=True, check=False).returncode == 0
    tree = subprocess.run(["pdfinfo", "-struct", made], capture_output=True, text=True, check=True).stdout
    tags = [line.split()[0].rstrip(":") for line in tree.splitlines() if line.strip()]
    assert tags[0] == "Document"
    assert {"H1", "H2", "P", "Table", "TR", "TH", "TD", "Link"} <= set(tags)
    plain = tmp_path / "plain.pdf"
    subprocess.run(["qpdf", "--qdf", "--object-streams=disable", made, plain], check=True)
    objects = plain.read_bytes()
    assert b"/URI" not in objects
    assert objects.count(b"/S /Figure") == len(re.findall(rb"/Alt [(<]", objects)) > 10
    levels = [int(tag[1]) for tag in tags if tag in ("H1", "H2", "H3")]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    metadata = subprocess.run(["pdfinfo", "-meta", made], capture_output=True, text=True, check=True).stdout
    assert "pdfuaid:part" in metadata
    boxes = subprocess.run(["pdftotext", "-bbox", made, "-"], capture_output=True, text=True, check=True).stdout
    found = re.findall(r'<word xMin="([-\d.]+)" yMin="[\d.]+" xMax="([\d.]+)" yMax="[\d.]+">([^<]*)', boxes)
    seen = [(float(low), float(high), text) for low, high, text in found if float(high) > 0]
    assert max(high for _, high, _ in seen) <= 595.3 - 40
    text = subprocess.run(["pdftotext", "-layout", made, "-"], capture_output=True, text=True, check=True).stdout
    for column in (
        "share",
        "embodied, kg",
        "difference, µJ",
        "part of the change, kg",
        "kg CO₂e",
        "175 others",
        "15 others",
    ):
        assert column in text
    for page in text.split("\f")[:-1]:
        lines = [line.strip() for line in page.splitlines() if line.strip()]
        assert re.fullmatch(r"Energy and carbon .*\d ?/ ?\d", lines[-1])
        assert lines[-2] not in ("Users", "Accounts", "Ratios", "What it emitted", "Jobs with the most energy")
