# SPDX-License-Identifier: MIT
"""Compares a real pyslurm with sacct, job by job, on a real cluster: `make test-pyslurm PYSLURM_PYTHON=/path/bin/python`.

The Python must have the pyslurm of the cluster's Slurm. For Debian's 22.05 it is built from the tag v22.5.3 of
github.com/PySlurm/pyslurm, against libslurm-dev, with Cython below 3 (`python setup.py build_ext --slurm-inc=/usr/include
--slurm-lib=/usr/lib/x86_64-linux-gnu`). It prints a table of the fields that differ, and fails where one differs that
is not known to. With a third argument it keeps what pyslurm's process said, for the tests that have no Slurm.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import fields
from pathlib import Path

from carbon_acct.slurm.client import SlurmJob
from carbon_acct.slurm.pyslurm_db import CHILD, _job
from carbon_acct.slurm.sacct import fields_of, parse

from .cluster import Cluster
from .record_sacct import DELIMITER, live

NOT_ASKED = (
    "group",
    "gid",
    "timelimit_s",
    "req_cpus",
    "req_nodes",
    "req_tres",
    "workdir",
    "comment",
    "derived_exit_code",
)
"""What `carbon-acct -o` shows of sacct's records, and no figure depends on."""
KNOWN = {
    **dict.fromkeys(NOT_ASKED, "not asked of pyslurm; `carbon-acct -o` alone shows it"),
    "reason": "not asked of pyslurm: it tells of another time than sacct",
    "suspended_s": "22.05's suspended_time is the elapsed time (pyslurm/db/job.pyx), so it is not asked",
    "alloc_tres": "pyslurm has it in no text of Slurm's",
    "job_id": "before 25.11 a component of a heterogeneous job has its own number only",
    "restarts": "pyslurm does not tell it",
    "sluid": "pyslurm does not tell it",
    "end": "of a job that has not ended",
    "state": "pyslurm has the name of who cancelled it, and this host does not know it",
    "user": "a uid that passwd does not know",
}
MISSING = "the whole record"


def by_sacct(cluster: Cluster) -> list[SlurmJob]:
    """Every record, by sacct."""
    columns = fields_of((22, 5))
    asked = ["-a", "-D", "-X", "--local", "-n", "-p", "--noconvert", f"--delimiter={DELIMITER}", "-S", "2000-01-01"]
    command = ["env", "TZ=UTC", "LC_ALL=C", "SLURM_TIME_FORMAT=%s", "sacct", *asked, "-o", ",".join(columns)]
    return parse(cluster.run(command).stdout, DELIMITER, columns)


def compare(known: list[SlurmJob], found: list[SlurmJob]) -> tuple[Counter[str], dict[str, str], int]:
    """Return how often each field differs, an example of each, and how many records pyslurm does not tell."""
    by_key = {(j.job_id_raw, j.submit): j for j in found}
    count: Counter[str] = Counter()
    example: dict[str, str] = {}
    missing = [j for j in known if (j.job_id_raw, j.submit) not in by_key]
    for one in known:
        other = by_key.get((one.job_id_raw, one.submit))
        for field in fields(SlurmJob) if other else ():
            ours, theirs = getattr(one, field.name), getattr(other, field.name)
            if ours != theirs:
                count[field.name] += 1
                example.setdefault(field.name, f"job {one.job_id}: sacct {ours!r}, pyslurm {theirs!r}"[:110])
    return count, example, len(missing)


def main() -> int:
    """Bring a cluster up, let jobs of every kind live, and compare."""
    python, *keep = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="pyslurm-") as place, Cluster(Path(place) / "cluster") as cluster:
        live(cluster)
        began = str(int(time.time()) - 86_400)
        said = cluster.run([python, str(CHILD), began, str(int(time.time()) + 60)]).stdout
        known = by_sacct(cluster)
    header, *lines = (json.loads(line) for line in said.splitlines())
    if keep:
        Path(keep[0]).write_text(said)
    faults = sorted({(name, why) for line in lines for name, why in line["faults"].items()})
    count, example, missing = compare(known, [_job(line) for line in lines])
    print(f"pyslurm {header['release']}, which has no {', '.join(header['lacks']) or 'gaps'}; {len(known)} records")
    print(f"  {MISSING:<12}{missing:>4}  older runs of a job that was requeued or resized")
    for name, times in count.most_common():
        print(f"  {name:<12}{times:>4}  {example[name]}; {KNOWN.get(name, 'UNKNOWN WHY')}")
    for name, why in faults:
        print(f"  fault: {name}: {why}")
    return 1 if set(count) - set(KNOWN) or not lines else 0


if __name__ == "__main__":
    sys.exit(main())
