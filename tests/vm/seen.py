# SPDX-License-Identifier: MIT
"""What a run of the emulated machine left behind: its result, the product's database, the simulator's truth."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from simulator import hardware
from simulator.truth import Allocation, JobTruth, Truth
from slurm.layout import Layout
from slurm.product import Product
from slurm.witness import Stay

CPUS = {"batch": 8, "shared": 2, "steps": 2, "killed": 2, "array": 1, "crashed": 2}
"""What a job of each kind holds on its node."""


@dataclass(frozen=True)
class Run:
    """One run of a job on one node, by everybody who saw it."""

    kind: str
    stay: Stay
    sluid: str
    ledgers: list[dict[str, Any]]
    slots: list[dict[str, Any]]
    job: dict[str, Any]
    """The run as carbon-acct shows it."""

    @property
    def cpu_uj(self) -> int | None:
        """Energy of the packages as the product has it."""
        known = [slot["cpu_uj"] for slot in self.slots if slot["cpu_uj"] is not None]
        return sum(known) if known else None


class Seen:
    """The results folder, read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.result: dict[str, Any] = json.loads((folder / "result.json").read_text())
        self.product = Product(SimpleNamespace(layout=Layout(folder)))  # type: ignore[arg-type]
        self.boots: list[dict[str, Any]] = self.result["boots"]
        self.stays = [Stay(**stay) for stay in self.result["stays"]]
        self.environment: dict[str, dict[str, str]] = self.result["environment"]
        self.sacct = [line.split("|") for line in self.result["sacct"].splitlines()[1:]]
        self._nodes = {node.name: node for node in hardware.load(folder / "hardware.json")}
        self.runs = [self._run(stay) for stay in self.stays]

    def of(self, kind: str) -> list[Run]:
        """The runs of the jobs of a kind."""
        return [run for run in self.runs if run.kind == kind]

    def truth(self, run: Run) -> JobTruth:
        """What a run truly consumed. Raises ValueError for one that the machine's crash cut off."""
        boot = self.boots[0] if run.stay.run == 0 else self.boots[1]
        log = Truth(self.folder / "truth" / boot["boot_id"], self._nodes[run.stay.node])
        return log.job(run.sluid, Allocation(CPUS[run.kind], run.stay.seconds))

    def error(self, run: Run) -> float | None:
        """By how much the product is off, as a part of the truth; None where either is not known."""
        if run.stay.end is None or run.cpu_uj is None:
            return None
        true = self.truth(run).cpu_uj
        return run.cpu_uj / true - 1

    def table(self) -> list[str]:
        """One line a run, and what the site's status says."""
        lines = [
            f"{'job':14} {'node':4} {'seconds':>7} {'CPU s':>6} {'truth J':>9} {'ours J':>9} {'error':>8} {'coverage':>8}  quality"
        ]
        lines += [self._line(run) for run in sorted(self.runs, key=lambda run: (run.stay.job_id, run.stay.run))]
        return ["", *lines, "", *self.result["status"][1].splitlines()]

    def _line(self, run: Run) -> str:
        ended = run.stay.end is not None
        name = f"{run.stay.job_id}.{run.stay.run} {run.kind}"
        true = self.truth(run) if ended else None
        seconds = f"{run.stay.seconds:.1f}" if ended else "crash"
        cpu = f"{sum(true.cpu_seconds):.1f}" if true else ""
        joules = [f"{uj / 1e6:.2f}" if uj is not None else "" for uj in (true.cpu_uj if true else None, run.cpu_uj)]
        error = self.error(run)
        off = "" if error is None else f"{error:+.2%}"
        coverage = run.job.get("coverage")
        shown = "" if coverage is None else f"{coverage:.1f}"
        quality = run.job.get("quality", "")
        return f"{name:14} {run.stay.node:4} {seconds:>7} {cpu:>6} {joules[0]:>9} {joules[1]:>9} {off:>8} {shown:>8}  {quality}"

    def _run(self, stay: Stay) -> Run:
        prolog = self.environment[f"{stay.job_id}.{stay.run}.{stay.node}.prolog"]
        sluid = prolog["SLURM_JOB_SLUID"]
        where = "l.job_id = ? and l.run = ? and n.name = ?"
        ledgers = self.product.rows(
            f"select l.* from ledger l join node n on n.id = l.node_id where {where}",
            *(stay.job_id, f"sluid:{sluid}", stay.node),
        )
        slots = [
            row
            for one in ledgers
            for row in self.product.rows("select * from node_job_slot where ledger_id = ?", one["id"])
        ]
        shown = [
            job
            for job in self.result["carbon_acct"]["jobs"]
            if (job["job_id_raw"], job["restarts"] or 0) == (stay.job_id, stay.run)
        ]
        return Run(self._kind(stay.job_id), stay, sluid, ledgers, slots, shown[0] if len(shown) == 1 else {})

    def _kind(self, raw_id: int) -> str:
        heads = {int(row[1]): int(row[0].partition("_")[0]) for row in self.sacct}
        job_id = heads.get(raw_id, raw_id)
        return next(kind for kind, jobs in self.result["jobs"].items() if job_id in jobs)
