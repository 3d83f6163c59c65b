# SPDX-License-Identifier: MIT
"""Names a report by a digest of its figures, and says what a new writing of it changed.

`figures.json` holds the figures of a report, exact, as texts, whatever else was written beside it.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from .numbers import carbon, energy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE = "figures.json"
NAMED = {"energy_uj": energy, "estimated_uj": energy, "carbon_ug": carbon, "market_ug": carbon}
WORDS = {
    "energy_uj": "measured energy of the jobs",
    "estimated_uj": "estimated energy",
    "carbon_ug": "carbon of the jobs, location-based",
    "market_ug": "carbon of the jobs, market-based",
}


class Writing(NamedTuple):
    """A writing of a report: when, the digest of its figures, and the figures."""

    written: str
    digest: str
    figures: dict[str, Any]


def writing(written: str, figures: Mapping[str, Any]) -> Writing:
    """Return a writing of figures: `total`, and the sums of `users`, `accounts` and `days` by name."""
    text = json.dumps(figures, sort_keys=True, separators=(",", ":"))
    return Writing(written, hashlib.sha256(text.encode()).hexdigest(), dict(figures))


def save(folder: Path, made: Writing, extra: Mapping[str, Any]) -> None:
    """Write the figures into a report's folder."""
    content = {"written": made.written, "digest": made.digest, **extra, "figures": made.figures}
    (folder / FILE).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="ascii")


def read(folder: Path) -> dict[str, Any] | None:
    """Return what was saved in a report's folder, or None where there is nothing that can be read."""
    try:
        content = json.loads((folder / FILE).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    whole = isinstance(content, dict) and isinstance(content.get("figures"), dict)
    return content if whole and {"written", "digest"} <= content.keys() else None


def changes(old: Mapping[str, Any] | None, new: Writing) -> list[str]:
    """Return what a new writing changed, in sentences; an empty list where there was none before."""
    if old is None:
        return []
    if old["digest"] == new.digest:
        return [f"The figures are those of the writing of {old['written']}."]
    then, now = old["figures"].get("total", {}), new.figures["total"]
    said = [
        f"{WORDS[key][0].upper()}{WORDS[key][1:]}: {_show(key, then.get(key))} became {_show(key, now.get(key))}."
        for key in NAMED
        if then.get(key) != now.get(key)
    ]
    for kind in ("users", "accounts", "days"):
        was, has = old["figures"].get(kind, {}), new.figures.get(kind, {})
        count = sum(was.get(name) != has.get(name) for name in {*was, *has})
        if count:
            said.append(f"Figures of {count} {kind if count > 1 else kind[:-1]} changed.")
    return [f"The writing of {old['written']} had other figures.", *said]


def _show(key: str, value: str | None) -> str:
    return NAMED[key](None if value is None else int(value))
