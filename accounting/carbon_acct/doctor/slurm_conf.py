# SPDX-License-Identifier: MIT
"""Judges what Slurm runs with: the settings that the figures rest on, and nodes that a prolog or epilog has drained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from carbon_acct.doctor.finding import FIX, LOOK, OK, Finding, Patient
from carbon_acct.errors import SlurmError
from carbon_acct.slurm.programs import Programs

HOOK = "carbon-acct"
ALLOC = {"alloc", "contain", "x11", "runinjob"}
"""The flags with which slurmd runs the prolog at the allocation (slurm.conf(5), PrologFlags)."""
REASONS = ("prolog", "epilog")
NAMED = 8


def settings(patient: Patient) -> Iterator[Finding]:
    """Yield a finding for each setting of slurm.conf that has to change, with the line, or one that all are right."""
    try:
        config = running(patient.programs)
    except SlurmError:
        return  # another check has said so
    found = [*_hooks(config), *_flags(config), *_cgroups(config)]
    yield from found or [Finding(OK, "slurm.conf", "Prolog, Epilog, PrologFlags, ProctrackType, JobAcctGatherType")]


def running(programs: Programs) -> dict[str, str]:
    """Return what slurmctld runs with, by key. The lines of a setting that has several (`Prolog[0]`, Slurm 24.05 and
    newer) are joined by commas; what is not set is not in it. Raises SlurmError.
    """
    found: dict[str, str] = {}
    for line in programs.run("scontrol", "show", "config").splitlines():
        key, equals, value = (part.strip() for part in line.partition("="))
        name = key.partition("[")[0]
        if equals and value not in ("", "(null)"):
            found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _hooks(config: Mapping[str, str]) -> Iterator[Finding]:
    for kind in ("Prolog", "Epilog"):
        value, folder = config.get(kind, ""), f"/etc/slurm/{kind.lower()}.d"
        # What a glob matches is on the nodes: `carbon-collector probe --doctor` looks there.
        if any(HOOK in one or "*" in one or "?" in one for one in value.split(",")):
            continue
        line = f"{kind}={folder}/carbon-acct.sh"
        is_now = f"{kind}={value}, which is not ours" if value else f"no {kind} is set"
        advice = f"add {line}, when each node has the file: README.md says how beside a script of the site's own"
        yield Finding(LOOK, "slurm.conf", f"{is_now}, so jobs are noticed late: {advice}")


def _flags(config: Mapping[str, str]) -> Iterator[Finding]:
    flags = config.get("PrologFlags", "")
    if not ALLOC & set(flags.lower().split(",")):
        line = f"PrologFlags={flags + ',' if flags else ''}Alloc"
        text = "the prolog runs with a job's first step, and what a node consumed before is not metered"
        yield Finding(LOOK, "slurm.conf", f"{text}: {line}")


def _cgroups(config: Mapping[str, str]) -> Iterator[Finding]:
    tracked, gathered = config.get("ProctrackType", ""), config.get("JobAcctGatherType", "")
    if tracked and tracked != "proctrack/cgroup":
        text = f"ProctrackType={tracked}: jobs have no cgroups, so their use of shared nodes is not known"
        yield Finding(
            LOOK, "slurm.conf", f"{text}: ProctrackType=proctrack/cgroup, with slurmd restarted on idle nodes"
        )
    elif "ProctrackType" in config and gathered != "jobacct_gather/cgroup":
        text = f"JobAcctGatherType={gathered or 'none'}: on nodes with cgroup v1 the CPU time of jobs is not known"
        yield Finding(LOOK, "slurm.conf", f"{text}: JobAcctGatherType=jobacct_gather/cgroup (v2 needs nothing)")


def drained(patient: Patient) -> Iterator[Finding]:
    """Yield a finding for each reason of Slurm's that names a prolog or epilog, with the nodes that it drained."""
    try:
        text = patient.programs.run("sinfo", "-h", "-N", "-R", "-o", "%N|%T|%E")
    except SlurmError:
        return
    nodes: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _, rest = line.partition("|")
        state, bar, reason = rest.partition("|")
        if bar and "drain" in state and any(word in reason.lower() for word in REASONS):
            nodes.setdefault(" ".join(reason.split()), []).append(name)
    for reason, names in nodes.items():
        listed = sorted(set(names))
        first = ",".join(listed[:NAMED]) + (", ..." if len(listed) > NAMED else "")
        advice = (
            "slurmd's log there names the script; where it is ours, see that the file is on the node and executable"
            f" (`carbon-collector probe --doctor`), then scontrol update nodename={','.join(listed[:NAMED])} state=resume"
        )
        yield Finding(FIX, "drained", f"{len(listed)} nodes ({first}) are drained by {reason!r}: {advice}")
