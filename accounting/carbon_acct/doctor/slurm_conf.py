# SPDX-License-Identifier: MIT
"""Judges what Slurm runs with: the settings that the figures rest on, and nodes that a prolog or epilog has drained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from carbon_acct.doctor.facts import lines_of
from carbon_acct.doctor.finding import FIX, LOOK, OK, Finding, Patient
from carbon_acct.errors import SlurmError
from carbon_acct.slurm.hooks import KINDS, steps

REASONS = ("prolog", "epilog")
NAMED = 8


def settings(patient: Patient) -> Iterator[Finding]:
    """Yield a finding for each setting of slurm.conf that has to change, with the line, or one that all are right."""
    try:
        config = lines_of(patient.programs.run("scontrol", "show", "config"))
        version = patient.programs.version()
    except SlurmError:
        return  # another check has said so
    found = [*_hooks(config, version), *_cgroups(config)]
    yield from found or [Finding(OK, "slurm.conf", "Prolog, Epilog, PrologFlags, ProctrackType, JobAcctGatherType")]


def _hooks(config: Mapping[str, tuple[str, ...]], version: tuple[int, int]) -> Iterator[Finding]:
    """Yield findings on the hooks. What a glob matches is on the nodes: `carbon-collector probe --doctor` looks there."""
    for kind, step in zip((*KINDS, "PrologFlags"), steps(config, version), strict=True):
        now = f"{kind}={','.join(config[kind])}" if kind in config else f"no {kind} is set"
        if step.case == "flags":
            text = "the prolog runs with a job's first step, and what a node consumed before is not metered"
            yield Finding(LOOK, "slurm.conf", f"{now}: {text}: {step.line}")
        elif step.case == "unclear":
            yield Finding(LOOK, "slurm.conf", f"{now}: {step.why}")
        elif step.line and not any("carbon-acct" in one for one in config.get(kind, ())):
            how = f"replace it with {step.line}" if step.replaces else f"add {step.line}"
            advice = f"{how}, when each node has the files (docs/rollout.md)"
            yield Finding(LOOK, "slurm.conf", f"{now}, so jobs are noticed late: {advice}")


def _cgroups(config: Mapping[str, tuple[str, ...]]) -> Iterator[Finding]:
    tracked, gathered = (config.get(key, ("",))[0] for key in ("ProctrackType", "JobAcctGatherType"))
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
