# SPDX-License-Identifier: MIT
"""The yearly factor of the zone that is shipped: the last resort, which needs no network."""

from __future__ import annotations

from dataclasses import dataclass

from carbon_acct.client.zones import Factor
from carbon_acct.grid.factors import factor
from carbon_acct.grid.provider import FOREVER, Access, Answer, Period
from carbon_collector.units import DAY_S

SLUG = "yearly"


@dataclass(frozen=True)
class Yearly:
    """A zone's average over a year, taken for any time."""

    factor: Factor
    slug: str = SLUG
    step_s: int = 365 * DAY_S
    max_range_s: int = FOREVER

    @property
    def text(self) -> str:
        """Return the name of the source that people see, with its year and scope."""
        return self.factor.text

    @property
    def scope(self) -> str:
        """Return the scope of the factor's own source."""
        return self.factor.scope

    def history(self, start: int, end: int) -> Answer:
        """Return one period, whatever is asked."""
        return Answer([Period(0, FOREVER, self.factor.g_per_kwh)] if start < end else [])

    def forecast(self, start: int, end: int) -> list[Period]:  # noqa: ARG002  # the protocol's
        """Return nothing: it would be the same."""
        return []


def yearly(access: Access) -> Yearly:
    """Return the provider of `yearly` or `yearly:ZONE`. Raises ZoneError."""
    return Yearly(factor(access.argument or access.zone))
