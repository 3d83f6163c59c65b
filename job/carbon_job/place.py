# SPDX-License-Identifier: MIT
"""Finds where the process runs: its job and rank in Slurm, the live file of the node, the aggregators.

Everything comes from Slurm's environment variables, from `CARBON_ACCT_*`, and from carbon-acct.conf where users may
read it. A setting in the environment wins.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

CONFIGURATION = "/etc/carbon-acct/carbon-acct.conf"
RUN_DIR = "/run/carbon-acct"
SETTINGS = {
    "run_dir": ("CARBON_ACCT_RUN_DIR", "collector"),
    "aggregators": ("CARBON_ACCT_AGGREGATORS", "collector"),
    "zone": ("CARBON_ACCT_ZONE", "site"),
    "pue": ("CARBON_ACCT_PUE", "site"),
    "munge_socket": ("CARBON_ACCT_MUNGE_SOCKET", "slurm"),
    "listen": ("CARBON_ACCT_LISTEN", "aggregator"),
}
"""Setting -> variable that wins, section of carbon-acct.conf."""


class Place(NamedTuple):
    """Where a process runs."""

    job_id: str
    """Slurm's JobID; empty outside a job."""
    name: str
    partition: str
    node: str
    nodes: int
    rank: int
    """SLURM_PROCID: the process 0 reports."""
    local_rank: int
    """SLURM_LOCALID: the process 0 of a node reads its live file."""
    tasks: int
    step: str
    """JobID.StepID as scancel takes it; empty in a batch script."""
    restarts: int
    end_s: float | None
    """Unix time of the job's time limit; None where Slurm does not say."""
    live_dir: str
    aggregators: tuple[str, ...] = ()
    zone: str = ""
    pue: float | None = None
    munge_socket: str = ""
    devices: str = ""
    """GPUs of the job on this node as Slurm names them, e.g. `a100:4`; empty where there are none."""

    @property
    def missing(self) -> str:
        """Say in one line what keeps energy from being read here; empty where nothing does."""
        if not self.job_id:
            return "not inside a Slurm job (SLURM_JOB_ID is not set): no energy"
        if not os.path.isdir(self.live_dir):
            return f"{self.live_dir} does not exist: no energy; does carbon-collector run on this node? (in a container: --bind {self.live_dir})"
        return ""


def find(environ: Mapping[str, str] | None = None) -> Place:
    """Return where the process runs, by `environ` (the process's own where None)."""
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
    """A plain PUE; one with dates is left to the aggregator."""
    try:
        pue = float(text)
    except ValueError:
        return None
    return pue if pue >= 1 else None


def _settings(env: Mapping[str, str]) -> dict[str, str]:
    """Settings that concern a job. A file that is missing, unreadable or wrong changes nothing."""
    path = env.get("CARBON_ACCT_CONF") or CONFIGURATION
    found: dict[str, str] = {}
    if os.access(path, os.R_OK):
        import configparser

        parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=("#", ";"), strict=False)
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            parser.clear()
        found = {key: parser.get(section, key, fallback="") for key, (_, section) in SETTINGS.items()}
    for key, (variable, _) in SETTINGS.items():
        if env.get(variable):
            found[key] = env[variable]
    return found
