# SPDX-License-Identifier: MIT
"""What must hold after each fault, whatever broke: nothing is missing, doubled, hidden or harmed.

Slurm's own record of the jobs is what the product is held against: every run of every job, on every node.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable
from typing import Any, NamedTuple

from carbon_collector.attribution.advance import TAIL_GUESSED
from carbon_collector.hostlist import expand

from .cluster import Cluster, ClusterError
from .layout import NODES
from .product import COMPONENTS, Product

SACCT = "sacct -X -D -P -n -o JobIDRaw,Submit,Start,State,NodeList -j"
DRAINED = "sacctmgr -n -P list event State=drain Start=2000-01-01 Format=NodeName,Reason"
WHOLE = 99.9
"""Percent of coverage that a job without a gap has; the product calls 99 measured."""
LEDGERS = """
select n.name as node, l.job_id, l.run, l.stream, l.closed, j.submit from ledger l
join node n on n.id = l.node_id left join job j on j.id = l.matched_id
"""
DELIVERED = f"""
select j.job_id_raw, j.submit, sum({" + ".join(f"coalesce(s.{c}_uj, 0)" for c in COMPONENTS)}) as uj
from node_job_slot s join ledger l on l.id = s.ledger_id join job j on j.id = l.matched_id group by j.id
"""


class Run(NamedTuple):
    """One run of a job by Slurm's record; `number` from 0, a requeue is the next; its nodes."""

    job_id: int
    number: int
    submit: int
    state: str
    nodes: tuple[str, ...]


class Aftermath:
    """The check after each fault."""

    def __init__(self, cluster: Cluster, product: Product) -> None:
        self._cluster = cluster
        self._product = product

    def check(
        self,
        jobs: Iterable[int],
        cut: Container[int | tuple[int, int]] = (),
        streams: int = 1,
        timeout: float = 90,
        shared: bool = False,
    ) -> None:
        """Assert everything, once the ledgers are here. `cut`: jobs, or (job, number of the run), with a gap.

        `streams`: into how many a clock that was set back has broken the records of a node. `shared`: jobs may have ended
        together while no collector ran, so that their last use was shared by a rule, which their quality then says.
        """
        jobs = list(jobs)
        runs = self.runs(jobs)
        whole = [run for run in runs if run.job_id not in cut and (run.job_id, run.number) not in cut]
        _until(lambda: not self._missing(whole), timeout, lambda: f"no sealed ledger of {self._missing(whole)}")
        self._cluster.run(["carbon-mgr", "sync"])
        self._is_conserved()
        self._is_there_once(runs, whole, streams)
        self._covers(runs, whole, self.shown(jobs), shared)
        self.is_unharmed()

    def runs(self, jobs: Iterable[int]) -> list[Run]:
        """The runs of jobs (tasks of arrays and components of heterogeneous jobs included) that had a node."""
        listed = ",".join(map(str, jobs))
        out = self._cluster.run(["env", "SLURM_TIME_FORMAT=%s", *SACCT.split(), listed]).stdout
        found: list[Run] = []
        for job, submit, start, state, nodes in sorted(line.split("|") for line in out.splitlines()):
            if start.isdigit():
                number = sum(run.job_id == int(job) for run in found)
                found.append(Run(int(job), number, int(submit), state.split()[0], tuple(expand(nodes))))
        assert found
        return found

    def shown(self, jobs: Iterable[int]) -> dict[tuple[int, int], dict[str, Any]]:
        """(JobIDRaw, submit time) -> the run of a job as carbon-acct shows it. Each is shown once."""
        listed = ",".join(map(str, jobs))
        done = self._cluster.run(["carbon-acct", "-a", "-D", "--json", "-j", listed])
        rows = json.loads(done.stdout)["jobs"]
        keys = Counter((row["job_id_raw"], row["submit"]) for row in rows)
        assert [key for key, times in keys.items() if times > 1] == []
        return {(row["job_id_raw"], row["submit"]): row for row in rows}

    def is_unharmed(self) -> None:
        """No node is or ever was drained, none is down, no job is held."""
        states = set(self._cluster.run(["sinfo", "-h", "-N", "-o", "%T"]).stdout.split())
        assert states <= {"idle", "mixed", "allocated", "completing"}
        drained = self._cluster.run(DRAINED.split())
        assert drained.stdout == ""
        assert "JobHeld" not in self._cluster.run(["squeue", "-h", "-t", "PD", "-o", "%r"]).stdout

    def _missing(self, runs: list[Run]) -> list[tuple[int, str]]:
        """(job, node) of runs of which no sealed ledger is here yet."""
        sealed = Counter((row["job_id"], row["node"]) for row in self._product.rows(LEDGERS) if row["closed"])
        wanted = Counter((run.job_id, node) for run in runs for node in run.nodes)
        return sorted(key for key, times in wanted.items() if sealed[key] < times)

    def _is_conserved(self) -> None:
        """Difference 0 in every row of every node, and in every line of `carbon-mgr status`."""
        # A node may have waited longer for an aggregator that was away.
        _until(
            lambda: {node for node, *_ in self._product.differences()} == set(NODES), 90, lambda: "nodes are missing"
        )
        differences = self._product.differences()
        assert {key: uj for key, uj in differences.items() if uj} == {}
        lines = self._cluster.run(["carbon-mgr", "status"]).stdout.splitlines()
        table = lines[next(i for i, line in enumerate(lines) if line.split()[-1:] == ["difference"]) + 1 :]
        assert table[-1].split()[0] == "total"
        assert {line.split()[-1] for line in table} == {"0"}

    def _is_there_once(self, runs: list[Run], whole: list[Run], streams: int) -> None:
        """One ledger for each run on each of its nodes, matched to it; of a run with a gap perhaps none."""
        jobs = {run.job_id for run in runs}
        rows = [row for row in self._product.rows(LEDGERS) if row["job_id"] in jobs]
        per_stream = Counter((row["job_id"], row["submit"], row["node"], row["stream"]) for row in rows)
        assert [key for key, times in per_stream.items() if times > 1] == []
        ledgers = Counter(key[:3] for key in per_stream)
        wanted = {(run.job_id, run.submit, node) for run in runs for node in run.nodes}
        certain = {(run.job_id, run.submit, node) for run in whole for node in run.nodes}
        assert set(ledgers) - wanted == set(), (sorted(set(ledgers) - wanted), sorted(wanted - set(ledgers)))
        assert certain - set(ledgers) == set()
        assert max(ledgers.values(), default=1) <= streams

    def _covers(
        self, runs: list[Run], whole: list[Run], shown: dict[tuple[int, int], dict[str, Any]], shared: bool
    ) -> None:
        """carbon-acct shows each run, with all that its nodes delivered, and a gap where there was one."""
        assert sorted(shown) == sorted((run.job_id, run.submit) for run in runs)
        delivered = {(row["job_id_raw"], row["submit"]): row["uj"] for row in self._product.rows(DELIVERED)}
        for run in runs:
            key = run.job_id, run.submit
            assert (shown[key]["energy_uj"] or 0) == delivered.get(key, 0), run
            coverage, quality = shown[key]["coverage"], shown[key]["quality"]
            if run in whole:
                notes = shown[key]["notes"]
                said = "estimated" if shared and notes and all(_is_of_an_end(note) for note in notes) else "measured"
                assert (coverage >= WHOLE, quality) == (True, said), (run, coverage, notes)
            else:
                assert coverage < 99, (run, coverage)
                assert quality in ("partial", "estimated", "none"), (
                    run,
                    quality,
                )  # the gap itself may be estimated, apart


def _is_of_an_end(note: str) -> bool:
    """Whether a note is of CPU time that jobs used last, when they ended together; nothing else may be shared here."""
    return " cpu: " in f" {note}" and note.endswith(TAIL_GUESSED)


def _until(condition: Callable[[], bool], timeout: float, what: Callable[[], str]) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what()} (waited {timeout:.0f} s)")
        time.sleep(0.5)
