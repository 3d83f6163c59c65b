# SPDX-License-Identifier: MIT
"""The one table of what carbon-acct can show of a job. `-o`, `-e`, the help, CSV and the man page are made from it.

A job is an object of the aggregator's `GET /v1/jobs` (docs/http-api.md), and `key` is the key of that object, which
--json shows. A value that is not known is an empty text, never 0.
"""

from __future__ import annotations

from carbon_collector.errors import UsageError
from carbon_collector.lean.typing import TYPE_CHECKING, NamedTuple
from carbon_collector.units import UJ_PER_J

from . import timespec, units
from .safe_text import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    Job = Mapping[str, Any]

DEFAULT_FORMAT = "JobID,JobName,User,Account,State,Elapsed,Energy,Carbon,Quality"
SIMULATED = "simulated"


class Screen(NamedTuple):
    """How values are shown: units, time format, the window to which -T cuts times, and the present time."""

    energy_unit: str = ""
    carbon_unit: str = ""
    time_format: str = ""
    window: tuple[int, int] | None = None
    now: int = 0
    mark_simulated: bool = False
    """Whether Energy and Carbon say `(simulated)` themselves, because no Quality column says it."""


class Field(NamedTuple):
    """One field. `right` aligns it to the right, as numbers are. `most` is the widest column that it gets by itself, 0
    for no limit.
    """

    name: str
    key: str
    doc: str
    show: Callable[[Job, Screen], str]
    right: bool = False
    most: int = 0


class Column(NamedTuple):
    """A field as it was asked for with -o. `width` is the number after `%`: negative is left-aligned, 0 fits the
    content.
    """

    field: Field
    width: int = 0


def _text(name: str, key: str, doc: str, most: int = 0) -> Field:
    return Field(name, key, doc, lambda job, _: escaped(_string(job, key)), False, most)


def _count(name: str, key: str, doc: str) -> Field:
    return Field(name, key, doc, lambda job, _: _string(job, key), True)


def _joules(name: str, key: str, doc: str) -> Field:
    def show(job: Job, _: Screen) -> str:
        uj = job.get(key)
        return "" if uj is None else str(units.rounded(uj, UJ_PER_J))

    return Field(name, key, f"{doc}, in joules", show, True)


def _grams(name: str, key: str, doc: str) -> Field:
    def show(job: Job, _: Screen) -> str:
        ug = job.get(key)
        return "" if ug is None else units.decimal(ug, units.UG_PER_G, 3)

    return Field(name, key, f"{doc}, in grams", show, True)


def _moment(name: str, key: str, doc: str) -> Field:
    def show(job: Job, screen: Screen) -> str:
        return timespec.show_time(_cut(job, key, screen.window), screen.time_format, screen.now)

    return Field(name, key, doc, show)


def _string(job: Job, key: str) -> str:
    value = job.get(key)
    return "" if value is None else str(value)


def _cut(job: Job, key: str, window: tuple[int, int] | None) -> int | None:
    """Return a job's time, cut to the window as sacct -T does: a job that goes on beyond the window ends with it."""
    epoch: int | None = job.get(key)
    if window is None or key == "submit" or job.get("start") is None:
        return epoch
    if key == "start":
        return epoch if epoch is None else max(epoch, window[0])
    return window[1] if epoch is None else min(epoch, window[1])


def _elapsed(job: Job, _: Screen) -> str:
    return timespec.show_duration(job.get("elapsed_s"))


def _energy(job: Job, screen: Screen) -> str:
    uj = job.get("energy_uj")
    return "" if uj is None else units.energy(uj, screen.energy_unit) + _mark(job, screen)


def _carbon(job: Job, screen: Screen) -> str:
    ug = job.get("carbon_ug")
    return "" if ug is None else units.carbon(ug, screen.carbon_unit) + _mark(job, screen)


def _mark(job: Job, screen: Screen) -> str:
    return f" ({SIMULATED})" if screen.mark_simulated and job.get("simulated") else ""


def _average_power(job: Job, _: Screen) -> str:
    uj, seconds = job.get("energy_uj"), job.get("elapsed_s")
    if uj is None or not seconds:
        return ""
    tenths = units.decimal(uj, seconds * UJ_PER_J, 1)
    return units.three_digits(uj, seconds * UJ_PER_J) if uj and tenths == "0.0" else tenths


def _sci(job: Job, _: Screen) -> str:
    operational, embodied = job.get("carbon_ug"), job.get("embodied_ug")
    # Without embodied emissions it is no SCI: the standard has them in every score.
    if operational is None or embodied is None:
        return ""
    return units.decimal(operational + embodied, units.UG_PER_G, 3)


def _coverage(job: Job, _: Screen) -> str:
    coverage = job.get("coverage")
    # Rounded down: 100.0 is all of the job, not nearly all of it.
    return "" if coverage is None else f"{int(coverage * 10 + 1e-9) / 10:.1f}"


def _intensity(job: Job, _: Screen) -> str:
    intensity = job.get("intensity_g_per_kwh")
    return "" if intensity is None else f"{float(intensity):.2f}"


def _pue(job: Job, _: Screen) -> str:
    pue = job.get("pue")
    return "" if pue is None else f"{float(pue):g}"


def _together(notes: Iterable[object]) -> list[str]:
    """Return notes with one cause joined: `cpu: gap` and `dram: gap` become `cpu, dram: gap`."""
    components: dict[str, list[str]] = {}
    for note in notes:
        component, colon, reason = escaped(str(note)).partition(": ")
        components.setdefault(reason if colon else "", []).append(component)
    alone = components.pop("", [])
    return alone + [f"{', '.join(names)}: {reason}" for reason, names in components.items()]


def _quality(job: Job, _: Screen) -> str:
    notes = [SIMULATED] * bool(job.get("simulated")) + _together(job.get("notes") or ())
    word = escaped(_string(job, "quality"))
    return f"{word} ({'; '.join(notes)})" if notes else word


FIELDS: tuple[Field, ...] = (
    _text(
        "JobID", "job_id", "Number of the job; of an array's task `<array>_<task>`, of a het job's part `<job>+<part>`"
    ),
    _count("JobIDRaw", "job_id_raw", "Number of the job, for array tasks and parts of het jobs as well"),
    _text("JobName", "name", "Name of the job; what does not print is shown as an escape", 24),
    _text("User", "user", "Name of the job's owner"),
    _text("Account", "account", "Account that the job ran under"),
    _text("Partition", "partition", "Partition that the job ran in"),
    _text("QOS", "qos", "Quality of service of the job"),
    _text("Cluster", "cluster", "Cluster that the job ran on"),
    _text("State", "state", "State of the job, as sacct says it"),
    _text("ExitCode", "exit_code", "Exit status and signal of the job, `<status>:<signal>`"),
    _count("Restarts", "restarts", "How often the job was requeued and started anew"),
    _moment("Submit", "submit", "When the job was submitted"),
    _moment("Start", "start", "When the job started; with --truncate not before the window"),
    _moment("End", "end", "When the job ended; with --truncate not after the window"),
    Field("Elapsed", "elapsed_s", "Run time of the job, `[days-]HH:MM:SS`", _elapsed, True),
    _count("ElapsedRaw", "elapsed_s", "Run time of the job in seconds"),
    _count("NNodes", "nnodes", "Number of nodes that the job was given"),
    _count("NCPUS", "ncpus", "Number of CPUs that the job was given"),
    _text("AllocTRES", "alloc_tres", "Trackable resources that the job was given", 40),
    _text("NodeList", "nodelist", "Nodes that the job ran on", 32),
    Field("Energy", "energy_uj", "Measured energy, for people: `1.25kWh`; --units sets the unit", _energy, True),
    _joules("EnergyRaw", "energy_uj", "Measured energy, the sum of its known components"),
    _joules("CPUEnergyRaw", "cpu_uj", "Energy of the CPU packages"),
    _joules("DRAMEnergyRaw", "dram_uj", "Energy of the memory"),
    _joules("GPUEnergyRaw", "gpu_uj", "Energy of the GPUs that the job held"),
    _joules(
        "OtherEnergyRaw", "other_uj", "The job's part of the rest of its nodes, where a meter counts the whole node"
    ),
    _joules("StaticEnergyRaw", "static_uj", "The part of EnergyRaw that was given by allocation, not by use"),
    _joules(
        "EstimatedEnergyRaw", "estimated_uj", "Energy that nobody measured and that was estimated; not in EnergyRaw"
    ),
    Field("AvePower", "energy_uj", "Measured energy over run time, in watts", _average_power, True),
    _joules("FacilityEnergyRaw", "facility_uj", "Measured and estimated energy times PUE"),
    Field("PUE", "pue", "Power usage effectiveness that was applied to the job", _pue, True),
    Field(
        "Carbon",
        "carbon_ug",
        "Location-based emissions (CO2e), for people: `320g`; --units sets the unit",
        _carbon,
        True,
    ),
    _grams("CarbonRaw", "carbon_ug", "Location-based emissions (CO2e)"),
    _grams("CarbonMarketRaw", "carbon_market_ug", "Market-based emissions (CO2e), by the site's contract"),
    _grams("EmbodiedRaw", "embodied_ug", "The job's part of what making the hardware emitted (CO2e)"),
    Field(
        "Intensity",
        "intensity_g_per_kwh",
        "Carbon intensity of the grid in g/kWh, weighted by energy",
        _intensity,
        True,
    ),
    _text("IntensitySource", "intensity_source", "Where the carbon intensity comes from"),
    _text("Zone", "zone", "Zone of the grid that feeds the nodes"),
    Field("Coverage", "coverage", "Metered time over allocated time, in percent, rounded down", _coverage, True),
    Field("Quality", "quality", "`measured`, `partial`, `estimated` or `none`, and in brackets why", _quality),
    _grams("UpstreamRaw", "upstream_ug", "Upstream emissions of the fuels (CO2e; scope 3, category 3)"),
    _grams("TDRaw", "td_ug", "Emissions of what is lost in transmission and distribution (CO2e; scope 3, category 3)"),
    Field(
        "SCI",
        "embodied_ug",
        "SCI score (ISO/IEC 21031) in grams per job: CarbonRaw and EmbodiedRaw together. Boundary: the metered components"
        " of the job's nodes, times PUE, and the hardware that it held",
        _sci,
        True,
    ),
)


def columns(text: str) -> list[Column]:
    """Return the columns that `JobID,user,Energy%-12` names. Case is ignored, and a name may be shortened. Raises
    UsageError.
    """
    chosen: list[Column] = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, percent, width = word.partition("%")
        if percent and (not width.removeprefix("-").isdecimal() or int(width) == 0):
            raise UsageError(f"-o {word}: after % comes the width of the column, e.g. {name}%20 or {name}%-20")
        wanted = FIELDS if name.lower() == "all" else [field(name)]
        chosen += [Column(each, int(width or 0)) for each in wanted]
    if not chosen:
        raise UsageError("-o names no field; carbon-acct -e lists them")
    return chosen


def field(name: str) -> Field:
    """Return the field called `name`, else the first whose name begins with it, as sacct does. Raises UsageError."""
    lower = name.lower()
    for each in FIELDS:
        if each.name.lower() == lower:
            return each
    for each in FIELDS:
        if lower and each.name.lower().startswith(lower):
            return each
    import difflib

    names = {each.name.lower(): each.name for each in FIELDS}
    close = difflib.get_close_matches(lower, names, 1, 0.5)
    raise UsageError(f"unknown field {name!r}{f'; did you mean {names[close[0]]}?' if close else ''} (-e lists them)")


def names_in_rows() -> str:
    """Return the names of all fields, four in a row, as sacct -e prints them."""
    names = [each.name for each in FIELDS]
    return "\n".join(" ".join(f"{n:<19}" for n in names[i : i + 4]).rstrip() for i in range(0, len(names), 4))
