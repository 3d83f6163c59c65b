# SPDX-License-Identifier: MIT
"""Turns command line words into a question for `GET /v1/usage`, and its answer into the rows of a table.

Amounts come as decimal strings of microjoules and micrograms, because sums exceed what a JSON number holds exactly.
The sums are the aggregator's; nothing is added up here.
"""

from __future__ import annotations

import re

from carbon_collector.errors import UsageError
from carbon_collector.lean.typing import TYPE_CHECKING, NamedTuple
from carbon_collector.units import UJ_PER_J

from . import timespec, units
from .safe_text import escaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    Row = Mapping[str, Any]

DIMENSIONS = ("user", "account", "partition", "qos", "state", "cluster", "day", "week", "month")
HEADS = {"qos": "QOS"}
WASTE = {
    "failed": "Jobs that failed",
    "timeout": "Jobs that ran out of time",
    "out_of_memory": "Jobs that ran out of memory",
    "cancelled": "Jobs cancelled after they had started",
    "gpu_idle": "GPUs held at idle power",
    "cpu_unused": "CPUs held and not used",
}
"""The rules of waste (docs/methodology.md) for people. The parts are disjoint."""
RAW = ("energy_uj", "estimated_uj", "facility_uj", "carbon_ug", "carbon_market_ug", "embodied_ug")
RAW_HEADS = ("EnergyRaw", "EstimatedEnergyRaw", "FacilityEnergyRaw", "CarbonRaw", "CarbonMarketRaw", "EmbodiedRaw")
NOW_S = 120
"""The seconds around now in which an end means now."""


class Table(NamedTuple):
    """A table: its head, whether each column is aligned to the right, its rows, and the last of them, the total."""

    head: list[str]
    right: list[bool]
    rows: list[list[str]]
    total: list[str]


def dimensions(words: Iterable[str]) -> list[str]:
    """Return the words of --by. Raises UsageError."""
    found: list[str] = []
    for word in (part.strip().lower() for text in words for part in text.split(",")):
        if word and word not in DIMENSIONS:
            import difflib

            close = difflib.get_close_matches(word, DIMENSIONS, 1, 0.6)
            hint = f"did you mean {close[0]}?" if close else f"one of {', '.join(DIMENSIONS)}"
            raise UsageError(f"--by {word}: unknown word; {hint}")
        if word and word not in found:
            found.append(word)
    return found


def day_or_time(text: str, now: int, is_end: bool) -> str:
    """Return a border of a window of whole days: a day of the site, as `2026-10-01`, or the present time.

    A time of the day in -S means the day in which it lies, as in `carbon-mgr energy`; -E may be a midnight, or now.
    Raises UsageError.
    """
    import time

    epoch = timespec.parse_time(text, now)
    if is_end and abs(epoch - now) <= NOW_S:
        return str(epoch)
    when = time.localtime(epoch)
    if is_end and (when.tm_hour, when.tm_min, when.tm_sec) != (0, 0, 0):
        raise UsageError(
            f"-E {text}: sums are of whole days; end with a day, e.g. {time.strftime('%Y-%m-%d', when)}, or now"
        )
    return time.strftime("%Y-%m-%d", when)


def heading(window: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> str:
    """Return the line that says which days of which time zone were summed, and which the window before has."""
    compared = f"; before: {_days(before)}" if before else ""
    return escaped(f"{_days(window)}, days of {window['timezone']}{compared}")


def _days(window: Mapping[str, Any]) -> str:
    first, last = str(window["first_day"]), str(window["last_day"])
    days = first if first == last else f"{first} to {last}"
    month = window.get("month")
    so_far = "" if window.get("over", True) else ", so far"
    named = f"{month} ({days})" if month else days
    return f"{named}{so_far}"


def amount(value: object) -> int | None:
    """Return a decimal string as a number; None where it is not known."""
    return None if value is None else int(str(value))


def energy_of(figures: Row, unit: str = "") -> str:
    """Return measured and estimated energy, with `~` where some of it was estimated; empty where nothing is known."""
    used, estimated = used_uj(figures), amount(figures.get("estimated_uj"))
    return "" if used is None else ("~" if estimated else "") + units.energy(used, unit)


def carbon_of(figures: Row, unit: str = "") -> str:
    """Return the location-based emissions; empty where they are not known."""
    ug, estimated = amount(figures.get("carbon_ug")), amount(figures.get("estimated_uj"))
    return "" if ug is None else ("~" if estimated else "") + units.carbon(ug, unit)


def used_uj(figures: Row) -> int | None:
    """Return measured and estimated energy together; None where neither is known."""
    known = [value for key in ("energy_uj", "estimated_uj") if (value := amount(figures.get(key))) is not None]
    return sum(known) if known else None


def wasted_uj(waste: Mapping[str, Row] | None) -> int | None:
    """Return the sum of the parts of waste; they are disjoint. None where none is known."""
    known = [value for part in (waste or {}).values() if (value := amount(part.get("energy_uj"))) is not None]
    return sum(known) if known else None


def percent(part: int | None, whole: int | None) -> str:
    """Return a share in percent; empty where it is not known, and never 0 for what is not 0."""
    if part is None or not whole:
        return ""
    text = units.decimal(abs(part) * 100, whole, 1)
    sign = "-" if part < 0 else ""
    return f"{sign}<0.1%" if part and text == "0.0" else f"{sign}{text}%"


def change(now: int | None, before: int | None, unit: str = "") -> tuple[str, str]:
    """Return the difference to the window before, with its sign, and in percent of it."""
    if now is None or before is None:
        return "", ""
    difference = now - before
    sign = "-" if difference < 0 else "+" if difference else ""
    share = percent(abs(difference), before)
    return f"{sign}{units.energy(abs(difference), unit)}", f"{sign}{share}" if share else ""


def for_people(answer: Row, chosen: tuple[str, str]) -> Table:
    """Return the table of sums: a row for each key, the others of --top, and the total."""
    by, compared = [str(word) for word in answer["by"]], answer.get("previous_window") is not None
    wasted = answer["total"].get("waste") is not None
    head = [*map(_head, by), "Jobs", "Energy", *["Share"] * bool(by), "Carbon"]
    head += ["Before", "Change", "Percent"] * compared + ["Wasted", "OfEnergy"] * wasted
    whole = used_uj(answer["total"]["figures"])

    def cells(row: Row) -> list[str]:
        figures, used = row["figures"], used_uj(row["figures"])
        line = [str(figures["jobs"]), energy_of(figures, chosen[0]), *[percent(used, whole)] * bool(by)]
        line.append(carbon_of(figures, chosen[1]))
        if compared:
            before = row.get("previous") or {}
            line += [energy_of(before, chosen[0]), *change(used, used_uj(before), chosen[0])]
        if wasted:
            lost = wasted_uj(row.get("waste"))
            line += ["" if lost is None else units.energy(lost, chosen[0]), percent(lost, used)]
        return line

    rows = [[*(_key(row["key"].get(word)) for word in by), *cells(row)] for row in answer["rows"]]
    if others := answer.get("others"):
        rows.append([*_padded(_others(others["rows"]), by), *cells(others)])
    right = [False] * len(by) + [True] * (len(head) - len(by))
    return Table(head, right, rows, [*_padded("total", by), *cells(answer["total"])])


def for_scripts(answer: Row) -> Table:
    """Return the table with whole joules and exact grams, for -p, -P and --csv; a total only where there is no --by."""
    by, compared = [str(word) for word in answer["by"]], answer.get("previous_window") is not None
    wasted = answer["total"].get("waste") is not None
    head = [*map(_head, by), "Jobs", *RAW_HEADS]
    head += ["Previous" + name for name in ("Jobs", *RAW_HEADS)] if compared else []
    head += [f"{_camel(rule)}{name}" for rule in WASTE for name in ("EnergyRaw", "CarbonRaw")] if wasted else []

    def cells(row: Row) -> list[str]:
        line = _raw(row["figures"])
        line += _raw(row.get("previous") or {}) if compared else []
        parts = row.get("waste") or {}
        amounts = [(parts.get(rule) or {}).get(key) for rule in WASTE for key in ("energy_uj", "carbon_ug")]
        return line + (
            [_raw_amount(key, value) for key, value in zip(("energy_uj", "carbon_ug") * len(WASTE), amounts)]
            if wasted
            else []
        )

    rows = [[*(_key(row["key"].get(word)) for word in by), *cells(row)] for row in answer["rows"]]
    if others := answer.get("others"):
        rows.append([*_padded(_others(others["rows"]), by), *cells(others)])
    total = [*_padded("total", by), *cells(answer["total"])]
    return Table(head, [], rows or [total] * (not by), total)


def waste_by_rule(answer: Row, chosen: tuple[str, str]) -> Table:
    """Return the table of --waste without --by: a row for each rule, and the energy of all jobs."""
    total = answer["total"]
    whole, parts = used_uj(total["figures"]), total.get("waste") or {}
    rows = []
    for rule, says in WASTE.items():
        part = parts.get(rule) or {}
        uj, ug, jobs = amount(part.get("energy_uj")), amount(part.get("carbon_ug")), part.get("jobs")
        rows.append(
            [
                says,
                "" if jobs is None else str(jobs),
                "" if uj is None else units.energy(uj, chosen[0]),
                percent(uj, whole),
                "" if ug is None else units.carbon(ug, chosen[1]),
            ]
        )
    lost = wasted_uj(parts)
    figures = total["figures"]
    rows.append(["wasted", "", "" if lost is None else units.energy(lost, chosen[0]), percent(lost, whole), ""])
    last = [
        "all jobs",
        str(figures["jobs"]),
        energy_of(figures, chosen[0]),
        percent(whole, whole),
        carbon_of(figures, chosen[1]),
    ]
    return Table(["Waste", "Jobs", "Energy", "OfEnergy", "Carbon"], [False, True, True, True, True], rows, last)


def beside(site: Mapping[str, Any], chosen: tuple[str, str]) -> tuple[Table, str]:
    """Return the table of --idle: jobs, idle and system, and the line with PUE and shares. What the site does not state has
    no column.
    """
    names = {"energy_uj": "Energy", "facility_uj": "Facility", "carbon_ug": "Carbon", "carbon_market_ug": "Market",
             "upstream_ug": "Upstream", "td_ug": "T&D", "embodied_ug": "Embodied"}  # fmt: skip
    parts = {part: {key: amount(site[part].get(key)) for key in names} for part in ("jobs", "idle", "system")}
    names = {key: name for key, name in names.items() if any(part[key] is not None for part in parts.values())} or names
    whole = sum(part["energy_uj"] or 0 for part in parts.values())

    def cells(part: Mapping[str, int | None]) -> list[str]:
        shown = [
            ""
            if (v := part[k]) is None
            else (units.energy(v, chosen[0]) if k.endswith("_uj") else units.carbon(v, chosen[1]))
            for k in names
        ]
        return [shown[0], percent(part["energy_uj"], whole), *shown[1:]]

    together = {key: _sum([part[key] for part in parts.values()]) for key in names}
    table = Table(
        ["", "Energy", "Share", *list(names.values())[1:]],
        [False] + [True] * (len(names) + 1),
        [[name, *cells(part)] for name, part in parts.items()],
        ["all", *cells(together)],
    )
    facts = [f"PUE {site['pue']:g}" if site.get("pue") is not None else ""]
    facts += [
        f"{word} {site[f'{word}_percent']:.1f}%"
        for word in ("measured", "estimated")
        if site.get(f"{word}_percent") is not None
    ]
    facts += ["simulated counters had a part in it"] * bool(site.get("simulated"))
    return table, ", ".join(filter(None, facts))


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _raw(figures: Row) -> list[str]:
    return [
        "" if figures.get("jobs") is None else str(figures["jobs"]),
        *(_raw_amount(key, figures.get(key)) for key in RAW),
    ]


def _raw_amount(key: str, value: object) -> str:
    known = amount(value)
    if known is None:
        return ""
    return str(units.rounded(known, UJ_PER_J)) if key.endswith("_uj") else units.grams(known)


def _key(value: object) -> str:
    return "" if value is None else escaped(str(value))


def _others(rows: int) -> str:
    return f"({rows} other{'s' if rows != 1 else ''})"


def _padded(word: str, by: Sequence[str]) -> list[str]:
    return [word, *[""] * (len(by) - 1)] if by else []


def _head(word: str) -> str:
    return HEADS.get(word, word.capitalize())


def _camel(rule: str) -> str:
    return re.sub(r"(?:^|_)(\w)", lambda match: match[1].upper(), rule)
