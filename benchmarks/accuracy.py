# SPDX-License-Identifier: MIT
"""How far each job's energy is from the truth: ours beside the rules of others, on the same readings of shared nodes.

Virtual time: nothing sleeps, and nothing here depends on how fast or busy the machine is.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NamedTuple

import machine
from node import intent, judge, peers, scenarios, schedule
from node.ours import Books, Daemon
from node.registers import Registers
from table import percentile, render, verdict

if TYPE_CHECKING:
    from node.physics import Node

BUDGETS = {"1-10 s": 5.0, "10-60 s": 1.0, "60-300 s": 1.0, "20-60 min": 1.0, "60-98 min": 1.0}
"""Percent for the worst job of each class, the collector as a unit, jobs drawing alike per CPU second."""
OURS = (
    ("ours (unit, cgroup v1)", 1, True, False),
    ("ours (unit, cgroup v2)", 2, True, False),
    ("ours (by first prolog, v2)", 2, False, False),
    ("ours (node never idle, v2)", 2, True, True),
    ("ours (both of these, v2)", 2, False, True),
)
"""Name, cgroup version, the collector ran before the first job, the system keeps a CPU of each socket busy."""
HOST, DYNAMIC, GPU = "host", "dynamic", "gpu"
HEADINGS = {
    HOST: "sockets and memory",
    DYNAMIC: "the dynamic part alone, of jobs with more than 1 J of it: policy says by what it is shared",
    GPU: "GPUs, of the jobs that held one",
}


class Line(NamedTuple):
    """One rule on one part of the energy, in joules by JobID: what it found, what it intends, what we intend."""

    name: str
    reads: str
    policy: str
    found: dict[int, float]
    intended: dict[int, float]
    ours: dict[int, float]
    accounts: float | None = None
    """All accounts that the rule keeps (jobs, idle, system) over the meters."""


def truth(study: judge.Study) -> dict[str, dict[int, float]]:
    """Return the joules by JobID that our policy intends, of each part."""
    truths = {job.job_id: node.truth(job) for node in study.nodes for job in node.jobs}
    return {
        HOST: {j: t.host_j for j, t in truths.items()},
        DYNAMIC: {j: t.dynamic_j for j, t in truths.items() if t.dynamic_j > scenarios.DYNAMIC_FLOOR_J},
        GPU: {j: t.gpu_j for j, t in truths.items() if t.gpu_j},
    }


def our_lines(name: str, books: list[Books], true: dict[str, dict[int, float]]) -> dict[str, Line]:
    """Return each part of one way to run the collector; what it intends is the truth."""
    bills = {job_id: bill for one in books for job_id, bill in one.bills.items()}
    metered, booked = dict.fromkeys(("cpu", "dram", "gpu"), 0), dict.fromkeys(("cpu", "dram", "gpu"), 0)
    for one in books:
        for kind in metered:
            metered[kind] += one.metered_uj.get(kind, 0)
            booked[kind] += one.jobs_uj.get(kind, 0) + one.rest_uj.get(kind, 0)
    found = {
        HOST: {j: bill.host_uj / 1e6 for j, bill in bills.items()},
        DYNAMIC: {j: (bill.host_uj - bill.host_static_uj) / 1e6 for j, bill in bills.items()},
        GPU: {j: bill.gpu_uj / 1e6 for j, bill in bills.items()},
    }
    accounts = {
        HOST: (booked["cpu"] + booked["dram"]) / (metered["cpu"] + metered["dram"]),
        DYNAMIC: None,
        GPU: booked["gpu"] / metered["gpu"] if metered["gpu"] else None,
    }
    said = {HOST: "by allocation", DYNAMIC: "by use", GPU: "the holder's"}
    return {
        part: Line(name, "10 s + events", said[part], found[part], true[part], true[part], accounts[part])
        for part in HEADINGS
    }


def peer_lines(rule: peers.Rule, study: judge.Study, true: dict[str, dict[int, float]]) -> dict[str, Line]:
    """Return each part that another rule knows of."""
    host, rest, meter = _bills(rule, study.nodes)
    found = {j: bill.host_j for j, bill in host.items()}
    accounts = (sum(found.values()) + rest) / meter
    lines = {HOST: Line(rule.name, rule.sampling, rule.idle, found, _intent(rule, study.nodes), true[HOST], accounts)}
    if rule.shares != "-":  # linear in the energy: on nodes without idle power it shares the dynamic part alone
        bare = [node.without_idle_power() for node in study.nodes]
        found = {j: bill.host_j for j, bill in _bills(rule, bare)[0].items()}
        lines[DYNAMIC] = Line(rule.name, rule.sampling, rule.shares, found, _intent(rule, bare), true[DYNAMIC])
    if rule.gpus:
        intended = {j: joules for node in study.nodes for j, joules in rule.gpus(node).items() if j in true[GPU]}
        found = {j: bill.gpu_j or 0.0 for j, bill in host.items() if j in true[GPU]}
        said = "full power" if rule.watts is intent.tdp else "the holder's"
        lines[GPU] = Line(rule.name, rule.sampling, said, found, intended, true[GPU])
    return lines


def _bills(rule: peers.Rule, nodes: list[Node]) -> tuple[dict[int, peers.Bill], float, float]:
    results = [rule.bill(Registers(node), judge.end_of(node)) for node in nodes]
    bills = {j: bill for result in results for j, bill in result.bills.items()}
    meter = sum(node.host_j(judge.end_of(node)) for node in nodes)
    return bills, sum(result.rest_j for result in results), meter


def _intent(rule: peers.Rule, nodes: list[Node]) -> dict[int, float]:
    return {j: joules for node in nodes for j, joules in intent.intended(node, rule.watts).items()}


def cells(line: Line, study: judge.Study) -> list[str]:
    """Return one row of the table."""
    intended = {j: line.intended[j] for j in line.ours}
    measured, policy = judge.errors(line.found, intended), judge.errors(intended, line.ours)
    by_class = [judge.spread(measured, jobs, (50, 100)) for jobs in study.classes.values()]
    medians = [
        percentile([abs(measured[j]) for j in jobs if j in measured], 50)
        for jobs in study.seeds
        if any(j in measured for j in jobs)
    ]
    by_seed = f"{judge.percent(min(medians))} {judge.percent(max(medians))}" if medians else "-"
    found = sum(line.found.get(j, 0.0) for j in line.ours)
    sums = [found / sum(intended.values()), sum(intended.values()) / sum(line.ours.values())]
    return [
        line.name,
        line.reads,
        *by_class,
        by_seed,
        f"{100 * sums[0]:.1f}",
        line.policy,
        judge.spread(policy, None, (50, 100)),
        f"{100 * sums[1]:.1f}",
        "-" if line.accounts is None else f"{100 * line.accounts:.4f}",
    ]


HEAD = [
    "|error| of measurement in %, p50 max",
    "reads",
    *judge.SHORT_CLASSES,
    *judge.LONG_CLASSES,
    "p50 by seed",
    "sum",
    "policy for idle power",
    "against ours, %",
    "sum",
    "accounts/meter",
]


def table(study: judge.Study) -> tuple[str, list[str]]:
    """Return the table of all rules, and a line for each budget."""
    true = truth(study)
    restless = schedule.restless(study.nodes)
    true_restless = truth(study._replace(nodes=restless))  # a node with more CPUs: a job holds less of it
    lines, worst_uj = [], 0
    for name, version, service, busy in OURS:
        books = [
            Daemon(Registers(node), version, service).run(judge.end_of(node))
            for node in (restless if busy else study.nodes)
        ]
        worst_uj = max([worst_uj, *(abs(one.difference_uj) for one in books)])
        lines.append(our_lines(name, books, true_restless if busy else true))
    said = _budgets([line[HOST] for line in lines[:2]], study)
    lines += [peer_lines(rule, study, true) for rule in peers.RULES]
    rows: list[list[str]] = []
    for part, heading in HEADINGS.items():
        rows += [[heading], *(cells(line[part], study) for line in lines if part in line)]
    return render(HEAD, rows), [*said, _conserved(worst_uj)]


def _budgets(lines: list[Line], study: judge.Study) -> list[str]:
    said = []
    for line in lines:
        measured = judge.errors(line.found, line.intended)
        for label, percent in BUDGETS.items():
            worst = max((abs(measured[j]) for j in study.classes[label]), default=0.0)
            said.append(
                f"budget: {line.name}, {label}: worst job {worst:.2f} %, at most {percent:.0f} %: {verdict(worst, percent)}"
            )
    return said


def _conserved(worst_uj: int) -> str:
    return f"budget: meters - (jobs + idle + system), every node and run: {worst_uj} uJ, 0: {verdict(worst_uj, 0)}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=6, help="nodes of each seed; every other one has four GPUs")
    parser.add_argument("--jobs", type=int, default=60, help="jobs of each node")
    parser.add_argument("--span", type=float, default=900.0, help="seconds in which the short ones come")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    size = judge.Size(args.seeds, args.nodes, args.jobs, args.span)
    study = judge.study(size)
    counts = ", ".join(f"{len(jobs)} of {label}" for label, jobs in study.classes.items())
    print(f"{machine.describe()}; virtual time, the machine does not matter")
    print(f"Simulated counters; jobs of {args.seeds} seeds, all drawing alike: {counts}\n")
    text, said = table(study)
    print(text, "", *said, "", sep="\n")
    print("Ours as a unit, jobs of up to 300 s, against what each job caused: p50 max; of all p50 p90 p99 max\n")
    results = scenarios.outcomes(size)
    print(render(scenarios.HEAD, [scenarios.cells(one) for one in results]))
    print("", _conserved(max(one.difference_uj for one in results)), sep="\n")


if __name__ == "__main__":
    main()
