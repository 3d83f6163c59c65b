# SPDX-License-Identifier: MIT
"""Writes the sentences of a report: what happened and why, and a title for each drawing. Pure.

Amounts that a sentence says to add up do so as they are printed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from carbon_acct.client.units import CARBON, rounded
from carbon_collector.apportion import apportion

from .numbers import KG, MINUS, NARROW_SPACE, carbon, energy, whole_percent
from .wasted import energy_uj

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .change import Change, Factor
    from .history import Amounts
    from .period import Period
    from .wasted import Wasted

WORDS = {"energy": ("{} more energy", "{} less energy"), "grid": ("a grid {} dirtier", "a grid {} cleaner")}
WORDS["PUE"] = ("a PUE {} higher", "a PUE {} lower")
SAME = {"energy": "the same energy", "grid": "the same grid", "PUE": "the same PUE"}
LEAST_PERCENT = 0.05
ORDINALS = ("second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh")
"""The places of a month between the highest and the lowest of twelve."""
USE = {"gpu_idle": "GPUs", "cpu_unused": "CPUs"}
ENDED = {
    "failed": "failed",
    "timeout": "ran out of time",
    "out_of_memory": "ran out of memory",
    "cancelled": "were cancelled",
}
"""How jobs ended, by the rule of waste that names them."""


def emitted(period: Period, then: Period, whose: str, amounts: Amounts, changed: Change | None) -> Markup:
    """Return the first sentence of a report: how much was emitted, and why it is more or less than before."""
    if amounts.carbon_ug is None:
        return Markup("In {} nothing is known of the energy of {}.").format(period.title, whose)
    text = Markup("In {} {} emitted <b>{} CO₂e</b>").format(period.title, whose, carbon(amounts.carbon_ug))
    if amounts.market_ug is not None:
        text += Markup(" (location-based; <b>{} CO₂e</b> market-based)").format(carbon(amounts.market_ug))
    if changed is None:
        return text + Markup(". There is nothing in {} to compare it with.").format(then.short)
    return text + Markup(", <b>{}</b> {} in {}: {}.").format(*more(changed.percent), then.short, because(changed))


def more(percent: float) -> tuple[str, str]:
    """Return a change in words, and the word that what it is compared with follows: `39 % more`, `than`."""
    if abs(percent) < LEAST_PERCENT:
        return "as much", "as"
    return f"{whole_percent(percent)} {'more' if percent > 0 else 'less'}", "than"


def because(changed: Change) -> str:
    """Return the reasons of a change, whose amounts add up to it as they are printed. What stayed the same has none."""
    unit, size, decimals = _unit(changed)
    parts = adding_up(changed.difference_ug, [factor.part_ug for factor in changed.factors], size, decimals)
    both = list(zip(parts, changed.factors, strict=True))
    moved = [(part, factor) for part, factor in both if part or not is_same(factor.percent)]
    same = [f"the {factor.name}" for part, factor in both if (part, factor) not in moved]
    said = [f"{signed(part, decimals)}{NARROW_SPACE}{unit} from {_reason(factor)}" for part, factor in moved]
    found = []
    if said:
        whole = f", together {signed(sum(parts), decimals)}{NARROW_SPACE}{unit}" if len(said) > 1 else ""
        found.append(f"{_listed(said, 'and')}{whole}")
    if same:
        found.append(f"{_listed(same, 'and')} did not change")
    return "; ".join(found)


def is_same(percent: float) -> bool:
    """Return whether a change is too small to be called one."""
    return abs(percent) < LEAST_PERCENT


def _unit(changed: Change) -> tuple[str, int, int]:
    """Return unit, size and decimals in which the greatest part has three digits."""
    greatest = max(abs(factor.part_ug) for factor in changed.factors)
    fitting = [(unit, size) for unit, size in CARBON.items() if size <= greatest] or [next(iter(CARBON.items()))]
    unit, size = fitting[-1]
    return unit, size, max(0, 3 - len(str(greatest // size)))


def adding_up(whole: int, parts: Sequence[int], size: int, decimals: int) -> list[int]:
    """Return parts in `size`s times 10**decimals, rounded so that they add up to the whole, rounded likewise."""
    scaled = [abs(part) * 10**decimals for part in parts]
    target = (1 if whole >= 0 else -1) * rounded(abs(whole) * 10**decimals, size)
    shown = [(1 if part >= 0 else -1) * rounded(each, size) for part, each in zip(parts, scaled, strict=True)]
    left = target - sum(shown)
    if left:
        order = sorted(range(len(parts)), key=lambda at: -scaled[at])
        share = apportion(abs(left), [1] * len(parts))
        for at, count in zip(order, share, strict=True):
            shown[at] += count if left > 0 else -count
    return shown


def signed(value: int, decimals: int) -> str:
    """Return a whole number of 10**-decimals with its sign."""
    size = abs(value)
    digits = f"{size // 10**decimals}.{size % 10**decimals:0{decimals}}" if decimals else str(size)
    return f"{MINUS if value < 0 else '+' if value else ''}{digits}"


def _reason(factor: Factor) -> str:
    if is_same(factor.percent):
        return SAME[factor.name]
    return WORDS[factor.name][factor.percent < 0].format(whole_percent(factor.percent))


def wasted(found: Sequence[Wasted], used_uj: int | None) -> str:
    """Return the sentences on energy of which no result came, or an empty text where there was none."""
    if not used_uj:
        return ""
    said = []
    ended, unused = energy_uj(found, by_state=True), energy_uj(found, by_state=False)
    if ended:
        how = [ENDED[each.rule] for each in found if each.by_state and each.used_uj]
        said.append(f"{_share(ended, used_uj)} of their energy went into jobs that {_listed(how, 'or')}.")
    if unused:
        what = [USE[each.rule] for each in found if not each.by_state and each.used_uj]
        said.append(
            f"{_share(unused, used_uj)} of it flowed for {_listed(what, 'and')} that other jobs held and did not use."
        )
    return " ".join(said)


def waste_title(found: Sequence[Wasted], used_uj: int | None) -> str:
    """Return the title of the bars of waste."""
    ended, unused = energy_uj(found, by_state=True), energy_uj(found, by_state=False)
    said = f"{_share(ended, used_uj)} of the energy of the jobs, {energy(ended)}, came to no result"
    return (
        f"{said}; {_share(unused, used_uj)}, {energy(unused)}, flowed for what was held and not used"
        if unused
        else said
    )


def _share(part: int, whole: int | None) -> str:
    return whole_percent(100 * part / whole if whole else 0)


def _listed(words: Sequence[str], last: str) -> str:
    return f" {last} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def days(labels: Sequence[str], values: Sequence[int | None]) -> str:
    """Return the title of the columns by day or month."""
    known = [(value, label) for value, label in zip(values, labels, strict=True) if value]
    if not known:
        return "No energy is known of any day"
    (most, high), (least, low) = max(known), min(known)
    if high == low:
        return f"All energy, {energy(most)}, is of {high}"
    return f"The most energy was drawn on {high}, {energy(most)}, and the least on {low}, {energy(least)}"


def months(period: Period, values: Sequence[int | None], target_kg: float | None) -> str:
    """Return the title of the columns by month, the last of which is the report's own."""
    last = values[-1]
    known = sorted((value for value in values if value is not None), reverse=True)
    if last is None:
        return "No carbon is known of the last of these months"
    beside = "" if target_kg is None else f", {_of_target(100 * (last / KG / target_kg - 1))}"
    if len(known) == 1:
        return f"{period.title} is the first month of which carbon is known: {carbon(last)}{beside}"
    place = known.index(last) + 1
    between = {2 + at: f"{ordinal} highest" for at, ordinal in enumerate(ORDINALS)}
    rank = (between | {1: "highest", len(known): "lowest"})[place]
    return f"{period.title} was the {rank} of {len(known)} months: jobs, idle and system emitted {carbon(last)}{beside}"


def _of_target(percent: float) -> str:
    if is_same(percent):
        return "as much as the target"
    return f"{whole_percent(percent)} {'above' if percent > 0 else 'below'} the target"
