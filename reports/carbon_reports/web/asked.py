# SPDX-License-Identifier: MIT
"""What a page was asked for: the words of its address, checked, and the filters that the caller's rights allow.

The filters are those of GET /v1/usage and GET /v1/jobs (`queries.job_filter`), so the same code decides who sees what.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from carbon_acct.errors import RefusedError
from carbon_acct.queries.job_filter import Filters
from carbon_acct.queries.period import Period, date_of, month_period

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carbon_acct.access.viewer import Viewer
    from carbon_acct.days import Days

MOST_TEXT = 256
"""The most characters of a word in an address."""


@dataclass(frozen=True)
class Asked:
    """A request for a page: who asks, the words of the address, the time, and the site's calendar and cluster."""

    viewer: Viewer
    words: Mapping[str, str]
    now: int
    days: Days
    cluster: str

    def own(self, **more: Any) -> Filters:
        """Return the filters for the caller's own jobs, as carbon-acct without -a and -u asks."""
        return Filters(viewer=self.viewer, uids=[self.viewer.uid], clusters=self._clusters(), **more)

    def all(self, **more: Any) -> Filters:
        """Return the filters for all jobs that the caller may see, as carbon-acct -a asks."""
        return Filters(viewer=self.viewer, clusters=self._clusters(), **more)

    def word(self, name: str, default: str = "") -> str:
        """Return a word of the address. Raises RefusedError 400 where it is missing or too long."""
        found = self.words.get(name, default)
        if not found or len(found) > MOST_TEXT:
            raise RefusedError(400, f"{name}: a word of at most {MOST_TEXT} characters is needed")
        return found

    def choice(self, name: str, known: Sequence[str]) -> str:
        """Return one of the known words, or an empty text. Raises RefusedError 400."""
        found = self.words.get(name, "")
        if found and found not in known:
            raise RefusedError(400, f"{name}: one of {', '.join(known)}")
        return found

    def number(self, name: str, least: int, most: int, default: int) -> int:
        """Return a whole number within bounds. Raises RefusedError 400."""
        text = self.words.get(name, "") or f"{default}"
        if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
            raise RefusedError(400, f"{name}: a number from {least} to {most}")
        return int(text)

    def month(self, text: str = "") -> Period:
        """Return the month of a text, of the address, or this one. Raises RefusedError 400."""
        try:
            return month_period(text or self.words.get("month", "") or "this", self.now, self.days)
        except ValueError as err:
            raise RefusedError(400, str(err)) from err

    def day(self) -> date:
        """Return the day of the address. Raises RefusedError 400."""
        text = self.word("day")
        try:
            found = date.fromisoformat(text)
        except ValueError:
            raise RefusedError(400, "day: a date like 2026-10-03") from None
        if f"{found}" != text or not 1971 <= found.year <= 9997:
            raise RefusedError(400, "day: a date like 2026-10-03")
        return found

    def today(self) -> date:
        """Return the site's day of now."""
        return date_of(self.now, self.days)

    def _clusters(self) -> list[str]:
        return [self.cluster] if self.cluster else []
