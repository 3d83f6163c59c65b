# SPDX-License-Identifier: MIT
"""Prints a page as a tagged PDF (PDF/UA-1), by WeasyPrint: no browser, and nothing is fetched."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from carbon_collector.errors import CarbonError

if TYPE_CHECKING:
    from pathlib import Path

NEEDED = "pip install 'carbon-acct[reports]', and Debian's libpango-1.0-0, libpangoft2-1.0-0, libharfbuzz-subset0"


DRAWN = re.compile(r'(<svg\b[^>]*\baria-(?:hidden="true"|labelledby="([^"]+)")[^>]*>)')
BESIDE = "drawing of the number beside it"


class PdfError(CarbonError):
    """No PDF can be made on this host."""


def need() -> None:
    """Raise PdfError where WeasyPrint or its libraries are not there, before anything is written."""
    try:
        import weasyprint  # noqa: F401, PLC0415  it takes a second that other formats do not need
    except (ImportError, OSError) as err:
        raise PdfError(
            f"--format pdf: WeasyPrint cannot be loaded ({err}); install it: {NEEDED}; or leave pdf out"
        ) from err


def write(page: str, path: Path) -> None:
    """Write a page as a PDF."""
    from weasyprint import HTML  # noqa: PLC0415  as above

    HTML(string=described(page), url_fetcher=_fetch).write_pdf(path, pdf_variant="pdf/ua-1")


def described(page: str) -> str:
    """Return a page each of whose drawings has a title: WeasyPrint makes of it the alternate text that PDF/UA asks for.

    It is that of the heading that names the drawing. A browser would show it wherever the pointer is.
    """

    def titled(found: re.Match[str]) -> str:
        named = re.search(rf'id="{re.escape(found[2])}">([^<]*)<', page) if found[2] else None
        return f"{found[1]}<title>{named[1] if named else BESIDE}</title>"

    return DRAWN.sub(titled, page)


def _fetch(url: str, *args: Any, **kwargs: Any) -> Any:
    """Return what is in the address itself. Nothing else is ever read: a page must not reach for files or hosts."""
    from weasyprint import default_url_fetcher  # noqa: PLC0415  as above

    if not url.startswith("data:"):
        raise ValueError(f"{url[:80]}: a report has nothing outside itself")
    return default_url_fetcher(url, *args, **kwargs)
