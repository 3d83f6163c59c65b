# SPDX-License-Identifier: MIT
"""Slurm's record of the jobs, its nodes and rights, read from what its programs print."""

from __future__ import annotations

import contextlib
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.samples import JOB, SLOT
from accounting.slurm import sacct_text as texts
from accounting.slurm_programs import StandIn
from carbon_acct.errors import SlurmError
from carbon_acct.slurm.client import SlurmJob, leader_of
from carbon_acct.slurm.dbd import DbdLimits, load_limits
from carbon_acct.slurm.matching import Run, match, whole
from carbon_acct.slurm.nodes import load_nodes
from carbon_acct.slurm.programs import Programs
from carbon_acct.slurm.rights import load_rights
from carbon_acct.slurm.sacct import FIELDS, SacctClient, fields_of, parse
from carbon_collector.hostlist import expand

HOSTILE = "\na|b\nc\td\\e\x1b[31m<x>\r\n|7|'; DROP TABLE job; --\udcff"


def test_record(slurm: StandIn) -> None:
    """A row of sacct becomes the job that it says."""
    slurm.jobs([{}])
    assert SacctClient(slurm.programs).jobs(0, SLOT) == [JOB]


def test_hostile_name(slurm: StandIn) -> None:
    """A name with pipes, newlines, escapes and bytes that are no text breaks no row and forges none."""
    slurm.jobs([{"JobName": HOSTILE}, {"JobIDRaw": "8", "JobID": "8"}])
    first, second = SacctClient(slurm.programs).jobs(0, SLOT)
    assert first.name == HOSTILE.replace("\udcff", "�")
    assert (first.user, second.job_id) == ("alice", "8")


def test_delimiter_cannot_be_foreseen(slurm: StandIn) -> None:
    """Every query has another delimiter: a name made for the last one forges nothing in the next."""
    client = SacctClient(slurm.programs)
    client.jobs(0, SLOT)
    client.jobs(0, SLOT)
    used = [word for call in slurm.calls() for word in call if word.startswith("--delimiter=")]
    assert len(set(used)) == 2
    assert all(len(word) > 30 for word in used)


def test_unknown_values(slurm: StandIn) -> None:
    """What Slurm does not know is None, not 0 and not the word that sacct prints for it."""
    empty = {"Start": "Unknown", "End": "None", "NodeList": "None assigned", "AllocTRES": "", "UID": ""}
    slurm.jobs([{"State": "PENDING", **empty}])
    (found,) = SacctClient(slurm.programs).jobs(0, SLOT)
    assert (found.start, found.end, found.nodelist, found.alloc_tres, found.uid) == (None,) * 5


RESTARTS = {"Restarts": "2", "SLUID": "s891M8001ARZ00"}


@pytest.mark.parametrize(
    ("version", "newer", "known"),
    [
        ("22.05.8", {}, (None, None)),
        ("24.05.1", {}, (None, None)),
        ("24.11.5", RESTARTS, (2, "s891M8001ARZ00")),
        ("25.11.1", RESTARTS, (2, "s891M8001ARZ00")),
        ("26.05.0", RESTARTS | {"OriginalSLUID": "s891M8001ARY00"}, (2, "s891M8001ARY00")),
        ("26.05.0", RESTARTS | {"OriginalSLUID": ""}, (2, "s891M8001ARZ00")),
    ],
)
def test_fields_by_version(
    slurm: StandIn, version: str, newer: dict[str, str], known: tuple[int | None, str | None]
) -> None:
    """Restarts and SLUID are asked for from 24.11 on, OriginalSLUID from 26.05: an older sacct would fail over them."""
    slurm.jobs([newer], version=version)
    (found,) = SacctClient(slurm.programs).jobs(0, SLOT)
    assert (found.restarts, found.sluid) == known


RECORDED = sorted((Path(__file__).parent / "sacct").rglob("*.sacct"))


NOT_RECORDED = frozenset(FIELDS[20:])
"""Fields that were not asked for yet when the answers were recorded."""


def recorded(path: Path) -> list[SlurmJob]:
    major, minor = path.parent.name.split(".")[:2]
    text = path.read_bytes().decode("utf-8", "replace")
    fields = [name for name in fields_of((int(major), int(minor))) if name not in NOT_RECORDED]
    return parse(text, "<recorded>", fields)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_what_sacct_prints(path: Path) -> None:
    """Of every release: jobs of every kind, with whatever their users called them (sacct/README.md: what is recorded)."""
    jobs = recorded(path)
    names = {j.name for j in jobs}
    states = [j.state for j in jobs if j.name == "resized"]
    assert {"a|b|7|COMPLETED|", "first\nsecond\n", "x" * 255, "\x1b[31mred\x1b[0m\t\x07"} <= names
    assert states == ["RESIZING", "COMPLETED"]
    assert {j.job_id for j in jobs} >= {"9_1", "9_2", "9_3", "10+0", "10+1"}
    assert {j.state for j in jobs} >= {"COMPLETED", "FAILED", "CANCELLED by 70002", "RUNNING"}
    assert ("REQUEUED" in {j.state for j in jobs}) or path.stem == "newest"
    assert [j.end for j in jobs if j.state == "RUNNING"] == [None]
    assert [j.alloc_tres for j in jobs if j.job_id == "13"] == ["billing=1,cpu=1,gres/gpu=2,mem=512M,node=1"]
    assert all(j.start and (j.nodelist or "").startswith("n") for j in jobs)
    assert all((j.start or 0) >= j.submit for j in jobs if j.name != "resized")


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_run_of_a_resized_job(path: Path) -> None:
    """Both records of the resized job are one run, by what every release tells, and the nodes' ledger is the newest's."""
    parts = [j for j in recorded(path) if j.name == "resized"]
    records = [Run(n, j.submit, j.start, j.end, j.state, j.restarts, j.sluid) for n, j in enumerate(parts)]
    (run,) = whole(records)
    begun = parts[0].start or 0
    assert (run.key, run.start, run.end) == (1, begun, parts[1].end)
    for key in ("restart:0", f"start:{begun}", *([f"sluid:{parts[0].sluid}"] if parts[0].sluid else [])):
        assert match(key, begun + 1, records) == run


def test_the_identity_of_runs_by_release() -> None:
    """A resize gives the second record another SLUID in 24.11; in 26.05 OriginalSLUID stays, and a requeue changes it."""
    folder = Path(__file__).parent / "sacct"
    known = {path.name: recorded(path / "jobs.sacct") for path in folder.iterdir() if path.is_dir()}
    sluids = {name: [j.sluid for j in jobs if j.name == "resized"] for name, jobs in known.items()}
    assert sluids["22.05.8"] == [None, None]
    assert len(set(sluids["24.11.5"])) == 2
    assert len(set(sluids["26.05.5"])) == 1
    again = [j for j in known["26.05.5"] if j.name == "requeued"]
    assert [j.restarts for j in again] == [0, 1]
    assert len({j.sluid for j in again}) == 2


def test_uid_of_a_job_that_slurmdbd_learns_of_by_its_end(slurm: StandIn) -> None:
    """For a moment slurmdbd shows such a job with its user and uid 0: that is not root's."""
    slurm.jobs([{"UID": "0", "User": "alice"}, {"UID": "0", "User": "root"}])

    assert [job.uid for job in SacctClient(slurm.programs).jobs(0, 1)] == [None, 0]


@given(st.lists(texts.slurm_jobs(), max_size=5))
def test_parsing_is_the_inverse_of_printing(jobs: list[SlurmJob]) -> None:
    """Whatever the jobs are called, and whatever is known of them: what sacct prints of them are those jobs."""
    ordered = sorted(jobs, key=lambda j: (j.submit, j.job_id_raw))
    assert parse(texts.rendered(ordered), texts.MARK, fields_of((24, 11))) == ordered


@pytest.mark.parametrize("odd", ["0n", "4K", "1.5", "-1", "٣", "9" * 20, "", "Unknown"])
def test_a_number_that_is_none(slurm: StandIn, odd: str) -> None:
    """`0n` and its like are not known, which is not 0."""
    slurm.jobs([{"NNodes": odd, "NCPUS": odd, "ElapsedRaw": odd, "Start": odd, "UID": odd}])
    (found,) = SacctClient(slurm.programs).jobs(0, SLOT)
    assert (found.nnodes, found.ncpus, found.elapsed_s, found.start, found.uid) == (None,) * 5


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Pacific/Apia"])
def test_a_night_that_has_an_hour_twice(slurm: StandIn, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the aggregator lives: an hour that its clocks show twice is asked for once, and seconds stay seconds."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        twice = 1_793_494_800  # 2026-11-01 01:00 UTC: an hour later clocks of Berlin have done it, of New York not yet
        slurm.jobs([{"Start": str(twice), "End": str(twice + 3600)}])
        (found,) = SacctClient(slurm.programs).jobs(twice, twice + 3600)
    finally:
        monkeypatch.undo()
        time.tzset()
    (call,) = slurm.calls()
    assert (found.start, found.end) == (twice, twice + 3600)
    assert (call[call.index("-S") + 1], call[call.index("-E") + 1]) == ("2026-11-01T01:00:00", "2026-11-01T02:00:00")


def test_too_much_at_once(tmp_path: Path) -> None:
    """A program that prints without end is given up before it fills the memory."""
    path = tmp_path / "sacct"
    path.write_text("#!/bin/sh\nexec yes\n")
    path.chmod(0o755)
    with pytest.raises(SlurmError, match="more than 1 MiB at once"):
        Programs(search=(str(tmp_path),), most_bytes=1 << 20).run("sacct")


@pytest.mark.parametrize(
    ("said", "limits"),
    [
        ("MaxQueryTimeRange = UNLIMITED\nPurgeJobAfter = NONE\n", DbdLimits()),
        ("MaxQueryTimeRange = 7-00:00:00\nPurgeJobAfter = 12 months*\n", DbdLimits(7 * 86400, 12 * 31 * 86400)),
        ("MaxQueryTimeRange = 01:30:00\nPurgeJobAfter = 48 hours\n", DbdLimits(5400, 48 * 3600)),
    ],
)
def test_limits(slurm: StandIn, said: str, limits: DbdLimits) -> None:
    """What slurmdbd allows and keeps is read from its configuration."""
    slurm.rights(more=said)
    assert load_limits(slurm.programs) == limits


@pytest.mark.parametrize("release", ["22.05.8", "24.11.5", "26.05.5"])
def test_recorded_limits(slurm: StandIn, release: str) -> None:
    """The real configuration is read: it has no limits."""
    said = (Path(__file__).parent / "sacct" / release / "configuration.txt").read_text()
    slurm.says("sacctmgr show configuration", said)
    assert load_limits(slurm.programs) == DbdLimits()
    assert load_rights(slurm.programs).slurm_uid == 0


def test_one_bounded_query(slurm: StandIn) -> None:
    """However many jobs, one sacct; with a window, all users, duplicates, no steps, nothing converted."""
    slurm.jobs([{"JobIDRaw": str(n), "JobID": str(n)} for n in range(1, 300)])
    assert len(SacctClient(slurm.programs).jobs(SLOT, SLOT + 60)) == 299
    (call,) = slurm.calls()
    assert {"-a", "-D", "-X", "-n", "--noconvert"} <= set(call)
    assert call[call.index("-S") + 1] == "2012-10-12T00:00:00"
    assert call[call.index("-E") + 1] == "2012-10-12T00:01:00"


@pytest.mark.parametrize("name", ["Submit", "JobIDRaw"])
def test_row_of_nothing(slurm: StandIn, name: str) -> None:
    """A record without an id or a submit time is left out; the others are taken."""
    slurm.jobs([{name: ""}, {}])
    assert len(SacctClient(slurm.programs).jobs(0, SLOT)) == 1


def test_slurm_is_down(slurm: StandIn) -> None:
    """A failure of sacct is one line that names it, with Slurm's own reason."""
    slurm.jobs([], error="Problem talking to the database: Connection refused")
    with pytest.raises(SlurmError, match=r"sacct: .*Connection refused"):
        SacctClient(slurm.programs).jobs(0, SLOT)


def test_program_that_hangs(tmp_path: Path) -> None:
    """A program that does not answer is given up and killed."""
    path = tmp_path / "sinfo"
    path.write_text("#!/bin/sh\nexec sleep 60\n")
    path.chmod(0o755)
    with pytest.raises(SlurmError, match="did not answer within"):
        Programs(search=(str(tmp_path),), timeout_s=0.2).run("sinfo")


def test_program_that_is_not_there(tmp_path: Path) -> None:
    """A missing program is named, with where it was looked for."""
    with pytest.raises(SlurmError, match="sacct is not installed"):
        Programs(search=(str(tmp_path),)).run("sacct")


def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the administrator's changes what the programs print."""
    monkeypatch.setenv("SACCT_FORMAT", "user")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("SLURM_CONF", "/x/slurm.conf")
    path = tmp_path / "sacct"
    path.write_text("#!/bin/sh\nexec /usr/bin/env\n")
    path.chmod(0o755)
    said = Programs(search=(str(tmp_path),)).run("sacct").splitlines()
    assert "TZ=UTC" in said
    assert "LC_ALL=C" in said
    assert "SLURM_TIME_FORMAT=%s" in said
    assert "SLURM_CONF=/x/slurm.conf" in said
    assert not [line for line in said if line.startswith("SACCT_")]


@pytest.mark.parametrize(
    ("nodelist", "names"),
    [
        ("n1", ["n1"]),
        ("n[1-4,7]", ["n1", "n2", "n3", "n4", "n7"]),
        ("a[1-2]b[01-03]", ["a1b01", "a1b02", "a1b03", "a2b01", "a2b02", "a2b03"]),
        ("x,y[1-2],z[09-10]", ["x", "y1", "y2", "z09", "z10"]),
        ("n[098-101]", ["n098", "n099", "n100", "n101"]),
        ("r[1]-n[2]x", ["r1-n2x"]),
        ("", []),
    ],
)
def test_node_lists(nodelist: str, names: list[str]) -> None:
    """Node lists expand as `scontrol show hostnames` does."""
    assert expand(nodelist) == names


@pytest.mark.parametrize(
    "bad", ["n[1", "n[a-b]", "n[4-1]", "n[1-]", "n[0-99999999]", "n[1-90000],m[1-90000],k[1-90000]"]
)
def test_no_node_list(bad: str) -> None:
    """What is no node list is refused, and never fills the memory."""
    with pytest.raises(ValueError, match="not a"):
        expand(bad)


@pytest.mark.parametrize(
    "short",
    [
        "n[" + ",".join(["0-199999"] * 120) + "]",
        ",".join(["n[0-199999]"] * 120),
        "x" * 20_000 + "[0-199999]",
        "x" * 200 + "[0-199999]",
        f"n[{'0' * 200}-{'9' * 5}]",
        f"n[0-{'9' * 30_000}]",
        "n" + "[0-9]" * 6000,
        "," * 32_000 + "]",
        "n[" + "1," * 16_000 + "x]",
        "[" * 32_000,
    ],
    ids=["ranges", "words", "long name", "many long names", "wide", "digits", "product", "commas", "list", "brackets"],
)
def test_a_short_list_of_many_nodes_costs_nothing(short: str) -> None:
    """What a text of 32 KiB at most would expand to is counted before it is built: a MiB and a fraction of a second."""
    tracemalloc.start()
    started = time.process_time()
    try:
        with contextlib.suppress(ValueError):
            expand(short)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
        assert time.process_time() - started < 2
    finally:
        tracemalloc.stop()


@given(st.text("nab[]-,0123456789", max_size=20))
def test_any_node_list(text: str) -> None:
    """Any text is a list of names or a ValueError."""
    with contextlib.suppress(ValueError):
        assert all(name and not set(name) & set("[],") for name in expand(text))


def test_leader() -> None:
    """Array tasks and het components belong to the id before `_` or `+`."""
    assert [leader_of(text, 9) for text in ("9", "5_3", "5_[3-9]", "7+1", "odd")] == [9, 5, 5, 7, 9]


def test_nodes(slurm: StandIn) -> None:
    """Sinfo's rows become nodes; several may share a host, and one in two partitions is one node."""
    slurm.says("sinfo", "n1   big.example  10.0.0.1 \nn2   big.example  10.0.0.1\nn1   big.example  10.0.0.1\n\n")
    nodes = load_nodes(slurm.programs)
    assert [(n.name, n.hostname, n.address) for n in nodes.values()] == [
        ("n1", "big.example", "10.0.0.1"),
        ("n2", "big.example", "10.0.0.1"),
    ]


def test_rights(slurm: StandIn) -> None:
    """Operators, coordinators with their sub-accounts, SlurmUser and PrivateData are read from slurmdbd."""
    slurm.rights(
        private="accounts,jobs",
        users="root|Administrator|\nanna|None|physics,chem\nop|Operator|\nbob|None|\n",
        tree="root||\nphysics|root|\nphysics||anna\nqcd|physics|\nlattice|qcd|\nbio|root|\n",
        uid=64030,
    )
    rights = load_rights(slurm.programs)
    assert rights.private_jobs
    assert rights.operators == {"root", "op"}
    assert rights.slurm_uid == 64030
    assert rights.accounts_of("anna") == {"physics", "qcd", "lattice", "chem"}
    assert not rights.accounts_of("bob")


def test_accounts_below_a_hole(slurm: StandIn) -> None:
    """An account whose parent is gone is below nobody but itself; its own coordinator still sees it and what is below."""
    slurm.rights(
        users="anna|None|physics\nbob|None|orphan\n", tree="physics|root|\norphan|gone|\nchild|orphan|\nnameless||\n"
    )
    rights = load_rights(slurm.programs)
    assert rights.accounts_of("anna") == {"physics"}
    assert rights.accounts_of("bob") == {"orphan", "child"}


def test_circular_accounts(slurm: StandIn) -> None:
    """A tree that bites its tail ends the search, not the program."""
    slurm.rights(users="anna|None|a\n", tree="b|c|\nc|b|\na|b|\n")
    assert load_rights(slurm.programs).accounts_of("anna") == {"a"}
