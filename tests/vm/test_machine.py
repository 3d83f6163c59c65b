# SPDX-License-Identifier: MIT
"""The product on Slurm 26.05 under systemd, on cgroup v2 with SLUID paths, on a machine that crashes in mid-job."""

from __future__ import annotations

import json
import re

import pytest

from vm import machine
from vm.seen import Seen

pytestmark = [pytest.mark.vm, pytest.mark.timeout(5400)]

SLUID = re.compile(r"s[0-9A-HJKMNP-TV-Z]{13}")
WHOLE = ("batch", "shared", "steps", "killed", "array")
TICKET = {
    "SLURMD_NODENAME",
    "SLURM_CLUSTER_NAME",
    "SLURM_JOB_ID",
    "SLURM_JOB_UID",
    "SLURM_JOB_USER",
    "SLURM_JOB_ACCOUNT",
    "SLURM_JOB_PARTITION",
    "SLURM_JOB_NODELIST",
    "SLURM_JOB_CPUS_PER_NODE",
    "SLURM_JOB_SLUID",
    "SLURM_JOB_START_TIME",
    "SLURM_JOB_RESTART_COUNT",
}
"""What the hooks hand over, as far as this Slurm says it of a job without GPUs."""


def test_the_machine_is_what_a_namespace_cannot_be(seen: Seen) -> None:
    """Slurm 26.05, cgroup v2, a Python newer than the zipapp's byte code; jobs in directories named by SLUID."""
    for boot in seen.boots:
        assert boot["slurm"].split()[1].startswith("26.05.")  # "slurm 26.05.5", Debian's "slurm-wlm 26.05.5"
        assert boot["cgroup"] == "cgroup2fs"
    names = [path.split("/") for path in seen.result["cgroups"]]
    assert {parts[1] for parts in names} == {"n1_slurmstepd.scope", "n2_slurmstepd.scope"}
    assert all(SLUID.fullmatch(parts[2]) for parts in names)


def test_the_collector_runs_as_a_unit_where_there_is_one_and_else_from_the_prolog(seen: Seen) -> None:
    """One collector a node: n1's in its own unit, n2's below slurmd, where its prolog left it."""
    units = {node: list(found.values()) for node, found in seen.result["collectors"].items()}

    assert units["n1"] == ["0::/system.slice/carbon-collector.service"]
    assert len(units["n2"]) == 1
    assert "slurmd-n2.service" in units["n2"][0]


def test_energy_is_conserved(seen: Seen) -> None:
    """Counters = jobs + idle + system, for the site and in every row of every node, over a kill and a crash."""
    rc, text = seen.result["status"]
    differences = seen.differences()

    assert rc == 0, text
    assert text.splitlines()[-1].split()[0] == "total"
    assert text.splitlines()[-1].split()[-1] == "0"
    assert "SIMULATED" in text
    assert {node for node, *_ in differences} == {"n1", "n2"}
    assert set(differences.values()) == {0}


def test_every_run_of_every_job_is_there_exactly_once(seen: Seen) -> None:
    """A sealed ledger for each run on each node, keyed by the SLUID that the prolog was given, and no other ledger."""
    ledgers = seen.rows("select l.job_id, l.run, n.name as node from ledger l join node n on n.id = l.node_id")
    wanted = sorted((run.stay.job_id, f"sluid:{run.sluid}", run.stay.node) for run in seen.runs)

    assert {run.kind for run in seen.runs} == {*WHOLE, "crashed"}
    assert len(seen.of("array")) == 3
    assert sorted((row["job_id"], row["run"], row["node"]) for row in ledgers) == wanted
    assert all(ledger["closed"] is not None for run in seen.runs for ledger in run.ledgers)
    assert seen.result["unmatched"] == ""


def test_slurm_and_we_speak_of_the_same_runs(seen: Seen) -> None:
    """carbon-acct shows each run that sacct shows, once, with what was metered of it."""
    theirs = sorted((int(raw), state.split()[0]) for _, raw, state, *_ in seen.sacct)
    ours = sorted((job["job_id_raw"], job["state"].split()[0]) for job in seen.result["carbon_acct"]["jobs"])

    assert ours == theirs
    assert {row[3] for row in seen.sacct} == {run.sluid for run in seen.runs}
    assert all(run.shown["energy_uj"] > 0 and run.shown["simulated"] for run in seen.runs)


@pytest.mark.parametrize("kind", ["shared", "steps", "killed"])
def test_shares_are_those_of_the_truth(seen: Seen, kind: str) -> None:
    """Jobs of ten seconds and more get what they truly consumed, to 1 %, their collector killed or not."""
    for run in seen.of(kind):
        true = seen.truth(run)

        assert run.seconds[0] >= 10
        assert true.cpu_seconds > 3
        assert true.error(run.cpu_uj) == pytest.approx(0, abs=0.01)


def test_a_killed_collector_leaves_no_gap(seen: Seen) -> None:
    """A kill -9 found a collector on each node; the counters went on counting, so the jobs are wholly covered."""
    assert all(len(pids) == 1 for pids in seen.result["killed"].values())
    for run in seen.of("killed"):
        assert run.shown["coverage"] == pytest.approx(100, abs=0.5)
        assert run.shown["quality"] == "measured"


def test_a_crash_in_mid_job_is_a_gap_that_shows(seen: Seen) -> None:
    """The run that the crash cut off is covered in part and says so; Slurm's second run of it is whole."""
    first, second = seen.boots
    runs = {(run.stay.node, run.stay.run): run for run in seen.of("crashed")}

    assert first["boot_id"] != second["boot_id"]
    assert set(runs) == {("n1", 0), ("n2", 0), ("n1", 1), ("n2", 1)}
    for node in ("n1", "n2"):
        cut, whole = runs[node, 0], runs[node, 1]
        assert cut.stay.end is None
        assert 0 < cut.shown["coverage"] < 99
        assert cut.shown["quality"] == "estimated"  # what the crash cut off, apart
        assert whole.shown["coverage"] > 99
        assert seen.truth(whole).error(whole.cpu_uj) == pytest.approx(0, abs=0.02)


def test_the_crash_loses_nothing_that_was_delivered(seen: Seen) -> None:
    """What was stored of jobs that had ended before the crash is the same after it, row by row."""
    query = """select l.job_id, l.run, s.* from node_job_slot s join ledger l on l.id = s.ledger_id
        where l.closed is not null order by s.ledger_id, s.slot"""
    before, after = seen.rows(query, database="before.db"), seen.rows(query)

    assert {row["job_id"] for row in before} == {run.stay.job_id for run in seen.runs if run.kind != "crashed"}
    assert [row for row in after if row["job_id"] in {old["job_id"] for old in before}] == before


def test_nothing_is_harmed(seen: Seen) -> None:
    """No node was drained or is down, and every job but those of the crash ended well."""
    states = dict(line.split() for line in seen.result["sinfo"].splitlines())
    ends = {(int(row[1]), row[3]): row[2].split()[0] for row in seen.sacct}

    assert states == {"n1": "idle", "n2": "idle"}
    for run in seen.runs:
        cut = run.kind == "crashed" and run.stay.run == 0
        assert ends[run.stay.job_id, run.sluid] in ({"NODE_FAIL", "REQUEUED"} if cut else {"COMPLETED"})


def test_the_environment_of_the_hooks_is_kept(seen: Seen) -> None:
    """Slurm gives prolog and epilog what the ticket is made of; the names are kept in build/vm/environment.json."""
    kept = {}
    for kind in ("prolog", "epilog"):
        found = [environment for name, environment in seen.environment.items() if name.endswith(kind)]
        kept[kind] = {name: found[0][name] for name in sorted(found[0])}
        assert all(set(environment) >= TICKET for environment in found)
    (machine.FOLDER / "environment.json").write_text(json.dumps(kept, indent=1) + "\n")
    assert "SLURM_JOB_EXIT_CODE" in kept["epilog"]
