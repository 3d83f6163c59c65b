# SPDX-License-Identifier: MIT
"""Writes the page that `carbon-collector probe` shows to people: plain text of 100 columns, harmless to any
terminal.
"""

from __future__ import annotations

import textwrap
import time

from .lean.typing import TYPE_CHECKING
from .meters.base import WHOLE
from .units import UJ_PER_J, US_PER_S

if TYPE_CHECKING:
    from typing import Any


COLUMNS = 100
NAME = 16
"""The width of a name in the table. Longer names are cut there, and GPUs are named in full below it."""
GIB = 1 << 30


def page(facts: dict[str, Any]) -> str:
    """Return the whole page."""
    parts = [_head(facts), _sources(facts["sources"])]
    if facts["domains"]:
        parts.append(_domains(facts["domains"]))
    parts.append(_notes(facts))
    if facts["parts"]:
        parts.append(_devices(facts["parts"]))
    if facts["jobs"]:
        parts.append(_jobs(facts["jobs"]))
    if facts["problems"]:
        parts.append("\n".join(["problems:", *(f"  {harmless(problem)}" for problem in facts["problems"])]))
    return "\n\n".join(parts)


def harmless(text: str) -> str:
    """Return a text in printable ASCII, so that the name of a device cannot move a cursor."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def _head(facts: dict[str, Any]) -> str:
    memory = f"{facts['memory_bytes'] / GIB:.0f} GiB of memory" if facts["memory_bytes"] else "memory unknown"
    runs = f"collector runs as process {facts['collector_pid']}" if facts["collector_pid"] else "no collector runs"
    return harmless(f"{facts['node']}: {facts['cpus']} CPUs, sockets: {facts['sockets']}, {memory}; {runs}")


def _sources(sources: list[dict[str, Any]]) -> str:
    rows = [("COMPONENT", "SOURCE", "USED", "WHY NOT")]
    last = ""
    for s in sources:
        component = s["component"] if s["component"] != last else ""
        rows.append((component, s["source"], "yes" if s["used"] else "-", harmless(s["why"])))
        last = s["component"]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = []
    for row in rows:
        start = "  ".join(cell.ljust(width) for cell, width in zip(row, widths)) + "  "
        first, *more = _wrap(row[3], COLUMNS - len(start)) or [""]
        lines += [(start + first).rstrip(), *(" " * len(start) + line for line in more)]
    return "\n".join(lines)


def _wrap(text: str, columns: int, **indents: str) -> list[str]:
    """Return a text in lines of at most `columns` characters. Paths and UUIDs are not broken where they fit."""
    return textwrap.wrap(text, columns, break_on_hyphens=False, **indents)  # type: ignore[arg-type] # strings only


def _domains(domains: list[dict[str, Any]]) -> str:
    rows: list[tuple[str, ...]] = [
        ("DOMAIN", "OF", "SOCKET", "METHOD", "RANGE kJ", "MAX W", "READING J", "W", "IDLE W", "FROM")
    ]
    rows += [_row(domain) for domain in domains]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    gap = "  " if sum(widths) + 2 * (len(widths) - 1) <= COLUMNS else " "
    numbers = {2, 4, 5, 6, 7, 8}
    return "\n".join(
        gap.join(
            cell.rjust(width) if i in numbers else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    )


def _row(domain: dict[str, Any]) -> tuple[str, ...]:
    return (
        _short(domain["name"]) + ("*" if domain["simulated"] else ""),
        domain["component"],
        str(domain["socket"]) if domain["socket"] >= 0 else "-",
        domain["method"],
        f"{domain['range_uj'] / UJ_PER_J / 1000:.1f}" if domain["range_uj"] else "-",
        str(domain["max_watts"]),
        _number(domain["energy_uj"]),
        _number(domain["power_uw"]),
        _number(domain["idle_uw"]),
        domain["idle_rule"] or "-",
    )


def _number(micro: int | None) -> str:
    return "-" if micro is None else f"{micro / 1e6:.1f}"


def _short(name: str) -> str:
    name = harmless(name)
    return name if len(name) <= NAME else f"{name[: NAME - 3]}..."


def _notes(facts: dict[str, Any]) -> str:
    lines = []
    if any(domain["simulated"] for domain in facts["domains"]):
        lines.append("* simulated: no hardware drives it")
    for domain in facts["domains"]:
        if domain["contains"]:
            own = domain["own_power_uw"]
            beyond = "what it draws beyond them is unknown" if own is None else f"beyond them it draws {_number(own)} W"
            lines.append(f"{domain['name']} contains {', '.join(domain['contains'])}; {beyond}")
    lines += [f"{name} is an estimate: {why}" for name, why in facts["estimates"].items()]
    lines += [_interval(facts["interval"], facts["domains"]), _state(facts["state"])]
    return "\n".join(part for line in lines for part in _wrap(harmless(line), COLUMNS, subsequent_indent="  "))


def _interval(interval: dict[str, Any], domains: list[dict[str, Any]]) -> str:
    said = f"read every {round(interval['seconds'], 1):g} s"
    name = interval["shortened_for"]
    for domain in domains:
        if domain["name"] == name:
            turn_s = domain["range_uj"] / UJ_PER_J / domain["max_watts"]
            asked = f"{interval['setting_seconds']:g} s as [collector] interval says"
            return f"{said}, not {asked}: at {domain['max_watts']} W {name} wraps in {turn_s:.0f} s"
    return f"{said}, as [collector] interval says"


def _state(saved: dict[str, Any]) -> str:
    if saved["read_us"] is None:
        return f"nothing is known from before: no reading in {saved['folder']}"
    at_s = saved["read_us"] // US_PER_S
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at_s))
    return f"idle power is from {saved['folder']}, last reading {at} UTC, {max(0, int(time.time()) - at_s)} s ago"


def _devices(parts: dict[str, dict[str, Any]]) -> str:
    names: dict[tuple[str, str, int], list[str]] = {}
    for name, part in parts.items():
        names.setdefault((part["domain"], part["uuid"], part["share"]), []).append(name)
    lines = ["GPUs, and what a ticket may call them:"]
    for (domain, uuid, share), called in names.items():
        others = sorted((name for name in called if name != uuid), key=lambda name: (len(name), name))
        whole = "" if share == WHOLE else f", {share}/{WHOLE} of {domain}"
        text = harmless(f"{uuid}{whole}{': ' if others else ''}{', '.join(others)}")
        lines += _wrap(text, COLUMNS, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines)


def _jobs(jobs: list[dict[str, Any]]) -> str:
    lines = ["jobs, and where their figures are read from:"]
    for job in jobs:
        cpus = f", {job['cpus']} CPUs" if job["cpus"] else ""
        lines.append(f"  {harmless(job['job'])}{cpus}{'' if job['ticket'] else ', without a ticket'}")
        sources = {kind: job[kind] for kind in ("cpu", "memory", "cpuset")}
        if job["gpus"]:
            parts = [f"{name}{'' if share == WHOLE else f' ({share}/{WHOLE})'}" for name, share in job["gpus"].items()]
            sources["gpus"] = ", ".join(parts)
        for kind, source in sources.items():
            lines += _wrap(harmless(f"{kind}: {source}"), COLUMNS, initial_indent="    ", subsequent_indent="      ")
    return "\n".join(lines)
