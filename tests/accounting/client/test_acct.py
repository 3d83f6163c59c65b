# SPDX-License-Identifier: MIT
"""What carbon-acct prints, from argument list to output, over real HTTP and a real munged."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import pytest

from accounting.client.jobs import (
    GUESSED,
    HALF_GUESSED,
    HOSTILE,
    JOB,
    NOW,
    PARTIAL,
    RUNNING,
    SIMULATED,
    SUSPENDED,
    TINY,
    UNKNOWN,
    job,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Aggregator, Outcome

pytestmark = pytest.mark.usefixtures("one_job")

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
