# SPDX-License-Identifier: MIT
"""Finds the regions of cloud providers, and the grid zone that each lies in. It serves estimates, never the accounting.

`cloud-regions.csv` names for each region the document that it was read from; `verified` is no where none was seen. A
PUE is the Green Software Foundation's figure for its year, never the provider's word. `finer_zone` is a zone of
Electricity Maps without a shipped factor; a site that imports one has it used.
"""

from __future__ import annotations

import csv
import difflib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from carbon_collector.errors import UsageError


@dataclass(frozen=True)
class Region:
    """A provider's region. `pue` and `pue_year` are empty where there is no figure; `pue` is decimal text."""

    provider: str
    region: str
    place: str
    zone: str
    finer_zone: str
    pue: str
    pue_year: str
    source: str
    verified: str
    note: str

    @property
    def name(self) -> str:
        """Return `aws:eu-west-3`."""
        return f"{self.provider}:{self.region}"


@cache
def regions() -> dict[str, Region]:
    """Return all regions by name."""
    text = (files("carbon_acct.client") / "data" / "cloud-regions.csv").read_text("utf-8")
    return {one.name: one for one in (Region(**row) for row in csv.DictReader(text.splitlines()))}


def region(name: str) -> Region:
    """Return the region called `PROVIDER:REGION`, without case. Raises UsageError that names the nearest ones."""
    wanted = name.strip().casefold()
    if wanted in regions():
        return regions()[wanted]
    provider, colon, _ = wanted.partition(":")
    of_provider = [known for known in regions() if known.startswith(f"{provider}:")]
    if not colon or not of_provider:
        providers = ", ".join(dict.fromkeys(one.provider for one in regions().values()))
        raise UsageError(f"--region {name}: write PROVIDER:REGION, e.g. aws:eu-west-3; providers are {providers}")
    close = difflib.get_close_matches(wanted, of_provider, 3, 0.5)
    hint = f"did you mean {', '.join(close)}? " if close else ""
    raise UsageError(f"--region {name}: no such region; {hint}--regions lists them all")
