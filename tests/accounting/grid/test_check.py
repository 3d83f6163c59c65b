# SPDX-License-Identifier: MIT
"""What an answer must pass: numbers, units, order, overlaps; for any answer at all."""

from __future__ import annotations

import re
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_acct.errors import ProviderError
from carbon_acct.grid.check import MOST_G_PER_KWH, Sample, checked, spans
from carbon_acct.grid.provider import DIRECT, LIFECYCLE, Period, pieces

T0 = 1_767_225_600
values = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=5),
    st.integers(-10, 6000),
    st.decimals(allow_nan=True, allow_infinity=True),
    st.decimals(0, 5000, places=3),
)
# Times on a coarse grid, so that borders meet, overlap and repeat often.
instants = st.integers(0, 30).map(lambda n: T0 + n * 300)
samples = st.builds(Sample, instants, instants, values, st.booleans(), st.one_of(st.none(), st.integers(T0, T0 + 5)))
good = st.builds(Sample, instants, instants, st.decimals(1, 5000, places=3), st.booleans(), st.none())


def ask(found: list[Sample], start: int = T0, end: int = T0 + 9000, scope: str = LIFECYCLE) -> list[Period]:
    return checked("the provider", "value", scope, found, start, end)


@given(st.lists(st.one_of(samples, good), max_size=12), instants, instants)
def test_any_answer_is_refused_in_one_line_or_sorted_disjoint_and_inside(
    found: list[Sample], start: int, end: int
) -> None:
    """Whatever comes, either one line refuses it, or the periods are sorted, disjoint, in range, and exact numbers."""
    try:
        periods = ask(found, start, end)
    except ProviderError as e:
        periods, refusal = [], str(e)
    else:
        refusal = "the provider"

    assert refusal.startswith("the provider")
    assert "\n" not in refusal
    assert all(a.end <= b.start for a, b in pairwise(periods))
    assert all(p.start < end and p.end > start for p in periods)
    assert {(p.start, p.end) for p in periods} <= {(s.start, s.end) for s in found}
    assert all(0 <= Decimal(p.g_per_kwh) <= MOST_G_PER_KWH and "E" not in p.g_per_kwh for p in periods)


@given(st.permutations([Sample(T0 + n * 900, T0 + n * 900 + 900, 100 + n) for n in range(8)]))
def test_order_does_not_matter(found: list[Sample]) -> None:
    """Shuffled times give the same periods."""
    assert ask(found) == [Period(T0 + n * 900, T0 + n * 900 + 900, str(100 + n)) for n in range(8)]


@pytest.mark.parametrize(
    "value", [-1, "103", True, 5001, Decimal("NaN"), Decimal("Infinity"), Decimal("1e400"), [], {}, 1.5]
)
def test_a_value_that_is_no_intensity(value: object) -> None:
    """Negative, text, truth, absurd and endless values cost their period, with field, time and what was expected."""
    found = [Sample(T0, T0 + 900, 100), Sample(T0 + 900, T0 + 1800, value)]
    answer = ask(found)

    assert [p.start for p in answer] == [T0]
    assert re.match(r"the provider: value of 2026-01-01T00:15Z is .*expected a number from 0", answer.refused[0])
    with pytest.raises(ProviderError, match="expected a number from 0"):
        ask(found[1:])


def test_null_is_unknown() -> None:
    """A null is a gap, never a 0; a 0 is a 0."""
    found = [Sample(T0, T0 + 900, None), Sample(T0 + 900, T0 + 1800, 0), Sample(T0 + 1800, T0 + 2700, Decimal("-0.0"))]

    assert [(p.start, p.g_per_kwh) for p in ask(found)] == [(T0 + 900, "0"), (T0 + 1800, "0")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (100, "100"),
        (Decimal("100.50"), "100.5"),
        (Decimal("1E+3"), "1000"),
        (Decimal("33.12345678949"), "33.123456789"),
    ],
)
def test_exact_text(value: object, text: str) -> None:
    """A value is kept as plain decimal text, to nine decimals."""
    assert [p.g_per_kwh for p in ask([Sample(T0, T0 + 900, value)])] == [text]


def test_kilograms_are_refused() -> None:
    """An answer that is below 1 everywhere is in kilograms; a single low hour of direct emissions is not."""
    low = [Sample(T0 + n * 900, T0 + n * 900 + 900, Decimal("0.25")) for n in range(4)]

    with pytest.raises(ProviderError, match=r"nowhere above 0\.25; expected g/kWh"):
        ask(low)
    with pytest.raises(ProviderError, match="looks like kg/kWh"):
        ask(low, scope=DIRECT)
    assert len(ask(low[:3], scope=DIRECT)) == 3
    assert len(ask([*low, Sample(T0 + 3600, T0 + 4500, 12)])) == 5
    assert len(ask([Sample(T0, T0 + 900, 0)])) == 1


def test_one_period_twice() -> None:
    """Of two values of one period the later stamped counts, else the one that is no estimate; else none does."""
    a, b = Sample(T0, T0 + 900, 100), Sample(T0, T0 + 900, 120, estimated=True)
    early, late = Sample(T0, T0 + 900, 100, False, T0 + 10), Sample(T0, T0 + 900, 120, True, T0 + 20)

    assert [p.g_per_kwh for p in ask([b, a])] == ["100"]
    assert [p.g_per_kwh for p in ask([late, early])] == ["120"]
    assert [p.g_per_kwh for p in ask([a, a])] == ["100"]
    with pytest.raises(ProviderError, match="is both 100 and 101 g/kWh"):
        ask([a, Sample(T0, T0 + 900, 101)])


def test_overlap() -> None:
    """Periods that overlap otherwise refuse the answer: which is right cannot be told."""
    with pytest.raises(ProviderError, match=r"overlap at 2026-01-01T00:10Z"):
        ask([Sample(T0, T0 + 900, 100), Sample(T0 + 600, T0 + 1500, 100)])


def test_backward_period() -> None:
    """A period that ends before it begins refuses the answer."""
    with pytest.raises(ProviderError, match="expected a later time"):
        ask([Sample(T0 + 900, T0, 100)])


@given(st.lists(instants, unique=True))
def test_spans_never_overlap(starts: list[int]) -> None:
    """Periods made from their beginnings are at most a step long and never overlap."""
    made = sorted(spans(starts, 900))

    assert [a for a, _ in made] == sorted(starts)
    assert all(0 < b - a <= 900 for a, b in made)
    assert all(b <= c for (_, b), (c, _) in pairwise(made))


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(1, 5000))
def test_pieces_cover_the_range(start: int, length: int, longest: int) -> None:
    """The pieces of a range are short enough, meet, and cover it."""
    made = list(pieces(start, start + length, longest))

    assert sum(b - a for a, b in made) == length
    assert all(b - a <= longest for a, b in made)
    assert all(b == c for (_, b), (c, _) in pairwise(made))
