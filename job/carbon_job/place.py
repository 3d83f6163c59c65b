# SPDX-License-Identifier: MIT
"""Finds where the process runs: its job and rank in Slurm, the live file of the node, the aggregators.

It reads Slurm's environment variables, `CARBON_ACCT_*`, and carbon-acct.conf if users may read it. A variable overrides
the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from .lean import NamedTuple

CONFIGURATION = "/etc/carbon-acct/carbon-acct.conf"
RUN_DIR = "/run/carbon-acct"
LISTEN = "127.0.0.1:6829"
"""The default of [aggregator] listen, which holds where carbon-acct.conf can be read and names no aggregator."""
SETTINGS = {
    "run_dir": ("CARBON_ACCT_RUN_DIR", "collector"),
    "aggregators": ("CARBON_ACCT_AGGREGATORS", "collector"),
    "zone": ("CARBON_ACCT_ZONE", "site"),
    "pue": ("CARBON_ACCT_PUE", "site"),
    "munge_socket": ("CARBON_ACCT_MUNGE_SOCKET", "slurm"),
    "listen": ("CARBON_ACCT_LISTEN", "aggregator"),
}
"""The settings: for each the variable that overrides it, and its section in carbon-acct.conf."""


class Place(NamedTuple):
    """The place where a process runs."""

    job_id: str
    """Slurm's JobID; empty outside a job."""
    name: str
    partition: str
    node: str
    nodes: int
    rank: int
    """The rank, SLURM_PROCID. Process 0 reports."""
    local_rank: int
    """The rank on the node, SLURM_LOCALID. Process 0 of a node reads its live file."""
    tasks: int
    step: str
    """The step, JobID.StepID, as scancel takes it; empty in a batch script."""
    restarts: int
    end_s: float | None
    """The Unix time of the job's time limit; None if Slurm does not state it."""
    live_dir: str
    aggregators: tuple[str, ...] = ()
    zone: str = ""
    pue: float | None = None
    munge_socket: str = ""
    devices: str = ""
    """The GPUs of the job on this node as Slurm names them, e.g. `a100:4`; empty without GPUs."""

    @property
    def missing(self) -> str:
        """Return in one line why no energy can be read here, or an empty text if it can."""
        if not self.job_id:
            return "not inside a Slurm job (SLURM_JOB_ID is not set): no energy"
        if not os.path.isdir(self.live_dir):
            return f"{self.live_dir} does not exist: no energy; does carbon-collector run on this node? (in a container: --bind {self.live_dir})"
        return ""


def find(environ: Mapping[str, str] | None = None) -> Place:
    """Return the place of the process that has the environment `environ`, by default this one."""
    env = os.environ if environ is None else environ
    node = env.get("SLURMD_NODENAME") or os.uname().nodename.partition(".")[0]
    conf = _settings(env)
    run_dir = (conf.get("run_dir") or RUN_DIR).replace("%n", node)
    job_id = env.get("SLURM_JOB_ID", "")
    in_step = "SLURM_PROCID" in env and env.get("SLURM_STEP_ID", "") not in ("", "4294967291")  # SLURM_BATCH_SCRIPT
    return Place(
        job_id=job_id if job_id.isdigit() else "",
        name=env.get("SLURM_JOB_NAME", ""),
        partition=env.get("SLURM_JOB_PARTITION", ""),
        node=node,
        # A batch script tracks the whole job: its nodes are the job's. A step has its own.
        nodes=max(1, _number(env, "SLURM_STEP_NUM_NODES" if in_step else "SLURM_JOB_NUM_NODES", 1)),
        # torchrun and Lightning start the ranks of a node from one task of Slurm, and number them so.
        rank=_number(env, "SLURM_PROCID", 0) or _number(env, "RANK", 0) or _number(env, "LOCAL_RANK", 0),
        local_rank=_number(env, "SLURM_LOCALID", 0) or _number(env, "LOCAL_RANK", 0),
        tasks=max(1, _number(env, "SLURM_STEP_NUM_TASKS" if in_step else "", 1)),
        step=f"{job_id}.{env['SLURM_STEP_ID']}" if in_step else "",
        restarts=_number(env, "SLURM_RESTART_COUNT", 0),
        end_s=_number(env, "SLURM_JOB_END_TIME", 0) or None,
        live_dir=f"{run_dir}/live",
        aggregators=_urls(conf),
        zone=conf.get("zone", ""),
        pue=_pue(conf.get("pue", "")),
        munge_socket=conf.get("munge_socket", ""),
        devices=env.get("SLURM_GPUS_ON_NODE", "") or env.get("SLURM_JOB_GPUS", ""),
    )


def _number(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, "")
    return int(text) if text.isdigit() else default


def _urls(conf: Mapping[str, str]) -> tuple[str, ...]:
    urls = tuple(conf.get("aggregators", "").replace(",", " ").split())
    return urls or ((f"http://{conf['listen']}",) if conf.get("listen") else ())


def _pue(text: str) -> float | None:
    """Return a plain PUE, or None for one with dates, which the aggregator applies."""
    try:
        pue = float(text)
    except ValueError:
        return None
    return pue if pue >= 1 else None


def _settings(env: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that concern a job. A file that is missing, unreadable or wrong is ignored."""
    try:
        with open(env.get("CARBON_ACCT_CONF") or CONFIGURATION, encoding="utf-8") as file:
            values = {("aggregator", "listen"): LISTEN, **parse(file.read())}
    except (OSError, UnicodeDecodeError):
        values = {}
    found = {key: values.get((section, key), "") for key, (_, section) in SETTINGS.items()}
    for key, (variable, _) in SETTINGS.items():
        if env.get(variable):
            found[key] = env[variable]
    return found


def parse(text: str) -> dict[tuple[str, str], str]:
    """Return the values of carbon-acct.conf by section and key, read as the collector reads it: one line each.

    The first of two values holds. A line that is neither a section nor a value is ignored. configparser would take
    longer than all the rest of `track()`.
    """
    found: dict[tuple[str, str], str] = {}
    section = ""
    for line in text.splitlines():
        content = _without_comment(line)
        if content.startswith("[") and content.endswith("]"):
            section = content[1:-1].strip()
            continue
        cut = min((at for at in (content.find("="), content.find(":")) if at > 0), default=-1)
        if cut > 0 and section:
            found.setdefault((section, content[:cut].strip().lower()), content[cut + 1 :].strip())
    return found


def _without_comment(line: str) -> str:
    """Return a line without its comment. A comment begins the line or follows a blank."""
    for at, char in enumerate(line):
        if char in "#;" and (at == 0 or line[at - 1] in " \t"):
            return line[:at].strip()
    return line.strip()
