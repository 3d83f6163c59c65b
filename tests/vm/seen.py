# SPDX-License-Identifier: MIT
"""What a run of the emulated machine left behind: its result, the product's database, the simulator's truth."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulator import hardware

from .witness import Stay, from_json

CPUS = {"batch": 8, "shared": 2, "steps": 2, "killed": 2, "array": 2, "crashed": 2}
"""What a job of each kind holds on its node."""
COMPONENTS = ("cpu", "dram")
LEDGERS = """
select l.*, n.name as node from ledger l join node n on n.id = l.node_id
where l.job_id = ? and l.run = ? and n.name = ?
"""
NODE_SLOTS = "select n.name as node, s.* from node_slot s join node n on n.id = s.node_id"
JOBS_SUM = """
select coalesce(sum(s.{0}_uj), 0) as uj from node_job_slot s join ledger l on l.id = s.ledger_id
where l.node_id = ? and l.stream = ? and s.slot = ?
"""


@dataclass(frozen=True)
class Run:
    """One run of a job on one node, by everybody who saw it. `shown` is the run as carbon-acct shows it."""

    kind: str
    stay: Stay
    sluid: str
    ledgers: list[dict[str, Any]]
    cpu_uj: int | None
    shown: dict[str, Any]

    @property
    def seconds(self) -> tuple[float, float] | None:
        """How long it was there at least and at most; None where the machine's crash ended it.

        On a machine that has little CPU time, seconds pass between the scripts of one prolog.
        """
        start, end = self.stay.start, self.stay.end
        return None if start is None or end is None else (end.low - start.high, end.high - start.low)


@dataclass(frozen=True)
class Truth:
    """What a run truly used: CPU seconds, and microjoules of the packages at least and at most."""

    cpu_seconds: float
    low_uj: float
    high_uj: float

    def error(self, cpu_uj: int) -> float:
        """How far a figure is outside, as a part of the truth; 0 inside."""
        return min(0.0, cpu_uj / self.low_uj - 1) + max(0.0, cpu_uj / self.high_uj - 1)


class Seen:
    """The results folder, read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.result: dict[str, Any] = json.loads((folder / "result.json").read_text())
        self.boots: list[dict[str, Any]] = self.result["boots"]
        self.environment: dict[str, dict[str, str]] = self.result["environment"]
        self.sacct = [line.split("|") for line in self.result["sacct"].splitlines()[1:]]
        self._nodes = {node.name: node for node in hardware.load(folder / "hardware.json")}
        self.runs = [self._run(from_json(stay)) for stay in self.result["stays"]]

    def rows(self, query: str, *values: object, database: str = "after.db") -> list[dict[str, Any]]:
        """Rows of a query on the product's database, as it was in the end, or `before.db`, before the crash."""
        with closing(sqlite3.connect(self.folder / database)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query, values)]

    def of(self, kind: str) -> list[Run]:
        """The runs of the jobs of a kind."""
        return [run for run in self.runs if run.kind == kind]

    def differences(self) -> dict[tuple[str, str, int, str], int]:
        """(node, stream, slot, component) -> counters - jobs - idle - system, for every row that is metered."""
        found = {}
        for row in self.rows(NODE_SLOTS):
            for name in COMPONENTS:
                if row[f"{name}_uj"] is not None:
                    jobs = self.rows(JOBS_SUM.format(name), row["node_id"], row["stream"], row["slot"])[0]["uj"]
                    parts = jobs + row[f"{name}_idle_uj"] + row[f"{name}_system_uj"]
                    found[row["node"], row["stream"], row["slot"], name] = row[f"{name}_uj"] - parts
        return found

    def truth(self, run: Run) -> Truth | None:
        """Idle power for the CPUs that a run held while it was there, and the energy of its CPU time."""
        if run.seconds is None:
            return None
        boot = self.boots[min(run.stay.run, 1)]["boot_id"]
        lines = (self.folder / "truth" / boot / f"{run.stay.node}.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines if f'"{run.sluid}"' in line]
        node = self._nodes[run.stay.node]
        cpu_ns = sum(records[-1]["cpu_ns"]) if records else 0
        idle_uw = hardware.SOCKETS * node.idle_mw * 1000 * CPUS[run.kind] / node.cpus
        low, high = (idle_uw * seconds + cpu_ns * node.busy_mw / hardware.PJ_PER_UJ for seconds in run.seconds)
        return Truth(cpu_ns / 1e9, low, high)

    def table(self) -> list[str]:
        """One line a run, then what the site's status says."""
        head = ("job", "node", "seconds", "CPU s", "truth J", "ours J", "error", "coverage", "quality")
        rows = [head, *map(self._row, sorted(self.runs, key=lambda run: run.stay))]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        first = self.boots[0]
        machine = f"{first['slurm']}, {first['systemd']}, kernel {first['kernel']}, Python {first['python']}"
        return ["", machine, *lines, "", *self.result["status"][1].splitlines()]

    def _row(self, run: Run) -> tuple[str, ...]:
        true = self.truth(run)
        known = true is not None and run.cpu_uj is not None
        coverage = run.shown.get("coverage")
        return (
            f"{run.kind} {run.stay.job_id}.{run.stay.run}",
            run.stay.node,
            "crash" if run.seconds is None else "{:.1f} to {:.1f}".format(*run.seconds),
            "" if true is None else f"{true.cpu_seconds:.1f}",
            "" if true is None else f"{true.low_uj / 1e6:.1f} to {true.high_uj / 1e6:.1f}",
            "" if run.cpu_uj is None else f"{run.cpu_uj / 1e6:.1f}",
            f"{true.error(run.cpu_uj):+.2%}" if known else "",
            "" if coverage is None else f"{coverage:.1f}",
            str(run.shown.get("quality", "")),
        )

    def _run(self, stay: Stay) -> Run:
        sluid = self.environment[f"{stay.job_id}.{stay.run}.{stay.node}.prolog"]["SLURM_JOB_SLUID"]
        ledgers = self.rows(LEDGERS, stay.job_id, f"sluid:{sluid}", stay.node)
        slots = [
            row for one in ledgers for row in self.rows("select * from node_job_slot where ledger_id = ?", one["id"])
        ]
        known = [slot["cpu_uj"] for slot in slots if slot["cpu_uj"] is not None]
        jobs = self.result["carbon_acct"]["jobs"]
        shown = [j for j in jobs if (j["job_id_raw"], j["restarts"] or 0) == (stay.job_id, stay.run)]
        energy = sum(known) if known else None
        return Run(self._kind(stay.job_id), stay, sluid, ledgers, energy, shown[0] if len(shown) == 1 else {})

    def _kind(self, raw_id: int) -> str:
        heads = {int(row[1]): int(row[0].partition("_")[0]) for row in self.sacct}
        job_id = heads.get(raw_id, raw_id)
        return next(kind for kind, jobs in self.result["jobs"].items() if job_id in jobs)
