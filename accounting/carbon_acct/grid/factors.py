# SPDX-License-Identifier: MIT
"""The yearly factor of a zone: applied where nothing better is known. carbon_acct.client.zones has the table."""

from __future__ import annotations

from carbon_acct.client.zones import Factor, find, nearest
from carbon_acct.errors import ZoneError


def factor(zone: str, setting: str = "[site] zone") -> Factor:
    """Return the factor of a zone. Its name is matched without case. Raises ZoneError that names the nearest zones."""
    found = find(zone)
    if found is None:
        raise ZoneError(f"{setting} = {zone}: no such zone; {nearest(zone)}")
    return found
