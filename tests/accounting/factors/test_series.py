# SPDX-License-Identifier: MIT
"""The intensity of a slot equals the mean of its seconds, by another road, whatever the periods are like."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_acct.grid.series import Known, disjoint, exact, means

SLOTS = [0, 900, 1800]
STEP = 60
"""The reference looks at minutes; borders of the made-up periods are whole minutes."""


@st.composite
def periods(draw: st.DrawFn) -> list[Known]:
    """Periods of one source, overlapping at will, in the order of fetching."""
    found = []
    for order in range(draw(st.integers(0, 8))):
        start = draw(st.integers(-10, 60)) * STEP
        length = draw(st.sampled_from([5, 15, 30, 60, 7])) * STEP
        value = draw(st.decimals(0, 2000, places=3, allow_nan=False).map(str))
        found.append(Known(start, start + length, value, draw(st.booleans()), order))
    return found


def minute(periods: list[Known], at: int) -> Known | None:
    """The period that holds at a minute: the last one fetched of those that cover it."""
    return max((p for p in periods if p.start <= at < p.end), key=lambda p: p.order, default=None)


@given(st.lists(periods(), min_size=1, max_size=3))
def test_mean_of_the_seconds(sources: list[list[Known]]) -> None:
    """A slot has the exact mean of the first source that covers all of it, and none where no source does."""
    expected = {}
    for slot in SLOTS:
        for source, found in enumerate(sources):
            here = [minute(found, at) for at in range(slot, slot + 900, STEP)]
            if all(here):
                known = [p for p in here if p is not None]
                mean = sum((Fraction(p.g_per_kwh) for p in known), Fraction(0)) / len(known)
                expected[slot] = (mean, any(p.estimated for p in known), source)
                break
    got = means(SLOTS, list(enumerate(sources)))

    assert {slot: (Fraction(m.g_per_kwh), m.estimated, m.source) for slot, m in got.items()} == expected


@given(periods())
def test_disjoint(found: list[Known]) -> None:
    """Pieces cover what the periods cover, never twice, in order."""
    pieces = disjoint(found)

    assert all(a.end <= b.start for a, b in itertools.pairwise(pieces))
    covered = {at for p in pieces for at in range(p.start, p.end, STEP)}
    assert covered == {at for p in found for at in range(p.start, p.end, STEP)}


@given(st.fractions(min_value=0, max_denominator=10**6))
def test_exact(value: Fraction) -> None:
    """The text of a figure is the figure, and a plain decimal where that can be."""
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime

    assert Fraction(exact(value)) == value
    assert ("/" in exact(value)) == (rest != 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [(Fraction(207, 2), "103.5"), (Fraction(310, 3), "310/3"), (Fraction(100), "100"), (Fraction(1, 8), "0.125")],
)
def test_exact_looks(value: Fraction, text: str) -> None:
    """What people see of it."""
    assert exact(value) == text
