# SPDX-License-Identifier: MIT
"""Prints the state of the accounting as lines for people. The last lines show the site's conservation of energy."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from carbon_collector.units import DAY_S, UJ_PER_KWH

from .units import joules, three_digits

COLUMNS = ("metered", "jobs", "idle", "system", "difference")


APART = {
    "node": "their node is not in the job's NodeList",
    "time": "their slot is not within the job's start and end",
    "node_time": "their node had the job for longer than it ran",
    "ceiling": "with them the job has more in a slot than any job",
}


def lines(status: Mapping[str, Any], now: float | None = None) -> Iterator[str]:
    """Yield the lines of a status. `status` is the answer of GET /v1/status."""
    slurm = status["slurm"]
    days = status.get("settings", {}).get("[site] timezone", "")
    whose = f", days of {days}" if days else ""
    yield (
        f"carbon-aggregator {status['version']}, cluster {slurm['cluster'] or 'not known yet'}, zone {status['zone']}{whose}"
    )
    yield f"database:  {status['database']}"
    yield f"slurm:     {_slurm(slurm, time.time() if now is None else now)}"
    for source in status["grid"]:
        yield f"grid:      {_grid(source, time.time() if now is None else now)}"
    newest = "none yet" if status["last_slot"] is None else f"{_utc(status['last_slot'])}"
    yield f"jobs:      {status['jobs']}, nodes: {status['nodes']}, segments: {status['segments']}, newest slot: {newest}"
    yield f"unmatched: {status['unmatched']} ledgers without a job of Slurm's"
    yield from _silent(status["silent"])
    dropped = status["dropped"]
    if dropped["records"]:
        joules_lost = joules(int(dropped["energy_uj"]))
        yield f"dropped:   {dropped['records']} records of {dropped['nodes']} nodes whose spools were full, {joules_lost} J"
    if dropped.get("apart_records"):
        claimed = joules(int(dropped["apart_energy_uj"]))
        yield f"apart:     {dropped['apart_records']} dropped records, {claimed} J: no node can have lost that in that time"
    for one in status.get("apart", ()):
        says = APART.get(one["reason"], one["reason"])
        yield f"apart:     {one['rows']} rows that count for no job, {joules(int(one['energy_uj']))} J: {says}"
    for one in status.get("late", ()):
        month = time.strftime("%Y-%m", time.localtime(one["month"] + 15 * DAY_S))
        change = f"{joules(int(one['energy_uj']))} J" if int(one["energy_uj"]) else "0 J"
        yield f"late:      node {one['node']} changed {month} after it was closed: {one['rows']} rows, {change}"
    yield ""
    last = f" to {newest}" if status["last_slot"] is not None else ""
    simulated = ", SIMULATED: simulated counters had a part in it" if status["simulated"] else ""
    yield f"energy in kWh, the difference in joules, from the first delivery{last}{simulated}"
    yield from _table(rows(status))


def rows(status: Mapping[str, Any]) -> dict[str, list[int]]:
    """Return microjoules by component, in the order of COLUMNS. The last component is `total`."""
    found = {
        name: [int(balance[f"{column}_uj"]) for column in COLUMNS] for name, balance in status["conservation"].items()
    }
    found["total"] = [sum(values[i] for values in found.values()) for i in range(len(COLUMNS))]
    return found


def conserved(status: Mapping[str, Any]) -> bool:
    """Return whether no component has a difference. Differences of opposite sign do not cancel."""
    return all(values[-1] == 0 for values in rows(status).values())


def _silent(silent: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each kind of silent nodes. A node that has had no job is silent too, unless its collector keeps
    running.
    """
    for key, says in (("never", "never delivered"), ("day", "delivered no slot for a day")):
        if silent[key]:
            names = ", ".join(silent[f"{key}_nodes"])
            more = ", ..." if silent[key] > len(silent[f"{key}_nodes"]) else ""
            yield f"silent:    {silent[key]} nodes {says}: {names}{more}"


def _slurm(slurm: Mapping[str, Any], now: float) -> str:
    polled = slurm["polled_at"]
    when = "never answered yet" if polled is None else f"last poll {max(0, int(now - polled))} s ago"
    source = f"{slurm['source']}, " if slurm["source"] else ""
    when += f"; the last {slurm['behind_s'] / DAY_S:.1f} days have not been queried yet" if slurm["behind_s"] else ""
    return f"{source}{when}" + (f"; now: {slurm['error']}" if slurm["error"] else "")


def _grid(source: Mapping[str, Any], now: float) -> str:
    fetched = source["fetched_at"]
    when = "never answered yet" if fetched is None else f"last answer {max(0, int(now - fetched))} s ago"
    left_out = f"; left out: {source['refused']}" if source.get("refused") else ""
    now_is = f"; now: {source['error']}" if source["error"] else ""
    return f"{source['zone']}, {source['text']}: {when}{now_is}{left_out}"


def _utc(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(seconds))


def _table(found: Mapping[str, list[int]]) -> Iterator[str]:
    cells = [["", *COLUMNS], *([name, *_amounts(values)] for name, values in found.items())]
    widths = [max(len(row[i]) for row in cells) for i in range(len(COLUMNS) + 1)]
    for row in cells:
        first, *rest = row
        yield "  ".join([first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(rest, widths[1:]))]).rstrip()


def _amounts(values: list[int]) -> list[str]:
    """Return what was metered and where it went, in kWh; and the difference exactly, in joules."""
    *parts, difference = values
    shown = [f"-{three_digits(-uj, UJ_PER_KWH)}" if uj < 0 else three_digits(uj, UJ_PER_KWH) for uj in parts]
    return [*shown, "0" if difference == 0 else joules(difference)]
