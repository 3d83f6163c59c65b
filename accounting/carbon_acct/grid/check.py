# SPDX-License-Identifier: MIT
"""Checks every provider's answer before it is applied to anything.

An answer is taken whole or refused whole, with one line that names the provider, the field and what was expected. Half
of a nonsensical answer is no better than none, and the zone's next source is there for that case.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise

from carbon_acct.errors import ProviderError
from carbon_acct.grid.provider import LIFECYCLE, Period

# No grid comes near: burning the worst lignite costs about 1300.
MOST_G_PER_KWH = 5000
# Finer is noise, and exact text must stay short.
DECIMALS = Decimal("1e-9")
# A carbon-free hour of direct emissions may truly lie below 1 g/kWh; this many values in a row do not.
FEW = 4


@dataclass(frozen=True)
class Sample:
    """A value as the provider sent it. `value` is None where the provider does not know it."""

    start: int
    end: int
    value: object
    estimated: bool = False
    updated_at: int | None = None


def checked(who: str, name: str, scope: str, samples: Iterable[Sample], start: int, end: int) -> list[Period]:
    """Return the periods of an answer that touch [start, end): sorted and disjoint.

    `name` is what the provider calls the value. Raises ProviderError.
    """
    periods = [_period(who, name, s) for s in samples if s.value is not None]
    _check_unit(who, name, scope, periods)
    return [p for p in _disjoint(who, periods) if p.start < end and p.end > start]


def spans(starts: Sequence[int], step_s: int) -> list[tuple[int, int]]:
    """Return the periods of values that state only their start: `step_s` long, or shorter where the next one begins
    sooner.
    """
    known = sorted(set(starts))
    following = dict(pairwise(known))
    return [(at, min(at + step_s, following.get(at, at + step_s))) for at in starts]


def amount(who: str, name: str, when: str, value: object, *, permanent: bool = False) -> Decimal:
    """Return a number from 0 to 5000 g/kWh. Raises ProviderError for anything else, also for text that looks like a
    number.

    `permanent` means that a person wrote it, so that nothing changes until a person does.
    """
    number = Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not (isinstance(number, Decimal) and number.is_finite() and 0 <= number <= MOST_G_PER_KWH):
        shown = repr(str(value) if isinstance(value, Decimal) else value)[:60]
        expected = f"expected a number from 0 to {MOST_G_PER_KWH} g/kWh"
        raise ProviderError(f"{who}: {name} of {when} is {shown}; {expected}", permanent=permanent)
    return number


def plain(number: Decimal) -> str:
    """Return a checked number as decimal text without exponent or trailing zeros."""
    return format(abs(number.quantize(DECIMALS)), "f").rstrip("0").rstrip(".")


def moment(at: int) -> str:
    """Return a time as messages show it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%MZ")


def _period(who: str, name: str, s: Sample) -> Period:
    if s.end <= s.start:
        raise ProviderError(f"{who}: the period from {moment(s.start)} ends at {moment(s.end)}; expected a later time")
    return Period(s.start, s.end, plain(amount(who, name, moment(s.start), s.value)), s.estimated, s.updated_at)


def _check_unit(who: str, name: str, scope: str, periods: Sequence[Period]) -> None:
    """Raise ProviderError for an answer in kg/kWh instead of g/kWh: all of its values lie below 1.

    No grid's lifecycle intensity lies below 1 g/kWh. Direct emissions may, for an hour, so they are judged only where
    there are enough values.
    """
    values = [value for p in periods if (value := Decimal(p.g_per_kwh))]
    if values and max(values) < 1 and (scope == LIFECYCLE or len(values) >= FEW):
        raise ProviderError(f"{who}: {name} is nowhere above {max(values)}; expected g/kWh, this looks like kg/kWh")


def _disjoint(who: str, periods: Iterable[Period]) -> list[Period]:
    kept: list[Period] = []
    for p in sorted(periods, key=lambda p: (p.start, p.end)):
        if not kept or kept[-1].end <= p.start:
            kept.append(p)
        elif (kept[-1].start, kept[-1].end) == (p.start, p.end):
            kept[-1] = _better(who, kept[-1], p)
        else:
            raise ProviderError(f"{who}: periods overlap at {moment(p.start)}; expected one value for each time")
    return kept


def _better(who: str, one: Period, other: Period) -> Period:
    """Return the better of two values of one period: the later stamped, else the one that is no estimate. Raises
    ProviderError.
    """
    if one.updated_at is not None and other.updated_at is not None and one.updated_at != other.updated_at:
        return max(one, other, key=lambda p: p.updated_at or 0)
    if one.estimated != other.estimated:
        return other if one.estimated else one
    if one.g_per_kwh != other.g_per_kwh:
        raise ProviderError(
            f"{who}: {moment(one.start)} is both {one.g_per_kwh} and {other.g_per_kwh} g/kWh; expected one value"
        )
    return one
