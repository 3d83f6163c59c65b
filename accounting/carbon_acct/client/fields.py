# SPDX-License-Identifier: MIT
"""The one table of what carbon-acct can show of a job. `-o`, `-e`, the help, CSV and the man page are made from it.

A job is an object of the aggregator's `GET /v1/jobs` (docs/http-api.md), and `key` is the key of that object, which
--json shows. A value that is not known is an empty text, never 0.
"""

from __future__ import annotations

from carbon_collector.errors import UsageError
from carbon_collector.lean.typing import TYPE_CHECKING, NamedTuple

from . import cells
from .cells import SIMULATED, Screen

if TYPE_CHECKING:
    from .cells import Show

__all__ = ["FIELDS", "SIMULATED", "Column", "Field", "Screen", "columns", "field", "names_in_rows"]

DEFAULT_FORMAT = "JobID,JobName,User,Account,State,Elapsed,Energy,Carbon,Quality"
BRIEF_FORMAT = "JobID,State,ExitCode"
"""What -b shows: sacct's fields."""
LONG_FORMAT = (
    "JobID,JobIDRaw,JobName,Partition,AllocCPUS,Elapsed,State,ExitCode,Energy,EnergyRaw,CPUEnergyRaw,DRAMEnergyRaw,"
    "GPUEnergyRaw,OtherEnergyRaw,StaticEnergyRaw,EstimatedEnergyRaw,GPUIdleEnergyRaw,CPUUnusedEnergyRaw,AvePower,"
    "FacilityEnergyRaw,PUE,Carbon,CarbonRaw,CarbonMarketRaw,EmbodiedRaw,UpstreamRaw,TDRaw,SCI,Intensity,IntensitySource,"
    "Zone,Coverage,Quality,QualityNotes"
)
"""What -l shows: every field of energy and carbon, where sacct -l has those of memory and disks."""


class Field(NamedTuple):
    """One field. `right` aligns it to the right, as numbers are. `most` is the widest column that it gets by itself, 0
    for no limit. `least` is how far the default table may shorten it to fit a terminal, 0 for not at all.
    """

    name: str
    key: str
    doc: str
    show: Show
    right: bool = False
    most: int = 0
    least: int = 0


class Column(NamedTuple):
    """A field as it was asked for with -o. `width` is the number after `%`: negative is left-aligned, 0 fits the
    content.
    """

    field: Field
    width: int = 0


def _text(name: str, key: str, doc: str, most: int = 0, least: int = 0) -> Field:
    return Field(name, key, doc, cells.text(key), False, most, least)


def _count(name: str, key: str, doc: str) -> Field:
    return Field(name, key, doc, cells.count(key), True)


def _joules(name: str, key: str, doc: str) -> Field:
    return Field(name, key, f"{doc}, in joules", cells.joules(key), True)


def _grams(name: str, key: str, doc: str) -> Field:
    return Field(name, key, f"{doc}, in grams", cells.grams(key), True)


def _moment(name: str, key: str, doc: str) -> Field:
    return Field(name, key, doc, cells.moment(key))


def _duration(name: str, key: str, doc: str) -> Field:
    return Field(name, key, doc, cells.duration(key), True)


FIELDS: tuple[Field, ...] = (
    _text(
        "JobID",
        "job_id",
        "Number of the job; of an array's task `<array>_<task>`, of a het job's part `<job>+<part>`",
        0,
        8,
    ),
    _count("JobIDRaw", "job_id_raw", "Number of the job, for array tasks and parts of het jobs as well"),
    _text("JobName", "name", "Name of the job; what does not print is shown as an escape", 24, 6),
    _text("User", "user", "Name of the job's owner", 0, 4),
    _text("Account", "account", "Account that the job ran under", 0, 4),
    _text("Partition", "partition", "Partition that the job ran in"),
    _text("QOS", "qos", "Quality of service of the job"),
    _text("Cluster", "cluster", "Cluster that the job ran on"),
    _text("State", "state", "State of the job, as sacct says it", 0, 9),
    _text("ExitCode", "exit_code", "Exit status and signal of the job, `<status>:<signal>`"),
    _count("Restarts", "restarts", "How often the job was requeued and started anew"),
    _moment("Submit", "submit", "When the job was submitted"),
    _moment("Start", "start", "When the job started; with --truncate not before the window"),
    _moment("End", "end", "When the job ended; with --truncate not after the window"),
    _duration("Elapsed", "elapsed_s", "Run time of the job without suspensions, `[days-]HH:MM:SS`"),
    _count("ElapsedRaw", "elapsed_s", "Run time of the job in seconds"),
    _count("NNodes", "nnodes", "Number of nodes that the job was given, or asked for while it waits"),
    _count("NCPUS", "ncpus", "Number of CPUs that the job was given, or asked for while it waits"),
    Field("AllocTRES", "alloc_tres", "Trackable resources that the job was given", cells.tres("alloc_tres"), False, 40),
    _text("NodeList", "nodelist", "Nodes that the job ran on", 32),
    Field(
        "Energy",
        "energy_uj",
        "Energy, for people: `1.25kWh`; `~4.2kWh` where it, or a part of it, was estimated. --units sets the unit",
        cells.energy,
        True,
    ),
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
    Field("AvePower", "energy_uj", "Measured energy over the time held, in watts", cells.average_power, True),
    _joules("FacilityEnergyRaw", "facility_uj", "Measured and estimated energy times PUE"),
    Field("PUE", "pue", "Power usage effectiveness that was applied to the job", cells.pue, True),
    Field(
        "Carbon",
        "carbon_ug",
        "Location-based emissions (CO2e), for people: `320g`; `~320g` where energy was estimated. --units sets the unit",
        cells.carbon,
        True,
    ),
    _grams("CarbonRaw", "carbon_ug", "Location-based emissions (CO2e)"),
    _grams("CarbonMarketRaw", "carbon_market_ug", "Market-based emissions (CO2e), by the site's contract"),
    _grams("EmbodiedRaw", "embodied_ug", "The job's part of what making the hardware emitted (CO2e)"),
    Field(
        "Intensity",
        "intensity_g_per_kwh",
        "Carbon intensity of the grid in g/kWh, weighted by energy",
        cells.intensity,
        True,
    ),
    _text("IntensitySource", "intensity_source", "Where the carbon intensity comes from"),
    _text("Zone", "zone", "Zone of the grid that feeds the nodes"),
    Field("Coverage", "coverage", "Metered time over allocated time, in percent, rounded down", cells.coverage, True),
    Field(
        "Quality",
        "quality",
        "`measured`, `partial`, `estimated`, `none`, or `sim` for simulated counters",
        cells.quality,
    ),
    _grams("UpstreamRaw", "upstream_ug", "Upstream emissions of the fuels (CO2e; scope 3, category 3)"),
    _grams("TDRaw", "td_ug", "Emissions of what is lost in transmission and distribution (CO2e; scope 3, category 3)"),
    Field(
        "SCI",
        "embodied_ug",
        "SCI score (ISO/IEC 21031) in grams per job: CarbonRaw and EmbodiedRaw together. Boundary: the metered components"
        " of the job's nodes, times PUE, and the hardware that it held",
        cells.sci,
        True,
    ),
    _count("UID", "uid", "Number of the job's owner"),
    _text("Group", "group", "Group that the job ran under"),
    _count("GID", "gid", "Number of the group that the job ran under"),
    _text("DerivedExitCode", "derived_exit_code", "Highest exit status of the job's steps, `<status>:<signal>`"),
    _text("Reason", "reason", "Why the job last waited"),
    _text("Comment", "comment", "Comment that the job was submitted with", 40),
    _text("WorkDir", "workdir", "Folder that the job was submitted for", 40),
    _moment("Eligible", "eligible", "When the job could start as far as it was up to its owner"),
    _duration("Suspended", "suspended_s", "Time that the job was suspended, `[days-]HH:MM:SS`"),
    _duration(
        "Timelimit", "timelimit_s", "Time that the job may run, `[days-]HH:MM:SS`; empty without a limit of its own"
    ),
    Field("TimelimitRaw", "timelimit_s", "Time that the job may run, in minutes", cells.time_limit_minutes, True),
    Field(
        "AllocNodes", "nnodes", "Number of nodes that the job was given; 0 while it has none", cells.nodes_held, True
    ),
    _count("ReqNodes", "req_nodes", "Number of nodes that the job asked for"),
    _count("AllocCPUS", "ncpus", "The same as NCPUS"),
    _count("ReqCPUS", "req_cpus", "Number of CPUs that the job asked for"),
    Field("CPUTime", "elapsed_s", "Elapsed times NCPUS, `[days-]HH:MM:SS`", cells.cpu_time, True),
    Field("CPUTimeRAW", "elapsed_s", "Elapsed times NCPUS, in seconds", cells.cpu_time_raw, True),
    Field("TotalCPU", "cpu_us", "CPU time that the job used, as the nodes metered it", cells.total_cpu, True),
    Field("CPUEff", "cpu_us", "TotalCPU over the CPU time that the job held, in percent", cells.cpu_efficiency, True),
    Field("ReqTRES", "req_tres", "Trackable resources that the job asked for", cells.tres("req_tres"), False, 40),
    _joules(
        "GPUIdleEnergyRaw", "gpu_idle_uj", "The part of GPUEnergyRaw that GPUs drew while they were held at idle power"
    ),
    _joules("CPUUnusedEnergyRaw", "cpu_unused_uj", "The part of CPUEnergyRaw of CPUs that were held and not used"),
    Field("QualityNotes", "notes", "The reasons of the quality", cells.quality_notes),
)

OF_SACCT = (
    *("Account", "AllocCPUS", "AllocNodes", "AllocTRES", "Cluster", "Comment", "CPUTime", "CPUTimeRAW"),
    *("DerivedExitCode", "Elapsed", "ElapsedRaw", "Eligible", "End", "ExitCode", "GID", "Group", "JobID", "JobIDRaw"),
    *("JobName", "NCPUS", "NNodes", "NodeList", "Partition", "QOS", "Reason", "ReqCPUS", "ReqNodes", "ReqTRES"),
    *("Restarts", "Start", "State", "Submit", "Suspended", "Timelimit", "TimelimitRaw", "TotalCPU", "UID", "User"),
    "WorkDir",
)
"""The fields that sacct has as well, in sacct's order: a shortened name means the first of these, as it does there."""

SLURMS_OWN = {"consumedenergyraw": "EnergyRaw", "consumedenergy": "Energy"}
"""Fields of sacct that are another figure: what Slurm's own plugin read of whole nodes."""


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
    """Return the field called `name`, else the first whose name begins with it, sacct's before our own. Raises
    UsageError.
    """
    lower = name.lower()
    by_name = {each.name.lower(): each for each in FIELDS}
    if lower in by_name:
        return by_name[lower]
    if lower.startswith("consumed") and (ours := next((SLURMS_OWN[n] for n in SLURMS_OWN if n.startswith(lower)), "")):
        raise UsageError(f"{name} is Slurm's own figure, of whole nodes; the job's own is {ours}")
    for known in (*map(str.lower, OF_SACCT), *by_name):
        if lower and known.startswith(lower):
            return by_name[known]
    import difflib

    close = difflib.get_close_matches(lower, by_name, 1, 0.5)
    hint = f"; did you mean {by_name[close[0]].name}?" if close else ""
    raise UsageError(f"unknown field {name!r}{hint} (-e lists them)")


def names_in_rows() -> str:
    """Return the names of all fields, four in a row, as sacct -e prints them."""
    names = [each.name for each in FIELDS]
    return "\n".join(" ".join(f"{n:<19}" for n in names[i : i + 4]).rstrip() for i in range(0, len(names), 4))
