# SPDX-License-Identifier: MIT
"""Energy and carbon for people."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_acct.client import units
from carbon_acct.client.safe_text import escaped, shortened, visible, width, without
from carbon_collector.errors import UsageError

WH = 3_600_000_000


@pytest.mark.parametrize(
    ("uj", "shown"),
    [(0, "0Wh"), (1, "<0.01mWh"), (35_999, "<0.01mWh"), (36_000, "0.01mWh"), (WH // 1000, "1mWh"), (WH, "1Wh"),
     (1250 * WH, "1.25kWh"), (999_400_000 * WH // 1000, "999kWh"), (999_600_000 * WH // 1000, "1MWh"),
     (320 * WH, "320Wh"), (10**9 * WH, "1GWh"), (10**18 * WH, "1000PWh")],
)  # fmt: skip
def test_energy(uj: int, shown: str) -> None:
    """Three digits, in the unit that suits; what is too small for any is said to be small."""
    assert units.energy(uj) == shown


@pytest.mark.parametrize(
    ("ug", "shown"),
    [
        (0, "0g"),
        (1, "<0.01mg"),
        (12, "0.012mg"),
        (320_000_000, "320g"),
        (1_400_000_000, "1.4kg"),
        (10**12, "1t"),
        (10**24, "1000Gt"),
    ],
)
def test_carbon(ug: int, shown: str) -> None:
    """The same for carbon."""
    assert units.carbon(ug) == shown


@given(st.integers(min_value=1, max_value=2**80), st.sampled_from([*units.ENERGY, ""]))
def test_below_zero_is_the_same_with_a_sign(uj: int, unit: str) -> None:
    """A negative amount, which a difference may be, looks like the positive one with a minus before it."""
    assert units.energy(-uj, unit) == f"-{units.energy(uj, unit)}"
    assert units.carbon(-uj) == f"-{units.carbon(uj)}"


@given(st.integers(min_value=1, max_value=2**80), st.sampled_from([*units.ENERGY, *units.JOULES, ""]))
def test_never_zero_and_never_far_off(uj: int, unit: str) -> None:
    """A nonzero energy is never shown as 0, and what is shown is within half a unit of the third digit, or a whole one."""
    shown = units.energy(uj, unit)
    if shown.startswith("<"):
        assert uj * 100 < units.ENERGY["mWh"]
        return
    number = shown.rstrip("mkMGTPWhJ")
    size = {**units.ENERGY, **units.JOULES}[shown[len(number) :]]
    assert Decimal(number) > 0
    assert abs(Decimal(number) * size - uj) <= max(Decimal(uj) / 200, Decimal(size) / 2 if uj >= 999 * size else 0)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [("K", ("kWh", "kg")), ("M", ("MWh", "t")), ("kWh", ("kWh", "")), ("MJ,g", ("MJ", "g")), ("K,g", ("kWh", "g"))],
)
def test_units(text: str, chosen: tuple[str, str]) -> None:
    """--units takes sacct's prefixes and the names of units."""
    assert units.chosen_units(text) == chosen


@pytest.mark.parametrize("text", ["", "k", "KWH", "kWh,", "joule"])
def test_units_refused(text: str) -> None:
    """What is no unit is refused, not guessed."""
    with pytest.raises(UsageError):
        units.chosen_units(text)


@given(st.text(st.characters(codec=None)))
def test_visible_text_prints(text: str) -> None:
    """Whatever a name holds, what is shown is printable and on one line; what was printable stays as it is."""
    assert visible(text).isprintable()
    assert visible(text) == text or not text.isprintable()


@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
def test_escapes_are_unambiguous(one: str, other: str) -> None:
    """Two names that differ are shown differently."""
    assert (escaped(one) == escaped(other)) == (one == other)


@given(st.text("ab|c"), st.sampled_from(["|", "ab", "||"]))
def test_delimiter_is_not_left(text: str, delimiter: str) -> None:
    """No value holds the delimiter that it is printed between."""
    assert delimiter not in without(delimiter, text)


@given(st.text(), st.integers(min_value=1, max_value=40))
def test_shortened_fits(text: str, columns: int) -> None:
    """What is shortened fits, and ends in a plus; what fits is not touched."""
    short = shortened(visible(text), columns)

    assert width(short) <= columns
    assert short == visible(text) or short.endswith("+")


def test_width_of_wide_characters() -> None:
    """A Chinese character takes two columns, a combining accent none."""
    assert (width("日本"), width("e\N{COMBINING ACUTE ACCENT}"), width("job")) == (4, 1, 3)
