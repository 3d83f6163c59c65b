# SPDX-License-Identifier: MIT
"""The privacy matrix, made by running it: who sees whose jobs, by sacct and by carbon-acct, under each PrivateData."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from .cluster import Cluster, ClusterError
from .layout import AGGREGATOR_UID, USERS

UNKNOWN_UID = 79999
VIEWERS = {
    "alice, user": USERS["alice"],
    "bob, user": USERS["bob"],
    "carol, coordinator of physics": USERS["carol"],
    "dave, no association": USERS["dave"],
    "a uid without a name": UNKNOWN_UID,
    "an operator": AGGREGATOR_UID,
    "root": 0,
}
JOBS = {
    "alice's in physics": ("alice", "physics"),
    "alice's in optics": ("alice", "optics"),
    "bob's in chemistry": ("bob", "chemistry"),
    "carol's in physics": ("carol", "physics"),
}
SETTINGS = (
    ("slurmdbd.conf", "none"),
    ("slurmdbd.conf", "jobs"),
    ("slurmdbd.conf", "usage"),
    ("slurmdbd.conf", "users,accounts"),
    ("slurmdbd.conf", "jobs,usage,users,accounts"),
    ("slurm.conf", "jobs"),
)
"""slurmdbd heeds its own file; what slurm.conf says is between users and slurmctld."""

QUERIES = {"own": "", "everybody's": "-a", "by user": "-u {users}", "by JobID": "-j {jobs}"}
SHOW = "-n -P -o JobIDRaw -S 2020-01-01"


class Cell(NamedTuple):
    """What one viewer sees under one setting by one kind of query: names of JOBS, by sacct and by carbon-acct."""

    where: str
    private: str
    viewer: str
    query: str
    sacct: frozenset[str]
    ours: frozenset[str]
    errors: str


def run_jobs(cluster: Cluster) -> dict[str, int]:
    """One short job of each kind, accounted: name in JOBS -> JobID."""
    found = {name: cluster.sbatch(user, "-A", account) for name, (user, account) in JOBS.items()}
    cluster.wait_for(found.values())
    _until(lambda: _owned(cluster) >= {f"{found[name]}|{USERS[user]}" for name, (user, _) in JOBS.items()}, "jobs lack")
    return found


def _owned(cluster: Cluster) -> set[str]:
    """JobIDRaw|UID of all jobs. Of one that slurmdbd learns of by its end it has, for a second, neither the uid nor the
    time from which the job counts.
    """
    words = ["sacct", "-X", "-a", "-n", "-P", "-S", "2020-01-01", "-o", "JobIDRaw,UID"]
    return set(cluster.run(words).stdout.split())


def cells(cluster: Cluster, jobs: dict[str, int]) -> Iterator[Cell]:
    """Every cell of the matrix. slurmdbd is left with its own setting."""
    files = {name: cluster.layout.etc / "slurm" / name for name in ("slurmdbd.conf", "slurm.conf")}
    texts = {name: path.read_text() for name, path in files.items()}
    try:
        for where, private in SETTINGS:
            for name, path in files.items():
                path.write_text(texts[name] + (f"PrivateData={private}\n" if name == where else ""))
            take_in(cluster, private if where == "slurmdbd.conf" else "none")
            with ThreadPoolExecutor(2) as pool:
                for row in pool.map(partial(_row, cluster, where, private, jobs), VIEWERS):
                    yield from row
    finally:
        for name, path in files.items():
            path.write_text(texts[name])
        take_in(cluster, "none")


def take_in(cluster: Cluster, private: str) -> None:
    """Have slurmdbd read its file, and then the aggregator ask for it.

    A new start, not a signal: only then does slurmdbd know the sub-accounts of a coordinator made in the same load.
    """
    cluster.stop_part("slurmdbd")
    cluster.restart("slurmdbd")
    _until(lambda: _in_force(cluster) == set(private.split(",")), f"slurmdbd does not take in PrivateData={private}")
    cluster.run(["carbon-mgr", "sync"], check=False)  # where no aggregator runs yet, it asks when it starts


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(what)
        time.sleep(0.1)


def _in_force(cluster: Cluster) -> set[str]:
    said = cluster.run(["sacctmgr", "show", "configuration"]).stdout.partition("SlurmDBD")[2]
    line = next(line for line in said.splitlines() if line.startswith("PrivateData"))
    return set(line.partition("=")[2].strip().split(","))


def _row(cluster: Cluster, where: str, private: str, jobs: dict[str, int], viewer: str) -> list[Cell]:
    """All queries of one viewer under one setting, in one go: a process in the cluster costs more than the query."""
    words = {"users": ",".join(USERS), "jobs": ",".join(map(str, jobs.values()))}
    commands = [
        f"{program} {SHOW} {options.format(**words)}"
        for options in QUERIES.values()
        for program in ("sacct -X", "carbon-acct")
    ]
    uid = VIEWERS[viewer]
    change = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"]
    done = cluster.run([*change, "sh", "-c", "; echo ---; ".join(commands)], check=False)
    parts = done.stdout.split("---\n")
    names = {str(job): name for name, job in jobs.items()}
    row = []
    for number, query in enumerate(QUERIES):
        sacct, ours = (_names(part, names) for part in parts[2 * number : 2 * number + 2])
        row.append(Cell(where, private, viewer, query, sacct, ours, done.stderr))
    return row


def _names(text: str, names: dict[str, str]) -> frozenset[str]:
    return frozenset(names[line] for line in text.split() if line in names)


def table(found: Sequence[Cell]) -> tuple[list[str], list[list[str]]]:
    """Head and rows: whose jobs each viewer sees with -a, and whether ours and sacct's agree in every kind of query."""
    head = ["PrivateData", "who asks", *JOBS, "sacct -a", "carbon-acct -a", "same in all queries"]
    rows = []
    for where, private, viewer in dict.fromkeys((c.where, c.private, c.viewer) for c in found):
        mine = [c for c in found if (c.where, c.private, c.viewer) == (where, private, viewer)]
        all_of = next(c for c in mine if c.query == "everybody's")
        marks = [_mark(name in all_of.sacct, name in all_of.ours) for name in JOBS]
        counts = [str(len(all_of.sacct)), str(len(all_of.ours))]
        same = sum(c.sacct == c.ours for c in mine)
        rows.append([f"{private} ({where})", viewer, *marks, *counts, f"{same} of {len(mine)}"])
    return head, rows


def _mark(sacct: bool, ours: bool) -> str:
    return {(True, True): "yes", (False, False): "-", (True, False): "sacct only", (False, True): "OURS ONLY"}[
        sacct, ours
    ]
