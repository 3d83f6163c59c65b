# SPDX-License-Identifier: MIT
"""What carbon-acct asks the aggregator for each command line, and the command lines that it refuses."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Aggregator, Outcome

pytestmark = pytest.mark.usefixtures("one_job")

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
