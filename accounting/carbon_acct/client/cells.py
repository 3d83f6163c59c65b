# SPDX-License-Identifier: MIT
"""Shows single values of a job as text: what stands in a cell of carbon-acct's table.

A job is an object of the aggregator's `GET /v1/jobs` (docs/http-api.md). A value that is not known is an empty text,
never 0.
"""

from __future__ import annotations

from carbon_collector.lean.typing import TYPE_CHECKING, NamedTuple
from carbon_collector.units import UJ_PER_J

from . import timespec, units
from .safe_text import escaped
from .tres import converted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    Job = Mapping[str, Any]
    Show = Callable[["Job", "Screen"], str]

SIMULATED = "simulated"
SIMULATED_WORD = "sim"
ESTIMATED_MARK = "~"
US_PER_S = 1_000_000


class Screen(NamedTuple):
    """How values are shown: units, time format, the window to which -T cuts times, and the present time."""

    energy_unit: str = ""
    carbon_unit: str = ""
    time_format: str = ""
    window: tuple[int, int] | None = None
    now: int = 0
    mark_simulated: bool = False
    """Whether Energy and Carbon say `(simulated)` themselves, because no Quality column says it."""
    convert: bool = True
    """Whether memory is shown in the largest unit that it fills: not with --noconvert."""


def string(job: Job, key: str) -> str:
    """Return a value as it is; empty where it is not known."""
    value = job.get(key)
    return "" if value is None else str(value)


def text(key: str) -> Show:
    """Return what shows a text that a user or an administrator chose."""
    return lambda job, _: escaped(string(job, key))


def count(key: str) -> Show:
    """Return what shows a number as it is."""
    return lambda job, _: string(job, key)


def joules(key: str) -> Show:
    """Return what shows microjoules as whole joules."""

    def show(job: Job, _: Screen) -> str:
        uj = job.get(key)
        return "" if uj is None else str(units.rounded(uj, UJ_PER_J))

    return show


def grams(key: str) -> Show:
    """Return what shows micrograms as grams."""

    def show(job: Job, _: Screen) -> str:
        ug = job.get(key)
        return "" if ug is None else units.grams(ug)

    return show


def moment(key: str) -> Show:
    """Return what shows a time."""

    def show(job: Job, screen: Screen) -> str:
        return timespec.show_time(_cut(job, key, screen.window), screen.time_format, screen.now)

    return show


def duration(key: str) -> Show:
    """Return what shows seconds as `[days-]HH:MM:SS`."""
    return lambda job, _: timespec.show_duration(job.get(key))


def tres(key: str) -> Show:
    """Return what shows a list of trackable resources."""

    def show(job: Job, screen: Screen) -> str:
        listed = escaped(string(job, key))
        return converted(listed) if screen.convert else listed

    return show


def _cut(job: Job, key: str, window: tuple[int, int] | None) -> int | None:
    """Return a job's time, cut to the window as sacct -T does: a job that goes on beyond the window ends with it."""
    epoch: int | None = job.get(key)
    if window is None or key in {"submit", "eligible"} or job.get("start") is None:
        return epoch
    if key == "start":
        return epoch if epoch is None else max(epoch, window[0])
    return window[1] if epoch is None else min(epoch, window[1])


def energy(job: Job, screen: Screen) -> str:
    """Return the energy to which the carbon belongs; `~` before it says that it, or a part of it, was estimated."""
    measured, estimated = job.get("energy_uj"), job.get("estimated_uj")
    if measured is None and estimated is None:
        return ""
    amount = units.energy((measured or 0) + (estimated or 0), screen.energy_unit)
    return _tilde(job) + amount + _mark(job, screen)


def carbon(job: Job, screen: Screen) -> str:
    """Return the location-based emissions, with `~` where energy was estimated."""
    ug = job.get("carbon_ug")
    return "" if ug is None else _tilde(job) + units.carbon(ug, screen.carbon_unit) + _mark(job, screen)


def _tilde(job: Job) -> str:
    return ESTIMATED_MARK if job.get("estimated_uj") else ""


def _mark(job: Job, screen: Screen) -> str:
    return f" ({SIMULATED})" if screen.mark_simulated and job.get("simulated") else ""


def held_s(job: Job, screen: Screen) -> int | None:
    """Return the seconds that a job has held its nodes, in the window of -T: Slurm's Elapsed stands still while a job is
    suspended, and its nodes go on drawing power.
    """
    start, end = job.get("start"), job.get("end") or screen.now
    if start is None or not end:
        elapsed: int | None = job.get("elapsed_s")
        return elapsed
    first, last = int(start), int(end)
    if screen.window is not None:
        first, last = max(first, screen.window[0]), min(last, screen.window[1], screen.now or last)
    return max(0, last - first)


def average_power(job: Job, screen: Screen) -> str:
    """Return the measured energy over the time held, in watts."""
    uj, seconds = job.get("energy_uj"), held_s(job, screen)
    if uj is None or not seconds:
        return ""
    tenths = units.decimal(uj, seconds * UJ_PER_J, 1)
    return units.three_digits(uj, seconds * UJ_PER_J) if uj and tenths == "0.0" else tenths


def cpu_time_s(job: Job) -> int | None:
    """Return Slurm's CPUTime: Elapsed times the CPUs that were given."""
    elapsed, cpus = job.get("elapsed_s"), job.get("ncpus")
    return None if elapsed is None or cpus is None else elapsed * cpus


def cpu_time(job: Job, _: Screen) -> str:
    """Return CPUTime as a duration."""
    return timespec.show_duration(cpu_time_s(job))


def cpu_time_raw(job: Job, _: Screen) -> str:
    """Return CPUTime in seconds."""
    seconds = cpu_time_s(job)
    return "" if seconds is None else str(seconds)


def total_cpu(job: Job, _: Screen) -> str:
    """Return the metered CPU time as sacct writes TotalCPU: `MM:SS.mmm` below an hour."""
    used = job.get("cpu_us")
    if used is None:
        return ""
    seconds = used // US_PER_S
    if seconds >= 3600:
        return timespec.show_duration(seconds)
    return f"{seconds // 60:02}:{seconds % 60:02}.{used % US_PER_S // 1000:03}"


def cpu_efficiency(job: Job, _: Screen) -> str:
    """Return the metered CPU time over the CPU time held, in percent."""
    used, held = job.get("cpu_us"), job.get("core_us")
    return "" if used is None or not held else units.decimal(used * 100, held, 1)


def time_limit_minutes(job: Job, _: Screen) -> str:
    """Return the time limit in minutes."""
    seconds = job.get("timelimit_s")
    return "" if seconds is None else str(seconds // 60)


def nodes_held(job: Job, _: Screen) -> str:
    """Return the number of nodes that the job was given: 0 while it has none."""
    nodes = job.get("nnodes")
    return "" if nodes is None else str(nodes if job.get("nodelist") else 0)


def sci(job: Job, _: Screen) -> str:
    """Return the SCI score; none without embodied emissions, because the standard has them in every score."""
    operational, embodied = job.get("carbon_ug"), job.get("embodied_ug")
    return "" if operational is None or embodied is None else units.grams(operational + embodied)


def coverage(job: Job, _: Screen) -> str:
    """Return the coverage in percent, rounded down: 100.0 is all of the job, not nearly all of it."""
    covered = job.get("coverage")
    return "" if covered is None else f"{int(covered * 10 + 1e-9) / 10:.1f}"


def intensity(job: Job, _: Screen) -> str:
    """Return the intensity in g/kWh."""
    value = job.get("intensity_g_per_kwh")
    return "" if value is None else f"{float(value):.2f}"


def pue(job: Job, _: Screen) -> str:
    """Return the PUE."""
    value = job.get("pue")
    return "" if value is None else f"{float(value):g}"


def quality(job: Job, _: Screen) -> str:
    """Return the quality in one word; `sim` stands before all others."""
    return SIMULATED_WORD if job.get("simulated") else escaped(string(job, "quality"))


def quality_notes(job: Job, _: Screen) -> str:
    """Return the reasons of the quality. Of simulated figures the quality that they would have is one of them."""
    notes = together(job.get("notes") or ())
    if job.get("simulated"):
        word = escaped(string(job, "quality"))
        notes = [SIMULATED, *[word] * (word not in ("", "measured")), *notes]
    return "; ".join(notes)


def together(notes: Iterable[object]) -> list[str]:
    """Return notes with one cause joined: `cpu: gap` and `dram: gap` become `cpu, dram: gap`."""
    components: dict[str, list[str]] = {}
    for note in notes:
        component, colon, reason = escaped(str(note)).partition(": ")
        components.setdefault(reason if colon else "", []).append(component)
    alone = components.pop("", [])
    return alone + [f"{', '.join(names)}: {reason}" for reason, names in components.items()]
