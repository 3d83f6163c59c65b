# SPDX-License-Identifier: MIT
"""Writes the page of one job: at most 24 lines of plain text. Pure; what was asked for comes from `show`."""

from __future__ import annotations

from carbon_collector.lean.typing import TYPE_CHECKING, NamedTuple

from . import cells, graph, timeline, timespec, tres, units
from .safe_text import escaped, shortened, width

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from .timeline import Point, Projection

    Job = Mapping[str, Any]

LINES = 24
BAR = 30
INDENT = 11
COMPONENTS = (("CPU", "cpu_uj"), ("DRAM", "dram_uj"), ("GPU", "gpu_uj"), ("other", "other_uj"))
WASTED = {
    "gpu_idle": ("gpu_idle_uj", "GPUs were held at idle power for {}: ask for fewer, or give them work"),
    "cpu_unused": ("cpu_unused_uj", "CPUs were held and not used for {}: ask for fewer"),
}
"""The rules of advice on one job (docs/methodology.md, Waste): the key of the energy, and the text."""
WORTH_PERCENT = 5
"""Less of the job's energy is no advice."""


class Terminal(NamedTuple):
    """What the page is written for: its width, its characters, the form of times, and the present time."""

    width: int
    pen: graph.Pen
    time_format: str
    now: int


def page(job: Job, points: Sequence[Point], likeness: Sequence[str], terminal: Terminal) -> list[str]:
    """Return the lines of a job's page, each at most as wide as the terminal."""
    lines = [
        *_who(job, terminal),
        "",
        *_energy(job, terminal),
        *_power(points, terminal),
        "",
        *_carbon(job, likeness, terminal),
        *_quality(job, terminal),
        *_projection(timeline.projection(job, points, terminal.now), terminal),
        *(_row("Advice", f"{text} [{rule}]") for rule, text in advice(job)),
    ]
    return [part for line in lines for part in _wrapped(line.rstrip(), terminal.width)][:LINES]


def advice(job: Job) -> Iterator[tuple[str, str]]:
    """Yield the rule and the text of what would have saved energy in this job; nothing where nothing is known."""
    whole = job.get("energy_uj") or 0
    for rule, (key, text) in WASTED.items():
        wasted = job.get(key) or 0
        if whole and wasted * 100 >= whole * WORTH_PERCENT:
            yield rule, text.format(f"{units.energy(wasted)} ({wasted * 100 // whole}%)")


def like(job: Job, terminal: Terminal, comparisons: Sequence[tuple[str, str]]) -> list[str]:
    """Return what the energy and the emissions are like: hours of what the job held, idle; and `comparisons`."""
    screen = cells.Screen(now=terminal.now)
    static, used, held = job.get("static_uj"), job.get("energy_uj"), cells.held_s(job, screen)
    found = []
    if static and used and held:
        found.append(f"= {_span(held * used / static)} of what it held, idle")
    return found + [f"= {amount} {text}" for amount, text in comparisons]


def _who(job: Job, terminal: Terminal) -> Iterator[str]:
    names = [cells.string(job, key) for key in ("user", "account", "partition", "qos", "cluster")]
    yield f"Job {cells.string(job, 'job_id')}  {escaped(cells.string(job, 'name'))}"
    yield _row("Of", ", ".join(escaped(name) for name in names if name))
    start, end = (_time(job.get(key), terminal) for key in ("start", "end"))
    limit = timespec.show_duration(job.get("timelimit_s"))
    state = escaped(cells.string(job, "state"))
    when = f"{start} to {end or 'now'}" if start else f"not started, submitted {_time(job.get('submit'), terminal)}"
    elapsed = timespec.show_duration(job.get("elapsed_s"))
    ran = f", {elapsed}" * bool(start and elapsed) + f" of {limit}" * bool(limit)
    yield _row("State", f"{state}, {when}{ran}")
    held = tres.converted(escaped(cells.string(job, "alloc_tres") or cells.string(job, "req_tres")))
    yield _row("Held" if job.get("nodelist") else "Asked", f"{escaped(cells.string(job, 'nodelist'))}  {held}".strip())


def _energy(job: Job, terminal: Terminal) -> Iterator[str]:
    screen = cells.Screen(now=terminal.now)
    facts = [cells.energy(job, screen) or "not known"]
    if power := cells.average_power(job, screen):
        facts.append(f"{power} W on average")
    if job.get("facility_uj") is not None:
        facts.append(f"with the building (PUE {cells.pue(job, screen)}) {units.energy(job['facility_uj'])}")
    yield _row("Energy", ", ".join(facts))
    parts = [(name, job.get(key)) for name, key in COMPONENTS] + [("estimated", job.get("estimated_uj"))]
    known = [(name, value) for name, value in parts if value is not None]
    whole = sum(value for _, value in known)
    for name, value in known:
        share = f"{value * 100 / whole:5.1f}%" if whole else ""
        yield f"  {name:<9} {units.energy(value):>9} {graph.bar(value, whole, BAR, terminal.pen)} {share}"


def _power(points: Sequence[Point], terminal: Terminal) -> Iterator[str]:
    drawn = timeline.curves(points, min(terminal.width - 11, 96))
    if drawn is None:
        return
    watts = timeline.range_w(points)
    grid = [value for value in drawn.intensity if value is not None]
    if watts:
        step = "minute" if timeline.is_by_minute(points) else "quarter of an hour"
        yield _row("Watts", f"{watts[0]:.0f} to {watts[1]:.0f} W, by {step}")
        yield _row("", graph.curve(drawn.watts, terminal.pen))
    if grid:
        yield _row("", graph.curve(drawn.intensity, terminal.pen, min(grid) * 0.5))
        yield _row(
            "Grid",
            f"{min(grid):.0f} to {max(grid):.0f} g/kWh, {_time(drawn.start, terminal)} to {_time(drawn.end, terminal)}",
        )


def _carbon(job: Job, likeness: Sequence[str], terminal: Terminal) -> Iterator[str]:
    screen = cells.Screen(now=terminal.now)
    if job.get("carbon_ug") is None:
        yield _row("Carbon", "not known")
        return
    grid = ", ".join(escaped(cells.string(job, key)) for key in ("zone", "intensity_source") if job.get(key))
    yield _row(
        "Carbon", f"{cells.carbon(job, screen)} location-based (scope 2), {cells.intensity(job, screen)} g/kWh ({grid})"
    )
    scopes = (
        ("market-based", "carbon_market_ug"),
        ("upstream (scope 3)", "upstream_ug"),
        ("T&D losses (scope 3)", "td_ug"),
        ("embodied (scope 3)", "embodied_ug"),
    )
    others = [f"{name} {units.carbon(job[key])}" for name, key in scopes if job.get(key) is not None]
    if others:
        yield _row("", ", ".join(others))
    if likeness:
        yield _row("Like", ", ".join(likeness))


def _quality(job: Job, terminal: Terminal) -> Iterator[str]:
    screen = cells.Screen(now=terminal.now)
    word, notes, covered = cells.quality(job, screen), cells.quality_notes(job, screen), cells.coverage(job, screen)
    facts = [word] + [f"coverage {covered}%"] * bool(covered)
    yield _row("Quality", ", ".join(facts) + f": {notes}" * bool(notes))


def _projection(found: Projection | None, terminal: Terminal) -> Iterator[str]:
    if found is not None:
        carbon = f", ~{units.carbon(found.carbon_ug)}" if found.carbon_ug is not None else ""
        yield _row(
            "Projected",
            f"~{units.energy(found.energy_uj)}{carbon} by the time limit, {_time(found.until, terminal)}, at the power so far",
        )


def _wrapped(line: str, columns: int) -> list[str]:
    """Return a line as the lines that fit, broken at blanks, each later one below the text of the first."""
    lines: list[str] = []
    while width(line) > columns:
        at = line.rfind(" ", INDENT + 1, columns + 1)
        if at <= INDENT:
            return [*lines, shortened(line, columns)]
        lines.append(line[:at].rstrip())
        line = " " * INDENT + line[at + 1 :]
    return [*lines, line]


def _row(name: str, text: str) -> str:
    return f"{name:<10} {text}"


def _time(epoch: int | None, terminal: Terminal) -> str:
    return timespec.show_time(epoch, terminal.time_format, terminal.now)


def _span(seconds: float) -> str:
    """Return a time for people: `14 h`, `25 min`, `40 s`."""
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size or (unit != "days" and seconds >= size):
            return f"{seconds / size:.0f} {unit}" if seconds >= 10 * size else f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
