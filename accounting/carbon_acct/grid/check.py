# SPDX-License-Identifier: MIT
"""Checks every provider's answer before it is applied to anything.

A fault costs the period that has it, and no other. Each is one line that names the provider, the field and what was
expected. An answer is refused whole where the fault is of the whole (another unit, the times of all of it), or where
nothing good is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import reduce
from itertools import groupby, pairwise
from typing import TypeVar

from carbon_acct.errors import ProviderError
from carbon_acct.grid.provider import LIFECYCLE, Answer, Period
from carbon_collector.units import DAY_S

# No grid comes near: burning the worst lignite costs about 1300.
MOST_G_PER_KWH = 5000
# Water, wind and atoms have a few grams in their lives: no grid's lifecycle comes below.
LEAST_LIFECYCLE = Decimal(1)
# A zero beside this much was never measured: no grid sheds it from one period to the next.
BESIDE_ZERO = 20
# Finer is noise, and exact text must stay short.
DECIMALS = Decimal("1e-9")
# A carbon-free hour of direct emissions may truly lie below 1 g/kWh; this many values in a row do not.
FEW = 4

T = TypeVar("T")


@dataclass(frozen=True)
class Sample:
    """A value as the provider sent it. `value` is None where the provider does not know it."""

    start: int
    end: int
    value: object
    estimated: bool = False
    updated_at: int | None = None


@dataclass(frozen=True)
class Fault:
    """A part of an answer that cannot be believed, and why, in one line."""

    reason: str


@dataclass(frozen=True)
class Rules:
    """What a source's values must be beside numbers.

    `lengths` are the seconds that a period may have; each begins at a multiple of its length (empty: any). `least` is
    what the grid's intensity cannot come below, in g/kWh. `now` is the time after which nothing can be measured (None:
    a file of the site may know the future, and have zeros as it likes).
    """

    lengths: Collection[int] = ()
    least: Decimal = Decimal(0)
    now: float | None = None


def live(scope: str, lengths: Collection[int], least: Decimal | None = None) -> Rules:
    """Return the rules of a service that measures: no values of the future, none below what its scope allows."""
    floor = least if least is not None else LEAST_LIFECYCLE if scope == LIFECYCLE else Decimal(0)
    return Rules(lengths, floor, time.time())


def each(rows: Iterable[T], read: Callable[[T], Sample]) -> Iterator[Sample | Fault]:
    """Yield what is read of each row, or why it cannot be read: a bad row takes no other with it."""
    for row in rows:
        try:
            yield read(row)
        except ProviderError as e:
            yield Fault(str(e))


def checked(
    who: str, name: str, scope: str, found: Iterable[Sample | Fault], start: int, end: int, rules: Rules | None = None
) -> Answer:
    """Return the good periods of an answer that touch [start, end), and what was refused of it.

    `name` is what the provider calls the value. Raises ProviderError where all of it is bad.
    """
    rules = rules or Rules()
    faults: list[str] = []
    samples: list[Sample] = []
    for one in found:
        if isinstance(one, Fault):
            faults.append(one.reason)
        elif one.value is not None:
            samples.append(one)
    periods = _keep(samples, lambda s: _period(who, name, s), faults)
    _check_unit(who, name, scope, periods)
    if rules.now is not None:
        _check_clock(who, periods, max(rules.now, end))
    periods = _keep(periods, lambda p: _fitting(who, name, p, rules), faults)
    periods = _one_each(who, periods, faults)
    periods = _apart(who, periods, faults)
    if rules.now is not None:
        periods = _measured(who, name, periods, faults)
    wanted = [p for p in periods if p.start < end and p.end > start]
    if faults and not periods:
        raise ProviderError(faults[0])
    return Answer(wanted, faults)


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


def _keep(things: Iterable[T], judge: Callable[[T], Period], faults: list[str]) -> list[Period]:
    """Return what passes, and add to the faults what does not."""
    kept: list[Period] = []
    for thing in things:
        try:
            kept.append(judge(thing))
        except ProviderError as e:
            faults.append(str(e))
    return kept


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


def _check_clock(who: str, periods: Sequence[Period], latest: float) -> None:
    """Refuse an answer that has measured what is still to come: its times are of another zone, so all of them are.

    One period that lies days ahead is a slip of its own, and no range asks for it.
    """
    ahead = [p.start for p in periods if not p.estimated and latest + p.end - p.start <= p.start < latest + 2 * DAY_S]
    if ahead:
        raise ProviderError(f"{who}: it has measured {moment(min(ahead))}, which is to come; its times are shifted")


def _fitting(who: str, name: str, p: Period, rules: Rules) -> Period:
    length = p.end - p.start
    if rules.lengths and length not in rules.lengths:
        known = ", ".join(str(n // 60) for n in sorted(rules.lengths))
        raise ProviderError(
            f"{who}: the period from {moment(p.start)} has {length / 60:g} minutes; expected {known} minutes"
        )
    if rules.lengths and p.start % length:
        raise ProviderError(f"{who}: {moment(p.start)} begins no period of {length // 60} minutes; its time is shifted")
    if Decimal(p.g_per_kwh) < rules.least:
        raise ProviderError(
            f"{who}: {name} of {moment(p.start)} is {p.g_per_kwh}; no grid comes below {rules.least} g/kWh"
        )
    return p


def _one_each(who: str, periods: Iterable[Period], faults: list[str]) -> list[Period]:
    """Return one value for each period: of two the better one, and none where that cannot be told."""
    kept: list[Period] = []
    for _, same in groupby(sorted(periods, key=lambda p: (p.start, p.end)), key=lambda p: (p.start, p.end)):
        kept += _keep([list(same)], lambda group: reduce(lambda a, b: _better(who, a, b), group), faults)
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


def _apart(who: str, periods: Sequence[Period], faults: list[str]) -> list[Period]:
    """Return the periods that overlap no other one. Of two that do, which is right cannot be told: neither stays."""
    bad: set[int] = set()
    reach = 0  # of those so far the one that ends last
    for n in range(1, len(periods)):
        if periods[reach].end > periods[n].start:
            bad |= {reach, n}
            faults.append(f"{who}: periods overlap at {moment(periods[n].start)}; expected one value for each time")
        if periods[n].end > periods[reach].end:
            reach = n
    return [p for n, p in enumerate(periods) if n not in bad]


def _measured(who: str, name: str, periods: Sequence[Period], faults: list[str]) -> list[Period]:
    """Return the periods without the zeros that stand for nothing: those beside a value that no grid falls from at
    once.
    """
    kept: list[Period] = []
    runs = [(zero, list(run)) for zero, run in groupby(periods, key=lambda p: p.g_per_kwh == "0")]
    for n, (zero, run) in enumerate(runs):
        before = float(runs[n - 1][1][-1].g_per_kwh) if n else 0.0
        after = float(runs[n + 1][1][0].g_per_kwh) if n + 1 < len(runs) else 0.0
        if zero and max(before, after) >= BESIDE_ZERO:
            beside = max(before, after)
            faults += [f"{who}: {name} of {moment(p.start)} is 0 beside {beside:g}; it was not measured" for p in run]
        else:
            kept += run
    return kept
