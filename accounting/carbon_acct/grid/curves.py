# SPDX-License-Identifier: MIT
"""What each fuel of an area generated, and the mixes of it that can be believed: pure.

A mix without its coal looks clean. So a period has a mix only if every fuel has reported that generated more than a
little: within the answer, the day before it, or on some days of the four weeks before it. A fuel that says 0 has
reported. One that says nothing is missed for four weeks, and counts as closed after that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import groupby
from typing import NamedTuple

from carbon_acct.grid.check import Fault, Sample, moment
from carbon_acct.grid.mix import SOLAR, counted, intensity
from carbon_collector.units import DAY_S

HOUR_S = 3600
# A fuel that made less than this of what is in an answer may be silent without the mix looking different.
LITTLE = Decimal("0.01")
# A fuel that made as much of a day in the last weeks is missed where it says nothing.
USUAL = Decimal("0.05")
# A fuel that made as much of a mix does not fall to 0 from one period to the next with nobody making up for it.
SUDDEN = Decimal("0.2")
DAYS_BACK = (3, 7, 14, 28)
"""The days before an answer that show which fuels an area has."""

Curve = dict[tuple[int, int], Decimal | None]
"""Megawatts by the start of the period and its length; None where what was said cannot be believed."""


@dataclass
class Curves:
    """An answer: the curve of each fuel, and what was refused of it.

    `bad` are times of which nothing is believed. `kinds` are the types whose factor a fuel has, by the provider's own
    names; a fuel that is not in there is its own type.
    """

    by_fuel: dict[str, Curve] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    bad: list[tuple[int, int]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add(self, who: str, fuel: str, start: int, step: int, mw: Decimal | None) -> None:
        """Note an amount. Of two of one time neither is believed."""
        curve = self.by_fuel.setdefault(fuel, {})
        if curve.setdefault((start, step), mw) != mw:
            self.faults.append(f"{who}: {moment(start)} has two values of {fuel}; expected one")
            curve[start, step] = None

    def kind(self, fuel: str) -> str:
        """Return the type whose factor a fuel has."""
        return self.kinds.get(fuel, fuel)


class Mix(NamedTuple):
    """The megawatts of each fuel in a period of `step` seconds."""

    at: int
    step: int
    mw: Mapping[str, Decimal]


@dataclass
class Habit:
    """What an area's fuels made on single days: megawatts of each, and at which hours the sun shone. It is kept as
    long as the program runs.
    """

    days: dict[int, tuple[dict[str, Decimal], frozenset[int]]] = field(default_factory=dict)

    def unknown(self, start: int) -> list[int]:
        """Return the days before `start` that are still to be asked for."""
        return [day for day in self._before(start) if day not in self.days]

    def learn(self, day: int, curves: Curves) -> None:
        """Note the day that begins at `day`."""
        made: dict[str, Decimal] = {}
        shone = set()
        for fuel, curve in curves.by_fuel.items():
            for (at, step), mw in curve.items():
                if day <= at < day + DAY_S and mw is not None and mw > 0 and counted([curves.kind(fuel)]):
                    made[fuel] = made.get(fuel, Decimal(0)) + mw * step / DAY_S
                    if curves.kind(fuel) == SOLAR:
                        shone.add(at % DAY_S // HOUR_S)
        self.days[day] = (made, frozenset(shone))
        for old in [d for d in self.days if d < day - 60 * DAY_S]:
            del self.days[old]

    def usual(self, start: int) -> set[str]:
        """Return the fuels that made a part of a day in the weeks before `start`."""
        found: set[str] = set()
        for day in self._before(start):
            made, _ = self.days.get(day, ({}, frozenset()))
            least = sum(made.values(), Decimal(0)) * USUAL
            found |= {fuel for fuel, mw in made.items() if mw >= least}
        return found

    def sunny(self, start: int) -> frozenset[int]:
        """Return the hours of the day (UTC) in which the sun shone on each of those days that are known."""
        hours = [
            shone for day in self._before(start) for made, shone in [self.days.get(day, ({}, frozenset()))] if made
        ]
        return frozenset.intersection(*hours) if hours else frozenset()

    @staticmethod
    def _before(start: int) -> list[int]:
        return [start - start % DAY_S - back * DAY_S for back in DAYS_BACK]


def mixed(ask: Callable[[int, int], Curves], habit: Habit, start: int, end: int) -> Iterator[Sample | Fault]:
    """Yield the intensities of [start, end) by what `ask` answers of it, of the day before, and of the weeks before."""
    first = start - start % HOUR_S - DAY_S
    curves = ask(first, end + -end % HOUR_S)
    for day in habit.unknown(start):
        habit.learn(day, ask(day, day + DAY_S))
    yield from (Fault(reason) for reason in curves.faults)
    found = list(mixes(curves, habit.usual(start), habit.sunny(start)))
    false = false_zeros(found, curves)
    for at, step, mix in found:
        if at in false:
            yield Fault(f"{moment(at)}: {false[at]} is 0 beside much, and nothing makes up for it; it was not measured")
        elif not any(begins < at + step and at < ends for begins, ends in curves.bad):
            yield Sample(at, at + step, intensity(by_kind(mix, curves)))


def false_zeros(found: Sequence[Mix], curves: Curves) -> dict[int, str]:
    """Return the periods in which a fuel's 0 stands for nothing known, and the fuel.

    Beside its run of zeros the fuel made SUDDEN of the mix or more, and the whole fell with it. What others make up for
    was a plant that stopped. Solar may come and go.
    """
    false: dict[int, str] = {}
    for fuel in sorted({fuel for one in found for fuel in one.mw}):
        kind = curves.kind(fuel)
        if kind == SOLAR or not counted([kind]):
            continue
        zeros = [one.mw.get(fuel) == 0 for one in found]
        for is_zero, run in groupby(range(len(found)), key=zeros.__getitem__):
            numbers = list(run)
            edges = ((numbers[0] - 1, numbers[0]), (numbers[-1] + 1, numbers[-1]))
            beside = [(found[n], found[zero]) for n, zero in edges if is_zero and 0 <= n < len(found)]
            if beside and all(_falls(fuel, one, zero, curves) for one, zero in beside):
                false |= {found[n].at: fuel for n in numbers}
    return false


def _falls(fuel: str, beside: Mix, zero: Mix, curves: Curves) -> bool:
    mw, whole, rest = beside.mw.get(fuel, Decimal(0)), _whole(beside, curves), _whole(zero, curves)
    return abs(beside.at - zero.at) == zero.step and mw > 0 and mw >= whole * SUDDEN and rest <= whole - mw / 2


def _whole(mix: Mix, curves: Curves) -> Decimal:
    return sum((max(Decimal(0), mw) for fuel, mw in mix.mw.items() if counted([curves.kind(fuel)])), Decimal(0))


def by_kind(mix: Mapping[str, Decimal], curves: Curves) -> dict[str, Decimal]:
    """Return the megawatts by type. What a fuel itself takes is no generation."""
    found: dict[str, Decimal] = {}
    for fuel, mw in mix.items():
        found[curves.kind(fuel)] = found.get(curves.kind(fuel), Decimal(0)) + max(Decimal(0), mw)
    return found


def mixes(curves: Curves, usual: set[str], sunny: frozenset[int] = frozenset()) -> Iterator[Mix]:
    """Yield each period of the finest resolution, in order of time, and what each fuel generated in it.

    A period that lacks a fuel which reports elsewhere in the answer, or is usual, is left out. Two kinds may be missing:
    fuels that generated next to nothing, and solar at an hour at which it generated nothing on the days before (some
    report none at night).
    """
    step = min((step for curve in curves.by_fuel.values() for _, step in curve), default=HOUR_S)
    fine = {fuel: _fine(curve, step) for fuel, curve in curves.by_fuel.items() if curve}
    suns = {fuel for fuel in {*fine, *usual} if curves.kind(fuel) == SOLAR}
    needed = (_large(fine, curves) | usual) - suns
    for at in sorted({at for fuel in needed & set(fine) for at in fine[fuel]}):
        said = {fuel: curve[at] for fuel, curve in fine.items() if at in curve}
        mix = {fuel: mw for fuel, mw in said.items() if mw is not None}
        if len(mix) == len(said) and needed <= set(mix) and not _sun_is_late(at, mix, fine, suns, usual, sunny):
            yield Mix(at, step, mix)


def _fine(curve: Curve, step: int) -> dict[int, Decimal | None]:
    """Return a curve by the finest resolution. Where two resolutions say something else of one time, neither is
    believed.
    """
    fine: dict[int, Decimal | None] = {}
    for (start, long), mw in curve.items():
        for at in range(start, start + long, step):
            if fine.setdefault(at, mw) != mw:
                fine[at] = None
    return fine


def _sun_is_late(
    at: int,
    mix: Mapping[str, Decimal],
    fine: Mapping[str, Mapping[int, Decimal | None]],
    suns: set[str],
    usual: set[str],
    sunny: frozenset[int],
) -> bool:
    missing = [fuel for fuel in suns if fuel not in mix]
    day_before = any((fine.get(fuel, {}).get(at - DAY_S) or 0) > 0 for fuel in missing)
    return day_before or (any(fuel in usual for fuel in missing) and at % DAY_S // HOUR_S in sunny)


def _large(fine: Mapping[str, Mapping[int, Decimal | None]], curves: Curves) -> set[str]:
    """Return the fuels that generated more than a little of the whole; all of them where nothing was generated."""
    made = {
        fuel: sum((max(Decimal(0), mw) for mw in curve.values() if mw is not None), Decimal(0))
        for fuel, curve in fine.items()
        if counted([curves.kind(fuel)])
    }
    least = sum(made.values(), Decimal(0)) * LITTLE
    return {fuel for fuel, mw in made.items() if mw >= least}
