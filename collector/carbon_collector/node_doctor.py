# SPDX-License-Identifier: MIT
"""`carbon-collector probe --doctor`: shows what on this node would make a figure unknown, and the line to change.

It looks at the meters, the cgroups, slurm.conf as scontrol shows it, the folders, MUNGE, the hooks, and whether an
aggregator answers from here. It changes nothing.
"""

from __future__ import annotations

import glob
import os
import subprocess

from . import claim, http, munge, slurm_node
from .errors import CarbonError, RequestError
from .host import read_text
from .lean.typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Any

    from .cgroups import Cgroups
    from .settings import Settings

TIMEOUT_S = 15.0
LOW_SPACE = 64 << 20
"""Bytes of free space below which a folder is as good as full."""
HOOK = "carbon-acct"
"""Part of the name of the project's hooks, wherever a site puts them."""


class Finding(NamedTuple):
    """One finding: what it is about, whether that is well, what was found, and the line to change."""

    subject: str
    well: bool
    text: str
    change: str = ""


def examine(facts: dict[str, Any], chosen: Settings, cgroups: Cgroups) -> list[Finding]:
    """Return everything that was found. `facts` are those of the probe."""
    config = slurm_config()
    return [
        *meters(facts),
        *cgroup_files(cgroups, facts["jobs"], config),
        *slurm(config, chosen.text("site", "cluster")),
        *several_slurmd(slurm_says("show", "aliases"), chosen),
        *hooks(config),
        *folders(chosen),
        credential(chosen.text("slurm", "munge_socket")),
        aggregator(chosen.aggregators()),
    ]


def page(findings: list[Finding]) -> str:
    """Return the findings for people, a line each and a line for what to change."""
    lines = []
    for one in findings:
        lines.append(f"{'ok ' if one.well else 'BAD'}  {one.subject}: {one.text}")
        if one.change:
            lines.append(f"     -> {one.change}")
    return "\n".join(lines)


def meters(facts: dict[str, Any]) -> list[Finding]:
    """Look at the components: which source each has, and what could make it have one."""
    found = []
    used = {source["component"]: source["source"] for source in facts["sources"] if source["used"]}
    why = {source["component"]: source for source in reversed(facts["sources"]) if not source["used"]}
    for component in ("cpu", "dram", "gpu", "other"):
        if component in used:
            text = f"{component} from {used[component]}"
            is_model = used[component] == "model"
            change = "RAPL: modprobe intel_rapl_msr (bare metal only)" if is_model and component == "cpu" else ""
            found.append(Finding("meters", True, f"{text}{', an estimate' if is_model else ''}", change))
        elif component in ("cpu", "dram"):
            reason = why.get(component, {"why": "no source"})["why"]
            found.append(Finding("meters", False, f"{component} is unknown: {reason}", _meter_change(reason)))
        elif component == "gpu" and component in why and not why[component]["why"].startswith("no "):
            found.append(
                Finding("meters", False, f"gpu is unknown: {why[component]['why']}", "nvidia-smi must work as root")
            )
    silent = [d["name"] for d in facts["domains"] if d["energy_uj"] is None]
    found += [Finding("meters", False, f"{name} is there and cannot be read") for name in silent]
    return found


def _meter_change(reason: str) -> str:
    if "ermission" in reason:
        return "run the collector as root: energy_uj is root's alone since CVE-2020-8694"
    return "[collector] meters: allow `model`, or load the kernel module (modprobe intel_rapl_msr)"


def cgroup_files(cgroups: Cgroups, jobs: list[dict[str, Any]], config: dict[str, str]) -> list[Finding]:
    """Look at what Slurm's cgroups show of CPU time and memory."""
    parents = cgroups.parents()
    if not parents:
        tracked = config.get("ProctrackType", "")
        if tracked and tracked != "proctrack/cgroup":
            text = f"no job has a cgroup: ProctrackType={tracked}"
            return [Finding("cgroups", False, text, "slurm.conf: ProctrackType=proctrack/cgroup")]
        return [Finding("cgroups", True, "Slurm has made none yet; look again while a job runs")]
    found = [Finding("cgroups", True, f"version {cgroups.version}, jobs are below {', '.join(parents)}")]
    if cgroups.version == 1:
        gather = config.get("JobAcctGatherType", "")
        if gather and gather != "jobacct_gather/cgroup":
            text = f"CPU time of jobs is unknown: JobAcctGatherType={gather} makes no cpuacct cgroup"
            found.append(Finding("cgroups", False, text, "slurm.conf: JobAcctGatherType=jobacct_gather/cgroup"))
        if not os.path.isdir(f"{cgroups.root}/memory"):
            text = "memory of jobs is unknown: the kernel has no memory controller"
            found.append(Finding("cgroups", False, text, "kernel command line: cgroup_enable=memory"))
    else:
        found += _controllers(cgroups.root, parents[0])
    for job in jobs:
        bad = [kind for kind in ("cpu", "memory") if not job[kind].startswith("/") and "no step" not in job[kind]]
        found += [Finding("jobs", False, f"{kind} of job {job['job']}: {job[kind]}") for kind in bad]
    return found


def _controllers(root: str, parent: str) -> list[Finding]:
    if "memory" not in read_text(f"{root}/cgroup.controllers").split():
        text = "memory of jobs is unknown: the kernel has no memory controller"
        return [Finding("cgroups", False, text, "kernel command line: cgroup_enable=memory")]
    if "memory" not in read_text(f"{parent}/cgroup.subtree_control").split():
        text = "memory of jobs is unknown: Slurm does not use the memory controller"
        return [Finding("cgroups", False, text, "cgroup.conf: ConstrainRAMSpace=yes")]
    return []


def slurm_config() -> dict[str, str]:
    """Return slurm.conf as `scontrol show config` has it; empty where it does not answer."""
    return parse_config(slurm_says("show", "config"))


def slurm_says(*question: str) -> str:
    """Return what scontrol answers; empty where it does not answer."""
    program = next((f"{place}/scontrol" for place in slurm_node.PLACES if os.access(f"{place}/scontrol", os.X_OK)), "")
    if not program:
        return ""
    try:
        done = subprocess.run([program, *question], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def parse_config(text: str) -> dict[str, str]:
    """Return key to value; several lines of a key (`Prolog[0]`, Slurm 24.05 and later) are joined with commas."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, sign, value = line.partition("=")
        key = key.strip().partition("[")[0]
        if sign and key and value.strip() not in ("", "(null)"):
            found[key] = f"{found[key]},{value.strip()}" if key in found else value.strip()
    return found


def slurm(config: dict[str, str], cluster: str = "") -> list[Finding]:
    """Look at the settings of Slurm that the figures rest on. `cluster`: what [site] cluster says."""
    if not config and not cluster:
        text = "nobody says which cluster this is, and nothing is sent before the first ticket does"
        return [Finding("slurm", False, text, "[site] cluster = NAME in carbon-acct.conf, or have scontrol work here")]
    if not config:
        text = "scontrol show config does not answer: slurm.conf was not looked at"
        return [Finding("slurm", False, text, "run it on a node where scontrol works; see slurmctld")]
    if cluster and config.get("ClusterName", cluster) != cluster:
        text = f"[site] cluster is {cluster}, Slurm's is {config['ClusterName']}: no aggregator takes what is sent"
        return [Finding("slurm", False, text, f"[site] cluster = {config['ClusterName']}, or no such line")]
    found = [Finding("slurm", True, f"cluster {config.get('ClusterName', '?')}, {config.get('SLURM_VERSION', '?')}")]
    flags = config.get("PrologFlags", "")
    if not {"alloc", "contain", "runinjob"} & set(flags.lower().split(",")):
        text = "a job's first moments on nodes without a step are not metered: the prolog runs with the first step"
        found.append(Finding("slurm", False, text, "slurm.conf: PrologFlags=Alloc"))
    return found


def several_slurmd(aliases: str, chosen: Settings) -> list[Finding]:
    """Look whether this host is several of Slurm's nodes: its meters cannot be told apart by node.

    `aliases`: the NodeNames of this host, as `scontrol show aliases` has them.
    """
    change = "one slurmd a host, or see carbon-collector(8), SEVERAL SLURMD"
    names, found = aliases.split(), []
    if len(names) > 1:
        text = f"this host is the nodes {', '.join(names)}: jobs of one of them are metered, those of the others are unknown"
        found.append(Finding("slurmd", False, text, change))
    meters_of = claim.holder(chosen.text("collector", "sysfs"))
    if meters_of and meters_of != read_text(f"{chosen.text('collector', 'run_dir')}/collector.pid"):
        text = f"the meters of this host are read by another collector (process {meters_of}): jobs of this node are unknown"
        found.append(Finding("slurmd", False, text, change))
    return found


def hooks(config: dict[str, str]) -> list[Finding]:
    """Look at prolog and epilog: ours are configured, here, and executable, and so is all that a glob matches."""
    found = []
    for key in ("Prolog", "Epilog") if config else ():
        patterns = [one for one in config.get(key, "").split(",") if one]
        paths = [path for pattern in patterns for path in sorted(glob.glob(pattern)) or [pattern]]
        broken = [path for path in paths if path.startswith("/") and not os.access(path, os.R_OK | os.X_OK)]
        if broken:
            text = f"{broken[0]} is not there or not executable: slurmd drains the node"
            found.append(Finding("hooks", False, text, f"chmod 755 {broken[0]}, or take it out of {key}="))
        if not any(HOOK in os.path.realpath(path) or HOOK in path for path in paths):
            text = (
                f"{key}={config.get(key, '')} runs no script of carbon-acct: jobs are found late, by their cgroups only"
            )
            found.append(Finding("hooks", False, text, f"slurm.conf: {key}=/etc/slurm/{key.lower()}.d/*.sh"))
        elif not broken:
            found.append(Finding("hooks", True, f"{key}: {', '.join(paths)}"))
    return found


def folders(chosen: Settings) -> list[Finding]:
    """Look at the folders that the collector writes to."""
    found = []
    for key in ("run_dir", "state_dir", "spool_dir"):
        path = chosen.text("collector", key)
        there = path
        while there != "/" and not os.path.exists(there):
            there = os.path.dirname(there)
        setting = f"[collector] {key} = another folder"
        if not os.path.isdir(there):
            found.append(Finding("folders", False, f"{path}: {there} is no folder", setting))
        elif not os.access(there, os.W_OK | os.X_OK):
            found.append(Finding("folders", False, f"{path} cannot be written", setting))
        elif (free := _free(there)) < LOW_SPACE:
            found.append(Finding("folders", False, f"{path}: {free >> 20} MiB are free", setting))
        else:
            found.append(Finding("folders", True, f"{path}{'' if there == path else ' will be made'}"))
    return found


def _free(path: str) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def credential(socket: str) -> Finding:
    """Look whether MUNGE makes a credential."""
    try:
        munge.encode("doctor", socket)
    except CarbonError as err:
        return Finding("munge", False, f"{err}", "systemctl start munge; the key must be the cluster's")
    return Finding("munge", True, "makes credentials")


def aggregator(urls: list[str]) -> Finding:
    """Look whether an aggregator answers from here."""
    faults = []
    for url in urls:
        try:
            answer = http.request("GET", url, "/healthz", b"", {}, timeout_s=5.0, most=1 << 16)
        except RequestError as err:
            faults.append(str(err))
            continue
        if answer.status == 200:
            return Finding("aggregator", True, f"{url} answers")
        faults.append(f"{url} answers {answer.status}")
    change = "[collector] aggregators = http://HOST:6829, and [aggregator] listen on that host"
    return Finding("aggregator", False, "; ".join(faults) or "none is named", change)
