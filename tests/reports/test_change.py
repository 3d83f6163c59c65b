# SPDX-License-Identifier: MIT
"""The reasons of a change add up to it, whatever the amounts, also as they are printed."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from carbon_reports import charts, heat, numbers, sentences
from carbon_reports.change import change
from carbon_reports.history import Amounts
from carbon_reports.numbers import KG
from carbon_reports.period import month_of

AMOUNT = st.integers(1, 10**21)
PERIOD = st.builds(
    lambda used, facility, carbon: Amounts(energy_uj=used, facility_uj=facility, carbon_ug=carbon),
    AMOUNT,
    AMOUNT,
    AMOUNT,
)


@given(PERIOD, PERIOD)
@example(
    Amounts(energy_uj=1, facility_uj=1, carbon_ug=10**21), Amounts(energy_uj=1, facility_uj=1, carbon_ug=10**21 + 1)
)
def test_parts_add_up(then: Amounts, now: Amounts) -> None:
    """Energy, grid and PUE add up to the change, to the microgram, and each has the sign of its own change."""
    found = change(then, now)
    assert found is not None
    assert sum(factor.part_ug for factor in found.factors) == found.difference_ug
    assert found.difference_ug == (now.carbon_ug or 0) - (then.carbon_ug or 0)
    size = max(abs(factor.part_ug) for factor in found.factors)
    blurred = 1e-15 * max(then.carbon_ug or 0, now.carbon_ug or 0)  # a change that the factors' floats do not show
    for factor in found.factors:
        if abs(factor.part_ug) > 10 + size * 1e-9 + blurred:
            assert (factor.part_ug > 0) == (factor.now > factor.then)


@given(PERIOD, PERIOD)
def test_printed_parts_add_up(then: Amounts, now: Amounts) -> None:
    """The numbers of the sentence add up as they stand there, and each of the three is in it, moved or not."""
    found = change(then, now)
    assert found is not None
    said = sentences.because(found)
    numbers = [
        int(text.replace("−", "-").replace(".", ""))
        for text in re.findall(r"[+−]?\d[\d.]*(?=\u202f[mkMGt]?[gt] ?|\u202f[mkMG]?[gt]$)", said)
    ]
    moved = said.count(" from ")
    assert len(numbers) == (moved + 1 if moved > 1 else moved)
    assert moved < 2 or sum(numbers[:-1]) == numbers[-1]
    assert all(name in said for name in ("energy", "grid", "PUE"))


def test_nothing_is_explained_where_nothing_is_known() -> None:
    """A period without energy, or with an amount below 0, has no explanation."""
    known = Amounts(energy_uj=1, facility_uj=1, carbon_ug=1)
    for unknown in (
        Amounts(),
        Amounts(energy_uj=0, facility_uj=0, carbon_ug=0),
        Amounts(energy_uj=-5, facility_uj=1, carbon_ug=1),
    ):
        assert change(unknown, known) is None
        assert change(known, unknown) is None


@given(st.integers(-(10**20), 10**20), st.integers(0, 6))
def test_what_is_not_nothing_is_not_shown_as_nothing(value: int, decimals: int) -> None:
    """A number keeps its sign, and is 0 on paper only where it is 0."""
    text = numbers.fixed(value, numbers.KWH, decimals)
    assert text.startswith("−") == (value < 0)
    assert (text.strip("0.−") == "") == (value == 0)


@given(st.lists(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e9)), min_size=2, max_size=2), max_size=40))
def test_columns_stay_in_the_drawing(values: list[list[float | None]]) -> None:
    """No part leaves the drawing, columns do not overlap, and heights are in proportion."""
    names = [str(at) for at in range(len(values))]
    drawn = charts.stacked(["cpu", "idle"], values, names, names)
    right = 0.0
    for column, parts in zip(drawn.columns, values, strict=True):
        assert column.x >= right - 1e-9
        right = column.x + column.width
        assert right <= 100 + 1e-9
        assert all(part.at >= -1e-6 and part.at + part.size <= charts.HEIGHT + 1e-6 for part in column.segments)
        assert len(column.segments) == sum((value or 0) > 0 for value in parts)


@given(st.floats(0, 1e12), st.floats(0, 1e12), st.floats(0, 1e12))
def test_shades_are_in_order(a: float, b: float, c: float) -> None:
    """A greater value never has a lighter shade."""
    least, middle, most = sorted((a, b, c))
    shades = [heat.shade(value, least, most) for value in (least, middle, most)]
    assert shades == sorted(shades, key=lambda shade: shade if shade is not None else -1)


@pytest.mark.parametrize(
    ("known", "rank"),
    [
        ([5, 9], "the highest of 2 months"),
        ([9, 5], "the lowest of 2 months"),
        ([*range(20, 10, -1), 12, 13], "the eighth highest of 12 months"),
        ([*range(1, 12), 10], "the second highest of 12 months"),
        ([*range(2, 13), 2], "the eleventh highest of 12 months"),
        ([*range(2, 13), 1], "the lowest of 12 months"),
        ([None, 7], "the first month of which carbon is known"),
    ],
)
def test_a_month_s_place_among_twelve(known: list[int | None], rank: str) -> None:
    """The title says which month it is, with equals at the higher place, and how far from the target."""
    march = month_of("2024-03", "Europe/Berlin", 2_000_000_000)
    values = [None if kg is None else kg * KG for kg in known]
    last = known[-1] or 0
    title = sentences.months(march, values, last * 2.0)
    assert rank in title
    assert title.endswith(", 50\u202f% below the target")
    assert sentences.months(march, values, float(last)).endswith(", as much as the target")
    assert "target" not in sentences.months(march, values, None)


def test_a_small_change_has_its_own_reason() -> None:
    """Where energy and PUE are the same, all of a change is the grid's, however small it is beside the whole."""
    then, now = (Amounts(energy_uj=1, facility_uj=1, carbon_ug=ug) for ug in (10**21, 10**21 + 111_013))
    found = change(then, now)
    assert found is not None
    assert [factor.part_ug for factor in found.factors] == [0, 111_013, 0]
