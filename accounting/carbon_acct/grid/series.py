# SPDX-License-Identifier: MIT
"""The intensity of a slot from the periods that a zone's sources have: pure, and exact.

A slot's intensity is the mean over time of the first source, in the site's order, that covers the slot wholly.
A source that covers a part of it is not applied to that part: a slot has one source. Where two periods of one
source overlap, the one that was fetched last holds. What no source covers is the caller's, for the yearly factor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from carbon_collector.units import SLOT_S


@dataclass(frozen=True)
class Known:
    """A period [start, end) of a source; `order` grows with the time of fetching."""

    start: int
    end: int
    g_per_kwh: str
    estimated: bool
    order: int


@dataclass(frozen=True)
class Mean:
    """The intensity of a slot, exact text; `estimated` if any part of it is."""

    g_per_kwh: str
    estimated: bool
    source: int


def means(slots: Iterable[int], sources: Sequence[tuple[int, Sequence[Known]]]) -> dict[int, Mean]:
    """Return the means of the slots that a source covers. `sources` are (id, periods) in the site's order."""
    left = sorted(slots)
    found: dict[int, Mean] = {}
    for source, periods in sources:
        pieces = disjoint(periods)
        found |= dict(_covered(left, pieces, source))
        left = [slot for slot in left if slot not in found]
    return found


def disjoint(periods: Iterable[Known]) -> list[Known]:
    """Return the periods by time, cut so that they do not overlap: the one that was fetched last stays whole."""
    pieces: list[Known] = []
    for period in sorted(periods, key=lambda p: (p.start, p.order)):
        pieces = _laid_over(pieces, period)
    return pieces


def _laid_over(pieces: list[Known], period: Known) -> list[Known]:
    """Return the pieces with `period` laid over them. It begins no earlier than any of them."""
    after: list[Known] = []
    rest = [period]
    while pieces and pieces[-1].end > period.start:
        piece = pieces.pop()
        if piece.order > period.order:
            rest = [part for r in rest for part in _without(r, piece)]
            after.append(piece)
        else:
            after += _without(piece, period)
    return [*pieces, *sorted((*after, *rest), key=lambda p: p.start)]


def _without(period: Known, hole: Known) -> list[Known]:
    parts = ((period.start, min(period.end, hole.start)), (max(period.start, hole.end), period.end))
    return [Known(s, e, period.g_per_kwh, period.estimated, period.order) for s, e in parts if s < e]


def _covered(slots: Sequence[int], pieces: Sequence[Known], source: int) -> Iterable[tuple[int, Mean]]:
    at = 0
    for slot in slots:
        while at < len(pieces) and pieces[at].end <= slot:
            at += 1
        here = []
        for piece in pieces[at:]:
            if piece.start >= slot + SLOT_S:
                break
            here.append((piece, min(piece.end, slot + SLOT_S) - max(piece.start, slot)))
        if sum(seconds for _, seconds in here) == SLOT_S:
            total = sum((Fraction(piece.g_per_kwh) * seconds for piece, seconds in here), Fraction(0))
            yield slot, Mean(exact(total / SLOT_S), any(piece.estimated for piece, _ in here), source)


def exact(value: Fraction) -> str:
    """Return a value as decimal text where that is exact, else as a fraction: `103.5`, `310/3`."""
    denominator, places = value.denominator, 0
    while denominator % 2 == 0 or denominator % 5 == 0:
        denominator //= 10 if denominator % 10 == 0 else 2 if denominator % 2 == 0 else 5
        places += 1
    if denominator != 1:
        return f"{value.numerator}/{value.denominator}"
    if not places:
        return str(value.numerator)
    digits = abs(value.numerator * 10**places // value.denominator)
    sign = "-" if value < 0 else ""
    return f"{sign}{digits // 10**places}.{digits % 10**places:0{places}}".rstrip("0").rstrip(".")
