# SPDX-License-Identifier: MIT
"""How far each job's energy is from the truth: ours beside the rules of others, on the same readings of shared nodes.

Virtual time: nothing sleeps, and nothing here depends on how fast or busy the machine is.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import machine
from node import peers, schedule
from node.ours import Books, Daemon
from node.physics import Node
from node.registers import Registers
from table import percentile, render, verdict

CLASSES = ((1.0, 10.0), (10.0, 60.0), (60.0, 3600.0))
PERCENTILES = (50, 90, 99, 100)
BUDGETS = {1.0: 5.0, 10.0: 1.0}
"""Percent, from so many seconds of run time on (jobs drawing alike per CPU second)."""
TAIL_S = 30.0


class Line(NamedTuple):
    """One row: errors in percent by JobID, the jobs' sum over the true one, all accounts over the meters."""

    name: str
    sampling: str
    errors: dict[int, float]
    jobs: float
    accounts: float | None


class Site(NamedTuple):
    """All nodes with their registers; how long each job ran; the true joules of each: all, dynamic, GPU."""

    registers: list[Registers]
    seconds: dict[int, float]
    host_j: dict[int, float]
    dynamic_j: dict[int, float]
    gpu_j: dict[int, float]
    end_s: float


def build(nodes: list[Node]) -> Site:
    """The truth of a schedule."""
    truths = {job.job_id: node.truth(job) for node in nodes for job in node.jobs}
    return Site(
        [Registers(node) for node in nodes],
        {job.job_id: job.stop_s - job.start_s for node in nodes for job in node.jobs},
        {job_id: t.host_j for job_id, t in truths.items()},
        {job_id: t.dynamic_j for job_id, t in truths.items()},
        {job_id: t.gpu_j for job_id, t in truths.items() if t.gpu_j},
        max(job.close_s for node in nodes for job in node.jobs) + TAIL_S,
    )


def ours(site: Site, version: int, service: bool) -> list[Books]:
    """The collector's books of every node."""
    return [Daemon(registers, version, service).run(site.end_s) for registers in site.registers]


def our_lines(site: Site, books: list[Books], name: str) -> dict[str, Line]:
    """Host, dynamic part and GPU of one way to run the collector."""
    bills = {job_id: bill for one in books for job_id, bill in one.bills.items()}
    metered = {kind: sum(one.metered_uj.get(kind, 0) for one in books) for kind in ("cpu", "dram", "gpu")}
    booked = {k: sum(one.jobs_uj.get(k, 0) + one.rest_uj.get(k, 0) for one in books) for k in metered}
    host = {job_id: bill.host_uj / 1e6 for job_id, bill in bills.items()}
    dynamic = {job_id: (bill.host_uj - bill.host_static_uj) / 1e6 for job_id, bill in bills.items()}
    gpu = {job_id: bills[job_id].gpu_uj / 1e6 for job_id in site.gpu_j}
    host_accounts = (booked["cpu"] + booked["dram"]) / (metered["cpu"] + metered["dram"])
    gpu_accounts = booked["gpu"] / metered["gpu"] if metered["gpu"] else None
    how = "10 s + events"
    return {
        "host": _line(name, how, host, site.host_j, host_accounts),
        "dynamic": _line(f"{name}, dynamic alone", how, dynamic, site.dynamic_j, None, floor_j=1.0),
        "gpu": _line(name, how, gpu, site.gpu_j, gpu_accounts),
    }


def peer_lines(site: Site) -> list[dict[str, Line]]:
    """Host and GPU of every other rule."""
    lines = []
    meter = sum(node.host_j(site.end_s) for node in (r.node for r in site.registers))
    for rule in peers.RULES:
        results = [rule.bill(registers, site.end_s) for registers in site.registers]
        bills = {job_id: bill for result in results for job_id, bill in result.bills.items()}
        host = {job_id: bill.host_j for job_id, bill in bills.items()}
        gpu = {job_id: bills[job_id].gpu_j for job_id in site.gpu_j}
        known = {job_id: joules for job_id, joules in gpu.items() if joules is not None}
        accounts = (sum(host.values()) + sum(result.rest_j for result in results)) / meter
        line = {"host": _line(rule.name, rule.sampling, host, site.host_j, accounts)}
        if known:
            line["gpu"] = _line(rule.name, rule.sampling, known, site.gpu_j, None)
        lines.append(line)
    return lines


def _line(
    name: str,
    sampling: str,
    found: dict[int, float],
    true: dict[int, float],
    accounts: float | None,
    floor_j: float = 0.0,
) -> Line:
    """Errors of all true jobs; a job that a rule does not know got nothing. Below `floor_j` a percentage says nothing."""
    errors = {job_id: 100 * (found.get(job_id, 0.0) / j - 1) for job_id, j in true.items() if j > floor_j}
    return Line(name, sampling, errors, sum(found.values()) / sum(true.values()), accounts)


def cells(line: Line, unlike: Line, site: Site) -> list[str]:
    """One row of the table."""
    by_class = [[abs(e) for j, e in line.errors.items() if low <= site.seconds[j] < high] for low, high in CLASSES]
    everyone = [[abs(e) for e in one.errors.values()] for one in (line, unlike)]
    spreads = [_spread(errors, (50, 100)) for errors in by_class] + [
        _spread(errors, PERCENTILES) for errors in everyone
    ]
    accounts = "-" if line.accounts is None else f"{100 * line.accounts:.4f}"
    return [line.name, line.sampling, *spreads, f"{100 * line.jobs:.1f}", accounts]


def _spread(errors: list[float], percents: tuple[int, ...]) -> str:
    return " ".join(_percent(percentile(errors, p)) for p in percents) if errors else "-"


def _percent(error: float) -> str:
    """Three figures in five characters."""
    return f"{error:5.{max(0, 2 - len(str(int(error))) + 1)}f}"


def table(nodes: list[Node], seed: int) -> tuple[str, list[str]]:
    """The table, and a line for each budget."""
    site, unlike = build(nodes), build(schedule.unlike(nodes, seed))
    calm, restless = (
        (site, unlike),
        tuple(build(schedule.restless(each)) for each in (nodes, schedule.unlike(nodes, seed))),
    )
    first = [
        ("unit, cgroup v1", 1, True, calm),
        ("unit, cgroup v2", 2, True, calm),
        ("by first prolog, v2", 2, False, calm),
        ("a node never idle, v2", 2, False, restless),
    ]
    lines, others, differences = [], [], []
    for name, version, service, (alike, apart) in first:
        both = [ours(each, version, service) for each in (alike, apart)]
        differences += [one.difference_uj for books in both for one in books]
        lines.append(our_lines(alike, both[0], f"ours ({name})"))
        others.append(our_lines(apart, both[1], f"ours ({name})"))
    lines += peer_lines(site)
    others += peer_lines(unlike)
    pairs = list(zip(lines, others, strict=True))
    rows: list[list[str]] = [["sockets and memory"]]
    rows += [cells(one["host"], other["host"], site) for one, other in pairs]
    rows += [
        ["the dynamic part alone, of jobs with more than 1 J of it: what the policy for the static part does not touch"]
    ]
    rows += [cells(one["dynamic"], other["dynamic"], site) for one, other in pairs if "dynamic" in one]
    rows += [["GPUs, of the jobs that held one"]]
    rows += [cells(one["gpu"], other["gpu"], site) for one, other in pairs if "gpu" in one]
    head = [
        "|error| in %: p50 p90 p99 max",
        "reads",
        "1-10 s",
        "10-60 s",
        "60-300 s",
        "all",
        "all, 0.8-1.25 W",
        "jobs/true %",
        "accounts/meter %",
    ]
    return render(head, rows), [*_budgets(lines[:2], site), _conserved(differences)]


def _budgets(lines: list[dict[str, Line]], site: Site) -> list[str]:
    said = []
    for line in (one["host"] for one in lines):
        for least_s, percent in BUDGETS.items():
            worst = max((abs(e) for j, e in line.errors.items() if site.seconds[j] >= least_s), default=0.0)
            said.append(
                f"budget: {line.name}, from {least_s:.0f} s: worst job {worst:.2f} %, "
                f"at most {percent:.0f} %: {verdict(worst, percent)}"
            )
    return said


def _conserved(differences: list[int]) -> str:
    worst = max(abs(uj) for uj in differences)
    return f"budget: meters - (jobs + idle + system), every node and run: {worst} uJ, 0: {verdict(worst, 0)}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=6, help="nodes; every other one has four GPUs")
    parser.add_argument("--jobs", type=int, default=60, help="jobs of each node")
    parser.add_argument("--span", type=float, default=900.0, help="seconds of virtual time in which they come")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(f"{machine.describe()}; virtual time, the machine does not matter")
    nodes = schedule.make(args.seed, args.nodes, args.jobs, args.span)
    site = build(nodes)
    print(
        f"{len(site.seconds)} jobs of {min(site.seconds.values()):.1f} to {max(site.seconds.values()):.0f} s on {len(nodes)} nodes, {site.end_s:.0f} s\n"
    )
    text, budgets = table(nodes, args.seed)
    print(text, "", *budgets, sep="\n")


if __name__ == "__main__":
    main()
