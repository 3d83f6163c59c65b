# SPDX-License-Identifier: MIT
"""The pages in a real Chromium, through a proxy that names the user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import sync_playwright

from .conftest import HEADER
from .proxy import nginx
from .test_pages import PAGES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Web

pytestmark = pytest.mark.slow
SCROLLING = """() => [...document.querySelectorAll('*')]
    .filter(e => e.scrollWidth > e.clientWidth + 1 && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX))
    .filter(e => e.tabIndex < 0).map(e => e.outerHTML.slice(0, 80))"""


@pytest.fixture
def proxy(web: Web, tmp_path: Path) -> Iterator[str]:
    """The address below which nginx signs everybody in as alice."""
    with nginx(tmp_path, web.socket, {"/carbon/": f"proxy_set_header {HEADER} alice;"}) as address:
        yield f"{address}/carbon/"


def test_pages_in_a_browser(proxy: str, people: None) -> None:
    """At three widths, light and dark, without JavaScript: the style applies, no message, nothing from elsewhere, no sideways
    scroll, and Tab reaches whatever scrolls. Links lead from the months to a job.
    """
    with sync_playwright() as programs:
        browser = programs.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for width in (390, 900, 1440):
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                said: list[str] = []
                asked: list[str] = []
                page.on("console", lambda message, said=said: said.append(message.text))
                page.on("pageerror", lambda error, said=said: said.append(str(error)))
                page.on("request", lambda request, asked=asked: asked.append(request.url))
                for target in PAGES:
                    answer: Any = page.goto(proxy + target.removeprefix("./"))
                    where = (target, width, scheme)
                    assert answer.status == 200, where
                    assert page.evaluate("document.documentElement.scrollWidth") <= width, where
                    assert page.evaluate(SCROLLING) == [], where
                    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
                    assert back == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(16, 22, 20)"), where
                assert said == []
                assert all(url.startswith(proxy) for url in asked)
                page.close()
        context = browser.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto(f"{proxy}?year=2012")
        for link in ("2012-10", "2012-10-11", "1"):
            page.get_by_role("rowheader").get_by_role("link", name=link, exact=True).click()
        assert page.get_by_role("heading", level=1).inner_text() == "Job 1"
        browser.close()
