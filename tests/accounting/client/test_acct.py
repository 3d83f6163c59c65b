# SPDX-License-Identifier: MIT
"""carbon-acct from argument list to output, over real HTTP and a real munged."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Aggregator, Outcome

NOW = 1_784_000_000  # 2026-07-14T03:33:20 UTC
JOB: dict[str, Any] = {
    "job_id": "12",
    "job_id_raw": 12,
    "name": "train",
    "user": "alice",
    "uid": 1001,
    "account": "physics",
    "partition": "batch",
    "qos": "normal",
    "cluster": "demo",
    "state": "COMPLETED",
    "exit_code": "0:0",
    "restarts": 0,
    "submit": NOW - 7300,
    "start": NOW - 7200,
    "end": NOW - 3600,
    "elapsed_s": 3600,
    "nnodes": 2,
    "ncpus": 8,
    "alloc_tres": "cpu=8,gres/gpu=1,mem=4096M,node=2",
    "nodelist": "n[1-2]",
    "energy_uj": 4_500_000_000_000,
    "cpu_uj": 3_000_000_000_000,
    "dram_uj": 500_000_000_000,
    "gpu_uj": 1_000_000_000_000,
    "other_uj": None,
    "static_uj": 1_200_000_000_000,
    "estimated_uj": None,
    "facility_uj": 5_850_000_000_000,
    "pue": 1.3,
    "carbon_ug": 619_300_000,
    "carbon_market_ug": None,
    "embodied_ug": None,
    "upstream_ug": None,
    "td_ug": None,
    "intensity_g_per_kwh": 381.11,
    "intensity_source": "Ember yearly, 2023",
    "zone": "DE",
    "coverage": 100.0,
    "quality": "measured",
    "notes": [],
    "simulated": False,
    "group": "users",
    "gid": 100,
    "eligible": NOW - 7300,
    "timelimit_s": 7200,
    "req_cpus": 8,
    "req_nodes": 2,
    "req_tres": "cpu=8,mem=1536M",
    "reason": "Resources",
    "comment": None,
    "workdir": "/home/alice",
    "derived_exit_code": "0:0",
    "suspended_s": 0,
    "cpu_us": 14_400_000_000,
    "core_us": 28_800_000_000,
    "gpu_us": 3_600_000_000,
    "gpu_idle_uj": 900_000_000_000,
    "cpu_unused_uj": 1_000_000_000,
}
"""A job as docs/http-api.md says, every key there."""


def job(**changes: Any) -> dict[str, Any]:
    """A job that differs from JOB in `changes`."""
    assert changes.keys() <= JOB.keys()
    return {**JOB, **changes}


SIMULATED = job(job_id="13", simulated=True)
PARTIAL = job(
    job_id="14", dram_uj=None, quality="partial", coverage=98.97, notes=["dram: energy_uj: permission denied"]
)
UNKNOWN = job(job_id="15", quality="none") | dict.fromkeys(
    (key for key in JOB if key.endswith(("_uj", "_ug", "_us")) or key in {"intensity_g_per_kwh", "coverage", "pue"}),
    None,
)
HOSTILE = job(job_id="16", name="=cmd|'/C calc'!A0\n\x1b[2Jx\udcff\u202e", account="a|b\\c")
TINY = job(job_id="17", energy_uj=300_000, carbon_ug=12, elapsed_s=1, start=NOW - 1, end=NOW)
RUNNING = job(job_id="18", state="RUNNING", end=None)
GUESSED = job(
    job_id="19", energy_uj=None, estimated_uj=15_120_000_000_000, carbon_ug=23_900_000_000, quality="estimated"
)
HALF_GUESSED = job(job_id="20", estimated_uj=4_500_000_000_000, quality="partial")
SUSPENDED = job(job_id="21", state="SUSPENDED", elapsed_s=1800, suspended_s=1800)

HEADER = "JobID JobName User  Account State      Elapsed  Energy Carbon Quality"
RULE = "----- ------- ----- ------- --------- -------- ------- ------ --------"
CASES = {
    "default": ([], [JOB], [HEADER, RULE, "12    train   alice physics COMPLETED 01:00:00 1.25kWh   619g measured"]),
    "no job": (
        [],
        [],
        [
            "JobID JobName User Account State Elapsed Energy Carbon Quality",
            "----- ------- ---- ------- ----- ------- ------ ------ -------",
        ],
    ),
    "no header": (["-n", "-o", "jobid,energy"], [JOB], ["12 1.25kWh"]),
    "between": (["-P", "-o", "JobID,QOS,EnergyRaw"], [JOB], ["JobID|QOS|EnergyRaw", "12|normal|4500000"]),
    "ending": (["-p", "-o", "JobID,QOS"], [JOB], ["JobID|QOS|", "12|normal|"]),
    "last of -p and -P": (["-pP", "-o", "JobID,QOS"], [JOB], ["JobID|QOS", "12|normal"]),
    "delimiter": (["-nP", "--delimiter=;", "-o", "JobID,QOS"], [JOB], ["12;normal"]),
    "delimiter in a value": (["-nP", "-o", "Account,User"], [HOSTILE], ["a\\x7cb\\\\c|alice"]),
    "hostile name": (["-nP", "-o", "JobName%5"], [HOSTILE], ["=cmd\\x7c'/C calc'!A0\\n\\x1b[2Jx\\xff\\u202e"]),
    "width": (["-n", "-o", "User%8,User%-8,JobName%4"], [JOB], ["   alice alice    tra+"]),
    "raw": (
        ["-nP", "-o", "EnergyRaw,CPUEnergyRaw,DRAMEnergyRaw,GPUEnergyRaw,StaticEnergyRaw,FacilityEnergyRaw"],
        [JOB],
        ["4500000|3000000|500000|1000000|1200000|5850000"],
    ),
    "carbon": (
        ["-nP", "-o", "CarbonRaw,Intensity,PUE,Zone,IntensitySource"],
        [JOB],
        ["619.300|381.11|1.3|DE|Ember yearly, 2023"],
    ),
    "as many digits of grams as of people's": (["-nP", "-o", "Carbon,CarbonRaw"], [TINY], ["0.012mg|0.000012"]),
    "estimated": (
        ["-nP", "-o", "Energy,EnergyRaw,EstimatedEnergyRaw,Carbon"],
        [GUESSED, HALF_GUESSED],
        ["~4.2kWh||15120000|~23.9kg", "~2.5kWh|4500000|4500000|~619g"],
    ),
    "memory": (["-nP", "-o", "AllocTRES,ReqTRES"], [JOB], ["cpu=8,gres/gpu=1,mem=4G,node=2|cpu=8,mem=1.50G"]),
    "memory as kept": (["-nP", "--noconvert", "-o", "AllocTRES"], [JOB], ["cpu=8,gres/gpu=1,mem=4096M,node=2"]),
    "sacct's names": (
        ["-nP", "-o", "AllocCPUS,AllocNodes,UID,GID,Group,CPUTime,CPUTimeRAW,TotalCPU,CPUEff,Timelimit,TimelimitRaw"],
        [JOB],
        ["8|2|1001|100|users|08:00:00|28800|04:00:00|50.0|02:00:00|120"],
    ),
    "sacct's default": (
        ["-nP", "-o", "jobid,jobname,partition,account,alloccpus,state,exitcode"],
        [JOB],
        ["12|train|batch|physics|8|COMPLETED|0:0"],
    ),
    "brief": (["-bnP"], [JOB], ["12|COMPLETED|0:0"]),
    "brief after -o": (["-bnP", "-o", "user"], [JOB], ["alice|12|COMPLETED|0:0"]),
    "power of a suspended job": (["-nP", "-o", "AvePower,ElapsedRaw"], [SUSPENDED], ["1250.0|1800"]),
    "power": (
        ["-nP", "-o", "AvePower,Coverage,ElapsedRaw"],
        [JOB, TINY, PARTIAL],
        ["1250.0|100.0|3600", "0.3|100.0|1", "1250.0|98.9|3600"],
    ),
    "unknown is empty": (
        ["-nP", "-o", "Energy,EnergyRaw,OtherEnergyRaw,AvePower,PUE,Carbon,CarbonRaw,Intensity,Coverage,Quality"],
        [UNKNOWN],
        ["|||||||||none"],
    ),
    "tiny is not 0": (["-nP", "-o", "Energy,Carbon"], [TINY], ["0.0833mWh|0.012mg"]),
    "units": (["-nP", "--units=MJ,kg", "-o", "Energy,Carbon"], [JOB], ["4.5MJ|0.619kg"]),
    "units as in sacct": (["-nP", "--units=M", "-o", "Energy,Carbon"], [JOB], ["0.00125MWh|0.000619t"]),
    "quality": (
        ["-nP", "-o", "Quality,QualityNotes"],
        [SIMULATED, PARTIAL],
        ["sim|simulated", "partial|dram: energy_uj: permission denied"],
    ),
    "times": (["-nP", "-o", "Submit,Start,End"], [RUNNING], ["2026-07-14T01:31:40|2026-07-14T01:33:20|"]),
    "times cut to the window": (
        ["-nPT", "-S", "2026-07-14T02:00", "-E", "2026-07-14T02:20", "-o", "Start,End"],
        [JOB, RUNNING],
        ["2026-07-14T02:00:00|2026-07-14T02:20:00"] * 2,
    ),
}


@pytest.fixture(autouse=True)
def _one_job(aggregator: Aggregator) -> None:
    aggregator.says(JOB)


@pytest.mark.parametrize(("argv", "jobs", "lines"), CASES.values(), ids=CASES.keys())
def test_output(
    carbon_acct: Callable[..., Outcome],
    aggregator: Aggregator,
    argv: list[str],
    jobs: list[dict[str, object]],
    lines: list[str],
) -> None:
    """Each command line prints exactly these lines, nothing on stderr, and succeeds."""
    aggregator.says(*jobs)

    done = carbon_acct(*argv)

    assert (done.status, done.out.splitlines(), done.err) == (0, lines, "")


QUERIES: dict[str, tuple[list[str], dict[str, str]]] = {
    "own jobs": ([], {}),
    "all": (["-a"], {"all_users": "1"}),
    "users": (["-u", "alice,1002", "--uid=bob"], {"users": "alice,1002,bob"}),
    "of -a and -u the last": (["-a", "-u", "bob"], {"users": "bob"}),
    "of -u and -a the last": (["-u", "bob", "-a"], {"all_users": "1"}),
    "jobs by number are anybody's": (
        ["-j", "12,13_[1-2],14+1"],
        {"jobs": "12,13_1,13_2,14+1", "all_users": "1", "start": "0"},
    ),
    "jobs by number of one user": (["-j", "12", "-u", "bob"], {"jobs": "12", "users": "bob", "start": "0"}),
    "nodes": (["-N", "n[1-4],m1"], {"nodes": "n[1-4],m1", "all_users": "1"}),
    "lists": (
        ["-A", "physics", "-r", "batch,gpu", "-q", "high", "-M", "demo", "-D", "-T"],
        {
            "accounts": "physics",
            "partitions": "batch,gpu",
            "qos": "high",
            "clusters": "demo",
            "duplicates": "1",
            "truncate": "1",
        },
    ),
    "states": (["-s", "ca,Completed,r"], {"states": "CANCELLED,COMPLETED,RUNNING"}),
    "sizes": (["-g", "root,0", "-i", "2", "-I", "2-8"], {"gids": "0,0", "nnodes": "2", "ncpus": "2-8"}),
    "time limit": (["-k", "1:30:00"], {"timelimit": "90-90"}),
    "time limits": (["-k", "10", "-K", "1-0"], {"timelimit": "10-1440"}),
    "no least time limit": (["-K", "10"], {}),
    "all clusters": (["-M", "all"], {}),
    "window": (["-S", "2026-07-01", "-E", "07/14/26-12:00"], {"start": "1782864000", "end": "1784030400"}),
    "no UTF-8": (["-A", "\udcff&x=1"], {"accounts": "\N{REPLACEMENT CHARACTER}&x=1"}),
}


@pytest.mark.parametrize(("argv", "expected"), QUERIES.values(), ids=QUERIES.keys())
def test_query(
    carbon_acct: Callable[..., Outcome], aggregator: Aggregator, argv: list[str], expected: dict[str, str]
) -> None:
    """Each command line asks the aggregator exactly this, signed by the caller; the window aside where it follows the clock."""
    assert carbon_acct(*argv).status == 0

    (query,) = aggregator.queries
    follows_clock = {"start", "end"} - expected.keys()
    assert {k: v for k, v in query.items() if k not in follows_clock} == expected
    assert aggregator.askers == [os.getuid()]


def test_default_window(carbon_acct: Callable[..., Outcome], aggregator: Aggregator) -> None:
    """Without -S, -E, -j and -s the window is from local midnight to now, now included, as in sacct."""
    before = int(time.time())
    carbon_acct()
    after = int(time.time())

    (query,) = aggregator.queries
    assert int(query["start"]) in {before // 86400 * 86400, after // 86400 * 86400}
    assert before + 1 <= int(query["end"]) <= after + 1


def test_cluster_from_the_configuration(
    carbon_acct: Callable[..., Outcome], aggregator: Aggregator, configure: Callable[..., Path]
) -> None:
    """As with sacct, only this cluster's jobs are shown where the configuration names it, all with -M all."""
    configure(aggregator.url, site={"cluster": "demo"})
    carbon_acct()
    carbon_acct("-M", "all")

    assert [query.get("clusters") for query in aggregator.queries] == ["demo", None]


WRONG = {
    "option": (["--acounts", "x"], "unknown argument '--acounts'; did you mean --accounts? (--help lists the options)"),
    "word": (["12"], "unknown argument '12' (--help lists the options)"),
    "letter": (["-Z"], "unknown argument '-Z' (--help lists the options)"),
    "nothing alike": (["--zzz"], "unknown argument '--zzz' (--help lists the options)"),
    "slurm's own figure": (
        ["-o", "ConsumedEnergyRaw"],
        "ConsumedEnergyRaw is Slurm's own figure, of whole nodes; the job's own is EnergyRaw",
    ),
    "refused option": (
        ["-W", "x"],
        "-W is an option of sacct's that is not one here: wckeys are not accounted; choose accounts with -A or names with --name",
    ),
    "nodes": (["-i", "x"], "-i x: not a number or a range; it looks like 2 or 2-4"),
    "cpus": (["-I", "3-"], "-I 3-: not a number or a range; it looks like 2 or 2-4"),
    "limit": (["-k", "x"], "-k x: not a time limit; it looks like 90, 1:30:00 or 1-12"),
    "month": (["--month", "2026-13"], "--month 2026-13: no month; it looks like 2026-10, this or last"),
    "two windows": (
        ["--month", "this", "-S", "today"],
        "--month is a window of its own: leave -S and -E out (--help lists the options)",
    ),
    "word of --by": (["--by", "usr"], "--by usr: unknown word; did you mean user?"),
    "job in sums": (
        ["--by", "user", "-j", "1"],
        "-j is for single jobs: sums do not know it; leave it out, or leave out --by and the like",
    ),
    "top of nothing": (["--top", "3"], "--top is for the rows of --by (--help lists the options)"),
    "value missing": (["-u"], "argument -u/--user/--uid: expected one argument (--help lists the options)"),
    "field": (["-o", "JobID,Enrgy"], "unknown field 'Enrgy'; did you mean Energy? (-e lists them)"),
    "no field": (["-o", ","], "-o names no field; carbon-acct -e lists them"),
    "field width": (["-o", "JobID%x"], "-o JobID%x: after % comes the width of the column, e.g. JobID%20 or JobID%-20"),
    "state": (["-s", "COMPLETD"], "unknown state 'COMPLETD'; did you mean COMPLETED?"),
    "time": (
        ["-S", "25:00"],
        "'25:00' is no time; it looks like 2026-07-13T14:30, 07/13, 14:30, now-2hours, today or midnight",
    ),
    "window": (
        ["-S", "2026-07-02", "-E", "2026-07-01"],
        "the start of the window (2026-07-02T00:00:00) is after its end (2026-07-01T00:00:00)",
    ),
    "step": (["-j", "12.batch"], "-j 12.batch: jobs are accounted, not their steps; ask for 12"),
    "job": (["-j", "x"], "-j x: not a job; it looks like 12, 12_3, 12_[1-4] or 12+1"),
    "tasks": (["-j", "1_[0-99999999]"], "-j 1_[0-99999999]: '0-99999999' is no range of array tasks"),
    "unit": (
        ["--units=Q"],
        "--units: unknown unit 'Q'; one of K, M, G, T, P, mWh, Wh, kWh, MWh, GWh, TWh, PWh, J, kJ, MJ, GJ, mg, g, kg, t, kt, Mt, Gt",
    ),
    "two formats": (["--json", "--csv"], "--json and --csv exclude each other (--help lists the options)"),
}


@pytest.mark.parametrize(("argv", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_usage(
    carbon_acct: Callable[..., Outcome], aggregator: Aggregator, argv: list[str], message: str
) -> None:
    """A wrong command line is one line on stderr, exit 2, and nobody is asked."""
    done = carbon_acct(*argv)

    assert (done.status, done.out, done.err) == (2, "", f"carbon-acct: {message}\n")
    assert aggregator.queries == []


def test_help_lists_every_field(carbon_acct: Callable[..., Outcome]) -> None:
    """-e prints the names of all fields, as -o all shows them."""
    names = carbon_acct("-e").out.split()

    assert names == carbon_acct("-P", "-o", "all").out.splitlines()[0].split("|")


def test_version_and_help(carbon_acct: Callable[..., Outcome]) -> None:
    """-V and -h print to stdout and succeed without an aggregator."""
    assert carbon_acct("-V").out.startswith("carbon-acct 0.")
    assert "--starttime" in carbon_acct("-h").out


def test_format_from_the_environment(carbon_acct: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    """CARBON_ACCT_FORMAT sets the fields as SACCT_FORMAT does; -o overrides it."""
    monkeypatch.setenv("CARBON_ACCT_FORMAT", "user,jobid")

    assert carbon_acct("-nP").out == "alice|12\n"
    assert carbon_acct("-nP", "-o", "qos").out == "normal\n"


@pytest.mark.parametrize(
    ("style", "shown"),
    [
        ("%s", str(NOW - 7200)),
        ("%d.%m.", "14.07."),
        ("standard", "2026-07-14T01:33:20"),
        ("nonsense", "2026-07-14T01:33:20"),
    ],
)
def test_slurm_time_format(
    carbon_acct: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, style: str, shown: str
) -> None:
    """SLURM_TIME_FORMAT is honoured; one without a % is taken as standard."""
    monkeypatch.setenv("SLURM_TIME_FORMAT", style)

    assert carbon_acct("-nP", "-o", "Start").out == f"{shown}\n"


def test_simulated_is_marked_without_quality(carbon_acct: Callable[..., Outcome], aggregator: Aggregator) -> None:
    """Where the Quality column is left out, Energy and Carbon say it themselves, and stderr does for the raw figures."""
    aggregator.says(SIMULATED, JOB)

    done = carbon_acct("-nP", "-o", "Energy,Carbon,EnergyRaw")

    assert done.out.splitlines() == ["1.25kWh (simulated)|619g (simulated)|4500000", "1.25kWh|619g|4500000"]
    assert "simulated counters" in done.err


def test_csv_is_read_back(carbon_acct: Callable[..., Outcome], aggregator: Aggregator) -> None:
    """CSV survives commas and quotes, holds one line a job, no cell starts as a formula does, and simulation is marked."""
    aggregator.says(HOSTILE, job(name="-1", simulated=True), job(name='"a",b'))

    lines = carbon_acct("--csv", "-o", "JobID,JobName,AllocTRES,EnergyRaw,Quality").out.splitlines()

    tres = "cpu=8,gres/gpu=1,mem=4G,node=2"
    assert list(csv.reader(lines)) == [
        ["JobID", "JobName", "AllocTRES", "EnergyRaw", "Quality"],
        ["16", "'=cmd|'/C calc'!A0\\n\\x1b[2Jx\\xff\\u202e", tres, "4500000", "measured"],
        ["12", "'-1", tres, "4500000", "sim"],
        ["12", '"a",b', tres, "4500000", "measured"],
    ]


def test_json_is_the_api_s(carbon_acct: Callable[..., Outcome], aggregator: Aggregator) -> None:
    """--json gives the aggregator's keys and integers as they are, and says where they come from; it is plain ASCII."""
    aggregator.says(HOSTILE, SIMULATED, warnings=("one node is late",))

    done = carbon_acct("--json", "-S", "2026-07-14", "-E", "2026-07-15", "-o", "jobid")

    content = json.loads(done.out)
    assert content["jobs"] == [HOSTILE, SIMULATED]
    assert content["jobs"][1]["simulated"] is True
    assert {k: content["meta"][k] for k in ("start", "end", "truncate", "aggregator", "warnings")} == {
        "start": 1783987200, "end": 1784073600, "truncate": False,
        "aggregator": aggregator.url, "warnings": ["one node is late"],
    }  # fmt: skip
    assert done.out.isascii()


def test_warnings_go_to_stderr(carbon_acct: Callable[..., Outcome], aggregator: Aggregator) -> None:
    """What the aggregator warns of is said on stderr, one line each, and the jobs are shown."""
    aggregator.says(JOB, warnings=("Slurm was last asked\nan hour ago",))

    done = carbon_acct("-nP", "-o", "jobid")

    assert (done.status, done.out) == (0, "12\n")
    assert done.err == "carbon-acct: warning: Slurm was last asked an hour ago\n"


REFUSALS = {
    "unauthorised": (401, 1, "{url} refuses: Replayed credential"),
    "forbidden": (403, 1, "{url} refuses: Replayed credential"),
    "bad parameter": (400, 2, "Replayed credential"),
    "not found": (404, 1, "{url} answers 404: Replayed credential; is this the URL of a carbon-aggregator?"),
}


@pytest.mark.parametrize(("http", "status", "message"), REFUSALS.values(), ids=REFUSALS.keys())
def test_refusals(
    carbon_acct: Callable[..., Outcome], aggregator: Aggregator, http: int, status: int, message: str
) -> None:
    """The aggregator's reason is passed on in one line; a bad parameter is a matter of usage."""
    aggregator.refuses(http, "Replayed\ncredential")

    done = carbon_acct()

    assert (done.status, done.out) == (status, "")
    assert done.err == f"carbon-acct: {message.format(url=aggregator.url)}\n"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"job": []}', b"{}\xff"])
def test_something_else_answers(carbon_acct: Callable[..., Outcome], aggregator: Aggregator, body: bytes) -> None:
    """An answer that is not an aggregator's is said to be none, in one line."""
    aggregator.body = body

    done = carbon_acct()

    assert (done.status, done.out) == (1, "")
    assert (
        done.err == f"carbon-acct: {aggregator.url} answers, but not as a carbon-aggregator does; is the URL right?\n"
    )


def test_next_aggregator_is_tried(
    carbon_acct: Callable[..., Outcome], aggregator: Aggregator, configure: Callable[..., Path]
) -> None:
    """Where the first aggregator does not listen, the next one is asked."""
    configure(f"http://127.0.0.1:{_free_port()}", aggregator.url)

    done = carbon_acct("-nP", "-o", "jobid")

    assert (done.status, done.out, done.err) == (0, "12\n", "")


def test_nobody_answers(
    carbon_acct: Callable[..., Outcome], configure: Callable[..., Path], aggregator: Aggregator
) -> None:
    """Where no aggregator answers, one line names each URL, its reason, and what to look at."""
    aggregator.refuses(503, "no database")
    dead = f"http://127.0.0.1:{_free_port()}"
    configure(dead, aggregator.url)

    done = carbon_acct()

    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert f"no answer from {dead}: " in done.err
    assert f"{aggregator.url} answers 503: no database" in done.err
    assert "is carbon-aggregator running there, and [collector] aggregators in the configuration right?" in done.err


def test_no_munge(carbon_acct: Callable[..., Outcome], configure: Callable[..., Path], tmp_path: Path) -> None:
    """Without munged there is one line that says so, and no request."""
    configure("http://127.0.0.1:1", slurm={"munge_socket": str(tmp_path / "none")})

    done = carbon_acct()

    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "is munged running?" in done.err


def test_wrong_configuration(carbon_acct: Callable[..., Outcome], configure: Callable[..., Path]) -> None:
    """A setting that does not exist is one line that names the file and the nearest setting."""
    path = configure("http://127.0.0.1:1", site={"zonee": "DE"})

    done = carbon_acct()

    assert (done.status, done.err) == (
        1, f"carbon-acct: {path}: unknown setting 'zonee' in [site]; did you mean 'zone'?\n",
    )  # fmt: skip


def test_an_error_cannot_drive_the_terminal(carbon_acct: Callable[..., Outcome], aggregator: Aggregator) -> None:
    """Escape sequences from the command line or the aggregator reach stderr as visible text."""
    aggregator.refuses(403, "\x1b]0;owned\x07")

    assert carbon_acct("-o", "\x1b[2J").err.startswith("carbon-acct: unknown field '\\x1b[2J'")
    assert carbon_acct().err.endswith(" refuses: \\x1b]0;owned\\x07\n")


def test_debug_shows_where(carbon_acct: Callable[..., Outcome], aggregator: Aggregator) -> None:
    """--debug lets the error through with its traceback."""
    aggregator.refuses(403, "no")

    with pytest.raises(Exception, match="refuses: no"):
        carbon_acct("--debug")


def _program(*argv: str) -> list[str]:
    return [sys.executable, "-m", "carbon_acct.cli.acct", *argv]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_broken_pipe_is_silent(aggregator: Aggregator, configure: Callable[..., Path]) -> None:
    """A reader that goes away ends the program silently, with the status a C program would have."""
    configure(aggregator.url)
    aggregator.says(*[job(job_id=str(number), job_id_raw=number) for number in range(5000)])
    with subprocess.Popen(_program("-a"), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()

        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_full_disk_is_said(aggregator: Aggregator, configure: Callable[..., Path]) -> None:
    """Output that cannot be written is an error, not a silent success."""
    configure(aggregator.url)
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123  a device
        done = subprocess.run(_program("-a"), stdout=full, stderr=subprocess.PIPE, check=False)

    assert (done.returncode, done.stderr) == (1, b"carbon-acct: No space left on device\n")


def test_interrupt_is_silent(configure: Callable[..., Path]) -> None:
    """Ctrl-C while the aggregator thinks: exit 130 and not a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        configure(f"http://127.0.0.1:{server.getsockname()[1]}")
        # A shell's background job ignores SIGINT, and so would what it starts.
        heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
        with subprocess.Popen(_program("-a"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, **heard) as process:
            connection, _ = server.accept()
            with connection:
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=60)

    assert (process.returncode, out, err) == (130, b"", b"")


def test_terminal_without_utf8(aggregator: Aggregator, configure: Callable[..., Path]) -> None:
    """On a terminal that knows only ASCII a name outside it is shown as an escape."""
    configure(aggregator.url)
    aggregator.says(job(name="Übung"))
    done = subprocess.run(
        _program("-nP", "-o", "jobname"),
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, b"\\xdcbung\n", b"")


def test_imports_are_lean() -> None:
    """--version loads neither the database nor the web framework, nor anything else outside the standard library."""
    code = "import sys, carbon_acct.cli.acct as a\ntry: a.main(['-V'])\nexcept SystemExit: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)

    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    ours = {"carbon_acct", "carbon_collector", "__main__", "__mp_main__", "sitecustomize"}
    foreign = {name for name in loaded - ours - set(sys.stdlib_module_names) if not name.startswith(("_", "distutils"))}
    assert foreign == set()
    assert "json" not in loaded
    assert "configparser" not in loaded
    assert "shutil" not in loaded
