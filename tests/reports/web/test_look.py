# SPDX-License-Identifier: MIT
"""carbon-web looks as the site's `[reports]` settings say: logo, whom to ask, own templates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from accounting.samples import configure
from carbon_collector import settings
from carbon_reports.pages import PageError
from carbon_reports.web.serve import look_of

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Web

PICTURE = b"\x89PNG of ours \xff"


@pytest.fixture
def look(tmp_path: Path) -> dict[str, str]:
    """A logo, whom to ask, an own style sheet and an own page of errors."""
    own = tmp_path / "own"
    (own / "web").mkdir(parents=True)
    (own / "style.css").write_text("body { color: teal }", encoding="utf-8")
    (own / "web/error.html.j2").write_text("<p>{{ status }} of ours</p>", encoding="utf-8")
    (tmp_path / "logo.png").write_bytes(PICTURE)
    contact = "<energy@site.example>"
    return {"reports_logo": f"{tmp_path}/logo.png", "reports_contact": contact, "reports_templates": f"{own}"}


def test_logo_contact_and_own_templates(web: Web, tmp_path: Path) -> None:
    """Pages have the logo from their own origin and whom to ask as text; own files take the place of shipped ones, and
    where an own page of errors fails the shipped one is sent.
    """
    page = web.get("./", "alice")
    assert '<img class="logo" src="logo" alt="Demo &amp; &lt;Sons&gt;">' in page.text
    assert "Questions: &lt;energy@site.example&gt;." in page.text
    logo = web.get("logo", "alice")
    assert (logo.status, logo.headers["content-type"]) == (200, "image/png")
    assert logo.headers["content-length"] == f"{len(PICTURE)}"
    assert web.send("/logo").status == 403
    style = web.get("style.css", "alice").text
    assert style.startswith("body { color: teal }\n")
    assert ".command" in style
    assert web.get("nowhere", "alice").text == "<p>404 of ours</p>"
    (tmp_path / "own/web/error.html.j2").write_text("{{ nobody }}", encoding="utf-8")
    assert "There is no such page." in web.get("nowhere", "alice").text


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [("web/view.html.j2", "{% if %}", "web/view.html.j2: Expected an expression"), ("", "", "there is no such folder")],
    ids=["broken", "missing"],
)
def test_wrong_templates_are_said_at_the_start(tmp_path: Path, name: str, text: str, says: str) -> None:
    """A template that cannot be read, and a folder that is not there, are named before anybody is served."""
    own = tmp_path / "own"
    if name:
        (own / name).parent.mkdir(parents=True)
        (own / name).write_text(text, encoding="utf-8")
    config = settings.load(str(configure(tmp_path, reports_templates=f"{own}")))
    with pytest.raises(PageError, match=says):
        look_of(config)
