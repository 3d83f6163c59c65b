# SPDX-License-Identifier: MIT
"""One intensity for all times, e.g. that of the site's own power station: `constant:50`."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from carbon_acct.errors import ProviderError
from carbon_acct.grid.check import amount, plain
from carbon_acct.grid.provider import FOREVER, LIFECYCLE, Access, Answer, Period
from carbon_collector.units import DAY_S

SLUG = "constant"


@dataclass(frozen=True)
class Constant:
    """The same intensity for ever."""

    g_per_kwh: str
    scope: str
    slug: str = SLUG
    step_s: int = DAY_S
    max_range_s: int = FOREVER

    @property
    def text(self) -> str:
        """Return the name of the source that people see."""
        return f"constant {self.g_per_kwh} g/kWh, set by the site, {self.scope}"

    def history(self, start: int, end: int) -> Answer:
        """Return one period, whatever is asked."""
        return Answer([Period(0, FOREVER, self.g_per_kwh)] if start < end else [])

    def forecast(self, start: int, end: int) -> list[Period]:  # noqa: ARG002  # the protocol's
        """Return nothing: it would be the same."""
        return []


def constant(access: Access) -> Constant:
    """Return the provider of `constant:G_PER_KWH`. Raises ProviderError."""
    try:
        number = Decimal(access.argument)
    except InvalidOperation as e:
        raise ProviderError(
            f"constant:{access.argument} is not a number of g/kWh; write e.g. constant:50", permanent=True
        ) from e
    return Constant(
        plain(amount("constant", "the value", "all times", number, permanent=True)), access.scope or LIFECYCLE
    )
